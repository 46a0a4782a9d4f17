import type { Currency, Micros } from './amount.js'
import type { Receipt } from './payer.js'

/** What a wallet tells of itself. It holds nothing secret. Amounts are micros. */
export interface Summary {
  /** Whether there is a sealed seed, which a backup carries. */
  isSealed: boolean
  /** Origin; undefined without an account. */
  broker: string | undefined
  /** Id at the broker. */
  account: string | undefined
  currency: Currency | undefined
  /** Certificates for vendors that are new. */
  spares: number
  /** Ever released: what counts against a budget. */
  released: Micros
  /** Ever charged. */
  spent: Micros
  /** Released and charged on this day (UTC). */
  releasedToday: Micros
  spentToday: Micros
  /** In the order of their origins. */
  sites: SiteSummary[]
  /** The last 1000, oldest first. */
  history: Receipt[]
}

/** What a wallet paid to one vendor. Amounts are micros. */
export interface SiteSummary {
  /** Origin. */
  vendor: string
  released: Micros
  spent: Micros
  /** Released on this day (UTC). */
  releasedToday: Micros
  /** Of the open commitment; 0 if none is open. */
  limit: Micros
  /** Not released of it. */
  left: Micros
  /** Of the open commitment, seconds since 1970; 0 if none is open. */
  expires: number
  /** Seconds since 1970. */
  lastPaid: number
  /** Paid and not served of late. */
  unserved: Micros
}
