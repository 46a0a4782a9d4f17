import { toBase64url, fromBase64urlFixed, type Base64url } from './encoding.js'
import type { Micros } from './amount.js'
import type { Commitment } from './commitment.js'
import { walk } from './hash.js'
import { maxStale, paywordBytes } from './limits.js'
import type { Payment } from './payer.js'
import type { Reason } from './reason.js'

/** A verified payword of a chain and its index: the deepest that was accepted. Index 0 is the root. */
export interface Tail {
  index: number
  payword: Base64url
}

/** What a vendor holds against a payment. */
export interface JudgeTerms {
  /** Of the request, in micros. */
  price: Micros
  /** Seconds since 1970. */
  now: number
  /** The most hashes to compute. */
  maxStep: number
}

/** What {@link judge} found. */
export interface Verdict {
  reason: Reason
  /** The deeper of the known tail and the payword, if the payword is genuine; else undefined. */
  tail: Tail | undefined
  /** Hashes computed. */
  steps: number
}

/**
 * Checks a payment against a tail of its chain that was verified before, as a gate
 * does: docs/protocol.md, section 9, step 3. It refuses with commitment-expired,
 * unknown-chain, chain-exhausted, stale-payword, step-too-far, forged-payword or
 * price-over-max; with the last the payword is genuine all the same. For programs
 * that play a gate, such as tests: the comparison does not take constant time.
 */
export function judge(commitment: Commitment, known: Tail, payment: Payment, terms: JudgeTerms): Verdict {
  const refuse = (reason: Reason): Verdict => ({ reason, tail: undefined, steps: 0 })
  const chain = commitment.chains[payment.chain]
  if (terms.now >= commitment.expires) return refuse('commitment-expired')
  if (!chain) return refuse('unknown-chain')
  if (payment.index < 1 || payment.index > chain.length) return refuse('chain-exhausted')
  if (payment.index - known.index > terms.maxStep) return refuse('step-too-far')
  if (known.index - payment.index > maxStale) return refuse('stale-payword')
  const claimed = { index: payment.index, payword: payment.payword }
  const [upper, lower] = claimed.index > known.index ? [claimed, known] : [known, claimed]
  const steps = upper.index - lower.index
  if (!leadsTo(upper, lower)) return { reason: 'forged-payword', tail: undefined, steps }
  return { reason: terms.price > payment.max ? 'price-over-max' : 'accepted', tail: upper, steps }
}

/** Whether hashing leads from the upper of two tails of a chain to the lower one. */
export function leadsTo(upper: Tail, lower: Tail): boolean {
  return toBase64url(walk(fromBase64urlFixed(upper.payword, paywordBytes), upper.index - lower.index)) === lower.payword
}
