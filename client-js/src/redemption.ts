import { formatDecimal, type Micros } from './amount.js'
import type { Claim, ClaimedTail } from './claim.js'
import type { ChainTerms, Commitment } from './commitment.js'
import { leadsTo, type Tail } from './judge.js'
import { Refusal } from './reason.js'

/** What a broker remembers of a commitment that was claimed on. */
export interface Redeemed {
  /** In micros; only grows. */
  paid: Micros
  /** The deepest payword of each chain that was verified. */
  tails: Tail[]
}

/** Returns the state of a commitment that nothing was claimed on. */
export function newRedeemed(commitment: Commitment): Redeemed {
  return { paid: 0n, tails: commitment.chains.map(({ root }) => ({ index: 0, payword: root })) }
}

/** Adds up what tails prove, in micros, at most `ceiling`. */
export function valueOf(chains: ChainTerms[], tails: Tail[], ceiling: Micros): Micros {
  const value = chains.reduce((sum, { unit }, k) => sum + unit * BigInt(tails[k]?.index ?? 0), 0n)
  return value < ceiling ? value : ceiling
}

/**
 * Decides what a claim adds to what was paid before, as a broker does:
 * docs/protocol.md, section 12. `ceiling` is the most that may ever be paid, in
 * micros: what was reserved, or the limit. It refuses with malformed-claim,
 * wrong-vendor, unknown-chain, chain-exhausted, forged-payword, claim-over-tails or
 * claim-over-limit, and then nothing changes.
 */
export function judgeClaim(
  commitment: Commitment, before: Redeemed, claim: Pick<Claim, 'vendor' | 'broker' | 'commitment' | 'tails' | 'amount'>, ceiling: Micros
): { after: Redeemed, due: Micros } | Refusal {
  const { chains } = commitment
  if (claim.commitment !== commitment.id) return new Refusal('malformed-claim', 'the claim is for another commitment')
  if (claim.vendor !== commitment.vendor) return new Refusal('wrong-vendor', `the commitment is for ${commitment.vendor}, the claim is by ${claim.vendor}`)
  if (claim.broker !== commitment.certificate.issuer) return new Refusal('malformed-claim', 'the claim is addressed to another broker')
  if (claim.tails.length > chains.length) {
    return new Refusal('unknown-chain', `the commitment has ${chains.length} chains, the claim ${claim.tails.length} tails`)
  }
  const tails: Tail[] = []
  for (const [k, chain] of chains.entries()) {
    const raised = raise(before.tails[k] ?? { index: 0, payword: chain.root }, chain, claim.tails[k] ?? { index: 0 })
    if (raised instanceof Refusal) return raised
    tails.push(raised)
  }
  const proved = valueOf(chains, tails, commitment.limit)
  if (claim.amount > proved) {
    return new Refusal('claim-over-tails', `the claim is for ${formatDecimal(claim.amount)}, its paywords prove ${formatDecimal(proved)}`)
  }
  if (claim.amount > ceiling) {
    return new Refusal('claim-over-limit', `the claim is for ${formatDecimal(claim.amount)}, at most ${formatDecimal(ceiling)} can be paid`)
  }
  const paid = claim.amount > before.paid ? claim.amount : before.paid
  return { after: { paid, tails }, due: paid - before.paid }
}

/** Checks a claimed tail against the known one and returns the deeper. */
function raise(known: Tail, chain: ChainTerms, claimed: ClaimedTail): Tail | Refusal {
  if (claimed.payword === undefined || claimed.index === 0) return known
  if (claimed.index > chain.length) return new Refusal('chain-exhausted', `tail ${claimed.index} is past the chain’s end`)
  const [upper, lower] = claimed.index > known.index ? [claimed, known] : [known, claimed]
  return leadsTo(upper, lower) ? upper : new Refusal('forged-payword', 'the tail does not lead to the chain’s root')
}
