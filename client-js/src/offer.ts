import type { Currency } from './amount.js'
import { readText } from './body.js'
import { methodVersion, parseChallenges, parsePriceRequest, parseTimestamp, paymentMethod } from './challenge.js'
import type { Challenge, PriceRequest } from './challenge.js'
import { parseDiscovery } from './discovery.js'
import { PaywordError, RefusedError } from './errors.js'
import { defaultMaxStep, maxChainLength, maxDiscoveryBytes, skewSeconds } from './limits.js'
import { MalformedError } from './malformed.js'
import { isLoopbackHost, isOrigin, requestURL } from './origin.js'
import type { Offer } from './payer.js'
import type { Reason } from './reason.js'

/** What was asked for, as far as a quote has to fit it. */
export interface Asked {
  method: string
  url: URL
  /** `Content-Digest` of the body; undefined if it is not known. */
  digest: string | undefined
}

/** Who pays: the account, and what tells whom a vendor speaks for. */
export interface Buyer {
  account: { broker: string, currency: Currency } | undefined
  discoveries: Discoveries
  /** Milliseconds since 1970. */
  now: number
}

/** Whether paywords may travel to a URL: over https, or plain http to this machine itself. */
export function isPayable(url: URL): boolean {
  return isOrigin(url.origin)
}

/**
 * What a 402 asks for, with everything about it checked but the budget: it is
 * for the URL and method that were asked, holds now, is in the account's
 * currency, takes its broker, and the vendor is the origin that was asked or
 * lists it. Undefined if the answer holds no challenge of ours. Rejects with a
 * RefusedError if it must not be paid, and an `account` error without an account.
 */
export async function readOffer(asked: Asked, headers: Headers, buyer: Buyer): Promise<Offer | undefined> {
  let refusal: unknown
  for (const challenge of challengesOf(headers)) {
    try {
      // Of several offers the first that can be taken is.
      return await checkOffer(asked, challenge, buyer)
    } catch (error) {
      refusal = error
    }
  }
  if (refusal !== undefined) throw refusal
  return undefined
}

function challengesOf(headers: Headers): Challenge[] {
  const field = headers.get('WWW-Authenticate')
  if (field === null) return []
  try {
    return parseChallenges([field]).filter(({ method, intent }) => method === paymentMethod && intent === 'session')
  } catch (error) {
    if (error instanceof MalformedError) return [] // some other scheme's mistake, for the caller to see
    throw error
  }
}

async function checkOffer(asked: Asked, challenge: Challenge, { account, discoveries, now }: Buyer): Promise<Offer> {
  const offer = checkChallenge(asked, challenge, account, now)
  const { origin, vendor } = offer
  if (await discoveries.speaksFor(vendor, origin, now)) return offer
  throw new RefusedError({
    reason: 'wrong-vendor', origin, detail: foreignText(`${origin} asks to pay ${vendor}, whose discovery document could not be had or does not list it`),
  })
}

/**
 * What one challenge offers, checked as `readOffer` does but for whether the vendor
 * speaks for the origin. `now` is in milliseconds since 1970. Throws a
 * RefusedError, or an `account` error without an account.
 */
export function checkChallenge(asked: Asked, challenge: Challenge, account: Buyer['account'], now: number): Offer {
  const { origin } = asked.url
  const refuse = (reason: Reason, detail: string): never => {
    throw new RefusedError({ reason, origin, detail: foreignText(detail) })
  }
  if (!isPayable(asked.url)) refuse('insecure-transport', 'paywords travel over https only, and over http to this machine itself')
  if (!holds(challenge, now)) refuse('challenge-expired', `the quote ended at ${challenge.expires}`)
  const quoted = readQuote(challenge, refuse)
  const details = quoted.methodDetails
  if (account === undefined) throw new PaywordError('account', 'the wallet has no account at a broker: open one first')
  if (details.version !== methodVersion) refuse('method-unsupported', `the quote is for version ${details.version} of the method, this is version ${methodVersion}`)
  if (!isQuoteFor(quoted, asked)) refuse('wrong-resource', `the quote is for ${details.httpMethod} ${details.url}`)
  if (challenge.digest !== undefined && asked.digest !== undefined && challenge.digest !== asked.digest) refuse('wrong-resource', 'the quote is for another request body')
  if (quoted.currency !== account.currency) refuse('wrong-currency', `the price is in ${quoted.currency}, the wallet holds ${account.currency}`)
  if (!details.brokers.includes(account.broker)) refuse('unknown-broker', `the vendor does not take certificates of ${account.broker}`)
  return offerOf(origin, quoted)
}

function readQuote(challenge: Challenge, refuse: (reason: Reason, detail: string) => never): PriceRequest {
  try {
    return parsePriceRequest(challenge.request)
  } catch (error) {
    if (error instanceof MalformedError) return refuse('invalid-challenge', error.message)
    throw error
  }
}

function holds({ expires }: Challenge, now: number): boolean {
  if (expires === undefined) return true
  const end = parseTimestamp(expires)
  return end !== undefined && now / 1000 < end + skewSeconds
}

/** The URL is that which was asked, at the origin that was asked or at the vendor's own. A HEAD is quoted what a GET costs. */
function isQuoteFor({ methodDetails, recipient }: PriceRequest, { method, url }: Asked): boolean {
  const isSameURL = methodDetails.url === requestURL(url) || methodDetails.url === requestURL(url, recipient)
  return isSameURL && (methodDetails.httpMethod === method || method === 'HEAD' && methodDetails.httpMethod === 'GET')
}

function offerOf(origin: string, { amount, currency, recipient, unitType, methodDetails }: PriceRequest): Offer {
  const { ceiling, maxStep, unreserved } = methodDetails
  const isStepKnown = maxStep > 0 && maxStep <= maxChainLength
  const offer: Offer = {
    origin, vendor: recipient, price: amount, currency, maxStep: isStepKnown ? maxStep : defaultMaxStep, unreserved,
  }
  if (ceiling === undefined) return offer
  return { ...offer, price: ceiling > amount ? ceiling : amount, meter: { unitType: unitType ?? 'request', unitPrice: amount } }
}

// How long it is remembered whom a vendor speaks for, for how many vendors, and
// how long a discovery document may take.
const discoveryMilliseconds = 600_000
const maxDiscoveries = 256
const discoveryTimeout = 10_000

/** Remembers which origins vendors speak for, as their discovery documents list them. */
export class Discoveries {
  readonly #fetch: typeof fetch
  readonly #known = new Map<string, { origins: string[], at: number }>()

  constructor(base: typeof fetch) {
    this.#fetch = base
  }

  /** Whether `origin` is paid with commitments to `vendor`: it is the vendor, or the vendor's document lists it. */
  async speaksFor(vendor: string, origin: string, now: number): Promise<boolean> {
    if (vendor === origin) return true
    // A page must not make the wallet ask things of the machine it runs on.
    if (isLoopback(vendor) && !isLoopback(origin)) return false
    const known = this.#known.get(vendor)
    if (known !== undefined && now - known.at <= discoveryMilliseconds) return known.origins.includes(origin)
    const origins = await this.#discover(vendor).catch(() => undefined)
    if (origins === undefined) return false
    if (this.#known.size >= maxDiscoveries) this.#known.clear()
    this.#known.set(vendor, { origins, at: now })
    return origins.includes(origin)
  }

  async #discover(vendor: string): Promise<string[] | undefined> {
    const aborter = new AbortController()
    const timer = setTimeout(() => aborter.abort(), discoveryTimeout)
    try {
      const ask = this.#fetch
      const answer = await ask(`${vendor}/.well-known/payword`, { redirect: 'error', signal: aborter.signal })
      if (answer.status !== 200) return undefined
      const document = await readText(answer, maxDiscoveryBytes)
      const discovery = document === undefined ? undefined : parseDiscovery(document)
      return discovery?.vendor === vendor ? discovery.origins : undefined
    } finally {
      clearTimeout(timer)
    }
  }
}

function isLoopback(origin: string): boolean {
  return isLoopbackHost(new URL(origin).hostname)
}

// The most of somebody else's words that stands in an error, in characters.
const maxForeignText = 200

/** A text of a server as it may stand in a sentence for people: short, and with a space for what cannot be printed. */
export function foreignText(text: string): string {
  return text.slice(0, maxForeignText).replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, ' ')
}
