import { parseChallenges, parsePriceRequest, paymentMethod } from '../../src/challenge.js'
import type { Challenge, PriceRequest } from '../../src/challenge.js'
import type { Currency } from '../../src/amount.js'
import { PaywordError } from '../../src/errors.js'
import { checkChallenge } from '../../src/offer.js'
import type { Offer } from '../../src/payer.js'

/** A challenge with what its request parameter says. */
export interface Quote {
  challenge: Challenge
  request: PriceRequest
}

/** Where a challenge was found: as JSON in the page that asks for the payment, or in the header field. */
export type ChallengeSource = 'page' | 'field'

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
  const expires = text('expires')
  return {
    id: text('id'), realm: text('realm'), method: text('method'), intent: text('intent'), request: text('request'),
    ...expires === '' ? {} : { expires }, description: text('description'),
  }
}

/**
 * The offer of a 402 for the GET of a URL, checked for everything but the budget
 * and whether the vendor speaks for the origin. Throws a RefusedError, an
 * `account` error without an account, or a `usage` error where there is no quote.
 */
export function readOffer(quotes: Quote[], url: string, account: { broker: string, currency: Currency } | undefined, now: number): Offer {
  let refusal: unknown = new PaywordError('usage', 'the page holds no quote of ours')
  for (const { challenge } of quotes) {
    try {
      return checkChallenge({ method: 'GET', url: new URL(url), digest: undefined }, challenge, account, now * 1000)
    } catch (error) {
      refusal = error
    }
  }
  throw refusal
}
