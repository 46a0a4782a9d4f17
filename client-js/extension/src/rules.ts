import type { Ticket } from '../../src/payer.js'

/** Header fields that carry a payment. */
export type PaymentHeaders = Record<string, string>

/** What of a page a rule lets be paid: the document itself, or a part that it loads. */
export type Part = 'document' | 'part'

// A page's own service worker asks for documents and parts in its own way, as
// `other` or `xmlhttprequest`, and for no tab.
const types: Record<Part, string[]> = {
  document: ['main_frame', 'xmlhttprequest', 'other'],
  part: ['image', 'stylesheet', 'script', 'font', 'media', 'xmlhttprequest', 'other'],
}
const noTab = -1

/** One payment for one URL in one tab. */
export interface PaymentRule {
  id: number
  tabId: number
  /** Without fragment. */
  url: string
  part: Part
  headers: PaymentHeaders
}

/**
 * The rule that puts a payment's headers on the GET of one exact URL, from one
 * tab. A redirect has another URL, a frame another type: neither gets them.
 */
export function paymentRule({ id, tabId, url, part, headers }: PaymentRule): chrome.declarativeNetRequest.Rule {
  return {
    id,
    priority: 1,
    action: {
      type: 'modifyHeaders',
      requestHeaders: Object.entries(headers).map(([header, value]) => ({ header, operation: 'set', value })),
    },
    condition: {
      ...exactly(url),
      isUrlFilterCaseSensitive: true,
      requestMethods: ['get'],
      tabIds: [tabId, noTab],
      resourceTypes: types[part],
    },
  } as chrome.declarativeNetRequest.Rule
}

/** The condition that matches one URL: a filter, or where the URL holds its special characters a regular expression. */
export function exactly(url: string): { urlFilter: string } | { regexFilter: string } {
  if (!/[*^|]/.test(url)) return { urlFilter: `|${url}|` }
  return { regexFilter: `^${url.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&')}$` }
}

/** The headers that carry a ticket: docs/protocol.md, section 7. `field` is the `Payword` field. */
export function paymentHeaders(ticket: Ticket, field: string): PaymentHeaders {
  return {
    Payword: field,
    ...ticket.commitment === undefined ? {} : { 'Payword-Commitment': ticket.commitment },
    ...ticket.commitment === undefined || ticket.reservation === undefined ? {} : { 'Payword-Reservation': ticket.reservation },
  }
}

/** Reports whether a rule can match a URL: browsers take no regular expression that is too long for them. */
export async function canMatch(url: string): Promise<boolean> {
  const condition = exactly(url)
  if ('urlFilter' in condition) return true
  return (await chrome.declarativeNetRequest.isRegexSupported({ regex: condition.regexFilter, isCaseSensitive: true })).isSupported
}

/** Puts rules in place, in one step. One of the same number that was left behind goes. */
export async function addRules(rules: PaymentRule[]): Promise<void> {
  if (rules.length === 0) return
  await chrome.declarativeNetRequest.updateSessionRules({ removeRuleIds: rules.map(({ id }) => id), addRules: rules.map(paymentRule) })
}

let leaving: { ids: number[], done: Promise<void> } | undefined

/** Takes rules away, those of one turn together; what is gone already does not matter. */
export async function removeRules(ids: number[]): Promise<void> {
  if (ids.length === 0) return
  leaving ??= { ids: [], done: Promise.resolve().then(removeLeaving) }
  leaving.ids.push(...ids)
  await leaving.done
}

async function removeLeaving(): Promise<void> {
  const removeRuleIds = leaving?.ids ?? []
  leaving = undefined
  await chrome.declarativeNetRequest.updateSessionRules({ removeRuleIds })
}

/** Takes away all rules but these: an update of the extension forgets what is under way, and the browser may keep its rules. */
export async function keepRules(ids: number[]): Promise<void> {
  const rules = await chrome.declarativeNetRequest.getSessionRules()
  await removeRules(rules.map(({ id }) => id).filter(id => !ids.includes(id)))
}
