import assert from 'node:assert/strict'
import { test } from 'node:test'

import { sha256 } from '@noble/hashes/sha2.js'
import fc from 'fast-check'

import { Chain, walk } from '../src/chain.js'
import { fromBase64url, toBase64url } from '../src/encoding.js'
import { MalformedError } from '../src/malformed.js'

const payword = fc.uint8Array({ minLength: 32, maxLength: 32 })

/** Every payword of a chain, W_0 first, by the other implementation of the hash. */
function wordsOf(tip: Uint8Array, length: number): Uint8Array[] {
  const words = [tip]
  for (let k = 0; k < length; k++) words.unshift(sha256(words[0]!))
  return words
}

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('hex')

test('a walk hashes as @noble/hashes does, and leaves what it was given', () => {
  fc.assert(fc.property(payword, fc.nat(40), (start, steps) => {
    const [given, want] = [hex(start), hex(wordsOf(start, steps)[0])]
    assert.equal(hex(walk(start, steps)), want)
    assert.equal(hex(start), given)
  }))
})

test('a walk reads a payword that lies inside of other bytes', () => {
  const bytes = new Uint8Array(100).map((_, k) => k)
  assert.equal(hex(walk(bytes.subarray(5, 37), 1)), hex(sha256(bytes.subarray(5, 37))))
})

test('a chain releases its paywords in any rising order, saved and restored on the way', () => {
  const run = fc.record({ tip: payword, length: fc.integer({ min: 1, max: 300 }), start: fc.nat(300), strides: fc.array(fc.nat(20)) })
  fc.assert(fc.property(run, ({ tip, length, start, strides }) => {
    const words = wordsOf(tip, length)
    let chain = Chain.prepare(tip, length, Math.min(start, length))
    assert.equal(hex(chain.root), hex(words[0]))
    for (const stride of strides) {
      const index = Math.min(chain.index + stride, length)
      assert.equal(hex(chain.release(index)), hex(words[index]), `payword ${index}`)
      assert.equal(hex(chain.payword), hex(words[index]))
      chain = Chain.restore(chain.save(), chain.root)
      assert.equal(chain.index, index)
    }
  }))
})

test('a chain goes neither back nor past its end, and is not made beyond the limits', () => {
  const chain = Chain.prepare(new Uint8Array(32), 10, 4)
  for (const index of [3, 11, 4.5, NaN, -1]) assert.throws(() => chain.release(index), MalformedError)
  assert.equal(chain.index, 4)
  for (const [length, index] of [[0, 0], [1_048_577, 0], [10, 11], [10, -1], [1.5, 0]] as const) {
    assert.throws(() => Chain.prepare(new Uint8Array(32), length, index), MalformedError)
  }
  assert.throws(() => Chain.prepare(new Uint8Array(31), 10), MalformedError)
})

test('what was saved is refused once it is damaged, or for another chain', () => {
  const chain = Chain.prepare(new Uint8Array(32), 100, 7)
  const saved = fromBase64url(chain.save())
  fc.assert(fc.property(fc.nat(saved.length - 1), fc.integer({ min: 1, max: 255 }), (place, change) => {
    const damaged = saved.map((byte, k) => k === place ? byte ^ change : byte)
    assert.throws(() => Chain.restore(toBase64url(damaged), chain.root), MalformedError)
  }))
  assert.throws(() => Chain.restore(chain.save(), new Uint8Array(32)), MalformedError)
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), bytes => {
    assert.throws(() => Chain.restore(toBase64url(bytes), chain.root), MalformedError)
  }))
})

test('the longest chain costs what it may: hashes and bytes, counted', () => {
  const length = 1_000_000
  const chain = Chain.prepare(new Uint8Array(32).fill(7), length)
  assert.equal(chain.hashes, length, 'preparing walks the chain once')
  let [most, largest] = [0, 0]
  // The first steps, those around the middle, where most pebbles start, and the last.
  for (const [start, end] of [[0, 3000], [499_000, 525_500], [999_000, length]] as const) {
    const part = start === 0 ? chain : Chain.prepare(new Uint8Array(32).fill(7), length, start)
    for (let index = start + 1; index <= end; index++) {
      const before = part.hashes
      part.release(index)
      most = Math.max(most, part.hashes - before)
      if (index % 500 === 0) largest = Math.max(largest, part.save().length)
    }
  }
  assert.ok(most > 0 && most < 50, `a payment takes ${most} hashes`)
  assert.ok(largest > 0 && largest < 4096, `storage takes ${largest} bytes`)
})
