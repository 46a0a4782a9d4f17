import type { Answer, Messages, OwnerMessages, Overview, ReceiptView, StatementView, TabView, WireError } from '../extension/src/messages.js'

/** What the fake worker answers, and how the fake browser behaves. */
export interface FakeWorker {
  language: string
  texts: Record<string, string>
  overview: Overview
  tab: TabView
  receipts: ReceiptView[]
  days: { day: number, spent: string }[]
  statement: StatementView
  /** Messages that are refused, and with what. */
  refuses: { [M in keyof OwnerMessages]?: WireError }
  /** What the owner answers to the browser's own question. */
  isGranted: boolean
}

/** What the pages did, in order: `window.done` in the page. */
export interface Deed {
  what: 'message' | 'permission' | 'tab'
  type?: string
  sent?: unknown
  /** Whether the browser would have asked: only in the turn of a click or key. */
  isInTurn?: boolean
}

/**
 * Stands in for `chrome` in a page that is served by http: the worker behind
 * sendMessage keeps to extension/src/messages.ts. Runs in the page, and so uses
 * nothing but its argument.
 */
export function installFakeWorker(fake: FakeWorker): void {
  localStorage.clear()
  const done: Deed[] = []
  let underWay = 0
  const { overview } = fake
  const handlers: { [M in keyof OwnerMessages]?: (sent: OwnerMessages[M]['sent']) => OwnerMessages[M]['back'] } = {
    overview: () => overview,
    tab: () => fake.tab,
    allow: ({ origin, limits }) => {
      overview.sites = [{ origin, limits, isPaused: false, today: '0', inAll: '0', spent: '0', lastPaid: 0 }, ...overview.sites.filter(site => site.origin !== origin)]
      const site = overview.sites[0]
      fake.tab = site ? { origin, site } : { origin }
      return {}
    },
    payOnce: () => {
      fake.tab = {}
      return {}
    },
    changeSite: ({ origin, limits, isPaused }) => {
      for (const site of overview.sites.filter(site => site.origin === origin)) Object.assign(site, limits ? { limits } : {}, isPaused === undefined ? {} : { isPaused })
      return {}
    },
    revoke: ({ origin }) => {
      overview.sites = overview.sites.filter(site => site.origin !== origin)
      return {}
    },
    setLimits: ({ limits }) => {
      overview.limits = limits
      return {}
    },
    pause: ({ isPaused }) => {
      overview.isPaused = isPaused
      return {}
    },
    receipts: ({ origin, skip, count }) => {
      const all = fake.receipts.filter(receipt => origin === undefined || receipt.vendor === origin)
      return { receipts: all.slice(skip, skip + count), total: all.length }
    },
    days: () => ({ days: fake.days }),
    export: ({ format }) => ({ name: `receipts.${format}`, type: 'text/plain', text: `as ${format}` }),
    create: ({ broker }) => {
      overview.account = { broker, account: 'uK7dQ2', currency: 'usd-micro' }
      return { account: 'uK7dQ2' }
    },
    restore: () => ({ account: 'uK7dQ2' }),
    restoreSeed: () => ({ account: 'uK7dQ2' }),
    backup: () => ({ name: 'backup.json', text: '{"sealed":"…"}' }),
    remove: () => ({}),
    balance: () => ({ available: '5000000', reserved: '0', currency: 'usd-micro', at: 1_795_000_000 }),
    voucher: () => ({ available: '9000000', reserved: '0', currency: 'usd-micro', at: 1_795_000_000 }),
    statement: () => fake.statement,
  }
  async function sendMessage({ type, sent }: { type: keyof OwnerMessages, sent: unknown }): Promise<Answer<keyof Messages>> {
    done.push({ what: 'message', type, sent })
    underWay += 1
    setTimeout(() => { underWay -= 1 }, 0) // after those that wait for the answer
    const refusal = fake.refuses[type]
    if (refusal) return { ok: false, error: refusal }
    const handler = handlers[type] as ((sent: unknown) => OwnerMessages[keyof OwnerMessages]['back']) | undefined
    if (!handler) return { ok: false, error: { kind: 'usage', message: `no such message: ${type}` } }
    // As the browser does: what arrives is a copy.
    return structuredClone({ ok: true, back: handler(structuredClone(sent)) })
  }
  const chrome = {
    i18n: {
      getMessage: (key: string) => key === '@@bidi_dir' ? 'ltr' : fake.texts[key] ?? '',
      getUILanguage: () => fake.language,
    },
    runtime: { sendMessage, getURL: (path: string) => `${location.origin}/${path}` },
    tabs: {
      query: async () => [{ id: 7 }],
      create: async (sent: unknown) => { done.push({ what: 'tab', sent }) },
    },
    permissions: {
      request: async (sent: unknown) => {
        done.push({ what: 'permission', sent, isInTurn: navigator.userActivation.isActive && document.hasFocus() })
        return fake.isGranted
      },
    },
  }
  /** Whether the page has asked, and shows what it was told: nothing under way, and something to read. */
  const isShown = (): boolean => document.readyState === 'complete' && done.length > 0 && underWay === 0 && (document.querySelector('main')?.innerText.length ?? 0) > 20
  Object.assign(globalThis, { chrome, done, fake, isShown })
}
