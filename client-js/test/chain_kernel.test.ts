// The walk of long chains by WebAssembly: that it is what its generator writes, that it
// gives what the plain one gives, and that without it nothing is different but the time.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { sha256 } from '@noble/hashes/sha2.js'
import fc from 'fast-check'

import { Chain, walk } from '../src/chain.js'
import { loadKernel, type WalkWords } from '../src/chain_kernel.js'
import { chainWasm } from '../src/chain_wasm.js'
import { fromBase64url } from '../src/encoding.js'
import { kernelOfLongWalks, walkWords } from '../src/hash.js'

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const module = fromBase64url(chainWasm)

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('hex')

/** A seed that is printed, so that a run can be had again. */
const seed = Math.floor(Math.random() * 2 ** 31)
console.log(`seed ${seed}`)

const payword = fc.uint8Array({ minLength: 32, maxLength: 32 })
const words = fc.array(fc.integer(), { minLength: 8, maxLength: 8 }).map(values => Int32Array.from(values))

function walked(walkThem: WalkWords, start: Int32Array, steps: number): string {
  const copy = start.slice()
  walkThem(copy, steps)
  return copy.join()
}

test('the module is what its generator writes', () => {
  const written = execFileSync(process.execPath, ['scripts/chain_wasm.mjs', '--print'], { cwd: folder, encoding: 'utf8' })
  assert.equal(readFileSync(join(folder, 'src', 'chain_wasm.ts'), 'utf8'), written, 'run node scripts/chain_wasm.mjs')
  assert.ok(written.length < 12_000, `${written.length} bytes`)
})

test('by WebAssembly a walk leads where the plain one leads', () => {
  const kernel = kernelOfLongWalks()
  assert.ok(kernel, 'Node has WebAssembly')
  fc.assert(fc.property(words, fc.integer({ min: 1, max: 1100 }), (start, steps) => {
    assert.equal(walked(kernel, start, steps), walked(walkWords, start, steps))
  }), { seed })
  for (const value of [0, -1, 0x7fffffff, -0x80000000]) {
    const start = new Int32Array(8).fill(value)
    for (const steps of [1, 2, 255, 256, 257, 512, 100_000]) assert.equal(walked(kernel, start, steps), walked(walkWords, start, steps), `${steps} steps of ${value}`)
  }
})

test('a long walk may be interrupted anywhere, and hashes as @noble/hashes does', () => {
  fc.assert(fc.property(payword, fc.integer({ min: 900, max: 2200 }), fc.nat(2200), (start, steps, stop) => {
    let want: Uint8Array = start
    for (let k = 0; k < steps; k++) want = sha256(want)
    const first = Math.min(stop, steps)
    assert.equal(hex(walk(start, steps)), hex(want))
    assert.equal(hex(walk(walk(start, first), steps - first)), hex(want))
  }), { seed, numRuns: 50 })
})

test('a long chain, prepared at once or in slices, releases what the plain walk comes to', async () => {
  const run = fc.record({ tip: payword, length: fc.integer({ min: 1000, max: 30_000 }), start: fc.nat(30_000), strides: fc.array(fc.nat(3000), { maxLength: 5 }) })
  await fc.assert(fc.asyncProperty(run, async ({ tip, length, start, strides }) => {
    const index = Math.min(start, length)
    const tipWords = Int32Array.from({ length: 8 }, (_, k) => Buffer.from(tip).readInt32BE(4 * k))
    const word = (at: number): string => {
      const bytes = Buffer.alloc(32)
      walked(walkWords, tipWords, length - at).split(',').forEach((value, k) => bytes.writeInt32BE(Number(value), 4 * k))
      return hex(bytes)
    }
    const chains = [Chain.prepare(tip, length, index), await Chain.prepareInSlices(tip, length, index)]
    assert.equal(chains[0]?.save(), chains[1]?.save())
    let at = index
    for (const stride of [0, ...strides]) {
      at = Math.min(at + stride, length)
      for (const chain of chains) assert.equal(hex(chain.release(at)), word(at), `payword ${at}`)
    }
    for (const chain of chains) assert.equal(hex(chain.root), word(0))
  }), { seed, numRuns: 12 })
})

test('without WebAssembly, or with one that hashes wrongly, there is no kernel', t => {
  assert.ok(loadKernel(module, walkWords))
  // The first of the constants of the last round: what is compiled hashes otherwise.
  const wrong = module.slice()
  const place = Buffer.from(module).lastIndexOf(Buffer.from([0xf2, 0xf1, 0xc5, 0xb3, 0x7c]))
  assert.ok(place > 0)
  wrong[place]! ^= 1
  assert.ok(WebAssembly.validate(wrong))
  assert.equal(loadKernel(wrong, walkWords), undefined)
  for (const part of [module.slice(0, -1), new Uint8Array()]) assert.equal(loadKernel(part, walkWords), undefined)
  const { WebAssembly: own } = globalThis
  t.after(() => { globalThis.WebAssembly = own })
  Reflect.deleteProperty(globalThis, 'WebAssembly')
  assert.equal(loadKernel(module, walkWords), undefined)
})

test('a preparation in slices lets others run', async () => {
  let turns = 0
  let isOver = false
  const counting = (async () => {
    for (; !isOver; turns++) await new Promise(resolve => { setImmediate(resolve) })
  })()
  // 12 slices that place the pebbles, and 24 that hash.
  await Chain.prepareInSlices(new Uint8Array(32), 200_000, 100_000)
  isOver = true
  await counting
  assert.ok(turns > 24, `${turns} turns`)
})
