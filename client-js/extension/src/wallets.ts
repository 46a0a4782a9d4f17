import { PaywordError } from '../../src/errors.js'
import { IndexedDbStorage } from '../../src/storage_indexeddb.js'
import { Wallet } from '../../src/wallet.js'
import type { WalletOptions } from '../../src/wallet.js'

let opened: Promise<Wallet | undefined> | undefined

/** What every wallet of the extension is opened with. Its database is the extension's own: no page and no content script reaches it. */
export function walletOptions(): WalletOptions {
  return { storage: new IndexedDbStorage() }
}

/** The wallet of this browser, opened once in a worker's life; undefined if there is none yet. */
export function findWallet(): Promise<Wallet | undefined> {
  opened ??= Wallet.open(walletOptions()).then(wallet => {
    if (wallet === undefined) opened = undefined
    return wallet
  }, (error: unknown) => {
    opened = undefined
    throw error
  })
  return opened
}

/** The wallet of this browser. Rejects with an `account` error if there is none yet. */
export async function theWallet(): Promise<Wallet> {
  const wallet = await findWallet()
  if (wallet === undefined) throw new PaywordError('account', 'there is no account yet: open one at a broker first')
  return wallet
}

/** Has the next who asks open it anew: after it was made, or removed. */
export function forgetWallet(): void {
  opened = undefined
}
