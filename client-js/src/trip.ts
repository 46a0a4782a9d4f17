import { sha256 } from '@noble/hashes/sha2.js'

import type { Micros } from './amount.js'
import { drain, watchBody } from './body.js'
import type { RequestBody } from './body.js'
import type { Budget } from './budget.js'
import { toBase64url, toUtf8 } from './encoding.js'
import { BudgetError, PaywordError, RefusedError, StalledError } from './errors.js'
import { formatPayment, headerCommitment, headerPayword, headerReservation, headerState, headerStream, parseStatus } from './header.js'
import { isPayable, readOffer } from './offer.js'
import type { Buyer, Discoveries } from './offer.js'
import type { Grant, Offer, Payer, Payment, Receipt, Status, Ticket } from './payer.js'
import type { Prices } from './prices.js'
import { Refusal } from './reason.js'
import type { Reason } from './reason.js'
import { followStream, streamIdOf } from './stream.js'

/** What all requests of one `payFetch` have in common. */
export interface Till {
  payer: Payer
  budget: Budget
  /** Limit of a commitment that has to be opened, in micros; undefined: the wallet's own. */
  deposit: Micros | undefined
  fetch: typeof fetch
  /** Milliseconds since 1970. */
  now: () => number
  tell: (receipt: Receipt) => void
  prices: Prices
  discoveries: Discoveries
}

/** One request as it was asked for. */
export interface Outgoing {
  method: string
  url: URL
  headers: Headers
  body: RequestBody
  signal: AbortSignal | undefined
  redirect: RequestRedirect
  /** Whether an answer to it can be read: it is not `no-cors`. */
  isReadable: boolean
  /** All else that `fetch` takes. */
  rest: RequestInit
}

/** What came of a request, and whether a payment went along with it. */
export interface Outcome {
  answer: Response
  isPaid: boolean
}

// How often one request is sent with a payment.
const maxAttempts = 3

// What a guess may leave as credit with a vendor whose prices differ: a part of
// a commitment of 0.50.
const maxGuess = 31_250n

/**
 * Sends a request and pays for it if need be: docs/protocol.md, section 7. What
 * is known of the site is paid at once, all else once a 402 asks for it. One
 * request is sent at most three times with a payment, and all that is released
 * for it stays within the budget per request.
 */
export async function sendAndPay(till: Till, asked: Outgoing): Promise<Outcome> {
  for (const name of [headerPayword, headerCommitment, headerReservation]) asked.headers.delete(name)
  const { method, url, isReadable } = asked
  const guess = isReadable && isPayable(url) ? till.prices.guess(method, url, maxGuess, till.now()) : undefined
  if (guess !== undefined) {
    const answer = await new Trip(till, asked, guess).guessed()
    if (answer !== undefined) return { answer, isPaid: true }
  }
  return probe(till, asked)
}

/** Whether a request of this method may be executed twice. */
export function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}

/** Sends the request without a payment, and pays if it is asked to. */
async function probe(till: Till, asked: Outgoing): Promise<Outcome> {
  const answer = await send(till, asked, undefined)
  const { status, headers } = answer
  if (answer.ok && !answer.redirected) till.prices.free(asked.method, asked.url)
  if (status !== 402 || !asked.isReadable) return { answer, isPaid: false }
  const target = answer.redirected ? retarget(asked, new URL(answer.url)) : asked
  const offer = await readOffer(askedOf(target), headers, await buyerOf(till)).catch((error: unknown) => {
    void drain(answer)
    throw error
  })
  if (offer === undefined) return { answer, isPaid: false }
  void drain(answer)
  if (answer.redirected && target.method !== 'GET' && target.method !== 'HEAD') {
    throw refusal(offer, 'wrong-resource', 402, `a redirect led a ${target.method} to ${target.url.origin}: ask for it there`)
  }
  if (!target.body.canSend) throw refusal(offer, 'payment-required', 402, 'the body is a stream too long to be sent again: give it as a Blob')
  return { answer: await new Trip(till, target, offer).pay(), isPaid: true }
}

/** The same request to another URL. What is for the first origin alone stays there. */
export function retarget(asked: Outgoing, url: URL): Outgoing {
  const headers = new Headers(asked.headers)
  if (url.origin !== asked.url.origin) for (const name of ['Authorization', 'Cookie', 'Host', 'Proxy-Authorization']) headers.delete(name)
  return { ...asked, url, headers }
}

async function buyerOf(till: Till): Promise<Buyer> {
  return { account: await till.payer.account(), discoveries: till.discoveries, now: till.now() }
}

function askedOf({ method, url, body }: Outgoing): { method: string, url: URL, digest: string | undefined } {
  return { method, url, digest: body.digest }
}

function send(till: Till, asked: Outgoing, ticket: Ticket | undefined): Promise<Response> {
  const headers = new Headers(asked.headers)
  if (ticket !== undefined) {
    headers.set(headerPayword, formatPayment(ticket.payment))
    if (ticket.commitment !== undefined) headers.set(headerCommitment, ticket.commitment)
    if (ticket.commitment !== undefined && ticket.reservation !== undefined) headers.set(headerReservation, ticket.reservation)
  }
  const base = till.fetch
  return base(asked.url.href, {
    ...asked.rest, ...asked.body.next(), method: asked.method, headers, ...(asked.signal && { signal: asked.signal }),
    // A browser would send our headers on to wherever a redirect leads.
    redirect: ticket === undefined ? asked.redirect : 'manual',
  })
}

/** Proves paywords on the way, which agree to pay nothing. One that is lost makes the payment itself be refused. */
async function sendSteps(till: Till, { url, rest, signal }: Outgoing, steps: Payment[]): Promise<void> {
  const base = till.fetch
  for (const step of steps) {
    const headers = { [headerPayword]: formatPayment(step) }
    await base(url.href, { ...rest, method: 'HEAD', headers, redirect: 'manual', ...(signal && { signal }) }).catch(() => undefined)
  }
}

function statusOf(answer: Response, ticket: Ticket): Status | undefined {
  const field = answer.headers.get(headerState)
  const status = field === null ? undefined : parseStatus(field)
  if (status === undefined || status instanceof Refusal) return undefined
  // What a cache kept is of another payment.
  return status.number === undefined || status.number === ticket.payment.number ? status : undefined
}

function refusal(offer: Offer, reason: string, status: number, detail: string): RefusedError {
  const { origin, price, currency } = offer
  return new RefusedError({ reason, origin, detail, price, currency, status })
}

/** One request that is paid for. */
class Trip {
  readonly #till: Till
  readonly #asked: Outgoing
  readonly #isSafe: boolean
  #offer: Offer
  /** Undefined: take one. */
  #ticket: Ticket | undefined
  /** The commitment that was debited last. */
  #paidOn: string | undefined
  /** For this request, in micros. */
  #released: Micros = 0n
  /** Part of what was released that cannot pay for this request any more. */
  #forfeited: Micros = 0n

  constructor(till: Till, asked: Outgoing, offer: Offer) {
    this.#till = till
    this.#asked = asked
    this.#isSafe = isSafe(asked.method)
    this.#offer = offer
  }

  /** Pays what was guessed. Undefined if the request has to be sent without a payment. */
  async guessed(): Promise<Response | undefined> {
    try {
      const answer = await this.pay()
      // Nobody asked for this payment: the redirect may be a free one.
      return answer.type === 'opaqueredirect' && this.#asked.redirect === 'follow' && this.#isSafe ? undefined : answer
    } catch (error) {
      // The guess may have been too high, or wrong of a page that is free.
      const isRefusedHere = error instanceof BudgetError || error instanceof StalledError
      const isUnsent = this.#paidOn === undefined && error instanceof PaywordError
      if ((isRefusedHere || isUnsent) && this.#asked.body.canSend) return undefined
      throw error
    }
  }

  /** Sends the request with a payment until it is granted or refused for good. */
  async pay(): Promise<Response> {
    let last: Reason = 'payment-required'
    for (let attempt = 1; attempt <= maxAttempts; attempt++) {
      this.#ticket ??= await this.#take(last)
      const answer = await this.#attempt(this.#ticket, attempt)
      if (answer === undefined) continue
      const status = statusOf(answer, this.#ticket)
      if (await this.#isDone(answer, status)) return this.#granted(this.#ticket, answer, status)
      if (couldNotTell(answer, status)) {
        await this.#till.payer.lose(this.#ticket, this.#isSafe)
        return answer
      }
      last = (status?.reason ?? last) as Reason
      void drain(answer)
      await this.#mend(this.#ticket, answer, status)
      this.#ticket = undefined
      if (!this.#asked.body.canSend) break
    }
    throw this.#refusal(last, 402, 'so the server says each time it is paid')
  }

  async #isDone(answer: Response, status: Status | undefined): Promise<boolean> {
    return !couldNotTell(answer, status) && answer.status !== 402 && (status === undefined || status.reason === 'accepted')
  }

  /** Takes a ticket, and sees to it that all of this request stays within the budget. */
  async #take(last: Reason): Promise<Ticket> {
    const { payer, budget } = this.#till
    const ticket = await payer.take(this.#offer, this.#terms(this.#fingerprint())).catch((error: unknown) => {
      const isSpent = error instanceof BudgetError && error.limit === 'perRequest' && this.#forfeited > 0n
      throw isSpent ? this.#refusal(last, 0, 'paying once more would take more than the budget allows for one request') : error
    })
    // What was released on another commitment cannot pay for this request.
    if (this.#paidOn !== undefined && this.#paidOn !== ticket.payment.commitmentId) this.#forfeited = this.#released
    if (this.#released + ticket.released > budget.perRequest || this.#asked.signal?.aborted === true) {
      await payer.takeBack(ticket)
      this.#asked.signal?.throwIfAborted()
      throw new BudgetError({
        limit: 'perRequest', vendor: ticket.vendor, want: this.#released + ticket.released, left: budget.perRequest - this.#released, currency: this.#offer.currency,
      })
    }
    this.#paidOn = ticket.payment.commitmentId
    this.#released += ticket.released
    return ticket
  }

  #terms(fingerprint: string): Parameters<Payer['take']>[1] {
    const { budget, deposit } = this.#till
    return { budget, fingerprint, ...(deposit !== undefined && { deposit }), ...(this.#forfeited > 0n && { forfeited: this.#forfeited }) }
  }

  #fingerprint(): string {
    const { method, url, body } = this.#asked
    return toBase64url(sha256(toUtf8(`${method}\n${url.href}\n${body.digest ?? ''}`)))
  }

  /** Sends the request once. Undefined if its answer was lost and it may be sent again. */
  async #attempt(ticket: Ticket, attempt: number): Promise<Response | undefined> {
    const { payer } = this.#till
    const { signal, body, url } = this.#asked
    try {
      if (ticket.steps) await sendSteps(this.#till, this.#asked, ticket.steps)
      return await send(this.#till, this.#asked, ticket)
    } catch (error) {
      if (neverLeft(error) && !ticket.isRepeat) {
        await payer.takeBack(ticket)
        throw error
      }
      const isAborted = signal?.aborted === true
      if (this.#isSafe && attempt < maxAttempts && !isAborted && body.canSend) {
        this.#ticket = { ...ticket, isRepeat: true }
        return undefined
      }
      await payer.lose(ticket, this.#isSafe)
      if (isAborted) throw error
      throw lost(url.origin, this.#isSafe, error)
    }
  }

  /** Looks at why a payment was refused; rejects with the refusal if another attempt makes no sense. */
  async #mend(ticket: Ticket, answer: Response, status: Status | undefined): Promise<void> {
    if (status === undefined) return this.#mendUnstated(ticket, answer)
    const { shouldRetry, forfeited } = await this.#till.payer.refused(ticket, status)
    this.#forfeit(forfeited)
    if (status.reason === 'price-over-max') {
      if (status.price <= ticket.payment.max) throw this.#refusal(status.reason, answer.status, 'the server says so of a price that was agreed to')
      this.#offer = { ...this.#offer, price: status.price }
    }
    if (status.reason === 'step-too-far') await this.#learnStep(answer)
    if (!shouldRetry) throw this.#refusal(status.reason, answer.status, detailOf(status.reason))
  }

  /**
   * Handles a 402 that does not say what became of the payment. If the offer in it
   * is another vendor's, the origin has changed hands since it was paid last, and
   * the new one is paid.
   */
  async #mendUnstated(ticket: Ticket, answer: Response): Promise<void> {
    await this.#till.payer.refused(ticket, { reason: 'payment-required', price: this.#offer.price })
    const fresh = await this.#readOffer(answer)
    if (fresh === undefined || fresh.vendor === this.#offer.vendor) {
      throw this.#refusal('payment-required', answer.status, 'the server asks for a payment again and does not say what became of the one it got')
    }
    this.#forfeited = this.#released
    this.#offer = fresh
  }

  async #learnStep(answer: Response): Promise<void> {
    const fresh = await this.#readOffer(answer).catch(() => undefined)
    if (fresh?.vendor === this.#offer.vendor) this.#offer = { ...this.#offer, maxStep: fresh.maxStep }
  }

  async #readOffer(answer: Response): Promise<Offer | undefined> {
    return readOffer(askedOf(this.#asked), answer.headers, await buyerOf(this.#till))
  }

  /** Settles the account of a request that was granted. */
  async #granted(ticket: Ticket, answer: Response, status: Status | undefined): Promise<Response> {
    const { payer, prices, tell, now } = this.#till
    const { method, url } = this.#asked
    const amount = chargedFor(ticket, answer, status, method)
    // What a stream did not cost is told at its end.
    const isStream = streamIdOf(answer.headers) !== undefined || this.#offer.meter !== undefined
    const isWhole = answer.body === null || !this.#isSafe && !isStream
    const grant: Grant = { url: url.href, amount, isWhole, ...(status && { status }) }
    // The answer is paid for: the caller has it even if that cannot be noted.
    const receipt = await payer.settle(ticket, grant).catch(() => undefined)
    if (receipt !== undefined && status !== undefined) tell(receipt)
    const { meter } = this.#offer
    const price = meter === undefined ? status?.price ?? 0n : ticket.payment.max
    if (status !== undefined) prices.paid(method, url, this.#offer, price, now())
    else if (answer.ok || isRedirect(answer)) prices.free(method, url)
    return this.#followed(ticket, answer, receipt?.amount ?? amount)
  }

  /** The answer with a body that tells how it ended, and that is paid on if it is a stream. */
  #followed(ticket: Ticket, answer: Response, counted: Micros): Response {
    const { payer } = this.#till
    const { signal } = this.#asked
    const stream = followStream(answer.headers, {
      ticket, meter: this.#offer.meter, counted, bring: (id, amount, agreed) => this.#bring(ticket, id, amount, agreed),
      giveBack: rest => this.#giveBack(ticket, rest),
    })
    if (answer.body === null) return answer
    const ended = (): void => {
      payer.delivered(ticket, counted).catch(() => {})
    }
    if (!this.#isSafe && stream === undefined) {
      if (this.#offer.meter !== undefined) ended()
      return answer
    }
    const body = watchBody(answer.body, {
      ...stream, ended,
      brokeOff: async error => {
        // The vendor is not to blame for who stops paying or leaves.
        if (error instanceof PaywordError || signal?.aborted === true) {
          ended()
          return error
        }
        if (this.#isSafe) await payer.lose(ticket, true).catch(() => {})
        else ended()
        return lost(ticket.vendor, this.#isSafe, error)
      },
    })
    return withBody(answer, body)
  }

  /** Sends a HEAD that names a stream and brings payment for an amount more. */
  async #bring(paid: Ticket, streamId: string, amount: Micros, agreed: Micros): Promise<void> {
    const { payer, tell } = this.#till
    const { url, rest, signal } = this.#asked
    this.#offer = { ...this.#offer, price: amount }
    this.#forfeited = this.#released // counts against the budget per request
    const ticket = await payer.take(this.#offer, this.#terms(`${streamId} ${crypto.randomUUID()}`))
    const isOver = this.#released + ticket.released > this.#till.budget.perRequest
    if (isOver || ticket.payment.commitmentId !== paid.payment.commitmentId) {
      await payer.takeBack(ticket)
      throw this.#refusal('chain-exhausted', 0, 'the commitment that pays for the stream is used up')
    }
    this.#released += ticket.released
    const max = ticket.payment.max + agreed
    const headers = { [headerPayword]: formatPayment({ ...ticket.payment, max }), [headerStream]: streamId }
    const base = this.#till.fetch
    const answer = await base(url.href, { ...rest, method: 'HEAD', headers, redirect: 'manual', ...(signal && { signal }) }).catch(() => undefined)
    const status = answer && statusOf(answer, ticket)
    if (status?.reason !== 'accepted') {
      await payer.lose(ticket, false)
      throw this.#refusal(status?.reason ?? 'payment-required', answer?.status ?? 0, 'payment for a stream was refused, or its answer was lost')
    }
    const receipt = await payer.settle(ticket, { url: url.href, amount, status, isWhole: true })
    tell(receipt)
  }

  async #giveBack(ticket: Ticket, rest: Micros): Promise<void> {
    const { payer, tell } = this.#till
    const receipt = await payer.giveBack(ticket, rest, this.#asked.url.href).catch(() => undefined)
    if (receipt !== undefined) tell(receipt)
  }

  #forfeit(amount: Micros): void {
    const sum = this.#forfeited + amount
    this.#forfeited = sum < this.#released ? sum : this.#released
  }

  #refusal(reason: string, status: number, detail: string): RefusedError {
    return refusal(this.#offer, reason, status, detail)
  }
}

/**
 * What a granted request cost, in micros, never more than was agreed to: the
 * price, for the answers that cost anything. A stream may take all that was agreed
 * to: that is no credit for others until it ends.
 */
function chargedFor(ticket: Ticket, answer: Response, status: Status | undefined, method: string): Micros {
  if (status === undefined || !answer.ok || method === 'HEAD') return 0n
  const { max } = ticket.payment
  return status.price < max && streamIdOf(answer.headers) === undefined ? status.price : max
}

/** Whether the answer leaves open what became of the payment: the gate's store failed, or something between. */
function couldNotTell(answer: Response, status: Status | undefined): boolean {
  return answer.status === 503 || answer.status >= 500 && status === undefined
}

function isRedirect(answer: Response): boolean {
  return answer.type === 'opaqueredirect' || [301, 302, 303, 307, 308].includes(answer.status)
}

function detailOf(reason: string): string {
  return reason === 'insecure-transport'
    ? 'the server saw the payword come over plain http: others may have seen it too'
    : 'nothing that can be done about it helps'
}

// Node's words for a connection that was never had. Browsers do not say.
const unreached: readonly unknown[] = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']

function neverLeft(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof Error && unreached.includes((cause as Error & { code?: unknown }).code)
}

function lost(origin: string, isRepeatable: boolean, cause: unknown): PaywordError {
  const advice = isRepeatable ? 'asking for the same again soon is free' : 'it may have been executed, and the wallet counts it as paid'
  return new PaywordError('lost', `paying ${origin}: the answer to a paid request was lost; ${advice}`, { cause })
}

/** An answer with another body, and the members that a program cannot give a Response. */
export function withBody(answer: Response, body: ReadableStream<Uint8Array<ArrayBuffer>> | null): Response {
  const { status, statusText, headers } = answer
  return dress(new Response(body, { status, statusText, headers }), answer)
}

/** Gives a Response the URL and type of another. */
export function dress(made: Response, { url, redirected, type }: Pick<Response, 'url' | 'redirected' | 'type'>): Response {
  const clone = (): Response => dress(Response.prototype.clone.call(made), { url, redirected, type })
  return Object.defineProperties(made, {
    url: { value: url, configurable: true }, redirected: { value: redirected, configurable: true }, type: { value: type, configurable: true },
    clone: { value: clone, configurable: true },
  })
}
