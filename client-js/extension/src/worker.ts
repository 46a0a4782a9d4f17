import { writeError } from '../../src/extension_payer.js'
import { PaywordError } from '../../src/errors.js'
import { onBridge } from './bridge.js'
import { onChallenge, onLoaded, onProved, onShown, onTabClosed } from './documents.js'
import type { Answer, Messages, OwnerMessages, PageMessages } from './messages.js'
import { ownerHandlers, refreshBadge } from './owner.js'
import { onLoadParts, onParts, onPartsLoaded } from './parts.js'
import { endOverdue, removeStrayRules } from './payments.js'
import type { Asker } from './payments.js'
import { ownerTypes, pageTypes, readMessage } from './schema.js'
import { senderOf } from './sender.js'
import { allowPending, registerScripts } from './sites.js'
import { underWaySeconds } from './state.js'
import { onTabUpdated } from './tabs.js'

// The extension's background: a service worker in Chromium, an event page in
// Firefox. It may be stopped at any time and is started by the next event, so
// every listener is added in its first turn and nothing is kept in memory alone.

const pageHandlers: { [M in keyof PageMessages]: (asker: Asker, sent: PageMessages[M]['sent']) => Promise<PageMessages[M]['back']> } = {
  challenge: onChallenge,
  loaded: onLoaded,
  shown: onShown,
  proved: onProved,
  parts: onParts,
  loadParts: onLoadParts,
  partsLoaded: onPartsLoaded,
  bridge: onBridge,
}

const ownOrigin = chrome.runtime.getURL('').replace(/\/$/, '')

chrome.runtime.onMessage.addListener((message: unknown, from, reply) => {
  answer(message, from).then(
    back => reply({ ok: true, back } satisfies { ok: true, back: unknown }),
    (error: unknown) => reply({ ok: false, error: writeError(error) } satisfies Answer<keyof Messages>),
  ).finally(afterwards)
  return true // the answer comes later
})

async function answer(message: unknown, from: chrome.runtime.MessageSender): Promise<unknown> {
  const sender = senderOf(from, chrome.runtime.id, ownOrigin)
  const { type, sent } = readEnvelope(message)
  if (sender?.kind === 'page' && (pageTypes as readonly string[]).includes(type)) {
    return answerPage({ tabId: sender.tabId, origin: sender.origin }, type as keyof PageMessages, sent)
  }
  if (sender?.kind === 'owner' && ownerTypes.includes(type)) return answerOwner(type as keyof OwnerMessages, sent)
  throw new PaywordError('usage', 'whoever sent this message may not')
}

function readEnvelope(message: unknown): { type: string, sent: unknown } {
  if (typeof message !== 'object' || message === null) throw new PaywordError('usage', 'a message is an object with type and sent')
  const { type, sent } = message as Record<string, unknown>
  if (typeof type !== 'string') throw new PaywordError('usage', 'a message names its type')
  return { type, sent }
}

function answerPage<M extends keyof PageMessages>(asker: Asker, type: M, sent: unknown): Promise<unknown> {
  return pageHandlers[type](asker, readMessage(type, sent) as PageMessages[M]['sent'])
}

function answerOwner<M extends keyof OwnerMessages>(type: M, sent: unknown): Promise<unknown> {
  return ownerHandlers[type](readMessage(type, sent) as OwnerMessages[M]['sent'])
}

// A timer that a stopped worker forgets, and an alarm that wakes it; alarms come half a minute apart at the soonest.
const overdueAlarm = 'overdue'
const dayAlarm = 'day'

function afterwards(): void {
  setTimeout(() => quietly(endOverdue()), (underWaySeconds + 1) * 1000)
  quietly(setAlarm(overdueAlarm, { delayInMinutes: 0.5 }))
  quietly(refreshBadge())
}

async function setAlarm(name: string, when: chrome.alarms.AlarmCreateInfo): Promise<void> {
  if (await chrome.alarms.get(name) === undefined) await chrome.alarms.create(name, when)
}

/** Nobody waits for it, and the next event does it again. */
function quietly(work: Promise<unknown>): void {
  work.catch((error: unknown) => console.warn('payword:', error instanceof PaywordError ? error.message : error))
}

chrome.alarms.onAlarm.addListener(({ name }) => {
  if (name === overdueAlarm) quietly(endOverdue().then(isMoreUnderWay => isMoreUnderWay ? setAlarm(overdueAlarm, { delayInMinutes: 0.5 }) : undefined))
  if (name === dayAlarm) quietly(refreshBadge())
})

chrome.tabs.onRemoved.addListener(tabId => quietly(onTabClosed(tabId)))
chrome.tabs.onUpdated.addListener((tabId, { status }) => quietly(onTabUpdated(tabId, status)))

chrome.permissions.onAdded.addListener(() => quietly(allowPending().then(registerScripts)))
chrome.permissions.onRemoved.addListener(() => quietly(registerScripts()))

chrome.runtime.onInstalled.addListener(({ reason }) => {
  quietly(start())
  if (reason === 'install') quietly(chrome.tabs.create({ url: 'welcome.html' }))
})
chrome.runtime.onStartup.addListener(() => quietly(start()))

async function start(): Promise<void> {
  // Firefox has no such switch for this area: there the sites that are allowed can be read by the content scripts at them.
  await chrome.storage.local.setAccessLevel?.({ accessLevel: 'TRUSTED_CONTEXTS' }).catch(() => {})
  await removeStrayRules()
  await registerScripts()
  await setAlarm(dayAlarm, { periodInMinutes: 30 })
  await refreshBadge()
}
