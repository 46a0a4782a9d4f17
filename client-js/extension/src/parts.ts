import type { Messages } from './messages.js'
import { maxParts } from './messages.js'
import { ownUrl } from './documents.js'
import { visitParts } from './part_elements.js'
import { readOffer, readQuotes } from './offers.js'
import { abandon, arm, begin, conclude, debit, seconds } from './payments.js'
import type { Asker, Debited } from './payments.js'
import { canMatch } from './rules.js'
import { attemptKey, stateStore } from './state.js'
import type { Attempt } from './state.js'
import { findWallet } from './wallets.js'

// Parts of a page: images, styles, scripts of its own origin that cost money.

/** Pays for parts of a page. All of them are debited together, so that sixty cost few writes of the wallet. */
export async function onParts(asker: Asker, { parts }: Messages['parts']['sent']): Promise<Messages['parts']['back']> {
  const wallet = await findWallet()
  const account = await wallet?.account()
  const byUrl = new Map(parts.slice(0, maxParts).map(({ url, challenge }) => [ownUrl(asker, url), challenge]))
  const debited = await Promise.all([...byUrl].map(([url, challenge]) => debitPart(asker, url, challenge, account)))
  return { ready: await release(debited.flatMap(one => one ?? [])) }
}

type Account = { broker: string, currency: string } | undefined

/** Undefined: the part is not paid for. The page stays as it is without it, and says nothing. */
async function debitPart(asker: Asker, url: string, challenge: string, account: Account): Promise<Debited | undefined> {
  try {
    const offer = readOffer(readQuotes(challenge, 'field'), url, account, seconds())
    if (!await canMatch(url)) return undefined
    const attempt = await begin(asker, url, offer, true, () => {})
    return attempt === undefined ? undefined : { attempt, ticket: await debit(attempt, offer) }
  } catch {
    return undefined
  }
}

async function release(debited: Debited[]): Promise<string[]> {
  if (debited.length === 0) return []
  try {
    await arm(debited)
    return debited.map(({ attempt }) => attempt.url)
  } catch {
    await abandon(debited.map(({ attempt }) => attempt))
    return []
  }
}

/** Has the browser ask for parts again that were paid for, in the page's own world. */
export async function onLoadParts({ tabId }: Asker, { urls }: Messages['loadParts']['sent']): Promise<Messages['loadParts']['back']> {
  try {
    await chrome.scripting.executeScript({ target: { tabId, frameIds: [0] }, world: 'MAIN', injectImmediately: true, func: visitParts, args: [urls, true] })
    return { isLoading: true }
  } catch {
    return { isLoading: false }
  }
}

/** Settles what was paid for parts that are here. */
export async function onPartsLoaded(asker: Asker, { parts }: Messages['partsLoaded']['sent']): Promise<Messages['partsLoaded']['back']> {
  const { attempts } = await stateStore.read()
  const again: string[] = []
  await Promise.all(parts.map(async ({ url, status, state }) => {
    const attempt: Attempt | undefined = attempts[attemptKey(asker.tabId, ownUrl(asker, url))]
    if (attempt?.phase !== 'sent' || !attempt.isPart) return
    const outcome = await conclude(attempt, { status, state })
    if (outcome === 'again') again.push(url)
    if (outcome === 'paid') await forget(attempt)
  }))
  return { again }
}

async function forget({ tabId, url }: Attempt): Promise<void> {
  await stateStore.update(({ attempts }) => {
    delete attempts[attemptKey(tabId, url)]
  })
}
