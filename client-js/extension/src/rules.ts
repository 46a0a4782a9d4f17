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

/** Puts rules in place, in one step. */
export async function addRules(rules: PaymentRule[]): Promise<void> {
  if (rules.length > 0) await chrome.declarativeNetRequest.updateSessionRules({ addRules: rules.map(paymentRule) })
}

/** Takes rules away; those that are gone already do not matter. */
export async function removeRules(ids: number[]): Promise<void> {
  if (ids.length > 0) await chrome.declarativeNetRequest.updateSessionRules({ removeRuleIds: ids })
}
