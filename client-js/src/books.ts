import type { Micros } from './amount.js'
import type { Usage } from './budget.js'
import { Chain, tailHash, walk } from './chain.js'
import { unverifiedCommitment, type ChainTerms, type Commitment } from './commitment.js'
import type { CommitmentRecord, VendorRecord, WalletDocument } from './document.js'
import { fromBase64url, toBase64url, type Bytes } from './encoding.js'
import { PaywordError } from './errors.js'
import { least, plus } from './sums.js'

/** What one change of a wallet works on. Everything that moves money is one change. */
export interface Books {
  readonly document: WalletDocument
  /** Seconds since 1970. */
  readonly now: number
  /** The tips of chains that were derived: deriving takes waiting, and a change does not wait. */
  readonly tips: Tips
}

/** Tips by the commitment's token, one for each chain. */
export type Tips = Map<string, Bytes[]>

/** A change needs the tips of a commitment. Whoever runs it derives them and runs it again. */
export class TipsNeeded extends Error {
  readonly token: string

  constructor(token: string) {
    super('the tips of a commitment are needed')
    this.token = token
  }
}

const termsByToken = new Map<string, Commitment>()
/** Bounds the memory of commitments that were read; when it is full it begins anew. */
const maxTerms = 4096

/** What a stored commitment says. Throws a `storage` error if that cannot be read. */
export function termsOf(commitment: Pick<CommitmentRecord, 'token'>): Commitment {
  const known = termsByToken.get(commitment.token)
  if (known) return known
  let terms: Commitment
  try {
    terms = unverifiedCommitment(commitment.token)
  } catch (error) {
    throw new PaywordError('storage', 'the wallet is damaged: a commitment in it cannot be read', { cause: error })
  }
  if (termsByToken.size >= maxTerms) termsByToken.clear()
  termsByToken.set(commitment.token, terms)
  return terms
}

/** What a commitment says of one of its chains. Throws a `usage` error if it has no such chain. */
export function chainTerms(terms: Commitment, chain: number): ChainTerms {
  const found = terms.chains[chain]
  if (!found) throw new PaywordError('usage', `a commitment to ${terms.vendor} has no chain ${chain}`)
  return found
}

/** What was released on a commitment, in micros. */
export function valueOf(commitment: CommitmentRecord): Micros {
  const sum = termsOf(commitment).chains.reduce((value, { unit }, k) => value + unit * BigInt(commitment.released[k] ?? 0), 0n)
  return least(sum, BigInt(commitment.cap))
}

/** The vendor's commitments, the open one first. */
export function commitmentsOf(vendor: VendorRecord): CommitmentRecord[] {
  return vendor.open ? [vendor.open, ...vendor.old ?? []] : vendor.old ?? []
}

/** Finds a commitment by its id. */
export function findCommitment(document: WalletDocument, vendor: string, id: string): CommitmentRecord | undefined {
  const record = document.vendors[vendor]
  return record && commitmentsOf(record).find(one => termsOf(one).id === id)
}

/**
 * Returns W_index of one of the commitment's chains and keeps the traversal of
 * the chain. Going back costs a hash a step, going forward about log2 of the
 * chain's length.
 */
export function paywordAt(books: Books, commitment: CommitmentRecord, chain: number, index: number): Bytes {
  const made = chainOf(books, commitment, chain)
  if (index < made.index) return walk(made.payword, made.index - index)
  const word = made.release(index)
  commitment.traversals ??= termsOf(commitment).chains.map(() => '')
  commitment.traversals[chain] = made.save()
  return word
}

/** The hash of a tail that the vendor tells, of any index of the chain, released or not. base64url. */
export function tailHashAt(books: Books, commitment: CommitmentRecord, chain: number, index: number): string {
  const { length } = chainTerms(termsOf(commitment), chain)
  if (index > (commitment.released[chain] ?? 0)) return toBase64url(tailHash(walk(tipOf(books, commitment, chain), length - index)))
  return toBase64url(tailHash(paywordAt(books, commitment, chain, index)))
}

function tipOf(books: Books, commitment: CommitmentRecord, chain: number): Bytes {
  const tip = books.tips.get(commitment.token)?.[chain]
  if (!tip) throw new TipsNeeded(commitment.token)
  return tip
}

/** The traversal of a chain, from where it was kept or made anew from the seed. */
function chainOf(books: Books, commitment: CommitmentRecord, chain: number): Chain {
  const terms = termsOf(commitment)
  const { root, length } = chainTerms(terms, chain)
  const kept = commitment.traversals?.[chain]
  if (kept) {
    try {
      return Chain.restore(kept, fromBase64url(root))
    } catch {
      // It is damaged: the seed makes it anew.
    }
  }
  const made = Chain.prepare(tipOf(books, commitment, chain), length, commitment.released[chain] ?? 0)
  if (toBase64url(made.root) !== root) {
    throw new PaywordError('storage', `the wallet is damaged: a commitment to ${terms.vendor} was made with another seed`)
  }
  return made
}

/** Days since 1970, UTC, of seconds since 1970. */
export function dayOf(now: number): number {
  return Math.floor(now / 86_400)
}

/** Begins the totals of a new day. Only forwards: setting the clock back must not empty the day's budget. */
export function turnDay(books: Books): void {
  const day = dayOf(books.now)
  if (day > books.document.day.day) books.document.day = { day, released: '0', spent: '0' }
}

/** The seconds of `Budget.perSiteAndMinute`. */
const minuteSeconds = 60

/** Whether a time is less than a minute away. One far ahead is of a clock that was wrong, and must not block a site until then. */
function isOfMinute(at: number, now: number): boolean {
  return Math.abs(now - at) < minuteSeconds
}

/** What counts against a budget, in micros. The totals of the day have to be of today. */
export function usageOf(books: Books, vendor: VendorRecord | undefined): Usage {
  const { document, now } = books
  const recent = (vendor?.recent ?? []).filter(one => isOfMinute(one.at, now))
  return {
    site: BigInt(vendor?.released ?? '0'),
    day: BigInt(document.day.released),
    total: BigInt(document.total.released),
    siteDay: vendor?.day && vendor.day.day >= document.day.day ? BigInt(vendor.day.released) : 0n,
    siteMinute: recent.reduce((sum, one) => sum + BigInt(one.released), 0n),
  }
}

/** Counts what was released to a vendor, in micros, against every limit. */
export function countRelease(books: Books, vendor: VendorRecord | undefined, amount: Micros): void {
  const { document, now } = books
  document.day.released = plus(document.day.released, amount)
  document.total.released = plus(document.total.released, amount)
  if (!vendor || amount === 0n) return
  vendor.released = plus(vendor.released, amount)
  if (!vendor.day || vendor.day.day < document.day.day) vendor.day = { day: document.day.day, released: '0' }
  vendor.day.released = plus(vendor.day.released, amount)
  vendor.recent = (vendor.recent ?? []).filter(one => isOfMinute(one.at, now))
  const last = vendor.recent.at(-1)
  if (last && last.at >= now) last.released = plus(last.released, amount)
  else vendor.recent.push({ at: now, released: String(amount) })
}
