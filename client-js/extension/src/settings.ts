import type { Limits, SiteLimits } from './messages.js'
import { isPayableOrigin } from './site.js'
import { Stored } from './stored.js'

/**
 * What the owner decided: limits, sites, pauses. In `chrome.storage.local`, with
 * a version; the money itself is in the wallet.
 */
export interface Settings {
  version: typeof settingsVersion
  isPaused: boolean
  limits: Limits
  /** By full origin. */
  sites: Record<string, SiteSettings>
}

/** One site that the owner allowed. */
export interface SiteSettings {
  limits: SiteLimits
  isPaused: boolean
  /** Why payments there stopped by themselves, until the owner allows the site again. */
  stopped?: 'key-changed' | 'not-served'
  /** Who the site said it was when it was paid first. */
  pin?: Pin
  /** Times in a row that it served nothing for what it was paid. */
  complaints: number
  /** Rules do not reach its requests: payments go by cookie at once. */
  usesCookie?: boolean
}

/** A vendor as its discovery document named it. */
export interface Pin {
  vendor: string
  /** The `x` of each key, sorted. */
  keys: string[]
}

/** The version of {@link Settings} that this program writes. */
export const settingsVersion = 1

/** The most sites that can be allowed: what a page of them can show, and a bound for a damaged file. */
export const maxSites = 1000

/** What the owner starts with, in micros: 0.10 a request, 1.00 a day, 20.00 in all. */
export const firstLimits: Limits = { perRequest: '100000', perDay: '1000000', total: '20000000' }

/** What is suggested for a site, in micros: 0.05 a request, 0.50 a day, 5.00 in all. */
export const suggestedLimits: SiteLimits = { perRequest: '50000', perDay: '500000', total: '5000000' }

/** The settings of somebody who has changed nothing. */
export function newSettings(): Settings {
  return { version: settingsVersion, isPaused: false, limits: { ...firstLimits }, sites: {} }
}

/** Turns settings of each version into those of the next; `migrations[n]` is from n. */
const migrations: Record<number, (settings: Record<string, unknown>) => Record<string, unknown>> = {
  // Before the first version there were no complaints.
  0: settings => {
    const sites = Object.entries(isObject(settings['sites']) ? settings['sites'] : {})
    return {
      ...settings, version: 1,
      sites: Object.fromEntries(sites.map(([origin, site]) => [origin, isObject(site) ? { ...site, complaints: 0 } : site])),
    }
  },
}

/**
 * Reads stored settings of this or an older version. Undefined is a new owner's.
 * Throws if they are damaged or of a newer version: then nothing is paid, and
 * what is stored stays as it is.
 */
export function readSettings(stored: unknown): Settings {
  if (stored === undefined) return newSettings()
  let found = stored
  for (let step = 0; isObject(found) && found['version'] !== settingsVersion; step++) {
    const migrate = migrations[Number(found['version'])]
    if (migrate === undefined || step > settingsVersion) {
      throw new Error(`the settings are of version ${String(found['version'])}, and this extension knows version ${settingsVersion}: update it`)
    }
    found = migrate(found)
  }
  if (!isSettings(found)) throw new Error('the settings are damaged: remove the extension\'s data and allow the sites again')
  return found
}

function isSettings(found: unknown): found is Settings {
  return isObject(found) && typeof found['isPaused'] === 'boolean' && isLimits(found['limits']) && isObject(found['sites'])
    && Object.keys(found['sites']).length <= maxSites
    && Object.entries(found['sites']).every(([origin, site]) => isPayableOrigin(origin) && isSite(site))
}

function isSite(site: unknown): boolean {
  return isObject(site) && isLimits(site['limits']) && typeof site['isPaused'] === 'boolean' && Number.isSafeInteger(site['complaints'])
    && [undefined, 'key-changed', 'not-served'].includes(site['stopped'] as string | undefined)
    && (site['pin'] === undefined || isPin(site['pin']))
}

function isPin(pin: unknown): pin is Pin {
  return isObject(pin) && typeof pin['vendor'] === 'string' && Array.isArray(pin['keys']) && pin['keys'].every(key => typeof key === 'string')
}

/** Reports whether these are three limits in micros: 1 to 15 digits each. */
export function isLimits(limits: unknown): limits is Limits {
  return isObject(limits) && [limits['perRequest'], limits['perDay'], limits['total']].every(limit =>
    typeof limit === 'string' && /^(0|[1-9][0-9]{0,14})$/.test(limit))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The owner's settings, where they are stored. */
export const settingsStore = new Stored(() => chrome.storage.local, 'settings', readSettings)
