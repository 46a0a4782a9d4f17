import { sha256 } from '@noble/hashes/sha2.js'

import { toUtf8, type Bytes } from './encoding.js'
import { maxChainLength, maxChains, maxOriginBytes, nonceBytes, paywordBytes, seedBytes } from './limits.js'
import { MalformedError } from './malformed.js'

export { walk } from './hash.js'
export { Chain } from './traversal.js'

/**
 * Derives 32 bytes by HKDF-SHA256 (RFC 5869) without a salt, of a secret that it
 * holds, for `info`.
 */
export type Derive = (info: Bytes) => Promise<Bytes>

/** Returns the derivation of a WebCrypto HKDF key, whose usages include `deriveBits`. */
export function deriveByKey(key: CryptoKey): Derive {
  return async info => {
    const algorithm = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info }
    return new Uint8Array(await crypto.subtle.deriveBits(algorithm, key, 256))
  }
}

/**
 * Makes the HKDF key of a seed of 32 bytes. Script can derive with it and cannot
 * read the seed out of it.
 *
 * @throws {@link MalformedError}
 */
export async function importSeed(seed: Uint8Array): Promise<CryptoKey> {
  if (seed.length !== seedBytes) throw new MalformedError(`seed of ${seed.length} bytes: want ${seedBytes}`)
  return crypto.subtle.importKey('raw', new Uint8Array(seed), 'HKDF', false, ['deriveBits'])
}

/**
 * Returns the derivation of a seed of 32 bytes.
 *
 * @throws {@link MalformedError}
 */
export async function deriveBySeed(seed: Uint8Array): Promise<Derive> {
  return deriveByKey(await importSeed(seed))
}

/**
 * Joins fields, each after its length as two bytes, big endian: the info of every
 * derivation. docs/protocol.md, section 5.
 */
export function joinFields(...fields: Uint8Array[]): Bytes {
  const joined = new Uint8Array(fields.reduce((length, field) => length + 2 + field.length, 0))
  const view = new DataView(joined.buffer)
  let at = 0
  for (const field of fields) {
    view.setUint16(at, field.length)
    joined.set(field, at + 2)
    at += 2 + field.length
  }
  return joined
}

/** Returns a number as four bytes, big endian. */
export function fourBytes(number: number): Bytes {
  const view = new DataView(new ArrayBuffer(4))
  view.setUint32(0, number)
  return new Uint8Array(view.buffer)
}

/**
 * Returns W_N, the secret end of one chain. docs/protocol.md, section 5.
 *
 * @param vendor - the vendor's origin
 * @param nonce - the commitment's `jti`, 16 bytes
 * @param chain - its number in the commitment, 0 to 7
 * @param length - N, 1 to 2^20
 * @throws {@link MalformedError} if they are beyond the protocol's limits.
 */
export async function deriveTip(derive: Derive, vendor: string, nonce: Uint8Array, chain: number, length: number): Promise<Bytes> {
  const isWithin = vendor.length <= maxOriginBytes && nonce.length === nonceBytes &&
    Number.isInteger(chain) && chain >= 0 && chain < maxChains &&
    Number.isInteger(length) && length >= 1 && length <= maxChainLength
  if (!isWithin) throw new MalformedError(`deriving the tip of chain ${chain} of ${length} steps: beyond the protocol's limits`)
  return derive(joinFields(toUtf8('payword-chain-1'), toUtf8(vendor), nonce, fourBytes(chain), fourBytes(length)))
}

/**
 * Returns what a gate says of a tail, so that the owner of the chain can check it
 * and nobody else learns the payword: SHA-256 of `payword-tail` and the payword.
 *
 * @param payword - 32 bytes
 */
export function tailHash(payword: Uint8Array): Bytes {
  const message = new Uint8Array(12 + paywordBytes)
  message.set(toUtf8('payword-tail'))
  message.set(payword, 12)
  return new Uint8Array(sha256(message))
}
