import { isOrigin } from '../../src/origin.js'

/**
 * The origins and URLs that the extension pays for, as the browsers write them.
 */

/** The longest URL that is paid for: a gate refuses a longer request line with its headers. */
export const maxUrlLength = 4000

/** The longest origin: docs/protocol.md, section 4. */
export const maxOriginLength = 270

/**
 * The origin of a URL that may be paid, or undefined: https, or http to this
 * machine, without user and password.
 */
export function payableOrigin(url: string): string | undefined {
  if (url.length > maxUrlLength || !URL.canParse(url)) return undefined
  const { protocol, hostname, origin, username, password } = new URL(url)
  if (username !== '' || password !== '' || origin.length > maxOriginLength) return undefined
  if (!isOrigin(origin)) return undefined
  if (protocol === 'https:') return origin
  return protocol === 'http:' && ['localhost', '127.0.0.1'].includes(hostname) ? origin : undefined
}

/** Reports whether a text is the origin of a site that may be paid, in the one spelling that there is. */
export function isPayableOrigin(text: string): boolean {
  return payableOrigin(text) === text
}

/** A URL as it is requested: without the fragment. */
export function requestedUrl(url: string): string {
  const parsed = new URL(url)
  parsed.hash = ''
  return parsed.href
}

/**
 * The match pattern of an origin, for the browser's permission and for content
 * scripts. Firefox's patterns have no port: there the permission is for every
 * port of the host, and what is paid is still decided by the full origin.
 */
export function matchPattern(origin: string): string {
  const { protocol, host, hostname } = new URL(origin)
  return `${protocol}//${isFirefox ? hostname : host}/*`
}

// Set when the extension is built.
declare global {
  var paywordBrowser: 'chromium' | 'firefox' | undefined
}

const isFirefox = globalThis.paywordBrowser === 'firefox'
