import { sha256 } from '@noble/hashes/sha2.js'

import { fromByteSequence, isBase64url, toByteSequence, toUtf8, type Base64url, type Bytes } from './encoding.js'
import { thumbprint, verifySignature, type Signer } from './keys.js'
import { maxNumber, nonceBytes, requestMaxAgeSeconds, signatureBytes } from './limits.js'
import { MalformedError } from './malformed.js'
import { Refusal } from './reason.js'

// Requests to a broker are signed with HTTP message signatures (RFC 9421) over a
// fixed set of components: docs/protocol.md, section 14.

/** What a request signature covers. */
export interface SignedRequest {
  method: string
  /** The broker's origin, path and query. */
  targetUri: string
  /** The Content-Digest field; of the empty body too. */
  digest: string
  /** Seconds since 1970. */
  created: number
  /** The key's thumbprint. */
  keyId: Base64url
  /** 16 random bytes in base64url; a broker takes each once. */
  nonce: Base64url
}

/** The header fields of a signed request, for `fetch`. */
export type SignatureFields = Record<'Content-Digest' | 'Signature-Input' | 'Signature', string>

/** Returns the Content-Digest field (RFC 9530) of a body. */
export function contentDigest(body: Uint8Array): string {
  return `sha-256=${toByteSequence(sha256(body))}`
}

function parametersOf(request: SignedRequest): string {
  return `("@method" "@target-uri" "content-digest");created=${request.created};keyid="${request.keyId}";` +
    `nonce="${request.nonce}";tag="payword-request"`
}

function baseOf(request: SignedRequest): Bytes {
  return toUtf8(`"@method": ${request.method}\n"@target-uri": ${request.targetUri}\n` +
    `"content-digest": ${request.digest}\n"@signature-params": ${parametersOf(request)}`)
}

/**
 * Signs a request and returns the three header fields to send with it.
 *
 * @param request.body - what is sent, to the byte; empty if nothing is
 * @param request.nonce - 16 random bytes in base64url, new for every attempt
 * @param request.created - seconds since 1970
 */
export async function signRequest(
  request: { method: string, targetUri: string, body: Uint8Array, nonce: Base64url, created: number }, signer: Signer
): Promise<SignatureFields> {
  const { method, targetUri, body, nonce, created } = request
  const signed = { method, targetUri, digest: contentDigest(body), created, keyId: thumbprint(signer.publicKey), nonce }
  return {
    'Content-Digest': signed.digest,
    'Signature-Input': `sig=${parametersOf(signed)}`,
    Signature: `sig=${toByteSequence(await signer.sign(baseOf(signed)))}`
  }
}

/**
 * Reads a Signature-Input field. It refuses with bad-signature what is not exactly
 * as {@link signRequest} writes it.
 */
export function parseSignatureInput(input: string): Pick<SignedRequest, 'created' | 'keyId' | 'nonce'> | Refusal {
  const parts = /^sig=\("@method" "@target-uri" "content-digest"\);created=(0|[1-9][0-9]{0,14});keyid="([^"]*)";nonce="([^"]*)";tag="payword-request"$/.exec(input)
  const [created, keyId = '', nonce = ''] = [Number(parts?.[1]), parts?.[2], parts?.[3]]
  if (!parts || created > maxNumber || !isBase64url(keyId, 32) || !isBase64url(nonce, nonceBytes)) {
    return new Refusal('bad-signature', 'Signature-Input: want sig=("@method" "@target-uri" "content-digest");created=…;keyid="…";nonce="…";tag="payword-request"')
  }
  return { created, keyId, nonce }
}

/**
 * Reports whether a key, given in base64url, signed a request at about now, in
 * seconds since 1970; undefined if it did. It refuses with bad-signature.
 */
export async function verifyRequest(request: SignedRequest, key: Base64url, signature: string, now: number): Promise<Refusal | undefined> {
  if (Math.abs(request.created - now) > requestMaxAgeSeconds) {
    return new Refusal('bad-signature', `the request was signed more than ${requestMaxAgeSeconds} seconds from now`)
  }
  let bytes: Bytes
  try {
    bytes = fromByteSequence(signature.replace(/^sig=/, ''), signatureBytes)
    if (!signature.startsWith('sig=')) throw new MalformedError('no label')
  } catch (error) {
    if (error instanceof MalformedError) return new Refusal('bad-signature', 'Signature: want sig=:…: with 64 bytes in base64')
    throw error
  }
  const isGenuine = request.keyId === thumbprint(key) && await verifySignature(key, baseOf(request), bytes)
  return isGenuine ? undefined : new Refusal('bad-signature', 'the signature does not fit the request and its key')
}

/** What a key is let in for, in {@link signPossession}. */
export type PossessionPurpose = 'device' | 'sub-account'

/**
 * Returns what a new key signs to prove that its holder wants it to speak for an
 * account: docs/protocol.md, section 14.
 */
export function possessionMessage(purpose: PossessionPurpose, broker: string, account: string, challenge: string): Bytes {
  return toUtf8(['payword-possession', purpose, broker, account, challenge].join('\n'))
}
