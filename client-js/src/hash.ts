import { loadKernel, type WalkWords } from './chain_kernel.js'
import { chainWasm } from './chain_wasm.js'
import { fromBase64url, type Bytes } from './encoding.js'
import { paywordBytes } from './limits.js'

// SHA-256 (FIPS 180-4) of exactly 32 bytes, which is one block with a padding that
// is always the same. A wallet computes a million of them for a long chain; that a
// payword's own hash stays in eight words on the way makes it several times as fast
// as a hash of bytes (docs/decisions/53-chains-and-signatures-in-javascript.md), and
// long walks are WebAssembly's (66-a-webassembly-kernel-for-chains.md).

/** The round constants (section 4.2.2). */
const constants = new Int32Array([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
])

/** Words of the block after the message: the bit that ends it, and its length in bits. */
const padding = [0x80000000 | 0, 0, 0, 0, 0, 0, 0, paywordBytes * 8]

/**
 * Hashes the eight words of a payword `steps` times in place (section 6.2.2). Eight
 * rounds at a time, so that each finds its variables renamed and none is moved. Plain
 * statements, with every sum cut to 32 bits at once: what else was tried takes twice
 * the time.
 */
export function walkWords(words: Int32Array, steps: number): void {
  const schedule = new Int32Array(64)
  schedule.set(words)
  schedule.set(padding, 8)
  for (let step = 0; step < steps; step++) {
    for (let k = 16; k < 64; k++) {
      const near = schedule[k - 2]!
      const far = schedule[k - 15]!
      schedule[k] = schedule[k - 16]! + schedule[k - 7]! +
        ((far >>> 7 | far << 25) ^ (far >>> 18 | far << 14) ^ far >>> 3) +
        ((near >>> 17 | near << 15) ^ (near >>> 19 | near << 13) ^ near >>> 10) | 0
    }
    let a = 0x6a09e667 | 0
    let b = 0xbb67ae85 | 0
    let c = 0x3c6ef372 | 0
    let d = 0xa54ff53a | 0
    let e = 0x510e527f | 0
    let f = 0x9b05688c | 0
    let g = 0x1f83d9ab | 0
    let h = 0x5be0cd19 | 0
    for (let k = 0; k < 64; k += 8) {
      h = h + constants[k]! + schedule[k]! + (g ^ e & (f ^ g)) + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) | 0
      d = d + h | 0
      h = h + (a & b | c & (a | b)) + ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) | 0
      g = g + constants[k + 1]! + schedule[k + 1]! + (f ^ d & (e ^ f)) + ((d >>> 6 | d << 26) ^ (d >>> 11 | d << 21) ^ (d >>> 25 | d << 7)) | 0
      c = c + g | 0
      g = g + (h & a | b & (h | a)) + ((h >>> 2 | h << 30) ^ (h >>> 13 | h << 19) ^ (h >>> 22 | h << 10)) | 0
      f = f + constants[k + 2]! + schedule[k + 2]! + (e ^ c & (d ^ e)) + ((c >>> 6 | c << 26) ^ (c >>> 11 | c << 21) ^ (c >>> 25 | c << 7)) | 0
      b = b + f | 0
      f = f + (g & h | a & (g | h)) + ((g >>> 2 | g << 30) ^ (g >>> 13 | g << 19) ^ (g >>> 22 | g << 10)) | 0
      e = e + constants[k + 3]! + schedule[k + 3]! + (d ^ b & (c ^ d)) + ((b >>> 6 | b << 26) ^ (b >>> 11 | b << 21) ^ (b >>> 25 | b << 7)) | 0
      a = a + e | 0
      e = e + (f & g | h & (f | g)) + ((f >>> 2 | f << 30) ^ (f >>> 13 | f << 19) ^ (f >>> 22 | f << 10)) | 0
      d = d + constants[k + 4]! + schedule[k + 4]! + (c ^ a & (b ^ c)) + ((a >>> 6 | a << 26) ^ (a >>> 11 | a << 21) ^ (a >>> 25 | a << 7)) | 0
      h = h + d | 0
      d = d + (e & f | g & (e | f)) + ((e >>> 2 | e << 30) ^ (e >>> 13 | e << 19) ^ (e >>> 22 | e << 10)) | 0
      c = c + constants[k + 5]! + schedule[k + 5]! + (b ^ h & (a ^ b)) + ((h >>> 6 | h << 26) ^ (h >>> 11 | h << 21) ^ (h >>> 25 | h << 7)) | 0
      g = g + c | 0
      c = c + (d & e | f & (d | e)) + ((d >>> 2 | d << 30) ^ (d >>> 13 | d << 19) ^ (d >>> 22 | d << 10)) | 0
      b = b + constants[k + 6]! + schedule[k + 6]! + (a ^ g & (h ^ a)) + ((g >>> 6 | g << 26) ^ (g >>> 11 | g << 21) ^ (g >>> 25 | g << 7)) | 0
      f = f + b | 0
      b = b + (c & d | e & (c | d)) + ((c >>> 2 | c << 30) ^ (c >>> 13 | c << 19) ^ (c >>> 22 | c << 10)) | 0
      a = a + constants[k + 7]! + schedule[k + 7]! + (h ^ f & (g ^ h)) + ((f >>> 6 | f << 26) ^ (f >>> 11 | f << 21) ^ (f >>> 25 | f << 7)) | 0
      e = e + a | 0
      a = a + (b & c | d & (b | c)) + ((b >>> 2 | b << 30) ^ (b >>> 13 | b << 19) ^ (b >>> 22 | b << 10)) | 0
    }
    schedule[0] = 0x6a09e667 + a | 0
    schedule[1] = 0xbb67ae85 + b | 0
    schedule[2] = 0x3c6ef372 + c | 0
    schedule[3] = 0xa54ff53a + d | 0
    schedule[4] = 0x510e527f + e | 0
    schedule[5] = 0x9b05688c + f | 0
    schedule[6] = 0x1f83d9ab + g | 0
    schedule[7] = 0x5be0cd19 + h | 0
  }
  words.set(schedule.subarray(0, 8))
}

/** From how many steps on a walk is WebAssembly's: fewer take no longer than loading it does. */
const longWalk = 1000

let loaded: { kernel: WalkWords | undefined } | undefined

/** The walk by WebAssembly, loaded when it is first asked for; undefined where there is none. */
export function kernelOfLongWalks(): WalkWords | undefined {
  loaded ??= { kernel: loadKernel(fromBase64url(chainWasm), walkWords) }
  return loaded.kernel
}

/**
 * Hashes a payword the given number of times and returns where that leads: from
 * W_i to W_(i-steps). docs/protocol.md, section 5.
 *
 * @param payword - 32 bytes
 * @param steps - 0 to 2^20
 */
export function walk(payword: Uint8Array, steps: number): Bytes {
  const view = new DataView(payword.buffer, payword.byteOffset, paywordBytes)
  const words = new Int32Array(8)
  for (let k = 0; k < 8; k++) words[k] = view.getInt32(k * 4)
  const kernel = steps >= longWalk ? kernelOfLongWalks() : undefined
  if (kernel) kernel(words, steps)
  else walkWords(words, steps)
  const result = new DataView(new ArrayBuffer(paywordBytes))
  for (let k = 0; k < 8; k++) result.setInt32(k * 4, words[k]!)
  return new Uint8Array(result.buffer)
}
