import { maxMicros } from './amount.js'
import type { Micros } from './amount.js'
import type { Watcher } from './body.js'
import { PaywordError } from './errors.js'
import { headerStream } from './header.js'
import type { Meter, Ticket } from './payer.js'

/** What a vendor says inside of an event stream, and how a followed stream is paid on. */
export interface StreamTrip {
  /** Of the request that the stream answers. */
  ticket: Ticket
  meter: Meter | undefined
  /** What `settle` counted for it, in micros. */
  counted: Micros
  /**
   * Brings payment for an amount more, by a HEAD that names the stream and
   * agrees to `most` for the whole of it. Rejects if the budget does not allow
   * it or the vendor refuses it.
   */
  bring(streamId: string, amount: Micros, agreed: Micros): Promise<void>
  /** Tells what the stream did not cost after all, in micros. */
  giveBack(rest: Micros): Promise<void>
}

// A line that is looked at has at most so many characters; a notice has a few hundred.
const maxNoticeCharacters = 8192

// How often in a row a vendor may ask for more and send nothing: other requests
// may have used what was brought.
const maxFruitless = 3

// How long nothing came of a body that has used up what was agreed to, until
// more is brought, in milliseconds. Nothing can be said inside of it.
const stallMilliseconds = 300

// Bounds the name of a stream, in characters; a gate's has 22.
const maxStreamIdCharacters = 64

/** The stream that an answer names: it may take all that was agreed to, whatever it begins with. */
export function streamIdOf(headers: Headers): string | undefined {
  const id = headers.get(headerStream) ?? ''
  return id === '' || id.length > maxStreamIdCharacters ? undefined : id
}

/**
 * What follows the body of an answer that is charged while it flows, and brings
 * more when the vendor waits for it; undefined for an answer that is none.
 */
export function followStream(headers: Headers, trip: StreamTrip): Pick<Watcher, 'piece' | 'waiting' | 'failure'> | undefined {
  const id = streamIdOf(headers)
  const isEvents = /^text\/event-stream\b/i.test(headers.get('Content-Type') ?? '')
  const endsWithCost = isEvents && trip.meter !== undefined
  if (id === undefined && !endsWithCost) return undefined
  const stream = new Stream(id, trip)
  if (isEvents) {
    const lines = new Lines(line => stream.line(line))
    return { piece: content => lines.push(content) }
  }
  return {
    piece: async content => stream.received(content.length),
    failure: () => stream.failure,
    waiting: () => {
      const timer = setTimeout(() => void stream.stalled(), stallMilliseconds)
      return () => clearTimeout(timer)
    },
  }
}

/** One stream: what was agreed to and what came. */
class Stream {
  readonly #id: string | undefined
  readonly #trip: StreamTrip
  #agreed: Micros
  #counted: Micros
  #receivedBytes = 0n
  #fruitless = 0
  #event = ''
  /** Why nothing more was brought. */
  failure: { error: unknown } | undefined

  constructor(id: string | undefined, trip: StreamTrip) {
    this.#id = id
    this.#trip = trip
    this.#agreed = trip.ticket.payment.max
    this.#counted = trip.counted
  }

  /** Reads one line of an event stream. */
  async line(line: string): Promise<void> {
    const name = memberOf(line, 'event')
    const data = memberOf(line, 'data')
    if (name !== undefined) this.#event = name
    else if (line === '') this.#event = ''
    else if (data === undefined) return
    else if (this.#event === 'payment-need-voucher') await this.#needed(noticeOf(data))
    else if (this.#event === 'payment-receipt') await this.#ended(noticeOf(data))
    else this.#fruitless = 0
  }

  /** Counts bytes of a stream that says nothing of payment. */
  received(bytes: number): void {
    this.#receivedBytes += BigInt(bytes)
    this.#fruitless = 0
  }

  /** Brings more for a body that has used up what was agreed to. */
  async stalled(): Promise<void> {
    const paidBytes = bytesFor(this.#trip.meter, this.#agreed)
    if (this.#id === undefined || this.failure || paidBytes === undefined || this.#receivedBytes < paidBytes) return
    // If that fails, the reader is told when the vendor sends on or closes the stream.
    await this.#bring(this.#id, this.#trip.ticket.payment.max).catch((error: unknown) => {
      this.failure = { error }
    })
  }

  async #needed(notice: Record<string, unknown>): Promise<void> {
    if (this.#id === undefined || notice['stream'] !== this.#id) return
    const required = amountOf(notice['required'])
    const spent = amountOf(notice['spent'])
    if (required === undefined || spent === undefined) return
    const missing = required > spent ? required - spent : 0n
    const piece = this.#trip.ticket.payment.max
    await this.#bring(this.#id, missing > piece ? missing : piece)
  }

  async #bring(id: string, amount: Micros): Promise<void> {
    if (++this.#fruitless > maxFruitless) {
      throw new PaywordError('lost', `paying ${this.#trip.ticket.vendor}: the stream asks to be paid again and again and sends nothing`)
    }
    await this.#trip.bring(id, amount, this.#agreed)
    this.#agreed += amount
    this.#counted += amount
  }

  async #ended(notice: Record<string, unknown>): Promise<void> {
    const cost = amountOf(notice['amount'])
    if (cost === undefined) return
    const rest = this.#counted - cost
    if (rest <= 0n) return
    this.#counted = cost
    this.#agreed = cost
    await this.#trip.giveBack(rest)
  }
}

/** Cuts an event stream into lines, and looks at one after the other. */
class Lines {
  readonly #look: (line: string) => Promise<void>
  readonly #decoder = new TextDecoder()
  #start = ''
  #isTooLong = false

  constructor(look: (line: string) => Promise<void>) {
    this.#look = look
  }

  async push(content: Uint8Array): Promise<void> {
    const lines = this.#decoder.decode(content, { stream: true }).split('\n')
    const rest = lines.pop() ?? ''
    for (const line of lines) {
      this.#add(line)
      const whole = this.#start
      const isTooLong = this.#isTooLong
      this.#start = ''
      this.#isTooLong = false
      if (!isTooLong) await this.#look(whole.endsWith('\r') ? whole.slice(0, -1) : whole)
    }
    this.#add(rest)
  }

  #add(part: string): void {
    this.#isTooLong ||= this.#start.length + part.length > maxNoticeCharacters
    this.#start = this.#isTooLong ? '' : this.#start + part
  }
}

function memberOf(line: string, name: string): string | undefined {
  return line.startsWith(`${name}:`) ? line.slice(name.length + 1).trim() : undefined
}

function noticeOf(data: string): Record<string, unknown> {
  try {
    const notice: unknown = JSON.parse(data)
    return typeof notice === 'object' && notice !== null ? notice as Record<string, unknown> : {}
  } catch {
    return {}
  }
}

function amountOf(value: unknown): Micros | undefined {
  if (typeof value !== 'string' || !/^\d{1,15}$/.test(value)) return undefined
  const amount = BigInt(value)
  return amount <= maxMicros ? amount : undefined
}

/** How many bytes an amount pays for; undefined if bytes are not what is counted. */
function bytesFor(meter: Meter | undefined, amount: Micros): bigint | undefined {
  if (meter === undefined || meter.unitPrice < 1n) return undefined
  if (meter.unitType === 'byte') return amount / meter.unitPrice
  if (meter.unitType === 'kilobyte') return amount / meter.unitPrice * 1000n
  return undefined
}
