import { MalformedError } from './malformed.js'

/** Reads an IPv4 address in dotted form, four bytes without leading zeros; undefined if it is none. */
export function parseIPv4(text: string): number[] | undefined {
  if (!/^(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})$/.test(text)) return undefined
  const bytes = text.split('.').map(Number)
  return bytes.every(byte => byte <= 255) ? bytes : undefined
}

function groupsOf(text: string): number[] | undefined {
  if (text === '') return []
  const parts = text.split(':')
  return parts.every(part => /^[0-9a-fA-F]{1,4}$/.test(part)) ? parts.map(part => parseInt(part, 16)) : undefined
}

/** Reads an IPv6 address (RFC 4291, section 2.2) into its eight groups; undefined if it is none. Zones are none. */
export function parseIPv6(text: string): number[] | undefined {
  if (text.length > 45 || !text.includes(':')) return undefined
  let hexadecimal = text
  const tail = text.slice(text.lastIndexOf(':') + 1)
  if (tail.includes('.')) {
    const four = parseIPv4(tail)
    if (!four) return undefined
    const [a = 0, b = 0, c = 0, d = 0] = four
    hexadecimal = `${text.slice(0, -tail.length)}${(a << 8 | b).toString(16)}:${(c << 8 | d).toString(16)}`
  }
  const halves = hexadecimal.split('::')
  const [front, back] = [groupsOf(halves[0] ?? ''), groupsOf(halves[1] ?? '')]
  if (halves.length > 2 || !front || !back) return undefined
  const missing = 8 - front.length - back.length
  if (halves.length === 1) return missing === 0 ? front : undefined
  return missing >= 1 ? [...front, ...new Array<number>(missing).fill(0), ...back] : undefined
}

/** Whether eight groups are an IPv4 address in an IPv6 one (`::ffff:0:0/96`). */
export function isIPv4Mapped(groups: number[]): boolean {
  return groups.slice(0, 5).every(group => group === 0) && groups[5] === 0xffff
}

/** Writes eight groups in the one way of RFC 5952, section 4. */
export function formatIPv6(groups: number[]): string {
  if (isIPv4Mapped(groups)) {
    return `::ffff:${groups.slice(6).flatMap(group => [group >> 8, group & 255]).join('.')}`
  }
  let [start, length] = [0, 0]
  for (let k = 0; k < 8; k++) {
    let end = k
    while (end < 8 && groups[end] === 0) end++
    if (end - k > length) [start, length] = [k, end - k]
  }
  const write = (some: number[]): string => some.map(group => group.toString(16)).join(':')
  if (length < 2) return write(groups)
  return `${write(groups.slice(0, start))}::${write(groups.slice(start + length))}`
}

/**
 * Reads an address prefix in CIDR form whose bits past its length are zero, and
 * returns it in the one way of writing it.
 *
 * @throws {@link MalformedError}
 */
export function parsePrefix(text: string): string {
  const bad = new MalformedError(`prefix ${JSON.stringify(text.slice(0, 50))}: want an address, a slash and a length, with no bits set past it`)
  const parts = /^([^/]+)\/(0|[1-9][0-9]{0,2})$/.exec(text)
  if (!parts) throw bad
  const [address = '', length] = [parts[1], Number(parts[2])]
  const [four, six] = [parseIPv4(address), parseIPv6(address)]
  const bits = four ? four.map(byte => byte.toString(2).padStart(8, '0')).join('')
    : (six ?? []).map(group => group.toString(2).padStart(16, '0')).join('')
  if (length > bits.length || bits.slice(length).includes('1') || bits === '') throw bad
  return `${six ? formatIPv6(six) : address}/${length}`
}
