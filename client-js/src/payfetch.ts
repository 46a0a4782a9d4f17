import type { Micros } from './amount.js'
import { emptyBody, readBody } from './body.js'
import { checkAmount, checkBudget } from './budget.js'
import type { Budget } from './budget.js'
import { PaywordError } from './errors.js'
import { Discoveries } from './offer.js'
import type { Payer, Receipt } from './payer.js'
import { Prices } from './prices.js'
import { dress, retarget, sendAndPay, withBody } from './trip.js'
import type { Outgoing, Till } from './trip.js'

/** What {@link payFetch} pays with, and how much. */
export interface PayFetchOptions {
  /** A Wallet, or what `extensionPayer` found. */
  payer: Payer
  /** The most that may be paid. */
  budget: Budget
  /** Sends the requests; the platform's `fetch` unless set. */
  fetch?: typeof fetch
  /** Limit of a commitment that has to be opened, in micros; the wallet's own unless set. */
  deposit?: Micros
  /** Is told of every request that a gate granted, before its answer is handed out, and of what a stream brings or gives back. */
  onReceipt?: (receipt: Receipt) => void
  /** Milliseconds since 1970; `Date.now` unless set. */
  now?: () => number
}

/**
 * Returns a `fetch` that pays for what it is asked to pay for, inside a budget. It
 * answers a 402 that offers the method payword with the intent session; a request
 * with any other answer is passed through untouched. In browsers, Node and workers.
 *
 * Where a site was paid before, the payment goes along at once. One request is
 * sent at most three times with a payment. If the answer to a GET, HEAD or OPTIONS
 * is lost it is asked for again under the same number, which costs nothing more,
 * and so does asking for the same again within fifty seconds. A 503 is given to the caller.
 *
 * A payment never goes to another origin than it was made for. The redirect of a
 * paid answer is followed where the platform shows where it leads (Node, most
 * workers), as a request of its own; browsers do not, and then it is a `lost`
 * error. Nothing is paid over plain http to other machines, and nothing in mode
 * `no-cors`, whose answers cannot be read.
 *
 * A body that is a stream of more than 1 MiB can be sent once only: if a 402 is
 * the answer, that is a RefusedError. All other bodies can be sent again.
 *
 * The returned function rejects with what `fetch` rejects with, and with a
 * PaywordError. Reading a body rejects with one, too, if it breaks off.
 *
 * @throws a `usage` PaywordError if there is no payer, or a limit of the budget or the deposit is no amount.
 */
export function payFetch(options: PayFetchOptions): typeof fetch {
  const { payer, budget, deposit, onReceipt } = options ?? {}
  if (typeof payer?.take !== 'function') throw new PaywordError('usage', 'payFetch: want a payer: a Wallet, or what extensionPayer found')
  checkBudget(budget)
  if (deposit !== undefined) checkAmount('deposit', deposit)
  const base = options.fetch ?? globalThis.fetch
  const till: Till = {
    payer, budget: { ...budget }, deposit, fetch: base, now: options.now ?? Date.now, prices: new Prices(), discoveries: new Discoveries(base),
    // What goes wrong in there is the caller's own, and must not cost the answer.
    tell: receipt => queueMicrotask(() => onReceipt?.(receipt)),
  }
  return async (input, init) => follow(till, await outgoing(input, init))
}

// As often as the Fetch standard follows redirects.
const maxRedirects = 20

/** Sends a request and follows the redirects of paid answers, each as a request of its own. */
async function follow(till: Till, first: Outgoing): Promise<Response> {
  let asked = first
  for (let count = 0; ; count++) {
    const { answer, isPaid } = await sendAndPay(till, asked)
    const target = isPaid ? redirectOf(asked, answer) : undefined
    if (target === undefined) return count === 0 || answer.redirected ? answer : dressAsRedirected(answer)
    if (count === maxRedirects) throw new TypeError(`${first.url.origin} redirects more than ${maxRedirects} times`)
    await answer.body?.cancel()
    asked = await target
  }
}

function dressAsRedirected(answer: Response): Response {
  const { url, type } = answer
  return dress(answer.body === null ? answer : withBody(answer, answer.body), { url, type, redirected: true })
}

const redirectStatuses = [301, 302, 303, 307, 308]

/** The request that a redirect of a paid answer asks for; undefined if it is none, or the caller wants to see it. */
function redirectOf(asked: Outgoing, answer: Response): Promise<Outgoing> | undefined {
  const isOpaque = answer.type === 'opaqueredirect'
  const location = answer.headers.get('Location')
  if (!isOpaque && (location === null || !redirectStatuses.includes(answer.status)) || asked.redirect === 'manual') return undefined
  if (asked.redirect === 'error') throw new TypeError(`${asked.url.origin} answers with a redirect`)
  if (isOpaque || location === null) {
    throw new PaywordError('lost', `paying ${asked.url.origin}: the paid answer is a redirect, and this platform does not show where it leads: ask for its target itself`)
  }
  return redirected(asked, location, answer.status)
}

/** As the Fetch standard says of redirects (section 4.4). */
async function redirected(asked: Outgoing, location: string, status: number): Promise<Outgoing> {
  const url = URL.canParse(location, asked.url.href) ? new URL(location, asked.url) : undefined
  if (url === undefined || url.protocol !== 'https:' && url.protocol !== 'http:') throw new TypeError(`${asked.url.origin} redirects to what is no web address`)
  if (asked.rest.mode === 'same-origin' && url.origin !== asked.url.origin) throw new TypeError(`${asked.url.origin} redirects to another origin`)
  if (url.hash === '') url.hash = asked.url.hash
  const next = retarget(asked, url)
  const isRead = asked.method === 'GET' || asked.method === 'HEAD'
  if (status === 303 && !isRead || status <= 302 && asked.method === 'POST') {
    for (const name of ['Content-Encoding', 'Content-Language', 'Content-Location', 'Content-Type', 'Content-Length']) next.headers.delete(name)
    return { ...next, method: 'GET', body: await emptyBody() }
  }
  if (!next.body.canSend) throw new TypeError(`${asked.url.origin} redirects a body that cannot be sent again`)
  return next
}

const requestMembers = ['cache', 'credentials', 'integrity', 'keepalive', 'mode', 'referrer', 'referrerPolicy'] as const

/** Reads what `fetch` was called with, and changes none of it. */
async function outgoing(input: RequestInfo | URL, init: RequestInit | undefined): Promise<Outgoing> {
  const isStream = init?.body instanceof ReadableStream || typeof init?.body === 'object' && init.body !== null && Symbol.asyncIterator in init.body
  const request = new Request(input, isStream ? { duplex: 'half', ...init } as RequestInit : init)
  const rest: Record<string, unknown> = { ...init }
  if (input instanceof Request) for (const name of requestMembers) rest[name] ??= valueToSend(name, input[name])
  for (const name of ['method', 'body', 'headers', 'signal', 'redirect', 'duplex']) delete rest[name]
  for (const name of Object.keys(rest)) if (rest[name] === undefined) delete rest[name]
  const given = init?.body ?? (input instanceof Request ? undefined : null)
  const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined)
  return {
    method: request.method, url: new URL(request.url), headers: new Headers(request.headers), body: await readBody(request, given),
    signal, redirect: request.redirect ?? 'follow', isReadable: request.mode !== 'no-cors', rest: rest as RequestInit,
  }
}

/** What only the platform itself can ask for is left out. */
function valueToSend(name: string, value: unknown): unknown {
  return name === 'mode' && value === 'navigate' || name === 'referrer' && value === 'about:client' || value === '' ? undefined : value
}
