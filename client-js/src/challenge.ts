import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'

import { formatAmount, type Currency, type Micros } from './amount.js'
import { fromBase64url, fromUtf8, toBase64url, toUtf8, type Base64url } from './encoding.js'
import { Members } from './json.js'
import { maxBrokers, maxChallengeBytes } from './limits.js'
import { MalformedError, within } from './malformed.js'
import { checkOrigin } from './origin.js'
import { Refusal } from './reason.js'

// The Payment authentication scheme: docs/protocol.md, section 8.1.

/** The payment method's name in the scheme. */
export const paymentMethod = 'payword'
/** The version of the method. */
export const methodVersion = 1

/** One Payment challenge of a WWW-Authenticate field: its parameters as text. */
export interface Challenge {
  id: string
  realm: string
  method: string
  intent: string
  /** base64url of canonical JSON: a {@link PriceRequest}. */
  request: string
  /** RFC 3339; when the quote ends. */
  expires?: string
  digest?: string
  /** For people only. */
  description?: string
  opaque?: string
  /** `Payment-Authorization`, if the credential is to come there. */
  header?: string
}

/** What the request parameter of a challenge holds. */
export interface PriceRequest {
  /** Of one unit, in micros. */
  amount: Micros
  currency: Currency
  methodDetails: MethodDetails
  /** V: what the commitment must name. */
  recipient: string
  /** What is counted. Left out: requests. */
  unitType?: string
}

/** What the payword method adds to a {@link PriceRequest}. */
export interface MethodDetails {
  /** Whose certificates the vendor takes. */
  brokers: string[]
  /** The most that is charged before the answer begins, in micros. Left out: the amount. */
  ceiling?: Micros
  httpMethod: string
  /** The most hashes that the gate computes for one request. */
  maxStep: number
  /** Whether commitments without a reservation are taken. */
  unreserved: boolean
  /** Canonical, of what is quoted. */
  url: string
  /** Of this method. */
  version: number
}

/**
 * Returns a price request as canonical JSON (RFC 8785) in base64url.
 *
 * @throws {@link MalformedError} if a text holds a character that a URL escapes.
 */
export function formatPriceRequest(request: PriceRequest): Base64url {
  const { amount, currency, methodDetails, recipient, unitType } = request
  const { brokers, ceiling, httpMethod, maxStep, unreserved, url, version } = methodDetails
  for (const text of [recipient, unitType ?? '', url, httpMethod, ...brokers]) {
    if (!/^[\x21-\x3b\x3d\x3f-\x5b\x5d-\x7e]*$/.test(text)) {
      throw new MalformedError(`canonical JSON: ${JSON.stringify(text.slice(0, 80))} holds a character that a URL escapes`)
    }
  }
  return toBase64url(toUtf8(JSON.stringify({
    amount: formatAmount(amount), currency,
    methodDetails: {
      brokers, ...ceiling ? { ceiling: formatAmount(ceiling) } : {}, httpMethod, maxStep, ...unreserved ? { unreserved } : {}, url, version
    },
    recipient, ...unitType ? { unitType } : {}
  })))
}

/**
 * Reads the request parameter of a challenge. Whether it is for the URL that was
 * asked is for the caller to say.
 *
 * @throws {@link MalformedError}
 */
export function parsePriceRequest(text: string): PriceRequest {
  if (text.length > maxChallengeBytes) throw new MalformedError(`request of ${text.length} bytes: at most ${maxChallengeBytes}`)
  return within('request', () => {
    const members = Members.parse(fromUtf8(fromBase64url(text)))
    const request: PriceRequest = {
      amount: members.amount('amount'), currency: members.currency('currency'),
      methodDetails: within('methodDetails', () => readDetails(members.object('methodDetails'))),
      recipient: within('recipient', () => checkOrigin(members.text('recipient')))
    }
    const unitType = members.optional('unitType', name => members.text(name))
    return unitType ? { ...request, unitType } : request
  })
}

function readDetails(members: Members): MethodDetails {
  const details: MethodDetails = {
    brokers: members.texts('brokers', 0, maxBrokers), httpMethod: members.text('httpMethod'),
    maxStep: members.integer('maxStep', 0, 4_294_967_295),
    unreserved: members.optional('unreserved', name => members.boolean(name)) ?? false,
    url: members.text('url'), version: members.integer('version', 0)
  }
  const ceiling = members.optional('ceiling', name => members.amount(name))
  return ceiling ? { ...details, ceiling } : details
}

/**
 * Returns the id of a challenge under a gate's secret: the HMAC-SHA256 of its slots.
 *
 * @throws {@link MalformedError} if a slot holds the separator.
 */
export function bindChallenge(challenge: Omit<Challenge, 'id'>, secret: Uint8Array): Base64url {
  const { realm, method, intent, request, expires = '', digest = '', opaque = '', header } = challenge
  const slots = [realm, method, intent, request, expires, digest, opaque, ...header ? [header] : []]
  const bad = slots.find(slot => slot.includes('|'))
  if (bad !== undefined) throw new MalformedError(`challenge: ${JSON.stringify(bad.slice(0, 80))} holds the separator |`)
  return toBase64url(hmac(sha256, secret, toUtf8(slots.join('|'))))
}

/**
 * Reports whether one of a gate's secrets made the challenge, for this method and
 * canonical URL, and whether its quote holds at now, in seconds since 1970, and
 * returns what it quoted. For programs that play a gate, such as tests: ids are not
 * compared in constant time. It refuses with method-unsupported, invalid-challenge,
 * challenge-expired or wrong-resource.
 */
export function checkChallenge(
  challenge: Challenge, secrets: Uint8Array[], resource: { httpMethod: string, url: string }, now: number
): PriceRequest | Refusal {
  const { method, intent, id, expires = '' } = challenge
  if (method !== paymentMethod || intent !== 'session' && intent !== 'charge') {
    return new Refusal('method-unsupported', `want method ${paymentMethod} with intent session or charge`)
  }
  try {
    if (!secrets.some(secret => bindChallenge(challenge, secret) === id)) {
      return new Refusal('invalid-challenge', 'the challenge was not made here, or was changed')
    }
    const end = parseTimestamp(expires)
    if (end === undefined || now >= end) return new Refusal('challenge-expired', 'the challenge has expired')
    const quoted = parsePriceRequest(challenge.request)
    const { httpMethod, url } = quoted.methodDetails
    const isFor = httpMethod === resource.httpMethod && url === resource.url
    return isFor ? quoted : new Refusal('wrong-resource', `the challenge was made for ${httpMethod} ${url}`)
  } catch (error) {
    if (error instanceof MalformedError) return new Refusal('invalid-challenge', error.message)
    throw error
  }
}

/** Reads a time of RFC 3339 and returns it in whole seconds since 1970; undefined if it is none. */
export function parseTimestamp(text: string): number | undefined {
  const parts = /^(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:[.,]\d+)?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))$/.exec(text)
  if (!parts) return undefined
  const [, day = '', hour, minute, second, sign, hours = 0, minutes = 0] = parts
  const start = new Date(`${day}T00:00:00Z`)
  // A day that the month does not have would be another day.
  if (Number.isNaN(start.getTime()) || start.toISOString().slice(0, 10) !== day) return undefined
  const offset = (sign === '-' ? -1 : 1) * (Number(hours) * 3600 + Number(minutes) * 60)
  return start.getTime() / 1000 + Number(hour) * 3600 + Number(minute) * 60 + Number(second) - offset
}

const parameterNames = ['id', 'realm', 'method', 'intent', 'request', 'expires', 'digest', 'description', 'opaque', 'header'] as const
const requiredNames: readonly string[] = parameterNames.slice(0, 5)

/** Returns a challenge as the value of a WWW-Authenticate field. */
export function formatChallenge(challenge: Challenge): string {
  const parameters = parameterNames.flatMap(name => {
    const value = challenge[name] ?? ''
    return value === '' && !requiredNames.includes(name) ? [] : [`${name}=${quote(value)}`]
  })
  return `Payment ${parameters.join(', ')}`
}

/** Returns a quoted-string (RFC 9110, section 5.6.4). Control characters, which it cannot hold, become spaces. */
function quote(text: string): string {
  // eslint-disable-next-line no-control-regex
  return `"${text.replace(/["\\]/g, '\\$&').replace(/[\u0000-\u0008\u000a-\u001f\u007f]/g, ' ')}"`
}

/**
 * Returns the Payment challenges in the WWW-Authenticate fields of an answer, in
 * their order; `fetch` gives all fields joined into one. Challenges of other schemes
 * are passed over.
 *
 * @throws {@link MalformedError} if a field cannot be read.
 */
export function parseChallenges(values: string[]): Challenge[] {
  return within('WWW-Authenticate', () => values.flatMap(value => {
    if (value.length > 4 * maxChallengeBytes) throw new MalformedError(`${value.length} bytes, at most ${4 * maxChallengeBytes}`)
    return new ChallengeScanner(value).challenges()
  }))
}

const blank = /[ \t,]*/y
const space = /[ \t]*/y
const token = /[A-Za-z0-9!#$%&'*+.^_`|~-]*/y
const token68 = /[A-Za-z0-9!#$%&'*+.^_`|~/=-]*/y
// eslint-disable-next-line no-control-regex
const quoted = /"((?:[^"\\\u0000-\u0008\u000a-\u001f\u007f]|\\[^\u0000-\u0008\u000a-\u001f\u007f])*)"/y

/** Reads the challenges of one field (RFC 9110, section 11.6.1). */
class ChallengeScanner {
  private readonly text: string
  private at = 0

  constructor(text: string) {
    this.text = text
  }

  challenges(): Challenge[] {
    const found: Challenge[] = []
    for (this.take(blank); this.at < this.text.length; this.take(blank)) {
      const scheme = this.take(token)
      if (scheme === '') throw new MalformedError(`want a scheme at character ${this.at}`)
      const parameters = this.parameters()
      if (scheme.toLowerCase() === 'payment') found.push(challengeOf(parameters))
    }
    return found
  }

  private take(pattern: RegExp): string {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)?.[0] ?? ''
    this.at += found.length
    return found
  }

  /** Reads the parameters up to the next scheme or the end. */
  private parameters(): Map<string, string> {
    const parameters = new Map<string, string>()
    for (;;) {
      this.take(blank)
      const parameter = this.parameter()
      if (!parameter) {
        if (parameters.size === 0) this.skipToken68()
        return parameters
      }
      const [name, value] = parameter
      if (parameters.has(name)) throw new MalformedError(`parameter ${JSON.stringify(name.slice(0, 20))} stands twice`)
      parameters.set(name, value)
    }
  }

  /** Reads name=value. If something else stands there it goes back to where it was. */
  private parameter(): [string, string] | undefined {
    const start = this.at
    const name = this.take(token).toLowerCase()
    this.take(space)
    if (name !== '' && this.text[this.at] === '=') {
      this.at++
      this.take(space)
      const value = this.text[this.at] === '"' ? this.quotedString() : this.take(token) || undefined
      if (value !== undefined) return [name, value]
    }
    this.at = start
    return undefined
  }

  private quotedString(): string {
    const found = this.take(quoted)
    if (found === '') throw new MalformedError('a quoted string has no end or holds a control character')
    return found.slice(1, -1).replace(/\\(.)/gs, '$1')
  }

  /** Passes over the single value that some schemes have. What has a space after it is the next scheme. */
  private skipToken68(): void {
    const start = this.at
    this.take(token68)
    if (this.at < this.text.length && this.text[this.at] !== ',') this.at = start
  }
}

function challengeOf(parameters: Map<string, string>): Challenge {
  const get = (name: string): string => parameters.get(name) ?? ''
  const challenge: Challenge = {
    id: get('id'), realm: get('realm'), method: get('method'), intent: get('intent'), request: get('request')
  }
  if (requiredNames.some(name => !parameters.has(name) || name !== 'realm' && get(name) === '')) {
    throw new MalformedError('a Payment challenge needs id, realm, method, intent and request')
  }
  for (const name of ['expires', 'digest', 'description', 'opaque', 'header'] as const) {
    if (get(name) !== '') challenge[name] = get(name)
  }
  return challenge
}
