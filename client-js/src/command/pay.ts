import { createWriteStream, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { currencyCode, formatDecimal, maxMicros, type Currency, type Micros } from '../amount.js'
import type { Budget } from '../budget.js'
import type { Receipt } from '../payer.js'
import { payFetch } from '../payfetch.js'
import { UsageError, cut, readLimit, type Arguments } from './arguments.js'
import { withWallet, writeJSON, type Call } from './command.js'

/** The limits unless flags say otherwise, in micros. */
const defaultMax = 10_000n
const defaultBudget = 1_000_000n
const defaultDeposit = 500_000n

/** What pay tells of a page, as JSON. */
interface Report {
  url: string
  status: number
  /** In micros. */
  paid: Micros
  currency?: Currency
  receipts: Receipt[]
}

function readURL(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || url.protocol !== 'https:' && url.protocol !== 'http:' || url.host === '') throw new UsageError(`${cut(text)}: want a URL that begins with https://`)
  if (url.username !== '' || url.password !== '') throw new UsageError('want a URL without a user name and password')
  return url
}

function readBudget(read: Arguments): Budget {
  return {
    perRequest: readLimit(read, 'max', defaultMax), perSite: readLimit(read, 'per-site', maxMicros),
    perDay: readLimit(read, 'per-day', maxMicros), total: readLimit(read, 'budget', defaultBudget),
  }
}

// Looked at before anything is paid.
function checkFile(path: string | undefined): void {
  if (path === undefined) return
  const kind = (name: string): string => {
    const found = statSync(name, { throwIfNoEntry: false })
    return found === undefined ? 'nothing' : found.isDirectory() ? 'a folder' : 'a file'
  }
  if (kind(dirname(path)) !== 'a folder') throw new UsageError(`-o ${cut(path)}: there is no folder ${cut(dirname(path))}`)
  if (kind(path) === 'a folder') throw new UsageError(`-o ${cut(path)}: want the name of a file, this is a folder`)
}

/** `payword pay URL` */
export async function pay(one: Call): Promise<undefined> {
  const url = readURL(one.arguments.operands[0] ?? '')
  checkFile(one.arguments.values.get('o'))
  const [budget, deposit] = [readBudget(one.arguments), readLimit(one.arguments, 'deposit', defaultDeposit)]
  await withWallet(one, async wallet => {
    const report: Report = { url: `${url.origin}${url.pathname}${url.search}`, status: 0, paid: 0n, receipts: [] }
    const onReceipt = (receipt: Receipt): void => {
      report.receipts.push(receipt)
      report.paid += receipt.amount - (receipt.returned ?? 0n)
      report.currency = receipt.currency
    }
    const fetchPaid = payFetch({ payer: wallet, budget, deposit, onReceipt })
    const answer = await fetchPaid(url, { headers: { 'User-Agent': 'payword' } })
    report.status = answer.status
    try {
      await writePage(one, answer)
    } finally {
      tell(one, report)
    }
    if (!answer.ok) throw new Error(`the answer is ${answer.status} ${answer.statusText}`.trimEnd())
  })
}

/** Copies a page to standard output or to a file. */
async function writePage(one: Call, answer: Response): Promise<void> {
  const path = one.arguments.values.get('o')
  const page = answer.body ? Readable.fromWeb(answer.body as import('node:stream/web').ReadableStream) : Readable.from([])
  if (path === undefined) await pipeline(page, one.streams.stdout, { end: false })
  else await pipeline(page, createWriteStream(path))
}

function tell(one: Call, report: Report): void {
  const { stderr } = one.streams
  if (one.isJSON) return writeJSON(stderr, report)
  if (report.receipts.length === 0) {
    stderr.write(report.status >= 200 && report.status < 300 ? 'Paid nothing: the page is free.\n' : 'Paid nothing.\n')
    return
  }
  // A stream is paid piece by piece: one line says what a vendor got in all.
  const paid = new Map<string, Micros>()
  for (const { vendor, amount, returned } of report.receipts) paid.set(vendor, (paid.get(vendor) ?? 0n) + amount - (returned ?? 0n))
  for (const [vendor, amount] of paid) {
    if (amount === 0n) stderr.write(`Paid nothing to ${vendor}: the page is free, or was paid for before.\n`)
    else stderr.write(`Paid ${formatDecimal(amount)} ${currencyCode(report.currency ?? '')} to ${vendor}.\n`)
  }
}
