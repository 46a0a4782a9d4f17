import { bindChallenge, checkChallenge, formatChallenge, formatPriceRequest, parseChallenges, type Challenge, type PriceRequest } from '../../src/challenge.js'
import { parseCredential, paymentOf } from '../../src/credential.js'
import { fromBase64url } from '../../src/encoding.js'
import { formatPayment, formatStatus, parsePayment, parseStatus } from '../../src/header.js'
import type { Payment } from '../../src/payer.js'
import { paymentPreference } from '../../src/preference.js'
import { formatProblem, newProblem, parseProblem } from '../../src/problem.js'
import { Refusal, type Reason } from '../../src/reason.js'
import { parsePaymentReceipt } from '../../src/receipt.js'
import { attempt } from './inputs.js'
import { outcomeOf, testVectors } from './vectors.js'
import assert from 'node:assert/strict'

/** A payment as vectors write it. */
function describe({ commitmentId, ...rest }: Payment): Record<string, unknown> {
  return { ...rest, commitment: commitmentId }
}

testVectors<{ field: string, value: string }>('headers', ({ field, value }) => {
  if (field === 'Payword') {
    return outcomeOf(parsePayment(value), payment => ({ ...describe(payment), canonical: formatPayment(payment) }))
  }
  return outcomeOf(parseStatus(value), status => {
    const { reason, price, number = 0, known } = status
    return { reason, price, number, ...known, known: known !== undefined, canonical: formatStatus(status) }
  })
})

interface ChallengeInput {
  operation: string
  secret: string
  secrets: string[]
  challenge: Challenge
  request: Omit<PriceRequest, 'amount' | 'methodDetails'> & {
    amount: string
    methodDetails: Omit<PriceRequest['methodDetails'], 'ceiling'> & { ceiling?: string }
  }
  values: string[]
  httpMethod: string
  url: string
  now: number
}

function priceRequestOf({ amount, methodDetails: { ceiling, ...details }, ...rest }: ChallengeInput['request']): PriceRequest {
  return { amount: BigInt(amount), methodDetails: ceiling === undefined ? details : { ...details, ceiling: BigInt(ceiling) }, ...rest }
}

/** What is false is left out in JSON. */
function withoutFalse({ methodDetails: { unreserved, ...details }, ...rest }: PriceRequest): unknown {
  return { ...rest, methodDetails: unreserved ? { ...details, unreserved } : details }
}

testVectors<ChallengeInput>('challenges', input => {
  const { operation, challenge, httpMethod, url, now } = input
  switch (operation) {
    case 'bind': return attempt(() => ({ id: bindChallenge(challenge, fromBase64url(input.secret)) }))
    case 'request': return attempt(() => ({ text: formatPriceRequest(priceRequestOf(input.request)) }))
    case 'format': return { expect: 'accepted', output: { value: formatChallenge(challenge) } }
    case 'parse': return attempt(() => ({ challenges: parseChallenges(input.values) }))
    case 'check': return outcomeOf(checkChallenge(challenge, input.secrets.map(fromBase64url), { httpMethod, url }, now),
      request => ({ request: withoutFalse(request) }))
    default: throw new Error(`operation ${operation}`)
  }
})

testVectors<{ fields: string[], intent: string }>('preferences', ({ fields, intent }) =>
  ({ expect: 'accepted', output: { thousandths: paymentPreference(fields, intent) } }))

testVectors<{ value: string }>('credentials', ({ value }) => {
  const credential = parseCredential(value)
  if (credential instanceof Refusal) return { expect: credential.reason }
  const { challenge, payload } = credential
  return outcomeOf(paymentOf(payload), payment => ({ challenge, action: payload.action, payment: describe(payment) }))
})

testVectors<{ value: string }>('receipts', ({ value }) => attempt(() => parsePaymentReceipt(value)))

interface ProblemInput {
  reason: Reason
  detail: string
  price: string
  accepted: string
  spent: string
  number: number
  currency: string
  known: boolean
  chain: number
  index: number
  tailHash: string
}

testVectors<ProblemInput>('problems', ({ reason, detail, price, accepted, spent, number, currency, known, chain, index, tailHash }) => {
  assert.ok(reason !== 'accepted')
  const status = { reason, price: BigInt(price), number, ...known
    ? { known: { accepted: BigInt(accepted), spent: BigInt(spent), chain, index, tailHash } } : {} }
  const problem = newProblem({ reason, detail }, status, currency)
  assert.ok(problem.title)
  assert.deepEqual(parseProblem(formatProblem(problem)), problem, 'what is written is read')
  const { title: _, ...output } = problem
  return { expect: reason, output }
})
