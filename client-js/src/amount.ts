import { MalformedError } from './malformed.js'

/**
 * An amount of money: a count of millionths of the currency's major unit
 * ("micros"), 0 to {@link maxMicros}. 0.1 cent is `1000n`. docs/protocol.md,
 * section 3.
 */
export type Micros = bigint

/** The largest amount, in micros. */
export const maxMicros: Micros = 999_999_999_999_999n

/** One major unit (one dollar, one euro), in micros. */
export const microsPerUnit: Micros = 1_000_000n

/** A currency as it stands on the wire, such as `usd-micro`. */
export type Currency = string

/** Whether a number of micros is one that the protocol carries. */
export function isAmount(micros: Micros): boolean {
  return micros >= 0n && micros <= maxMicros
}

/**
 * Reads the wire form: 1 to 15 digits, no sign, no leading zero.
 *
 * @throws {@link MalformedError}
 */
export function parseAmount(text: string): Micros {
  if (!/^(0|[1-9][0-9]{0,14})$/.test(text)) {
    throw new MalformedError(`amount ${JSON.stringify(text.slice(0, 20))}: want 1 to 15 digits without a leading zero, counting millionths`)
  }
  return BigInt(text)
}

/** Returns the wire form of an amount: its digits. */
export function formatAmount(micros: Micros): string {
  return micros.toString()
}

/**
 * Reads an amount in major units as people write it: `0.001`, `12`, `3.50`. At
 * most nine digits before the point and six after it; nothing is rounded.
 *
 * @throws {@link MalformedError}
 */
export function parseDecimal(text: string): Micros {
  const parts = /^([0-9]{1,9})(?:\.([0-9]{1,6}))?$/.exec(text)
  if (!parts) {
    throw new MalformedError(`amount ${JSON.stringify(text.slice(0, 24))}: want a number such as 0.001, with at most six digits after the point`)
  }
  return BigInt(parts[1] + (parts[2] ?? '').padEnd(6, '0'))
}

/**
 * Returns an amount in major units for people, with at least two digits after the
 * point and no needless zeros: `0.001`, `12.50`. Negative amounts have a minus sign.
 */
export function formatDecimal(micros: Micros): string {
  const magnitude = micros < 0n ? -micros : micros
  const fraction = (magnitude % microsPerUnit).toString().padStart(6, '0').replace(/0{1,4}$/, '')
  return `${micros < 0n ? '-' : ''}${magnitude / microsPerUnit}.${fraction}`
}

/**
 * Reads the wire spelling of a currency: an ISO 4217 code in lower case and the
 * scale, `usd-micro`.
 *
 * @throws {@link MalformedError}
 */
export function parseCurrency(text: string): Currency {
  if (!/^[a-z]{3}-micro$/.test(text)) {
    throw new MalformedError(`currency ${JSON.stringify(text.slice(0, 20))}: want three lower-case letters and "-micro", such as usd-micro`)
  }
  return text
}

/** Returns the ISO 4217 code for people: `USD`. */
export function currencyCode(currency: Currency): string {
  return currency.replace(/-micro$/, '').toUpperCase()
}
