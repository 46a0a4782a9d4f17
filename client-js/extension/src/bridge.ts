import { PaywordError } from '../../src/errors.js'
import { isMethod, readArguments, readResult, writeResult } from '../../src/extension_payer.js'
import type { BridgeMethod } from '../../src/extension_payer.js'
import type { Budget } from '../../src/budget.js'
import type { Offer, Payer, Terms, Ticket } from '../../src/payer.js'
import type { Messages } from './messages.js'
import { seconds } from './payments.js'
import type { Asker } from './payments.js'
import { decide } from './policy.js'
import { settingsStore } from './settings.js'
import { forgetOld, stateStore } from './state.js'
import { checkVendor } from './vendors.js'
import { theWallet } from './wallets.js'

// The worker's end of the bridge: a page's own payFetch pays with the owner's
// wallet, for its own origin, within the owner's limits as well as its own. The
// page's end is src/extension_payer.ts.

/** Tickets of one page that are kept at a time: what payFetch has under way. */
const maxTickets = 1000

/** Calls a method of the payer for a page. */
export async function onBridge(asker: Asker, { method, arguments: sent }: Messages['bridge']['sent']): Promise<Messages['bridge']['back']> {
  if (!isMethod(method)) throw new PaywordError('usage', 'the bridge has no such method')
  await checkAllowed(asker.origin)
  return { result: await call(asker, method, sent) }
}

async function checkAllowed(origin: string): Promise<void> {
  const { sites } = await settingsStore.read()
  if (!Object.hasOwn(sites, origin)) throw new PaywordError('refused', `the owner of this wallet did not allow ${origin}`)
}

async function call(asker: Asker, method: BridgeMethod, sent: unknown[]): Promise<unknown> {
  const wallet = await theWallet()
  switch (method) {
    case 'account': return writeResult(method, await wallet.account())
    case 'take': return writeResult(method, await take(asker, wallet, ...readArguments(method, sent)))
    case 'settle': {
      const [given, grant] = readArguments(method, sent)
      return writeResult(method, await wallet.settle(await own(asker, given), { ...grant, url: ownUrl(asker, grant.url) }))
    }
    case 'refused': {
      const [given, status] = readArguments(method, sent)
      return writeResult(method, await wallet.refused(await own(asker, given), status))
    }
    case 'delivered': {
      const [given, amount] = readArguments(method, sent)
      return writeResult(method, await wallet.delivered(await own(asker, given), amount))
    }
    case 'lose': {
      const [given, isRepeatable] = readArguments(method, sent)
      return writeResult(method, await wallet.lose(await own(asker, given), isRepeatable))
    }
    case 'takeBack': {
      // The page has seen the payword, whatever it says: what was released once is never counted as unreleased.
      const [given] = readArguments(method, sent)
      return writeResult(method, await wallet.lose(await own(asker, given), true))
    }
    case 'giveBack': {
      const [given, rest, url] = readArguments(method, sent)
      return writeResult(method, await wallet.giveBack(await own(asker, given), rest, ownUrl(asker, url)))
    }
  }
}

async function take(asker: Asker, wallet: Payer, offer: Offer, terms: Terms): Promise<Ticket> {
  if (offer.origin !== asker.origin) throw new PaywordError('usage', `a page of ${asker.origin} may not pay ${offer.origin}`)
  const settings = await settingsStore.read()
  const decision = await stateStore.update(state => {
    forgetOld(state, seconds())
    const lately = state.lately[asker.origin] ?? []
    const found = decide({ settings, origin: asker.origin, offer, lately: lately.length })
    if (found.action === 'pay') state.lately[asker.origin] = [...lately, seconds()]
    return found
  })
  if (decision.action !== 'pay') {
    const why = decision.action === 'refuse' ? decision.refusal : { kind: 'refused' }
    throw new PaywordError(why.kind === 'budget' ? 'budget' : 'refused', `the owner's limits for ${asker.origin} do not allow it`)
  }
  await checkVendor(offer, false)
  const ticket = await wallet.take(offer, {
    ...terms, budget: stricter(decision.budget, terms.budget), deposit: least(terms.deposit ?? decision.deposit, decision.deposit),
  })
  await stateStore.update(({ tickets }) => {
    const before = Object.entries(tickets).filter(([, { origin }]) => origin === asker.origin)
    for (const [id] of before.slice(0, Math.max(0, before.length - maxTickets + 1))) delete tickets[id]
    // What goes along with it is long, and the wallet needs none of it again: the area holds 10 MB.
    const { commitment: _commitment, reservation: _reservation, steps: _steps, ...kept } = ticket
    tickets[ticket.id] = { origin: asker.origin, at: seconds(), ticket: writeResult('take', kept) }
  })
  return ticket
}

/** The lower of both in each limit. */
export function stricter(a: Budget, b: Budget): Budget {
  const optional = (name: 'perSiteAndDay' | 'perSiteAndMinute'): Partial<Budget> => {
    const limits = [a[name], b[name]].filter(limit => limit !== undefined)
    return limits.length === 0 ? {} : { [name]: limits.reduce(least) }
  }
  return {
    perRequest: least(a.perRequest, b.perRequest), perSite: least(a.perSite, b.perSite),
    perDay: least(a.perDay, b.perDay), total: least(a.total, b.total),
    ...optional('perSiteAndDay'), ...optional('perSiteAndMinute'),
  }
}

/** The ticket that this page was given under the same id; the page's own copy of it counts for nothing. */
async function own(asker: Asker, given: Ticket): Promise<Ticket> {
  const { tickets } = await stateStore.read()
  const found = Object.hasOwn(tickets, given.id) ? tickets[given.id] : undefined
  if (found?.origin !== asker.origin) throw new PaywordError('usage', 'the page was given no such ticket')
  return readResult('take', found.ticket)
}

function ownUrl(asker: Asker, url: string): string {
  return URL.canParse(url) && new URL(url).origin === asker.origin ? url : `${asker.origin}/`
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
