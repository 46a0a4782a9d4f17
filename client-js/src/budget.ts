import type { Currency, Micros } from './amount.js'

/**
 * The most that may be paid, in micros of the wallet's currency. Budgets count
 * what was released, not what a server says it charged: a dishonest vendor can
 * redeem all that was released. `0n` allows nothing; `maxMicros` is no limit.
 */
export interface Budget {
  /** For one request, with everything that is released for it. */
  perRequest: Micros
  /** To one vendor, over the life of the wallet. */
  perSite: Micros
  /** To all vendors, on one day (UTC). */
  perDay: Micros
  /** To all vendors, over the life of the wallet. */
  total: Micros
  /** To one vendor, on one day (UTC). Left out: no limit of its own. */
  perSiteAndDay?: Micros
  /** To one vendor, in any 60 seconds. Left out: no limit of its own. */
  perSiteAndMinute?: Micros
}

/** The name of a limit of a {@link Budget}. */
export type Limit = keyof Budget

/** How much a limit still allows. */
export interface Left {
  limit: Limit
  left: Micros
  currency: Currency
}
