/**
 * Attacks on the extension and on `payFetch`: each is a hostile site behind the
 * real gate, and says how much its owner's wallet may lose by it.
 *
 * Every attack has a site of its own, so that the money of one is not mixed with
 * that of another. Below `/paid/` its gate asks for 0.001 USD; the rest is free.
 * What is behind the gate is the attacker's: `pages` by path. Below `/forged/` the
 * attacker answers 402 itself, with a challenge of its own making.
 */
import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { SiteLimits } from '../extension/src/messages.js'
import { type BrowserName, eventually, type Page } from './browsers.js'
import { type Owner, startOwner } from './owner.js'
import { type Servers, type SiteConfig, startServers, startUpstream, type Upstream } from './servers.js'

/** The price of everything below `/paid/`, in micros. */
export const price = 1000n

/** What a site answers: the body of a page, or a function that writes the answer. */
export type SiteAnswer = string | ((request: IncomingMessage, response: ServerResponse, at: { origin: string, stranger: string, broker: string }) => void)

/** One attack. */
export interface Attack {
  title: string
  /** Left out: both browsers. */
  only?: BrowserName
  /** Left out: the owner allowed the site, with {@link generous} limits. `false`: the owner never heard of it. */
  limits?: SiteLimits | false
  pages: Record<string, SiteAnswer>
  /** Pages of a second site, which the owner did not allow. */
  strangers?: Record<string, SiteAnswer>
  /** How often the owner really pays here, the honest page not counted. Left out: never. */
  payments?: number
  /** Payments that may be lost besides. Left out: none. */
  mayLose?: number
  /** When an honest page of the site is paid and shown, to see that this works: `before` where nothing is left after. */
  control?: 'before' | 'after'
  run(at: Place): Promise<void>
}

/** Limits under which no attack is stopped by accident, in micros. */
export const generous: SiteLimits = { perRequest: '50000', perDay: '500000', total: '5000000' }

/** Where an attack takes place. */
export interface Place {
  owner: Owner
  servers: Servers
  browser: BrowserName
  /** The attack's site, and a second one of the attacker that the owner did not allow. */
  origin: string
  stranger: string
  /** Opens a tab at a path of the site, or at a URL. */
  visit(target: string): Promise<Page>
  /** Requests for a path (without the query) that reached the attacker behind the gate. */
  requests(path: string, origin?: string): Upstream['requests']
}

/** A world for attacks: servers and one browser with the extension and a wallet. */
export interface World {
  run(attack: Attack): Promise<void>
  close(): Promise<void>
}

/** The servers of a list of attacks. They serve one browser after the other. */
export interface Battlefield {
  startWorld(browser: BrowserName): Promise<World>
  close(): Promise<void>
}

/** Starts the servers, with two sites for each attack that needs two. */
export async function startBattlefield(attacks: Attack[], payword: string): Promise<Battlefield> {
  const answers = new Map<string, Record<string, SiteAnswer>>() // by host
  const strangers = new Map<string, string>() // origin of the stranger by host
  let broker = ''
  const upstream = await startUpstream((request, response) => {
    const host = request.headers.host ?? ''
    const path = (request.url ?? '').split('?')[0] ?? ''
    const answer = path === '/payword.js' ? script(payword) : answers.get(host)?.[path] ?? honestPage(path)
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    if (typeof answer === 'string') response.end(answer)
    else answer(request, response, { origin: `http://${host}`, stranger: strangers.get(host) ?? '', broker })
  })
  // The gate takes payments away before they reach what is behind it. An attacker
  // need not have it do so: X-Sent is what was sent.
  const caddyfile = `route {
    request_header X-Sent {http.request.header.Payword}
    payword /paid/* {origin} 0.001 USD
    reverse_proxy ${upstream.address}
  }`
  const sites: SiteConfig[] = attacks.flatMap((attack, i) => [
    { name: `site-${i}`, caddyfile },
    ...attack.strangers ? [{ name: `stranger-${i}`, caddyfile, host: 'localhost' as const }] : [],
  ])
  const servers = await startServers(sites).catch(async (error: unknown) => {
    await upstream.close()
    throw error
  })
  broker = servers.broker.origin
  attacks.forEach((attack, i) => {
    const host = new URL(servers.site(`site-${i}`).origin).host
    answers.set(host, attack.pages)
    if (!attack.strangers) return
    const stranger = servers.site(`stranger-${i}`).origin
    strangers.set(host, stranger)
    answers.set(new URL(stranger).host, attack.strangers)
    strangers.set(new URL(stranger).host, servers.site(`site-${i}`).origin)
  })
  return {
    startWorld: browser => startWorld(browser, servers, upstream, attacks),
    async close() {
      await servers.close()
      await upstream.close()
    },
  }
}

async function startWorld(browser: BrowserName, servers: Servers, upstream: Upstream, attacks: Attack[]): Promise<World> {
  const owner = await startOwner(browser)
  try {
    await owner.openWallet(servers, 50_000_000n)
  } catch (error) {
    await owner.close()
    throw error
  }
  return {
    async run(attack) {
      const i = attacks.indexOf(attack)
      const stranger = attack.strangers ? servers.site(`stranger-${i}`).origin : ''
      await runAttack(attack, servers.site(`site-${i}`), stranger, owner, servers, upstream)
    },
    close: () => owner.close(),
  }
}

async function runAttack(attack: Attack, site: { name: string, origin: string }, stranger: string, owner: Owner, servers: Servers, upstream: Upstream): Promise<void> {
  const { origin } = site
  const taken = await servers.taken(site.name)
  const all = (await owner.released(origin)).all
  if (attack.limits !== false) await owner.allow(origin, attack.limits ?? generous)
  const tabs: Page[] = []
  const first = upstream.requests.length
  async function visit(target: string): Promise<Page> {
    const page = await owner.browser.newPage()
    tabs.push(page)
    await page.goto(new URL(target, origin).href)
    return page
  }
  async function control(): Promise<void> {
    const page = await visit('/paid/honest')
    await page.until("document.title === '/paid/honest'")
  }
  const place: Place = {
    owner, servers, origin, stranger, visit,
    browser: owner.browser.name,
    requests: (path, of = origin) => upstream.requests.slice(first).filter(({ url, headers }) =>
      url.split('?')[0] === path && headers.host === new URL(of).host),
  }
  try {
    if (attack.control === 'before') await control()
    await attack.run(place)
    if (attack.control !== 'before' && attack.limits !== false) await control()
    const expected = price * BigInt((attack.payments ?? 0) + (attack.limits === false ? 0 : 1))
    const released = await owner.released(origin)
    const most = expected + price * BigInt(attack.mayLose ?? 0)
    if (most === expected) assert.equal(released.site, expected, 'released to the site, in micros')
    else assert.ok(released.site >= expected && released.site <= most, `${released.site} micros were released, of ${expected} to ${most}`)
    assert.equal(released.all - all, released.site, 'released to anybody, in micros')
    const now = await servers.taken(site.name)
    assert.ok(now.accepted - taken.accepted <= released.site, `the site's gate has ${now.accepted - taken.accepted} micros, its owner released ${released.site}`)
  } finally {
    for (const tab of tabs) await tab.close().catch(() => {})
  }
}

function honestPage(path: string): string {
  return `<!doctype html><html lang="en"><title>${path}</title><link rel="icon" href="data:,"><p>This is what was paid for.</p>`
}

function script(text: string): SiteAnswer {
  return (_request, response) => {
    response.setHeader('Content-Type', 'text/javascript')
    response.end(text)
  }
}

/** What a hostile vendor claims: left out is what an honest one would. */
export interface Claim {
  url: string
  broker: string
  /** In micros. */
  amount?: string
  recipient?: string
  method?: string
  currency?: string
  intent?: string
  expires?: string
  description?: string
}

/** A challenge as the gate's page has it, of the attacker's own making: only its maker can check its `id`. */
export function forgeChallenge(claim: Claim): string {
  const { origin, host } = new URL(claim.url)
  const request = {
    amount: claim.amount ?? String(price),
    currency: claim.currency ?? 'usd-micro',
    methodDetails: { brokers: [claim.broker], httpMethod: claim.method ?? 'GET', maxStep: 4096, url: claim.url, version: 1 },
    recipient: claim.recipient ?? origin,
    unitType: 'request',
  }
  return JSON.stringify({
    id: 'A'.repeat(43), realm: host, method: 'payword', intent: claim.intent ?? 'session',
    request: Buffer.from(JSON.stringify(request)).toString('base64url'),
    expires: claim.expires ?? new Date(Date.now() + 300_000).toISOString().replace(/\.\d+Z$/, 'Z'),
    description: claim.description ?? `One page of ${host}`,
  })
}

/** A page that looks to the extension like one of the gate. */
export function challengePage(challenge: string, more = ''): string {
  return `<!doctype html><html lang="en"><title>402</title><link rel="icon" href="data:,"><script type="application/payword+json">${
    challenge.replaceAll('<', '\\u003c')}</script>${more}`
}

/** Answers 402 with a forged challenge for what was asked. */
export function forged(claim: Partial<Claim> = {}, more = ''): SiteAnswer {
  return (request, response, { origin, broker }) => {
    response.statusCode = 402
    response.setHeader('Cache-Control', 'no-store')
    response.end(challengePage(forgeChallenge({ url: `${origin}${request.url}`, broker, ...claim }), more))
  }
}

/** Waits until the attacker was asked for a path this often. */
export async function arrived(at: Place, path: string, times = 1, origin = at.origin): Promise<void> {
  await eventually(`${times} requests for ${path}`, async () => at.requests(path, origin).length >= times)
}

/** The `Payword` field that a request brought; '' without one. */
export function sentPayword({ headers }: Upstream['requests'][number]): string {
  return String(headers['x-sent'] ?? '')
}

/** Asserts that no request for these paths brought a payment. */
export function assertNoPayment(at: Place, ...paths: string[]): void {
  for (const path of paths) {
    for (const origin of [at.origin, at.stranger].filter(each => each !== '')) {
      for (const request of at.requests(path, origin)) assert.equal(sentPayword(request), '', `${origin}${path} was sent a payword`)
    }
  }
}
