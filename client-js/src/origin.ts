import { formatIPv6, isIPv4Mapped, parseIPv4, parseIPv6 } from './address.js'
import { toUtf8 } from './encoding.js'
import { maxOriginBytes } from './limits.js'
import { MalformedError } from './malformed.js'

/**
 * Checks a text as the name of a vendor or a broker and returns it: one exact
 * ASCII https origin in lower case, without a default port and without a slash,
 * such as `https://news.example`. Plain http is for loopback hosts alone.
 * docs/protocol.md, section 4.
 *
 * @throws {@link MalformedError}
 */
export function checkOrigin(text: string): string {
  if (text.length > maxOriginBytes) throw new MalformedError(`origin of ${text.length} bytes: at most ${maxOriginBytes}`)
  const bad = (want: string): MalformedError => new MalformedError(`origin ${JSON.stringify(text)}: ${want}`)
  const parts = /^(https?):\/\/(.*)$/s.exec(text)
  if (!parts) throw bad('want one that begins with https://')
  const [isSecure, rest = ''] = [parts[1] === 'https', parts[2]]
  if (/[/?#]/.test(rest)) throw bad('leave out what follows the host and port, the slash too')
  const split = /^(.*?)(?::([^:\]]*))?$/s.exec(rest)
  const [host = '', port] = [split?.[1], split?.[2]]
  if (port !== undefined && !isPort(port)) throw bad('the port is not a number from 1 to 65535')
  const wrong = host.startsWith('[') ? wrongBracketed(host) : wrongName(host)
  if (wrong) throw bad(wrong)
  if (port === (isSecure ? '443' : '80')) throw bad('leave the default port out')
  if (!isSecure && !isLoopbackHost(host)) throw bad('plain http is for loopback hosts only')
  return text
}

/** Whether a text is an origin as {@link checkOrigin} wants it. */
export function isOrigin(text: string): boolean {
  try {
    checkOrigin(text)
    return true
  } catch (error) {
    if (error instanceof MalformedError) return false
    throw error
  }
}

/** Whether a host (no port; IPv6 with or without brackets) is this machine. */
export function isLoopbackHost(host: string): boolean {
  if (host === 'localhost') return true
  const bare = host.replace(/^\[+/, '').replace(/\]+$/, '')
  const six = parseIPv6(bare)
  if (six) return six.slice(0, 7).every(group => group === 0) && six[7] === 1
  return parseIPv4(bare)?.[0] === 127
}

function isPort(text: string): boolean {
  return /^[1-9][0-9]{0,4}$/.test(text) && Number(text) <= 65535
}

function wrongBracketed(host: string): string | undefined {
  const groups = parseIPv6(host.slice(1, -1))
  const isCanonical = groups && !isIPv4Mapped(groups) && host === `[${formatIPv6(groups)}]`
  return isCanonical ? undefined : 'the host is not an IPv6 address in brackets, in its one spelling'
}

function wrongName(host: string): string | undefined {
  if (host === '' || host.length > 253) return 'a host name has 1 to 253 bytes'
  const labels = host.split('.')
  if (!labels.every(label => /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(label))) {
    return 'want labels of 1 to 63 lower-case ASCII letters, digits and inner hyphens'
  }
  // A browser would take it for an IPv4 address and write it in another way: 127.1 as 127.0.0.1.
  const isNumber = /^(?:[0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '')
  return isNumber && !parseIPv4(host) ? 'it ends in a number and is not an IPv4 address' : undefined
}

/**
 * Returns the URL that a challenge names: the vendor's origin and the request
 * target as it was sent (`/path?query`), with every byte escaped that a URL does
 * not hold bare. docs/protocol.md, section 4.
 */
export function canonicalURL(origin: string, requestTarget: string): string {
  let url = origin
  for (const byte of toUtf8(requestTarget)) {
    const character = String.fromCharCode(byte)
    const isEscaped = byte <= 0x20 || byte >= 0x7f || '"<>\\^`{|}'.includes(character)
    url += isEscaped ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}` : character
  }
  return url
}

/**
 * Returns the canonical URL of what `fetch` would ask for: a URL as the platform
 * parsed it, whose fragment is never sent. `vendor` is the name that the vendor
 * goes by, if it is not the origin that is asked.
 */
export function requestURL(url: URL, vendor: string = url.origin): string {
  return canonicalURL(vendor, `${url.pathname}${url.search}`)
}
