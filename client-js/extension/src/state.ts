import type { Refusal } from './policy.js'
import type { SiteLimits } from './messages.js'
import { Stored } from './stored.js'

/**
 * What is under way, in `chrome.storage.session`: it outlives the worker, not the
 * browser. Content scripts cannot read it. Amounts are strings of micros, times
 * seconds since 1970.
 */
export interface State {
  /** Of the next rule; rules of one session never share a number. */
  nextRule: number
  /** By {@link attemptKey}. */
  attempts: Record<string, Attempt>
  /** Pages that the owner said "pay once" for, by tab. */
  once: Record<string, Once>
  /** Why a tab's page was not paid for. */
  refusals: Record<string, { url: string, refusal: Refusal }>
  /** When payments to a site were made in the last minute, by origin. */
  lately: Record<string, number[]>
  /** Discovery documents that were read, by origin. */
  vendors: Record<string, { at: number, vendor: string, keys: string[], origins: string[] }>
  /** Tickets that a page's own payFetch has, by their id. */
  tickets: Record<string, { origin: string, at: number, ticket: unknown }>
  /** What the owner allows as soon as the browser has given its permission, by origin. */
  pending: Record<string, { limits: SiteLimits, tabId?: number, until: number }>
  /** The balance, when the broker was asked last. */
  balance?: { available: string, reserved: string, currency: string, at: number }
}

/**
 * One payment for one URL in one tab.
 *
 * - `taking`: the wallet is being debited; nothing has left.
 * - `sent`: a rule carries it, or has carried it.
 * - `unseen`: the server answered as if it had not come: a cookie is next.
 * - `cookie`: it was handed to the content script, to be proved by a HEAD.
 * - `proved`: the server has it, and a cookie says so for the page's request.
 * - `refused`: the server refused it and another is worth a try.
 * - `paid`: the page was granted, and is not shown yet.
 * - `failed`: no more is paid for this URL in this tab.
 */
export interface Attempt {
  phase: 'taking' | 'sent' | 'unseen' | 'cookie' | 'proved' | 'refused' | 'paid' | 'failed'
  tabId: number
  url: string
  origin: string
  isPart: boolean
  /** Paid because the owner said so for this page alone. */
  isOnce: boolean
  at: number
  /** Tickets taken for it so far. */
  tries: number
  /** The worker that is taking; another one means that it was stopped meanwhile. */
  worker: string
  /** What the server asked for. */
  price: string
  /** Released for it and gone. */
  forfeited: string
  /** As writeResult of src/extension_payer.ts makes it. */
  ticket?: unknown
  rule?: number
}

/** The owner's yes to one page at one price. */
export interface Once {
  url: string
  price: string
  until: number
}

/** The most attempts that are remembered: pages with sixty parts in several tabs. */
const maxAttempts = 600

/** How long something is remembered of a URL that is paid no more in a tab, in seconds. */
const failedSeconds = 10 * 60

/** How long a rule is in place, and a payment counted as under way, in seconds. */
export const underWaySeconds = 15

/** The state of a browser that has just started. */
export function newState(): State {
  return { nextRule: 1, attempts: {}, once: {}, refusals: {}, lately: {}, vendors: {}, tickets: {}, pending: {} }
}

/** The state, where it is stored. */
export const stateStore = new Stored(() => chrome.storage.session, 'state', stored => stored === undefined ? newState() : stored as State)

/** The name of a URL in a tab: one try is made for each. */
export function attemptKey(tabId: number, url: string): string {
  return `${tabId} ${url}`
}

/** Forgets what is old, so that the state stays small. What is under way stays: {@link isOverdue} ends it. */
export function forgetOld(state: State, now: number): void {
  forgetFuture(state, now)
  const attempts = Object.entries(state.attempts)
  for (const [key, { phase, at }] of attempts) {
    const isOld = phase === 'paid' || phase === 'taking' ? now - at > 120 : phase === 'failed' && now - at > failedSeconds
    if (isOld) delete state.attempts[key]
  }
  const done = Object.entries(state.attempts).filter(([, { phase }]) => phase === 'failed' || phase === 'paid')
  for (const [key] of done.slice(0, Math.max(0, attempts.length - maxAttempts))) delete state.attempts[key]
  for (const [origin, times] of Object.entries(state.lately)) {
    const recent = times.filter(at => now - at < 60)
    if (recent.length > 0) state.lately[origin] = recent
    else delete state.lately[origin]
  }
  dropOlder(state.vendors, now - vendorSeconds)
  dropOlder(state.tickets, now - ticketSeconds)
  for (const ending of [state.once, state.pending]) {
    for (const [key, { until }] of Object.entries(ending)) if (until < now) delete ending[key]
  }
}

// A clock that was set back would keep rules and counts until it is where it was.
function forgetFuture(state: State, now: number): void {
  for (const attempt of Object.values(state.attempts)) attempt.at = Math.min(attempt.at, now)
  for (const [origin, times] of Object.entries(state.lately)) state.lately[origin] = times.map(at => Math.min(at, now))
}

// How long a discovery document is believed, and a page's own payFetch may take.
const vendorSeconds = 10 * 60
const ticketSeconds = 15 * 60

function dropOlder(from: Record<string, { at: number }>, time: number): void {
  for (const [key, { at }] of Object.entries(from)) if (at < time) delete from[key]
}
