/**
 * An amount of money: a count of millionths of the currency's major unit
 * ("micros"), 0 to {@link maxMicros}. 0.1 cent is `1000n`. docs/protocol.md,
 * section 3.
 */
export type Micros = bigint

/** The largest amount, in micros. */
export const maxMicros: Micros = 999_999_999_999_999n

/** A currency as it stands on the wire, such as `usd-micro`. */
export type Currency = string
