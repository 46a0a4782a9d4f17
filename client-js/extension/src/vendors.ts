import { PaywordError, RefusedError } from '../../src/errors.js'
import { readText } from '../../src/body.js'
import { isLoopbackHost } from '../../src/origin.js'
import { parseDiscovery } from '../../src/discovery.js'
import type { Offer } from '../../src/payer.js'
import { isSameVendor } from './policy.js'
import type { Pin } from './settings.js'
import { settingsStore } from './settings.js'
import { stateStore } from './state.js'

/** What a discovery document says that is decided by. */
interface Vendor extends Pin {
  /** The origins that it is paid for besides its own. */
  origins: string[]
}

// Discovery documents have at most 16 KB: docs/protocol.md, section 13.
const maxDiscoveryBytes = 16 * 1024
const discoveryTimeout = 10_000

/**
 * Checks who is paid: that the vendor speaks for the origin, and that its keys
 * are those that the site listed first. Remembers them if the site is paid for
 * the first time; stops the site if they have changed. Throws a RefusedError
 * (`vendor-not-proved`, `wrong-vendor`), or a `refused` error with `key-changed`.
 */
export async function checkVendor(offer: Offer, isOnce: boolean): Promise<void> {
  const { origin } = offer
  // A site that was not allowed is not remembered, and need not be asked who it is.
  if (isOnce && offer.vendor === origin) return
  if (isLoopback(offer.vendor) && !isLoopback(origin)) {
    throw new RefusedError({ reason: 'wrong-vendor', origin, detail: 'a page must not make the wallet ask things of the machine it runs on' })
  }
  const vendor = await findVendor(offer.vendor)
  if (vendor.vendor !== offer.vendor || offer.vendor !== origin && !vendor.origins.includes(origin)) {
    throw new RefusedError({ reason: 'wrong-vendor', origin, detail: `${offer.vendor} does not say that it is paid for this site` })
  }
  const pin: Pin = { vendor: vendor.vendor, keys: vendor.keys }
  const site = (await settingsStore.read()).sites[origin]
  if (site === undefined || site.pin !== undefined && isSameVendor(site.pin, pin)) return
  const isChanged = await settingsStore.update(({ sites }) => {
    const newest = sites[origin]
    if (newest === undefined) return false
    newest.pin ??= pin
    if (isSameVendor(newest.pin, pin)) return false
    newest.stopped = 'key-changed'
    return true
  })
  if (isChanged) throw new PaywordError('refused', `${origin} is not run by whom you allowed: its keys have changed. Nothing was paid`)
}

function isLoopback(origin: string): boolean {
  return isLoopbackHost(new URL(origin).hostname)
}

async function findVendor(vendor: string): Promise<Vendor> {
  const { vendors } = await stateStore.read()
  const known = vendors[vendor]
  if (known !== undefined) return known
  const found = await discover(vendor)
  await stateStore.update(state => {
    state.vendors[vendor] = { ...found, at: Math.floor(Date.now() / 1000) }
  })
  return found
}

async function discover(vendor: string): Promise<Vendor> {
  try {
    const answer = await fetch(`${vendor}/.well-known/payword`, {
      redirect: 'error', credentials: 'omit', cache: 'no-store', signal: AbortSignal.timeout(discoveryTimeout),
    })
    if (!answer.ok) throw new Error(`the answer is ${answer.status}`)
    const text = await readText(answer, maxDiscoveryBytes)
    if (text === undefined) throw new Error('it is too long')
    const { vendor: name, keys, origins } = parseDiscovery(text)
    return { vendor: name, keys: [...keys].sort(), origins }
  } catch (cause) {
    throw new RefusedError({
      reason: 'vendor-not-proved', origin: vendor, detail: `its discovery document could not be read: ${cause instanceof Error ? cause.message : 'it is malformed'}`,
    })
  }
}
