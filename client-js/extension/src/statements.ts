import { PaywordError } from '../../src/errors.js'
import type { Wallet } from '../../src/wallet.js'
import type { StatementView } from './messages.js'

/** Has the broker tell what was paid from the account, and checks it by hashing. */
export async function checkStatement(_wallet: Wallet): Promise<StatementView> {
  throw new PaywordError('usage', 'not written yet')
}
