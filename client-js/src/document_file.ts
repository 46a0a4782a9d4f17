import { sha256 } from '@noble/hashes/sha2.js'

import { maxMicros } from './amount.js'
import { commitmentsOf, termsOf } from './books.js'
import type { CommitmentRecord, VendorRecord, WalletDocument } from './document.js'
import { toBase64url, toUtf8 } from './encoding.js'
import { PaywordError } from './errors.js'
import { maxNumber } from './limits.js'
import type { StoredSecret } from './storage.js'

/** The version of the wallet file that this library writes. It reads no other. */
const version = 1
/** Bounds a wallet file, in characters: a thousand sites with a handful of commitments each take a tenth of it. */
export const maxFileLength = 64 << 20

/** What a wallet file holds. */
export interface WalletFile {
  secret: Pick<StoredSecret, 'seed' | 'sealed'>
  document: WalletDocument
}

/**
 * Returns a wallet as a file of the Go client's format: the checksum is the
 * SHA-256 of the exact bytes of the wallet, so that a damaged digit cannot pass
 * for an index. The seed stands in it sealed, or else in clear.
 */
export function formatWalletFile({ secret, document }: WalletFile): string {
  const kept = secret.sealed === undefined ? { seed: secret.seed } : { sealed: secret.sealed }
  const wallet = JSON.stringify({ secret: kept, ...document })
  return `{"version":${version},"checksum":"${toBase64url(sha256(toUtf8(wallet)))}","wallet":${wallet}}\n`
}

const envelope = /^\s*\{\s*"version"\s*:\s*(\d{1,9})\s*,\s*"checksum"\s*:\s*"([^"]{0,100})"\s*,\s*"wallet"\s*:\s*/

/** Reads a wallet file of this library or of the Go client. Throws a `storage` error that says what is wrong with it. */
export function parseWalletFile(text: string): WalletFile {
  if (text.length > maxFileLength) throw damaged(`it has more than ${maxFileLength} characters`)
  const head = envelope.exec(text)
  const end = text.lastIndexOf('}')
  if (!head || end < head[0].length) throw damaged('it is cut off, or something else')
  if (Number(head[1]) > version) {
    throw new PaywordError('storage', `the wallet was written by a newer version of payword: version ${head[1]}, this one reads ${version}`)
  }
  const wallet = text.slice(head[0].length, end).trimEnd()
  if (Number(head[1]) !== version || text.slice(end + 1).trim() !== '') throw damaged('it is cut off, or something else')
  if (toBase64url(sha256(toUtf8(wallet))) !== head[2]) throw damaged('the checksum does not fit')
  let value: unknown
  try {
    value = JSON.parse(wallet)
  } catch (cause) {
    throw damaged('it holds no JSON', cause)
  }
  const { secret, ...document } = membersOf(value, 'wallet')
  return { secret: readSecret(secret), document: checkDocument(document) }
}

function damaged(detail: string, cause?: unknown): PaywordError {
  return new PaywordError('storage', `not a whole wallet file: ${detail}`, { cause })
}

function membersOf(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw damaged(`${name}: want an object`)
  return value as Record<string, unknown>
}

function readSecret(value: unknown): WalletFile['secret'] {
  const { seed, sealed } = membersOf(value, 'secret')
  if (typeof sealed === 'string' && sealed !== '' && !seed) return { sealed }
  if (typeof seed === 'string' && seed !== '' && !sealed) return { seed }
  throw damaged('want a seed, either in clear or encrypted')
}

/** Checks that a value has the form of a wallet's document and that its counters fit its tokens. Throws a `storage` error. */
export function checkDocument(value: unknown): WalletDocument {
  const document = membersOf(value, 'wallet')
  checkTotal(document.total, 'total')
  const day = checkTotal(document.day, 'day')
  checkWhole(day.day, 'day')
  checkWhole(document.nextKey, 'nextKey', 0xffff_ffff)
  for (const name of ['broker', 'account', 'currency']) checkText(document[name] ?? '', name)
  for (const spare of checkList(document.spares ?? [], 'spares', 10_000)) checkHeld(spare)
  for (const receipt of checkList(document.history ?? [], 'history', 10_000)) {
    const { time, url, vendor, amount, returned, currency } = membersOf(receipt, 'history')
    checkWhole(time, 'time')
    for (const text of [url, vendor, currency]) checkText(text, 'history')
    for (const sum of [amount, returned ?? '0']) checkAmount(sum, 'history')
  }
  document.vendors ??= {}
  for (const [origin, vendor] of Object.entries(membersOf(document.vendors, 'vendors'))) checkVendor(origin, vendor)
  return document as unknown as WalletDocument
}

function checkVendor(origin: string, value: unknown): void {
  const vendor = checkTotal(value, 'vendor')
  checkHeld(vendor)
  for (const name of ['price', 'lowest']) checkAmount(vendor[name], name)
  checkAmount(vendor.unserved ?? '0', 'unserved')
  for (const name of ['steady', 'lastPaid']) checkWhole(vendor[name], name)
  checkWhole(vendor.probed ?? 0, 'probed')
  const record = vendor as unknown as VendorRecord
  if (record.old === null) delete record.old
  checkList(record.old ?? [], 'old', 1000)
  for (const commitment of commitmentsOf(record)) checkCommitment(origin, commitment)
}

/** The counters of a commitment against its token. */
function checkCommitment(origin: string, commitment: CommitmentRecord): void {
  const { token, key, cap, agreed, nextNumber, maxStep, released, surplus, proved } = commitment
  checkText(token, 'token')
  const terms = termsOf({ token })
  const count = terms.chains.length
  checkWhole(key, 'key', 0xffff_ffff)
  checkWhole(maxStep, 'maxStep')
  for (const sum of [cap, agreed]) checkAmount(sum, 'commitment')
  for (const [name, list] of Object.entries({ released, surplus, proved })) {
    if (checkList(list, name, count).length !== count) throw damaged('the counters of a commitment do not fit its chains')
  }
  for (const sum of surplus) checkAmount(sum, 'surplus')
  checkText(commitment.reservation ?? '', 'reservation')
  if (terms.vendor !== origin) throw damaged('a commitment names another vendor')
  checkWhole(nextNumber, 'nextNumber')
  if (BigInt(cap) > terms.limit || nextNumber < 1 || nextNumber > maxNumber) throw damaged('the counters of a commitment are beyond its limits')
  for (const [k, { length }] of terms.chains.entries()) {
    checkWhole(released[k], 'released', length)
    checkWhole(proved[k], 'proved', released[k])
  }
}

function checkHeld(value: unknown): void {
  const { key, certificate } = membersOf(value, 'certificate')
  checkWhole(key, 'key', 0xffff_ffff)
  checkText(certificate, 'certificate')
}

function checkTotal(value: unknown, name: string): Record<string, unknown> {
  const total = membersOf(value, name)
  for (const sum of [total.released, total.spent]) checkAmount(sum, name)
  return total
}

function checkAmount(value: unknown, name: string): void {
  if (typeof value !== 'string' || !/^[0-9]{1,15}$/.test(value) || BigInt(value) > maxMicros) throw damaged(`${name}: want an amount`)
}

function checkWhole(value: unknown, name: string, most = maxNumber): void {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > most) throw damaged(`${name}: want a whole number up to ${most}`)
}

function checkText(value: unknown, name: string): void {
  if (typeof value !== 'string') throw damaged(`${name}: want a text`)
}

function checkList(value: unknown, name: string, most: number): unknown[] {
  if (!Array.isArray(value) || value.length > most) throw damaged(`${name}: want a list of at most ${most}`)
  return value
}

/**
 * A document as it is backed up, or used after it was: without what is of this
 * moment, such as requests under way, and what the seed gives.
 */
export function withoutMoment(document: WalletDocument): WalletDocument {
  const copy = structuredClone(document)
  for (const vendor of Object.values(copy.vendors)) {
    delete vendor.opening
    delete vendor.attempts
    for (const commitment of commitmentsOf(vendor)) {
      delete commitment.traversals
      delete commitment.tickets
    }
  }
  return copy
}
