import { sha256 } from '@noble/hashes/sha2.js'
import type { Currency } from './amount.js'
import { fromBase64url, fromBase64urlFixed, fromUtf8, isBase64url, toUtf8, type Base64url, type Bytes } from './encoding.js'
import { verifySignature } from './keys.js'
import { isOrigin } from './origin.js'
import { decodeExactly, hasMembers, isName, type StatementProof } from './statement.js'

/** Bounds a signed day, in bytes. */
export const maxDayBytes = 2048

/** Bounds the path through a day's tree: that of 2^62 statements. */
const maxPath = 62

/** The broker's word on all statements of one run; each names the one before it. */
export interface Day {
  /** The broker's origin. */
  iss: string
  /** From 1, without gaps. */
  number: number
  run: string
  periodEnd: string
  currency: Currency
  /** Number of statements. */
  leaves: number
  /** Of the tree, base64url. */
  root: string
  /** SHA-256 of the token of the day before, hexadecimal; '' for the first. */
  previous: string
  /** Seconds since 1970. */
  iat: number
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

function isDay(d: unknown): d is Day {
  return hasMembers(d, ['iss', 'number', 'run', 'periodEnd', 'currency', 'leaves', 'root', 'previous', 'iat']) &&
    typeof d.iss === 'string' && isOrigin(d.iss) && isName(d.run) && isName(d.periodEnd) && typeof d.currency === 'string' && /^[a-z]{3}-micro$/.test(d.currency) &&
    isCount(d.number) && d.number > 0 && isCount(d.leaves) && isCount(d.iat) && d.iat > 0 && typeof d.root === 'string' && isBase64url(d.root, 32) &&
    typeof d.previous === 'string' && (d.number === 1 ? d.previous === '' : /^[0-9a-fA-F]{64}$/.test(d.previous))
}

/** A signed day that was read. */
export interface ReadDay {
  day: Day
  /** The kid of the key that signed it. */
  keyId: string
  /** Resolves with whether a key, in base64url, signed it. */
  isSignedBy(key: Base64url): Promise<boolean>
}

/** Reads a signed day; returns a sentence that says what is wrong with it if it is none. */
export function readDay(token: string): ReadDay | string {
  const parts = token.split('.')
  const [header = '', payload = '', signature = ''] = parts
  if (token.length > maxDayBytes || parts.length !== 3) return `want a JWS of at most ${maxDayBytes} bytes`
  let texts: string[]
  let signed: Bytes
  try {
    texts = [fromUtf8(fromBase64url(header)), fromUtf8(fromBase64url(payload))]
    signed = fromBase64urlFixed(signature, 64)
  } catch {
    return 'want three parts in base64url'
  }
  const keyId = /"kid":"([^"]*)"/.exec(texts[0] ?? '')?.[1] ?? ''
  // Whoever wrote the file wrote the kid, and it is shown to people.
  if (!isBase64url(keyId, 32) || texts[0] !== `{"alg":"EdDSA","kid":"${keyId}","typ":"payword-day+jwt"}`) {
    return 'header: want alg EdDSA, kid, the thumbprint of a key, and typ payword-day+jwt alone'
  }
  const day = decodeExactly(texts[1] ?? '', isDay)
  if (!day) return 'payload: it is not a day, each member once and in order, without white space'
  return { day, keyId, isSignedBy: key => verifySignature(key, toUtf8(`${header}.${payload}`), signed) }
}

const node = (prefix: number, ...parts: Uint8Array[]): Uint8Array => {
  const hash = sha256.create().update(Uint8Array.of(prefix))
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** Whether a path leads from a leaf to the root of a day's tree (RFC 9162, section 2.1.3.2). */
export function isIncluded(proof: StatementProof, leaf: Uint8Array, root: Uint8Array): boolean {
  let { index } = proof
  let last = proof.leaves - 1
  if (proof.leaves < 1 || index < 0 || index > last || proof.path.length > maxPath) return false
  let at = node(0, leaf)
  for (const text of proof.path) {
    if (last === 0 || !isBase64url(text, 32)) return false
    const beside = fromBase64url(text)
    if (index % 2 === 1 || index === last) {
      at = node(1, beside, at)
      while (index % 2 === 0 && index !== 0) [index, last] = [index / 2, Math.floor(last / 2)]
    } else {
      at = node(1, at, beside)
    }
    [index, last] = [Math.floor(index / 2), Math.floor(last / 2)]
  }
  return last === 0 && at.every((byte, k) => byte === root[k])
}
