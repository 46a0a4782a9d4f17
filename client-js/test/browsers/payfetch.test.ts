// payFetch in a page, in both browsers: across origins, and what redirects do.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { browserNames, startBrowser } from '../browsers.js'
import type { Browser, Page } from '../browsers.js'
import { FakeGate, FakeWeb } from '../gate_fake.js'
import type { Handler } from '../gate_fake.js'

const servers: Server[] = []

/** Serves a handler on a free port and returns its origin, once the handler knows it. */
async function serve(makeHandler: (origin: string) => Handler): Promise<string> {
  const server = createServer()
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const handler = makeHandler(origin)
  server.on('request', (incoming, outgoing) => {
    void (async () => {
      const answer = await handler(await requestOf(incoming, origin))
      outgoing.writeHead(answer.status, Object.fromEntries(answer.headers))
      outgoing.end(Buffer.from(await answer.arrayBuffer()))
    })()
  })
  return origin
}

async function requestOf(incoming: IncomingMessage, origin: string): Promise<Request> {
  const hasBody = incoming.method === 'POST'
  const body = hasBody ? Buffer.concat(await Readable.from(incoming).toArray() as Buffer[]) : null
  return new Request(`${origin}${incoming.url}`, { method: incoming.method ?? 'GET', headers: incoming.headers as Record<string, string>, body })
}

/** Adds what a site sends to let pages of other origins in. */
function sharing(handler: Handler, exposed: string): Handler {
  return async request => {
    const isPreflight = request.method === 'OPTIONS'
    const answer = isPreflight ? new Response(null, { status: 204 }) : await handler(request)
    const headers = new Headers(answer.headers)
    headers.set('Access-Control-Allow-Origin', '*')
    headers.set('Access-Control-Allow-Headers', 'Payword, Payword-Commitment, Payword-Reservation, Payword-Stream')
    headers.set('Access-Control-Allow-Methods', 'GET, HEAD, POST')
    if (exposed !== '') headers.set('Access-Control-Expose-Headers', exposed)
    return new Response(answer.body, { status: answer.status, headers })
  }
}

const exposed = 'WWW-Authenticate, Payment-Receipt, Payword-State, Payword-Stream'
const evilSaw: Headers[] = []
let site = ''
let api = ''
let hidden = ''
let evil = ''
let gate: FakeGate

before(async () => {
  const entry = fileURLToPath(new URL('payfetch_page.js', import.meta.url))
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, write: false, format: 'iife', platform: 'browser' })
  const script = outputFiles[0]?.text ?? ''
  site = await serve(() => () => new Response(`<!doctype html><title>page</title><script>${script.replaceAll('</script', '<\\/script')}</script>`, { headers: { 'Content-Type': 'text/html' } }))
  evil = await serve(() => sharing(request => {
    evilSaw.push(request.headers)
    return new Response('loot')
  }, exposed))
  api = await serve(origin => {
    gate = new FakeGate(new FakeWeb(), origin)
    gate.upstream = request => answerOf(request)
    gate.prices.set('/free-redirect', 0n)
    return sharing(request => request.url.endsWith('/free-redirect') ? answerOf(request) : gate.serve(request), exposed)
  })
  hidden = await serve(origin => {
    const other = new FakeGate(new FakeWeb(), origin)
    return sharing(request => other.serve(request), '')
  })
})

function answerOf(request: Request): Response {
  const { pathname } = new URL(request.url)
  return pathname.endsWith('redirect') ? new Response(null, { status: 302, headers: { Location: `${evil}/loot` } }) : new Response(`content of ${pathname}`)
}

after(() => {
  for (const server of servers) server.close().closeAllConnections()
})

async function inPage(browser: Browser, run: (page: Page) => Promise<void>): Promise<void> {
  const page = await browser.newPage()
  try {
    await page.goto(site)
    await run(page)
  } finally {
    await page.close()
  }
}

for (const name of browserNames) {
  test(`a page pays an API of another origin, and a payment follows no redirect: ${name}`, async t => {
    const browser = await startBrowser(name)
    const ask = (page: Page, path: string): Promise<string> => page.evaluate(`ask(${JSON.stringify(path)})`)
    const leaked = (): number => evilSaw.filter(headers => headers.has('Payword') || headers.has('Payword-Commitment')).length
    try {
      await t.test('the control is paid, GET and POST', () => inPage(browser, async page => {
        const spentBefore = gate.taken.spent
        assert.equal(await ask(page, `${api}/a`), 'content of /a')
        assert.equal(await page.evaluate(`ask(${JSON.stringify(`${api}/b`)}, { method: 'POST', body: 'question' })`), 'content of /b')
        assert.equal(gate.taken.spent - spentBefore, 2000n)
      }))
      await t.test('what the browser does with our header by itself: it goes along', () => inPage(browser, async page => {
        evilSaw.length = 0
        assert.equal(await page.evaluate(`askNaively(${JSON.stringify(`${api}/free-redirect`)})`), 'loot')
        assert.equal(leaked(), 1)
      }))
      await t.test('a paid redirect is an error, and nothing leaks', () => inPage(browser, async page => {
        evilSaw.length = 0
        assert.equal(await ask(page, `${api}/paid-redirect`), 'lost')
        assert.deepEqual([evilSaw.length, leaked()], [0, 0])
        assert.equal(await page.evaluate('released()'), '1000')
      }))
      await t.test('a free redirect is followed without the payment that was guessed', () => inPage(browser, async page => {
        evilSaw.length = 0
        assert.equal(await ask(page, `${api}/a`), 'content of /a')
        assert.equal(await ask(page, `${api}/free-redirect`), 'loot')
        assert.deepEqual([evilSaw.length, leaked()], [1, 0])
        assert.ok(Number(await page.evaluate('released()')) <= 2000)
      }))
      await t.test('what cannot be read is not paid', () => inPage(browser, async page => {
        assert.equal(await ask(page, `${hidden}/a`), 'pay first')
        await page.evaluate(`ask(${JSON.stringify(`${api}/c`)}, { mode: 'no-cors' })`)
        assert.equal(await page.evaluate('released()'), '0')
      }))
      await t.test('the bridge is found where it is, and not where it is not', () => inPage(browser, async page => {
        assert.equal(await page.evaluate('isBridgeFound()'), false)
        await page.evaluate('standIn()')
        for (let time = 0; time < 20; time++) assert.equal(await page.evaluate('isBridgeFound()'), true)
      }))
    } finally {
      await browser.close()
    }
  })
}
