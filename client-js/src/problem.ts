import { formatAmount, type Currency, type Micros } from './amount.js'
import { parseJSON, Members } from './json.js'
import { maxChainLength, maxChains, maxNumber, maxProblemBytes, paywordBytes } from './limits.js'
import { MalformedError, within } from './malformed.js'
import type { Status } from './payer.js'
import { isReason, type Reason, type Refusal } from './reason.js'

/** Where the problem types of the Payment scheme live. */
export const problemBase = 'https://paymentauth.org/problems/'

/**
 * A refusal as problem details (RFC 9457): docs/protocol.md, section 8.4. Of what a
 * server sends, members that are missing or of another form are undefined.
 */
export interface Problem {
  /** General clients know it. */
  type?: string
  title?: string
  /** Of the answer. */
  status?: number
  detail?: string
  /** Ours. */
  reason?: Reason
  /** Of the request, in micros; with payment-required, of one unit. */
  price?: Micros
  /** What is counted, if that is not requests. */
  unitType?: string
  /** The most that is charged before the answer begins, in micros. */
  ceiling?: Micros
  currency?: Currency
  number?: number
  /** Told to who proved a payword, in micros. */
  accepted?: Micros
  spent?: Micros
  chain?: number
  /** Of the chain's tail. */
  index?: number
  /** base64url. */
  tailHash?: string
}

const kinds: Partial<Record<Reason, readonly [type: string, title: string, status: number]>> = {
  'payment-required': ['payment-required', 'Payment required', 402],
  'price-over-max': ['payment-insufficient', 'The price is higher than agreed', 402],
  'insufficient-credit': ['payment-insufficient', 'The credit does not cover the price', 402],
  'challenge-expired': ['payment-expired', 'The quote has expired', 402],
  'commitment-expired': ['payment-expired', 'The commitment has expired', 402],
  'certificate-expired': ['payment-expired', 'The certificate has expired', 402],
  'several-payments': ['bad-request', 'More than one payment came', 400],
  'method-unsupported': ['method-unsupported', 'This payment method is not taken here', 400],
  'malformed-header': ['malformed-credential', 'The payment cannot be read', 402],
  'malformed-credential': ['malformed-credential', 'The payment cannot be read', 402],
  'invalid-challenge': ['invalid-challenge', 'The challenge is not known', 402],
  'challenge-used': ['invalid-challenge', 'The challenge was used before', 402],
  'wrong-resource': ['invalid-challenge', 'The challenge is for something else', 402],
  'insecure-transport': ['verification-failed', 'Paywords travel over https only', 403],
  'wrong-address': ['verification-failed', 'The certificate is bound to another address', 403],
  blocked: ['verification-failed', 'This payer is not served here', 403],
  'already-executed': ['verification-failed', 'The request was executed before', 409],
  'idempotency-differs': ['verification-failed', 'The key was used for another request', 409],
  'rate-limited': ['verification-failed', 'Too many refused attempts', 429]
}

/**
 * Returns the problem details of a refusal, for programs that play a gate, such as
 * tests. `status` is what the Payword-State header of the same answer says.
 */
export function newProblem(refusal: Pick<Refusal, 'reason' | 'detail'>, status: Status, currency?: Currency): Problem {
  const [type, title, code] = kinds[refusal.reason] ?? ['verification-failed', 'The payment was refused', 402] as const
  const { number, price, known } = status
  return {
    type: problemBase + type, title, status: code, ...refusal.detail ? { detail: refusal.detail } : {}, reason: refusal.reason,
    ...currency ? { price, currency } : {}, ...number ? { number } : {}, ...known
  }
}

/** Returns problem details as JSON. */
export function formatProblem(problem: Problem): string {
  return JSON.stringify(problem, (_, value: unknown) => typeof value === 'bigint' ? formatAmount(value) : value)
}

/**
 * Reads problem details of a server. What it does not know, or cannot read, is left
 * out: a refusal stays one.
 *
 * @throws {@link MalformedError} if it is no JSON object of at most 16 KB.
 */
export function parseProblem(document: string): Problem {
  return within('problem details', () => {
    if (document.length > maxProblemBytes) throw new MalformedError(`${document.length} bytes: at most ${maxProblemBytes}`)
    const members = new Members(parseJSON(document))
    const problem: Problem = {}
    const read = <K extends keyof Problem>(name: K, reader: (name: string) => Problem[K]): void => {
      const value = tolerate(() => members.optional(name, reader))
      if (value !== undefined) problem[name] = value
    }
    for (const name of ['type', 'title', 'detail', 'unitType'] as const) read(name, key => members.text(key))
    for (const name of ['price', 'ceiling', 'accepted', 'spent'] as const) read(name, key => members.amount(key))
    read('reason', key => members.read(key, value => isReason(value) ? value : undefined))
    read('status', key => members.integer(key, 100, 599))
    read('currency', key => members.currency(key))
    read('number', key => members.integer(key, 1, maxNumber))
    read('chain', key => members.integer(key, 0, maxChains - 1))
    read('index', key => members.integer(key, 0, maxChainLength))
    read('tailHash', key => members.binary(key, paywordBytes))
    return problem
  })
}

function tolerate<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof MalformedError) return undefined
    throw error
  }
}
