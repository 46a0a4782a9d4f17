import { formatAmount, maxMicros } from './amount.js'
import { fromBase64url, fromByteSequence, toBase64url, toByteSequence, type Base64url } from './encoding.js'
import { commitmentIdBytes, maxChainLength, maxChains, maxHeaderBytes, maxNumber, maxStatusBytes, paywordBytes } from './limits.js'
import { MalformedError } from './malformed.js'
import type { Payment, Status } from './payer.js'
import { isReason, Refusal } from './reason.js'

// The compact headers: docs/protocol.md, section 7.

/** Carries a payment. */
export const headerPayword = 'Payword'
/** Carries the commitment along with the first payment on it. */
export const headerCommitment = 'Payword-Commitment'
/** Carries the reservation, in the same way. */
export const headerReservation = 'Payword-Reservation'
/** Carries a status in answers. */
export const headerState = 'Payword-State'
/** Names the stream that an answer is, and that a payment is for. */
export const headerStream = 'Payword-Stream'
/** Tells until when a pass makes requests free. */
export const headerPass = 'Payword-Pass'
/** Tells how many requests are still free today. */
export const headerFreeLeft = 'Payword-Free-Left'

/** Returns the value of the Payword header. */
export function formatPayment(payment: Payment): string {
  const { commitmentId, chain, index, payword, number, max } = payment
  return `id=${byteSequence(commitmentId)}, c=${chain}, i=${index}, w=${byteSequence(payword)}, n=${number}, max=${formatAmount(max)}`
}

function byteSequence(text: Base64url): string {
  return toByteSequence(fromBase64url(text))
}

const paymentForms: Record<string, string> = {
  id: '16 bytes in base64 between colons', c: `a chain number from 0 to ${maxChains - 1}`,
  i: `an index from 1 to ${maxChainLength}`, w: '32 bytes in base64 between colons',
  n: `a request number from 1 to ${maxNumber}`, max: `an amount in micros from 0 to ${maxMicros}`
}

/**
 * Reads the value of the one Payword header of a request. The members may stand in
 * any order; each is there once, and nothing else. It refuses with malformed-header.
 */
export function parsePayment(value: string): Payment | Refusal {
  if (value.length > maxHeaderBytes) return refuse(`the Payword header has ${value.length} bytes: at most ${maxHeaderBytes}`)
  const members = new Map<string, string>()
  for (const [name, text] of splitMembers(value)) {
    if (!Object.hasOwn(paymentForms, name)) {
      return refuse(`the Payword header has the members id, c, i, w, n and max; ${JSON.stringify(name.slice(0, 12))} is none`)
    }
    if (members.has(name)) return refuse(`${name} stands twice in the Payword header`)
    members.set(name, text)
  }
  const read = <T>(name: string, reader: (text: string) => T | undefined): T => {
    const text = members.get(name)
    if (text === undefined) throw new MalformedError('the Payword header needs id, c, i, w, n and max')
    const found = reader(text)
    if (found === undefined) throw new MalformedError(`${name} in the Payword header is not ${paymentForms[name]}`)
    return found
  }
  try {
    return {
      commitmentId: read('id', text => binary(text, commitmentIdBytes)), chain: read('c', text => digits(text, 0, maxChains - 1)),
      index: read('i', text => digits(text, 1, maxChainLength)), payword: read('w', text => binary(text, paywordBytes)),
      number: read('n', text => digits(text, 1, maxNumber)), max: read('max', amount)
    }
  } catch (error) {
    if (error instanceof MalformedError) return refuse(error.message)
    throw error
  }
}

function refuse(detail: string): Refusal {
  return new Refusal('malformed-header', detail)
}

/** Splits a dictionary into names and values, which hold no comma. */
function splitMembers(value: string): [string, string][] {
  return value.replace(/^ +| +$/g, '').split(',').map((member, k) => {
    const trimmed = member.replace(/[ \t]+$/, '')
    const text = k === 0 ? trimmed : trimmed.replace(/^[ \t]+/, '')
    const end = text.indexOf('=')
    return end < 0 ? [text, ''] : [text.slice(0, end), text.slice(end + 1)]
  })
}

function digits(text: string, least: number, most: number): number | undefined {
  if (!/^(0|[1-9][0-9]{0,14})$/.test(text)) return undefined
  const value = Number(text)
  return value >= least && value <= most ? value : undefined
}

function amount(text: string): bigint | undefined {
  const value = digits(text, 0, Number(maxMicros))
  return value === undefined ? undefined : BigInt(value)
}

function binary(text: string, size: number): Base64url | undefined {
  try {
    return toBase64url(fromByteSequence(text, size))
  } catch (error) {
    if (error instanceof MalformedError) return undefined
    throw error
  }
}

/** Returns the value of the Payword-State header. */
export function formatStatus(status: Status): string {
  const { reason, price, number, known } = status
  const start = `reason=${reason}, price=${formatAmount(price)}${number === undefined ? '' : `, n=${number}`}`
  if (!known) return start
  return `${start}, accepted=${formatAmount(known.accepted)}, spent=${formatAmount(known.spent)}, ` +
    `c=${known.chain}, i=${known.index}, tail=${byteSequence(known.tailHash)}`
}

/**
 * Reads the value of a Payword-State header, or of the same in Server-Timing.
 * Members that it does not know are passed over, and so are the last five if one of
 * them is missing. It refuses with malformed-header.
 */
export function parseStatus(value: string): Status | Refusal {
  if (value.length > maxStatusBytes) return refuse(`the Payword-State header has ${value.length} bytes: at most ${maxStatusBytes}`)
  const members = new Map<string, string>()
  for (const part of value.split(',')) {
    const member = part.replace(/^[ \t]+|[ \t]+$/g, '')
    const end = member.indexOf('=')
    const [name, text] = end < 0 ? [member, ''] : [member.slice(0, end), member.slice(end + 1)]
    if (name === '' || members.has(name)) return badMember(name)
    members.set(name, text)
  }
  const bad: string[] = []
  const read = <T>(name: string, reader: (text: string) => T | undefined): T | undefined => {
    const text = members.get(name)
    const found = text === undefined ? undefined : reader(text)
    if (text !== undefined && found === undefined) bad.push(name)
    return found
  }
  const reason = read('reason', text => isReason(text) ? text : undefined)
  const price = read('price', amount)
  const number = read('n', text => digits(text, 1, maxNumber))
  const [accepted, spent] = [read('accepted', amount), read('spent', amount)]
  const chain = read('c', text => digits(text, 0, maxChains - 1))
  const index = read('i', text => digits(text, 0, maxChainLength))
  const tailHash = read('tail', text => binary(text, paywordBytes))
  if (bad[0] !== undefined) return badMember(bad[0])
  if (reason === undefined || price === undefined) return refuse('the Payword-State header needs reason and price')
  const status: Status = number === undefined ? { reason, price } : { reason, price, number }
  if (accepted !== undefined && spent !== undefined && chain !== undefined && index !== undefined && tailHash !== undefined) {
    status.known = { accepted, spent, chain, index, tailHash }
  }
  return status
}

function badMember(name: string): Refusal {
  return refuse(`${JSON.stringify(name.slice(0, 12))} in the Payword-State header stands twice or has no such form`)
}
