import { formatAmount, type Currency, type Micros } from './amount.js'
import { parsePrefix } from './address.js'
import type { Base64url } from './encoding.js'
import type { Members } from './json.js'
import { signJws, splitJws, type Jws } from './jws.js'
import { publicJwk, readPublicJwk, verifySignature, type Brokers, type Signer } from './keys.js'
import { maxAddressPrefixes, maxCertificateBytes, maxOriginBytes, maxSubjectBytes, nonceBytes } from './limits.js'
import { MalformedError, within } from './malformed.js'
import { checkOrigin } from './origin.js'
import { Refusal } from './reason.js'

/** The broker's word that a user may spend, C_U. docs/protocol.md, section 6.1. */
export interface Certificate {
  /** The exact token, as signed. */
  token: string
  /** The broker's origin. */
  issuer: string
  /** The user's pseudonym. */
  subject: string
  /** What commitments are signed with, base64url. */
  key: Base64url
  /** Seconds since 1970. */
  issuedAt: number
  /** Seconds since 1970: valid while now < expires. */
  expires: number
  /** `jti`. */
  id: Base64url
  currency: Currency
  /** The most that one vendor may accept on it in a day, in micros. */
  limit: Micros
  /** Where goods may be delivered to. Left out: anywhere. */
  prefixes?: string[]
  /** The user's proven least age, in years. Left out: nothing is proven. */
  age?: number
  /** Where the hot list tells of it. Left out: nowhere. */
  status?: StatusEntry
}

/** A place in a hot list. */
export interface StatusEntry {
  idx: number
  uri: string
}

/**
 * Signs a certificate with the broker's key and returns it with its token, for
 * programs that play a broker, such as tests.
 *
 * @throws {@link MalformedError} if `parseCertificate` would not take it.
 */
export async function signCertificate(certificate: Omit<Certificate, 'token'>, broker: Signer): Promise<Certificate> {
  const { prefixes, age, status } = certificate
  const token = await signJws('payword-certificate+jwt', {
    iss: certificate.issuer, sub: certificate.subject, cnf: { jwk: publicJwk(certificate.key) },
    iat: certificate.issuedAt, exp: certificate.expires, jti: certificate.id,
    currency: certificate.currency, limit: formatAmount(certificate.limit),
    ...prefixes?.length ? { prefixes } : {}, ...age ? { age } : {}, ...status ? { status: { status_list: status } } : {}
  }, broker)
  return unverifiedCertificate(token)
}

/**
 * Reads a certificate without checking the broker's signature, for the wallet that
 * was given it over a secure channel.
 *
 * @throws {@link MalformedError}
 */
export function unverifiedCertificate(token: string): Certificate {
  return within('certificate', () => readCertificate(splitCertificate(token), token))
}

/**
 * Reads a certificate and checks the broker's signature. It refuses with
 * malformed-certificate, unknown-broker or bad-certificate. Whether it has expired
 * is for the caller to say.
 */
export async function parseCertificate(token: string, brokers: Brokers): Promise<Certificate | Refusal> {
  let object: Jws
  let certificate: Certificate
  try {
    object = splitCertificate(token)
    certificate = readCertificate(object, token)
  } catch (error) {
    if (error instanceof MalformedError) return new Refusal('malformed-certificate', `certificate: ${error.message}`)
    throw error
  }
  const key = brokers.get(certificate.issuer)?.get(object.keyId)
  if (key === undefined) return new Refusal('unknown-broker', `no key of broker ${certificate.issuer} is known under that kid`)
  if (!await verifySignature(key, object.signed, object.signature)) return new Refusal('bad-certificate', 'the broker’s signature is wrong')
  return certificate
}

function splitCertificate(token: string): Jws {
  return splitJws(token, 'payword-certificate+jwt', maxCertificateBytes)
}

function readCertificate({ payload }: Jws, token: string): Certificate {
  const issuer = within('iss', () => checkOrigin(payload.text('iss')))
  const certificate: Certificate = {
    token, issuer, subject: within('sub', () => checkSubject(payload.text('sub'))),
    key: within('cnf', () => readPublicJwk(payload.object('cnf').object('jwk'))),
    issuedAt: payload.integer('iat', 1), expires: payload.integer('exp', 1),
    id: payload.binary('jti', nonceBytes), currency: payload.currency('currency'), limit: payload.amount('limit')
  }
  if (certificate.limit < 1n) throw new MalformedError('limit: want at least 1')
  if (certificate.expires <= certificate.issuedAt) throw new MalformedError('exp: want a time after iat')
  const prefixes = payload.optional('prefixes', name => payload.texts(name, 0, maxAddressPrefixes))
  const age = payload.optional('age', name => payload.integer(name, 0, 150))
  const status = payload.optional('status', name => readStatus(payload.object(name), issuer))
  if (prefixes?.length) certificate.prefixes = prefixes.map(prefix => within('prefixes', () => parsePrefix(prefix)))
  if (age) certificate.age = age
  if (status) certificate.status = status
  return certificate
}

function readStatus(status: Members, issuer: string): StatusEntry {
  const entry = status.object('status_list')
  const [idx, uri] = [entry.integer('idx', 0, 4_294_967_295), entry.text('uri')]
  within('status', () => { checkStatusURI(issuer, uri) })
  return { idx, uri }
}

function checkSubject(subject: string): string {
  if (subject.length > maxSubjectBytes || !/^[A-Za-z0-9_-]+$/.test(subject)) {
    throw new MalformedError(`want 1 to ${maxSubjectBytes} letters, digits, - and _`)
  }
  return subject
}

/**
 * Checks the address of an issuer's hot list: it lies under the issuer's own
 * origin, so that a certificate sends nobody anywhere else.
 *
 * @throws {@link MalformedError}
 */
export function checkStatusURI(issuer: string, uri: string): void {
  if (uri.length > maxOriginBytes) throw new MalformedError(`the URI takes at most ${maxOriginBytes} bytes`)
  const path = uri.startsWith(`${issuer}/`) ? uri.slice(issuer.length + 1) : ''
  if (!/^[\x21\x24-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+$/.test(path)) {
    throw new MalformedError('want a URI under the issuer’s own origin, with the characters of a path or query')
  }
}
