import { maxMicros, type Micros } from './amount.js'

// Sums of amounts as they are stored: strings of micros, never negative, never
// beyond the largest amount.

/** The smaller of two amounts, in micros. */
export function least(a: Micros, b: Micros): Micros {
  return a < b ? a : b
}

/** The larger of two amounts, in micros. */
export function most(a: Micros, b: Micros): Micros {
  return a > b ? a : b
}

/** A stored amount and more, in micros; a missing one is 0. */
export function plus(stored: string | undefined, amount: Micros): string {
  return String(least(BigInt(stored ?? '0') + amount, maxMicros))
}

/** A stored amount without a part of it, in micros, at least 0. */
export function minus(stored: string | undefined, amount: Micros): string {
  return String(most(0n, BigInt(stored ?? '0') - amount))
}
