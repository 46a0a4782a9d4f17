import type { ClaimedTail } from '../../src/claim.js'
import { judge, type Tail } from '../../src/judge.js'
import { judgeClaim, newRedeemed } from '../../src/redemption.js'
import { commitmentOf, type VectorBrokers } from './inputs.js'
import { outcomeOf, testVectors } from './vectors.js'

interface JudgeInput {
  commitment: string
  brokers: VectorBrokers
  known: { index: number, payword?: string }
  payment: { commitment: string, chain: number, index: number, payword: string, number: number, max: string }
  terms: { price: string, now: number, maxStep: number }
}

testVectors<JudgeInput>('judge', async input => {
  const { payment: { commitment, max, ...payment }, known, terms } = input
  const m = await commitmentOf(input)
  const tail = { index: known.index, payword: known.payword ?? m.chains[payment.chain]?.root ?? '' }
  const verdict = judge(m, tail, { ...payment, commitmentId: commitment, max: BigInt(max) }, { ...terms, price: BigInt(terms.price) })
  return {
    expect: verdict.reason,
    output: { proved: verdict.tail !== undefined, steps: verdict.steps, ...verdict.tail ? { tail: verdict.tail.index } : {} }
  }
})

interface RedemptionInput {
  commitment: string
  brokers: VectorBrokers
  before: { paid: string, tails: ClaimedTail[] }
  claim: { vendor: string, broker: string, commitment: string, tails: ClaimedTail[], amount: string }
  ceiling: string
}

testVectors<RedemptionInput>('redemptions', async input => {
  const m = await commitmentOf(input)
  const known = (tail: ClaimedTail, k: number): Tail => tail.payword === undefined ? newRedeemed(m).tails[k]! : tail
  const before = { paid: BigInt(input.before.paid), tails: input.before.tails.map(known) }
  const judged = judgeClaim(m, before, { ...input.claim, amount: BigInt(input.claim.amount) }, BigInt(input.ceiling))
  return outcomeOf(judged, ({ after, due }) => ({ paid: after.paid, due, indices: after.tails.map(({ index }) => index) }))
})
