import { MalformedError } from './malformed.js'

/** Bytes in memory of their own, which WebCrypto takes. */
export type Bytes = Uint8Array<ArrayBuffer>

/** Binary as it stands in JSON: base64url without padding (RFC 4648, section 5). */
export type Base64url = string

const urlAlphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const standardAlphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

function tableOf(alphabet: string): Int8Array {
  const table = new Int8Array(128).fill(-1)
  for (let k = 0; k < alphabet.length; k++) table[alphabet.charCodeAt(k)] = k
  return table
}

const urlTable = tableOf(urlAlphabet)
const standardTable = tableOf(standardAlphabet)

function encode(bytes: Uint8Array, alphabet: string): string {
  const parts: string[] = []
  for (let at = 0; at < bytes.length; at += 3) {
    const left = bytes.length - at
    const word = bytes[at]! << 16 | (left > 1 ? bytes[at + 1]! << 8 : 0) | (left > 2 ? bytes[at + 2]! : 0)
    parts.push(alphabet[word >> 18]! + alphabet[word >> 12 & 63]! +
      (left > 1 ? alphabet[word >> 6 & 63]! : '') + (left > 2 ? alphabet[word & 63]! : ''))
  }
  return parts.join('')
}

/** Decodes the canonical spelling, or returns undefined. */
function decode(text: string, table: Int8Array): Bytes | undefined {
  const rest = text.length % 4
  if (rest === 1) return undefined
  const bytes = new Uint8Array(Math.floor(text.length * 3 / 4))
  let word = 0
  let bits = 0
  let at = 0
  for (let k = 0; k < text.length; k++) {
    const code = text.charCodeAt(k)
    const value = code < 128 ? table[code]! : -1
    if (value < 0) return undefined
    word = (word << 6 | value) & 0xffff
    bits += 6
    if (bits >= 8) {
      bits -= 8
      bytes[at++] = word >> bits
    }
  }
  // Bits that fill the last character up are zero, or it had a second spelling.
  return (word & (1 << bits) - 1) === 0 ? bytes : undefined
}

/** Returns bytes in base64url without padding. */
export function toBase64url(bytes: Uint8Array): Base64url {
  return encode(bytes, urlAlphabet)
}

/**
 * Reads base64url, refusing every spelling but the canonical one: no padding, no
 * line breaks, unused bits zero.
 *
 * @throws {@link MalformedError}
 */
export function fromBase64url(text: string): Bytes {
  const bytes = decode(text, urlTable)
  if (!bytes) throw new MalformedError('not canonical base64url without padding')
  return bytes
}

/**
 * Reads exactly `size` bytes of base64url.
 *
 * @throws {@link MalformedError}
 */
export function fromBase64urlFixed(text: string, size: number): Bytes {
  const characters = Math.ceil(size * 4 / 3)
  if (text.length !== characters) throw new MalformedError(`want ${size} bytes in base64url, ${characters} characters`)
  return fromBase64url(text)
}

/** Whether a text is the canonical base64url of exactly `size` bytes. */
export function isBase64url(text: string, size: number): boolean {
  return text.length === Math.ceil(size * 4 / 3) && decode(text, urlTable) !== undefined
}

/** Returns bytes in base64 with padding (RFC 4648, section 4). */
export function toBase64(bytes: Uint8Array): string {
  const text = encode(bytes, standardAlphabet)
  return text + '='.repeat((4 - text.length % 4) % 4)
}

/**
 * Reads base64 with padding, refusing every spelling but the canonical one.
 *
 * @throws {@link MalformedError}
 */
export function fromBase64(text: string): Bytes {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const bytes = text.length % 4 === 0 ? decode(text.slice(0, text.length - padding), standardTable) : undefined
  if (!bytes) throw new MalformedError('not canonical base64 with padding')
  return bytes
}

/** Returns bytes as a byte sequence of a structured field (RFC 9651, section 3.3.5): `:…:`. */
export function toByteSequence(bytes: Uint8Array): string {
  return `:${toBase64(bytes)}:`
}

/**
 * Reads a byte sequence of exactly `size` bytes.
 *
 * @throws {@link MalformedError}
 */
export function fromByteSequence(text: string, size: number): Bytes {
  const isMarked = text.length === Math.ceil(size / 3) * 4 + 2 && text.startsWith(':') && text.endsWith(':')
  if (!isMarked) throw new MalformedError(`want ${size} bytes in base64 between colons`)
  const bytes = fromBase64(text.slice(1, -1))
  if (bytes.length !== size) throw new MalformedError(`want ${size} bytes in base64 between colons`)
  return bytes
}

const encoder = new TextEncoder()
// The mark would be taken away silently, and two texts would be one.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Returns a text in UTF-8. */
export function toUtf8(text: string): Bytes {
  return encoder.encode(text)
}

/**
 * Reads UTF-8.
 *
 * @throws {@link MalformedError}
 */
export function fromUtf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new MalformedError('not UTF-8')
  }
}
