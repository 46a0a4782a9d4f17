import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { browserNames } from '../browsers.js'
import { startOwner } from '../owner.js'
import { type Servers, startServers, startUpstream, type Upstream } from '../servers.js'

// A gate that is further behind than it hashes for one request: paywords that the
// wallet gave out and that never reached it lie in between.

const maxStep = 2
const lost = 4

let upstream: Upstream
let servers: Servers

before(async () => {
  upstream = await startUpstream((request, response) => {
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    response.end(`<!doctype html><html lang="en"><title>${request.url}</title><h1>${request.url}</h1>`)
  })
  const caddyfile = `payword /paid/* {origin} 0.001 USD\nreverse_proxy ${upstream.address}`
  servers = await startServers(browserNames.map(name => ({ name, caddyfile })), { gateOptions: `max_step ${maxStep}` })
})
after(async () => {
  await servers?.close()
  await upstream?.close()
})

/** Runs in a page: takes a ticket from the extension as the page's own payFetch would, and does nothing with it. */
async function takeOne(fingerprint: string, limit: number): Promise<boolean> {
  const nonce = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
  const most = '999999999999'
  const offer = { origin: location.origin, vendor: location.origin, price: '1000', currency: 'usd-micro', maxStep: limit, unreserved: false }
  const terms = { budget: { perRequest: most, perSite: most, perDay: most, total: most }, fingerprint }
  const text = JSON.stringify({ method: 'take', arguments: [offer, terms] })
  return new Promise(resolve => {
    addEventListener('message', function hear(event: MessageEvent<{ to?: string, nonce?: string, text?: string }>) {
      if (event.data.to !== 'page' || event.data.nonce !== nonce) return
      removeEventListener('message', hear)
      resolve((JSON.parse(event.data.text ?? '{}') as { ok?: boolean }).ok ?? false)
    })
    postMessage({ payword: 'bridge-1', to: 'extension', nonce, text }, location.origin)
  })
}

for (const name of browserNames) {
  test(`${name}: a gate that is too far behind is brought up in steps, and the page is paid once`, { timeout: 60_000 }, async () => {
    const owner = await startOwner(name)
    try {
      await owner.openWallet(servers, 20_000_000n)
      const { origin } = servers.site(name)
      await owner.allow(origin, { perRequest: '50000', perDay: '500000', total: '5000000' })
      const page = await owner.browser.newPage()
      await page.goto(`${origin}/paid/one`)
      await page.until(`document.title === '/paid/one' && document.readyState === 'complete'`)
      for (let k = 0; k < lost; k++) assert.ok(await page.evaluate(takeOne, `GET ${k}`, maxStep))
      await page.goto(`${origin}/paid/two`)
      await page.until(`document.title === '/paid/two' && document.readyState === 'complete'`, 20)
      const { spent, commitments } = await servers.taken(name)
      assert.deepEqual({ spent, commitments }, { spent: 2000n, commitments: 1 }, 'no other commitment was opened for it')
      const heads = upstream.requests.filter(({ method, url, headers }) => method === 'HEAD' && url === '/paid/two' && headers.host === new URL(origin).host)
      assert.equal(heads.length, Math.floor(lost / maxStep), 'paywords on the way are proved, one every maxStep')
    } finally {
      await owner.close()
    }
  })
}
