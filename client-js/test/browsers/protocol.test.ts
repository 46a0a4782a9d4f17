import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { build } from 'esbuild'

import { Chain } from '../../src/chain.js'
import { toBase64url } from '../../src/encoding.js'
import { startBrowser } from '../browsers.js'
import { readVectors } from '../vectors/vectors.js'
import type { PageInput } from './protocol_page.js'

// Go, Node, Chromium and Firefox each have an Ed25519, an HKDF and a zlib of their
// own, which could differ in what they take.
const areas = ['certificates', 'commitments', 'reservations', 'status-lists', 'claims', 'signatures']

/** Whether a page may compile WebAssembly, by the policy that it comes with. */
const policies: [string, boolean][] = [["default-src 'self'", false], ["script-src 'self' 'wasm-unsafe-eval'", true]]

const vectors = areas.flatMap(area => readVectors<PageInput>(area))

for (const name of ['chromium', 'firefox'] as const) {
  test(`${name} takes and refuses the signed objects of the vectors as Go does`, async () => {
    const bundle = await build({
      entryPoints: [fileURLToPath(new URL('protocol_page.js', import.meta.url))], bundle: true, write: false,
      format: 'iife', globalName: 'protocol'
    })
    const script = bundle.outputFiles[0]?.text ?? ''
    const server = createServer((request, response) => {
      const url = new URL(request.url ?? '', 'http://127.0.0.1')
      const isScript = url.pathname === '/script.js'
      const policy = url.searchParams.get('policy')
      if (policy !== null) response.setHeader('Content-Security-Policy', policy)
      response.setHeader('Content-Type', isScript ? 'text/javascript; charset=utf-8' : 'text/html; charset=utf-8')
      response.end(isScript ? script : '<!doctype html><title>vectors</title><script src="/script.js"></script>')
    })
    await new Promise<void>(listening => { server.listen(0, '127.0.0.1', listening) })
    const browser = await startBrowser(name)
    try {
      const page = await browser.newPage()
      const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      await page.goto(`${origin}/`)
      const asked = JSON.stringify(vectors.map(({ area, input }) => ({ area, input })))
      const outcomes = await page.evaluate<string[]>(`protocol.runAll(${asked})`)
      assert.deepEqual(vectors.map(({ area, name: vector }, k) => `${area}/${vector}: ${outcomes[k]}`),
        vectors.map(({ area, name: vector, expect }) => `${area}/${vector}: ${expect}`))
      // The example of docs/protocol.md, section 5.
      const seed = Buffer.from(Array.from({ length: 32 }, (_, k) => k)).toString('base64url')
      const nonce = Buffer.from(Array.from({ length: 16 }, (_, k) => 0xa0 + k)).toString('base64url')
      const chain = await page.evaluate<string[]>(`protocol.deriveChain('${seed}', 'https://news.example', '${nonce}', 10)`)
      assert.deepEqual(chain.map(word => Buffer.from(word, 'base64url').toString('hex')), [
        '143ea78ecdd0e76f9add1272d9304342eabc37d23803747c6761ca29a8307e44',
        '64b5a17353da659be14c134957e2add4305757b90f539fbf110fa041b22cf3b9'
      ])
      const root = toBase64url(Chain.prepare(new Uint8Array(32), 20_000).root)
      for (const [policy, isByKernel] of policies) {
        await page.goto(`${origin}/?policy=${encodeURIComponent(policy)}`)
        assert.deepEqual(await page.evaluate('protocol.longChain(20000)'), { root, isByKernel }, policy)
      }
    } finally {
      await browser.close()
      server.close()
    }
  })
}
