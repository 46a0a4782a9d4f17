import { maxMicros, type Currency, type Micros } from './amount.js'
import { BudgetError, PaywordError } from './errors.js'

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

/** What counts against the limits of a budget: what was released, in micros. */
export interface Usage {
  site: Micros
  day: Micros
  total: Micros
  siteDay: Micros
  siteMinute: Micros
}

/** How much may still be released, in micros, and which limit says so. */
export function leftOf(budget: Budget, used: Usage): { left: Micros, limit: Limit } {
  const limits: [Limit, Micros | undefined, Micros][] = [
    ['perSite', budget.perSite, used.site],
    ['perDay', budget.perDay, used.day],
    ['total', budget.total, used.total],
    ['perSiteAndDay', budget.perSiteAndDay, used.siteDay],
    ['perSiteAndMinute', budget.perSiteAndMinute, used.siteMinute],
  ]
  let found: { left: Micros, limit: Limit } = { left: maxMicros, limit: 'total' }
  for (const [limit, allowed, gone] of limits) {
    if (allowed === undefined) continue
    const left = allowed > gone ? allowed - gone : 0n
    if (left < found.left) found = { left, limit }
  }
  return found
}

/** Throws a BudgetError for a price above the limit per request, of which the request has forfeited a part. Amounts are micros. */
export function checkPrice(budget: Budget, price: Micros, forfeited: Micros, currency: Currency, vendor: string): void {
  const left = budget.perRequest > forfeited ? budget.perRequest - forfeited : 0n
  if (price > left) throw new BudgetError({ limit: 'perRequest', want: price, left, currency, vendor })
}

/** Throws a BudgetError if releasing `want` more, in micros, would break a limit. */
export function checkRelease(budget: Budget, want: Micros, used: Usage, currency: Currency, vendor: string): void {
  const { left, limit } = leftOf(budget, used)
  if (want > left) throw new BudgetError({ limit, want, left, currency, vendor })
}

const neededLimits: readonly Limit[] = ['perRequest', 'perSite', 'perDay', 'total']
const optionalLimits: readonly Limit[] = ['perSiteAndDay', 'perSiteAndMinute']

/** Throws a `usage` error for a limit that is missing, unknown or no amount. */
export function checkBudget(budget: Budget): void {
  const limits = [...neededLimits, ...optionalLimits]
  if (typeof budget !== 'object' || budget === null) throw new PaywordError('usage', `budget: want an object with ${neededLimits.join(', ')}`)
  // A limit that is misspelt would not hold.
  const unknown = Object.keys(budget).find(name => !(limits as string[]).includes(name))
  if (unknown !== undefined) throw new PaywordError('usage', `budget: there is no limit ${unknown}: want ${limits.join(', ')}`)
  for (const limit of limits) {
    if (budget[limit] !== undefined || neededLimits.includes(limit)) checkAmount(`budget: ${limit}`, budget[limit])
  }
}

/** Throws a `usage` error that names what is no amount of micros. */
export function checkAmount(name: string, amount: unknown): void {
  if (typeof amount === 'bigint' && amount >= 0n && amount <= maxMicros) return
  throw new PaywordError('usage', `${name}: want micros as a bigint, 0n to ${maxMicros}n`)
}
