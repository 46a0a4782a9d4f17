// payFetch with a real wallet against the real gate and broker.
import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { after, before, test } from 'node:test'
import type { Budget } from '../../src/budget.js'
import { PaywordError } from '../../src/errors.js'
import { payFetch } from '../../src/payfetch.js'
import type { Receipt } from '../../src/payer.js'
import { MemoryStorage } from '../../src/storage_memory.js'
import { Wallet } from '../../src/wallet.js'
import { startServers, startUpstream } from '../servers.js'
import type { Servers, Upstream } from '../servers.js'

const budget: Budget = { perRequest: 100_000n, perSite: 900_000n, perDay: 900_000n, total: 900_000n }
const price = 1000n
let upstream: Upstream
let servers: Servers
let wallet: Wallet

before(async () => {
  upstream = await startUpstream(serve)
  servers = await startServers([
    { name: 'news', caddyfile: `header Access-Control-Allow-Origin *\npayword /paid/* {origin} 0.001 USD\nreverse_proxy ${upstream.address}` },
    { name: 'events', host: 'localhost', caddyfile: `payword {origin} 0.001 USD {\n\tmeter {\n\t\tunit event\n\t}\n}\nreverse_proxy ${upstream.address}` },
  ])
  wallet = await Wallet.create({ storage: new MemoryStorage() })
  const { account } = await wallet.openAccount(servers.broker.origin)
  await servers.fund(account, 5_000_000n)
})

after(async () => {
  await wallet?.close()
  await servers?.close()
  await upstream?.close()
})

function serve(request: IncomingMessage, response: ServerResponse): void {
  const { url = '' } = request
  if (url.includes('error')) response.writeHead(500).end('broken')
  else if (url.includes('moved')) response.writeHead(302, { Location: '/paid/target' }).end()
  else if (url.includes('events')) {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    for (let event = 1; event <= 5; event++) response.write(`data: ${event}\n\n`)
    response.end()
  } else response.end(`content of ${url}`)
}

/** A payFetch whose next answers are cut off after the gate gave them. */
function start(): { fetch: typeof fetch, receipts: Receipt[], cut: (times: number) => void, sent: string[] } {
  const receipts: Receipt[] = []
  const sent: string[] = []
  let cuts = 0
  const cutting: typeof fetch = async (input, init) => {
    const answer = await fetch(input, init)
    const payment = new Headers(init?.headers).get('Payword')
    if (payment === null) return answer
    sent.push(payment)
    if (cuts-- <= 0) return answer
    await answer.text()
    throw new TypeError('terminated')
  }
  const paying = payFetch({ payer: wallet, budget, fetch: cutting, onReceipt: receipt => receipts.push(receipt) })
  return { fetch: paying, receipts, sent, cut: times => { cuts = times } }
}

const origin = (): string => servers.site('news').origin

/** What the gate charged while something ran, in micros. */
async function spentIn(run: () => Promise<void>, site = 'news'): Promise<bigint> {
  const before = await servers.taken(site)
  await run()
  return (await servers.taken(site)).spent - before.spent
}

test('GET and POST are paid, each once', async () => {
  const { fetch, receipts } = start()
  assert.equal(await spentIn(async () => {
    assert.equal(await (await fetch(`${origin()}/paid/one?a=b%20c`)).text(), 'content of /paid/one?a=b%20c')
    assert.equal(await (await fetch(`${origin()}/paid/two`, { method: 'POST', body: 'question' })).text(), 'content of /paid/two')
    assert.equal(await (await fetch(`${origin()}/free`)).text(), 'content of /free')
  }), 2n * price)
  assert.deepEqual(receipts.map(({ amount }) => amount), [price, price])
})

test('pages of other origins may read what they need to pay', async () => {
  const { fetch: paying } = start()
  const headers = { Origin: 'https://app.example' }
  for (const ask of [fetch, paying]) {
    const answer = await ask(`${origin()}/paid/read`, { headers })
    assert.equal(answer.headers.get('Access-Control-Allow-Origin'), '*')
    const exposed = (answer.headers.get('Access-Control-Expose-Headers') ?? '').split(/, */)
    for (const name of ['WWW-Authenticate', 'Payword-State', 'Payword-Stream']) assert.ok(exposed.includes(name), `${answer.status}: ${name}`)
  }
})

test('thirty at once, in any order, are each charged once', async () => {
  const { fetch } = start()
  const pages = Array.from({ length: 30 }, (_, page) => `/paid/page-${page}`)
  assert.equal(await spentIn(async () => {
    const texts = await Promise.all(pages.map(async page => (await fetch(`${origin()}${page}`)).text()))
    assert.deepEqual(texts, pages.map(page => `content of ${page}`))
  }), 30n * price)
  const { accepted, spent, commitments } = await servers.taken('news')
  assert.deepEqual([accepted, commitments], [spent, 1])
})

test('an upstream error and a redirect are not charged', async () => {
  const { fetch } = start()
  assert.equal(await spentIn(async () => {
    assert.equal((await fetch(`${origin()}/paid/error`)).status, 500)
  }), 0n)
  assert.equal(await spentIn(async () => {
    const answer = await fetch(`${origin()}/paid/moved`)
    assert.deepEqual([await answer.text(), answer.url, answer.redirected], ['content of /paid/target', `${origin()}/paid/target`, true])
  }), price)
})

test('a lost answer is not paid twice', async () => {
  const { fetch, cut, sent } = start()
  assert.equal(await spentIn(async () => {
    cut(1)
    assert.equal(await (await fetch(`${origin()}/paid/lost`)).text(), 'content of /paid/lost')
  }), price)
  assert.equal(new Set(sent.map(payment => /n=\d+/.exec(payment)?.[0])).size, 1)
  assert.equal(await spentIn(async () => {
    cut(3)
    await assert.rejects(fetch(`${origin()}/paid/gone`), (error: unknown) => error instanceof PaywordError && error.kind === 'lost')
    assert.equal(await (await fetch(`${origin()}/paid/gone`)).text(), 'content of /paid/gone')
  }), price)
})

test('a metered stream is paid while it is read', async () => {
  const { fetch, receipts } = start()
  let text = ''
  assert.equal(await spentIn(async () => {
    text = await (await fetch(`${servers.site('events').origin}/events`)).text()
  }, 'events'), 5n * price)
  for (let event = 1; event <= 5; event++) assert.ok(text.includes(`data: ${event}\n\n`), text)
  const counted = receipts.reduce((sum, { amount, returned = 0n }) => sum + amount - returned, 0n)
  assert.equal(counted, 5n * price)
})

test('a gate that was killed is paid on when it is back', async () => {
  const { fetch } = start()
  assert.equal(await spentIn(async () => {
    assert.equal(await (await fetch(`${origin()}/paid/before`)).text(), 'content of /paid/before')
    await servers.killGate()
    await assert.rejects(fetch(`${origin()}/paid/meanwhile`), TypeError)
    await servers.startGate()
    assert.equal(await (await fetch(`${origin()}/paid/meanwhile`)).text(), 'content of /paid/meanwhile')
  }), 2n * price)
  assert.equal((await servers.taken('news')).commitments, 1)
})

test('what is open is paid with while the broker is down', async () => {
  const { fetch } = start()
  await servers.stopBroker()
  try {
    assert.equal(await spentIn(async () => {
      assert.equal(await (await fetch(`${origin()}/paid/alone`)).text(), 'content of /paid/alone')
    }), price)
  } finally {
    await servers.startBroker()
  }
})

test('all that the gate took was released by the wallet, and no more was', async () => {
  const { sites } = await wallet.summary()
  for (const name of ['news', 'events']) {
    const { accepted, spent } = await servers.taken(name)
    const site = sites.find(({ vendor }) => vendor === servers.site(name).origin)
    assert.ok(site !== undefined && site.released >= accepted && site.spent === spent, `${name}: ${accepted} accepted, ${spent} spent, ${site?.released} and ${site?.spent} in the books`)
  }
})
