import { sha256 } from '@noble/hashes/sha2.js'

import { fromBase64url, fromBase64urlFixed, toBase64url, toUtf8, type Base64url, type Bytes } from './encoding.js'
import { Members } from './json.js'
import { maxKeys, maxKeySetBytes, publicKeyBytes } from './limits.js'
import { MalformedError, within } from './malformed.js'

/** An Ed25519 public key as a JSON Web Key (RFC 8037), its members in the order of RFC 7638. */
export interface PublicJwk {
  crv: 'Ed25519'
  kty: 'OKP'
  /** The key, base64url. */
  x: Base64url
}

/** The keys of the brokers that are trusted, by issuer and kid. A broker's key speaks for that broker alone. */
export type Brokers = ReadonlyMap<string, ReadonlyMap<string, Base64url>>

/** Signs with an Ed25519 key. */
export interface Signer {
  /** 32 bytes in base64url. */
  readonly publicKey: Base64url
  /** Returns the signature, 64 bytes. */
  sign(message: Bytes): Promise<Bytes>
}

const prime = 2n ** 255n - 19n
/** d of the curve -x² + y² = 1 + dx²y². */
const curve = 37095705934669439343138083508754565189542113879843219016388785533085940283555n

/** y of a point of order eight. */
const eighth = 2707385501144840649318225287225658788936804267575313519463743609750303402022n

/** y of the points of small order. All their encodings have one of them. */
const smallOrders: ReadonlySet<bigint> = new Set([
  0n, 1n, prime - 1n,
  eighth, prime - eighth
])

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n
  for (let square = base % prime, rest = exponent; rest > 0n; rest >>= 1n, square = square * square % prime) {
    if (rest & 1n) result = result * square % prime
  }
  return result
}

/**
 * Checks an Ed25519 public key: 32 bytes, the canonical encoding of a point that is
 * not of small order, under which one signature would fit many messages.
 * docs/protocol.md, section 6.
 *
 * @throws {@link MalformedError}
 */
export function checkPublicKey(key: Uint8Array): void {
  if (key.length !== publicKeyBytes) throw new MalformedError(`an Ed25519 key has ${publicKeyBytes} bytes, not ${key.length}`)
  let encoded = 0n
  for (let k = key.length - 1; k >= 0; k--) encoded = encoded << 8n | BigInt(key[k]!)
  const y = encoded & (1n << 255n) - 1n
  if (y >= prime) throw new MalformedError('not the canonical encoding of a point')
  if (smallOrders.has(y)) throw new MalformedError('a point of small order')
  // x² = (y²-1)/(dy²+1) has a root just if the product of the two has one.
  const square = y * y % prime
  const product = (square - 1n + prime) * (curve * square % prime + 1n) % prime
  if (power(product, (prime - 1n) / 2n) !== 1n) throw new MalformedError('not a point of the curve')
}

/** Returns a public key, given in base64url, in its JSON form. */
export function publicJwk(key: Base64url): PublicJwk {
  return { crv: 'Ed25519', kty: 'OKP', x: key }
}

/**
 * Reads a public key of an object that is a JSON Web Key.
 *
 * @returns the key in base64url
 * @throws {@link MalformedError}
 */
export function readPublicJwk(members: Members): Base64url {
  if (members.text('kty') !== 'OKP' || members.text('crv') !== 'Ed25519') throw new MalformedError('want a key of type OKP on Ed25519')
  const key = members.binary('x', publicKeyBytes)
  within('key', () => { checkPublicKey(fromBase64url(key)) })
  return key
}

/** Returns the RFC 7638 thumbprint of an Ed25519 key, both in base64url: the kid of every key in the protocol. */
export function thumbprint(key: Base64url): Base64url {
  return toBase64url(sha256(toUtf8(JSON.stringify(publicJwk(key)))))
}

/**
 * Reads a JSON Web Key Set (RFC 7517) of at most 64 keys and returns its Ed25519
 * keys by kid. Keys of other types are passed over.
 *
 * @throws {@link MalformedError}
 */
export function parseJWKS(document: string): Map<string, Base64url> {
  if (document.length > maxKeySetBytes) throw new MalformedError(`key set of ${document.length} bytes: at most ${maxKeySetBytes}`)
  return within('key set', () => {
    const keys = new Map<string, Base64url>()
    for (const member of Members.parse(document).list('keys', 0, maxKeys)) {
      const key = new Members(member)
      if (!isEd25519(key)) continue
      const value = readPublicJwk(key)
      const kid = key.text('kid')
      if (kid === '' || keys.has(kid)) throw new MalformedError('a kid is empty or stands twice')
      keys.set(kid, value)
    }
    return keys
  })
}

function isEd25519(key: Members): boolean {
  return key.read('kty', type => type === 'OKP') && key.read('crv', name => name === 'Ed25519')
}

/** Reports whether a key, given in base64url, made the signature of a message. */
export async function verifySignature(key: Base64url, message: Bytes, signature: Bytes): Promise<boolean> {
  const imported = await crypto.subtle.importKey('raw', fromBase64urlFixed(key, publicKeyBytes), 'Ed25519', false, ['verify'])
  return crypto.subtle.verify('Ed25519', imported, signature, message)
}

/** Returns the signer of a private Ed25519 key of WebCrypto, whose public key is given in base64url. */
export function signerOf(privateKey: CryptoKey, publicKey: Base64url): Signer {
  return {
    publicKey,
    sign: async message => new Uint8Array(await crypto.subtle.sign('Ed25519', privateKey, message))
  }
}

/** What stands before the 32 bytes of a private key in PKCS #8 (RFC 8410, section 7). */
const pkcs8 = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20]

/**
 * Makes the signer of a private key of 32 bytes (RFC 8032's seed). The key that it
 * holds cannot be exported.
 *
 * @throws {@link MalformedError}
 */
export async function signerFromSecret(secret: Uint8Array): Promise<Signer> {
  if (secret.length !== 32) throw new MalformedError(`a private key of ${secret.length} bytes: want 32`)
  const encoded = new Uint8Array([...pkcs8, ...secret])
  const exportable = await crypto.subtle.importKey('pkcs8', encoded, 'Ed25519', true, ['sign'])
  const { x } = await crypto.subtle.exportKey('jwk', exportable)
  const key = await crypto.subtle.importKey('pkcs8', encoded, 'Ed25519', false, ['sign'])
  encoded.fill(0)
  if (!x) throw new MalformedError('the platform gives no public key of a private Ed25519 key')
  return signerOf(key, x)
}
