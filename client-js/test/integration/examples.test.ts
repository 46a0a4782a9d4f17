// The examples of docs/client-js.md, against a real broker and a real gate.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { research } from '../../examples/agent_with_a_budget.js'
import { follow } from '../../examples/event_stream.js'
import { readArticle } from '../../examples/fetch_a_page.js'
import { mppxFetch } from '../../examples/mppx_client.js'
import { FileStorage, Wallet } from '../../src/node.js'
import { startServers, startUpstream, type Servers, type Upstream } from '../servers.js'

const folder = mkdtempSync(join(tmpdir(), 'payword-examples-'))
const path = join(folder, 'wallet.json')
let upstream: Upstream
let servers: Servers

before(async () => {
  upstream = await startUpstream((_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    for (let number = 1; number <= 20; number++) response.write(`data: ${number}\n\n`)
    response.end()
  })
  servers = await startServers([
    { name: 'news', caddyfile: 'payword {origin} 0.001 USD\nrespond "article {uri}"' },
    { name: 'dear', host: 'localhost', caddyfile: 'payword {origin} 0.002 USD\nrespond "dear"' },
    { name: 'events', caddyfile: `payword {origin} 0.001 USD {\n\tmeter {\n\t\tunit event\n\t}\n}\nreverse_proxy ${upstream.address}` },
  ])
  const wallet = await Wallet.create({ storage: new FileStorage(path) })
  await servers.fund((await wallet.openAccount(servers.broker.origin)).account, 3_000_000n)
  await wallet.close()
})
after(async () => {
  await servers?.close()
  await upstream?.close()
  rmSync(folder, { recursive: true })
})

test('fetch_a_page reads an article', async () => {
  assert.equal(await readArticle(`${servers.site('news').origin}/one`, path), 'article /one')
  assert.equal((await servers.taken('news')).spent, 1000n)
})

test('agent_with_a_budget passes over what is too dear and ends with its allowance', async () => {
  const news = servers.site('news').origin
  const { found, spent } = await research([`${news}/a`, `${servers.site('dear').origin}/`, `${news}/b`, `${news}/c`], path)
  assert.deepEqual([found, spent], [['article /a', 'article /b'], '0.002'])
  assert.equal((await servers.taken('dear')).accepted, 0n)
})

test('event_stream pays by the event, and mppx_client by mppx', async () => {
  const wallet = await Wallet.open({ storage: new FileStorage(path) })
  assert.ok(wallet)
  try {
    const events = await follow(`${servers.site('events').origin}/numbers`, wallet, 12)
    assert.deepEqual(events.filter(event => event.startsWith('data: ')).slice(0, 3), ['data: 1', 'data: 2', 'data: 3'])
    const { spent } = await servers.taken('events')
    assert.ok(spent >= 1000n && spent <= 20_000n, `${spent} micros`)
    const answer = await mppxFetch(wallet)(`${servers.site('news').origin}/by-mppx`)
    assert.equal(await answer.text(), 'article /by-mppx')
  } finally {
    await wallet.close()
  }
})
