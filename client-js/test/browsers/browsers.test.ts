import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { browserNames, startBrowser } from '../browsers.js'

let folder: string
let server: Server
let origin: string

/** An extension whose worker answers a message with how often it was asked since it started. */
function writeExtension(): void {
  folder = mkdtempSync(join(tmpdir(), 'payword-extension-'))
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify({
    manifest_version: 3,
    name: 'harness',
    version: '1',
    host_permissions: ['http://127.0.0.1/*'],
    content_scripts: [{ matches: ['http://127.0.0.1/*'], js: ['content.js'] }],
    background: { service_worker: 'worker.js', scripts: ['worker.js'] },
    browser_specific_settings: { gecko: { id: 'harness@payword.example' } },
  }))
  writeFileSync(join(folder, 'worker.js'), `let asked = 0
    chrome.runtime.onMessage.addListener((message, sender, answer) => answer({ asked: ++asked, origin: sender.origin }))`)
  writeFileSync(join(folder, 'content.js'), 'globalThis.secret = 7')
  writeFileSync(join(folder, 'page.html'), '<!doctype html><title>page</title>')
}

before(async () => {
  writeExtension()
  server = createServer((request, response) => {
    response.writeHead(request.url === '/402' ? 402 : 200, { 'Content-Type': 'text/html' })
    response.end('<!doctype html><title>here</title><img src="data:,">')
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

after(() => {
  server.close()
  server.closeAllConnections()
  rmSync(folder, { recursive: true })
})

for (const name of browserNames) {
  test(`${name}: pages, the extension's own pages, its worker, and axe`, async () => {
    const browser = await startBrowser(name, { extension: folder })
    try {
      const page = await browser.newPage()
      await page.goto(`${origin}/402`)
      assert.equal(await page.evaluate("performance.getEntriesByType('navigation')[0].responseStatus"), 402)
      assert.equal(await page.evaluate((a: number, b: number) => a + b, 2, 3), 5)
      await page.until('document.title === "here"')
      await assert.rejects(page.until('document.title === "there"', 0.2), /still not/)
      assert.ok((await page.axe()).some(finding => finding.startsWith('image-alt')))

      assert.equal(await page.evaluate('typeof secret'), 'undefined')
      if (name === 'chromium') assert.equal(await page.evaluateAsContentScript('secret'), 7)

      const own = await browser.newPage()
      await own.goto(`${browser.extensionOrigin}/page.html`)
      const ask = 'chrome.runtime.sendMessage({}).then(({ asked }) => asked)'
      assert.equal(await own.evaluate(ask), 1)
      assert.equal(await own.evaluate(ask), 2)
      if (name === 'chromium') {
        await browser.killWorker()
        assert.equal(await own.evaluate(ask), 1)
      }
      await page.goto(`${origin}/`)
      await page.back()
      assert.equal(page.url(), `${origin}/402`)
    } finally {
      await browser.close()
    }
  })
}
