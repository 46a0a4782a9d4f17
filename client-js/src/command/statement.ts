import { createReadStream, readFileSync } from 'node:fs'
import { currencyCode, formatDecimal, type Micros } from '../amount.js'
import { isExportSound, type ExportCheck } from '../account_export.js'
import { checkAccount } from '../account_check.js'
import type { Base64url } from '../encoding.js'
import { parseJWKS } from '../keys.js'
import { MalformedError } from '../malformed.js'
import { verifyStatement, type StatementChecks, type StatementReport, type StatementResult } from '../statement_verify.js'
import { UsageError } from './arguments.js'
import { exitDone, exitFailed, moment, withWallet, writeJSON, writeTable, type Call } from './command.js'

/** `payword statement` */
export async function statement(one: Call): Promise<number> {
  const [path = ''] = one.arguments.operands
  if (path !== '') return statementFile(one, path)
  const flag = ['keys', 'issuer', 'day-keys', 'vendor-keys'].find(name => one.arguments.values.has(name))
  if (flag !== undefined) throw new UsageError(`--${flag} is for the FILE of a statement, and none is named`)
  const check = await withWallet(one, checkAccount)
  if (one.isJSON) writeJSON(one.streams.stdout, { ...check, isSound: isExportSound(check) })
  else tellExport(one, check)
  return isExportSound(check) ? exitDone : exitFailed
}

function tellExport(one: Call, check: ExportCheck): void {
  const code = currencyCode(check.currency)
  const amount = (micros: Micros): string => `${formatDecimal(micros)} ${code}`
  const rows = [
    ['Account', `${check.account} at ${check.broker}, as of ${moment(check.at)}`],
    ['Came in', amount(check.cameIn)], ['Paid', `${amount(check.paid)} on ${check.commitments.length} commitment${check.commitments.length === 1 ? '' : 's'}`],
    ['Went out', amount(check.wentOut)], ['Reserved', amount(check.reserved)], ['Available', amount(check.available)],
  ]
  if (check.owed > 0n) rows.push(['Owed', amount(check.owed)])
  rows.push(['Chains', `${check.commitments.reduce((sum, found) => sum + found.hashes, 0)} steps hashed from the broker's tails to the roots that were signed`])
  const others = check.commitments.filter(found => !found.isOwn).length
  if (others > 0) rows.push(['Devices', `${others} commitments were signed by other devices of the account`])
  writeTable(one.streams.stdout, rows)
  for (const problem of check.problems) one.streams.stdout.write(`\nNOT RIGHT: ${problem}.\n`)
  for (const found of check.commitments) {
    if (found.problem !== undefined) one.streams.stdout.write(`\nNOT RIGHT: commitment ${found.commitment} to ${found.vendor}: ${found.problem}.\n`)
  }
  if (isExportSound(check)) one.streams.stdout.write('\nAll of it agrees.\n')
}

function keysOf(one: Call, flag: string): ReadonlyMap<string, Base64url> | undefined {
  const path = one.arguments.values.get(flag)
  if (path === undefined) return undefined
  try {
    return parseJWKS(readFileSync(path, 'utf8'))
  } catch (error) {
    throw error instanceof MalformedError ? new Error(`--${flag} ${path}: ${error.message}`) : error
  }
}

async function statementFile(one: Call, path: string): Promise<number> {
  const keys = keysOf(one, 'keys')
  if (!keys) throw new UsageError("want --keys with the file of the broker's JWKS, which must not come with the statement")
  const [issuer, dayKeys, vendorKeys] = [one.arguments.values.get('issuer'), keysOf(one, 'day-keys'), keysOf(one, 'vendor-keys')]
  const checks: StatementChecks = { keys, ...issuer === undefined ? {} : { issuer }, ...dayKeys ? { dayKeys } : {}, ...vendorKeys ? { vendorKeys } : {} }
  const result = await verifyStatement(createReadStream(path), checks)
  if (one.isJSON) writeJSON(one.streams.stdout, resultJSON(result))
  else tellStatement(one, result)
  return result.disagreement ? exitFailed : exitDone
}

/** The result as `payword verify-statement --json` writes it. */
function resultJSON({ report, disagreement }: StatementResult): unknown {
  const { header, claimKeys, ...rest } = report
  const keys = Object.fromEntries([...claimKeys].map(([vendor, ids]) => [vendor, [...ids]]))
  return { ...header, ...rest, claimKeys: keys, agrees: disagreement === undefined, ...disagreement ? { disagreement } : {} }
}

function tellStatement(one: Call, { report, disagreement }: StatementResult): void {
  const { stdout } = one.streams
  const h = report.header
  if (h) {
    const rows = [[`Statement of ${h.kind}`, h.party], ['By', `${h.issuer}, run ${h.run}, period to ${h.periodEnd}`]]
    if (!disagreement) rows.push(...provenRows(report))
    writeTable(stdout, rows)
  }
  if (disagreement) stdout.write(`\nNOT RIGHT: line ${disagreement.line}: ${disagreement.detail} (${disagreement.word}).\nNothing after that line was checked.\n`)
  else stdout.write('\nAll of it agrees.\n')
}

function provenRows(report: StatementReport): string[][] {
  const h = report.header
  if (!h) return []
  const amount = (micros: string | Micros): string => `${formatDecimal(BigInt(micros))} ${currencyCode(h.currency)}`
  const rows = [
    ['Commitments', String(h.commitments)],
    ['Paid', `${amount(h.paid)} in this period, ${amount(report.cumulative)} on these commitments ever`],
    ['Chains', `${report.hashes} steps hashed from the tails to the roots`],
  ]
  if (h.settlement) {
    const s = h.settlement
    rows.push(['Settlement', `${amount(s.gross)} payable, less a fee of ${formatDecimal(BigInt(s.fee))} by rule ${s.feeRule}: ${formatDecimal(BigInt(s.payout))} paid out, ${formatDecimal(BigInt(s.carried))} carried`])
  }
  if (report.uncheckedClaims > 0) rows.push(['Claims', `${report.uncheckedClaims} could not be checked: the vendor withdrew their keys`])
  for (const [vendor, ids] of report.claimKeys) {
    for (const id of ids) rows.push(['Claims', `of ${vendor} signed by key ${id}: see that it is the vendor's`])
  }
  if (!report.day) rows.push(['Day', 'in no signed day: the broker may have shown others another statement'])
  else {
    const signed = report.dayKey === undefined ? 'whose signature was not checked: give --day-keys' : `signed by key ${report.dayKey}`
    rows.push(['Day', `${report.day.number} of this broker, with ${report.day.leaves} statements, root ${report.day.root}, ${signed}`])
  }
  return rows
}
