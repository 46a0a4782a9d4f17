import { currencyCode, formatDecimal, isAmount, type Currency, type Micros } from './amount.js'
import type { ClaimedTail } from './claim.js'
import { unverifiedCommitment, type Commitment } from './commitment.js'
import { isBase64url } from './encoding.js'
import { PaywordError } from './errors.js'
import { isSignedBy, splitJws } from './jws.js'
import { thumbprint } from './keys.js'
import { maxCommitmentBytes, paywordBytes } from './limits.js'
import { Refusal } from './reason.js'
import { judgeClaim, newRedeemed, valueOf } from './redemption.js'

// Checks what a broker says of an account (GET /v1/account/export, docs/broker.md)
// against what its owner signed. The broker can make up none of the paywords, and
// no signature; so a payment that the owner did not make shows here.

/** How much of an export is read: hundreds of thousands of payments. */
const maxExportCharacters = 64 << 20

/** How long is worked before others get a turn, in milliseconds. */
const turnMs = 12

/** What the wallet knows by itself. */
export interface ExportKnowledge {
  /** The broker's origin. */
  broker: string
  /** The account's id there. */
  account: string
  /** The thumbprints of the keys that this wallet signs commitments with, all that it ever derived. */
  keyIds: ReadonlySet<string>
  /** What the wallet remembers to have released at most, by the commitment's id: the index of each chain. */
  released?: ReadonlyMap<string, readonly number[]>
  /** Is told now and then how many commitments are done, of how many. */
  progress?: (done: number, all: number) => void
}

/** What was found of one commitment. Amounts are micros. */
export interface CommitmentCheck {
  commitment: string
  vendor: string
  /** To the vendor, ever. */
  paid: Micros
  /** That the tails prove, within the commitment's limit. */
  proved: Micros
  /** Steps that were hashed from the broker's tails to the roots that were signed. */
  hashes: number
  /** Whether a key of this wallet signed it; else one of another device of the account did. */
  isOwn: boolean
  /** One sentence; undefined if all of it agrees. */
  problem: string | undefined
}

/** What an export was found to say and to prove. Amounts are micros. */
export interface ExportCheck {
  broker: string
  account: string
  currency: Currency
  /** When the balances were read, seconds since 1970. */
  at: number
  /** From outside: fundings, vouchers, transfers from the parent. */
  cameIn: Micros
  /** To vendors, for paywords. */
  paid: Micros
  /** Elsewhere: payouts, refunds, transfers to sub-accounts. */
  wentOut: Micros
  available: Micros
  reserved: Micros
  /** Taken back after it was spent. */
  owed: Micros
  commitments: CommitmentCheck[]
  /** Sentences on what does not add up. Empty, and no problem at a commitment: all of it agrees. */
  problems: string[]
}

interface ExportedTail { chain: number, index: number, payword: string }
interface ExportedCommitment { id: string, vendor: string, commitment: string, paid: string, tails: ExportedTail[] }
interface ExportedEntry { ledgerAccount: string, time: number, phase: string, kind: string, reference: string, other: string, credit?: string, debit?: string }
interface List<T> { asOf: number, items: T[] }
interface Export {
  broker: string
  currency: string
  account: { account: { account: string } }
  devices: List<{ device: string }>
  commitments: List<ExportedCommitment>
  balances: List<{ ledgerAccount: string, balance: string }>
  entries: List<ExportedEntry>
}

/**
 * Reads the broker's export of an account and checks it by hashing: each
 * commitment is signed by the wallet (or by another device of the account), each
 * tail leads to the root that was signed and is no deeper than what the wallet
 * released, what was paid is at most what the tails prove, and the sums of the
 * account add up: what came in is what was paid, went out, is reserved and is there.
 *
 * It cannot show that a vendor claimed as much as the broker says, since the keys
 * of vendors are not in it; that is what statements are for (docs/statements.md).
 *
 * @throws {@link PaywordError} of kind `broker` if the text is no export, or is of another account.
 */
export async function checkExport(text: string, own: ExportKnowledge): Promise<ExportCheck> {
  const document = readExport(text, own)
  const check: ExportCheck = {
    broker: document.broker, account: own.account, currency: document.currency, at: document.balances.asOf,
    cameIn: 0n, paid: 0n, wentOut: 0n, available: 0n, reserved: 0n, owed: 0n, commitments: [], problems: [],
  }
  const redeemed = sumUp(document, check)
  const otherDevices = document.devices.items.length > 1
  let turn = Date.now()
  const seen = new Set<string>()
  for (const [k, exported] of document.commitments.items.entries()) {
    if (Date.now() - turn > turnMs) {
      own.progress?.(k, document.commitments.items.length)
      await new Promise(resolve => setTimeout(resolve))
      turn = Date.now()
    }
    const found = await checkCommitment(exported, document.currency, own, otherDevices)
    found.problem ??= seen.has(found.commitment) ? 'it stands twice' : checkRedeemed(found, redeemed.get(found.commitment), document.commitments.asOf)
    seen.add(found.commitment)
    check.commitments.push(found)
  }
  for (const [id, sums] of redeemed) {
    // What was paid first while the export was written may stand in the entries alone.
    if (!seen.has(id) && sums.before > 0n) check.problems.push(`commitment ${id}: ${formatDecimal(sums.before)} was paid on it, and it is not among the commitments`)
  }
  return check
}

/** Whether all of an export agrees. */
export function isExportSound(check: ExportCheck): boolean {
  return check.problems.length === 0 && check.commitments.every(found => found.problem === undefined)
}

function readExport(text: string, own: ExportKnowledge): Export {
  const refuse = (what: string): never => {
    throw new PaywordError('broker', `broker ${own.broker}: the export of the account cannot be checked: ${what}`)
  }
  if (text.length > maxExportCharacters) refuse(`it has more than ${maxExportCharacters} characters`)
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch {
    refuse('it is no JSON, as when the broker broke it off: ask again')
  }
  if (!isExport(document)) return refuse('a member is missing or has the wrong form')
  if (document.broker !== own.broker || document.account.account.account !== own.account) refuse('it is of another account')
  return document
}

const isObject = (value: unknown): value is Record<string, unknown> => value !== null && typeof value === 'object'
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const isMicros = (value: unknown): boolean => typeof value === 'string' && /^[0-9]{1,19}$/.test(value)
const areTexts = (...values: unknown[]): boolean => values.every(value => typeof value === 'string')
const isList = (value: unknown, isItem: (item: Record<string, unknown>) => boolean): boolean =>
  isObject(value) && isCount(value.asOf) && Array.isArray(value.items) && value.items.every(item => isObject(item) && isItem(item))

function isExport(value: unknown): value is Export {
  return isObject(value) && areTexts(value.broker) && typeof value.currency === 'string' && /^[a-z]{3}-micro$/.test(value.currency) &&
    isObject(value.account) && isObject(value.account.account) && areTexts(value.account.account.account) &&
    isList(value.devices, device => areTexts(device.device)) && isList(value.commitments, isExportedCommitment) &&
    isList(value.balances, balance => areTexts(balance.ledgerAccount) && typeof balance.balance === 'string' && /^-?[0-9]{1,19}$/.test(balance.balance)) &&
    isList(value.entries, isExportedEntry)
}

const isExportedCommitment = (c: Record<string, unknown>): boolean => areTexts(c.id, c.vendor, c.commitment) && isMicros(c.paid) &&
  Array.isArray(c.tails) && c.tails.every(tail => isObject(tail) && isCount(tail.chain) && isCount(tail.index) && areTexts(tail.payword))

const isExportedEntry = (e: Record<string, unknown>): boolean => areTexts(e.ledgerAccount, e.phase, e.kind, e.reference, e.other) && isCount(e.time) &&
  (e.credit === undefined || isMicros(e.credit)) && (e.debit === undefined || isMicros(e.debit))

async function checkCommitment(exported: ExportedCommitment, currency: Currency, own: ExportKnowledge, otherDevices: boolean): Promise<CommitmentCheck> {
  const found: CommitmentCheck = { commitment: exported.id, vendor: exported.vendor, paid: BigInt(exported.paid), proved: 0n, hashes: 0, isOwn: false, problem: undefined }
  found.problem = await problemOf(exported, currency, own, otherDevices, found)
  return found
}

async function problemOf(exported: ExportedCommitment, currency: Currency, own: ExportKnowledge, otherDevices: boolean, found: CommitmentCheck): Promise<string | undefined> {
  let m: Commitment
  try {
    m = unverifiedCommitment(exported.commitment)
    found.isOwn = own.keyIds.has(thumbprint(m.certificate.key))
    const object = splitJws(exported.commitment, 'payword-commitment+jwt', maxCommitmentBytes)
    if (!await isSignedBy(object, m.certificate.key)) return 'the signature over it is wrong'
  } catch (error) {
    if (!(error instanceof PaywordError)) throw error
    return `it cannot be read: ${error.message}`
  }
  if (!found.isOwn && !otherDevices) return 'no key of this wallet signed it, and the account has no other device'
  if (m.id !== exported.id) return 'its id is not the one of what was signed'
  if (m.vendor !== exported.vendor) return `it was signed for ${m.vendor}, and the broker names ${exported.vendor}`
  if (m.certificate.issuer !== own.broker) return `its certificate is by ${m.certificate.issuer}`
  if (m.currency !== currency) return `it is in ${currencyCode(m.currency)}, and the account in ${currencyCode(currency)}`
  return tailProblem(exported, m, own.released?.get(m.id), found)
}

/** Hashes from the broker's tails to the roots. */
function tailProblem(exported: ExportedCommitment, m: Commitment, released: readonly number[] | undefined, found: CommitmentCheck): string | undefined {
  const tails: ClaimedTail[] = m.chains.map(() => ({ index: 0 }))
  for (const { chain, index, payword } of exported.tails) {
    if (tails[chain]?.index !== 0 || index < 1 || !isBase64url(payword, paywordBytes)) return 'a tail is of no chain of it, stands twice, or is no payword'
    if (released && index > (released[chain] ?? 0)) return `the broker holds step ${index} of chain ${chain}, and this wallet released ${released[chain] ?? 0}`
    tails[chain] = { index, payword }
    found.hashes += Math.min(index, m.chains[chain]?.length ?? 0)
  }
  const claim = { commitment: m.id, vendor: m.vendor, broker: m.certificate.issuer, amount: 0n, tails }
  const judged = judgeClaim(m, newRedeemed(m), claim, m.limit)
  if (judged instanceof Refusal) return `${judged.detail} (${judged.reason})`
  found.proved = valueOf(m.chains, judged.after.tails, m.limit)
  return found.paid > found.proved ? `${formatDecimal(found.paid)} was paid, and the paywords prove ${formatDecimal(found.proved)}` : undefined
}

/** What the entries say was paid on one commitment, in micros: before a moment, and in all. */
interface Redemptions { before: Micros, all: Micros }

function checkRedeemed(found: CommitmentCheck, sums: Redemptions | undefined, asOf: number): string | undefined {
  const { before, all } = sums ?? { before: 0n, all: 0n }
  // The entries are read after the commitments; what was paid between stands in them alone.
  if (found.paid >= before && found.paid <= all) return undefined
  return `${formatDecimal(found.paid)} was paid, and the account's entries say ${formatDecimal(all)}, ${formatDecimal(before)} of it before second ${asOf}`
}

/** Adds the entries up, and compares them with the balances. Returns what was paid by commitment. */
function sumUp(document: Export, check: ExportCheck): Map<string, Redemptions> {
  const user = `user:${check.account}:`
  const sums = new Map<string, Micros>()
  const redeemed = new Map<string, Redemptions>()
  for (const e of document.entries.items) {
    const [credit, debit] = [BigInt(e.credit ?? '0'), BigInt(e.debit ?? '0')]
    if (!e.ledgerAccount.startsWith(user)) check.problems.push(`an entry is of ${e.ledgerAccount}, which is not this account's`)
    if (!isAmount(credit) || !isAmount(debit) || (credit > 0n) === (debit > 0n)) check.problems.push(`an entry of kind ${e.kind} moves no amount`)
    if (e.phase !== 'single' && e.phase !== 'post') continue
    sums.set(e.ledgerAccount, (sums.get(e.ledgerAccount) ?? 0n) + credit - debit)
    if (e.other.startsWith(user)) continue // between its own parts
    if (e.kind === 'redeem') {
      check.paid += debit - credit
      const known = redeemed.get(e.reference) ?? { before: 0n, all: 0n }
      known.all += debit - credit
      if (e.time < document.commitments.asOf) known.before += debit - credit
      redeemed.set(e.reference, known)
    } else {
      check.cameIn += credit
      check.wentOut += debit
    }
  }
  checkBalances(document, check, sums)
  return redeemed
}

function checkBalances(document: Export, check: ExportCheck, sums: Map<string, Micros>): void {
  const user = `user:${check.account}:`
  const parts = new Map<string, Micros>()
  for (const { ledgerAccount, balance } of document.balances.items) {
    const sum = sums.get(ledgerAccount) ?? 0n
    if (parts.has(ledgerAccount)) check.problems.push(`the balance of ${ledgerAccount} stands twice`)
    parts.set(ledgerAccount, BigInt(balance))
    if (sum !== BigInt(balance)) check.problems.push(`the entries of ${ledgerAccount} sum to ${formatDecimal(sum)}, and its balance is ${formatDecimal(BigInt(balance))}`)
  }
  for (const [ledgerAccount, sum] of sums) {
    if (sum !== 0n && !parts.has(ledgerAccount)) check.problems.push(`the entries of ${ledgerAccount} sum to ${formatDecimal(sum)}, and it has no balance`)
  }
  check.available = parts.get(`${user}available`) ?? 0n
  check.reserved = parts.get(`${user}reserved`) ?? 0n
  check.owed = -(parts.get(`${user}owed`) ?? 0n)
  const there = [...parts.values()].reduce((sum, balance) => sum + balance, 0n)
  if (check.cameIn !== check.paid + check.wentOut + there) {
    check.problems.push(`${formatDecimal(check.cameIn)} came in, and ${formatDecimal(check.paid)} paid, ${formatDecimal(check.wentOut)} gone out and ${formatDecimal(there)} there are something else`)
  }
}
