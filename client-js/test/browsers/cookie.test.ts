// What the gate does for browsers whose navigations get no headers: the cookie
// and Server-Timing, in both browsers, with a payment of a real wallet.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { formatPayment, parseStatus } from '../../src/header.js'
import type { Ticket } from '../../src/payer.js'
import { MemoryStorage } from '../../src/storage_memory.js'
import { Wallet } from '../../src/wallet.js'
import { type Browser, browserNames, startBrowser } from '../browsers.js'
import { type Servers, startServers, startUpstream, type Upstream } from '../servers.js'

const price = 1000n
let upstream: Upstream
let servers: Servers
let wallet: Wallet

before(async () => {
  upstream = await startUpstream((request, response) => {
    response.setHeader('Content-Type', 'text/html')
    response.setHeader('Server-Timing', 'db;dur=5')
    response.end(`<title>paid ${request.url}</title>`)
  })
  servers = await startServers([{ name: 'news', caddyfile: `payword /paid/* {origin} 0.001 USD {\n\treread off\n}\nreverse_proxy ${upstream.address}` }])
  wallet = await Wallet.create({ storage: new MemoryStorage() })
  const { account } = await wallet.openAccount(servers.broker.origin)
  await servers.fund(account, 5_000_000n)
})

after(async () => {
  await wallet?.close()
  await servers?.close()
  await upstream?.close()
})

async function take(url: string): Promise<Ticket> {
  const vendor = new URL(url).origin
  const account = await wallet.account()
  assert(account)
  return wallet.take(
    { origin: vendor, vendor, price, currency: account.currency, maxStep: 4096, unreserved: false },
    { budget: { perRequest: 10n * price, perSite: 100n * price, perDay: 100n * price, total: 100n * price }, fingerprint: url })
}

for (const name of browserNames) {
  test(`${name}: a HEAD brings the payment, and the page is paid by the cookie`, async () => {
    const url = `${servers.site('news').origin}/paid/${name}?q=1`
    const before = await servers.taken('news')
    const ticket = await take(url)
    const headers = {
      Payword: formatPayment(ticket.payment), 'Payword-Cookie': '?1',
      ...ticket.commitment === undefined ? {} : { 'Payword-Commitment': ticket.commitment },
      ...ticket.reservation === undefined ? {} : { 'Payword-Reservation': ticket.reservation },
    }
    const browser: Browser = await startBrowser(name, {})
    try {
      const page = await browser.newPage()
      await page.goto(url)
      assert.equal(await page.evaluate(`performance.getEntriesByType('navigation')[0].serverTiming.length`), 0, 'nothing is said of a payment before there is one')
      // From another page of the site: the gate's own lets no script of it ask for anything.
      await page.goto(`${servers.site('news').origin}/free`)
      const said = await page.evaluate<string[]>(`fetch(${JSON.stringify(url)}, ${JSON.stringify({ method: 'HEAD', headers, cache: 'no-store' })})
        .then(answer => [String(answer.status), answer.headers.get('Payword-Cookie'), document.cookie])`)
      assert.deepEqual(said, ['204', '?1', ''])
      assert.equal((await servers.taken('news')).spent, before.spent, 'the HEAD costs nothing')
      await page.goto(url)
      await page.until(`document.title === 'paid /paid/${name}?q=1'`)
      const timing = await page.evaluate<[string, string][]>(`performance.getEntriesByType('navigation')[0].serverTiming.map(one => [one.name, one.description])`)
      assert.deepEqual(timing.map(one => one[0]), ['payword', 'db'])
      const state = parseStatus(timing[0]?.[1] ?? '')
      assert('price' in state, timing[0]?.[1])
      assert.deepEqual([state.reason, state.number], ['accepted', ticket.payment.number])
      assert.equal((await servers.taken('news')).spent, before.spent + price)
      await page.goto(`${servers.site('news').origin}/paid/other`)
      assert.notEqual(await page.evaluate('document.title'), 'paid /paid/other', 'the cookie pays for one page alone')
      assert.equal((await servers.taken('news')).spent, before.spent + price)
      assert.equal(upstream.requests.some(request => `${request.headers.cookie}`.includes('payword')), false)
    } finally {
      await browser.close()
    }
    await wallet.settle(ticket, { url, amount: price, isWhole: true })
  })
}
