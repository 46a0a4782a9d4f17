import { PaywordError } from '../../src/errors.js'
import type { SiteLimits } from './messages.js'
import { maxSites, settingsStore } from './settings.js'
import { matchPattern } from './site.js'
import { stateStore } from './state.js'

// Which sites the owner allowed, and with them the browser's permission and the
// content script, which runs there and nowhere else.

const scriptId = 'payword'
const scriptFile = 'content.js'

/** How long the owner may take to answer the browser's own question, in seconds. */
const pendingSeconds = 120

/**
 * Registers the content script for the sites that are allowed by the owner and
 * by the browser. Called whenever one of the two changes; calls wait for each other.
 */
export function registerScripts(): Promise<void> {
  registering = registering.then(register, register)
  return registering
}

let registering: Promise<void> = Promise.resolve()

async function register(): Promise<void> {
  const { sites } = await settingsStore.read()
  const allowed = await Promise.all(Object.keys(sites).map(async origin => await isPermitted(origin) ? [matchPattern(origin)] : []))
  const matches = [...new Set(allowed.flat())].sort()
  const [registered] = await chrome.scripting.getRegisteredContentScripts({ ids: [scriptId] })
  if (matches.length === 0) {
    if (registered !== undefined) await chrome.scripting.unregisterContentScripts({ ids: [scriptId] })
    return
  }
  const script = { id: scriptId, js: [scriptFile], matches, runAt: 'document_start', allFrames: false, persistAcrossSessions: true } as const
  if (registered === undefined) await chrome.scripting.registerContentScripts([{ ...script, js: [scriptFile] }])
  else if (JSON.stringify(registered.matches?.toSorted()) !== JSON.stringify(matches)) await chrome.scripting.updateContentScripts([{ ...script, js: [scriptFile] }])
}

/** Reports whether the browser lets the extension work at an origin. */
export function isPermitted(origin: string): Promise<boolean> {
  return chrome.permissions.contains({ origins: [matchPattern(origin)] })
}

/** Who waits in this worker for a permission; one that was stopped meanwhile waits in the state alone. */
const waiting = new Map<string, { resolve: () => void, reject: (error: Error) => void }>()

/**
 * Allows a site as soon as the browser has given its permission, which the page
 * asks for at the same time. Rejects with a `usage` error if that does not come.
 */
export async function allow(origin: string, limits: SiteLimits, tabId: number | undefined): Promise<void> {
  const until = Math.floor(Date.now() / 1000) + pendingSeconds
  await stateStore.update(({ pending }) => {
    pending[origin] = { limits, until, ...tabId === undefined ? {} : { tabId } }
  })
  const allowed = new Promise<void>((resolve, reject) => {
    waiting.set(origin, { resolve, reject })
    setTimeout(() => reject(new PaywordError('usage', `the browser was not given the permission for ${origin}: allow it there as well`)), pendingSeconds * 1000)
  })
  await allowPending()
  return allowed
}

/** Allows what waited for a permission that is there now. */
export async function allowPending(): Promise<void> {
  const { pending } = await stateStore.read()
  for (const origin of Object.keys(pending)) {
    if (!await isPermitted(origin)) continue
    const found = await stateStore.update(({ pending }) => {
      const one = pending[origin]
      delete pending[origin]
      return one
    })
    if (found === undefined) continue
    try {
      await addSite(origin, found.limits)
      await registerScripts()
      if (found.tabId !== undefined) await runScript(found.tabId)
      waiting.get(origin)?.resolve()
    } catch (error) {
      waiting.get(origin)?.reject(error instanceof Error ? error : new Error('the site could not be allowed'))
    }
    waiting.delete(origin)
  }
}

async function addSite(origin: string, limits: SiteLimits): Promise<void> {
  await settingsStore.update(({ sites }) => {
    if (sites[origin] === undefined && Object.keys(sites).length >= maxSites) {
      throw new PaywordError('usage', `there are ${maxSites} allowed sites already: revoke some that you do not visit any more`)
    }
    // A site that was stopped starts anew: it is remembered by the keys that it has now.
    sites[origin] = { limits, isPaused: false, complaints: 0 }
  })
  await stateStore.update(state => {
    for (const [key, attempt] of Object.entries(state.attempts)) if (attempt.origin === origin && attempt.phase === 'failed') delete state.attempts[key]
  })
}

/** Takes a site back: of payments first, then of the browser. */
export async function revoke(origin: string): Promise<void> {
  await settingsStore.update(({ sites }) => {
    delete sites[origin]
  })
  await registerScripts()
  const { sites } = await settingsStore.read()
  const isShared = Object.keys(sites).some(other => matchPattern(other) === matchPattern(origin))
  // Rejects where the permission came with the installation: then there is nothing to take back.
  if (!isShared) await chrome.permissions.remove({ origins: [matchPattern(origin)] }).catch(() => false)
}

/** Runs the content script in the page that a tab shows, as if it had been registered before. */
export async function runScript(tabId: number): Promise<void> {
  await chrome.scripting.executeScript({ target: { tabId, frameIds: [0] }, files: [scriptFile], injectImmediately: true })
}
