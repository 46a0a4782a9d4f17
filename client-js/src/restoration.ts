import { isToken, readAccount, wrongAnswer, type BrokerClient, type Question } from './broker.js'
import { commitmentsOf, termsOf, type Books } from './books.js'
import { parseAmount, type Micros } from './amount.js'
import { unverifiedCommitment } from './commitment.js'
import type { CommitmentRecord, WalletDocument } from './document.js'
import { thumbprint } from './keys.js'
import { defaultMaxStep } from './limits.js'
import { newDocument, vendorOf } from './opening.js'
import { retire } from './payment.js'
import type { Secret } from './secret.js'
import { least, plus } from './sums.js'

/** How many keys in a row may have no certificate before the rest are taken for unused: more than a wallet ever asks for in vain. */
const maxKeyGap = 1000
/** Bounds the keys that are looked at, some seconds of work. */
const maxRestoredKeys = 100_000
/** Bounds the pages that are read of a broker's list. */
const maxRestoredPages = 1000

/** Who asks which broker, and when, in seconds since 1970. */
interface Asking {
  broker: string
  client: BrokerClient
  secret: Secret
  now: number
}

/** A key of the wallet's that has a certificate. */
interface RestoredKey {
  number: number
  isRevoked: boolean
}

/**
 * Makes a document of what the broker knows of the seed's account: the
 * commitments that it reserved for and which keys have certificates. How far each
 * chain was released the vendor tells and proves, when it is paid next. What
 * nobody but the lost wallet knew is gone: the receipts, what was released today
 * and not claimed yet, and commitments that were never reserved. Rejects with a
 * BrokerError, of the reason `unknown-account` if the broker has no account of the seed.
 */
export async function restoredDocument(asking: Asking): Promise<WalletDocument> {
  const action = 'asking for the account'
  const { broker, client } = asking
  const account = readAccount(await client.ask(broker, { action, method: 'GET', path: '/v1/account' }), broker, action)
  const document = newDocument({ broker, account: account.account, currency: account.currency })
  const keys = await restoreKeys(asking, document)
  await restoreCommitments(asking, document, keys)
  return document
}

/**
 * Adds to the document of a backup what the broker knows besides: commitments
 * that were made after it, and how many keys are used. Spares that may have been
 * used since are given up. Rejects with a BrokerError.
 */
export async function catchUpDocument(asking: Asking, document: WalletDocument): Promise<void> {
  document.spares = []
  const keys = await restoreKeys(asking, document)
  await restoreCommitments(asking, document, keys)
}

/** Reads a list of the broker's, page by page. */
async function* pages(asking: Asking, action: string, path: string, list: string): AsyncGenerator<Record<string, unknown>> {
  const { broker, client } = asking
  let next = ''
  for (let page = 0; page < maxRestoredPages; page++) {
    const question: Question = { action, method: 'GET', path: next === '' ? path : `${path}?after=${encodeURIComponent(next)}` }
    const answer = (await client.ask(broker, question) ?? {}) as Record<string, unknown>
    const items: unknown[] = Array.isArray(answer[list]) ? answer[list] : []
    for (const item of items) yield (item ?? {}) as Record<string, unknown>
    if (typeof answer.next !== 'string' || answer.next === '') return
    next = answer.next
  }
  throw wrongAnswer(broker, action, 'its list has no end')
}

/** Finds the numbers of the keys that have certificates, by the ids of the keys, and after them the number of the next key. */
async function restoreKeys(asking: Asking, document: WalletDocument): Promise<Map<string, RestoredKey>> {
  const issued = new Map<string, boolean>()
  for await (const { keyId, revoked } of pages(asking, 'asking for the certificates', '/v1/certificates', 'certificates')) {
    issued.set(String(keyId), (issued.get(String(keyId)) ?? false) || revoked === true)
  }
  const keys = new Map<string, RestoredKey>()
  for (let number = 0; number < maxRestoredKeys && number < document.nextKey + maxKeyGap && keys.size < issued.size; number++) {
    const id = thumbprint((await asking.secret.certificate(number)).publicKey)
    const isRevoked = issued.get(id)
    if (isRevoked === undefined) continue
    keys.set(id, { number, isRevoked })
    document.nextKey = Math.max(document.nextKey, number + 1)
  }
  return keys
}

async function restoreCommitments(asking: Asking, document: WalletDocument, keys: Map<string, RestoredKey>): Promise<void> {
  const action = 'asking for the reservations'
  const books: Books = { document, now: asking.now, tips: new Map() }
  const counted = new Map(Object.entries(document.vendors).map(([origin, { lastPaid }]) => [origin, lastPaid]))
  for await (const own of pages(asking, action, '/v1/reservations', 'reservations')) {
    try {
      restoreCommitment(books, own, keys, counted)
    } catch (error) {
      throw wrongAnswer(asking.broker, action, (error as Error).message)
    }
  }
}

/**
 * Takes over one commitment, if it is of this seed. Lists are in the order in
 * which commitments were made, so that the last of a vendor's is its open one.
 * `counted` says up to when the document counts what a vendor got.
 */
function restoreCommitment(books: Books, own: Record<string, unknown>, keys: Map<string, RestoredKey>, counted: Map<string, number>): void {
  const { document, now } = books
  const token = String(own.commitment)
  const terms = unverifiedCommitment(token)
  const key = keys.get(thumbprint(terms.certificate.key))
  if (!key) return // another device's: this one's budgets do not count it
  const vendor = vendorOf(books, terms.vendor)
  if (terms.issuedAt <= (counted.get(terms.vendor) ?? 0) || commitmentsOf(vendor).some(one => termsOf(one).id === terms.id)) return
  const paid: Micros = parseAmount(String(own.paid ?? '0'))
  for (const sum of [vendor, document.total]) {
    sum.released = plus(sum.released, paid)
    sum.spent = plus(sum.spent, paid)
  }
  const { reservation } = own
  if (own.closed === true || now >= terms.expires || key.isRevoked || !reservation) return
  if (!isToken(reservation)) throw new Error('a reservation has no form that fits a header')
  const zeros = terms.chains.map(() => 0)
  const commitment: CommitmentRecord = {
    token, key: key.number, reservation, cap: String(least(parseAmount(String(own.reserved)), terms.limit)),
    released: [...zeros], surplus: zeros.map(String), proved: [...zeros], agreed: '0', nextNumber: 1, maxStep: defaultMaxStep,
  }
  retire(books, vendor)
  vendor.open = commitment
  vendor.key = key.number
  vendor.certificate = terms.certificate.token
}
