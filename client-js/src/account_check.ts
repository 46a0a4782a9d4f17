import { checkExport, type ExportCheck } from './account_export.js'
import { PaywordError } from './errors.js'
import type { Wallet } from './wallet.js'

/**
 * Asks the broker for all that it keeps of a wallet's account, and checks it by
 * hashing against what the wallet signed: see {@link checkExport}. The broker
 * gives an account two exports in a minute.
 *
 * @throws {@link PaywordError} of kind `account` or `broker`
 */
export async function checkAccount(wallet: Wallet): Promise<ExportCheck> {
  const summary = await wallet.summary()
  if (summary.account === undefined || summary.broker === undefined) {
    throw new PaywordError('account', 'the wallet has no account at a broker yet')
  }
  // Asked before what is compared with it: what is released meanwhile is in both.
  const text = await wallet.askText('GET', '/v1/account/export')
  const { keyIds, released } = await wallet.signed()
  return checkExport(text, { broker: summary.broker, account: summary.account, keyIds, released })
}
