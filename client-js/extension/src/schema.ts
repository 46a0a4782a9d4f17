import { PaywordError } from '../../src/errors.js'
import type { Messages } from './messages.js'
import { maxParts } from './messages.js'
import { isPayableOrigin, maxOriginLength, maxUrlLength } from './site.js'

/** Reads a member of a message; undefined is a member that is not there. Throws a `usage` error. */
type Read<T> = (sent: unknown, name: string) => T

function bad(name: string, wanted: string): PaywordError {
  return new PaywordError('usage', `a message to the extension is malformed: ${name}: not ${wanted}`)
}

function text(most: number): Read<string> {
  return (sent, name) => {
    if (typeof sent !== 'string' || sent.length > most) throw bad(name, `text of at most ${most} characters`)
    return sent
  }
}

const isTrue: Read<boolean> = (sent, name) => {
  if (typeof sent !== 'boolean') throw bad(name, 'true or false')
  return sent
}

function whole(most: number): Read<number> {
  return (sent, name) => {
    if (!Number.isSafeInteger(sent) || (sent as number) < 0 || (sent as number) > most) throw bad(name, `a whole number from 0 to ${most}`)
    return sent as number
  }
}

const micros: Read<string> = (sent, name) => {
  if (typeof sent !== 'string' || !/^(0|[1-9][0-9]{0,14})$/.test(sent)) throw bad(name, 'an amount in micros, as digits')
  return sent
}

const site: Read<string> = (sent, name) => {
  const origin = text(maxOriginLength)(sent, name)
  if (!isPayableOrigin(origin)) throw bad(name, 'the origin of a site, such as https://news.example')
  return origin
}

function list<T>(read: Read<T>, most: number): Read<T[]> {
  return (sent, name) => {
    if (!Array.isArray(sent) || sent.length > most) throw bad(name, `a list of at most ${most}`)
    return sent.map((each: unknown) => read(each, name))
  }
}

function orLeftOut<T>(read: Read<T>): Read<T | undefined> {
  return (sent, name) => sent === undefined || sent === null ? undefined : read(sent, name)
}

/** An object with these members: a new one, so that none of another's prototype comes along. */
function shape<T extends object>(members: { [K in keyof T]-?: Read<T[K]> }): Read<T> {
  return (sent, name) => {
    if (typeof sent !== 'object' || sent === null || Array.isArray(sent)) throw bad(name, 'an object')
    const read = Object.entries(members) as [string, Read<unknown>][]
    const found = read.map(([member, of]) =>
      [member, of(Object.hasOwn(sent, member) ? (sent as Record<string, unknown>)[member] : undefined, member)] as const)
    return Object.fromEntries(found.filter(([, value]) => value !== undefined)) as T
  }
}

// A challenge has under 8 KB (docs/protocol.md, section 8.1); a page may escape every letter.
const challenge = text(16_384)
const url = text(maxUrlLength)
// A Payword-State has at most 512 bytes.
const state = text(512)
const status = whole(999)
const limits = shape<{ perRequest: string, perDay: string, total: string }>({ perRequest: micros, perDay: micros, total: micros })
const tabId = whole(Number.MAX_SAFE_INTEGER)
const passphrase = text(1000)
const broker = text(maxOriginLength)
const answered = shape<{ url: string, status: number, state: string }>({ url, status, state })
// Go's wallet files have at most 16 MiB.
const file = text(16 * 1024 * 1024)

// exactOptionalPropertyTypes: what is left out is not there at all, as shape makes it.
type Schema = { [M in keyof Messages]: Read<{ [K in keyof Messages[M]['sent']]: Messages[M]['sent'][K] | undefined }> }

const schema = {
  challenge: shape({ challenge, url, state }),
  loaded: answered,
  shown: shape({ url, isEmpty: isTrue }),
  proved: answered,
  parts: shape({ parts: list(shape<{ url: string, challenge: string }>({ url, challenge }), maxParts) }),
  loadParts: shape({ urls: list(url, maxParts) }),
  partsLoaded: shape({ parts: list(answered, maxParts) }),
  // What is in the arguments src/extension_payer.ts reads.
  bridge: shape({ method: text(32), arguments: list<unknown>(sent => sent, 4) }),
  overview: shape({}),
  tab: shape({ tabId }),
  allow: shape({ origin: site, limits, tabId: orLeftOut(tabId) }),
  payOnce: shape({ tabId, url, price: micros }),
  changeSite: shape({ origin: site, limits: orLeftOut(limits), isPaused: orLeftOut(isTrue) }),
  revoke: shape({ origin: site }),
  setLimits: shape({ limits }),
  pause: shape({ isPaused: isTrue }),
  receipts: shape({ origin: orLeftOut(text(maxOriginLength)), skip: whole(1_000_000), count: whole(1000) }),
  days: shape({ days: whole(366) }),
  export: shape({
    format: (sent: unknown, name: string) => {
      if (sent !== 'csv' && sent !== 'json') throw bad(name, 'csv or json')
      return sent
    },
  }),
  create: shape({ broker, passphrase }),
  backup: shape({}),
  restore: shape({ text: file, passphrase }),
  restoreSeed: shape({ broker, seed: text(200), passphrase }),
  remove: shape({ account: text(100) }),
  balance: shape({}),
  voucher: shape({ code: text(100) }),
  statement: shape({}),
} satisfies Schema

/** The types of message that content scripts may send. */
export const pageTypes = ['challenge', 'loaded', 'shown', 'proved', 'parts', 'loadParts', 'partsLoaded', 'bridge'] as const

/** The types of message that the extension's own pages may send. */
export const ownerTypes = Object.keys(schema).filter(type => !(pageTypes as readonly string[]).includes(type))

/** Reads the content of a message of a type. Throws a `usage` error that names what is wrong. */
export function readMessage<M extends keyof Messages>(type: M, sent: unknown): Messages[M]['sent'] {
  return schema[type](sent, type) as Messages[M]['sent']
}
