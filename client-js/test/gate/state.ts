import type { Commitment } from '../../src/commitment.js'
import type { Tail } from '../../src/judge.js'
import { maxRepeats, refundSeconds, repeatSeconds, windowSize } from '../../src/limits.js'
import type { Reason } from '../../src/reason.js'
import { newRedeemed, valueOf } from '../../src/redemption.js'

/** What a vendor remembers of one request number. */
interface Remembered {
  number: number
  /** Tells the request from others. */
  request: string
  /** Seconds since 1970. */
  at: number
  /** In micros. */
  price: bigint
  /** How often it was granted and not given back. */
  grants: number
}

/** A request to be charged. */
export interface Charge {
  chain: number
  /** Verified by `judge`. */
  tail: Tail
  number: number
  request: string
  /** In micros. */
  price: bigint
  /** Whether it must not be executed twice. */
  isUnsafe?: boolean
  /** Whether it answers a challenge that can be used once. */
  isSingle?: boolean
  /** Whether the price exceeds what the client agrees to. */
  isOverMax?: boolean
  /** Seconds since 1970. */
  now: number
}

/**
 * What a vendor remembers of one commitment: docs/protocol.md, section 9, step 4. A
 * model of Go's `State` for gates in tests, without passes and without a bound on
 * what it remembers.
 */
export class State {
  readonly tails: Tail[]
  private readonly commitment: Commitment
  private readonly requests = new Map<number, Remembered>()
  private readonly numbers = new Set<number>()
  private cap: bigint
  private sequence = 1
  private charged = 0n
  private returned = 0n
  private highest = 0
  isClosed = false

  /** `cap` is the most that the commitment may pay, in micros. */
  constructor(commitment: Commitment, cap: bigint) {
    this.commitment = commitment
    this.tails = newRedeemed(commitment).tails
    this.cap = lower(cap, commitment.limit)
  }

  /** What the tails prove, in micros. */
  get accepted(): bigint {
    return valueOf(this.commitment.chains, this.tails, this.cap)
  }

  /** What was charged and not given back, in micros. */
  get spent(): bigint {
    return this.charged - this.returned
  }

  /** What was accepted and not spent, in micros. */
  get credit(): bigint {
    return this.accepted > this.spent ? this.accepted - this.spent : 0n
  }

  /** Raises the cap to what a later reservation set aside. */
  topUp(amount: bigint, sequence: number): boolean {
    if (sequence <= this.sequence) return false
    this.sequence = sequence
    const cap = lower(amount, this.commitment.limit)
    if (cap > this.cap) this.cap = cap
    return true
  }

  /** Charges a request, or says why not; a repeat is free. */
  charge(charge: Charge): { reason: Reason, isRepeat: boolean } {
    const { number, request, now } = charge
    const tail = this.tails[charge.chain]
    if (tail && charge.tail.index > tail.index) this.tails[charge.chain] = charge.tail
    if (this.isClosed) return { reason: 'commitment-closed', isRepeat: false }
    const known = this.find(number, now)
    if (known && known.grants > 0) return this.repeat(known, charge)
    const reason = this.refusalOf(known, charge)
    if (reason !== 'accepted') return { reason, isRepeat: false }
    this.charged += charge.price
    this.numbers.add(number)
    this.highest = Math.max(this.highest, number)
    const at = known ? Math.max(now, known.at + 1) : now
    this.requests.set(number, { number, request, at, price: charge.price, grants: 1 })
    return { reason: 'accepted', isRepeat: false }
  }

  /** Takes one grant of a request back and returns what is given back for it, in micros. */
  giveBack(number: number, now: number): bigint {
    const known = this.requests.get(number)
    if (!known || now >= known.at + refundSeconds || known.grants === 0) return 0n
    known.grants--
    if (known.grants > 0) return 0n
    this.returned += known.price
    return known.price
  }

  /** What was spent and cannot be given back any more, in micros. */
  claimable(now: number): bigint {
    const open = [...this.requests.values()].filter(({ grants, at }) => grants > 0 && at + refundSeconds > now)
    return open.reduce((rest, { price }) => rest - price, this.spent)
  }

  private find(number: number, now: number): Remembered | undefined {
    const known = this.requests.get(number)
    return known && !this.isStale(number) && now < known.at + refundSeconds ? known : undefined
  }

  private isStale(number: number): boolean {
    return number + windowSize <= this.highest
  }

  private refusalOf(known: Remembered | undefined, charge: Charge): Reason {
    const { number, request, now } = charge
    if (known && known.request !== request) return 'already-used'
    if (!known && this.isStale(number)) return 'stale-number'
    if (!known && this.numbers.has(number)) return 'already-used'
    const isGranted = [...this.requests.values()].some(other =>
      other.request === request && other.grants > 0 && now < other.at + refundSeconds)
    if (charge.isSingle && isGranted) return 'challenge-used'
    if (charge.isOverMax) return 'price-over-max'
    return this.credit < charge.price ? 'insufficient-credit' : 'accepted'
  }

  private repeat(known: Remembered, charge: Charge): { reason: Reason, isRepeat: boolean } {
    const isOther = known.request !== charge.request || charge.now >= known.at + repeatSeconds || known.grants > maxRepeats
    if (isOther || known.price === 0n && charge.price > 0n) return { reason: 'already-used', isRepeat: false }
    if (charge.isUnsafe) return { reason: 'already-executed', isRepeat: false }
    known.grants++
    return { reason: 'accepted', isRepeat: true }
  }
}

function lower(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
