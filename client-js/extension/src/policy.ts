import type { Budget, Limit } from '../../src/budget.js'
import { maxMicros } from '../../src/amount.js'
import type { Micros } from '../../src/amount.js'
import type { Offer } from '../../src/payer.js'
import type { Pin, Settings } from './settings.js'

/** What is decided by: nothing else is looked at. */
export interface Situation {
  settings: Settings
  /** From the browser's word of who asks: scheme, host and port. */
  origin: string
  offer: Pick<Offer, 'origin' | 'price'>
  /** The owner said "pay once" for this page, having seen this price, in micros. */
  once?: { price: Micros } | undefined
  /** Payments to this site in the last minute. */
  lately: number
}

/** What is done about an offer. */
export type Decision =
  | { action: 'pay', budget: Budget, deposit: Micros }
  /** The owner has not allowed the site: nothing is paid before they are asked. */
  | { action: 'ask' }
  | { action: 'refuse', refusal: Refusal }

/** Why nothing is paid. */
export interface Refusal {
  kind: 'paused' | 'stopped' | 'budget' | 'refused' | 'stalled' | 'broker' | 'lost' | 'storage' | 'account' | 'usage' | 'passphrase'
  limit?: Limit
  reason?: string
  /** Micros. */
  price?: string
}

/**
 * The most payments to one site in a minute. A page with sixty paid parts needs
 * sixty at once; who needs more than four such pages a minute is a loop.
 */
export const maxPaymentsPerMinute = 250

/** One site gets at most this part of its day in any minute, so that a loop is seen before the day is gone. */
const minutesOfDay = 4n

/** Decides about an offer. It does not know what was paid before: the wallet debits the budget in the same step that releases. */
export function decide({ settings, origin, offer, once, lately }: Situation): Decision {
  const site = Object.hasOwn(settings.sites, origin) ? settings.sites[origin] : undefined
  const price = String(offer.price)
  const refuse = (refusal: Refusal): Decision => ({ action: 'refuse', refusal: { ...refusal, price } })
  if (settings.isPaused) return refuse({ kind: 'paused' })
  if (offer.origin !== origin) return refuse({ kind: 'refused', reason: 'wrong-resource' })
  if (site === undefined && once === undefined) return { action: 'ask' }
  if (once === undefined && site?.isPaused) return refuse({ kind: 'paused' })
  if (site?.stopped !== undefined) return refuse({ kind: 'stopped', reason: site.stopped })
  if (lately >= maxPaymentsPerMinute) return refuse({ kind: 'budget', limit: 'perSiteAndMinute' })
  const budget = budgetFor(settings, origin, once)
  if (offer.price > budget.perRequest) return refuse({ kind: 'budget', limit: 'perRequest' })
  return { action: 'pay', budget, deposit: depositFor(budget, offer.price) }
}

/** The wallet's budget for one request to a site. */
export function budgetFor(settings: Settings, origin: string, once?: { price: Micros }): Budget {
  const { limits } = settings
  const site = Object.hasOwn(settings.sites, origin) ? settings.sites[origin] : undefined
  const all = { perDay: BigInt(limits.perDay), total: BigInt(limits.total) }
  // The owner saw the price and said yes to it: of the limits only those of the day and in all are left.
  if (once !== undefined) return { ...all, perRequest: once.price, perSite: maxMicros }
  if (site === undefined) return { ...all, perRequest: 0n, perSite: 0n }
  const perRequest = least(BigInt(limits.perRequest), BigInt(site.limits.perRequest))
  const perSiteAndDay = BigInt(site.limits.perDay)
  return {
    ...all,
    perRequest,
    perSite: BigInt(site.limits.total),
    perSiteAndDay,
    perSiteAndMinute: most(perSiteAndDay / minutesOfDay, perRequest),
  }
}

/** The limit of a commitment that has to be opened: what the site may get on one day, so that no more is set aside for it. */
function depositFor(budget: Budget, price: Micros): Micros {
  return most(price, least(budget.perSiteAndDay ?? price, budget.perSite))
}

/**
 * Compares what a vendor says it is with what it said first. A key that is gone
 * is no change; one that is new is: whoever took over a site could list the old
 * keys beside its own.
 */
export function isSameVendor(pin: Pin, now: Pin): boolean {
  return pin.vendor === now.vendor && now.keys.length > 0 && now.keys.every(key => pin.keys.includes(key))
}

/** Complaints in a row after which a site is stopped. */
export const maxComplaints = 3

/** The part of a limit that is used before its owner is told: 80 percent. */
export function isNearlyUsed(used: Micros, limit: Micros): boolean {
  return used * 100n >= limit * 80n && limit > 0n
}

function least(a: Micros, b: Micros): Micros {
  return a < b ? a : b
}

function most(a: Micros, b: Micros): Micros {
  return a > b ? a : b
}
