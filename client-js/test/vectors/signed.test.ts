import { parseCertificate } from '../../src/certificate.js'
import { parseClaim } from '../../src/claim.js'
import { checkTerms, parseCommitment } from '../../src/commitment.js'
import { fromBase64url } from '../../src/encoding.js'
import { parseReservation } from '../../src/reservation.js'
import { Refusal } from '../../src/reason.js'
import { contentDigest, parseSignatureInput, verifyRequest } from '../../src/signature.js'
import { parseStatusList, statusAt } from '../../src/statuslist.js'
import { attempt, brokersOf, commitmentOf, type VectorBrokers } from './inputs.js'
import { outcomeOf, testVectors } from './vectors.js'
import assert from 'node:assert/strict'

testVectors<{ token: string, brokers: VectorBrokers }>('certificates', async ({ token, brokers }) =>
  outcomeOf(await parseCertificate(token, brokersOf(brokers)), ({ token: _, ...rest }) => rest))

interface CommitmentInput {
  token: string
  brokers: VectorBrokers
  terms?: { vendor: string, currency: string, now: number }
}

testVectors<CommitmentInput>('commitments', async ({ token, brokers, terms }) => {
  const commitment = await parseCommitment(token, brokersOf(brokers))
  const refusal = !(commitment instanceof Refusal) && terms && checkTerms(commitment, terms.vendor, terms.currency, terms.now)
  return outcomeOf(refusal || commitment, ({ token: _, certificate, ...rest }) => ({ ...rest, subject: certificate.subject }))
})

testVectors<{ token: string, commitment: string, brokers: VectorBrokers }>('reservations', async input =>
  outcomeOf(await parseReservation(input.token, await commitmentOf(input), brokersOf(input.brokers)), ({ token: _, ...rest }) => rest))

interface StatusListInput {
  token: string
  issuer: string
  uri: string
  brokers: VectorBrokers
  indices: number[]
}

testVectors<StatusListInput>('status-lists', ({ token, issuer, uri, brokers, indices }) => attempt(async () => {
  const list = await parseStatusList(token, issuer, uri, brokersOf(brokers))
  const { issuedAt, expires, ttlSeconds, statuses } = list
  return { issuedAt, expires, ttlSeconds, size: statuses.length, statuses: indices.map(index => statusAt(list, index) ?? null) }
}))

testVectors<{ token: string, key: string }>('claims', async ({ token, key }) =>
  outcomeOf(await parseClaim(token, key), ({ token: _, ...rest }) => rest))

interface SignatureInput {
  request: { method: string, targetUri: string, digest: string }
  body: string
  key: string
  input: string
  signature: string
  now: number
}

testVectors<SignatureInput>('signatures', async ({ request, body, key, input, signature, now }) => {
  assert.equal(contentDigest(fromBase64url(body)), request.digest)
  const parameters = parseSignatureInput(input)
  if (parameters instanceof Refusal) return { expect: parameters.reason }
  const refusal = await verifyRequest({ ...request, ...parameters }, key, signature, now)
  return outcomeOf(refusal ?? parameters, found => found)
})
