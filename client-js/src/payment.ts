import { maxMicros, type Micros } from './amount.js'
import { adopt, adoptCredit, isOvertaken, learn } from './adoption.js'
import { checkPrice, checkRelease, type Budget } from './budget.js'
import {
  countRelease, findCommitment, paywordAt, termsOf, turnDay, usageOf, valueOf, type Books,
} from './books.js'
import type { AttemptRecord, CommitmentRecord, TicketRecord, Tries, VendorRecord, WalletDocument } from './document.js'
import { toBase64url } from './encoding.js'
import { maxNumber, maxStale, repeatSeconds } from './limits.js'
import type { Grant, Offer, Payment, Receipt, Ticket } from './payer.js'
import { checkServes, failed, isOpenAgain, isServing, served } from './stall.js'
import { least, minus, most, plus } from './sums.js'

// How paywords and requests belong together. Each request is given a number and
// a chain, and enough new steps of that chain that together with the chain's
// surplus they cover its price. It presents the newest payword of that chain. A
// payword proves all before it, so whichever requests of a chain have arrived,
// the one debited last among them proves what all of them need: they may arrive
// in any order and every one finds credit.
//
// A request is known by its record in the document until its outcome is. So each
// outcome counts once, whichever tab or process tells it, however often.

/** How long before D a commitment is not used any more: clocks differ and requests travel. */
export const expiryMarginSeconds = 30
/** How long before the vendor forgets a number it is not repeated any more. */
const lostMarginSeconds = 10
/** After which a request under way, of a tab that is gone perhaps, is forgotten: what it paid stays paid. */
const forgottenSeconds = 15 * 60
/** How long after a refusal the next ticket for the same request goes on from there. */
export const attemptSeconds = 60
/** Bounds the requests of a commitment that are remembered; more are paid again when they are asked for again. */
const maxTickets = 512
/** Bounds the refused requests of a vendor that are remembered. */
const maxAttempts = 64
/** How many commitments of one vendor are kept beside the open one, to recognise a vendor that refuses one after another. */
const maxOld = 8
/** How many receipts a wallet keeps. */
const maxHistory = 1000
/** Bounds the URL in a receipt, in bytes. */
const maxURLBytes = 300

/** Whether a commitment can be paid with at a time, in seconds since 1970. */
export function isUsable(commitment: CommitmentRecord | undefined, now: number): commitment is CommitmentRecord {
  return !!commitment && (!!commitment.reservation || !!commitment.unreserved) && now + expiryMarginSeconds < termsOf(commitment).expires
}

/** What a request needs of a commitment. */
interface Need {
  chain: number
  steps: number
  /** Worth of the steps, in micros. */
  release: Micros
}

function underWay(commitment: CommitmentRecord): TicketRecord[] {
  return (commitment.tickets ?? []).filter(one => one.state === 'sent')
}

/** Whether a request that presents an index could make another one stale by arriving before it. */
function overtakes(commitment: CommitmentRecord, chain: number, index: number): boolean {
  return underWay(commitment).some(one => one.chain === chain && index - one.index > maxStale)
}

/**
 * Returns the chain on which paying `price` releases least, and at most `limit`,
 * both in micros; undefined if none can pay it. Chains on which no other request
 * would be overtaken come first: on a coarse one a step more may be released than
 * needed, and the next request finds it there.
 */
function cheapest(commitment: CommitmentRecord, price: Micros, limit: Micros): Need | undefined {
  const left = least(BigInt(commitment.cap) - valueOf(commitment), limit)
  let best: Need & { isOvertaking: boolean } | undefined
  for (const [chain, { unit, length }] of termsOf(commitment).chains.entries()) {
    const released = commitment.released[chain] ?? 0
    const need = most(0n, price - BigInt(commitment.surplus[chain] ?? '0'))
    let count = (need + unit - 1n) / unit
    if (count === 0n && released === 0) count = 1n // index 0 is the root, which proves nothing
    const release = unit * count
    if (release > left || count > BigInt(Math.min(commitment.maxStep, length - released))) continue
    const steps = Number(count)
    const isOvertaking = overtakes(commitment, chain, released + steps)
    const isLess = !best || release < best.release || release === best.release && steps < best.steps
    const isBetter = !best || (isOvertaking === best.isOvertaking ? isLess : best.isOvertaking)
    if (isBetter) best = { chain, steps, release, isOvertaking }
  }
  return best
}

/** What a debit is for. */
export interface Wanted {
  offer: Offer
  budget: Budget
  fingerprint: string
  tries: Tries
  /** That it has again; left out: a new one. */
  number?: number | undefined
}

/**
 * Takes what a request needs from the vendor's open commitment: a number and
 * paywords. Returns undefined if the commitment is exhausted, and throws a
 * BudgetError or a StalledError; then nothing is changed.
 */
export function debit(books: Books, vendor: VendorRecord, commitment: CommitmentRecord, wanted: Wanted): TicketRecord | undefined {
  const { now } = books
  const terms = termsOf(commitment)
  const { offer: { price }, budget } = wanted
  checkPrice(budget, price, 0n, terms.currency, terms.vendor)
  // All that is released for the request counts, also what is credit of its own by now.
  const tried = BigInt(wanted.tries.triedReleased)
  const need = cheapest(commitment, price, most(0n, budget.perRequest - tried))
  if (!need) {
    checkPrice(budget, price, tried, terms.currency, terms.vendor) // another commitment would not do either
    return undefined
  }
  const { chain, steps, release } = need
  turnDay(books)
  checkRelease(budget, release, usageOf(books, vendor), terms.currency, terms.vendor)
  if (release > 0n) checkServes(vendor, price, now, terms.vendor)
  const index = commitment.released[chain]! + steps
  paywordAt(books, commitment, chain, index)
  if (release > 0n && !isServing(vendor, price)) vendor.probed = now
  const number = wanted.number ?? nextNumber(commitment)
  commitment.released[chain] = index
  commitment.surplus[chain] = String(BigInt(commitment.surplus[chain]!) + release - price)
  commitment.agreed = plus(commitment.agreed, price)
  countRelease(books, vendor, release)
  vendor.lastPaid = now
  commitment.debits = (commitment.debits ?? 0) + 1
  forgetTickets(commitment, now)
  const isResting = !commitment.tickets!.some(one => one.state !== 'granted' || one.metered)
  const ticket: TicketRecord = {
    ...wanted.tries, id: newTicketId(), state: 'sent', fingerprint: wanted.fingerprint, chain, index, number, max: String(price),
    at: now, order: commitment.debits, released: String(release), triedReleased: plus(wanted.tries.triedReleased, release),
  }
  if (isResting) ticket.alone = true
  if (wanted.offer.meter) ticket.metered = true
  keepTicket(commitment, ticket)
  return ticket
}

/** Takes the next number of a commitment. */
export function nextNumber(commitment: CommitmentRecord): number {
  const number = commitment.nextNumber
  commitment.nextNumber = Math.min(number + 1, maxNumber)
  return number
}

/** Bytes of a ticket's id: enough that no two of a wallet are alike. */
const ticketIdBytes = 12

function newTicketId(): string {
  return toBase64url(crypto.getRandomValues(new Uint8Array(ticketIdBytes)))
}

function keepTicket(commitment: CommitmentRecord, ticket: TicketRecord): void {
  commitment.tickets ??= []
  commitment.tickets.push(ticket)
  commitment.tickets.splice(0, Math.max(0, commitment.tickets.length - maxTickets))
}

/** Makes surplus of what a request agreed to spend. */
function unagree(commitment: CommitmentRecord, record: TicketRecord): void {
  if (isOvertaken(commitment, record)) return
  commitment.surplus[record.chain] = plus(commitment.surplus[record.chain], BigInt(record.max))
  commitment.agreed = minus(commitment.agreed, BigInt(record.max))
}

/** Forgets requests that are too old to matter. */
function forgetTickets(commitment: CommitmentRecord, now: number): void {
  const oldest = now - repeatSeconds + lostMarginSeconds
  const isKept = ({ state, at }: TicketRecord) => state === 'lost' ? at >= oldest : at >= now - (state === 'again' ? attemptSeconds : forgottenSeconds)
  for (const one of commitment.tickets ?? []) {
    // It was refused, and nobody asks any more: what it paid pays for others.
    if (one.state === 'again' && !one.repeat && !isKept(one)) unagree(commitment, one)
  }
  commitment.tickets = (commitment.tickets ?? []).filter(isKept)
}

/** Where a ticket's record stands; undefined if its outcome is known, or it was forgotten. */
export function findTicket(document: WalletDocument, ticket: Ticket): { commitment: CommitmentRecord, record: TicketRecord } | undefined {
  const commitment = findCommitment(document, ticket.vendor, ticket.payment.commitmentId)
  const record = commitment?.tickets?.find(one => one.id === ticket.id)
  return commitment && record && { commitment, record }
}

function removeTicket(commitment: CommitmentRecord, record: TicketRecord): void {
  commitment.tickets = commitment.tickets?.filter(one => one !== record) ?? []
}

/**
 * Returns the request of a fingerprint whose answer was lost a short time ago, or
 * that is to be sent again as it is, with the newest payword of its chain.
 */
export function findLost(books: Books, commitment: CommitmentRecord, fingerprint: string): TicketRecord | undefined {
  forgetTickets(commitment, books.now)
  const found = commitment.tickets!.find(one => one.fingerprint === fingerprint && (one.state === 'lost' || one.state === 'again'))
  if (!found) return undefined
  if (found.state === 'lost') isOpenAgain(books.document, termsOf(commitment).vendor, BigInt(found.max))
  found.index = commitment.released[found.chain]!
  found.state = 'sent'
  return found
}

/** A ticket as it is given out. */
export function ticketOf(books: Books, commitment: CommitmentRecord, record: TicketRecord): Ticket {
  const terms = termsOf(commitment)
  const payment = paymentOf(books, commitment, record)
  const ticket: Ticket = {
    id: record.id, vendor: terms.vendor, payment, released: BigInt(record.released), isRepeat: record.repeat ?? false,
  }
  if (!commitment.confirmed) {
    ticket.commitment = commitment.token
    if (commitment.reservation) ticket.reservation = commitment.reservation
  }
  if (record.stepped) ticket.steps = stepsTo(books, commitment, record)
  return ticket
}

function paymentOf(books: Books, commitment: CommitmentRecord, of: { chain: number, index: number, number: number, max: string }): Payment {
  return {
    commitmentId: termsOf(commitment).id, chain: of.chain, index: of.index, number: of.number, max: BigInt(of.max),
    payword: toBase64url(paywordAt(books, commitment, of.chain, of.index)),
  }
}

/** How many HEAD requests bring a vendor up to the newest payword of a chain, at most. */
const maxSteps = 16

/** The payments that agree to pay nothing and prove paywords on the way, from the last that the vendor is known to have. */
function stepsTo(books: Books, commitment: CommitmentRecord, record: TicketRecord): Payment[] {
  const steps: Payment[] = []
  let at = commitment.proved[record.chain] ?? 0
  while (record.index - at > commitment.maxStep && steps.length < maxSteps) {
    at += commitment.maxStep
    steps.push(paymentOf(books, commitment, { chain: record.chain, index: at, number: nextNumber(commitment), max: '0' }))
  }
  return steps
}

/** Undoes what a request agreed to spend, because the vendor refused it or never saw it. What was released for it becomes surplus. */
export function takeBack(books: Books, commitment: CommitmentRecord, record: TicketRecord): void {
  removeTicket(commitment, record)
  if (isOvertaken(commitment, record)) return
  unagree(commitment, record)
  if (commitment.abandoned) failed(books.document, termsOf(commitment).vendor, BigInt(record.max)) // nothing can use it
}

/** Notes that the answer to a request did not come, or left open whether it was charged. */
export function lose(books: Books, commitment: CommitmentRecord, record: TicketRecord, isRepeatable: boolean): void {
  failed(books.document, termsOf(commitment).vendor, BigInt(record.max))
  if (!isRepeatable) return removeTicket(commitment, record)
  record.state = 'lost'
  record.repeat = true
  if (record.metered) delete record.metered
}

/** Notes what a granted request cost and what the vendor said of the commitment. */
export function settle(books: Books, ticket: Ticket, grant: Grant): Receipt {
  const { document, now } = books
  const held = findTicket(document, ticket)
  let amount = 0n // what was told before counts once
  if (held && held.record.state !== 'granted') {
    const { commitment, record } = held
    const max = BigInt(record.max)
    const charged = grant.amount < 0n ? 0n : least(grant.amount, max)
    amount = record.settled ? 0n : charged // else its body broke off, and it came again
    if (grant.status) adopt(books, commitment, record.chain, grant.status)
    if (!record.settled && !isOvertaken(commitment, record)) {
      commitment.surplus[record.chain] = plus(commitment.surplus[record.chain], max - amount)
    }
    addSpent(books, ticket.vendor, amount)
    if (grant.status && learn(books, commitment, record, grant.status)) {
      commitment.confirmed = true
      adoptCredit(books, commitment, record, grant.status, most(0n, amount - grant.status.price))
    }
    if (grant.status && amount > 0n && !record.metered) sawPrice(document.vendors[ticket.vendor], grant.status.price)
    record.settled = true
    if (grant.isWhole) {
      served(document, ticket.vendor, record, charged)
      removeTicket(commitment, record)
    } else record.state = 'granted'
  }
  const receipt: Receipt = { time: now, url: receiptURL(grant.url), vendor: ticket.vendor, amount, currency: currencyOf(document, ticket) }
  if (amount > 0n) keepReceipt(document, receipt)
  return receipt
}

/** Notes that a granted answer's body came whole. `amount` is what it cost, in micros. */
export function delivered(books: Books, ticket: Ticket, amount: Micros): void {
  const held = findTicket(books.document, ticket)
  if (held?.record.state !== 'granted') return
  served(books.document, ticket.vendor, held.record, least(most(0n, amount), BigInt(held.record.max)))
  removeTicket(held.commitment, held.record)
}

/** Takes out of the books what a stream did not cost after all, once. What was released stays so: budgets are about that. */
export function giveBack(books: Books, ticket: Ticket, rest: Micros, url: string): Receipt {
  const { document } = books
  const held = findTicket(document, ticket)
  const vendor = document.vendors[ticket.vendor]
  let returned = rest > 0n ? least(rest, BigInt(vendor?.spent ?? '0')) : 0n
  if (held?.record.state !== 'granted' || held.record.returned) returned = 0n
  else {
    held.record.returned = true
    const { commitment, record } = held
    if (!isOvertaken(commitment, record)) commitment.surplus[record.chain] = plus(commitment.surplus[record.chain], returned)
    if (vendor) vendor.spent = minus(vendor.spent, returned)
    turnDay(books)
    document.day.spent = minus(document.day.spent, returned)
    document.total.spent = minus(document.total.spent, returned)
  }
  const receipt: Receipt = {
    time: books.now, url: receiptURL(url), vendor: ticket.vendor, amount: 0n, currency: currencyOf(document, ticket), returned,
  }
  if (returned > 0n) keepReceipt(document, receipt)
  return receipt
}

function addSpent(books: Books, origin: string, amount: Micros): void {
  const { document } = books
  const vendor = document.vendors[origin]
  turnDay(books)
  for (const sum of [document.day, document.total, ...vendor ? [vendor] : []]) sum.spent = plus(sum.spent, amount)
}

function currencyOf(document: WalletDocument, ticket: Ticket): string {
  return document.currency ?? termsOf(findCommitment(document, ticket.vendor, ticket.payment.commitmentId) ?? { token: '' }).currency
}

/** Notes what a page cost, in micros: the Go client guesses by it. */
function sawPrice(vendor: VendorRecord | undefined, price: Micros): void {
  if (!vendor || price < 1n || price > maxMicros) return
  const text = String(price)
  vendor.steady = text === vendor.price ? vendor.steady + 1 : 1
  vendor.price = text
  if (vendor.lowest === '0' || price < BigInt(vendor.lowest)) vendor.lowest = text
}

function keepReceipt(document: WalletDocument, receipt: Receipt): void {
  const { returned, amount, ...rest } = receipt
  document.history ??= []
  document.history.push({ ...rest, amount: String(amount), ...returned ? { returned: String(returned) } : {} })
  document.history.splice(0, Math.max(0, document.history.length - maxHistory))
}

/** A URL as receipts hold it: without user, password and fragment; '' if it is none. */
function receiptURL(text: string): string {
  if (!URL.canParse(text)) return ''
  const url = new URL(text)
  url.username = ''
  url.password = ''
  url.hash = ''
  return url.href.slice(0, maxURLBytes)
}

/** Puts the open commitment aside and forgets those that have expired. What was reserved for them the broker releases by itself. */
export function retire(books: Books, vendor: VendorRecord): void {
  const old = vendor.old ?? []
  if (vendor.open) old.push(vendor.open)
  delete vendor.open
  // A request under way still has to be settled: until then it is kept.
  const kept = old.filter(one => one.tickets?.some(({ at }) => at >= books.now - forgottenSeconds) ||
    books.now < termsOf(one).expires && one.abandoned)
  vendor.old = kept.slice(Math.max(0, kept.length - maxOld))
}

/** Stops paying with a commitment that the vendor does not take any more. */
export function abandon(books: Books, commitment: CommitmentRecord): void {
  const origin = termsOf(commitment).vendor
  const vendor = books.document.vendors[origin]
  if (!vendor || vendor.open !== commitment || commitment.abandoned) return // another request was faster
  commitment.abandoned = true
  for (const surplus of commitment.surplus) failed(books.document, origin, BigInt(surplus))
  retire(books, vendor)
}

/** Takes what was done before for the request of a fingerprint. */
export function takeAttempt(books: Books, vendor: VendorRecord | undefined, fingerprint: string): AttemptRecord | undefined {
  if (!vendor?.attempts) return undefined
  const fresh = vendor.attempts.filter(one => one.at > books.now - attemptSeconds && one.at <= books.now)
  const found = fresh.find(one => one.fingerprint === fingerprint)
  vendor.attempts = fresh.filter(one => one !== found)
  if (vendor.attempts.length === 0) delete vendor.attempts
  return found
}

/** Keeps what was done for a request that may be paid for again. */
export function keepAttempt(vendor: VendorRecord | undefined, attempt: AttemptRecord): void {
  if (!vendor) return
  vendor.attempts = [...vendor.attempts ?? [], attempt].slice(-maxAttempts)
}
