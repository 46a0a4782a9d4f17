import { sha256 } from '@noble/hashes/sha2.js'
import { Method, z } from 'mppx'
import type { Micros } from './amount.js'
import { readText, watchBody } from './body.js'
import type { Budget } from './budget.js'
import { formatChallenge, parseChallenges, paymentMethod, type Challenge } from './challenge.js'
import { formatCredential, newPayload } from './credential.js'
import { toBase64url, toUtf8 } from './encoding.js'
import { BudgetError, PaywordError } from './errors.js'
import { maxProblemBytes } from './limits.js'
import { MalformedError } from './malformed.js'
import { Discoveries, readOffer } from './offer.js'
import type { Offer, Payer, Receipt, Status, Ticket } from './payer.js'
import { parseProblem } from './problem.js'
import { parsePaymentReceipt } from './receipt.js'

/** What {@link paywordForMppx} pays with, and how much. */
export interface PaywordForMppxOptions {
  /** A Wallet, or what `extensionPayer` found. */
  payer: Payer
  /** The most that may be paid. */
  budget: Budget
  /** Limit of a commitment that has to be opened, in micros; the wallet's own unless set. */
  deposit?: Micros
  /** Sends the requests; the platform's `fetch` unless set. */
  fetch?: typeof fetch
  /** Is told of every granted request, before its answer is handed out. */
  onReceipt?: (receipt: Receipt) => void
}

const wire = Method.from({
  name: 'payword',
  intent: 'session',
  schema: {
    credential: { payload: z.object({ action: z.string() }) },
    request: z.record(z.string(), z.unknown()),
  },
})

/** How many offers and payments are remembered that nobody came back for. */
const maxKnown = 256

/** An offer that was checked, or why it must not be paid. */
interface Known {
  challenge: Challenge
  offer: Offer | PaywordError
  fingerprint: string
  before: Before
}

/** What was done for a request before this challenge came. Amounts are micros. */
interface Before {
  released: Micros
  /** Of that, what cannot pay for it any more. */
  forfeited: Micros
}

const nothing: Before = { released: 0n, forfeited: 0n }

interface Sent extends Known {
  ticket: Ticket
}

/**
 * Makes payword a method of the `mppx` client (the npm package of that name),
 * beside its others: give it both parts,
 * `Mppx.create({ methods: [payword.method, …], fetch: payword.fetch })`.
 *
 * `fetch` is where the answers are seen: it checks what a 402 asks for before
 * mppx chooses, and settles what was paid afterwards, so that no credit is lost.
 * Without it nothing is paid. A challenge that must not be paid (another
 * broker's, another URL's) is left to the other methods. A payment never follows
 * a redirect. Streams are paid up to their ceiling; `payFetch` pays on inside of them.
 *
 * mppx rejects with what the payer rejects with: a BudgetError, StalledError,
 * BrokerError or RefusedError.
 */
export function paywordForMppx(options: PaywordForMppxOptions): { method: Method.AnyClient, fetch: typeof fetch } {
  const counter = new Counter(options)
  const method = Method.toClient(wire, {
    canHandleChallenge: ({ challenge }) => counter.canPay(challenge.id),
    createCredential: ({ challenge }) => counter.pay(challenge.id),
  })
  return { method, fetch: (input, init) => counter.send(input, init) }
}

/** Puts a value into a map that forgets the oldest. */
function remember<K, V>(map: Map<K, V>, key: K, value: V): void {
  const oldest = map.keys().next()
  if (map.size >= maxKnown && !oldest.done) map.delete(oldest.value)
  map.set(key, value)
}

function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}

/** Offers by challenge, and payments by credential, between what mppx asks and what it sends. */
class Counter {
  readonly #options: PaywordForMppxOptions
  readonly #fetch: typeof fetch
  readonly #discoveries: Discoveries
  readonly #known = new Map<string, Known>()
  readonly #sent = new Map<string, Sent>()

  constructor(options: PaywordForMppxOptions) {
    this.#options = options
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init))
    this.#discoveries = new Discoveries(this.#fetch)
  }

  canPay(challengeId: string): boolean {
    const known = this.#known.get(challengeId)
    return known !== undefined && !(known.offer instanceof PaywordError)
  }

  /** Debits the wallet and returns the credential. */
  async pay(challengeId: string): Promise<string> {
    const known = this.#known.get(challengeId)
    if (!known) throw new PaywordError('usage', 'the challenge did not come by the fetch of paywordForMppx: give that to Mppx.create as well')
    if (known.offer instanceof PaywordError) throw known.offer
    const { payer, budget, deposit } = this.#options
    const { fingerprint, before: { released, forfeited } } = known
    const ticket = await payer.take(known.offer, { budget, fingerprint, ...forfeited > 0n && { forfeited }, ...deposit !== undefined && { deposit } })
    if (released + ticket.released > budget.perRequest) {
      await payer.takeBack(ticket)
      const [want, left] = [released + ticket.released, budget.perRequest - released]
      throw new BudgetError({ limit: 'perRequest', vendor: ticket.vendor, want, left, currency: known.offer.currency })
    }
    const { commitment, reservation } = ticket
    const tokens = commitment === undefined ? {} : { commitment, ...reservation !== undefined && { reservation } }
    const credential = formatCredential({ challenge: known.challenge, payload: newPayload(ticket.payment, tokens) })
    remember(this.#sent, credential, { ...known, ticket, before: { released: released + ticket.released, forfeited } })
    return credential
  }

  /** Sends a request of mppx, and settles it if a payment of ours goes along. */
  async send(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined))
    const credential = ['Authorization', 'Payment-Authorization'].map(name => headers.get(name) ?? '').find(value => this.#sent.has(value)) ?? ''
    const sent = this.#sent.get(credential)
    this.#sent.delete(credential)
    const asked = { method: (init.method ?? (input instanceof Request ? input.method : 'GET')).toUpperCase(), url: urlOf(input) }
    const send = this.#fetch
    if (!sent) return this.#note(asked, await send(input, init), nothing)
    let answer: Response
    try {
      answer = await send(input, { ...init, redirect: 'manual' })
    } catch (error) {
      await this.#options.payer.lose(sent.ticket, isSafe(asked.method))
      throw error
    }
    return answer.status === 402 ? this.#refused(asked, sent, answer) : this.#granted(asked, sent, answer)
  }

  /** Checks the offers of a 402 before mppx chooses. */
  async #note(asked: { method: string, url: URL }, answer: Response, before: Before): Promise<Response> {
    const field = answer.headers.get('WWW-Authenticate')
    if (answer.status !== 402 || field === null) return answer
    const account = await this.#options.payer.account()
    const url = answer.url === '' ? asked.url : new URL(answer.url)
    for (const challenge of ours(field)) {
      const headers = new Headers({ 'WWW-Authenticate': formatChallenge(challenge) })
      const checked = { method: asked.method, url, digest: undefined }
      const offer = await readOffer(checked, headers, { account, discoveries: this.#discoveries, now: Date.now() }).catch((error: unknown) => {
        if (error instanceof PaywordError) return error
        throw error
      })
      const fingerprint = toBase64url(sha256(toUtf8(`${asked.method}\n${url.href}\n${challenge.digest ?? ''}`)))
      if (offer) remember(this.#known, challenge.id, { challenge, offer, fingerprint, before })
    }
    return answer
  }

  async #granted(asked: { method: string, url: URL }, sent: Sent, answer: Response): Promise<Response> {
    const { payer, onReceipt } = this.#options
    const { ticket } = sent
    const amount = chargedFor(ticket, answer)
    if (amount === undefined) {
      await payer.lose(ticket, isSafe(asked.method))
      return answer
    }
    const isWhole = answer.body === null || !isSafe(asked.method)
    // The answer is paid for: the caller has it even if that cannot be noted.
    const receipt = await payer.settle(ticket, { url: asked.url.href, amount, isWhole }).catch(() => undefined)
    if (receipt) queueMicrotask(() => onReceipt?.(receipt))
    if (answer.body === null || isWhole) return answer
    const body = watchBody(answer.body, {
      ended: () => { payer.delivered(ticket, amount).catch(() => {}) },
      brokeOff: async error => {
        await payer.lose(ticket, true).catch(() => {})
        return error
      },
    })
    return withParts(answer, body, answer.headers)
  }

  /** Learns from a refusal; a challenge that makes no sense to be paid again is taken out, so that mppx stops. */
  async #refused(asked: { method: string, url: URL }, sent: Sent, answer: Response): Promise<Response> {
    const text = await readText(answer.clone(), maxProblemBytes).catch(() => undefined)
    const status = statusOf(text) ?? { reason: 'payment-required', price: sent.ticket.payment.max }
    const { shouldRetry, forfeited } = await this.#options.payer.refused(sent.ticket, status)
    const field = answer.headers.get('WWW-Authenticate')
    if (shouldRetry || field === null) return this.#note(asked, answer, { ...sent.before, forfeited: sent.before.forfeited + forfeited })
    const headers = new Headers(answer.headers)
    headers.delete('WWW-Authenticate')
    for (const challenge of others(field)) headers.append('WWW-Authenticate', formatChallenge(challenge))
    return withParts(answer, answer.body, headers)
  }
}

function urlOf(input: RequestInfo | URL): URL {
  const text = input instanceof Request ? input.url : String(input)
  return 'location' in globalThis ? new URL(text, globalThis.location.href) : new URL(text)
}

function challengesOf(field: string): Challenge[] {
  try {
    return parseChallenges([field])
  } catch (error) {
    if (error instanceof MalformedError) return [] // another scheme's mistake, for mppx to see
    throw error
  }
}

const isOurs = ({ method, intent }: Challenge): boolean => method === paymentMethod && intent === 'session'
const ours = (field: string): Challenge[] => challengesOf(field).filter(isOurs)
const others = (field: string): Challenge[] => challengesOf(field).filter(challenge => !isOurs(challenge))

/** What the answer says it cost, at most what was agreed to; undefined if it says nothing. Errors and redirects cost nothing. */
function chargedFor(ticket: Ticket, answer: Response): Micros | undefined {
  const field = answer.headers.get('Payment-Receipt')
  if (field === null) return answer.ok || answer.status >= 500 ? undefined : 0n
  try {
    const { reference, amount } = parsePaymentReceipt(field)
    const { commitmentId, number, max } = ticket.payment
    if (reference !== `${commitmentId}.${number}`) return undefined
    // The receipt of a repeat is for nothing, but the request agreed to pay once.
    if (ticket.isRepeat && amount === 0n) return max
    return amount < max ? amount : max
  } catch (error) {
    if (error instanceof MalformedError) return undefined
    throw error
  }
}

function statusOf(text: string | undefined): Status | undefined {
  if (text === undefined) return undefined
  try {
    const { reason, price, number, accepted, spent, chain, index, tailHash } = parseProblem(text)
    if (reason === undefined || price === undefined) return undefined
    const isKnown = accepted !== undefined && spent !== undefined && chain !== undefined && index !== undefined && tailHash !== undefined
    return { reason, price, ...number !== undefined && { number }, ...isKnown && { known: { accepted, spent, chain, index, tailHash } } }
  } catch (error) {
    if (error instanceof MalformedError) return undefined
    throw error
  }
}

function withParts(answer: Response, body: ReadableStream<Uint8Array<ArrayBuffer>> | null, headers: Headers): Response {
  const { status, statusText } = answer
  return new Response(body, { status, statusText, headers })
}
