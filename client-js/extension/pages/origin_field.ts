/** Hosts of this machine, to which plain http is allowed: docs/protocol.md, section 2. */
const ownMachine = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/

/**
 * The origin that somebody typed, in its one form; undefined if it is none.
 * `https://` may be left out, and a slash at the end may stand there.
 */
export function originOf(typed: string): string | undefined {
  const text = typed.trim()
  if (text === '' || text.length > 255) return undefined
  try {
    const url = new URL(/^[a-z]+:\/\//i.test(text) ? text : `https://${text}`)
    if (url.pathname !== '/' || url.search !== '' || url.hash !== '' || url.username !== '' || url.password !== '') return undefined
    const isAllowed = url.protocol === 'https:' || url.protocol === 'http:' && ownMachine.test(url.hostname)
    return isAllowed ? url.origin : undefined
  } catch {
    return undefined
  }
}
