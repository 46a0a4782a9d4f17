import type { Currency, Micros } from './amount.js'
import { isBase64url } from './encoding.js'
import { isOrigin } from './origin.js'

// The format of statements (docs/statements.md, clearing/statement/statement.go).
// Every line is written in one way only, so a line is read by writing it again.

/** The first member of every statement: the format and its version. */
export const statementFormat = 'payword-statement/1'

/** Bounds a line, in bytes. The longest is an entry: a commitment of 3072 bytes, a claim of 2048, eight tails and a few amounts. */
export const maxLineBytes = 8192

/** The first line of a statement. Sums are strings of micros. */
export interface StatementHeader {
  format: string
  /** What one vendor was paid by anybody, or what one account paid to anybody. */
  kind: 'vendor' | 'user'
  /** The vendor's origin, or the account at the broker. */
  party: string
  /** The settlement run. */
  run: string
  /** A day, `2026-11-22`. */
  periodEnd: string
  /** The broker's origin. */
  issuer: string
  currency: Currency
  /** How many entries follow. */
  commitments: number
  /** In the period: the sum of the entries. */
  paid: string
  /** Of a vendor that the run settled: `gross` is `fee`, `payout` and `carried` together. */
  settlement?: { feeRule: string, gross: string, fee: string, payout: string, carried: string }
}

/** The line of one commitment. Amounts are strings of micros. */
export interface StatementEntry {
  /** Its id, base64url. */
  commitment: string
  /** In earlier periods. */
  paidBefore: string
  /** In this one. */
  paid: string
  /** Both. */
  cumulative: string
  /** Its share of the vendor's fee; absent where that is 0. */
  fee?: string
  /** One for each chain; index 0 without a payword where a chain was not used. */
  tails: { index: number, payword?: string }[]
  /** A JWS of the vendor. */
  claim: string
  /** That signed the claim, base64url; absent if the vendor has withdrawn it since. */
  claimKey?: string
  /** The commitment: a JWS of the user with the broker's certificate in it. */
  token: string
}

/** The last line: where the statement stands among those of its day. */
export interface StatementProof {
  /** Of its leaf, from 0. */
  index: number
  leaves: number
  /** The hashes beside the way to the root, base64url, from the leaf up. */
  path: string[]
  /** The signed day; absent where the broker signed none. */
  day?: string
}

const largestTotal = 2n ** 63n - 1n

const isText = (value: unknown): value is string => typeof value === 'string'
const isWhole = (value: unknown): value is number => Number.isSafeInteger(value)
const isAmount = (value: unknown): value is string => isText(value) && /^(0|[1-9][0-9]{0,14})$/.test(value)
const isCurrency = (value: unknown): value is string => isText(value) && /^[a-z]{3}-micro$/.test(value)
const isTotal = (value: unknown): value is string => isText(value) && /^(0|[1-9][0-9]{0,18})$/.test(value) && BigInt(value) <= largestTotal

/** Whether a sum fits a statement: 0 to the largest 64-bit integer, in micros. */
export const fitsTotal = (sum: Micros): boolean => sum >= 0n && sum <= largestTotal

/** Whether a text is a name of a statement: 1 to 305 printable ASCII characters. */
export const isName = (value: unknown): value is string => isText(value) && /^[!-~]{1,305}$/.test(value)

/**
 * Whether an object has exactly these members in this order; those whose names
 * end in `?` may be missing.
 */
export function hasMembers(value: unknown, names: string[]): value is Record<string, unknown> {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return false
  const have = Object.keys(value)
  for (const name of names) {
    if (have[0] === name.replace('?', '')) have.shift()
    else if (!name.endsWith('?')) return false
  }
  return have.length === 0
}

/**
 * Reads what is written in one way only: the JSON that `JSON.stringify` would
 * write again. Returns undefined for every other spelling, and what has not the form.
 */
export function decodeExactly<T>(text: string, isForm: (value: unknown) => value is T): T | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return JSON.stringify(value) === text && isForm(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Whether a value has the form of a header; {@link headerFault} says what else it has to keep to. */
export function isHeader(h: unknown): h is StatementHeader {
  return hasMembers(h, ['format', 'kind', 'party', 'run', 'periodEnd', 'issuer', 'currency', 'commitments', 'paid', 'settlement?']) &&
    [h.format, h.kind, h.party, h.run, h.periodEnd, h.issuer].every(isText) &&
    isCurrency(h.currency) && isWhole(h.commitments) && isTotal(h.paid) && (h.settlement === undefined || isSettlement(h.settlement))
}

function isSettlement(s: unknown): boolean {
  return hasMembers(s, ['feeRule', 'gross', 'fee', 'payout', 'carried']) && isText(s.feeRule) && [s.gross, s.fee, s.payout, s.carried].every(isTotal)
}

/** Whether a value has the form of an entry. */
export function isEntry(e: unknown): e is StatementEntry {
  return hasMembers(e, ['commitment', 'paidBefore', 'paid', 'cumulative', 'fee?', 'tails', 'claim', 'claimKey?', 'token']) &&
    isText(e.commitment) && isBase64url(e.commitment, 16) && [e.paidBefore, e.paid, e.cumulative].every(isAmount) &&
    (e.fee === undefined || isAmount(e.fee) && e.fee !== '0') && Array.isArray(e.tails) && e.tails.every(isTailForm) && isText(e.claim) &&
    (e.claimKey === undefined || isText(e.claimKey) && e.claimKey !== '') && isText(e.token)
}

function isTailForm(t: unknown): boolean {
  return hasMembers(t, ['index', 'payword?']) && isWhole(t.index) && t.index >= 0 && t.index < 2 ** 32 &&
    (t.payword === undefined || isText(t.payword) && t.payword !== '')
}

/** Whether a value has the form of a proof. */
export function isProof(p: unknown): p is StatementProof {
  return hasMembers(p, ['index', 'leaves', 'path', 'day?']) && isWhole(p.index) && isWhole(p.leaves) && Array.isArray(p.path) && p.path.every(isText) &&
    (p.day === undefined || isText(p.day) && p.day !== '')
}

/** Returns what is wrong with a header by itself, as a sentence; '' if nothing is. */
export function headerFault(h: StatementHeader): string {
  const s = h.settlement
  if (h.format !== statementFormat) return `format: want ${statementFormat}`
  if (h.kind !== 'vendor' && h.kind !== 'user') return 'kind: want vendor or user'
  if (!isName(h.party) || !isName(h.run)) return 'party and run: want 1 to 305 printable ASCII characters'
  if (!isOrigin(h.issuer)) return "issuer: want the broker's origin"
  if (h.commitments < 0 || (h.commitments === 0) !== (h.paid === '0')) return 'commitments and paid: want both or neither'
  if (!isDate(h.periodEnd)) return 'periodEnd: want a day such as 2026-11-22'
  if (s && h.kind !== 'vendor') return 'settlement: users have none'
  if (s && !isName(s.feeRule)) return 'feeRule: missing'
  if (s && BigInt(s.gross) !== BigInt(s.fee) + BigInt(s.payout) + BigInt(s.carried)) {
    return 'settlement: gross is not fee, payout and what is carried together'
  }
  return ''
}

function isDate(text: string): boolean {
  const time = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : NaN
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text)
}
