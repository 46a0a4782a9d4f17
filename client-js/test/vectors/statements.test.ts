// All vectors of testdata/vectors/statements: the words are those of
// clearing/statement and of its page.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseJWKS } from '../../src/keys.js'
import { verifyStatement, type StatementChecks } from '../../src/statement_verify.js'
import { vectorFolder } from './vectors.js'

const folder = join(vectorFolder, 'statements')

interface Vector {
  name: string
  expect: string
  input: { statement: string, issuer: string, keys: unknown, dayKeys?: unknown, vendorKeys?: unknown }
  output?: { paid: string, cumulative: string, hashes: number, leaf: string, uncheckedClaims: number }
}

const vectors = readdirSync(folder).map(name => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Vector)

function checksOf({ input }: Vector): StatementChecks {
  const keys = (of: unknown) => parseJWKS(JSON.stringify(of))
  return {
    keys: keys(input.keys), ...input.issuer ? { issuer: input.issuer } : {},
    ...input.dayKeys ? { dayKeys: keys(input.dayKeys) } : {}, ...input.vendorKeys ? { vendorKeys: keys(input.vendorKeys) } : {},
  }
}

test('there are all vectors of statements', () => {
  assert.ok(vectors.length >= 63, `${vectors.length} vectors`)
})

for (const vector of vectors) {
  test(`statements/${vector.name}: ${vector.expect}`, async () => {
    const { report, disagreement } = await verifyStatement(vector.input.statement, checksOf(vector))
    assert.equal(disagreement?.word ?? 'accepted', vector.expect, disagreement?.detail)
    if (!vector.output) return
    const { paid, cumulative, hashes, leaf, uncheckedClaims } = vector.output
    assert.deepEqual({ paid: report.header?.paid, cumulative: String(report.cumulative), hashes: report.hashes, leaf: report.leaf, uncheckedClaims: report.uncheckedClaims },
      { paid, cumulative, hashes, leaf, uncheckedClaims })
  })
}

function named(name: string): Vector {
  const vector = vectors.find(one => one.name === name)
  assert.ok(vector)
  return vector
}

test('no byte of a signed statement can be changed', async () => {
  const vector = named('good-user')
  const bytes = new TextEncoder().encode(vector.input.statement)
  const checks = checksOf(vector)
  await fc.assert(fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
    const changed = Uint8Array.from(bytes, (byte, k) => k === at ? byte ^ change : byte)
    const { disagreement } = await verifyStatement(piecesOf(changed, []), checks)
    assert.ok(disagreement, `byte ${at} with ${change}`)
  }), { numRuns: 150 })
})

async function * piecesOf(bytes: Uint8Array, cuts: number[]): AsyncGenerator<Uint8Array> {
  let at = 0
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    yield bytes.subarray(at, cut)
    at = cut
  }
  yield bytes.subarray(at)
}

test('the pieces that a file comes in do not matter', async () => {
  const vector = named('good-vendor')
  const bytes = new TextEncoder().encode(vector.input.statement)
  await fc.assert(fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 8 }), async cuts => {
    const { report, disagreement } = await verifyStatement(piecesOf(bytes, cuts), checksOf(vector))
    assert.equal(disagreement, undefined)
    assert.equal(report.leaf, vector.output?.leaf)
  }), { numRuns: 30 })
})

test('a failing source is an error and no disagreement', async () => {
  async function * broken(): AsyncGenerator<Uint8Array> {
    yield new TextEncoder().encode('{"format"')
    throw new Error('the disk is gone')
  }
  await assert.rejects(verifyStatement(broken(), checksOf(named('good-vendor'))), /the disk is gone/)
})
