import { maxMicros } from '../../src/amount.js'

/** What may be wrong with an amount that somebody typed. */
export type AmountProblem = 'empty' | 'not-a-number' | 'ambiguous' | 'too-precise' | 'too-large'

/** The ISO code of a currency: `USD` of `usd-micro`. */
export function currencyCode(currency: string): string {
  return currency.replace(/-micro$/, '').toUpperCase()
}

/** How many digits the coins of a currency have after the point: 2 of `usd-micro`. */
export function coinDigits(currency: string): number {
  try {
    return new Intl.NumberFormat('en', { style: 'currency', currency: currencyCode(currency) }).resolvedOptions().minimumFractionDigits ?? 2
  } catch {
    return 2 // no code of ISO 4217
  }
}

/** Writes micros as an exact decimal number with a point: `1500` is `0.0015`. */
export function decimalOf(micros: bigint): string {
  const digits = micros.toString().padStart(7, '0')
  return `${digits.slice(0, -6)}.${digits.slice(-6)}`.replace(/\.?0+$/, '')
}

/**
 * Reads an amount as people type it, with a point or a comma. What could be
 * thousands in one country and a fraction in another ("1,000") is `ambiguous`,
 * unless the mark is `separator`, the decimal mark of the owner's language.
 */
export function readAmount(typed: string, separator: string): { micros: bigint } | { problem: AmountProblem } {
  const text = typed.trim()
  if (text === '') return { problem: 'empty' }
  const [, whole = '', mark = '', part = ''] = /^(\d+)(?:([.,])(\d+))?$/.exec(text) ?? []
  if (whole === '') return { problem: 'not-a-number' }
  const couldBeThousands = mark !== '' && mark !== separator && part.length === 3 && /^[1-9]\d{0,2}$/.test(whole)
  if (couldBeThousands) return { problem: 'ambiguous' }
  if (part.length > 6) return { problem: 'too-precise' }
  const micros = BigInt(whole + part.padEnd(6, '0'))
  return micros > maxMicros ? { problem: 'too-large' } : { micros }
}
