import type { Micros } from './amount.js'
import { chainTerms, countRelease, tailHashAt, termsOf, turnDay, valueOf, type Books } from './books.js'
import type { CommitmentRecord, TicketRecord } from './document.js'
import { maxNumber, windowSize } from './limits.js'
import type { Status } from './payer.js'
import { isOpenAgain } from './stall.js'
import { least, plus } from './sums.js'

// What a wallet believes of what a vendor says of a commitment: what the wallet
// can check by hashing, and nothing that would make it release more.

/**
 * Whether a ticket presents a payword that had left the wallet before, in a life
 * that the document does not know of: what it proves was released and spent then.
 */
export function isOvertaken(commitment: CommitmentRecord, ticket: TicketRecord): boolean {
  const found = commitment.found?.[ticket.chain]
  return !!found && ticket.order <= found.debits && ticket.index <= found.index
}

/**
 * Makes up for a document that is older than what the vendor has, as a backup
 * is: if the vendor names a deeper payword of the chain than was released, and
 * its hash is right, that payword did leave the wallet, for only its seed gives
 * it. It then counts as released, against the budgets too, and as spent with all
 * the surplus until the vendor tells of credit, and numbers go on beyond those
 * that were used. Anything else that a vendor says changes nothing.
 */
export function adopt(books: Books, commitment: CommitmentRecord, chain: number, status: Status): void {
  const known = status.known
  const terms = termsOf(commitment)
  if (!known || known.chain !== chain || !isIndex(known.index)) return
  const { length } = chainTerms(terms, chain)
  if (known.index <= (commitment.released[chain] ?? 0) || known.index > length) return
  if (tailHashAt(books, commitment, chain, known.index) !== known.tailHash) return
  const before = valueOf(commitment)
  for (const [k, surplus] of commitment.surplus.entries()) {
    commitment.agreed = plus(commitment.agreed, BigInt(surplus))
    commitment.surplus[k] = '0'
  }
  commitment.released[chain] = known.index
  commitment.found ??= terms.chains.map(() => null)
  commitment.found[chain] = { index: known.index, debits: commitment.debits ?? 0 }
  const more = valueOf(commitment) - before
  commitment.agreed = plus(commitment.agreed, more)
  const smallest = terms.chains.reduce((unit, one) => least(unit, one.unit), terms.chains[0]!.unit)
  // One of those requests took a step of the finest chain at least.
  commitment.nextNumber = Math.min(commitment.nextNumber + windowSize + Number(more / smallest), maxNumber)
  turnDay(books)
  countRelease(books, books.document.vendors[terms.vendor], more)
}

/**
 * Checks what the vendor said of the commitment against what the wallet knows and
 * keeps it if it can be true: the tail is ours, what was accepted lies between
 * what that tail proves and what was released, and no more was spent than
 * requests agreed to. Returns whether it can.
 */
export function learn(books: Books, commitment: CommitmentRecord, ticket: { chain: number, index: number }, status: Status): boolean {
  adopt(books, commitment, ticket.chain, status)
  const { known } = status
  const { chain } = ticket
  if (!known || known.chain !== chain || !isIndex(known.index) || known.index < ticket.index) return false
  if (known.index > (commitment.released[chain] ?? 0)) return false
  if (tailHashAt(books, commitment, chain, known.index) !== known.tailHash) return false
  const proved = least(chainTerms(termsOf(commitment), chain).unit * BigInt(known.index), BigInt(commitment.cap))
  const { accepted, spent } = known
  if (accepted < proved || accepted > valueOf(commitment) || spent < 0n || spent > least(accepted, BigInt(commitment.agreed))) return false
  commitment.proved[chain] = Math.max(commitment.proved[chain] ?? 0, known.index)
  commitment.told = { accepted: String(accepted), spent: String(spent), at: books.now }
  return true
}

/**
 * Adds to the surplus what the vendor says is left and the wallet did not count,
 * such as the price of a request that never arrived. Of that the answer may still
 * take `untaken` micros, if it is a stream. If others came between, the vendor's
 * numbers are not the newest.
 */
export function adoptCredit(books: Books, commitment: CommitmentRecord, ticket: TicketRecord, status: Status, untaken: Micros): void {
  const { known } = status
  if (!known || !ticket.alone || ticket.order !== (commitment.debits ?? 0) || known.accepted !== valueOf(commitment)) return
  const counted = commitment.surplus.reduce((sum, surplus) => sum + BigInt(surplus), 0n)
  const more: Micros = known.accepted - known.spent - untaken - counted
  if (more <= 0n) return
  commitment.surplus[ticket.chain] = plus(commitment.surplus[ticket.chain], more)
  isOpenAgain(books.document, termsOf(commitment).vendor, more)
}

function isIndex(index: number): boolean {
  return Number.isInteger(index) && index >= 1
}
