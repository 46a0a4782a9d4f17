// What docs/gate.md says that a site sets for pages of other origins: its
// Caddyfile before the real gate, and a page that pays by payFetch.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { startBrowser } from '../browsers.js'
import type { Browser, Page } from '../browsers.js'
import { startServers, startUpstream } from '../servers.js'
import type { Servers, Upstream } from '../servers.js'

let upstream: Upstream
let servers: Servers
let browser: Browser

/** The site's block in the section of docs/gate.md, for the servers of this test. */
function documented(): string {
  const manual = readFileSync(fileURLToPath(new URL('../../../../docs/gate.md', import.meta.url)), 'utf8')
  const [, section = ''] = manual.split('\n### Pages of other origins\n')
  const lines = /```caddyfile\nhttps:\/\/api\.example \{\n([^]*?)\n\}\n```/.exec(section)?.[1]
  assert.ok(lines, 'docs/gate.md has a Caddyfile for pages of other origins')
  return lines.replaceAll('https://api.example', '{origin}').replaceAll('https://app.example', '{origin:app}').replaceAll('localhost:8000', upstream.address)
}

before(async () => {
  upstream = await startUpstream(serve)
  const entry = fileURLToPath(new URL('other_origins_page.js', import.meta.url))
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, write: false, format: 'iife', platform: 'browser' })
  const files = { 'index.html': '<!doctype html><title>app</title><script src="page.js"></script>', 'page.js': outputFiles[0]?.text ?? '' }
  const page = { files, caddyfile: 'root * {files}\nfile_server' }
  servers = await startServers([
    { name: 'app', ...page }, { name: 'stranger', ...page }, { name: 'api', caddyfile: documented() },
    { name: 'half', caddyfile: `header Access-Control-Allow-Origin {origin:app}\npayword {origin} 0.001 USD\nreverse_proxy ${upstream.address}` },
  ])
  browser = await startBrowser('chromium')
})

after(async () => {
  await browser?.close()
  await servers?.close()
  await upstream?.close()
})

/** An API that knows nothing of preflights. */
function serve(request: IncomingMessage, response: ServerResponse): void {
  if (request.method === 'OPTIONS') response.writeHead(405).end()
  else response.end(`${request.method} of ${request.url}`)
}

/** Opens a page with a wallet that has money. */
async function openPage(site: string): Promise<Page> {
  const page = await browser.newPage()
  await page.goto(`${servers.site(site).origin}/`)
  await servers.fund(await page.evaluate(`openAccount(${JSON.stringify(servers.broker.origin)})`), 1_000_000n)
  return page
}

function ask(page: Page, site: string, path: string, init: RequestInit = {}): Promise<string> {
  return page.evaluate(`ask(${JSON.stringify(servers.site(site).origin + path)}, ${JSON.stringify(init)})`)
}

test('a page of the origin that is let in pays, with what the manual says', async () => {
  const page = await openPage('app')
  assert.equal(await ask(page, 'api', '/one'), 'GET of /one')
  assert.equal(await ask(page, 'api', '/two'), 'GET of /two')
  const question = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' }
  assert.equal(await ask(page, 'api', '/three', question), 'POST of /three')
  assert.deepEqual(await servers.taken('api'), { accepted: 3000n, spent: 3000n, commitments: 1 })
  assert.equal(await page.evaluate('released()'), '3000')
  const seen = upstream.requests.flatMap(({ headers }) => Object.keys(headers))
  assert.deepEqual(['payword', 'payword-commitment', 'payword-reservation'].filter(name => seen.includes(name)), [])
  await page.close()
})

test('a page of another origin pays nothing there', async () => {
  const page = await openPage('stranger')
  assert.equal(await ask(page, 'api', '/one'), 'TypeError')
  assert.equal(await page.evaluate('released()'), '0')
  await page.close()
})

test('without an answer to preflights what is paid never arrives', async () => {
  const page = await openPage('app')
  assert.equal(await ask(page, 'half', '/one'), 'lost')
  assert.deepEqual(await servers.taken('half'), { accepted: 0n, spent: 0n, commitments: 0 })
  await page.close()
})
