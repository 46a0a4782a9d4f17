import { postBridgeMessage, readBridgeMessage, readCall } from '../../src/extension_payer.js'
import type { CallAnswer } from '../../src/extension_payer.js'
import { send, stateIn } from './channel.js'
import type { Answer } from './messages.js'
import { watchParts } from './content_parts.js'

// Runs in the pages of the sites that the owner allowed, at their very beginning,
// in the top frame. It has no key and no payword but the one that it is to send;
// what it says is believed as much as the page is.

/** How long a page that asks for payment stays invisible at most, in milliseconds. */
const invisibleMs = 1000

function navigation(): PerformanceNavigationTiming | undefined {
  return performance.getEntriesByType('navigation')[0] as PerformanceNavigationTiming | undefined
}

async function start(): Promise<void> {
  if (window.top !== window) return
  if ((document as { prerendering?: boolean }).prerendering) {
    document.addEventListener('prerenderingchange', () => void start(), { once: true })
    return
  }
  const status = navigation()?.responseStatus ?? 0
  if (status === 402) {
    await becomeVisible()
    await pay()
    return
  }
  const loaded = await send('loaded', { url: location.href, status, state: stateIn(navigation()) })
  if (loaded?.isPaid) await reportShown()
}

// A page in a tab that nobody looks at waits until somebody does.
async function becomeVisible(): Promise<void> {
  while (document.visibilityState !== 'visible') {
    await new Promise(resolve => document.addEventListener('visibilitychange', resolve, { once: true }))
  }
}

async function pay(): Promise<void> {
  const show = hide()
  const challenge = await findChallenge()
  const answer = challenge === undefined ? undefined : await send('challenge', { challenge, url: location.href, state: stateIn(navigation()) })
  if (answer?.action === 'reload') location.reload()
  else if (answer?.action === 'cookie' && answer.headers !== undefined && await prove(answer.headers)) location.reload()
  else show()
}

/** Makes the page invisible until it is decided what becomes of it, so that readers do not see it flash. */
function hide(): () => void {
  const root = document.documentElement
  const before = root.style.visibility
  root.style.visibility = 'hidden'
  const show = (): void => {
    root.style.visibility = before
  }
  setTimeout(show, invisibleMs)
  return show
}

async function findChallenge(): Promise<string | undefined> {
  const find = (): string | undefined => document.querySelector('script[type="application/payword+json"]')?.textContent ?? undefined
  if (document.readyState === 'loading') {
    await new Promise<void>(resolve => {
      document.addEventListener('DOMContentLoaded', () => resolve(), { once: true })
    })
  }
  return find()
}

/** Proves a payment by a HEAD, and gets the cookie that the reload brings along. */
async function prove(headers: Record<string, string>): Promise<boolean> {
  const url = location.href
  const sent = { url, status: 0, state: '' }
  try {
    const answer = await fetch(url, {
      method: 'HEAD', headers: { ...headers, 'Payword-Cookie': '?1' }, cache: 'no-store', credentials: 'same-origin', redirect: 'error',
    })
    Object.assign(sent, { status: answer.status, state: answer.headers.get('Payword-State') ?? '' })
  } catch {
    // Nothing came: the worker is told so.
  }
  return (await send('proved', sent))?.action === 'reload'
}

async function reportShown(): Promise<void> {
  const url = location.href
  if (document.readyState !== 'complete') await new Promise(resolve => addEventListener('load', resolve, { once: true }))
  await send('shown', { url, isEmpty: isEmpty() })
}

// A page that makes itself by script cannot be judged by what stands in it, nor
// one that is no HTML, such as a picture of SVG or a feed.
function isEmpty(): boolean {
  if (!(document.body instanceof HTMLElement)) return false
  const shows = 'img,picture,video,audio,canvas,svg,object,embed,iframe,input,button,script'
  return (document.body.textContent ?? '').trim() === '' && document.querySelector(`body ${shows.replaceAll(',', ',body ')},head script`) === null
}

/** Passes calls of the page's own payFetch on to the worker. */
function bridge(event: MessageEvent): void {
  const message = readBridgeMessage(event, window, 'extension')
  const call = message === undefined ? undefined : readCall(message.text)
  if (message === undefined || call === undefined) return
  const answer = (content: CallAnswer): void => postBridgeMessage(window, 'page', message.nonce, content)
  if (call.method === 'hello') {
    answer({ ok: true, result: null })
    return
  }
  void ask(call.method, call.arguments).then(answer)
}

async function ask(method: string, given: unknown[]): Promise<CallAnswer> {
  try {
    const answer: Answer<'bridge'> | undefined = await chrome.runtime.sendMessage({ type: 'bridge', sent: { method, arguments: given } })
    if (answer !== undefined) return answer.ok ? { ok: true, result: answer.back.result } : { ok: false, error: answer.error }
  } catch {
    // Told below. It is not asked again: the worker may have taken a ticket before it was stopped.
  }
  return { ok: false, error: { kind: 'lost', message: 'the extension was stopped before it answered: try again' } }
}

// It may be run again in a page where it runs: when the owner allows the site, or says "pay once".
const world = globalThis as { paywordStart?: () => Promise<void> }
if (world.paywordStart === undefined) {
  world.paywordStart = start
  if (window.top === window) {
    addEventListener('message', bridge)
    watchParts()
  }
}
void world.paywordStart()
