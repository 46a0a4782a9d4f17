import type { Messages } from './messages.js'
import { PaywordError } from '../../src/errors.js'
import { markTab } from './badge.js'
import { readOffer, readQuotes } from './offers.js'
import { abandon, arm, begin, canArm, complain, conclude, debit, handOver, praise, refusalOf, ticketOf } from './payments.js'
import type { Asker, Debited } from './payments.js'
import type { Decision, Refusal } from './policy.js'
import { settingsStore } from './settings.js'
import { payableOrigin, requestedUrl } from './site.js'
import { attemptKey, stateStore } from './state.js'
import type { Attempt } from './state.js'
import { findWallet } from './wallets.js'
import { seconds } from './payments.js'

// Documents: the pages that tabs show.

/** The URL that a page says it is, as it is requested. Throws a `usage` error if it is not of the page's own origin, or names a user. */
export function ownUrl(asker: Asker, url: string): string {
  if (payableOrigin(url) !== asker.origin) {
    throw new PaywordError('usage', `a page of ${asker.origin} asks for a payment at another site`)
  }
  return requestedUrl(url)
}

async function attemptAt(asker: Asker, url: string): Promise<Attempt | undefined> {
  const { attempts } = await stateStore.read()
  return attempts[attemptKey(asker.tabId, url)]
}

/** Pays for a document that is a 402, or says that it is not. */
export async function onChallenge(asker: Asker, sent: Messages['challenge']['sent']): Promise<Messages['challenge']['back']> {
  const url = ownUrl(asker, sent.url)
  const before = await attemptAt(asker, url)
  if (before?.phase === 'sent' || before?.phase === 'proved') {
    const outcome = await conclude(before, { status: 402, state: sent.state })
    if (outcome === 'unseen') return { action: 'cookie', headers: await handOver({ attempt: before, ticket: ticketOf(before) }) }
    if (outcome === 'failed') await note(asker, url, { kind: 'refused', reason: 'payment-required', price: before.price })
  }
  // Between the two steps of the cookie this worker's predecessor was stopped.
  if (before?.phase === 'unseen') return { action: 'cookie', headers: await handOver({ attempt: before, ticket: ticketOf(before) }) }
  return await payFor(asker, url, sent.challenge) ?? { action: 'nothing' }
}

async function payFor(asker: Asker, url: string, challenge: string): Promise<Messages['challenge']['back'] | undefined> {
  let price: bigint | undefined
  try {
    const quotes = readQuotes(challenge, 'page')
    if (quotes.length === 0) return undefined
    price = quotes[0]?.request.amount
    const offer = readOffer(quotes, url, await (await findWallet())?.account(), seconds())
    price = offer.price
    let decision: Decision | undefined
    const attempt = await begin(asker, url, offer, false, said => { decision = said })
    if (attempt === undefined) {
      if (decision?.action === 'refuse') await note(asker, url, decision.refusal)
      return undefined
    }
    await note(asker, url, undefined)
    return await release({ attempt, ticket: await debit(attempt, offer) })
  } catch (error) {
    await note(asker, url, refusalOf(error, price))
    return undefined
  }
}

async function release(debited: Debited): Promise<Messages['challenge']['back']> {
  if (await canArm(debited.attempt)) {
    try {
      await arm([debited])
      return { action: 'reload' }
    } catch {
      // The browser takes no rule for this site: the cookie needs none.
    }
  }
  return { action: 'cookie', headers: await handOver(debited) }
}

/** Goes on after the HEAD that proves a payment. */
export async function onProved(asker: Asker, sent: Messages['proved']['sent']): Promise<Messages['proved']['back']> {
  const url = ownUrl(asker, sent.url)
  const attempt = await attemptAt(asker, url)
  if (attempt?.phase !== 'cookie') return { action: 'nothing' }
  if (sent.status >= 200 && sent.status < 300 && sent.state !== '') {
    await stateStore.update(({ attempts }) => {
      const stored = attempts[attemptKey(asker.tabId, url)]
      if (stored?.phase === 'cookie') Object.assign(stored, { phase: 'proved', at: seconds() })
    })
    await settingsStore.update(({ sites }) => {
      const site = sites[asker.origin]
      if (site !== undefined && !attempt.isOnce) site.usesCookie = true
    })
    return { action: 'reload' }
  }
  const outcome = await conclude(attempt, { status: sent.status, state: sent.state })
  if (outcome !== 'again') await note(asker, url, { kind: 'refused', reason: 'payment-required', price: attempt.price })
  return { action: outcome === 'again' ? 'reload' : 'nothing' }
}

/** Settles what was paid for a document that is here, and gives up on others of the tab: the tab has gone on. */
export async function onLoaded(asker: Asker, sent: Messages['loaded']['sent']): Promise<Messages['loaded']['back']> {
  const url = ownUrl(asker, sent.url)
  const { attempts } = await stateStore.read()
  const underWay = Object.values(attempts).filter(({ tabId, isPart, ticket }) => tabId === asker.tabId && !isPart && ticket !== undefined)
  const own = underWay.find(attempt => attempt.url === url)
  await abandon(underWay.filter(attempt => attempt !== own))
  await note(asker, url, undefined)
  if (own === undefined) return { isPaid: false }
  const outcome = await conclude(own, sent)
  if (own.isOnce) {
    await stateStore.update(({ once }) => {
      delete once[asker.tabId]
    })
  }
  return { isPaid: outcome === 'paid' }
}

/** Notes whether a document that was paid for shows anything. */
export async function onShown(asker: Asker, sent: Messages['shown']['sent']): Promise<Messages['shown']['back']> {
  const url = ownUrl(asker, sent.url)
  const attempt = await stateStore.update(({ attempts }) => {
    const key = attemptKey(asker.tabId, url)
    const found = attempts[key]
    if (found?.phase !== 'paid') return undefined
    delete attempts[key]
    return found
  })
  if (attempt !== undefined) await (sent.isEmpty ? complain(attempt) : praise(asker.origin))
  return {}
}

/** Remembers why a tab's page was not paid for, for the popup, and marks the tab. */
async function note({ tabId }: Asker, url: string, refusal: Refusal | undefined): Promise<void> {
  const { refusals } = await stateStore.read()
  if (refusal === undefined && refusals[tabId] === undefined) return
  await stateStore.update(({ refusals }) => {
    if (refusal === undefined) delete refusals[tabId]
    else refusals[tabId] = { url, refusal }
  })
  await markTab(tabId, refusal)
}

/** Forgets a tab that is closed. */
export async function onTabClosed(tabId: number): Promise<void> {
  const { attempts } = await stateStore.read()
  const own = Object.values(attempts).filter(attempt => attempt.tabId === tabId)
  if (own.length > 0) await abandon(own)
  await stateStore.update(({ once, refusals }) => {
    delete once[tabId]
    delete refusals[tabId]
  })
}
