import { payableOrigin } from './site.js'

/** Who sent a message, by the browser's word. */
export type Sender =
  /** One of the extension's own pages: the owner. */
  | { kind: 'owner' }
  /** The content script of a page in a tab's top frame. */
  | { kind: 'page', tabId: number, origin: string }
  | undefined

/**
 * Tells who sent a message. Undefined: nobody who is answered. `ownId` and
 * `ownOrigin` are the extension's. A frame, a page that is only prerendered or
 * cached, a sandboxed document, plain http, and another extension are nobody.
 */
export function senderOf(from: chrome.runtime.MessageSender, ownId: string, ownOrigin: string): Sender {
  if (from.id !== ownId || from.url === undefined || !URL.canParse(from.url)) return undefined
  const origin = new URL(from.url).origin === 'null' ? originOfExtension(from.url) : new URL(from.url).origin
  if (from.origin !== undefined && from.origin !== origin) return undefined
  if (origin === ownOrigin) return { kind: 'owner' }
  if (from.tab?.id === undefined || from.frameId !== 0) return undefined
  const { documentLifecycle } = from
  if (documentLifecycle !== undefined && documentLifecycle !== 'active') return undefined
  return payableOrigin(from.url) === origin ? { kind: 'page', tabId: from.tab.id, origin } : undefined
}

// URLs of the schemes of extensions have no origin in the URL standard.
function originOfExtension(url: string): string {
  return /^[a-z-]+-extension:\/\/[^/]+/.exec(url)?.[0] ?? 'null'
}
