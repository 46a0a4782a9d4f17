import { element, foreign } from './element.js'
import { text } from './language.js'

/** Whether a host has letters beyond ASCII, which can look like others: it is shown in the form that cannot. */
export function isPunycode(origin: string): boolean {
  try {
    return new URL(origin).hostname.split('.').some(label => label.startsWith('xn--'))
  } catch {
    return false
  }
}

/** The pattern of the browser's permission for a site. It has no port, since Firefox knows none there; payments go by the whole origin. */
export function permissionPattern(origin: string): string {
  const { protocol, hostname } = new URL(origin)
  return `${protocol}//${hostname}/*`
}

/** A site by its whole origin, just as it is compared. */
export function siteName(origin: string): HTMLElement {
  return foreign(origin, { dir: 'ltr', class: 'origin' })
}

/** A warning where the name of a site could be mistaken for another; else nothing. */
export function siteWarnings(origin: string): HTMLElement[] {
  return isPunycode(origin) ? [element('p', { class: 'warning' }, text('question_punycode'))] : []
}
