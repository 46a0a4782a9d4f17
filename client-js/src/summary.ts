import type { Currency, Micros } from './amount.js'
import { dayOf, termsOf, valueOf } from './books.js'
import type { WalletDocument } from './document.js'
import { today } from './opening.js'
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

/** What a document says at a time, in seconds since 1970. */
export function summaryOf(document: WalletDocument, now: number, isSealed: boolean): Summary {
  const { released: releasedToday, spent: spentToday } = today(document, now)
  return {
    isSealed, broker: document.broker, account: document.account, currency: document.currency,
    spares: document.spares?.length ?? 0, released: BigInt(document.total.released), spent: BigInt(document.total.spent),
    releasedToday, spentToday,
    sites: Object.keys(document.vendors).sort().map(origin => siteOf(document, origin, now)),
    history: (document.history ?? []).map(({ amount, returned, ...rest }) => ({
      ...rest, amount: BigInt(amount), ...returned ? { returned: BigInt(returned) } : {},
    })),
  }
}

function siteOf(document: WalletDocument, origin: string, now: number): SiteSummary {
  const vendor = document.vendors[origin]!
  const { open, day } = vendor
  const limit = BigInt(open?.cap ?? '0')
  return {
    vendor: origin, released: BigInt(vendor.released), spent: BigInt(vendor.spent),
    releasedToday: day?.day === dayOf(now) ? BigInt(day.released) : 0n,
    limit, left: open ? limit - valueOf(open) : 0n, expires: open ? termsOf(open).expires : 0,
    lastPaid: vendor.lastPaid, unserved: BigInt(vendor.unserved ?? '0'),
  }
}
