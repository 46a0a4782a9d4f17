import { sha256 } from '@noble/hashes/sha2.js'

import { currencyCode, formatAmount, formatDecimal, type Currency, type Micros } from './amount.js'
import { parseCertificate, unverifiedCertificate, type Certificate } from './certificate.js'
import { toBase64url, toUtf8, type Base64url } from './encoding.js'
import { Members } from './json.js'
import { isSignedBy, signJws, splitJws, type Jws } from './jws.js'
import type { Brokers, Signer } from './keys.js'
import { commitmentIdBytes, maxChainLength, maxChains, maxCommitmentBytes, nonceBytes, paywordBytes, skewSeconds } from './limits.js'
import { MalformedError, within } from './malformed.js'
import { checkOrigin } from './origin.js'
import { Refusal } from './reason.js'

/** What a commitment says of one chain. */
export interface ChainTerms {
  /** W_0. */
  root: Base64url
  /** What one step is worth, in micros. */
  unit: Micros
  /** N, steps. */
  length: number
}

/** The user's promise to pay one vendor, M. docs/protocol.md, section 6.2. */
export interface Commitment {
  /** See {@link commitmentId}. */
  id: Base64url
  /** The exact token, as signed. */
  token: string
  /** V: the vendor's origin. */
  vendor: string
  certificate: Certificate
  /** Seconds since 1970. */
  issuedAt: number
  /** Seconds since 1970: paywords are taken while now < expires. */
  expires: number
  /** `jti`, from which with the seed the chains were made. */
  nonce: Base64url
  currency: Currency
  /** The most that all its chains together pay, in micros. */
  limit: Micros
  /** 1 to 8. */
  chains: ChainTerms[]
}

/** Returns the id of a commitment: the first 16 bytes of the SHA-256 of its token. */
export function commitmentId(token: string): Base64url {
  return toBase64url(sha256(toUtf8(token)).subarray(0, commitmentIdBytes))
}

/**
 * Signs a commitment with the key that its certificate holds, and returns it with
 * its token and id.
 *
 * @throws {@link MalformedError} if `parseCommitment` would not take it.
 */
export async function signCommitment(commitment: Omit<Commitment, 'id' | 'token'>, user: Signer): Promise<Commitment> {
  const { certificate } = commitment
  if (user.publicKey !== certificate.key) throw new MalformedError('commitment: the certificate is for another key')
  if (commitment.limit > certificate.limit) throw new MalformedError('commitment: limit: the certificate allows less')
  const token = await signJws('payword-commitment+jwt', {
    aud: commitment.vendor, iss: certificate.subject, iat: commitment.issuedAt, exp: commitment.expires,
    jti: commitment.nonce, currency: commitment.currency, limit: formatAmount(commitment.limit),
    chains: commitment.chains.map(({ root, unit, length }) => ({ root, unit: formatAmount(unit), length })),
    certificate: certificate.token
  }, user)
  return unverifiedCommitment(token)
}

/**
 * Reads a commitment without checking any signature, for its owner, who signed it
 * and keeps it.
 *
 * @throws {@link MalformedError}
 */
export function unverifiedCommitment(token: string): Commitment {
  return within('commitment', () => {
    const { payload } = splitCommitment(token)
    return readCommitment(payload, unverifiedCertificate(payload.text('certificate')), token)
  })
}

/**
 * Reads a commitment and the certificate in it and checks both signatures. It
 * refuses with malformed-commitment, malformed-certificate, unknown-broker,
 * bad-certificate, bad-commitment or over-certificate-limit. Times, vendor and
 * currency are for {@link checkTerms}.
 */
export async function parseCommitment(token: string, brokers: Brokers): Promise<Commitment | Refusal> {
  try {
    const object = splitCommitment(token)
    const certificate = await parseCertificate(object.payload.optional('certificate', name => object.payload.text(name)) ?? '', brokers)
    if (certificate instanceof Refusal) return certificate
    const commitment = readCommitment(object.payload, certificate, token)
    if (!await isSignedBy(object, certificate.key)) return new Refusal('bad-commitment', 'the user’s signature is wrong')
    if (commitment.limit <= certificate.limit) return commitment
    return new Refusal('over-certificate-limit', `the commitment’s limit is ${formatDecimal(commitment.limit)} ` +
      `${currencyCode(commitment.currency)}, the certificate allows ${formatDecimal(certificate.limit)}`)
  } catch (error) {
    if (error instanceof MalformedError) return new Refusal('malformed-commitment', `commitment: ${error.message}`)
    throw error
  }
}

function splitCommitment(token: string): Jws {
  return splitJws(token, 'payword-commitment+jwt', maxCommitmentBytes)
}

function readCommitment(payload: Members, certificate: Certificate, token: string): Commitment {
  const commitment: Commitment = {
    id: commitmentId(token), token, vendor: within('aud', () => checkOrigin(payload.text('aud'))), certificate,
    issuedAt: payload.integer('iat', 1), expires: payload.integer('exp', 1), nonce: payload.binary('jti', nonceBytes),
    currency: payload.currency('currency'), limit: payload.amount('limit'),
    chains: payload.list('chains', 1, maxChains).map((chain, k) => within(`chain ${k}`, () => readChain(new Members(chain))))
  }
  if (payload.text('iss') !== certificate.subject) throw new MalformedError('iss: want the certificate’s sub')
  if (commitment.currency !== certificate.currency) throw new MalformedError('currency: want the certificate’s')
  if (commitment.limit < 1n) throw new MalformedError('limit: want at least 1')
  if (commitment.expires <= commitment.issuedAt) throw new MalformedError('exp: want a time after iat')
  if (commitment.expires > certificate.expires) throw new MalformedError('exp: the certificate expires before it')
  const roots = new Set(commitment.chains.map(({ root }) => root))
  if (roots.size < commitment.chains.length) throw new MalformedError('chains: two have the same root')
  return commitment
}

function readChain(members: Members): ChainTerms {
  const unit = members.amount('unit')
  if (unit < 1n) throw new MalformedError('unit: want at least 1')
  return { root: members.binary('root', paywordBytes), unit, length: members.integer('length', 1, maxChainLength) }
}

/**
 * Reports whether a vendor may take a commitment at a time, in seconds since 1970;
 * undefined if it may. It refuses with wrong-vendor, wrong-currency,
 * commitment-not-yet-valid, certificate-expired or commitment-expired.
 */
export function checkTerms(commitment: Commitment, vendor: string, currency: Currency, now: number): Refusal | undefined {
  const { certificate } = commitment
  if (commitment.vendor !== vendor) return new Refusal('wrong-vendor', `the commitment is for ${commitment.vendor}, this is ${vendor}`)
  if (commitment.currency !== currency) {
    return new Refusal('wrong-currency', `the commitment is in ${currencyCode(commitment.currency)}, prices here are in ${currencyCode(currency)}`)
  }
  if (commitment.issuedAt > now + skewSeconds || certificate.issuedAt > now + skewSeconds) {
    return new Refusal('commitment-not-yet-valid', 'the commitment says it was made in the future')
  }
  if (now >= certificate.expires) return new Refusal('certificate-expired', 'the certificate has expired')
  if (now >= commitment.expires) return new Refusal('commitment-expired', 'the commitment has expired')
  return undefined
}
