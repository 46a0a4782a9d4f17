// The examples of docs/client-js.md for pages and workers, in Chromium, with a
// wallet of the page's own: there is no extension here.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { startBrowser } from '../browsers.js'
import { startServers, type Servers } from '../servers.js'

let servers: Servers

async function bundle(name: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(`../../examples/${name}.js`, import.meta.url))],
    bundle: true, write: false, format: 'iife', globalName: 'example', platform: 'browser',
  })
  return outputFiles[0]?.text ?? ''
}

before(async () => {
  const files = {
    'index.html': '<!doctype html><title>examples</title><body><script src="/page.js"></script>',
    'page.js': await bundle('browser_page'), 'worker.js': await bundle('worker'),
  }
  servers = await startServers([{ name: 'news', files, caddyfile: 'root * {files}\npayword /paid/* {origin} 0.001 USD\nrespond /paid/* "article {uri}"\nfile_server' }])
})
after(async () => {
  await servers?.close()
})

test('browser_page and worker pay with the wallet of the page', async () => {
  const browser = await startBrowser('chromium')
  try {
    const { origin } = servers.site('news')
    const page = await browser.newPage()
    await page.goto(origin)
    const show = `example.showArticle('${origin}/paid/one', '${servers.broker.origin}')`
    assert.equal(await page.evaluate(`${show}.then(() => '', error => error.reason)`), 'insufficient-funds')
    await servers.fund(await page.evaluate<string>('document.body.dataset.account'), 1_000_000n)
    await page.evaluate(show)
    assert.equal(await page.evaluate('document.body.textContent'), 'article /paid/one')
    const answer = `new Promise(resolve => {
      const worker = new Worker('/worker.js')
      worker.onmessage = event => resolve(event.data)
      worker.postMessage('${origin}/paid/two')
    })`
    assert.equal(await page.evaluate(answer), 'article /paid/two')
    assert.deepEqual((await servers.taken('news')), { accepted: 2000n, spent: 2000n, commitments: 1 })
  } finally {
    await browser.close()
  }
})
