import { PaywordError } from '../../src/errors.js'
import type { Question, TabView } from './messages.js'
import { readQuotes } from './offers.js'
import type { Quote } from './offers.js'
import { siteView } from './overview.js'
import { settingsStore } from './settings.js'
import { runScript } from './sites.js'
import { payableOrigin, requestedUrl } from './site.js'
import { attemptKey, stateStore } from './state.js'
import { findWallet } from './wallets.js'

// What the owner sees of the tab in front, and paying for its page this once.

/** What a page says of itself. As untrusted as the page. */
interface Seen {
  url: string
  status: number
  challenge: string
}

/** How long "pay once" holds, in seconds. */
const onceSeconds = 60

/** What the popup shows of a tab. Empty if the browser lets nobody look, as at its own pages. */
export async function viewTab(tabId: number): Promise<TabView> {
  const seen = await look(tabId)
  const origin = seen === undefined ? undefined : payableOrigin(seen.url)
  if (seen === undefined || origin === undefined) return {}
  const [{ sites }, { refusals }, summary] = await Promise.all([settingsStore.read(), stateStore.read(), findWallet().then(wallet => wallet?.summary())])
  const settings = Object.hasOwn(sites, origin) ? sites[origin] : undefined
  const quote = seen.status === 402 ? readQuotes(seen.challenge, 'page')[0] : undefined
  const refusal = quote === undefined ? undefined : refusals[tabId]
  const isWaiting = quote !== undefined && (settings === undefined || settings.stopped !== undefined)
  const before = summary?.history.findLast(({ url, amount }) => amount > 0n && URL.canParse(url) && new URL(url).origin === origin)?.amount
  return {
    origin,
    ...settings === undefined ? {} : { site: siteView(origin, settings, summary) },
    ...isWaiting ? { question: questionOf(quote, origin, seen.url, before) } : {},
    ...refusal?.url === requestedUrl(seen.url) ? { refusal: refusal.refusal } : {},
  }
}

function questionOf({ challenge, request }: Quote, origin: string, url: string, before: bigint | undefined): Question {
  const price = priceOf({ request })
  return {
    origin, url, price: String(price), currency: request.currency,
    // As much as a gate itself writes: caddymodule/page.go.
    description: (challenge.description ?? '').slice(0, 300).replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, ' '),
    ...request.recipient === origin ? {} : { vendor: request.recipient },
    ...before !== undefined && price > before ? { priceBefore: String(before) } : {},
  }
}

function priceOf({ request: { amount, methodDetails } }: Pick<Quote, 'request'>): bigint {
  const ceiling = methodDetails.ceiling ?? 0n
  return ceiling > amount ? ceiling : amount
}

/**
 * Pays for the page in a tab at the price that its owner saw, in micros, and never
 * again without being asked. Rejects with a `usage` error if the page is another
 * one by now, or asks for more.
 */
export async function payOnce(tabId: number, shownUrl: string, price: bigint): Promise<void> {
  const seen = await look(tabId)
  const quote = seen === undefined ? undefined : readQuotes(seen.challenge, 'page')[0]
  if (seen === undefined || quote === undefined) throw new PaywordError('usage', 'the page in this tab does not ask for a payment')
  if (seen.url !== shownUrl || priceOf(quote) > price) {
    throw new PaywordError('usage', 'the page has changed since you were asked: look at its price again. Nothing was paid')
  }
  const url = requestedUrl(seen.url)
  const until = Math.floor(Date.now() / 1000) + onceSeconds
  await stateStore.update(({ once, attempts }) => {
    once[tabId] = { url, price: String(price), until }
    // The owner's word goes over a try that failed.
    if (attempts[attemptKey(tabId, url)]?.phase === 'failed') delete attempts[attemptKey(tabId, url)]
  })
  await runScript(tabId)
}

/** Runs the content script again in a page that was paid for once: it is not registered there. */
export async function onTabUpdated(tabId: number, status: string | undefined): Promise<void> {
  if (status !== 'complete') return
  const { once, attempts } = await stateStore.read()
  const page = once[tabId]
  if (page === undefined || attempts[attemptKey(tabId, page.url)]?.ticket === undefined) return
  await runScript(tabId).catch(() => {
    // The browser took the permission back with the page; the payment is settled when it is overdue.
  })
}

async function look(tabId: number): Promise<Seen | undefined> {
  try {
    const [found] = await chrome.scripting.executeScript({ target: { tabId, frameIds: [0] }, func: see })
    return readSeen(found?.result)
  } catch {
    return undefined
  }
}

// Runs in the page's document, and has nothing but its own body there.
function see(): Seen {
  const [navigation] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[]
  const challenge = document.querySelector('script[type="application/payword+json"]')?.textContent ?? ''
  return { url: location.href, status: navigation?.responseStatus ?? 0, challenge: challenge.slice(0, 16_384) }
}

function readSeen(result: unknown): Seen | undefined {
  if (typeof result !== 'object' || result === null) return undefined
  const { url, status, challenge } = result as Record<string, unknown>
  return typeof url === 'string' && typeof status === 'number' && typeof challenge === 'string' ? { url, status, challenge } : undefined
}
