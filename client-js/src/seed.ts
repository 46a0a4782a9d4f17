import { sha256 } from '@noble/hashes/sha2.js'

import type { Bytes } from './encoding.js'
import { PaywordError } from './errors.js'
import { seedBytes } from './limits.js'

// A seed is written down as 14 groups of 4 letters and digits: its 32 bytes and
// the first 3 of their SHA-256, in base32 (RFC 4648, section 6), so that a slip of
// the pen is noticed. As the Go client does it.

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const sumBytes = 3
const letterCount = (seedBytes + sumBytes) * 8 / 5

/** Returns a seed of 32 bytes as people write it down. */
export function formatSeed(seed: Uint8Array): string {
  let bits = 0n
  for (const byte of [...seed, ...sha256(seed).subarray(0, sumBytes)]) bits = bits << 8n | BigInt(byte)
  let letters = ''
  for (let k = letterCount - 1; k >= 0; k--) letters += alphabet[Number(bits >> BigInt(5 * k) & 31n)]
  return letters.match(/.{4}/g)!.join('-')
}

/**
 * Reads what {@link formatSeed} wrote, in either case, with any spaces, hyphens
 * and line breaks between. Throws a `usage` error that says what is wrong.
 */
export function parseSeed(text: string): Bytes {
  const wrong = (want: string) => new PaywordError('usage', want)
  const letters = text.replaceAll(/[ \-\t\r\n]/g, '').toUpperCase()
  if (letters.length !== letterCount) throw wrong('want a seed of 14 groups of 4 letters and digits')
  let bits = 0n
  for (const letter of letters) {
    const value = alphabet.indexOf(letter)
    if (value < 0) throw wrong('a seed has the letters A to Z and the digits 2 to 7')
    bits = bits << 5n | BigInt(value)
  }
  const bytes = Uint8Array.from({ length: seedBytes + sumBytes }, (_, k) => Number(bits >> BigInt(8 * (seedBytes + sumBytes - 1 - k)) & 255n))
  const seed = bytes.slice(0, seedBytes)
  if (sha256(seed).subarray(0, sumBytes).some((byte, k) => byte !== bytes[seedBytes + k])) {
    throw wrong('the seed has a mistake in it: compare it letter by letter')
  }
  return seed
}
