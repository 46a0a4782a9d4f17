import { parseChallenges, parsePriceRequest, parseTimestamp, paymentMethod, methodVersion } from '../../src/challenge.js'
import type { Challenge, PriceRequest } from '../../src/challenge.js'
import type { Currency } from '../../src/amount.js'
import { PaywordError, RefusedError } from '../../src/errors.js'
import { defaultMaxStep, maxChainLength } from '../../src/limits.js'
import { canonicalURL } from '../../src/origin.js'
import type { Offer } from '../../src/payer.js'

/** A challenge with what its request parameter says. */
export interface Quote {
  challenge: Challenge
  request: PriceRequest
}

/** Where a challenge was found: as JSON in the page that asks for the payment, or in the header field. */
export type ChallengeSource = 'page' | 'field'

/** The clock skew that is allowed, in seconds: docs/protocol.md, section 15. */
const skewSeconds = 60

/**
 * Reads the quotes of our method that a 402 makes, session intent only. What
 * cannot be read is none: another scheme's mistake, or no page of a gate.
 */
export function readQuotes(text: string, source: ChallengeSource): Quote[] {
  try {
    const challenges = source === 'field' ? parseChallenges([text]) : [challengeOf(JSON.parse(text))]
    return challenges.flatMap(challenge =>
      challenge?.method === paymentMethod && challenge.intent === 'session' ? [{ challenge, request: parsePriceRequest(challenge.request) }] : [])
  } catch {
    return []
  }
}

function challengeOf(parsed: unknown): Challenge | undefined {
  if (typeof parsed !== 'object' || parsed === null) return undefined
  const text = (name: string): string => {
    const value: unknown = Object.hasOwn(parsed, name) ? (parsed as Record<string, unknown>)[name] : ''
    return typeof value === 'string' ? value : ''
  }
  return {
    id: text('id'), realm: text('realm'), method: text('method'), intent: text('intent'), request: text('request'),
    expires: text('expires'), description: text('description'),
  }
}

/**
 * The offer of a 402 for the GET of a URL, checked for everything but the budget
 * and whether the vendor speaks for the origin. Throws a RefusedError, an
 * `account` error without an account, or a `usage` error where there is no quote.
 */
export function readOffer(quotes: Quote[], url: string, account: { broker: string, currency: Currency } | undefined, now: number): Offer {
  let refusal: unknown = new PaywordError('usage', 'the page holds no quote of ours')
  for (const quote of quotes) {
    try {
      return offerOf(quote, url, account, now)
    } catch (error) {
      refusal = error
    }
  }
  throw refusal
}

function offerOf({ challenge, request }: Quote, url: string, account: { broker: string, currency: Currency } | undefined, now: number): Offer {
  const { origin } = new URL(url)
  const { methodDetails: details, recipient, currency, amount, unitType } = request
  const refuse = (reason: string, detail: string): RefusedError => new RefusedError({ reason, origin, detail, price: amount, currency })
  const hasEnd = challenge.expires !== undefined && challenge.expires !== ''
  const end = hasEnd ? parseTimestamp(challenge.expires ?? '') : undefined
  if (hasEnd && (end === undefined || now >= end + skewSeconds)) throw refuse('challenge-expired', `the quote ended at ${challenge.expires}`)
  if (details.version !== methodVersion) throw refuse('method-unsupported', `the quote is for version ${details.version}`)
  if (details.httpMethod !== 'GET' || !isFor(details.url, url, [origin, recipient])) {
    throw refuse('wrong-resource', `the quote is for ${details.httpMethod} ${details.url}`)
  }
  if (account === undefined) throw new PaywordError('account', 'there is no account yet: open one at a broker first')
  if (currency !== account.currency) throw refuse('wrong-currency', `the price is in ${currency}, the account in ${account.currency}`)
  if (!details.brokers.includes(account.broker)) throw refuse('unknown-broker', `the site does not take certificates of ${account.broker}`)
  const ceiling = details.ceiling ?? 0n
  return {
    origin, vendor: recipient, currency, unreserved: details.unreserved,
    price: ceiling > amount ? ceiling : amount,
    maxStep: details.maxStep > 0 && details.maxStep <= maxChainLength ? details.maxStep : defaultMaxStep,
    ...ceiling > 0n ? { meter: { unitType: unitType ?? 'request', unitPrice: amount } } : {},
  }
}

function isFor(quoted: string, url: string, origins: string[]): boolean {
  const { pathname, search } = new URL(url)
  return origins.some(origin => canonicalURL(origin, pathname + search) === quoted)
}
