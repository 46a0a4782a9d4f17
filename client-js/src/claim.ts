import { formatAmount, type Micros } from './amount.js'
import type { Base64url } from './encoding.js'
import { Members } from './json.js'
import { isSignedBy, signJws, splitJws, type Jws } from './jws.js'
import type { Tail } from './judge.js'
import type { Signer } from './keys.js'
import { commitmentIdBytes, maxChainLength, maxChains, maxClaimBytes, paywordBytes } from './limits.js'
import { MalformedError, within } from './malformed.js'
import { checkOrigin } from './origin.js'
import { Refusal } from './reason.js'

/** A claimed tail; index 0 and no payword: the chain is unused. */
export type ClaimedTail = Tail | { index: 0, payword?: never }

/** What a vendor asks a broker for on one commitment: docs/protocol.md, section 6.4. */
export interface Claim {
  /** The exact token, as signed. */
  token: string
  /** The vendor's origin. */
  vendor: string
  /** The broker's origin. */
  broker: string
  /** The commitment's id. */
  commitment: Base64url
  /** One per chain of the commitment, in order. */
  tails: ClaimedTail[]
  /** Spent so far and not to be given back, in micros. */
  amount: Micros
  /** Whether nothing more will be claimed. */
  final: boolean
  /** Seconds since 1970. */
  issuedAt: number
}

/**
 * Signs a claim with the vendor's key and returns it with its token.
 *
 * @throws {@link MalformedError} if `parseClaim` would not take it.
 */
export async function signClaim(claim: Omit<Claim, 'token'>, vendor: Signer): Promise<Claim> {
  const token = await signJws('payword-claim+jwt', {
    iss: claim.vendor, aud: claim.broker, commitment: claim.commitment,
    tails: claim.tails.map(({ index, payword }) => index > 0 ? { index, payword } : { index }),
    amount: formatAmount(claim.amount), ...claim.final ? { final: true } : {}, iat: claim.issuedAt
  }, vendor)
  return within('claim', () => readClaim(splitClaim(token), token))
}

/**
 * Reads a claim and checks that the vendor's key, given in base64url, signed it. It
 * refuses with malformed-claim or bad-claim.
 */
export async function parseClaim(token: string, vendorKey: Base64url): Promise<Claim | Refusal> {
  let object: Jws
  let claim: Claim
  try {
    object = splitClaim(token)
    claim = readClaim(object, token)
  } catch (error) {
    if (error instanceof MalformedError) return new Refusal('malformed-claim', `claim: ${error.message}`)
    throw error
  }
  return await isSignedBy(object, vendorKey) ? claim : new Refusal('bad-claim', 'the vendor’s signature over the claim is wrong')
}

function splitClaim(token: string): Jws {
  return splitJws(token, 'payword-claim+jwt', maxClaimBytes)
}

function readClaim({ payload }: Jws, token: string): Claim {
  return {
    token, vendor: within('iss', () => checkOrigin(payload.text('iss'))), broker: within('aud', () => checkOrigin(payload.text('aud'))),
    commitment: payload.binary('commitment', commitmentIdBytes),
    tails: payload.list('tails', 1, maxChains).map((tail, k) => within(`tail ${k}`, () => readTail(new Members(tail)))),
    amount: payload.amount('amount'), final: payload.optional('final', name => payload.boolean(name)) ?? false,
    issuedAt: payload.integer('iat', 0)
  }
}

function readTail(members: Members): ClaimedTail {
  const index = members.integer('index', 0, maxChainLength)
  if (index > 0) return { index, payword: members.binary('payword', paywordBytes) }
  if (members.has('payword')) throw new MalformedError('want an index with its payword, or index 0 without')
  return { index: 0 }
}
