import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type Servers, startServers, startUpstream, type Upstream } from '../servers.js'

let upstream: Upstream
let servers: Servers

before(async () => {
  upstream = await startUpstream((request, response) => response.end(`upstream ${request.url}`))
  servers = await startServers([
    { name: 'news', files: { 'free.txt': 'free', 'paid/one.txt': 'one' }, caddyfile: 'root * {files}\npayword /paid/* {origin} 0.001 USD\nfile_server' },
    { name: 'hostile', host: 'localhost', caddyfile: `header X-Other {origin:news}\npayword /paid/* {origin} 0.002 USD\nreverse_proxy ${upstream.address}` },
  ])
})
after(async () => {
  await servers?.close()
  await upstream?.close()
})

test('every site asks for its price, and gives what is free', async () => {
  const news = servers.site('news').origin
  const hostile = servers.site('hostile').origin
  assert.equal(await (await fetch(`${news}/free.txt`)).text(), 'free')
  assert.equal((await fetch(`${news}/paid/one.txt`)).status, 402)
  const free = await fetch(`${hostile}/free`)
  assert.equal(await free.text(), 'upstream /free')
  assert.equal(free.headers.get('x-other'), news)
  assert.match(hostile, /^http:\/\/localhost:\d+$/)
  assert.equal((await fetch(`${hostile}/paid/one`)).status, 402)
  assert.deepEqual(upstream.requests.map(request => request.url), ['/free'])
  for (const name of ['news', 'hostile']) assert.deepEqual(await servers.taken(name), { accepted: 0n, spent: 0n, commitments: 0 })
  assert.throws(() => servers.site('nobody'), /want one of news, hostile/)
})

test('a voucher is made, and an account that does not exist is refused', async () => {
  assert.match(await servers.voucher(1_500_000n), /^[0-9A-Z-]{16,}$/)
  await assert.rejects(servers.balance('acct_nobody'), /404/)
  await assert.rejects(servers.fund('acct_nobody', 1n), /fundings: 4\d\d/)
})

test('servers end and start again at the same origin', async () => {
  const news = servers.site('news').origin
  await servers.killGate()
  await assert.rejects(fetch(`${news}/free.txt`))
  await servers.startGate()
  assert.equal((await fetch(`${news}/free.txt`)).status, 200)
  await servers.stopBroker()
  await assert.rejects(fetch(`${servers.broker.origin}/healthz`))
  await servers.startBroker()
  assert.equal((await fetch(`${servers.broker.origin}/healthz`)).status, 200)
  assert.match(servers.logs(), /log of the gate:/)
})
