import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { PaywordError } from '../errors.js'
import { MalformedError } from '../malformed.js'
import { checkOrigin } from '../origin.js'
import { Wallet } from '../wallet.js'
import { passphraseForNew, protectionOf } from './account.js'
import { UsageError } from './arguments.js'
import { makeFolder, walletOptions, withWallet, type Call } from './command.js'
import { passphraseFromFile } from './prompt.js'

/** `payword backup` */
export async function backup(one: Call): Promise<undefined> {
  await withWallet(one, async wallet => {
    const text = await wallet.backup()
    const { isSealed } = await wallet.summary()
    const path = one.arguments.values.get('o')
    if (path === undefined) one.streams.stdout.write(text)
    else writeNew(path, text)
    one.streams.stderr.write(isSealed ? 'The seed in it is encrypted with the passphrase of the wallet.\n'
      : 'The seed in it is in clear: keep it like money, whoever has it has the account.\n')
  })
}

/** Writes a file that only its owner can read. A file that is there is not replaced: it may be an older backup. */
function writeNew(path: string, text: string): void {
  const file = openSync(path, 'wx', 0o600)
  try {
    writeSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** `payword restore` */
export async function restore(one: Call): Promise<undefined> {
  const [path = ''] = one.arguments.operands
  const isSeed = one.arguments.switches.has('seed')
  const broker = one.arguments.values.get('broker')
  if ((path === '') !== isSeed) throw new UsageError('want either a FILE, or --seed with --broker ORIGIN')
  if (isSeed !== (broker !== undefined)) throw new UsageError('--broker ORIGIN goes with --seed: a backup says it itself')
  const wallet = broker === undefined ? await fromFile(one, path) : await fromSeed(one, broker)
  try {
    const summary = await wallet.summary()
    one.streams.stdout.write(`Restored wallet ${one.path} with ${summary.account === undefined ? 'no account' : `the account ${summary.account}`} and ${summary.sites.length} sites.\n`)
  } finally {
    await wallet.close()
  }
}

async function fromFile(one: Call, path: string): Promise<Wallet> {
  const text = readFileSync(path, 'utf8')
  makeFolder(one)
  const passphrase = passphraseFromFile(one.streams.environment)
  try {
    return await Wallet.restore(walletOptions(one), text, passphrase === undefined ? {} : { passphrase })
  } catch (error) {
    if (!(error instanceof PaywordError) || error.kind !== 'passphrase' || passphrase !== undefined) throw error
    const typed = await one.prompt.secret('Passphrase: ', 'the backup needs a passphrase: name a file that holds it in PAYWORD_PASSPHRASE_FILE')
    return Wallet.restore(walletOptions(one), text, { passphrase: typed })
  }
}

async function fromSeed(one: Call, broker: string): Promise<Wallet> {
  try {
    checkOrigin(broker)
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    throw new UsageError(`--broker: ${error.message}`)
  }
  const seed = one.streams.stdin.isTTY ? await one.prompt.secret('Seed: ', 'the seed has to be typed or piped in') : await one.prompt.line('Seed: ')
  if (seed === '') throw new Error('no seed came on standard input: type it, or pipe it in')
  const passphrase = await passphraseForNew(one)
  makeFolder(one)
  const wallet = await Wallet.restoreSeed(walletOptions(one), { seed, broker, ...passphrase === undefined ? {} : { passphrase } })
  one.streams.stderr.write(`In the new wallet, ${protectionOf(passphrase)}.\n`)
  return wallet
}
