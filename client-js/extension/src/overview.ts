import type { Summary } from '../../src/summary.js'
import type { Overview, SiteView } from './messages.js'
import { isNearlyUsed } from './policy.js'
import type { Settings, SiteSettings } from './settings.js'
import { suggestedLimits } from './settings.js'

// What the owner is shown, made of the settings and of what the wallet tells.

/** What everything together looks like. `summary` is undefined before there is a wallet. */
export function overviewOf(settings: Settings, summary: Summary | undefined, balance: Overview['balance'] | undefined): Overview {
  const sites = Object.entries(settings.sites).map(([origin, site]) => siteView(origin, site, summary))
  const account = summary?.account === undefined || summary.broker === undefined || summary.currency === undefined ? undefined
    : { broker: summary.broker, account: summary.account, currency: summary.currency }
  return {
    ...account === undefined ? {} : { account },
    isPaused: settings.isPaused,
    limits: settings.limits,
    today: String(summary?.releasedToday ?? 0n),
    inAll: String(summary?.released ?? 0n),
    ...balance === undefined ? {} : { balance },
    sites,
    notices: noticesOf(settings, summary, sites),
    suggested: { ...suggestedLimits },
  }
}

/** One site. What was paid there counts by vendor, as the wallet's limits do. */
export function siteView(origin: string, site: SiteSettings, summary: Summary | undefined): SiteView {
  const vendor = site.pin?.vendor ?? origin
  const paid = summary?.sites.find(one => one.vendor === vendor)
  return {
    origin, limits: site.limits, isPaused: site.isPaused,
    ...site.stopped === undefined ? {} : { stopped: site.stopped },
    today: String(paid?.releasedToday ?? 0n),
    inAll: String(paid?.released ?? 0n),
    spent: String(paid?.spent ?? 0n),
    lastPaid: paid !== undefined && paid.released > 0n ? paid.lastPaid : 0,
  }
}

function noticesOf({ limits }: Settings, summary: Summary | undefined, sites: SiteView[]): string[] {
  const nearlyAll = [
    ...isNearlyUsed(summary?.releasedToday ?? 0n, BigInt(limits.perDay)) ? ['perDay'] : [],
    ...isNearlyUsed(summary?.released ?? 0n, BigInt(limits.total)) ? ['total'] : [],
  ]
  const nearlySites = sites.filter(site =>
    isNearlyUsed(BigInt(site.today), BigInt(site.limits.perDay)) || isNearlyUsed(BigInt(site.inAll), BigInt(site.limits.total)))
  return [...nearlyAll, ...nearlySites.map(({ origin }) => origin)]
}

const secondsPerDay = 24 * 60 * 60

/** What was charged on each of the last days, oldest first, this day (UTC) last. */
export function spentPerDay(summary: Summary | undefined, days: number, now: number): { day: number, spent: string }[] {
  const today = Math.floor(now / secondsPerDay)
  const spent = new Map<number, bigint>()
  for (const { time, amount, returned } of summary?.history ?? []) {
    const day = Math.floor(time / secondsPerDay)
    spent.set(day, (spent.get(day) ?? 0n) + amount - (returned ?? 0n))
  }
  return Array.from({ length: days }, (_, at) => {
    const day = today - days + 1 + at
    const sum = spent.get(day) ?? 0n
    return { day, spent: String(sum > 0n ? sum : 0n) }
  })
}
