import { maxMicros, type Micros } from './amount.js'
import { isOvertaken, learn } from './adoption.js'
import { termsOf, type Books } from './books.js'
import type { CommitmentRecord, TicketRecord } from './document.js'
import type { Mended, Status, Ticket } from './payer.js'
import { abandon, findTicket, keepAttempt, lose, takeBack } from './payment.js'
import { failed } from './stall.js'
import { least, minus, most, plus } from './sums.js'

// Why a payment was refused, and what the next attempt does about it. Nothing
// here releases anything: the next ticket does, within the budget.

/** What is known of the refusal that is being mended. */
interface Refused {
  books: Books
  commitment: CommitmentRecord
  record: TicketRecord
  status: Status
  /** It brought its commitment along. */
  hadCommitment: boolean
}

/** What the next ticket for the same request is: the next one from the debits, with what number; the same one again; or none. */
type Next = 'debit' | 'same number' | 'again' | 'none'

/**
 * Notes that a ticket was refused, and prepares the next one. One that is not
 * known any more, because it was told of before, changes nothing.
 */
export function refused(books: Books, ticket: Ticket, status: Status): Mended {
  const held = findTicket(books.document, ticket)
  if (!held || held.record.state === 'granted') return { shouldRetry: false, forfeited: 0n }
  const { commitment, record } = held
  const [before, forfeitedBefore] = [record.triedReleased, record.forfeited]
  if (ticket.isRepeat) record.repeat = true // whoever sent it knows best whether it went out twice
  const next = mend({ books, commitment, record, status, hadCommitment: ticket.commitment !== undefined })
  if (next === 'again') {
    record.state = 'again'
    record.at = books.now
  } else if (commitment.tickets?.includes(record)) drop(books, commitment, record)
  const vendor = books.document.vendors[ticket.vendor]
  if (next === 'debit' || next === 'same number') {
    const { fingerprint, triedReleased, forfeited, abandoned } = record
    keepAttempt(vendor, {
      fingerprint, triedReleased, forfeited, at: books.now, commitment: termsOf(commitment).id,
      ...abandoned ? { abandoned } : {}, ...next === 'same number' && before === triedReleased ? { number: record.number } : {},
    })
  }
  return { shouldRetry: next !== 'none', forfeited: BigInt(minus(record.forfeited, BigInt(forfeitedBefore))) }
}

function mend(refusal: Refused): Next {
  const { books, commitment, record, status } = refusal
  switch (status.reason) {
    case 'price-over-max':
      if (status.price <= BigInt(record.max)) return 'none' // it says so of a price that was agreed to
      learnFrom(refusal)
      return 'same number'
    case 'insufficient-credit':
      learnFrom(refusal)
      return correct(refusal) ? 'same number' : 'none'
    case 'unknown-commitment':
      commitment.confirmed = false
      return refusal.hadCommitment ? 'none' : 'again'
    case 'commitment-expired': case 'commitment-closed': case 'certificate-expired': case 'certificate-revoked':
    case 'chain-exhausted': case 'unknown-chain':
      return giveUp(refusal)
    case 'stale-number': case 'already-used':
      learnFrom(refusal)
      // The number may have been used by a life of the wallet that the document
      // does not know of: what it cost is what the ticket agreed to.
      commitment.agreed = plus(commitment.agreed, BigInt(record.max))
      return 'debit'
    case 'stale-payword':
      return record.index === commitment.released[record.chain] ? giveUp(refusal) : 'again'
    case 'step-too-far':
      return catchUp(refusal)
    case 'insecure-transport':
      record.repeat = true // whoever saw the payword on the way may use it: it is no credit
      drop(books, commitment, record)
      return 'none'
    default:
      return 'none'
  }
}

/** Notes that what was released for the request is gone, or a part of it, in micros. */
function forfeit(record: TicketRecord, amount: Micros): void {
  const left = BigInt(minus(record.triedReleased, BigInt(record.forfeited)))
  record.forfeited = plus(record.forfeited, least(amount, left))
}

/** Gives a ticket back. What a request that may have been charged agreed to spend is counted as spent. */
function drop(books: Books, commitment: CommitmentRecord, record: TicketRecord): void {
  if (!record.repeat) return takeBack(books, commitment, record)
  lose(books, commitment, record, false)
  forfeit(record, maxMicros)
}

/**
 * Keeps what the vendor says of the commitment, if it can be true. A ticket that
 * turns out to be overtaken released nothing for this request, and its number is
 * not used again.
 */
function learnFrom({ books, commitment, record, status }: Refused): void {
  learn(books, commitment, record, status)
  if (isOvertaken(commitment, record)) {
    const usable = BigInt(minus(record.triedReleased, BigInt(record.forfeited)))
    record.triedReleased = minus(record.triedReleased, least(usable, BigInt(record.released)))
  }
}

/**
 * Takes a ticket back that was refused for want of credit. If what the vendor
 * says of the commitment can be true, the chain's surplus becomes what the vendor
 * knows of, so that the next debit releases what is missing and no more.
 */
function correct({ books, commitment, record, status }: Refused): boolean {
  takeBack(books, commitment, record) // first: a refused request is not among those that may be spent
  if (!learn(books, commitment, record, status) || !status.known) return false
  commitment.confirmed = true
  const credit = status.known.accepted - status.known.spent
  if (credit >= BigInt(record.max)) return false
  const surplus = BigInt(commitment.surplus[record.chain] ?? '0')
  const gone = most(0n, surplus - credit)
  commitment.surplus[record.chain] = String(surplus - gone)
  failed(books.document, termsOf(commitment).vendor, gone)
  forfeit(record, gone)
  return true
}

/** Puts the commitment aside, once for a request, and with it the certificate if that is what is wrong. */
function giveUp({ books, commitment, record, status }: Refused): Next {
  if (record.abandoned) return 'none' // a fresh commitment was refused too
  takeBack(books, commitment, record)
  abandon(books, commitment)
  forfeit(record, maxMicros)
  record.abandoned = true
  const vendor = books.document.vendors[termsOf(commitment).vendor]
  if (vendor && (status.reason === 'certificate-expired' || status.reason === 'certificate-revoked')) {
    vendor.key = 0
    vendor.certificate = ''
  }
  return 'debit'
}

/** Lets the ticket go again after HEAD requests that prove paywords on the way. */
function catchUp(refusal: Refused): Next {
  const { commitment, record } = refusal
  if (record.stepped) return giveUp(refusal) // the vendor does not follow in smaller steps either
  const released = commitment.released[record.chain]!
  if (released - commitment.proved[record.chain]! <= commitment.maxStep) commitment.proved[record.chain] = 0 // it has forgotten what it knew
  record.stepped = true
  return 'again'
}
