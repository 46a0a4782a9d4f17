import { PaywordError } from '../../src/errors.js'
import type { Account } from '../../src/account.js'
import { IndexedDbStorage } from '../../src/storage_indexeddb.js'
import type { Receipt } from '../../src/payer.js'
import type { Summary } from '../../src/summary.js'
import { Wallet } from '../../src/wallet.js'
import { showToday } from './badge.js'
import { exportReceipts } from './export.js'
import type { Balance, OwnerMessages, ReceiptView } from './messages.js'
import { overviewOf, spentPerDay } from './overview.js'
import { settingsStore } from './settings.js'
import { allow, revoke } from './sites.js'
import { checkStatement } from './statements.js'
import { stateStore } from './state.js'
import { payOnce, viewTab } from './tabs.js'
import { findWallet, forgetWallet, theWallet, walletOptions } from './wallets.js'

/** What answers each message of the extension's own pages. */
export type OwnerHandlers = { [M in keyof OwnerMessages]: (sent: OwnerMessages[M]['sent']) => Promise<OwnerMessages[M]['back']> }

/** The handlers. The sender was checked, and what was sent was read by its schema. */
export const ownerHandlers: OwnerHandlers = {
  overview,
  tab: ({ tabId }) => viewTab(tabId),
  async allow({ origin, limits, tabId }) {
    await allow(origin, limits, tabId)
    return {}
  },
  async payOnce({ tabId, url, price }) {
    await payOnce(tabId, url, BigInt(price))
    return {}
  },
  async changeSite({ origin, limits, isPaused }) {
    await settingsStore.update(({ sites }) => {
      const site = sites[origin]
      if (site === undefined) throw new PaywordError('usage', `${origin} is not among the sites that you allowed`)
      if (limits !== undefined) site.limits = limits
      if (isPaused !== undefined) site.isPaused = isPaused
    })
    return {}
  },
  async revoke({ origin }) {
    await revoke(origin)
    return {}
  },
  async setLimits({ limits }) {
    await settingsStore.update(settings => {
      settings.limits = limits
    })
    return {}
  },
  async pause({ isPaused }) {
    await settingsStore.update(settings => {
      settings.isPaused = isPaused
    })
    return {}
  },
  async receipts({ origin, skip, count }) {
    const all = receiptsOf(await summary(), origin)
    return { receipts: all.slice(skip, skip + count), total: all.length }
  },
  async days({ days }) {
    return { days: spentPerDay(await summary(), days, Date.now() / 1000) }
  },
  async export({ format }) {
    return exportReceipts(receiptsOf(await summary(), undefined), format, new Date().toISOString().slice(0, 10))
  },
  create,
  async backup() {
    const wallet = await theWallet()
    const { account } = await wallet.summary()
    return { name: `payword-backup-${account ?? 'wallet'}-${new Date().toISOString().slice(0, 10)}.json`, text: await wallet.backup() }
  },
  async restore({ text, passphrase }) {
    return finishMaking(await makeWallet(() => Wallet.restore(walletOptions(), text, { passphrase })))
  },
  async restoreSeed({ broker, seed, passphrase }) {
    checkPassphrase(passphrase)
    return finishMaking(await makeWallet(() => Wallet.restoreSeed(walletOptions(), { broker, seed, passphrase })))
  },
  remove,
  async balance() {
    return keepBalance(await (await theWallet()).balance())
  },
  async voucher({ code }) {
    return keepBalance((await (await theWallet()).redeemVoucher(code)).account)
  },
  async statement() {
    return checkStatement(await theWallet())
  },
}

async function summary(): Promise<Summary | undefined> {
  return (await findWallet())?.summary()
}

async function overview(): Promise<OwnerMessages['overview']['back']> {
  const [settings, found, { balance }] = await Promise.all([settingsStore.read(), summary(), stateStore.read()])
  return overviewOf(settings, found, balance)
}

/** Brings the badge up to date. */
export async function refreshBadge(): Promise<void> {
  const [settings, found] = await Promise.all([settingsStore.read(), summary()])
  const { notices } = overviewOf(settings, found, undefined)
  await showToday({ spentToday: found?.spentToday ?? 0n, currency: found?.currency ?? '', notices })
}

// Newest first.
function receiptsOf(found: Summary | undefined, origin: string | undefined): ReceiptView[] {
  const all = (found?.history ?? []).toReversed().map(receiptView)
  return origin === undefined ? all : all.filter(({ url, vendor }) => vendor === origin || url === origin || url.startsWith(`${origin}/`))
}

function receiptView({ time, url, vendor, amount, currency, returned }: Receipt): ReceiptView {
  return { time, url, vendor, amount: String(amount), currency, ...returned === undefined ? {} : { returned: String(returned) } }
}

async function keepBalance({ available, reserved, currency }: Account): Promise<Balance> {
  const balance = { available: String(available), reserved: String(reserved), currency, at: Math.floor(Date.now() / 1000) }
  await stateStore.update(state => {
    state.balance = balance
  })
  return balance
}

/** The shortest passphrase: it guards a file that others may get hold of. */
const minPassphrase = 8

function checkPassphrase(passphrase: string): void {
  if ([...passphrase].length < minPassphrase) throw new PaywordError('passphrase', `the passphrase is too short: choose at least ${minPassphrase} characters`)
}

async function create({ broker, passphrase }: OwnerMessages['create']['sent']): Promise<OwnerMessages['create']['back']> {
  checkPassphrase(passphrase)
  const wallet = await makeWallet(() => Wallet.create(walletOptions(), { passphrase }))
  const { account } = await wallet.openAccount(broker)
  return { account }
}

/** Makes the wallet where there is none. One that has no account yet, since the broker could not be asked, is nothing to keep. */
async function makeWallet(make: () => Promise<Wallet>): Promise<Wallet> {
  const found = await findWallet()
  if (found !== undefined) {
    const { account, released } = await found.summary()
    if (account !== undefined || released > 0n) throw new PaywordError('usage', 'there is a wallet in this browser already: remove it first')
    await dropWallet(found)
  }
  const wallet = await make()
  await wallet.close()
  forgetWallet()
  return theWallet()
}

async function finishMaking(wallet: Wallet): Promise<{ account: string }> {
  const { account } = await wallet.summary()
  if (account === undefined) throw new PaywordError('account', 'the backup holds no account: open one at a broker')
  return { account }
}

async function dropWallet(wallet: Wallet): Promise<void> {
  await wallet.close()
  forgetWallet()
  const storage = new IndexedDbStorage()
  await storage.remove()
  await storage.close()
}

async function remove({ account }: OwnerMessages['remove']['sent']): Promise<OwnerMessages['remove']['back']> {
  const wallet = await theWallet()
  if ((await wallet.summary()).account !== account) throw new PaywordError('usage', 'that is not the name of this account: nothing was removed')
  await dropWallet(wallet)
  await stateStore.update(state => {
    delete state.balance
  })
  await refreshBadge()
  return {}
}
