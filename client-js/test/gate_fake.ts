import type { Micros } from '../src/amount.js'
import { formatChallenge, formatPriceRequest } from '../src/challenge.js'
import type { Challenge, PriceRequest } from '../src/challenge.js'
import { formatStatus, parsePayment } from '../src/header.js'
import { requestURL } from '../src/origin.js'
import type { Payment, Status } from '../src/payer.js'
import { Refusal } from '../src/reason.js'
import type { Reason } from '../src/reason.js'

/** What a site answers. */
export type Handler = (request: Request) => Response | Promise<Response>

/** A request as a site saw it. */
export interface Seen {
  method: string
  url: string
  headers: Headers
  body: string
}

/** Sites in memory, and a `fetch` that asks them as the platform's does. */
export class FakeWeb {
  readonly #sites = new Map<string, Handler>()
  readonly seen: Seen[] = []
  /** Whether a redirect in mode manual shows nothing, as in browsers. */
  isBrowser = false

  /** Adds a site. */
  site(origin: string, handler: Handler): void {
    this.#sites.set(origin, handler)
  }

  /** What an origin saw. */
  seenBy(origin: string): Seen[] {
    return this.seen.filter(({ url }) => new URL(url).origin === origin)
  }

  readonly fetch: typeof fetch = async (input, init) => {
    let request = new Request(input, init)
    for (let count = 0; count < 20; count++) {
      const answer = await this.#ask(request)
      const location = answer.headers.get('Location')
      if (location === null || request.redirect !== 'follow') {
        const isHidden = location !== null && this.isBrowser
        return isHidden ? describe(Response.error(), { type: 'opaqueredirect', url: request.url }) : describe(answer, { url: request.url, redirected: count > 0 })
      }
      // As browsers do: own headers go along, wherever it leads.
      request = new Request(new URL(location, request.url), { method: request.method, headers: request.headers })
    }
    throw new TypeError('too many redirects')
  }

  async #ask(request: Request): Promise<Response> {
    const url = new URL(request.url)
    const site = this.#sites.get(url.origin)
    if (site === undefined) throw new TypeError('fetch failed', { cause: Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }) })
    request.signal.throwIfAborted()
    this.seen.push({ method: request.method, url: request.url, headers: request.headers, body: await request.clone().text() })
    return site(request)
  }
}

function describe(answer: Response, members: Record<string, unknown>): Response {
  return Object.defineProperties(answer, Object.fromEntries(Object.entries(members).map(([name, value]) => [name, { value }])))
}

/** What a gate holds of one commitment. One step is worth one micro. */
interface Commitment {
  accepted: Micros
  spent: Micros
  numbers: Map<number, string>
}

/** A vendor's gate in memory, without any cryptography. Its hooks let it fail and lie. */
export class FakeGate {
  readonly origin: string
  price: Micros = 1000n
  readonly prices = new Map<string, Micros>()
  brokers = ['https://broker.example']
  readonly #commitments = new Map<string, Commitment>()
  /** How often each path was charged, and each request number. */
  readonly charged = new Map<string, number>()
  /** Serves what was paid for. */
  upstream: Handler = request => new Response(`content of ${new URL(request.url).pathname}`)
  /** Answers instead of the gate, if it returns something. */
  before: (request: Request) => Response | undefined = () => undefined
  editQuote: (quote: PriceRequest) => PriceRequest = quote => quote
  editChallenge: (challenge: Challenge) => Challenge = challenge => challenge
  editStatus: (status: Status) => Status | undefined = status => status
  /** Charges so many requests, and loses the answer. */
  loseAnswers = 0
  /** Charges so many requests, and breaks off in the middle of the body. */
  breakBodies = 0
  refuseAll: Reason | undefined

  constructor(web: FakeWeb, origin: string) {
    this.origin = origin
    web.site(origin, request => this.serve(request))
  }

  /** Of all commitments, in micros: what can be claimed, and what was charged. */
  get taken(): { accepted: Micros, spent: Micros } {
    const all = [...this.#commitments.values()]
    return { accepted: all.reduce((sum, { accepted }) => sum + accepted, 0n), spent: all.reduce((sum, { spent }) => sum + spent, 0n) }
  }

  /** Forgets everything, as a gate whose store was lost. */
  forget(): void {
    this.#commitments.clear()
  }

  priceOf(path: string): Micros {
    return this.prices.get(path) ?? this.price
  }

  /** Answers a request. */
  async serve(request: Request): Promise<Response> {
    const answered = this.before(request)
    if (answered !== undefined) return answered
    const path = new URL(request.url).pathname
    const price = request.method === 'HEAD' ? 0n : this.priceOf(path)
    const field = request.headers.get('Payword')
    if (price === 0n && field === null && request.method !== 'HEAD') return this.upstream(request)
    if (field === null) return this.refuse(request, undefined)
    const payment = parsePayment(field)
    if (payment instanceof Refusal) return this.refuse(request, { reason: payment.reason, price })
    return this.#pay(request, payment, price)
  }

  async #pay(request: Request, payment: Payment, price: Micros): Promise<Response> {
    const commitment = this.#commitments.get(payment.commitmentId) ?? this.#open(request, payment)
    const status = (reason: string, isKnown = true): Status => {
      const known = commitment && { accepted: commitment.accepted, spent: commitment.spent, chain: 0, index: Number(commitment.accepted), tailHash: 'A'.repeat(43) }
      return { reason, price, number: payment.number, ...(isKnown && known && { known }) }
    }
    if (this.refuseAll !== undefined) return this.refuse(request, status(this.refuseAll))
    if (commitment === undefined) return this.refuse(request, status('unknown-commitment', false))
    if (BigInt(payment.index) > commitment.accepted) commitment.accepted = BigInt(payment.index)
    const fingerprint = `${request.method} ${request.url} ${await request.clone().text()}`
    const before = commitment.numbers.get(payment.number)
    if (before !== undefined && before !== fingerprint) return this.refuse(request, status('already-used'))
    if (before === undefined) {
      if (price > payment.max) return this.refuse(request, status('price-over-max'))
      if (commitment.accepted - commitment.spent < price) return this.refuse(request, status('insufficient-credit'))
      commitment.spent += price
      commitment.numbers.set(payment.number, fingerprint)
      const path = new URL(request.url).pathname
      this.charged.set(path, (this.charged.get(path) ?? 0) + 1)
    }
    return this.#grant(request, commitment, payment, price, status)
  }

  async #grant(request: Request, commitment: Commitment, payment: Payment, price: Micros, status: (reason: string) => Status): Promise<Response> {
    if (this.loseAnswers > 0) {
      this.loseAnswers--
      throw new TypeError('fetch failed', { cause: Object.assign(new Error('other side closed'), { code: 'UND_ERR_SOCKET' }) })
    }
    const answer = await this.upstream(request)
    if (answer.status >= 300 && commitment.numbers.delete(payment.number)) commitment.spent -= price
    const state = this.editStatus(status('accepted'))
    const headers = new Headers(answer.headers)
    if (state !== undefined) headers.set('Payword-State', formatStatus(state))
    const body = this.breakBodies-- > 0 ? brokenBody() : answer.body
    return new Response(request.method === 'HEAD' ? null : body, { status: answer.status, headers })
  }

  #open(request: Request, payment: Payment): Commitment | undefined {
    if (request.headers.get('Payword-Commitment') === null) return undefined
    const commitment: Commitment = { accepted: 0n, spent: 0n, numbers: new Map() }
    this.#commitments.set(payment.commitmentId, commitment)
    return commitment
  }

  /** The answer 402 with a challenge. */
  refuse(request: Request, status: Status | undefined): Response {
    const url = new URL(request.url)
    const quote = this.editQuote({
      amount: this.priceOf(url.pathname), currency: 'usd-micro', recipient: this.origin, unitType: 'request',
      methodDetails: {
        brokers: this.brokers, httpMethod: request.method === 'HEAD' ? 'GET' : request.method, maxStep: 4096, unreserved: false, url: requestURL(url), version: 1,
      },
    })
    const challenge = this.editChallenge({ id: 'id', realm: 'test', method: 'payword', intent: 'session', request: formatPriceRequest(quote) })
    const headers = new Headers({ 'WWW-Authenticate': formatChallenge(challenge), 'Cache-Control': 'no-store' })
    const told = status && this.editStatus(status)
    if (told !== undefined) headers.set('Payword-State', formatStatus(told))
    return new Response('pay first', { status: 402, headers })
  }
}

function brokenBody(): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start: controller => controller.enqueue(new TextEncoder().encode('half of')),
    pull: () => Promise.reject(new TypeError('terminated')),
  })
}
