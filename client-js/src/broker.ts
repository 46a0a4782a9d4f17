import type { Account } from './account.js'
import { parseAmount, parseCurrency } from './amount.js'
import { toBase64url, toUtf8 } from './encoding.js'
import { BrokerError } from './errors.js'
import { maxReservationBytes, nonceBytes } from './limits.js'
import { isReason } from './reason.js'
import type { Secret } from './secret.js'
import { signRequest } from './signature.js'

/** Bounds one question to the broker. */
const timeoutMilliseconds = 30_000
/** Bounds an export of the account instead, which a broker writes for as long as ten minutes. */
const exportMilliseconds = 11 * 60_000
/** Bounds an answer of the broker: sixteen certificates take a fiftieth of it. */
const maxAnswerBytes = 1 << 20
/** Bounds an export. */
const maxExportBytes = 64 << 20
/** Bounds a sentence of somebody else's that stands in our errors, in characters. */
const maxDetail = 200
/** How many faults in the form of a question are told. */
const maxFaults = 3

/** A request to the broker. */
export interface Question {
  /** For people: what is asked for. */
  action: string
  method: string
  path: string
  /** Becomes JSON; left out: none. */
  body?: unknown
  /** Unless it is false, the account's key signs. */
  isSigned?: boolean
  idempotencyKey?: string
  /** An export, which is larger and takes longer than other answers. */
  isExport?: boolean
}

/** Text of a server as it may stand in an error: one line of printable characters. */
export function foreignText(text: string): string {
  return text.slice(0, maxDetail).replaceAll(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, ' ')
}

/** Asks brokers, signed with the account's key. */
export class BrokerClient {
  readonly #fetch: typeof fetch
  readonly #now: () => number
  readonly #secret: Secret

  /** `now` is in milliseconds since 1970. */
  constructor(fields: { fetch: typeof fetch, now: () => number, secret: Secret }) {
    this.#fetch = fields.fetch
    this.#now = fields.now
    this.#secret = fields.secret
  }

  /** Puts a question to a broker and resolves with the JSON of its answer, undefined if that is empty. Rejects with a BrokerError. */
  async ask(broker: string, question: Question): Promise<unknown> {
    const text = await this.askText(broker, question)
    if (text === '') return undefined
    try {
      return JSON.parse(text) as unknown
    } catch (cause) {
      throw new BrokerError({ broker, action: question.action, detail: 'the answer is not what was asked for', cause })
    }
  }

  /** As `ask`, with the text of the answer. */
  async askText(broker: string, question: Question): Promise<string> {
    const { action, method, path } = question
    const body = question.body === undefined ? '' : JSON.stringify(question.body)
    let answer: Response
    let text: string
    try {
      const headers = await this.#headers(broker + path, body, question)
      answer = await this.#fetch(broker + path, {
        method, headers, ...body === '' ? {} : { body },
        // A signature is for one target; following a redirect would void it.
        redirect: 'manual', credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer',
        signal: AbortSignal.timeout(question.isExport ? exportMilliseconds : timeoutMilliseconds),
      })
      text = await readText(answer, question.isExport && answer.ok ? maxExportBytes : maxAnswerBytes)
    } catch (cause) {
      throw new BrokerError({ broker, action, detail: cause instanceof Error ? foreignText(cause.message) : '', cause })
    }
    if (!answer.ok) throw refusalOf(broker, action, answer, text)
    return text
  }

  async #headers(url: string, body: string, question: Question): Promise<Record<string, string>> {
    const headers: Record<string, string> = {}
    if (question.body !== undefined) headers['Content-Type'] = 'application/json'
    if (question.idempotencyKey) headers['Idempotency-Key'] = question.idempotencyKey
    if (question.isSigned === false) return headers
    const nonce = toBase64url(crypto.getRandomValues(new Uint8Array(nonceBytes)))
    const created = Math.floor(this.#now() / 1000)
    const signer = await this.#secret.account()
    return { ...headers, ...await signRequest({ method: question.method, targetUri: url, body: toUtf8(body), nonce, created }, signer) }
  }
}

/** Reads an answer of at most so many bytes. */
async function readText(answer: Response, maxBytes: number): Promise<string> {
  if (!answer.body) return ''
  const reader = answer.body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (let bytes = 0; ;) {
    const { done, value } = await reader.read()
    if (done) return text + decoder.decode()
    bytes += value.length
    if (bytes > maxBytes) {
      await reader.cancel()
      throw new Error(`the answer has more than ${maxBytes} bytes`)
    }
    text += decoder.decode(value, { stream: true })
  }
}

/** Reads a broker's problem details. */
function refusalOf(broker: string, action: string, answer: Response, text: string): BrokerError {
  const problem = membersOf(text)
  let detail = answer.type === 'opaqueredirect' || answer.status >= 300 && answer.status < 400 ? 'it sends us elsewhere, which is not followed' : ''
  if (typeof problem.detail === 'string') detail = problem.detail
  const faults: unknown[] = Array.isArray(problem.errors) ? problem.errors.slice(0, maxFaults) : []
  for (const fault of faults) { // what is wrong with the form of the question
    const { message, location } = (fault ?? {}) as { message?: unknown, location?: unknown }
    if (typeof message === 'string') detail += `: ${message}${typeof location === 'string' && location ? ` (${location})` : ''}`
  }
  // A reason of a later version is no reason that we know; its status stays.
  const reason = isReason(problem.reason) && problem.reason !== 'accepted' ? problem.reason : undefined
  return new BrokerError({ broker, action, reason, status: answer.status, detail: foreignText(detail) })
}

/** The members of a JSON object, none if the text is no such thing. */
function membersOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value as Record<string, unknown> : {}
  } catch {
    return {} // an answer that is no problem document still has its status
  }
}

/** An answer that is not what was asked for. */
export function wrongAnswer(broker: string, action: string, detail: string): BrokerError {
  return new BrokerError({ broker, action, status: 200, detail: foreignText(detail) })
}

/** Whether the broker could not be asked, as opposed to having said no. */
export function isUnavailable(error: unknown): error is BrokerError {
  return error instanceof BrokerError && error.reason === undefined && (error.status === 0 || error.status >= 500)
}

/** Reads what a broker says of an account. Throws a BrokerError. */
export function readAccount(value: unknown, broker: string, action: string): Account {
  const { account, currency, available, reserved, credit, state } = (value ?? {}) as Record<string, unknown>
  const amount = (member: unknown) => parseAmount(String(member ?? '0'))
  try {
    if (typeof account !== 'string' || account === '' || account.length > 64) throw new Error('want the id of an account')
    return {
      account, currency: parseCurrency(String(currency)), available: amount(available), reserved: amount(reserved),
      credit: amount(credit), state: typeof state === 'string' ? foreignText(state) : '',
    }
  } catch (error) {
    throw wrongAnswer(broker, action, `the account: ${(error as Error).message}`)
  }
}

/** Whether a text is a JWS as it may stand in a header. */
export function isToken(text: unknown): text is string {
  return typeof text === 'string' && text.length <= maxReservationBytes && /^[A-Za-z0-9._-]+$/.test(text)
}
