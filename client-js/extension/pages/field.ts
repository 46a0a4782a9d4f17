import { readAmount, currencyCode } from './amount.js'
import { element, newId } from './element.js'
import { decimalSeparator, plainNumber, text, type Key } from './language.js'

/** What a field is. `check` says what is wrong with what was typed and what would be right, or nothing. */
export interface FieldOptions {
  label: string
  hint?: string
  value?: string
  check: (typed: string) => string | undefined
  /** A field of several lines. */
  isLong?: boolean
  attributes?: Record<string, string>
}

/** A labelled field that says beside itself what is wrong with it, and never loses what was typed. */
export interface Field {
  root: HTMLElement
  input: HTMLInputElement | HTMLTextAreaElement
  /** What was typed, if it is right; else undefined, and the field says what is wrong. */
  read(): string | undefined
  /** Says what is wrong; an empty sentence takes that back. */
  complain(sentence: string): void
}

/** Makes a field. */
export function makeField(options: FieldOptions): Field {
  const id = newId()
  const hint = options.hint === undefined ? undefined : element('p', { class: 'hint', id: `${id}h` }, options.hint)
  const complaint = element('p', { class: 'complaint', id: `${id}c`, 'aria-live': 'polite' })
  const described = [hint ? `${id}h` : '', `${id}c`].join(' ').trim()
  const attributes = { id, 'aria-describedby': described, autocomplete: 'off', spellcheck: 'false', ...options.attributes }
  const input = options.isLong ? element('textarea', { rows: '4', ...attributes }) : element('input', { type: 'text', ...attributes })
  input.value = options.value ?? ''
  const complain = (sentence: string): void => {
    complaint.textContent = sentence
    if (sentence === '') input.removeAttribute('aria-invalid')
    else input.setAttribute('aria-invalid', 'true')
  }
  const read = (): string | undefined => {
    const sentence = options.check(input.value) ?? ''
    complain(sentence)
    return sentence === '' ? input.value : undefined
  }
  // Nobody is told off while still typing; a mistake that was told of goes as soon as it is mended.
  input.addEventListener('input', () => { if (input.hasAttribute('aria-invalid')) read() })
  const root = element('div', { class: 'field' }, element('label', { for: id }, options.label), ...(hint ? [hint] : []), input, complaint)
  return { root, input, read, complain }
}

/** Makes a field for an amount of money; `readMicros` gives micros as a string of digits. */
export function makeAmountField(options: { label: string, value?: string, currency: string, hint?: string, isAtLeastOne?: boolean }): Field & { readMicros(): string | undefined } {
  const check = (typed: string): string | undefined => {
    const amount = readAmount(typed, decimalSeparator())
    if ('micros' in amount) return options.isAtLeastOne && amount.micros === 0n ? text('amount_zero') : undefined
    const example = plainNumber(500_000n, options.currency)
    return text(`amount_${amount.problem.replaceAll('-', '_')}` as Key, { example })
  }
  const field = makeField({
    label: options.label, check, ...(options.hint === undefined ? {} : { hint: options.hint }),
    ...(options.value === undefined ? {} : { value: plainNumber(options.value, options.currency) }),
    attributes: { inputmode: 'decimal', dir: 'ltr', class: 'amount' },
  })
  const unit = element('span', { class: 'unit', 'aria-hidden': 'true' }, currencyCode(options.currency))
  const row = element('div', { class: 'amount-row' })
  field.input.replaceWith(row)
  row.append(field.input, unit)
  return {
    ...field,
    readMicros: () => {
      const typed = field.read()
      const amount = typed === undefined ? undefined : readAmount(typed, decimalSeparator())
      return amount && 'micros' in amount ? amount.micros.toString() : undefined
    },
  }
}

/** Reads all fields, so that each says what is wrong with it, and goes to the first that does. */
export function readAll<T extends Record<string, Field>>(fields: T): { [K in keyof T]: string } | undefined {
  const entries = Object.entries(fields).map(([name, field]) =>
    [name, 'readMicros' in field ? (field as ReturnType<typeof makeAmountField>).readMicros() : field.read()] as const)
  const wrong = entries.find(([, value]) => value === undefined)
  if (wrong) {
    fields[wrong[0]]?.input.focus()
    return undefined
  }
  return Object.fromEntries(entries) as { [K in keyof T]: string }
}
