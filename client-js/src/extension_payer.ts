import { maxMicros } from './amount.js'
import type { Micros } from './amount.js'
import type { Budget } from './budget.js'
import { BrokerError, BudgetError, PaywordError, RefusedError, StalledError } from './errors.js'
import type { ErrorKind } from './errors.js'
import type { Grant, Mended, Meter, Offer, Payer, Payment, Receipt, Status, Terms, Ticket } from './payer.js'

// The bridge between a page and the extension's content script, and the payer
// on the page's side of it. The other end is extension/src/bridge.ts.
//
// Both ends post to their own window, for its own origin, and take messages
// whose `source` is their own window and whose `origin` is its own: so no frame
// and no other window takes part. A message is
//
//   { payword: 'bridge-1', to: 'extension' | 'page', nonce, text }
//
// `nonce` is 22 characters of base64url, new for each call; the answer repeats
// it. `text` is JSON: of a Call to the extension, of a CallAnswer to the page.
// It travels as text because a string has no getters and no prototype. Amounts
// in it are strings of micros.
//
// `hello` is answered by the content script itself, in the task in which it
// hears it, with the result null: that is how a page finds out, without waiting,
// whether the bridge is there. Every other method is one of Payer's, for the
// worker, which takes the origin from the browser's word of the sender. It must
// read the arguments with readArguments; may only let `take` pay the sender's
// origin; and takes back no ticket that it did not give to this origin.

/** Which messages are the bridge's, and their version. */
export const bridgeName = 'bridge-1'

/** The longest `text` of a message, in UTF-16 units: a ticket with its commitment and reservation has under 5000. */
export const maxBridgeText = 16_384

/** A message of the bridge, as it is posted to the window. */
export interface BridgeMessage {
  payword: typeof bridgeName
  to: 'extension' | 'page'
  nonce: string
  text: string
}

/** The methods that go over the bridge. */
export type BridgeMethod = keyof Payer

/** What a page asks for. */
export interface Call {
  method: BridgeMethod | 'hello'
  /** As {@link writeArguments} made them. */
  arguments: unknown[]
}

/** What the extension answers. `result` is as {@link writeResult} made it. */
export type CallAnswer = { ok: true, result: unknown } | { ok: false, error: BridgeError }

/** An error as it travels. Only `kind` and `message` are always there. */
export interface BridgeError {
  kind: string
  message: string
  reason?: string
  limit?: string
  origin?: string
  vendor?: string
  broker?: string
  /** Micros. */
  price?: string
  /** Micros. */
  want?: string
  /** Micros. */
  left?: string
  /** Micros. */
  unserved?: string
  currency?: string
  status?: number
  /** Seconds since 1970. */
  retry?: number
}

/**
 * Reads a message of the bridge. Undefined if the event is not one, is not from
 * this window itself, is not of its own origin, or is not for this end.
 */
export function readBridgeMessage(event: MessageEvent, own: Window, end: BridgeMessage['to']): BridgeMessage | undefined {
  if (event.source !== own || event.origin !== own.location.origin) return undefined
  const data: unknown = event.data
  if (typeof data !== 'object' || data === null) return undefined
  const { payword, to, nonce, text } = ownMembers(data, ['payword', 'to', 'nonce', 'text'])
  if (payword !== bridgeName || to !== end) return undefined
  if (typeof nonce !== 'string' || !/^[\w-]{22}$/.test(nonce)) return undefined
  if (typeof text !== 'string' || text.length > maxBridgeText) return undefined
  return { payword, to: end, nonce, text }
}

/** Posts a message of the bridge to this window. */
export function postBridgeMessage(own: Window, to: BridgeMessage['to'], nonce: string, content: Call | CallAnswer): void {
  const message: BridgeMessage = { payword: bridgeName, to, nonce, text: JSON.stringify(content) }
  own.postMessage(message, own.location.origin)
}

/** Reads the text of a message to the extension. Undefined if it is no call of a method that there is. */
export function readCall(text: string): Call | undefined {
  const parsed = parse(text)
  if (typeof parsed !== 'object' || parsed === null) return undefined
  const { method, arguments: given } = ownMembers(parsed, ['method', 'arguments'])
  if (!isMethod(method) && method !== 'hello' || !Array.isArray(given)) return undefined
  return { method, arguments: given }
}

/** Reports whether a name is a method that goes over the bridge. */
export function isMethod(name: unknown): name is BridgeMethod {
  return typeof name === 'string' && Object.hasOwn(methods, name)
}

/** The arguments of a method as they travel. */
export function writeArguments<M extends BridgeMethod>(method: M, given: Parameters<Payer[M]>): unknown[] {
  return listOf(methods[method].given).map((codec, at) => codec.write(given[at]))
}

/**
 * The arguments of a method, read from what an untrusted page sent: fresh
 * objects with the members that there are and no others. Throws a `usage` error
 * that names what is wrong.
 */
export function readArguments<M extends BridgeMethod>(method: M, sent: unknown): Parameters<Payer[M]> {
  const codecs = listOf(methods[method].given)
  if (!Array.isArray(sent) || sent.length !== codecs.length) throw malformed(method, `${codecs.length} arguments`)
  return codecs.map((codec, at) => codec.read(sent[at], `${method}, argument ${at + 1}`)) as Parameters<Payer[M]>
}

/** The result of a method as it travels. */
export function writeResult<M extends BridgeMethod>(method: M, result: Awaited<ReturnType<Payer[M]>>): unknown {
  return (methods[method].result as Codec<unknown>).write(result)
}

/** The result of a method, read from what came. Throws a `usage` error that names what is wrong. */
export function readResult<M extends BridgeMethod>(method: M, sent: unknown): Awaited<ReturnType<Payer[M]>> {
  return (methods[method].result as Codec<unknown>).read(sent, method) as Awaited<ReturnType<Payer[M]>>
}

/** An error as it travels. Of an error that is not this library's nothing but the kind `storage` does. */
export function writeError(error: unknown): BridgeError {
  if (!(error instanceof PaywordError)) return { kind: 'storage', message: 'the wallet failed' }
  const written: BridgeError = { kind: error.kind, message: error.message }
  const from = error as unknown as Record<string, unknown>
  for (const name of textMembers) if (typeof from[name] === 'string') written[name] = from[name]
  for (const name of amountMembers) if (typeof from[name] === 'bigint') written[name] = String(from[name])
  for (const name of numberMembers) if (typeof from[name] === 'number') written[name] = from[name]
  return written
}

/** The error that {@link writeError} wrote, of its own class again. */
export function readError(sent: unknown): PaywordError {
  const members = typeof sent === 'object' && sent !== null ? sent : {}
  const found = ownMembers(members, ['kind', 'message', ...textMembers, ...amountMembers, ...numberMembers])
  const text = (name: string): string => typeof found[name] === 'string' ? found[name].slice(0, 300) : ''
  const amount = (name: string): Micros => isAmount(found[name]) ? BigInt(found[name]) : 0n
  const number = (name: string): number => typeof found[name] === 'number' ? found[name] : 0
  const error = errorOfKind(text, amount, number)
  if (text('message') !== '') error.message = text('message')
  return error
}

/**
 * The payer that the extension of this browser is, for the origin of this page;
 * undefined where there is none, or its owner did not allow this site, or there
 * is no window. It is found out in a few tasks, without a timer. The extension
 * pays for this page's own origin only, within its owner's limits as well as
 * those of the caller.
 */
export async function extensionPayer(): Promise<Payer | undefined> {
  const own = globalThis.window as Window | undefined
  // A frame's origin is not what the owner sees and allowed; '' and 'null' are nobody's.
  if (own === undefined || own.top !== own || !own.location.origin.includes('://')) return undefined
  return await isBridgeThere(own) ? bridgedPayer(own) : undefined
}

// How long the extension may take for one call: opening a commitment asks the
// broker, and a worker that was stopped has to start first.
const callTimeout = 60_000

const textMembers = ['reason', 'limit', 'origin', 'vendor', 'broker', 'currency'] as const
const amountMembers = ['price', 'want', 'left', 'unserved'] as const
const numberMembers = ['status', 'retry'] as const

/** How a value is written and read. */
interface Codec<T> {
  write(value: T): unknown
  read(sent: unknown, at: string): T
}

function malformed(at: string, wanted: string): PaywordError {
  return new PaywordError('usage', `a message of the extension's bridge is malformed: ${at}: not ${wanted}`)
}

function plain<T>(wanted: string, is: (sent: unknown) => sent is T): Codec<T> {
  return {
    write: value => value,
    read(sent, at) {
      if (!is(sent)) throw malformed(at, wanted)
      return sent
    },
  }
}

function isAmount(sent: unknown): sent is string {
  return typeof sent === 'string' && /^(0|[1-9][0-9]{0,14})$/.test(sent)
}

const micros: Codec<Micros> = {
  write: String,
  read(sent, at) {
    if (!isAmount(sent) || BigInt(sent) > maxMicros) throw malformed(at, 'a string of micros')
    return BigInt(sent)
  },
}
const isTrue: Codec<boolean> = plain('true or false', (sent): sent is boolean => typeof sent === 'boolean')
const whole: Codec<number> = plain('a whole number', (sent): sent is number => Number.isSafeInteger(sent) && (sent as number) >= 0)
const nothing: Codec<void> = { write: () => null, read: () => undefined }

function text(most: number): Codec<string> {
  return plain(`text of at most ${most} characters`, (sent): sent is string => typeof sent === 'string' && sent.length <= most)
}

function orUndefined<T>(codec: Codec<T>): Codec<T | undefined> {
  return {
    write: value => value === undefined ? null : codec.write(value),
    read: (sent, at) => sent === null ? undefined : codec.read(sent, at),
  }
}

/** An object with these members and no others; those in `optional` may be missing. */
function shape<T extends object>(members: { [K in keyof T]-?: Codec<Exclude<T[K], undefined>> }, optional: readonly (keyof T & string)[] = []): Codec<T> {
  const entries = Object.entries(members) as [keyof T & string, Codec<unknown>][]
  return {
    write(value) {
      const present = entries.filter(([name]) => value[name] !== undefined)
      return Object.fromEntries(present.map(([name, codec]) => [name, codec.write(value[name])]))
    },
    read(sent, at) {
      if (typeof sent !== 'object' || sent === null) throw malformed(at, 'an object')
      const found = ownMembers(sent, entries.map(([name]) => name))
      const present = entries.filter(([name]) => found[name] !== undefined || !optional.includes(name))
      return Object.fromEntries(present.map(([name, codec]) => [name, codec.read(found[name], `${at}, ${name}`)])) as T
    },
  }
}

/** A list of at most so many items. */
function list<T>(codec: Codec<T>, most: number): Codec<T[]> {
  return {
    write: items => items.map(item => codec.write(item)),
    read(sent, at) {
      if (!Array.isArray(sent) || sent.length > most) throw malformed(at, `a list of at most ${most}`)
      return sent.map((item, k) => codec.read(item, `${at}, ${k}`))
    },
  }
}

const origin = text(270)
const currency = text(32)
const meter = shape<Meter>({ unitType: text(64), unitPrice: micros })
const offer = shape<Offer>({
  origin, vendor: origin, price: micros, currency, maxStep: whole, unreserved: isTrue, meter,
}, ['meter'])
const budget = shape<Budget>({
  perRequest: micros, perSite: micros, perDay: micros, total: micros, perSiteAndDay: micros, perSiteAndMinute: micros,
}, ['perSiteAndDay', 'perSiteAndMinute'])
const terms = shape<Terms>({ budget, deposit: micros, forfeited: micros, fingerprint: text(100) }, ['deposit', 'forfeited'])
const payment = shape<Payment>({
  commitmentId: text(22), chain: whole, index: whole, payword: text(43), number: whole, max: micros,
})
const ticket = shape<Ticket>({
  id: text(100), vendor: origin, payment, commitment: text(3072), reservation: text(640), released: micros, isRepeat: isTrue,
  steps: list(payment, 16),
}, ['commitment', 'reservation', 'steps'])
const known = shape<NonNullable<Status['known']>>({
  accepted: micros, spent: micros, chain: whole, index: whole, tailHash: text(43),
})
const status = shape<Status>({ reason: text(64), price: micros, number: whole, known }, ['number', 'known'])
const grant = shape<Grant>({ url: text(8192), amount: micros, status, isWhole: isTrue }, ['status'])
const receipt = shape<Receipt>({
  time: whole, url: text(8192), vendor: origin, amount: micros, currency, returned: micros,
}, ['returned'])
const mended = shape<Mended>({ shouldRetry: isTrue, forfeited: micros })
const account = orUndefined(shape<{ broker: string, currency: string }>({ broker: origin, currency }))

type CodecsOf<Given extends unknown[]> = { [K in keyof Given]: Codec<Given[K]> }

type Methods = {
  [M in BridgeMethod]: {
    given: CodecsOf<Parameters<Payer[M]>>
    result: Codec<Awaited<ReturnType<Payer[M]>>>
  }
}

const methods: Methods = {
  account: { given: [], result: account },
  take: { given: [offer, terms], result: ticket },
  settle: { given: [ticket, grant], result: receipt },
  refused: { given: [ticket, status], result: mended },
  delivered: { given: [ticket, micros], result: nothing },
  lose: { given: [ticket, isTrue], result: nothing },
  takeBack: { given: [ticket], result: nothing },
  giveBack: { given: [ticket, micros, text(8192)], result: receipt },
}

function listOf(codecs: unknown): Codec<unknown>[] {
  return codecs as Codec<unknown>[]
}

/** These members of an object, as far as they are its own and not of its prototype. */
function ownMembers(from: object, names: readonly string[]): Record<string, unknown> {
  const found: Record<string, unknown> = Object.create(null) as Record<string, unknown>
  for (const name of names) if (Object.hasOwn(from, name)) found[name] = (from as Record<string, unknown>)[name]
  return found
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

const plainKinds: readonly string[] = ['lost', 'storage', 'passphrase', 'account', 'usage'] satisfies ErrorKind[]

function errorOfKind(text: (name: string) => string, amount: (name: string) => Micros, number: (name: string) => number): PaywordError {
  const vendor = text('vendor')
  switch (text('kind')) {
    case 'refused':
      return new RefusedError({
        reason: text('reason'), origin: text('origin'), detail: '', price: amount('price'), currency: text('currency'), status: number('status'),
      })
    case 'budget': {
      const limit = text('limit') as BudgetError['limit']
      return new BudgetError({ limit, vendor, want: amount('want'), left: amount('left'), currency: text('currency') })
    }
    case 'stalled':
      return new StalledError({ vendor, unserved: amount('unserved'), retry: number('retry') })
    case 'broker':
      return new BrokerError({ broker: text('broker'), action: 'asked by the extension', reason: text('reason') || undefined, status: number('status') })
  }
  const kind = plainKinds.includes(text('kind')) ? text('kind') as ErrorKind : 'storage'
  return new PaywordError(kind, 'the extension reports an error')
}

function newNonce(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

/**
 * Whether the bridge answers. Messages to a window are delivered in the order
 * they were posted: the answer to `hello`, posted while `hello` was heard, comes
 * before a message posted once this end's first own message came back.
 */
function isBridgeThere(own: Window): Promise<boolean> {
  const nonce = newNonce()
  const fence = newNonce()
  let fences = 0
  const { promise, resolve } = withResolvers<boolean>()
  const hear = (event: MessageEvent): void => {
    if (readBridgeMessage(event, own, 'page')?.nonce === nonce) resolve(true)
    if (event.source !== own || event.data !== fence) return
    if (++fences === 3) resolve(false)
    else own.postMessage(fence, own.location.origin)
  }
  own.addEventListener('message', hear)
  postBridgeMessage(own, 'extension', nonce, { method: 'hello', arguments: [] })
  own.postMessage(fence, own.location.origin)
  return promise.finally(() => own.removeEventListener('message', hear))
}

function bridgedPayer(own: Window): Payer {
  async function ask<M extends BridgeMethod>(method: M, ...given: Parameters<Payer[M]>): Promise<Awaited<ReturnType<Payer[M]>>> {
    const answer = await exchange(own, { method, arguments: writeArguments(method, given) })
    const members = typeof answer === 'object' && answer !== null ? ownMembers(answer, ['ok', 'result', 'error']) : {}
    if (members['ok'] !== true) throw readError(members['error'])
    return readResult(method, members['result'])
  }
  return {
    account: () => ask('account'),
    take: (...given) => ask('take', ...given),
    settle: (...given) => ask('settle', ...given),
    refused: (...given) => ask('refused', ...given),
    delivered: (...given) => ask('delivered', ...given),
    lose: (...given) => ask('lose', ...given),
    takeBack: (...given) => ask('takeBack', ...given),
    giveBack: (...given) => ask('giveBack', ...given),
  }
}

/** Sends one call over the bridge and resolves with the parsed answer. */
async function exchange(own: Window, call: Call): Promise<unknown> {
  const nonce = newNonce()
  const { promise, resolve, reject } = withResolvers<string>()
  const hear = (event: MessageEvent): void => {
    const message = readBridgeMessage(event, own, 'page')
    if (message?.nonce === nonce) resolve(message.text)
  }
  own.addEventListener('message', hear)
  const timer = setTimeout(() => {
    reject(new PaywordError('storage', `the extension did not answer to ${call.method} within ${callTimeout / 1000} seconds: reload the page`))
  }, callTimeout)
  try {
    postBridgeMessage(own, 'extension', nonce, call)
    return parse(await promise)
  } finally {
    clearTimeout(timer)
    own.removeEventListener('message', hear)
  }
}

function withResolvers<T>(): { promise: Promise<T>, resolve: (value: T) => void, reject: (error: Error) => void } {
  let resolve: (value: T) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}
