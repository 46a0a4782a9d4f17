import { checkAccount } from '../../src/account_check.js'
import type { Wallet } from '../../src/wallet.js'
import type { StatementView } from './messages.js'

/**
 * Has the broker tell what was paid from the account, and checks it by hashing.
 * What does not add up in the account as a whole stands in `problems`.
 */
export async function checkStatement(wallet: Wallet): Promise<StatementView> {
  const check = await checkAccount(wallet)
  return {
    account: check.account, broker: check.broker, at: check.at, currency: check.currency,
    cameIn: String(check.cameIn), paid: String(check.paid), ...check.problems.length > 0 && { problems: check.problems },
    commitments: check.commitments.map(({ commitment, vendor, paid, hashes, problem }) => ({
      commitment, vendor, paid: String(paid), hashes, ...problem !== undefined && { problem },
    })),
  }
}
