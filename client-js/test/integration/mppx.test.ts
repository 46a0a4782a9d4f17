// The real mppx client with payword as one of its methods, against the real gate.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Credential, Method, z } from 'mppx'
import { Mppx } from 'mppx/client'
import { BudgetError, MemoryStorage, Wallet, maxMicros, type Budget, type Payer, type Receipt } from '../../src/node.js'
import { paywordForMppx } from '../../src/mppx.js'
import { startServers, type Servers } from '../servers.js'

let servers: Servers
let wallet: Wallet
const budget: Budget = { perRequest: 10_000n, perSite: maxMicros, perDay: maxMicros, total: 1_000_000n }

before(async () => {
  servers = await startServers([{ name: 'news', caddyfile: 'payword {\n\tvendor {origin}\n\tprice 0.001 USD\n}\nrespond /missing/* 404\nrespond "page of {uri}"' }])
  wallet = await Wallet.create({ storage: new MemoryStorage() })
  await servers.fund((await wallet.openAccount(servers.broker.origin)).account, 2_000_000n)
})
after(async () => {
  await wallet?.close()
  await servers?.close()
})

/** A method that somebody made up, which the server lists first. */
const other = Method.from({
  name: 'beads', intent: 'charge',
  schema: { credential: { payload: z.object({ beads: z.string() }) }, request: z.record(z.string(), z.unknown()) },
})

/** Adds the made-up method's challenge in front of every 402. */
const withBeads = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
  const answer = await fetch(input, init)
  if (answer.status !== 402) return answer
  const headers = new Headers(answer.headers)
  const request = Buffer.from('{"beads":"3"}').toString('base64url')
  headers.set('WWW-Authenticate', `Payment id="b1", realm="beads", method="beads", intent="charge", request="${request}", ${answer.headers.get('WWW-Authenticate')}`)
  return new Response(answer.body, { status: 402, headers })
}

function client(given: Partial<Parameters<typeof paywordForMppx>[0]> = {}, hasBeads = false) {
  const receipts: Receipt[] = []
  const payword = paywordForMppx({ payer: wallet, budget, onReceipt: receipt => receipts.push(receipt), ...given })
  let beads = 0
  const beadsMethod = Method.toClient(other, {
    async createCredential({ challenge }) {
      beads++
      return Credential.serialize({ challenge, payload: { beads: '3' } })
    },
  })
  const mppx = Mppx.create({ methods: hasBeads ? [payword.method, beadsMethod] : [payword.method], fetch: payword.fetch, polyfill: false })
  return { mppx, receipts, beads: () => beads }
}

const page = (path: string): string => servers.site('news').origin + path

test('mppx pays a gate, and every receipt is settled', async () => {
  const { mppx, receipts } = client()
  const before = await servers.taken('news')
  for (let k = 0; k < 5; k++) {
    const answer = await mppx.fetch(page(`/settled/${k}`))
    assert.deepEqual([answer.status, await answer.text()], [200, `page of /settled/${k}`])
  }
  const taken = await servers.taken('news')
  const { released, spent } = await wallet.summary()
  assert.equal(taken.spent - before.spent, 5000n)
  assert.equal(taken.accepted, taken.spent, 'no credit is left')
  assert.deepEqual([released, spent], [5000n, 5000n])
  assert.deepEqual(receipts.map(({ amount, vendor }) => [amount, vendor]), receipts.map(() => [1000n, servers.site('news').origin]))
  assert.equal(receipts.length, 5)
})

test('an answer that is not charged costs nothing', async () => {
  const { mppx } = client()
  await (await mppx.fetch(page('/there'))).text()
  const { released, spent } = await wallet.summary()
  for (let k = 0; k < 4; k++) assert.equal((await mppx.fetch(page(`/missing/${k}`))).status, 404)
  const after = await wallet.summary()
  assert.equal(after.spent, spent)
  assert.ok(after.released - released <= 1000n, `${after.released - released} released for nothing`)
  assert.equal(after.sites[0]!.unserved, 0n)
})

test('beside a method that is listed first, ours is taken where only we can pay', async () => {
  const { mppx, receipts, beads } = client({ fetch: withBeads })
  assert.equal((await mppx.fetch(page('/beside'))).status, 200)
  assert.deepEqual([receipts.length, beads()], [1, 0])
})

test('where both could pay, the wallet keeps what was not chosen', async () => {
  const before = await wallet.summary()
  const { mppx, beads } = client({ fetch: withBeads }, true)
  const answer = await mppx.fetch(page('/both'), { headers: { 'Accept-Payment': 'beads/charge, payword/session;q=0.5' } })
  assert.equal(answer.status, 400, 'the gate knows no beads')
  assert.deepEqual([beads(), (await wallet.summary()).released], [1, before.released])
})

test('a budget that is too small is an error, and nothing is released', async () => {
  const before = await wallet.summary()
  const { mppx, receipts } = client({ budget: { ...budget, perRequest: 999n } })
  await assert.rejects(mppx.fetch(page('/dear')), (error: unknown) => error instanceof BudgetError && error.limit === 'perRequest')
  assert.deepEqual([(await wallet.summary()).released, receipts.length], [before.released, 0])
})

test('a challenge of another broker is left to the other methods', async () => {
  const stranger = { ...wallet, account: async () => ({ broker: 'https://other.example', currency: 'usd-micro' }) } as unknown as Wallet
  const { mppx } = client({ payer: stranger })
  await assert.rejects(mppx.fetch(page('/foreign')), /No method found/)
})

test('a payment whose answer was lost is made good by the next one', async () => {
  let isLost = true
  const losing = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const answer = await fetch(input, init)
    if (!isLost || !new Headers(init?.headers).get('Authorization')?.startsWith('Payment ')) return answer
    isLost = false
    throw new TypeError('the line went down')
  }
  const before = await servers.taken('news')
  const { mppx } = client({ fetch: losing })
  await assert.rejects(mppx.fetch(page('/lost')), /the line went down/)
  assert.equal((await mppx.fetch(page('/lost'))).status, 200)
  const taken = await servers.taken('news')
  assert.deepEqual([taken.spent - before.spent, taken.accepted], [1000n, taken.spent], 'it was paid once')
})

test('a server that takes payments and asks again gets no more than the budget for one request', async () => {
  let paid = 0
  const lying = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const answer = await fetch(input instanceof Request ? input.url : input) // without the payment, which the liar keeps
    if (!new Headers(init?.headers).get('Authorization')?.startsWith('Payment ')) return answer
    paid++
    const problem = { type: 'https://paymentauth.org/problems/payment-insufficient', status: 402, reason: 'commitment-expired', price: '1000', currency: 'usd-micro' }
    return new Response(JSON.stringify(problem), { status: 402, headers: answer.headers })
  }
  let released = 0n
  // A payer that would always try once more: the wallet itself knows better.
  const eager: Payer = {
    account: () => wallet.account(),
    take: async (offer, terms) => {
      const ticket = await wallet.take(offer, { ...terms, fingerprint: `${terms.fingerprint} ${paid}` })
      released += ticket.released
      return ticket
    },
    settle: (ticket, grant) => wallet.settle(ticket, grant), delivered: (ticket, amount) => wallet.delivered(ticket, amount),
    lose: (ticket, isRepeatable) => wallet.lose(ticket, isRepeatable), takeBack: ticket => {
      released -= ticket.released
      return wallet.takeBack(ticket)
    },
    giveBack: (ticket, rest, url) => wallet.giveBack(ticket, rest, url), refused: async () => ({ shouldRetry: true, forfeited: 0n }),
  }
  const { mppx } = client({ payer: eager, fetch: lying, budget: { ...budget, perRequest: 1_500n } })
  await assert.rejects(mppx.fetch(page('/liar')), (error: unknown) => error instanceof BudgetError && error.limit === 'perRequest')
  assert.ok(released >= 1000n && released <= 1_500n, `${released} micros left in ${paid} payments`)
})
