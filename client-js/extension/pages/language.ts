import type en from '../languages/en.json'
import { coinDigits, currencyCode, decimalOf } from './amount.js'

/** A key of extension/languages. */
export type Key = keyof typeof en

/** Values for the {names} of a text. */
export type Values = Record<string, string>

/** The text of a key in the browser's language. Values are put in once: braces in them stay what they are. */
export function text(key: Key, values: Values = {}): string {
  return chrome.i18n.getMessage(key).replace(/\{([a-z]+)\}/g, (whole, name: string) => values[name] ?? whole)
}

/** Whether there is a text with this key. */
export function isKey(key: string): key is Key {
  return chrome.i18n.getMessage(key) !== ''
}

/** The language of the texts, such as `de`. */
const language = (): string => text('language')

/** The owner's own variant of the language, such as `de-AT`, by which numbers and dates are written. */
function locale(): string {
  const own = chrome.i18n.getUILanguage().replaceAll('_', '-')
  return own.split('-')[0] === language() ? own : language()
}

/** The text of `KEY_one` or `KEY_other`, as the language counts; {n} is the number. */
export function plural(key: string, count: number, values: Values = {}): string {
  const form = new Intl.PluralRules(locale()).select(count) === 'one' ? 'one' : 'other'
  return text(`${key}_${form}` as Key, { n: new Intl.NumberFormat(locale()).format(count), ...values })
}

/** The mark between whole and part of a number. */
export function decimalSeparator(): string {
  return new Intl.NumberFormat(locale()).formatToParts(1.5).find(part => part.type === 'decimal')?.value ?? '.'
}

/** An amount as a number of the language, with all its digits: `0,0015`. */
export function number(micros: bigint | string, currency: string): string {
  const format = new Intl.NumberFormat(locale(), { minimumFractionDigits: coinDigits(currency), maximumFractionDigits: 6 })
  return format.format(decimalOf(BigInt(micros)) as `${number}`)
}

/** An amount with its currency, on one line: `0,0015 USD`. */
export function money(micros: bigint | string, currency: string): string {
  return `${number(micros, currency)}\u00a0${currencyCode(currency)}`
}

/** An amount as it stands in a field to be changed: no marks between thousands. */
export function plainNumber(micros: bigint | string, currency: string): string {
  const format = new Intl.NumberFormat(locale(), { minimumFractionDigits: coinDigits(currency), maximumFractionDigits: 6, useGrouping: false, numberingSystem: 'latn' })
  return format.format(decimalOf(BigInt(micros)) as `${number}`)
}

const minorNames: Record<string, string> = {
  USD: 'cent', CAD: 'cent', AUD: 'cent', NZD: 'cent', SGD: 'cent', HKD: 'cent', EUR: 'eurocent', GBP: 'penny', CHF: 'rappen',
}
const minorFractions: [bigint, string][] = [[100n, 'hundredth'], [10n, 'tenth'], [5n, 'fifth'], [4n, 'quarter'], [2n, 'half']]

/**
 * An amount below one unit of the currency as people say it, "a tenth of a
 * cent"; empty where the number alone says it as well. As on the gate's page.
 */
export function inWords(amount: bigint | string, currency: string): string {
  const micros = BigInt(amount)
  const name = minorNames[currencyCode(currency)]
  if (name === undefined || micros < 1n || micros >= 1_000_000n) return ''
  const cent = 10_000n
  for (const [parts, fraction] of minorFractions) {
    if (micros * parts === cent) return text(`${name}_${fraction}` as Key)
  }
  const cents = decimalOf(micros * 100n)
  const form = new Intl.PluralRules(locale(), { maximumFractionDigits: 4 }).select(Number(cents)) === 'one' ? 'one' : 'other'
  const written = new Intl.NumberFormat(locale(), { maximumFractionDigits: 4 }).format(cents as `${number}`)
  return text(`${name}_${form}` as Key, { n: written })
}

/** A part of a hundred: `80 %`. */
export function percent(part: number): string {
  return new Intl.NumberFormat(locale(), { style: 'percent', maximumFractionDigits: 0 }).format(part)
}

/** Day and time, in the owner's time zone. */
export function moment(seconds: number): string {
  return new Intl.DateTimeFormat(locale(), { dateStyle: 'medium', timeStyle: 'short' }).format(seconds * 1000)
}

/** A day of UTC, counted since 1970: budgets and the chart go by them. */
export function utcDay(day: number, style: 'short' | 'long' = 'long'): string {
  const options: Intl.DateTimeFormatOptions = style === 'short' ? { day: 'numeric', month: 'short' } : { dateStyle: 'medium' }
  return new Intl.DateTimeFormat(locale(), { ...options, timeZone: 'UTC' }).format(day * 86_400_000)
}

/**
 * Puts the texts into the page: `data-text` names the key of an element's text,
 * `data-label` that of its accessible name. An element's own text would be lost.
 */
export function translatePage(): void {
  document.documentElement.lang = language()
  document.documentElement.dir = chrome.i18n.getMessage('@@bidi_dir') || 'ltr'
  for (const element of document.querySelectorAll<HTMLElement>('[data-text]')) element.textContent = text(element.dataset.text as Key)
  for (const element of document.querySelectorAll<HTMLElement>('[data-label]')) element.setAttribute('aria-label', text(element.dataset.label as Key))
}
