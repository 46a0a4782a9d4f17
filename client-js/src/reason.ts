/**
 * The closed list of docs/protocol.md, section 11, `accepted` first: the same
 * words in the same order as in Go, in problem details, metrics and vectors.
 */
export const reasons = [
  'accepted',
  // What was sent cannot be read.
  'payment-required', 'malformed-header', 'malformed-credential', 'malformed-commitment', 'malformed-certificate',
  'malformed-reservation', 'malformed-claim', 'several-payments', 'method-unsupported', 'insecure-transport',
  // The challenge does not fit.
  'invalid-challenge', 'challenge-expired', 'challenge-used', 'wrong-resource',
  // The commitment cannot be opened.
  'unknown-broker', 'bad-certificate', 'certificate-expired', 'certificate-revoked', 'wrong-address', 'blocked',
  'bad-commitment', 'commitment-expired', 'commitment-not-yet-valid', 'over-certificate-limit', 'wrong-vendor',
  'wrong-currency', 'bad-reservation', 'reservation-mismatch', 'reservation-required', 'credit-limit',
  'unknown-commitment', 'commitment-closed',
  // The payword does not pay.
  'unknown-chain', 'chain-exhausted', 'stale-payword', 'step-too-far', 'forged-payword',
  // The payword is genuine, and the request is refused all the same.
  'stale-number', 'already-used', 'already-executed', 'price-over-max', 'insufficient-credit',
  // A broker refuses.
  'bad-claim', 'unknown-vendor', 'unknown-account', 'claim-over-tails', 'claim-over-limit', 'claim-too-late',
  'insufficient-funds', 'root-reused', 'bad-signature', 'vendor-not-proved', 'rate-limited', 'idempotency-differs',
  'vendor-blocked', 'account-closed', 'over-account-limit', 'not-permitted', 'unknown-device', 'unknown-payout',
  'bad-voucher'
] as const

/** A word of the closed list. `accepted` refuses nothing. */
export type Reason = typeof reasons[number]

const words: ReadonlySet<string> = new Set(reasons)

/** Whether a word is in the closed list. */
export function isReason(word: unknown): word is Reason {
  return typeof word === 'string' && words.has(word)
}

/**
 * What the parsers and checks of the protocol return in place of a value that is
 * refused: `const m = await parseCommitment(token, brokers)`, then
 * `if (m instanceof Refusal)`. It is no error: an error means that it could not be told.
 */
export class Refusal {
  readonly reason: Exclude<Reason, 'accepted'>
  /** One sentence for whoever has to act on it. It repeats nothing secret. */
  readonly detail: string

  constructor(reason: Exclude<Reason, 'accepted'>, detail: string) {
    this.reason = reason
    this.detail = detail
  }

  /** The word and the sentence. */
  toString(): string {
    return `${this.reason}: ${this.detail}`
  }
}
