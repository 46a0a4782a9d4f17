import { sha256 } from '@noble/hashes/sha2.js'
import { formatDecimal, type Micros } from './amount.js'
import { parseClaim, type Claim, type ClaimedTail } from './claim.js'
import { parseCommitment, type Commitment } from './commitment.js'
import { fromBase64url, fromUtf8, isBase64url, toBase64url, toUtf8, type Base64url } from './encoding.js'
import { checkPublicKey, thumbprint, type Brokers } from './keys.js'
import { Refusal, type Reason } from './reason.js'
import { judgeClaim, newRedeemed } from './redemption.js'
import {
  decodeExactly, fitsTotal, headerFault, isEntry, isHeader, isProof, maxLineBytes, type StatementEntry, type StatementHeader, type StatementProof,
} from './statement.js'
import { isIncluded, readDay, type Day } from './statement_day.js'

/** Bounds how many vendors a report lists with the keys that signed their claims, and how many keys of each. */
const maxClaimKeys = 1000

/** How long is worked before others get a turn, in milliseconds: less than a picture on the screen. */
const turnMs = 12

/** What a statement is checked against. Keys are by kid, in base64url, as `parseJWKS` reads them. */
export interface StatementChecks {
  /** The broker's. They must not come from whoever gave the statement. */
  keys: ReadonlyMap<string, Base64url>
  /** Origin of the broker whose keys they are; whom the statement names unless set. */
  issuer?: string
  /** Of the broker's clearing. Without them the signature of the day is not checked, and a statement without a day passes. */
  dayKeys?: ReadonlyMap<string, Base64url>
  /** The vendor's own. Without them claims are checked with the keys that the statement gives. */
  vendorKeys?: ReadonlyMap<string, Base64url>
  /** Is told now and then how many entries are done, of how many. */
  progress?: (done: number, all: number) => void
}

/** What a statement was found to prove, as far as the check came. */
export interface StatementReport {
  /** Undefined if the first line is none. */
  header: StatementHeader | undefined
  /** Ever paid on the commitments, in micros. */
  cumulative: Micros
  /** Steps that were hashed, from the tails to the roots. */
  hashes: number
  /** Claims that were not checked, because the broker did not know the vendor's key any more. */
  uncheckedClaims: number
  /** The thumbprints of the keys that signed the claims of each vendor, at most 1000 vendors. The statement gave them. */
  claimKeys: Map<string, Set<string>>
  /** SHA-256 of all lines but the last, base64url; '' before the last line. */
  leaf: string
  /** The day that the statement was proved to be in. */
  day: Day | undefined
  /** The kid of the key that signed the day; undefined if that was not checked. */
  dayKey: string | undefined
}

/** A word of docs/statements.md that is not a reason of the protocol. */
export type StatementWord =
  'malformed-statement' | 'incomplete-file' | 'wrong-issuer' | 'wrong-commitment' | 'wrong-order' | 'wrong-tails' | 'wrong-claim' |
  'unknown-vendor-key' | 'wrong-sum' | 'wrong-fee' | 'wrong-total' | 'wrong-proof' | 'unsigned-day' | 'unknown-day-key' | 'bad-day'

/** The first thing in a statement that cannot be right. */
export interface Disagreement {
  word: StatementWord | Reason
  /** From 1. */
  line: number
  /** A sentence, without its full stop. */
  detail: string
}

/** What came out of a check. */
export interface StatementResult {
  report: StatementReport
  /** Undefined: all of it agrees. */
  disagreement: Disagreement | undefined
}

/** Ends a check from within; it never leaves this file. */
class Disagrees extends Error {
  readonly found: Disagreement

  constructor(found: Disagreement) {
    super(found.detail)
    this.found = found
  }
}

/**
 * Reads a statement and checks all of it: every signature, every chain from its
 * tail to its root, every sum, and its place in the signed day; the same checks in
 * the same order and with the same words as clearing/statement in Go. It keeps one
 * line at a time, asks nobody, and lets others have a turn on the way.
 *
 * @param source - the file's text, or its bytes piece by piece (a `Blob`'s or a `Response`'s stream)
 * @throws what the source throws
 */
export async function verifyStatement(source: string | AsyncIterable<Uint8Array>, checks: StatementChecks): Promise<StatementResult> {
  const verification = new Verification(source, checks)
  try {
    await verification.run()
    return { report: verification.report, disagreement: undefined }
  } catch (error) {
    if (!(error instanceof Disagrees)) throw error
    return { report: verification.report, disagreement: error.found }
  }
}

/** The lines of a file, each with its line feed; a last one without is given as it stands. */
async function * linesOf(source: string | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  let rest = new Uint8Array(0)
  for await (const piece of typeof source === 'string' ? [toUtf8(source)] : source) {
    const joined = new Uint8Array(rest.length + piece.length)
    joined.set(rest)
    joined.set(piece, rest.length)
    let at = 0
    for (let end = joined.indexOf(10); end >= 0; end = joined.indexOf(10, at)) {
      yield joined.subarray(at, end + 1)
      at = end + 1
    }
    rest = joined.slice(at)
    if (rest.length > maxLineBytes) break // it is refused whatever comes
  }
  if (rest.length > 0) yield rest
}

class Verification {
  readonly report: StatementReport = {
    header: undefined, cumulative: 0n, hashes: 0, uncheckedClaims: 0, claimKeys: new Map(), leaf: '', day: undefined, dayKey: undefined,
  }
  readonly #lines: AsyncGenerator<Uint8Array, void>
  readonly #checks: StatementChecks
  readonly #sum = sha256.create()
  #line = 0
  #paid = 0n
  #feeGiven = 0n
  #last = ''
  #turn = Date.now()

  constructor(source: string | AsyncIterable<Uint8Array>, checks: StatementChecks) {
    this.#lines = linesOf(source)
    this.#checks = checks
  }

  #disagree(word: Disagreement['word'], detail: string): never {
    throw new Disagrees({ word, line: this.#line, detail })
  }

  #refuse(id: string, refusal: Refusal): never {
    return this.#disagree(refusal.reason, `commitment ${id}: ${refusal.detail}`)
  }

  async #next<T>(what: string, isForm: (value: unknown) => value is T): Promise<{ bytes: Uint8Array, value: T }> {
    this.#line++
    const { value: bytes } = await this.#lines.next()
    if (bytes && bytes.length > maxLineBytes) this.#disagree('malformed-statement', `the line has more than ${maxLineBytes} bytes`)
    if (bytes?.at(-1) !== 10) this.#disagree('incomplete-file', `the file ends where its ${what} should be`)
    let text = ''
    try {
      text = fromUtf8(bytes.subarray(0, -1))
    } catch { /* not UTF-8 is not JSON either */ }
    const value = decodeExactly(text, isForm)
    if (!value) this.#disagree('malformed-statement', `this is no ${what}: it is not written as statements are, each member once and in order, without white space`)
    return { bytes, value }
  }

  async run(): Promise<void> {
    const header = await this.#readHeader()
    const all = header.commitments
    for (let done = 0; done < all; done++) {
      await this.#breathe(done, all)
      await this.#readEntry(header)
    }
    if (this.#paid !== BigInt(header.paid)) {
      this.#disagree('wrong-total', `the entries sum to ${formatDecimal(this.#paid)}, the header says ${formatDecimal(BigInt(header.paid))}`)
    }
    await this.#readProof(header)
    this.#checks.progress?.(all, all)
  }

  /** Lets others have a turn, and tells how far it is. */
  async #breathe(done: number, all: number): Promise<void> {
    if (done > 0 && Date.now() - this.#turn < turnMs) return
    this.#checks.progress?.(done, all)
    await new Promise(resolve => setTimeout(resolve))
    this.#turn = Date.now()
  }

  async #readHeader(): Promise<StatementHeader> {
    const { bytes, value: header } = await this.#next('header', isHeader)
    const fault = headerFault(header)
    if (fault !== '') this.#disagree('malformed-statement', fault)
    const { issuer } = this.#checks
    if (issuer !== undefined && issuer !== header.issuer) {
      this.#disagree('wrong-issuer', `the statement is by ${header.issuer}, the keys are those of ${issuer}`)
    }
    this.#sum.update(bytes)
    this.report.header = header
    return header
  }

  async #readEntry(header: StatementHeader): Promise<void> {
    const { bytes, value: entry } = await this.#next('entry of a commitment', isEntry)
    this.#sum.update(bytes)
    const m = await this.#checkCommitment(header, entry)
    const claim = await this.#checkClaim(header, entry, m)
    this.#checkChains(entry, m, claim)
    this.#checkSums(header, entry)
  }

  /** Checks both signatures, the id, and that the commitment belongs here. */
  async #checkCommitment(header: StatementHeader, e: StatementEntry): Promise<Commitment> {
    const id = e.commitment
    if (this.#last !== '' && id <= this.#last) {
      this.#disagree('wrong-order', `commitment ${id} stands after ${this.#last}: entries are in the order of their ids, each once`)
    }
    this.#last = id
    if (toBase64url(sha256(toUtf8(e.token)).subarray(0, 16)) !== id) this.#disagree('wrong-commitment', `commitment ${id} is not the one of this token`)
    const brokers: Brokers = new Map([[header.issuer, this.#checks.keys]])
    const m = await parseCommitment(e.token, brokers)
    if (m instanceof Refusal) this.#refuse(id, m)
    if (header.kind === 'vendor' && m.vendor !== header.party) this.#disagree('wrong-vendor', `commitment ${id} is for ${m.vendor}, the statement for ${header.party}`)
    if (m.currency !== header.currency) this.#disagree('wrong-currency', `commitment ${id} is in ${m.currency}, the statement in ${header.currency}`)
    return m
  }

  /** Checks the vendor's signature and that it asked for what was paid; undefined if there is no key to check with. */
  async #checkClaim(header: StatementHeader, e: StatementEntry, m: Commitment): Promise<Claim | undefined> {
    const keys = this.#claimKeysFor(e)
    if (keys.length === 0) {
      this.report.uncheckedClaims++
      return undefined
    }
    let claim: Claim | Refusal = new Refusal('bad-claim', 'no key signed it')
    let by = ''
    for (by of keys) {
      claim = await parseClaim(e.claim, by)
      if (!(claim instanceof Refusal) || claim.reason !== 'bad-claim') break
    }
    if (claim instanceof Refusal) {
      if (claim.reason !== 'bad-claim' || !this.#checks.vendorKeys) this.#refuse(e.commitment, claim)
      this.#disagree('unknown-vendor-key', `commitment ${e.commitment}: none of the vendor's keys signed the claim`)
    }
    if (claim.commitment !== m.id || claim.vendor !== m.vendor || claim.broker !== header.issuer) {
      this.#disagree('wrong-claim', `the claim is not by ${m.vendor} on commitment ${e.commitment}`)
    }
    if (claim.amount < BigInt(e.cumulative)) {
      this.#disagree('wrong-claim', `commitment ${e.commitment}: the vendor claimed ${formatDecimal(claim.amount)}, and ${formatDecimal(BigInt(e.cumulative))} was paid`)
    }
    this.#noteKey(m.vendor, thumbprint(by))
    return claim
  }

  /** The keys to check a claim with: the vendor's own, or the one that the entry gives. */
  #claimKeysFor(e: StatementEntry): Base64url[] {
    if (this.#checks.vendorKeys) return [...this.#checks.vendorKeys.values()]
    if (e.claimKey === undefined) return []
    try {
      checkPublicKey(fromBase64url(e.claimKey))
    } catch (error) {
      this.#disagree('malformed-statement', `claimKey: ${(error as Error).message}`)
    }
    return [e.claimKey]
  }

  #noteKey(vendor: string, keyId: string): void {
    const known = this.report.claimKeys.get(vendor) ?? new Set()
    if (known.size === 0 ? this.report.claimKeys.size >= maxClaimKeys : known.size >= maxClaimKeys) return
    this.report.claimKeys.set(vendor, known.add(keyId))
  }

  /** Hashes from the tails to the roots, by way of the claim's tails, and checks that they are worth what was paid. */
  #checkChains(e: StatementEntry, m: Commitment, claim: Claim | undefined): void {
    const id = e.commitment
    if (e.tails.length !== m.chains.length) this.#disagree('wrong-tails', `commitment ${id} has ${m.chains.length} chains, the statement ${e.tails.length} tails`)
    for (const [k, tail] of e.tails.entries()) {
      const isWhole = tail.index === 0 ? tail.payword === undefined : isBase64url(tail.payword ?? '', 32)
      if (!isWhole) this.#disagree('malformed-statement', `commitment ${id}, tail ${k}: want an index from 1 on with its payword, or index 0 without`)
      if ((claim?.tails[k]?.index ?? 0) > tail.index) this.#disagree('wrong-tails', `commitment ${id}, chain ${k}: the tail is behind that of the claim`)
      this.report.hashes += Math.min(tail.index, m.chains[k]?.length ?? 0)
    }
    let known = newRedeemed(m)
    if (claim) {
      // What it is worth is judged with the statement's tails, which are deeper.
      const judged = judgeClaim(m, known, { ...claim, amount: 0n }, m.limit)
      if (judged instanceof Refusal) this.#refuse(id, judged)
      known = judged.after
    }
    const cumulative = BigInt(e.cumulative)
    const amount = claim && claim.amount > cumulative ? claim.amount : cumulative
    const shown = { commitment: m.id, vendor: m.vendor, broker: m.certificate.issuer, amount, tails: e.tails as ClaimedTail[] }
    const judged = judgeClaim(m, known, shown, m.limit)
    if (judged instanceof Refusal) this.#refuse(id, judged)
  }

  #checkSums(header: StatementHeader, e: StatementEntry): void {
    const [before, paid, cumulative] = [BigInt(e.paidBefore), BigInt(e.paid), BigInt(e.cumulative)]
    this.#paid += paid
    if (paid < 1n || before + paid !== cumulative) {
      this.#disagree('wrong-sum', `commitment ${e.commitment}: ${formatDecimal(before)} before and ${formatDecimal(paid)} now are not ${formatDecimal(cumulative)}`)
    }
    if (this.#paid > BigInt(header.paid)) this.#disagree('wrong-total', `the entries up to here sum to more than the ${formatDecimal(BigInt(header.paid))} of the header`)
    const upTo = header.settlement ? BigInt(header.settlement.fee) * this.#paid / BigInt(header.paid) : 0n
    const share = upTo - this.#feeGiven
    this.#feeGiven = upTo
    const fee = BigInt(e.fee ?? '0')
    if (fee !== share) this.#disagree('wrong-fee', `commitment ${e.commitment}: its share of the fee is ${formatDecimal(share)}, not ${formatDecimal(fee)}`)
    this.report.cumulative += cumulative
    if (!fitsTotal(this.report.cumulative)) this.#disagree('wrong-total', 'the sum of all that was paid does not fit in 64 bits')
  }

  async #readProof(header: StatementHeader): Promise<void> {
    const { value: proof } = await this.#next('proof', isProof)
    const leaf = this.#sum.digest()
    this.report.leaf = toBase64url(leaf)
    if (!(await this.#lines.next()).done) this.#disagree('incomplete-file', 'the file goes on after the proof')
    if (proof.day !== undefined) await this.#checkDay(header, proof, proof.day, leaf)
    else if (this.#checks.dayKeys) this.#disagree('unsigned-day', 'the broker signed no day for this statement')
  }

  async #checkDay(header: StatementHeader, proof: StatementProof, token: string, leaf: Uint8Array): Promise<void> {
    const read = readDay(token)
    if (typeof read === 'string') this.#disagree('bad-day', read)
    const { day, keyId } = read
    if (this.#checks.dayKeys) {
      const key = this.#checks.dayKeys.get(keyId)
      if (key === undefined) this.#disagree('unknown-day-key', `day ${day.number} is signed by key ${keyId}, which is not among the keys given`)
      if (!await read.isSignedBy(key)) this.#disagree('bad-day', 'the signature over the day is wrong')
    }
    if (day.iss !== header.issuer || day.run !== header.run || day.periodEnd !== header.periodEnd || day.currency !== header.currency || day.leaves !== proof.leaves) {
      this.#disagree('bad-day', `day ${day.number} is of run ${day.run} with ${day.leaves} statements, not the one of this statement`)
    }
    if (!isIncluded(proof, leaf, fromBase64url(day.root))) this.#disagree('wrong-proof', "the path does not lead from this statement to the day's root")
    this.report.day = day
    if (this.#checks.dayKeys) this.report.dayKey = keyId
  }
}
