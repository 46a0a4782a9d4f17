import { formatAmount, type Micros } from './amount.js'
import { paymentMethod, type Challenge } from './challenge.js'
import { commitmentId } from './commitment.js'
import { fromBase64url, fromUtf8, isBase64url, toBase64url, toUtf8, type Base64url } from './encoding.js'
import { Members } from './json.js'
import { commitmentIdBytes, maxChainLength, maxChains, maxCredentialBytes, maxNumber, paywordBytes } from './limits.js'
import { MalformedError } from './malformed.js'
import type { Payment } from './payer.js'
import { Refusal } from './reason.js'

/** What a payload does: docs/protocol.md, section 8.2. */
export type Action = 'pay' | 'open' | 'topUp' | 'close'

/** The payload of a credential of the payword method, the long form of the compact headers. */
export interface Payload {
  /** An {@link Action}, or what somebody else wrote. */
  action: string
  commitmentId?: Base64url
  chain?: number
  index?: number
  payword?: Base64url
  number?: number
  /** In micros. */
  max?: Micros
  /** JWS, to open it. */
  commitment?: string
  /** JWS, to open or top up. */
  reservation?: string
}

/** What a client sends in Authorization: the challenge it answers, as it came, and what proves the payment. */
export interface Credential {
  challenge: Challenge
  source?: string
  payload: Payload
}

/** Returns the payload that pays. */
export function newPayload(payment: Payment, tokens: { commitment?: string, reservation?: string } = {}): Payload {
  return { action: 'pay', ...payment, ...tokens }
}

/**
 * Returns a credential as the value of an Authorization field.
 *
 * @throws {@link MalformedError} if it takes more than 12288 bytes.
 */
export function formatCredential(credential: Credential): string {
  const { max, ...rest } = credential.payload
  const payload = max === undefined ? rest : { ...rest, max: formatAmount(max) }
  const value = `Payment ${toBase64url(toUtf8(JSON.stringify({ ...credential, payload })))}`
  if (value.length > maxCredentialBytes) throw new MalformedError(`credential of ${value.length} bytes: at most ${maxCredentialBytes}`)
  return value
}

/**
 * Reads the value of an Authorization field. It refuses with malformed-credential,
 * or method-unsupported for a credential of another method.
 */
export function parseCredential(value: string): Credential | Refusal {
  if (value.length > maxCredentialBytes) return refuse(`the credential has ${value.length} bytes: at most ${maxCredentialBytes}`)
  const space = value.indexOf(' ')
  if (value.slice(0, Math.max(space, 0)).toLowerCase() !== 'payment') return refuse('want the scheme Payment')
  try {
    const members = Members.parse(fromUtf8(fromBase64url(value.slice(space).replace(/^ +| +$/g, ''))))
    const challenge = members.object('challenge')
    const method = challenge.optional('method', name => challenge.text(name)) ?? ''
    if (method !== paymentMethod) {
      return new Refusal('method-unsupported', `the credential is for method ${JSON.stringify(method.slice(0, 20))}, want ${paymentMethod}`)
    }
    const source = members.optional('source', name => members.text(name))
    const credential = { challenge: readChallenge(challenge), payload: readPayload(members.object('payload')) }
    return source === undefined ? credential : { ...credential, source }
  } catch (error) {
    if (error instanceof MalformedError) return refuse(`credential: ${error.message}`)
    throw error
  }
}

function refuse(detail: string): Refusal {
  return new Refusal('malformed-credential', detail)
}

function readChallenge(members: Members): Challenge {
  const challenge: Challenge = { id: '', realm: '', method: '', intent: '', request: '' }
  for (const name of ['id', 'realm', 'method', 'intent', 'request', 'expires', 'digest', 'description', 'opaque', 'header'] as const) {
    const text = members.optional(name, key => members.text(key))
    if (text) challenge[name] = text
  }
  return challenge
}

function readPayload(members: Members): Payload {
  const payload: Payload = { action: members.optional('action', name => members.text(name)) ?? '' }
  for (const name of ['commitmentId', 'payword', 'commitment', 'reservation'] as const) {
    const text = members.optional(name, key => members.text(key))
    if (text !== undefined) payload[name] = text
  }
  for (const name of ['chain', 'index', 'number'] as const) {
    const number = members.optional(name, key => members.integer(key, 0))
    if (number !== undefined) payload[name] = number
  }
  const max = members.optional('max', name => members.amount(name))
  return max === undefined ? payload : { ...payload, max }
}

/**
 * Returns what a payload pays, for the actions that carry a payword. A payload that
 * brings the commitment itself need not name its id; if it does, the id must fit. It
 * refuses with malformed-credential.
 */
export function paymentOf(payload: Payload): Payment | Refusal {
  const { commitment, chain = 0, index = 0, number = 0, payword = '', max } = payload
  const ofToken = commitment ? commitmentId(commitment) : undefined
  const id = payload.commitmentId ?? ofToken
  if (id === undefined) return refuse('payload: want commitmentId, or commitment')
  if (!isBase64url(id, commitmentIdBytes)) return refuse('payload: commitmentId: want 16 bytes in base64url')
  if (chain >= maxChains) return refuse(`payload: chain: want 0 to ${maxChains - 1}`)
  if (index < 1 || index > maxChainLength) return refuse(`payload: index: want 1 to ${maxChainLength}`)
  if (number < 1 || number > maxNumber) return refuse(`payload: number: want 1 to ${maxNumber}`)
  if (max === undefined) return refuse('payload: max: missing')
  if (!isBase64url(payword, paywordBytes)) return refuse('payload: payword: want 32 bytes in base64url')
  if (ofToken !== undefined && id !== ofToken) return refuse('payload: commitmentId is not the commitment’s')
  return { commitmentId: id, chain, index, payword, number, max }
}
