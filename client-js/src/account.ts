import type { Currency, Micros } from './amount.js'

/** What a broker tells the owner of an account. Amounts are micros. */
export interface Account {
  /** Its id at this broker, which vendors are never told. */
  account: string
  currency: Currency
  /** What can be reserved. */
  available: Micros
  /** Set aside for commitments. */
  reserved: Micros
  /** The credit line, which is part of `available`. */
  credit: Micros
  /** `open`, `blocked`, `closing` or `closed`. */
  state: string
}
