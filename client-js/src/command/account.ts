import { currencyCode, formatDecimal } from '../amount.js'
import type { Account } from '../account.js'
import { MalformedError } from '../malformed.js'
import { checkOrigin } from '../origin.js'
import { Wallet } from '../wallet.js'
import { UsageError } from './arguments.js'
import { findWallet, makeFolder, walletOptions, withWallet, writeJSON, writeTable, type Call } from './command.js'
import { newPassphrase, passphraseFromFile } from './prompt.js'

function tellAccount(one: Call, broker: string, account: Account): void {
  if (one.isJSON) {
    writeJSON(one.streams.stdout, { broker, ...account })
    return
  }
  const code = currencyCode(account.currency)
  const rows = [
    ['Account', `${account.account} at ${broker}${account.state === 'open' ? '' : `, ${account.state}`}`],
    ['Available', `${formatDecimal(account.available)} ${code}`],
    ['Reserved', `${formatDecimal(account.reserved)} ${code}`],
  ]
  if (account.credit > 0n) rows.push(['Credit line', `${formatDecimal(account.credit)} ${code}, of what is available`])
  writeTable(one.streams.stdout, rows)
}

/** The passphrase of a wallet that is to be made; undefined: its seed is in clear. */
export async function passphraseForNew(one: Call): Promise<string | undefined> {
  const passphrase = passphraseFromFile(one.streams.environment)
  if (passphrase !== undefined || !one.arguments.switches.has('encrypt')) return passphrase
  return newPassphrase(one.prompt)
}

/** How the seed of a new wallet is kept, for people. */
export function protectionOf(passphrase: string | undefined): string {
  return passphrase === undefined ? 'its seed is in clear, so keep the file to yourself' : 'its seed is encrypted'
}

/** `payword open BROKER` */
export async function open(one: Call): Promise<undefined> {
  const [broker = ''] = one.arguments.operands
  try {
    checkOrigin(broker)
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    throw new UsageError(`BROKER: ${error.message}`)
  }
  let wallet = await findWallet(one)
  if (!wallet) {
    const passphrase = await passphraseForNew(one)
    makeFolder(one)
    wallet = await Wallet.create(walletOptions(one), passphrase === undefined ? {} : { passphrase })
    one.streams.stderr.write(`Created wallet ${one.path}; ${protectionOf(passphrase)}.\n`)
  }
  try {
    tellAccount(one, broker, await wallet.openAccount(broker))
  } finally {
    await wallet.close()
  }
}

/** `payword balance` */
export async function balance(one: Call): Promise<undefined> {
  await withWallet(one, async wallet => {
    const account = await wallet.balance()
    tellAccount(one, (await wallet.account())?.broker ?? '', account)
  })
}

/** `payword voucher` */
export async function voucher(one: Call): Promise<undefined> {
  if (one.arguments.operands[0] !== '') {
    throw new UsageError("a voucher's code is worth money, and others on this machine can see arguments: type it when it is asked for, or pipe it in")
  }
  await withWallet(one, async wallet => {
    const code = await one.prompt.line('Voucher code: ')
    if (code === '') throw new Error('no code came on standard input: type it, or pipe it in')
    const redeemed = await wallet.redeemVoucher(code)
    if (one.isJSON) return writeJSON(one.streams.stdout, redeemed)
    const currency = currencyCode(redeemed.account.currency)
    one.streams.stdout.write(`The voucher was worth ${formatDecimal(redeemed.amount)} ${currency}; ` +
      `${formatDecimal(redeemed.account.available)} ${currency} are available now.\n`)
  })
}
