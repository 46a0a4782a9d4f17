import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { SiteLimits, TabView } from '../../extension/src/messages.js'
import { browserNames, type BrowserName, eventually, type Page } from '../browsers.js'
import { type Owner, startOwner } from '../owner.js'
import { type Servers, startServers, startUpstream, type Upstream } from '../servers.js'

// The honest page, in both browsers, against the real gate and broker. What
// hostile pages try is in attacks/.

const limits: SiteLimits = { perRequest: '50000', perDay: '500000', total: '5000000' }
const price = 1000n
const picture = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')

let upstream: Upstream
let servers: Servers

before(async () => {
  upstream = await startUpstream((request, response) => {
    const path = (request.url ?? '').split('?')[0] ?? ''
    if (path.endsWith('.png')) {
      response.setHeader('Content-Type', 'image/png')
      response.end(picture)
      return
    }
    if (path === '/paid/drawing') {
      response.setHeader('Content-Type', 'image/svg+xml')
      response.end('<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>')
      return
    }
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    if (path === '/greedy') {
      response.statusCode = 402
      response.setHeader('Server-Timing', 'payword;desc="reason=accepted, price=1000"')
      response.end(`<!doctype html><title>greedy</title><script type="application/payword+json">${greedyChallenge(`http://${request.headers.host}`)}</script>`)
      return
    }
    if (path === '/star') {
      response.end(`<!doctype html><title>star</title><img src="/paid/plain.png" alt=""><img src="/paid/star.png?${'*'.repeat(2000)}" alt="">`)
      return
    }
    const images = path === '/gallery' ? Array.from({ length: 60 }, (_, at) => `<img src="/paid/${at}.png" alt="">`).join('') : ''
    response.end(`<!doctype html><html lang="en"><title>${path}</title><h1>${path}</h1>${images}`)
  })
  const caddyfile = `payword /paid/* {origin} 0.001 USD\nreverse_proxy ${upstream.address}`
  servers = await startServers(browserNames.flatMap(browser => [
    { name: `${browser}-news`, caddyfile }, { name: `${browser}-gallery`, caddyfile }, { name: `${browser}-cookie`, caddyfile },
    { name: `${browser}-killed`, caddyfile },
  ]))
})
after(async () => {
  await servers?.close()
  await upstream?.close()
})

/** Of a page that says it took the payment, and asks for another. */
function greedyChallenge(origin: string): string {
  const request = {
    amount: String(price), currency: 'usd-micro', recipient: origin, unitType: 'request',
    methodDetails: { brokers: [servers.broker.origin], httpMethod: 'GET', maxStep: 4096, url: `${origin}/greedy`, version: 1 },
  }
  return JSON.stringify({ id: 'x', realm: 'x', method: 'payword', intent: 'session', request: Buffer.from(JSON.stringify(request)).toString('base64url') })
}

/** Runs in a page that asks for payment: has it ask for another price. */
function forge(price: string): void {
  const element = document.querySelector('script[type="application/payword+json"]')!
  const challenge = JSON.parse(element.textContent) as { request: string }
  const request = JSON.parse(atob(challenge.request.replaceAll('-', '+').replaceAll('_', '/'))) as { amount: string }
  const text = JSON.stringify({ ...request, amount: price })
  element.textContent = JSON.stringify({ ...challenge, request: btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '') })
}

for (const name of browserNames) describe(name, () => tests(name))

function tests(name: BrowserName): void {
  let owner: Owner
  before(async () => {
    owner = await startOwner(name)
    await owner.openWallet(servers, 20_000_000n)
  })
  after(() => owner?.close())

  const origin = (site: string): string => servers.site(`${name}-${site}`).origin
  const spent = async (site: string): Promise<bigint> => (await servers.taken(`${name}-${site}`)).spent

  const state = (): Promise<{ attempts: Record<string, { url: string }> }> => owner.page.evaluate(`chrome.storage.session.get('state').then(({ state }) => state)`)
  const complaints = (site: string): Promise<number> =>
    owner.page.evaluate(`chrome.storage.local.get('settings').then(({ settings }) => settings.sites[${JSON.stringify(origin(site))}].complaints)`)

  async function open(url: string): Promise<Page> {
    const page = await owner.browser.newPage()
    await page.goto(url)
    return page
  }

  async function shows(page: Page, path: string): Promise<void> {
    await page.until(`document.title === ${JSON.stringify(path)} && document.readyState === 'complete'`)
  }

  test(`${name}: the first visit asks, an allowed site is paid and shown, Back and reload are free`, { timeout: 60_000 }, async () => {
    const news = origin('news')
    const page = await open(`${news}/paid/one`)
    assert.match(await page.evaluate('document.title'), /127\.0\.0\.1/)
    assert.deepEqual(await spent('news'), 0n)

    const tabId = await owner.page.evaluate<number>(
      `chrome.tabs.query({}).then(tabs => Math.max(...tabs.map(tab => tab.id)))`)
    const view: TabView = await owner.ask('tab', { tabId })
    assert.deepEqual({ origin: view.origin, price: view.question?.price, site: view.site }, { origin: news, price: String(price), site: undefined })

    await owner.ask('allow', { origin: news, limits, tabId })
    await shows(page, '/paid/one')
    assert.equal(await spent('news'), price)
    await page.goto(`${news}/paid/two`)
    await shows(page, '/paid/two')
    assert.equal(await spent('news'), 2n * price)

    await page.reload()
    await shows(page, '/paid/two')
    await page.back()
    await shows(page, '/paid/one')
    assert.equal(await spent('news'), 2n * price)

    const { receipts } = await eventually('two receipts', async () => {
      const found = await owner.ask('receipts', { skip: 0, count: 10 })
      return found.receipts.filter(({ amount }) => amount !== '0').length === 2 && found
    })
    assert.ok(receipts.some(({ url, amount }) => url === `${news}/paid/one` && amount === String(price)))
    await page.close()
  })

  test(`${name}: pay once pays for one page of a site that was not allowed`, { timeout: 60_000 }, async () => {
    const before = BigInt((await owner.overview()).inAll)
    const page = await open(`${origin('killed')}/paid/once`)
    const tabId = await owner.page.evaluate<number>(
      `chrome.tabs.query({}).then(tabs => Math.max(...tabs.map(tab => tab.id)))`)
    const { question } = await owner.ask('tab', { tabId })
    const shown = { tabId, url: question?.url ?? '', price: question?.price ?? '' }
    // Between the question and the click the page asks for fifty times as much.
    const honest = await page.evaluate<string>(`document.querySelector('script[type]').textContent`)
    await page.evaluate(forge, '50000')
    await assert.rejects(owner.ask('payOnce', shown), /has changed since you were asked/)
    await page.evaluate((text: string) => { document.querySelector('script[type]')!.textContent = text }, honest)
    await page.evaluate(`history.replaceState(null, '', '/paid/another')`)
    await assert.rejects(owner.ask('payOnce', shown), /has changed since you were asked/)
    await page.evaluate(`history.replaceState(null, '', '/paid/once')`)
    assert.equal((await owner.overview()).inAll, String(before))
    await owner.ask('payOnce', shown)
    await shows(page, '/paid/once')
    assert.equal(await spent('killed'), price)
    await page.goto(`${origin('killed')}/paid/other`)
    await page.until(`performance.getEntriesByType('navigation')[0].responseStatus === 402 && document.readyState === 'complete'`)
    assert.equal(await spent('killed'), price)
    assert.deepEqual((await owner.overview()).sites.map(site => site.origin).filter(site => site === origin('killed')), [])
    await page.close()
  })

  test(`${name}: sixty parts of a page are loaded, each paid once`, { timeout: 60_000 }, async () => {
    await owner.allow(origin('gallery'), limits)
    await owner.page.evaluate(`globalThis.writes = 0, void chrome.storage.session.onChanged.addListener(() => writes++)`)
    const page = await open(`${origin('gallery')}/gallery`)
    await page.until('[...document.images].length === 60 && [...document.images].every(image => image.complete && image.naturalWidth === 1)', 20)
    assert.equal(await spent('gallery'), 60n * price)
    const loads = upstream.requests.filter(({ url, headers }) => url.startsWith('/paid/') && url.endsWith('.png') && `http://${headers.host}` === origin('gallery'))
    assert.equal(loads.length, 60)
    const writes = await owner.page.evaluate<number>('writes')
    console.log(`${name}: ${writes} writes of the state for sixty parts`)
    assert.ok(writes < 60, `${writes} writes of the state`)
    // The owner is told of all of them, and the wallet knows that they were served.
    const { spent: told } = await eventually('sixty receipts', async () => {
      const { total } = await owner.ask('receipts', { origin: origin('gallery'), skip: 0, count: 1 })
      return total === 60 && (await owner.overview()).sites.find(site => site.origin === origin('gallery'))
    })
    assert.equal(BigInt(told), 60n * price)
    await page.close()
  })

  test(`${name}: where no rule takes, a cookie carries the payment`, { timeout: 60_000 }, async () => {
    const cookie = origin('cookie')
    await owner.allow(cookie, limits)
    // Another rule, of a higher priority, lets the request go as it is: ours is not applied.
    await owner.page.evaluate(`chrome.declarativeNetRequest.updateSessionRules({ addRules: [{ id: 1000000, priority: 100,
      action: { type: 'allow' }, condition: { urlFilter: ${JSON.stringify(`|${cookie}/paid/`)}, resourceTypes: ['main_frame'] } }] })`)
    const page = await open(`${cookie}/paid/one`)
    await shows(page, '/paid/one')
    await page.goto(`${cookie}/paid/two`)
    await shows(page, '/paid/two')
    assert.equal(await spent('cookie'), 2n * price)
    assert.equal((await servers.taken(`${name}-cookie`)).accepted, 2n * price)
    await page.close()
  })

  test(`${name}: a site that takes the payment and asks again gets one, and is complained of`, { timeout: 60_000 }, async () => {
    const before = BigInt((await owner.overview()).inAll)
    const page = await open(`${origin('cookie')}/greedy`)
    await eventually('the complaint', () => complaints('cookie').then(count => count > 0))
    await page.until(`document.title === 'greedy' && document.readyState === 'complete'`)
    assert.equal(await complaints('cookie'), 1)
    const asked = upstream.requests.filter(({ url }) => url === '/greedy').length
    await page.reload()
    await page.until(`document.title === 'greedy' && document.readyState === 'complete'`)
    await page.evaluate(`fetch('/paid/nothing', { method: 'HEAD' }).then(() => 0)`)
    assert.equal(upstream.requests.filter(({ url }) => url === '/greedy').length, asked + 1)
    assert.ok(BigInt((await owner.overview()).inAll) - before <= price)
    await page.close()
  })

  test(`${name}: a paid drawing without a word is no reason to complain`, { timeout: 60_000 }, async () => {
    const page = await open(`${origin('news')}/paid/drawing`)
    await page.until(`document.documentElement.localName === 'svg'`)
    await eventually('nothing is under way', async () => !Object.values((await state()).attempts).some(({ url }) => url.endsWith('/paid/drawing')))
    assert.equal(await complaints('news'), 0)
    await page.close()
  })

  test(`${name}: a part whose address no rule can match costs the others nothing`, { timeout: 60_000 }, async () => {
    const page = await open(`${origin('gallery')}/star`)
    await page.until('document.images[0].complete && document.images[0].naturalWidth === 1')
    await page.close()
  })

  if (name !== 'chromium') return
  for (const at of ['debit', 'store', 'rule'] as const) test(`chromium: a worker that is killed right after the ${at} loses one payment at most`, { timeout: 60_000 }, async () => {
    const killed = origin('killed')
    await owner.allow(killed, limits)
    const before = { spent: await spent('killed'), released: BigInt((await owner.overview()).inAll) }
    await owner.browser.holdWorker(at)
    const page = await owner.browser.newPage()
    const going = page.goto(`${killed}/paid/after-${at}`)
    await owner.browser.killHeldWorker()
    await going
    await shows(page, `/paid/after-${at}`)
    assert.equal(await spent('killed'), before.spent + price)
    const released = BigInt((await owner.overview()).inAll) - before.released
    assert.ok(released === price || at === 'debit' && released === 2n * price, `${released} micros were released`)
    await eventually('nothing is under way', async () => Object.keys((await state()).attempts).length === 0)
    await page.close()
    assert.deepEqual(await owner.page.evaluate(`chrome.declarativeNetRequest.getSessionRules().then(rules => rules.filter(({ id }) => id < 1000000))`), [])
  })

  test('chromium: a worker that was killed wakes, and what it knew is there', { timeout: 60_000 }, async () => {
    const killed = origin('killed')
    await owner.allow(killed, limits)
    const before = await spent('killed')
    const page = await owner.browser.newPage()
    await owner.browser.killWorker()
    await page.goto(`${killed}/paid/one`)
    await shows(page, '/paid/one')
    await owner.browser.killWorker()
    await page.goto(`${killed}/paid/two`)
    await shows(page, '/paid/two')
    assert.equal(await spent('killed'), before + 2n * price)
    await page.close()
  })
}
