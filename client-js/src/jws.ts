import { fromBase64url, fromBase64urlFixed, fromUtf8, toBase64url, toUtf8, type Base64url, type Bytes } from './encoding.js'
import { Members } from './json.js'
import { thumbprint, verifySignature, type Signer } from './keys.js'
import { signatureBytes } from './limits.js'
import { MalformedError, within } from './malformed.js'

// The signed objects are compact JWS (RFC 7515) with one algorithm and three header
// members, so reading the header is a matter of refusing all else: docs/protocol.md,
// section 6, and docs/decisions/06-jws-headers.md.

/** The types of signed objects, in the `typ` of their headers. */
export type JwsType = 'payword-certificate+jwt' | 'payword-commitment+jwt' | 'payword-reservation+jwt' | 'payword-claim+jwt' | 'statuslist+jwt'

/** A compact JWS taken apart, its signature not yet checked. */
export interface Jws {
  /** The thumbprint of the key that is said to have signed it. */
  keyId: string
  payload: Members
  /** What the signature covers. */
  signed: Bytes
  signature: Bytes
}

/**
 * Returns claims as a compact JWS. Their members stand in the token as they stand
 * in the object; its kid is the key's thumbprint.
 */
export async function signJws(typ: JwsType, claims: object, signer: Signer): Promise<string> {
  const header = { alg: 'EdDSA', kid: thumbprint(signer.publicKey), typ }
  const signed = [header, claims].map(part => toBase64url(toUtf8(JSON.stringify(part)))).join('.')
  return `${signed}.${toBase64url(await signer.sign(toUtf8(signed)))}`
}

/**
 * Takes a token of at most `maxBytes` apart.
 *
 * @throws {@link MalformedError}
 */
export function splitJws(token: string, typ: JwsType, maxBytes: number): Jws {
  if (token.length > maxBytes) throw new MalformedError(`${token.length} bytes: at most ${maxBytes}`)
  const parts = token.split('.')
  const [header = '', payload = '', signature = ''] = parts
  if (parts.length !== 3) throw new MalformedError('want three parts joined by dots')
  return {
    keyId: within('header', () => readHeader(fromUtf8(fromBase64url(header)), typ)),
    payload: within('payload', () => Members.parse(fromUtf8(fromBase64url(payload)))),
    signed: toUtf8(`${header}.${payload}`),
    signature: within('signature', () => fromBase64urlFixed(signature, signatureBytes))
  }
}

function readHeader(text: string, typ: JwsType): Base64url {
  const header = Members.parse(text)
  if (header.size !== 3) throw new MalformedError('want alg, kid and typ alone')
  if (header.text('alg') !== 'EdDSA' || header.text('typ') !== typ) throw new MalformedError(`want alg EdDSA and typ ${typ}`)
  const keyId = header.text('kid')
  if (keyId === '') throw new MalformedError('want a kid')
  return keyId
}

/** Reports whether a key, given in base64url, signed it and is named in its header by thumbprint. */
export async function isSignedBy(object: Jws, key: Base64url): Promise<boolean> {
  return object.keyId === thumbprint(key) && verifySignature(key, object.signed, object.signature)
}
