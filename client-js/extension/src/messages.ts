/**
 * Every message inside the extension, by its type: `Messages[type]` has what is
 * sent and what comes back. Amounts are strings of micros (messages are JSON in
 * Firefox and Chromium alike), times seconds since 1970.
 *
 * Who may send what is decided by the sender that the browser names, never by
 * what the message says: content scripts send {@link PageMessages} and nothing
 * else, for the origin of their own tab; the extension's own pages send
 * {@link OwnerMessages}.
 */

/** What content scripts send, for the page that they stand in. */
export interface PageMessages {
  /**
   * The document is a 402. `challenge` is the text of the page's own script
   * element, `state` what the gate said of the payment that the request brought
   * (Server-Timing), '' if nothing: both as untrusted as the page. `headers`
   * come back for a HEAD that proves the payment, whose outcome is told by `proved`.
   */
  challenge: { sent: { challenge: string, url: string, state: string }, back: { action: 'reload' | 'cookie' | 'nothing', headers?: Record<string, string> } }
  /** The document is here, and is no 402. */
  loaded: { sent: { url: string, status: number, state: string }, back: { isPaid: boolean } }
  /** A document that was paid for is shown, or shows nothing at all. */
  shown: { sent: { url: string, isEmpty: boolean }, back: { } }
  /** What was answered to the HEAD that proves a payment; status 0: nothing came. */
  proved: { sent: { url: string, status: number, state: string }, back: { action: 'reload' | 'nothing' } }
  /**
   * Parts of the page, of its own origin, that were answered 402: at most
   * {@link maxParts}. `challenge` is the field WWW-Authenticate of a HEAD. Those
   * that come back may be asked for again.
   */
  parts: { sent: { parts: { url: string, challenge: string }[] }, back: { ready: string[] } }
  /**
   * Has the browser ask for parts again that are {@link PageMessages.parts | ready},
   * as the page itself does: Chromium tells nothing of what a content script loads.
   * False: it could not, and the content script does it.
   */
  loadParts: { sent: { urls: string[] }, back: { isLoading: boolean } }
  /** What came of parts that were paid for. Those that come back were refused for a reason that another payment may mend. */
  partsLoaded: { sent: { parts: { url: string, status: number, state: string }[] }, back: { again: string[] } }
  /** The page's own payFetch: a method of the Payer and its arguments, as src/extension_payer.ts writes them. */
  bridge: { sent: { method: string, arguments: unknown[] }, back: { result: unknown } }
}

/** The most parts in one message, and the most that are paid for on one page at a time. */
export const maxParts = 100

/** What the extension's own pages send. */
export interface OwnerMessages {
  overview: { sent: { }, back: Overview }
  /** What the popup shows of the tab in front. */
  tab: { sent: { tabId: number }, back: TabView }
  /**
   * The owner allows a site, and is asked by the browser for its permission at the
   * same time. That question may close the popup, and then nobody is left to tell
   * of a yes: so this is sent before the answer, and takes effect once the browser
   * has the permission, at the latest after two minutes; it rejects with `usage` if
   * not. Pays for the page in the tab, if one waits.
   */
  allow: { sent: { origin: string, limits: SiteLimits, tabId?: number }, back: { } }
  /**
   * Pays for the page in the tab, this once: if it still is the URL, and asks no
   * more than the price, that the owner was shown in the {@link Question}. A page
   * can change both between the question and the click; then it rejects with `usage`.
   */
  payOnce: { sent: { tabId: number, url: string, price: string }, back: { } }
  changeSite: { sent: { origin: string, limits?: SiteLimits, isPaused?: boolean }, back: { } }
  /** Takes the permission back: of payments and, with it, of the browser. */
  revoke: { sent: { origin: string }, back: { } }
  setLimits: { sent: { limits: Limits }, back: { } }
  /** Pauses or resumes everything. */
  pause: { sent: { isPaused: boolean }, back: { } }
  /** Newest first; `skip` of the newest are passed over. `total` counts all of them. */
  receipts: { sent: { origin?: string, skip: number, count: number }, back: { receipts: ReceiptView[], total: number } }
  /** Paid per day, oldest first, for the chart: every day of the last `days`, those without payments too. */
  days: { sent: { days: number }, back: { days: { day: number, spent: string }[] } }
  /** All receipts as a file: CSV with cells that no spreadsheet runs, or JSON. */
  export: { sent: { format: 'csv' | 'json' }, back: { name: string, type: string, text: string } }
  /** Makes the wallet and opens an account. */
  create: { sent: { broker: string, passphrase: string }, back: { account: string } }
  /** The backup as a file. Its seed is sealed with the passphrase that the owner chose; nothing else opens it. */
  backup: { sent: { }, back: { name: string, text: string } }
  /** Makes the wallet from a backup, and asks the broker what it knows besides. */
  restore: { sent: { text: string, passphrase: string }, back: { account: string } }
  /** Makes the wallet from the 14 groups of letters that a seed is written down as. */
  restoreSeed: { sent: { broker: string, seed: string, passphrase: string }, back: { account: string } }
  /** Removes the wallet from this browser. `account` is what the owner typed to be sure. */
  remove: { sent: { account: string }, back: { } }
  /** Asks the broker for the balance. */
  balance: { sent: { }, back: Balance }
  voucher: { sent: { code: string }, back: Balance }
  /** What the broker says was paid, checked by hashing. */
  statement: { sent: { }, back: StatementView }
}

export type Messages = PageMessages & OwnerMessages

/** An error as it travels. `kind`, `reason` and `limit` are those of src/errors.ts; the bridge's have more. */
export interface WireError {
  kind: string
  message: string
  reason?: string
  limit?: string
}

/** The answer to a message. */
export type Answer<T extends keyof Messages> = { ok: true, back: Messages[T]['back'] } | { ok: false, error: WireError }

/** The owner's limits for all sites together, in micros. */
export interface Limits {
  perRequest: string
  perDay: string
  total: string
}

/** The owner's limits for one site, in micros. */
export interface SiteLimits {
  perRequest: string
  perDay: string
  total: string
}

/** One site that the owner allowed. */
export interface SiteView {
  /** The full origin: scheme, host and port. */
  origin: string
  limits: SiteLimits
  isPaused: boolean
  /** Why payments there stopped by themselves: a changed vendor key, or nothing was served for what was paid. */
  stopped?: 'key-changed' | 'not-served'
  /** Released, in micros: what counts against limits. */
  today: string
  inAll: string
  /** Charged, in micros. */
  spent: string
  /** Seconds since 1970; 0 if nothing was released yet. */
  lastPaid: number
}

export interface Overview {
  /** Undefined before there is a wallet. */
  account?: { broker: string, account: string, currency: string }
  isPaused: boolean
  limits: Limits
  /** Released today and ever, in micros. */
  today: string
  inAll: string
  /** Balance at the broker when it was asked last. */
  balance?: Balance
  sites: SiteView[]
  /** The limits of which 80 percent or more are used: `perDay`, `total`, or the origin of a site. */
  notices: string[]
  /** What the pages start from when a site is allowed. */
  suggested: SiteLimits
}

export interface Balance {
  available: string
  reserved: string
  currency: string
  /** When the broker said so. */
  at: number
}

export interface TabView {
  origin?: string
  /** Set if the owner allowed the site. */
  site?: SiteView
  /** The page waits for a payment that needs the owner. */
  question?: Question
  /** Why the page was not paid for although the site is allowed: the limit, or the word of the reason. */
  refusal?: { kind: string, limit?: string, reason?: string, price?: string }
}

/** What a page asks for that the owner has to answer. */
export interface Question {
  origin: string
  /** Set where it is not the origin. */
  vendor?: string
  price: string
  currency: string
  /** The gate's own words, for people; untrusted. */
  description: string
  url: string
  /** Set if the price is higher than what this site asked for before. */
  priceBefore?: string
}

export interface ReceiptView {
  time: number
  url: string
  vendor: string
  amount: string
  currency: string
  returned?: string
}

export interface StatementView {
  account: string
  broker: string
  at: number
  currency: string
  /** Came in, was paid to vendors, and is there, in micros. */
  cameIn: string
  paid: string
  /** Sentences on what does not add up in the account as a whole. */
  problems?: string[]
  commitments: {
    commitment: string
    vendor: string
    paid: string
    /** Hashes from the broker's tails to the roots that this wallet signed. */
    hashes: number
    /** Undefined: all of it agrees. Else one sentence. */
    problem?: string
  }[]
}
