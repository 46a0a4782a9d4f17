import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { currencyCode, formatDecimal } from '../amount.js'
import type { Limit } from '../budget.js'
import { BudgetError, PaywordError } from '../errors.js'
import { MalformedError } from '../malformed.js'
import { FileStorage } from '../storage_file.js'
import { Wallet } from '../wallet.js'
import { balance, open, voucher } from './account.js'
import { UsageError, cut, didYouMean, parseArguments, type Arguments, type Flags, type Operands } from './arguments.js'
import { helpText, helpTopics } from './help.js'
import { history } from './history.js'
import { pay } from './pay.js'
import { Prompt, passphraseFromFile, type Terminal } from './prompt.js'
import { statement } from './statement.js'
import { version } from './version.js'
import { backup, restore } from './wallet_file.js'

/** What a command reads and writes. */
export interface Streams {
  stdin: Terminal
  stdout: NodeJS.WritableStream
  stderr: NodeJS.WritableStream
  environment: Readonly<Record<string, string | undefined>>
}

/** The exit statuses: those of the Go command. */
export const exitDone = 0
/** The command failed. */
export const exitFailed = 1
/** The command was called in a wrong way. */
export const exitUsage = 2

/** One call of a command. */
export interface Call {
  streams: Streams
  prompt: Prompt
  arguments: Arguments
  /** The wallet's file. */
  path: string
  isJSON: boolean
}

interface Command {
  flags: Flags
  operands: Operands
  /** Resolves with the exit status, or undefined for 0. */
  run(call: Call): Promise<number | undefined>
}

const everywhere: Flags = { wallet: 'value', json: 'switch' }

const commands: Readonly<Record<string, Command>> = {
  open: { flags: { encrypt: 'switch' }, operands: ['the origin of a BROKER'], run: open },
  balance: { flags: {}, operands: [], run: balance },
  voucher: { flags: {}, operands: ['CODE?'], run: voucher },
  pay: { flags: { 'max': 'value', 'budget': 'value', 'per-site': 'value', 'per-day': 'value', 'deposit': 'value', 'o': 'value' }, operands: ['a URL'], run: pay },
  history: { flags: { count: 'value' }, operands: [], run: history },
  statement: { flags: { 'keys': 'value', 'issuer': 'value', 'day-keys': 'value', 'vendor-keys': 'value' }, operands: ['FILE?'], run: statement },
  backup: { flags: { o: 'value' }, operands: [], run: backup },
  restore: { flags: { seed: 'switch', broker: 'value', encrypt: 'switch' }, operands: ['FILE?'], run: restore },
}

/** Whether these arguments ask for help: the word `help`, or a flag for it anywhere before `--`. */
function asksForHelp(given: readonly string[]): boolean {
  const end = given.indexOf('--')
  return given[0] === 'help' || given.slice(0, end < 0 ? given.length : end).some(one => ['-h', '-help', '--help'].includes(one))
}

/**
 * Runs `payword` with the arguments after the program's name, and resolves with
 * its exit status: 0 done, 1 failed, 2 wrong usage.
 */
export async function run(given: readonly string[], streams: Streams): Promise<number> {
  const [name = '', ...rest] = given
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  try {
    if (command && asksForHelp(rest)) streams.stdout.write(helpTopics[name] ?? '')
    else if (name === 'help' && Object.hasOwn(helpTopics, rest[0] ?? '')) streams.stdout.write(helpTopics[rest[0] ?? ''] ?? '')
    else if (asksForHelp(given)) streams.stdout.write(helpText)
    else if (name === 'version' || name === '--version') streams.stdout.write(`${version()}\n`)
    else if (command) return await call(command, rest, streams)
    else if (name === '') throw new UsageError('want a command, such as pay or balance')
    else throw new UsageError(`${cut(name)} is no command${didYouMean(name, Object.keys(commands))}`)
    return exitDone
  } catch (error) {
    if (error instanceof UsageError || error instanceof MalformedError) {
      streams.stderr.write(`payword: ${error.message}.\nTry payword ${command ? `${name} ` : ''}--help\n`)
      return exitUsage
    }
    streams.stderr.write(`payword: ${sentence(error)}\n`)
    return name === 'statement' ? exitUsage : exitFailed
  }
}

async function call(command: Command, given: readonly string[], streams: Streams): Promise<number> {
  const read = parseArguments(given, { ...everywhere, ...command.flags }, command.operands)
  const path = read.values.get('wallet') || streams.environment.PAYWORD_WALLET || join(homedir(), '.payword', 'wallet.json')
  return await command.run({ streams, prompt: new Prompt(streams), arguments: read, path, isJSON: read.switches.has('json') }) ?? exitDone
}

/** What went wrong, for people. */
function sentence(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error instanceof BudgetError) return overBudget(error)
  const cause = error.cause instanceof Error && !(error instanceof PaywordError) ? ` (${error.cause.message})` : ''
  return `${error.message}${cause}`
}

const limitFlags: Readonly<Partial<Record<Limit, string>>> = { perRequest: '--max', perSite: '--per-site', perDay: '--per-day', total: '--budget' }

/** In whole units, and with the flag that raises the limit, as people typed them. */
function overBudget({ vendor, limit, want, left, currency }: BudgetError): string {
  return `paying ${vendor}: over the budget of ${limitFlags[limit] ?? limit}: it takes ${formatDecimal(want)} ${currencyCode(currency)}, ${formatDecimal(left)} are left`
}

/** Options of a wallet in the call's file. */
export function walletOptions(one: Call): { storage: FileStorage } {
  return { storage: new FileStorage(one.path) }
}

/** Makes the folder of the wallet's file, which only its owner can read. */
export function makeFolder(one: Call): void {
  mkdirSync(dirname(one.path), { recursive: true, mode: 0o700 })
}

/** Opens the wallet, asking for the passphrase if it needs one; undefined if there is no wallet. */
export async function findWallet(one: Call): Promise<Wallet | undefined> {
  const passphrase = passphraseFromFile(one.streams.environment)
  try {
    return await Wallet.open(walletOptions(one), passphrase === undefined ? {} : { passphrase })
  } catch (error) {
    if (!(error instanceof PaywordError) || error.kind !== 'passphrase' || passphrase !== undefined) throw error
    const typed = await one.prompt.secret('Passphrase: ', 'the wallet needs a passphrase: name a file that holds it in PAYWORD_PASSPHRASE_FILE')
    return Wallet.open(walletOptions(one), { passphrase: typed })
  }
}

/** Opens the wallet for `use` and gives it free afterwards. */
export async function withWallet<T>(one: Call, use: (wallet: Wallet) => Promise<T>): Promise<T> {
  const wallet = await findWallet(one)
  if (!wallet) throw new Error(`there is no wallet at ${one.path}: make one with payword open BROKER, or name another with --wallet`)
  try {
    return await use(wallet)
  } finally {
    await wallet.close()
  }
}

/** Writes a value as JSON, amounts as strings of micros. */
export function writeJSON(to: NodeJS.WritableStream, value: unknown): void {
  to.write(`${JSON.stringify(value, (_, member: unknown) => typeof member === 'bigint' ? member.toString() : member)}\n`)
}

/** Writes rows whose first cells are as wide as the widest. */
export function writeTable(to: NodeJS.WritableStream, rows: readonly (readonly string[])[]): void {
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, k) => { widths[k] = Math.max(widths[k] ?? 0, cell.length) })
  for (const row of rows) to.write(`${row.map((cell, k) => k < row.length - 1 ? cell.padEnd((widths[k] ?? 0) + 2) : cell).join('')}\n`)
}

/** A moment for people. */
export function moment(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000', '')
}
