import { maxMicros, microsPerUnit, type Currency, type Micros } from './amount.js'
import { checkPrice, checkRelease, leftOf, type Budget } from './budget.js'
import { commitmentsOf, dayOf, termsOf, turnDay, usageOf, valueOf, type Books } from './books.js'
import { unverifiedCertificate, type Certificate } from './certificate.js'
import type { CommitmentRecord, HeldCertificate, VendorRecord, WalletDocument } from './document.js'
import type { Offer } from './payer.js'
import { attemptSeconds, expiryMarginSeconds, isUsable, retire } from './payment.js'
import { checkServes } from './stall.js'
import { least, most } from './sums.js'

/** Limit of a new commitment unless a payment or the wallet says otherwise, in micros: 0.50. */
export const defaultDeposit: Micros = microsPerUnit / 2n
/** How long a commitment lives. What is reserved for it and not redeemed comes back after that and the broker's grace. */
export const commitmentSeconds = 24 * 60 * 60
/** How long a certificate must still be good for to open a commitment with it. */
const certificateMarginSeconds = 10 * 60
/** The most steps of a chain that the wallet makes, 2^16: some milliseconds of hashing. */
export const maxOpenedLength = 65_536n
/** How many pages a commitment is made for when the budget is reserved for other vendors: not one, or each page would ask the broker. */
const fewPages = 16n
/** How many vendors a wallet remembers. It is written whole for each group of payments, so it has to stay small. */
const maxSites = 1000
/** How long it counts that a tab or process opens a commitment. It says so again each second, unless it was closed or killed. */
const openingSeconds = 5

/** What a new commitment has to keep to. */
export interface OpeningTerms {
  offer: Offer
  budget: Budget
  /** In micros. */
  deposit: Micros
  /** Of the budget per request, in micros. */
  forfeited: Micros
  /** Of the request. */
  fingerprint: string
}

/** A certificate read and fit for the wallet; undefined if it cannot be read. */
export function readHeld(held: HeldCertificate | undefined): Certificate | undefined {
  if (!held?.certificate) return undefined
  try {
    return unverifiedCertificate(held.certificate)
  } catch {
    return undefined
  }
}

/** Whether a certificate can open a commitment at a time, in seconds since 1970. */
export function isGood(held: HeldCertificate | undefined, now: number): boolean {
  const certificate = readHeld(held)
  return !!certificate && now + certificateMarginSeconds < certificate.expires
}

/**
 * Whether a certificate is good for a commitment of full length, and need not be
 * renewed yet: for a day and some minutes, or half of its life if that is less.
 */
export function isFresh(held: HeldCertificate | undefined, now: number): boolean {
  const certificate = readHeld(held)
  if (!certificate) return false
  const half = Math.floor((certificate.expires - certificate.issuedAt) / 2)
  return now + Math.min(commitmentSeconds + certificateMarginSeconds, half) < certificate.expires
}

/** Whether half of a certificate's life is over. */
export function isHalfOver(held: HeldCertificate, now: number): boolean {
  const certificate = readHeld(held)
  return !!certificate && now >= certificate.issuedAt + Math.floor((certificate.expires - certificate.issuedAt) / 2)
}

/** The certificate that a vendor knows the wallet by. */
export function knownTo(document: WalletDocument, origin: string): HeldCertificate | undefined {
  const vendor = document.vendors[origin]
  return vendor?.certificate ? { key: vendor.key, certificate: vendor.certificate } : undefined
}

/** Takes a certificate that no vendor knows. */
export function takeSpare(books: Books): HeldCertificate | undefined {
  dropOldSpares(books)
  return books.document.spares?.shift()
}

/** Puts a certificate back that was taken for a vendor and not used, unless the vendor knows it. */
export function giveSpare({ document }: Books, origin: string, held: HeldCertificate): void {
  if (knownTo(document, origin)?.key !== held.key) document.spares = [held, ...document.spares ?? []]
}

/** Forgets spares that are about to expire. */
export function dropOldSpares({ document, now }: Books): void {
  document.spares = (document.spares ?? []).filter(held => isGood(held, now))
}

/** Where the opening of a commitment to a vendor stands. */
export type Place =
  | { kind: 'open' }
  /** Another tab or process opens one. */
  | { kind: 'wait' }
  /** One was saved and not reserved. */
  | { kind: 'reserve', token: string }
  /** One is to be made, of this limit in micros. */
  | { kind: 'make', limit: Micros }

/** Whether another than `by` opens a commitment. What the clock cannot have granted is no claim: one that was set back must not block the vendor. */
function isOpening(vendor: VendorRecord | undefined, by: string, now: number): boolean {
  const opening = vendor?.opening
  return !!opening && opening.by !== by && now < opening.until && opening.until <= now + openingSeconds
}

/**
 * Says what has to be done so that a commitment to the vendor is open, and takes
 * that on for `by`, so that one at a time does it. Throws a BudgetError or a
 * StalledError.
 */
export function beginOpening(books: Books, terms: OpeningTerms, by: string): Place {
  const { document, now } = books
  const { vendor: origin, price } = terms.offer
  const vendor = document.vendors[origin]
  if (vendor && isUsable(vendor.open, now)) return { kind: 'open' }
  if (isOpening(vendor, by, now)) return { kind: 'wait' }
  const unfinished = vendor?.open
  const canFinish = unfinished && !unfinished.reservation && !unfinished.unreserved && termsOf(unfinished).limit >= price &&
    now + expiryMarginSeconds < termsOf(unfinished).expires
  const place: Place = canFinish ? { kind: 'reserve', token: unfinished.token } : { kind: 'make', limit: depositFor(books, terms) }
  const record = vendor ?? addVendor(books, origin)
  if (unfinished && !canFinish) retire(books, record)
  record.opening = { by, until: now + openingSeconds }
  return place
}

/** Says that what `beginOpening` took on is still under way. */
export function keepOpening({ document, now }: Books, origin: string, by: string): void {
  const vendor = document.vendors[origin]
  if (vendor?.opening?.by === by) vendor.opening.until = now + openingSeconds
}

/** Gives up what `beginOpening` took on. */
export function endOpening(document: WalletDocument, origin: string, by: string): void {
  const vendor = document.vendors[origin]
  if (vendor?.opening?.by === by) delete vendor.opening
}

/**
 * The limit of a new commitment, in micros: the deposit, less if the budget has
 * less left or if the vendor has thrown commitments away, and a few pages' worth
 * if what others have reserved is all that the budget has, but at least the price.
 */
function depositFor(books: Books, { offer, budget, deposit, forfeited, fingerprint }: OpeningTerms): Micros {
  const { document, now } = books
  const price = most(1n, offer.price)
  const vendor = document.vendors[offer.vendor]
  const attempt = vendor?.attempts?.find(one => one.fingerprint === fingerprint && one.at > now - attemptSeconds && one.at <= now)
  // What another commitment released pays for other requests at best.
  const gone = most(forfeited, BigInt(attempt?.triedReleased ?? '0'))
  checkPrice(budget, price, gone, offer.currency, offer.vendor)
  turnDay(books)
  checkServes(vendor, price, now, offer.vendor)
  const used = usageOf(books, vendor)
  checkRelease(budget, price, used, offer.currency, offer.vendor)
  const { left } = leftOf({ ...budget, perSiteAndMinute: maxMicros }, used) // a minute is over soon
  // A vendor that refuses one commitment after another could otherwise tie up the
  // whole balance in reservations.
  const thrown = (vendor?.old ?? []).filter(one => one.abandoned).length
  let limit = least(deposit >> BigInt(thrown), left)
  // Nor can many vendors together tie up more than may ever be paid, but for a
  // few pages each.
  const free = most(0n, budget.total - used.total - tiedUp(document, now))
  limit = least(limit, most(free, least(price * fewPages, left)))
  return most(price, limit - limit % price)
}

/** What is reserved and not released on commitments that have not expired, in micros. */
function tiedUp(document: WalletDocument, now: number): Micros {
  const open = Object.values(document.vendors).flatMap(commitmentsOf).filter(one => one.reservation && now < termsOf(one).expires)
  return open.reduce((sum, one) => sum + BigInt(one.cap) - valueOf(one), 0n)
}

function addVendor(books: Books, origin: string): VendorRecord {
  const { document, now } = books
  forgetOneSite(document)
  const vendor: VendorRecord = {
    released: '0', spent: '0', key: 0, certificate: '', price: '0', lowest: '0', steady: 0, lastPaid: now,
  }
  document.vendors[origin] = vendor
  return vendor
}

/** The record of a vendor, which is made if there is none. */
export function vendorOf(books: Books, origin: string): VendorRecord {
  return books.document.vendors[origin] ?? addVendor(books, origin)
}

/** Makes room for one more vendor: the one that was paid longest ago goes, and with it what it counted for a budget per site. */
function forgetOneSite(document: WalletDocument): void {
  const origins = Object.keys(document.vendors)
  if (origins.length < maxSites) return
  const oldest = origins.reduce((a, b) => document.vendors[b]!.lastPaid < document.vendors[a]!.lastPaid ? b : a)
  delete document.vendors[oldest]
}

/** The units of a new commitment's chains, in micros: the price, 16 and 256 times that, and a finer one for prices between. */
export function unitsFor(price: Micros, limit: Micros): Micros[] {
  const base = most(1n, price)
  const units = [base]
  let fine = 1n
  while (fine * 100n <= base) fine *= 10n
  if (fine < base) units.push(fine)
  for (const factor of [16n, 256n]) if (base * factor <= limit) units.push(base * factor)
  return units
}

/** Makes a new commitment of `by` the vendor's open one, unless another one is open already or being opened. Returns whether it is. */
export function keepOpened(books: Books, origin: string, commitment: CommitmentRecord, held: HeldCertificate, by: string): boolean {
  const vendor = vendorOf(books, origin)
  if (isUsable(vendor.open, books.now) || isOpening(vendor, by, books.now)) return false
  if (vendor.open) retire(books, vendor)
  vendor.key = held.key
  vendor.certificate = held.certificate
  vendor.open = commitment
  return true
}

/** The totals of today, in micros; those of a day that is over are 0. */
export function today(document: WalletDocument, now: number): { released: Micros, spent: Micros } {
  if (document.day.day !== dayOf(now)) return { released: 0n, spent: 0n }
  return { released: BigInt(document.day.released), spent: BigInt(document.day.spent) }
}

/** A wallet that has paid nothing yet, with an account or without. */
export function newDocument(account?: { broker: string, account: string, currency: Currency }): WalletDocument {
  return {
    ...account, nextKey: 0, spares: [], vendors: {}, day: { day: 0, released: '0', spent: '0' },
    total: { released: '0', spent: '0' }, history: [],
  }
}
