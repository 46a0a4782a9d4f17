import { maxParts } from './messages.js'
import { send, stateIn } from './channel.js'
import { visitParts } from './part_elements.js'

// Parts of a page that cost money: images, styles, scripts, media of its own
// origin. Parts of other sites, frames, prefetches and what the page's own scripts
// fetch are never paid for here.

/** How long is waited for more parts, in milliseconds: the worker debits them together. */
const gatherMs = 30

/** Requests that ask for prices at a time. */
const questionsAtOnce = 8

/** Parts that were paid for and asked for again. */
const underWay = new Set<string>()
/** When each part was asked for with a payment last, by the page's clock. */
const askedAt = new Map<string, number>()
/** Parts that were answered 402 and wait to be paid for, and when the page had asked for them. */
const waiting = new Map<string, number>()
/** Those that no element was found for yet. */
const unmatched = new Map<string, number>()
const answered: { url: string, status: number, state: string }[] = []
let timer: ReturnType<typeof setTimeout> | undefined

/** Watches what the page loads. */
export function watchParts(): void {
  new PerformanceObserver(list => {
    for (const entry of list.getEntries()) see(entry as PerformanceResourceTiming)
  }).observe({ type: 'resource', buffered: true })
  addEventListener('load', () => {
    for (const url of visitParts([...unmatched.keys()], false)) waiting.set(url, unmatched.get(url) ?? 0)
    unmatched.clear()
    gather()
  }, { once: true })
}

function see(entry: PerformanceResourceTiming): void {
  const url = ownUrl(entry.name)
  if (url === undefined || entry.responseStatus === 0 || isStale(url, entry.startTime)) return
  if (underWay.delete(url)) {
    answered.push({ url, status: entry.responseStatus, state: stateIn(entry) })
    gather()
  } else if (entry.responseStatus === 402 && partTypes.includes(entry.initiatorType)) {
    const isKnown = entry.initiatorType === 'css' || visitParts([url], false).length > 0
    if (isKnown) waiting.set(url, entry.startTime)
    else if (document.readyState !== 'complete') unmatched.set(url, entry.startTime)
    gather()
  }
}

/**
 * Whether a request was made before the one that brings the payment: browsers
 * that look ahead ask twice, and tell of the first when the second was paid.
 */
function isStale(url: string, startTime: number): boolean {
  return startTime < (askedAt.get(url) ?? 0)
}

const partTypes = ['img', 'image', 'input', 'script', 'link', 'css', 'video', 'audio', 'source', 'track']

function ownUrl(name: string): string | undefined {
  if (!URL.canParse(name)) return undefined
  const url = new URL(name)
  url.hash = ''
  return url.origin === location.origin ? url.href : undefined
}

function gather(): void {
  if (timer !== undefined || waiting.size + answered.length === 0) return
  timer = setTimeout(() => {
    timer = undefined
    void settle()
    void pay()
  }, gatherMs)
}

async function settle(): Promise<void> {
  while (answered.length > 0) {
    const again = (await send('partsLoaded', { parts: answered.splice(0, maxParts) }))?.again ?? []
    for (const url of again) waiting.set(url, performance.now())
    if (again.length > 0) gather()
  }
}

async function pay(): Promise<void> {
  const since = new Map([...waiting].slice(0, maxParts))
  for (const url of since.keys()) waiting.delete(url)
  const isWanted = (url: string): boolean => !isStale(url, since.get(url) ?? 0)
  const parts = (await quotesOf([...since.keys()].filter(isWanted))).filter(({ url }) => isWanted(url))
  if (parts.length === 0) return
  const ready = (await send('parts', { parts }))?.ready ?? []
  for (const url of ready) {
    underWay.add(url)
    askedAt.set(url, performance.now())
  }
  if (ready.length > 0 && !(await send('loadParts', { urls: ready }))?.isLoading) visitParts(ready, true)
  gather()
}

/** Asks for the prices, as a HEAD does for nothing. */
async function quotesOf(urls: string[]): Promise<{ url: string, challenge: string }[]> {
  const found: { url: string, challenge: string }[] = []
  const left = [...urls]
  async function askOn(): Promise<void> {
    for (let url = left.shift(); url !== undefined; url = left.shift()) {
      const answer = await fetch(url, { method: 'HEAD', cache: 'no-store', credentials: 'same-origin', redirect: 'error' }).catch(() => undefined)
      const challenge = answer?.status === 402 ? answer.headers.get('WWW-Authenticate') : null
      if (challenge != null) found.push({ url, challenge })
    }
  }
  await Promise.all(Array.from({ length: questionsAtOnce }, askOn))
  return found
}
