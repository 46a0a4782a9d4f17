import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import fc from 'fast-check'

import { parsePrefix } from '../src/address.js'
import { formatAmount, formatDecimal, maxMicros, parseAmount, parseCurrency, parseDecimal } from '../src/amount.js'
import { unverifiedCertificate } from '../src/certificate.js'
import { formatChallenge, parseChallenges, parsePriceRequest, parseTimestamp } from '../src/challenge.js'
import { commitmentId, unverifiedCommitment } from '../src/commitment.js'
import { formatCredential, parseCredential, paymentOf } from '../src/credential.js'
import { parseDiscovery } from '../src/discovery.js'
import { fromBase64, fromBase64url, fromByteSequence, toBase64, toBase64url, toByteSequence } from '../src/encoding.js'
import { formatPayment, formatStatus, parsePayment, parseStatus } from '../src/header.js'
import { parseJSON } from '../src/json.js'
import { checkPublicKey, parseJWKS, signerFromSecret, verifySignature } from '../src/keys.js'
import { MalformedError } from '../src/malformed.js'
import { canonicalURL, checkOrigin, isOrigin, requestURL } from '../src/origin.js'
import type { Payment, Status } from '../src/payer.js'
import { paymentPreference } from '../src/preference.js'
import { parseProblem } from '../src/problem.js'
import { reasons, Refusal } from '../src/reason.js'
import { parsePaymentReceipt } from '../src/receipt.js'
import { unverifiedReservation } from '../src/reservation.js'
import { contentDigest, parseSignatureInput, signRequest, verifyRequest } from '../src/signature.js'
import { vectorFolder } from './vectors/vectors.js'

/** Every string in the inputs of the vectors: what fuzzing starts from. */
function seedsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(seedsOf) : []
}

const seeds = [...new Set(readdirSync(vectorFolder, { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.json') && !/^(cards|statements)/.test(name))
  .flatMap(name => seedsOf((JSON.parse(readFileSync(join(vectorFolder, name), 'utf8')) as { input: unknown }).input)))]

/** A text of the vectors with a piece of it replaced, or any text. */
const texts = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...seeds),
  fc.tuple(fc.constantFrom(...seeds), fc.nat(), fc.nat(4), fc.string({ unit: 'binary', maxLength: 4 })).map(([seed, place, length, piece]) => {
    const at = place % (seed.length + 1)
    return seed.slice(0, at) + piece + seed.slice(at + length)
  }))

/** The parsers that throw a MalformedError, or return a Refusal. */
const parsers: Record<string, (text: string) => unknown> = {
  parseAmount, parseDecimal, parseCurrency, parsePrefix, checkOrigin, parseJSON, parseJWKS, fromBase64url, fromBase64, parsePayment, parseStatus,
  unverifiedCertificate, unverifiedCommitment, unverifiedReservation, parsePriceRequest, parseCredential, parseProblem, parsePaymentReceipt,
  parseDiscovery, parseSignatureInput, parseTimestamp,
  checkPublicKey: text => { checkPublicKey(Buffer.from(text, 'latin1')) },
  parseChallenges: text => parseChallenges([text]),
  paymentPreference: text => paymentPreference([text], 'session')
}

for (const [name, parse] of Object.entries(parsers)) {
  test(`${name} reads anything, or says what is wrong`, () => {
    fc.assert(fc.property(texts, text => {
      try {
        parse(text)
      } catch (error) {
        assert.ok(error instanceof MalformedError, `${String(error)}`)
        assert.notEqual(error.message, '')
      }
    }), { numRuns: 300 })
  })
}

const micros = fc.bigInt({ min: 0n, max: maxMicros })
const bytes = (size: number): fc.Arbitrary<string> => fc.uint8Array({ minLength: size, maxLength: size }).map(toBase64url)

const payments: fc.Arbitrary<Payment> = fc.record({
  commitmentId: bytes(16), chain: fc.nat(7), index: fc.integer({ min: 1, max: 1_048_576 }), payword: bytes(32),
  number: fc.integer({ min: 1, max: 999_999_999_999_999 }), max: micros
}, { noNullPrototype: true })

const statuses: fc.Arbitrary<Status> = fc.record({
  reason: fc.constantFrom(...reasons), price: micros, number: fc.integer({ min: 1, max: 999_999_999_999_999 }),
  known: fc.record({ accepted: micros, spent: micros, chain: fc.nat(7), index: fc.nat(1_048_576), tailHash: bytes(32) }, { noNullPrototype: true })
}, { requiredKeys: ['reason', 'price'], noNullPrototype: true })

test('an amount has one spelling on the wire, and is read again from the one for people', () => {
  fc.assert(fc.property(micros, amount => {
    assert.equal(parseAmount(formatAmount(amount)), amount)
    assert.equal(parseDecimal(formatDecimal(amount)), amount)
  }))
})

test('binary has one spelling', () => {
  fc.assert(fc.property(fc.uint8Array(), value => {
    assert.equal(toBase64url(value), Buffer.from(value).toString('base64url'))
    assert.equal(toBase64(value), Buffer.from(value).toString('base64'))
    assert.deepEqual(fromByteSequence(toByteSequence(value), value.length), value)
  }))
  fc.assert(fc.property(texts, text => {
    for (const [from, to] of [[fromBase64url, toBase64url], [fromBase64, toBase64]] as const) {
      try {
        assert.equal(to(from(text)), text)
      } catch (error) {
        assert.ok(error instanceof MalformedError, String(error))
      }
    }
  }))
})

test('payments and statuses are read as they were written', () => {
  fc.assert(fc.property(payments, payment => {
    assert.deepEqual(parsePayment(formatPayment(payment)), payment)
    assert.ok(formatPayment(payment).length <= 256)
    const challenge = { id: 'a', realm: 'b', method: 'payword', intent: 'session', request: 'c' }
    const credential = parseCredential(formatCredential({ challenge, payload: { action: 'pay', ...payment } }))
    assert.ok(!(credential instanceof Refusal))
    assert.deepEqual(paymentOf(credential.payload), payment)
    assert.deepEqual(credential.challenge, challenge)
  }))
  fc.assert(fc.property(statuses, status => {
    assert.deepEqual(parseStatus(formatStatus(status)), status)
    assert.ok(formatStatus(status).length <= 512)
  }))
})

test('challenges are read as they were written, many in one field', () => {
  const text = fc.string({ minLength: 1, unit: fc.constantFrom(...'abz09 "\\,=/?ä;') })
  const challenges = fc.array(fc.record({ id: text, realm: text, method: text, intent: text, request: text, description: text },
    { requiredKeys: ['id', 'realm', 'method', 'intent', 'request'], noNullPrototype: true }))
  fc.assert(fc.property(challenges, list => {
    const field = ['Basic realm="a, b"', 'Negotiate abc==', ...list.map(formatChallenge)].join(', ')
    assert.deepEqual(parseChallenges([field]), list)
  }))
})

/** Takes our objects for what JSON.parse makes of them. */
function unmap(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unmap)
  if (!(value instanceof Map)) return value
  return Object.fromEntries([...value as Map<string, unknown>].map(([name, member]) => [name, unmap(member)]))
}

test('JSON is read as JSON.parse reads it, and refused where that refuses it', () => {
  const values = fc.jsonValue({ maxDepth: 4, noUnicodeString: false } as fc.JsonSharedConstraints)
    .filter(value => !/[0-9]\.|[0-9][eE]|-0|__proto__|[0-9]{16}/.test(JSON.stringify(value)))
  fc.assert(fc.property(values, fc.nat(2), (value, space) => {
    const text = JSON.stringify(value, undefined, space)
    assert.deepEqual(unmap(parseJSON(text)), JSON.parse(text))
  }))
  const pieces = fc.array(fc.constantFrom('{', '}', '[', ']', ',', ':', '"', '"a"', '"b"', '1', '-', 'null', 'true', ' ', '\\', '\\u0041'))
  fc.assert(fc.property(pieces, list => {
    const text = list.join('')
    let isJson = true
    try {
      JSON.parse(text)
    } catch {
      isJson = false
    }
    try {
      parseJSON(text)
      assert.ok(isJson, `${text} is no JSON`)
    } catch (error) {
      assert.ok(error instanceof MalformedError && (!isJson || /twice/.test(error.message)), `${text}: ${String(error)}`)
    }
  }), { numRuns: 2000 })
})

test('a member that stands twice, at any depth, and what is no whole number are told', () => {
  for (const text of ['{"a":1,"a":1}', '{"a":1,"\\u0061":2}', '[{"b":{"a":1,"a":2}}]', '"\u0001"', '01', '1.', '+1', 'NaN', '"\\x"', '{"a":1,}', '', ' ']) {
    assert.throws(() => parseJSON(text), MalformedError, text)
  }
  assert.throws(() => parseJSON('['.repeat(100) + ']'.repeat(100)), MalformedError)
  for (const text of ['1.0', '1e3', '9007199254740993', '-0']) assert.ok(Number.isNaN(parseJSON(text)), text)
})

test('an origin that is taken is the one that the platform makes of it', () => {
  fc.assert(fc.property(fc.oneof(texts, fc.webUrl().map(url => new URL(url).origin)), text => {
    if (isOrigin(text)) assert.equal(new URL(text).origin, text)
  }), { numRuns: 500 })
})

test('a canonical URL holds nothing that has to be escaped', () => {
  fc.assert(fc.property(texts, target => {
    const url = canonicalURL('https://news.example', `/${target}`)
    assert.match(url, /^[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]*$/)
  }))
  assert.equal(requestURL(new URL('https://news.example/a b?c=|#d')), 'https://news.example/a%20b?c=%7C')
})

test('times of RFC 3339 are those of Date', () => {
  fc.assert(fc.property(fc.date({ min: new Date('0000-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true }), date => {
    assert.equal(parseTimestamp(date.toISOString()), Math.floor(date.getTime() / 1000))
  }))
  assert.equal(parseTimestamp('2026-09-21T16:30:00+02:00'), parseTimestamp('2026-09-21T14:30:00Z'))
  for (const text of ['2026-02-30T00:00:00Z', '2026-01-01T24:00:00Z', '2026-01-01 00:00:00Z', '2026-01-01T00:00:60Z', '2026-13-01T00:00:00Z']) {
    assert.equal(parseTimestamp(text), undefined, text)
  }
})

test('what is signed here is genuine, and nothing else is', async () => {
  const signer = await signerFromSecret(new Uint8Array(32).fill(3))
  const body = new TextEncoder().encode('{}')
  const request = { method: 'POST', targetUri: 'https://broker.example/v1/reservations', body, nonce: toBase64url(new Uint8Array(16)), created: 1_790_000_000 }
  const fields = await signRequest(request, signer)
  const parameters = parseSignatureInput(fields['Signature-Input'])
  assert.ok(!(parameters instanceof Refusal))
  const signed = { ...request, ...parameters, digest: contentDigest(body) }
  assert.equal(await verifyRequest(signed, signer.publicKey, fields.Signature, 1_790_000_000), undefined)
  const changed = [{ ...signed, method: 'PUT' }, { ...signed, targetUri: 'https://broker.example/v1/accounts' }, { ...signed, created: 1_790_000_001 }]
  for (const other of changed) {
    assert.equal((await verifyRequest(other, signer.publicKey, fields.Signature, 1_790_000_000))?.reason, 'bad-signature')
  }
})

test('a signature is not taken in a second spelling: S with the order of the group added', async () => {
  const signer = await signerFromSecret(new Uint8Array(32).fill(3))
  const message = new TextEncoder().encode('payword')
  const signature = await signer.sign(message)
  assert.equal(await verifySignature(signer.publicKey, message, signature), true)
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  const s = BigInt(`0x${Buffer.from(signature.slice(32)).reverse().toString('hex')}`) + order
  const malleable = Uint8Array.from([...signature.slice(0, 32), ...Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse()])
  assert.equal(await verifySignature(signer.publicKey, message, malleable), false)
})

test('an id is of the exact token', () => {
  assert.notEqual(commitmentId('a.b.c'), commitmentId('a.b.d'))
  assert.equal(fromBase64url(commitmentId('a.b.c')).length, 16)
})
