// Writes src/chain_wasm.ts, the WebAssembly module that walks long chains. Run by hand
// after this file was changed (`node scripts/chain_wasm.mjs`); what it writes is kept,
// and a test compares the two. With `--print` it prints instead.
//
// The module has 32 bytes of memory in use, exported as `memory`: the eight words of a
// payword, as integers. Its one function, `walk(steps)`, hashes them `steps` times in
// place, `steps` from 1. It is SHA-256 (FIPS 180-4) of one block, written out: the eight
// variables and sixteen words of the schedule are locals and none is moved; what
// depends on the padding and on the first hash value alone is computed here, not there.
// Why so, and what else was tried: docs/decisions/66-a-webassembly-kernel-for-chains.md.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

// Sections 4.2.2 and 5.3.3.
const roundConstants = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]
const firstHash = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]
// The words of the block after the message: the bit that ends it, and its length in bits.
const padding = [0x80000000, 0, 0, 0, 0, 0, 0, 256]

// Integers of the binary format: LEB128.
function unsigned(number) {
  return number < 128 ? [number] : [number & 127 | 128, ...unsigned(number >>> 7)]
}
function signed(number) {
  return number >= -64 && number < 64 ? [number & 127] : [number & 127 | 128, ...signed(number >> 7)]
}

// An expression is a number, whose value is known here, or the bytes of code that
// leave a value on the stack.
const isKnown = x => typeof x === 'number'
const code = x => isKnown(x) ? [0x41, ...signed(x | 0)] : x
const get = local => [0x20, local]
const set = (local, x) => [...code(x), 0x21, local]
const tee = (local, x) => [...code(x), 0x22, local]
const load = offset => [...code(0), 0x28, 2, offset]
const store = (offset, x) => [...code(0), ...code(x), 0x36, 2, offset]

const shiftRight = (x, bits) => isKnown(x) ? x >>> bits : [...x, ...code(bits), 0x76]
const rotate = (x, bits) => isKnown(x) ? x >>> bits | x << 32 - bits : [...x, ...code(bits), 0x78]
const and = (x, y) => isKnown(x) && isKnown(y) ? x & y : [...code(x), ...code(y), 0x71]
function xor(x, y) {
  if (isKnown(x) && isKnown(y)) return x ^ y
  return x === 0 ? y : y === 0 ? x : [...code(x), ...code(y), 0x73]
}
// A sum, from left to right, with what is known added to the first of the others.
function add(...terms) {
  const known = terms.filter(isKnown).reduce((sum, x) => sum + x | 0, 0)
  const others = terms.filter(x => !isKnown(x))
  if (others.length === 0) return known
  const start = known === 0 ? others[0] : [...others[0], ...code(known), 0x6a]
  return others.slice(1).reduce((sum, x) => [...sum, ...x, 0x6a], start)
}

// The functions of section 4.1.2. Rotations that share their steps take fewer moves
// on processors whose rotation overwrites what it is given.
const bigSigma0 = x => rotate(xor(x, rotate(xor(x, rotate(x, 9)), 11)), 2)
const bigSigma1 = x => rotate(xor(x, rotate(xor(x, rotate(x, 14)), 5)), 6)
const smallSigma0 = x => xor(rotate(xor(x, rotate(x, 11)), 7), shiftRight(x, 3))
const smallSigma1 = x => xor(rotate(xor(x, rotate(x, 2)), 17), shiftRight(x, 10))
const choose = (e, f, g) => xor(g, and(e, xor(f, g)))

const steps = 0
const message = k => 1 + k
const state = k => 17 + k
const sum = 25
const differences = [26, 27]
const localCount = 27

// One step: the words of the message in, those of the hash out, in the same locals.
function oneStep() {
  const body = []
  const words = [...firstHash.map((_, k) => get(message(k))), ...padding]
  let [a, b, c, d, e, f, g, h] = firstHash
  let bXorC = b ^ c
  for (let round = 0; round < 64; round++) {
    if (round >= 16) {
      const word = add(words[round - 16], smallSigma0(words[round - 15]), words[round - 7], smallSigma1(words[round - 2]))
      if (isKnown(word)) words[round] = word
      else {
        body.push(set(message(round % 16), word))
        words[round] = get(message(round % 16))
      }
    }
    body.push(set(sum, add(h, roundConstants[round], words[round], choose(e, f, g), bigSigma1(e))))
    // maj(a, b, c) = b ^ (a ^ b) & (b ^ c), and a ^ b is the next round's b ^ c.
    const difference = differences[round % 2]
    const isFirst = isKnown(a)
    const majority = xor(b, and(isFirst ? a ^ b : tee(difference, xor(a, b)), bXorC))
    bXorC = isFirst ? a ^ b : get(difference)
    // Variable k of the first round is state(k); none is moved, the names go round.
    const [ofA, ofE] = [7, 3].map(k => state((k - round + 64) % 8))
    body.push(set(ofE, add(get(sum), d)), set(ofA, add(get(sum), bigSigma0(a), majority)));
    [a, b, c, d, e, f, g, h] = [get(ofA), a, b, c, get(ofE), e, f, g]
  }
  for (const [k, x] of [a, b, c, d, e, f, g, h].entries()) body.push(set(message(k), add(x, firstHash[k])))
  return body.flat()
}

function walkFunction() {
  const words = firstHash.map((_, k) => k)
  const i32 = 0x7f
  return [
    1, localCount, i32,
    ...words.flatMap(k => set(message(k), load(4 * k))),
    0x03, 0x40, // loop
    ...oneStep(),
    ...tee(steps, add(get(steps), -1)), 0x0d, 0, 0x0b, // br_if to the loop's start
    ...words.flatMap(k => store(4 * k, get(message(k)))),
    0x0b,
  ]
}

const vector = items => [...unsigned(items.length), ...items.flat()]
const section = (id, items) => [id, ...unsigned(vector(items).length), ...vector(items)]
const text = string => vector([...Buffer.from(string)].map(byte => [byte]))

function moduleBytes() {
  const body = walkFunction()
  return Buffer.from([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [[0x60, 1, 0x7f, 0]]), // types: (i32) -> ()
    ...section(3, [[0]]), // functions
    ...section(5, [[1, 1, 1]]), // memories: one page of 64 KiB, which does not grow
    ...section(7, [[...text('memory'), 2, 0], [...text('walk'), 0, 0]]), // exports
    ...section(10, [[...unsigned(body.length), ...body]]),
  ])
}

const bytes = moduleBytes()
const lines = bytes.toString('base64url').match(/.{1,120}/g)
const source = `// Written by scripts/chain_wasm.mjs, which says what it is. Not to be changed by hand.

/** The WebAssembly module that walks long chains, ${bytes.length} bytes, in base64url. */
export const chainWasm = '' +
${lines.map(line => `  '${line}'`).join(' +\n')}
`
if (process.argv.includes('--print')) process.stdout.write(source)
else writeFileSync(fileURLToPath(new URL('../src/chain_wasm.ts', import.meta.url)), source)
