import { isUsable, debit, findLost, keepAttempt, retire, takeAttempt, ticketOf } from './payment.js'
import { termsOf, type Books } from './books.js'
import type { Tries } from './document.js'
import type { Offer, Terms, Ticket } from './payer.js'
import { most } from './sums.js'

/**
 * Takes a ticket for a request from the vendor's open commitment; undefined if
 * none is open that can pay it. Throws a BudgetError or a StalledError, and then
 * nothing is changed.
 */
export function takeOnce(books: Books, offer: Offer, terms: Terms): Ticket | undefined {
  const vendor = books.document.vendors[offer.vendor]
  if (!vendor || !isUsable(vendor.open, books.now)) return undefined
  const commitment = vendor.open
  const { fingerprint } = terms
  commitment.maxStep = offer.maxStep
  const lost = findLost(books, commitment, fingerprint)
  if (lost) return { ...ticketOf(books, commitment, lost), released: 0n }
  const { id } = termsOf(commitment)
  const attempt = takeAttempt(books, vendor, fingerprint)
  // What another commitment released pays for other requests at best.
  const gone = attempt && attempt.commitment !== id ? attempt.triedReleased : attempt?.forfeited
  const forfeited = most(terms.forfeited ?? 0n, BigInt(gone ?? '0'))
  const tries: Tries = {
    triedReleased: String(most(forfeited, BigInt(attempt?.triedReleased ?? '0'))), forfeited: String(forfeited),
    ...attempt?.abandoned ? { abandoned: true } : {},
  }
  const number = attempt?.commitment === id ? attempt.number : undefined
  const ticket = debit(books, vendor, commitment, { offer, budget: terms.budget, fingerprint, tries, number })
  if (ticket) return ticketOf(books, commitment, ticket)
  retire(books, vendor)
  if (attempt) keepAttempt(vendor, { ...attempt, ...tries, forfeited: tries.triedReleased, commitment: '' })
  return undefined
}
