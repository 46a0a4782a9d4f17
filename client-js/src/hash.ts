import type { Bytes } from './encoding.js'
import { paywordBytes } from './limits.js'

// SHA-256 (FIPS 180-4) of exactly 32 bytes, which is one block with a padding that
// is always the same. A wallet computes a million of them for a long chain; that a
// payword's own hash stays in eight words on the way makes it several times as fast
// as a hash of bytes (docs/decisions/53-chains-and-signatures-in-javascript.md).

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

/** The initial hash value (section 5.3.3). */
const [initial0, initial1, initial2, initial3, initial4, initial5, initial6, initial7] = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
] as const

/** Words of the block after the message: the bit that ends it, and its length in bits. */
const padding = [0x80000000 | 0, 0, 0, 0, 0, 0, 0, paywordBytes * 8]

/** Hashes eight words `steps` times in place. */
function walkWords(words: Int32Array, steps: number): void {
  const schedule = new Int32Array(64)
  schedule.set(padding, 8)
  let [w0, w1, w2, w3, w4, w5, w6, w7] = words as unknown as [number, number, number, number, number, number, number, number]
  for (let step = 0; step < steps; step++) {
    schedule[0] = w0; schedule[1] = w1; schedule[2] = w2; schedule[3] = w3
    schedule[4] = w4; schedule[5] = w5; schedule[6] = w6; schedule[7] = w7
    for (let k = 16; k < 64; k++) {
      const near = schedule[k - 2]!
      const far = schedule[k - 15]!
      schedule[k] = schedule[k - 16]! + schedule[k - 7]! +
        ((far >>> 7 | far << 25) ^ (far >>> 18 | far << 14) ^ far >>> 3) +
        ((near >>> 17 | near << 15) ^ (near >>> 19 | near << 13) ^ near >>> 10)
    }
    let [a, b, c, d] = [initial0 | 0, initial1 | 0, initial2 | 0, initial3 | 0]
    let [e, f, g, h] = [initial4 | 0, initial5 | 0, initial6 | 0, initial7 | 0]
    for (let k = 0; k < 64; k++) {
      const first = h + constants[k]! + schedule[k]! + (g ^ e & (f ^ g)) +
        ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) | 0
      const second = (a & b | c & (a | b)) +
        ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) | 0
      h = g; g = f; f = e; e = d + first | 0
      d = c; c = b; b = a; a = first + second | 0
    }
    w0 = initial0 + a | 0; w1 = initial1 + b | 0; w2 = initial2 + c | 0; w3 = initial3 + d | 0
    w4 = initial4 + e | 0; w5 = initial5 + f | 0; w6 = initial6 + g | 0; w7 = initial7 + h | 0
  }
  words.set([w0, w1, w2, w3, w4, w5, w6, w7])
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
  walkWords(words, steps)
  const result = new DataView(new ArrayBuffer(paywordBytes))
  words.forEach((word, k) => { result.setInt32(k * 4, word) })
  return new Uint8Array(result.buffer)
}
