import { maxParts } from './messages.js'
import { send, stateIn } from './channel.js'

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
    for (const [url, since] of unmatched) if (elementsOf(url).length > 0) waiting.set(url, since)
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
    const isKnown = entry.initiatorType === 'css' || elementsOf(url).length > 0
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
  for (const url of (await send('parts', { parts }))?.ready ?? []) {
    underWay.add(url)
    askedAt.set(url, performance.now())
    loadAgain(url)
  }
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

function elementsOf(url: string): Element[] {
  return [...document.querySelectorAll('img,input[type=image],script[src],link[rel~=stylesheet][href],video,audio,source,track,image')]
    .filter(element => sourceOf(element) === url)
}

function sourceOf(element: Element): string | undefined {
  if (element instanceof HTMLImageElement) return ownUrl(element.currentSrc || element.src)
  if (element instanceof HTMLLinkElement) return ownUrl(element.href)
  if (element instanceof SVGImageElement) return ownUrl(new URL(element.href.baseVal, document.baseURI).href)
  return 'src' in element && typeof element.src === 'string' ? ownUrl(element.src) : undefined
}

function loadAgain(url: string): void {
  const elements = elementsOf(url)
  for (const element of elements) reloadElement(element)
  if (elements.length === 0) reloadStyles()
}

function reloadElement(element: Element): void {
  if (element instanceof HTMLImageElement && element.srcset !== '') element.srcset = `${element.srcset}`
  else if (element instanceof HTMLScriptElement) replaceScript(element)
  else if (element instanceof HTMLLinkElement) element.replaceWith(element.cloneNode())
  else if (element instanceof HTMLMediaElement) element.load()
  else if (element instanceof HTMLSourceElement && element.parentElement instanceof HTMLMediaElement) element.parentElement.load()
  else if (element instanceof SVGImageElement) element.setAttribute('href', element.href.baseVal)
  else if ('src' in element) element.setAttribute('src', element.getAttribute('src') ?? '')
}

// A script that failed never runs; another one with the same attributes does.
function replaceScript(element: HTMLScriptElement): void {
  const again = document.createElement('script')
  for (const { name, value } of element.attributes) again.setAttribute(name, value)
  again.nonce = element.nonce
  again.async = element.async
  element.replaceWith(again)
}

// What styles load belongs to no element: the browser asks for it again when it reads them anew.
function reloadStyles(): void {
  for (const sheet of document.styleSheets) {
    if (sheet.disabled) continue
    sheet.disabled = true
    requestAnimationFrame(() => {
      sheet.disabled = false
    })
  }
}
