import { checkStatusURI } from './certificate.js'
import { fromBase64url, type Bytes } from './encoding.js'
import type { Members } from './json.js'
import { splitJws } from './jws.js'
import { verifySignature, type Brokers } from './keys.js'
import { maxOriginBytes, maxStatusListBytes, maxStatusListTokenBytes } from './limits.js'
import { MalformedError } from './malformed.js'

/** A broker's hot list: docs/protocol.md, section 6.5. */
export interface StatusList {
  /** Where it is had, as certificates name it. */
  uri: string
  /** Seconds since 1970. */
  issuedAt: number
  /** Seconds since 1970: it says something while now < expires. */
  expires: number
  /** After how long to look for a newer one; 0: it is not said. */
  ttlSeconds: number
  /** Of one status: 1, 2, 4 or 8. */
  bits: number
  /** The first in the lowest bits of the first byte. */
  statuses: Bytes
}

/** The status of a certificate that nothing is known against. Nothing else lets anybody spend. */
export const statusValid = 0

/** Returns the status of the certificate at an index; undefined if the list has no such place, and says nothing of it. */
export function statusAt(list: StatusList, index: number): number | undefined {
  const bit = index * list.bits
  const byte = list.statuses[Math.floor(bit / 8)]
  return byte === undefined ? undefined : byte >> bit % 8 & (1 << list.bits) - 1
}

/**
 * Reads the list that an issuer publishes at a URI, which lies under the issuer's
 * own origin, and checks the issuer's signature. Whether it has expired is for the
 * caller to say. It takes at most 1 MB for the statuses, whatever the token unpacks to.
 *
 * @throws {@link MalformedError}
 */
export async function parseStatusList(token: string, issuer: string, uri: string, brokers: Brokers): Promise<StatusList> {
  try {
    const object = splitJws(token, 'statuslist+jwt', maxStatusListTokenBytes)
    const key = brokers.get(issuer)?.get(object.keyId)
    if (key === undefined) throw new MalformedError(`no key of broker ${issuer} is known under its kid`)
    // The signature first: nothing is unpacked that the broker did not pack.
    if (!await verifySignature(key, object.signed, object.signature)) throw new MalformedError('the broker’s signature is wrong')
    return await readList(object.payload, issuer, uri)
  } catch (error) {
    throw error instanceof MalformedError ? error.within('status list') : error
  }
}

async function readList(payload: Members, issuer: string, uri: string): Promise<StatusList> {
  const named = payload.optional('iss', name => payload.text(name))
  if (named !== undefined && named !== '' && named !== issuer) throw new MalformedError('iss: it is another broker’s')
  if (payload.text('sub') !== uri) throw new MalformedError('sub: it is the list of another address')
  if (uri.length > maxOriginBytes) throw new MalformedError(`sub: at most ${maxOriginBytes} bytes`)
  checkStatusURI(issuer, uri)
  const [issuedAt, expires] = [payload.integer('iat', 1), payload.integer('exp', 1)]
  if (expires <= issuedAt) throw new MalformedError('exp: want a time after iat')
  const packed = payload.object('status_list')
  const bits = packed.integer('bits', 1, 8)
  if (![1, 2, 4, 8].includes(bits)) throw new MalformedError('bits: want 1, 2, 4 or 8')
  return {
    uri, issuedAt, expires, ttlSeconds: payload.optional('ttl', name => payload.integer(name, 1)) ?? 0, bits,
    statuses: await unpack(fromBase64url(packed.text('lst')))
  }
}

/** Unpacks a list, after which nothing may follow. */
async function unpack(packed: Bytes): Promise<Bytes> {
  const statuses = await inflate(packed)
  if (!statuses) throw new MalformedError('lst: not compressed with zlib, cut off or damaged')
  if (statuses.length < 1 || statuses.length > maxStatusListBytes) throw new MalformedError(`lst: want 1 to ${maxStatusListBytes} bytes`)
  // Not every platform minds what follows. What does without its last byte had something there.
  if (await inflate(packed.subarray(0, -1))) throw new MalformedError('lst: something follows the list')
  return statuses
}

/**
 * Unpacks zlib (RFC 1950), and stops one byte after the most that a list takes,
 * however much would follow; undefined if it is no zlib.
 */
async function inflate(packed: Bytes): Promise<Bytes | undefined> {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate')).getReader()
  const statuses = new Uint8Array(maxStatusListBytes + 1)
  let length = 0
  try {
    while (length < statuses.length) {
      const { done, value } = await reader.read()
      if (done) break
      const part = value.subarray(0, statuses.length - length)
      statuses.set(part, length)
      length += part.length
    }
    return statuses.slice(0, length)
  } catch {
    return undefined
  } finally {
    void reader.cancel().catch(() => undefined)
  }
}
