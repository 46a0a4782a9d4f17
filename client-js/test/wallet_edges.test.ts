import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import type { Budget } from '../src/budget.js'
import { BudgetError, PaywordError } from '../src/errors.js'
import { MemoryStorage, Wallet } from '../src/index.js'
import type { Ticket } from '../src/payer.js'
import { noLimits } from './paying.js'
import { newWorld, offerOf, payFor, type World } from './wallet_world.js'

const price = 1000n

/** Takes a ticket for a page at a price, and gives no outcome. */
function take(world: World, fingerprint: string, of: { price?: bigint, budget?: Budget, payer?: Wallet } = {}): Promise<Ticket> {
  return (of.payer ?? world.wallet).take(offerOf(world.vendor, of.price), { budget: of.budget ?? noLimits, fingerprint })
}

test('a price that rises by less than a step releases no more for one request than it may cost', async () => {
  const world = await newWorld()
  const budget = { ...noLimits, perRequest: 1999n }
  const first = await take(world, 'page', { budget })
  const { shouldRetry } = await world.wallet.refused(first, { reason: 'price-over-max', price: 1999n, number: first.payment.number })
  assert.ok(shouldRetry)
  let released = first.released
  await take(world, 'page', { price: 1999n, budget }).then(ticket => { released += ticket.released }, (error: unknown) => {
    assert.ok(error instanceof BudgetError && error.limit === 'perRequest', String(error))
  })
  assert.ok(released <= budget.perRequest, `${released} for one request`)
  assert.ok((await payFor(world, 'other')).isGranted)
  assert.equal(world.broker.count('POST', '/v1/reservations'), 1, 'its commitment is kept')
})

test('sixty requests at once are paid from commitments of five pages each', async () => {
  const world = await newWorld({ deposit: 5n * price })
  const other = await world.another()
  const outcomes = await Promise.all(Array.from({ length: 60 }, (_, k) => payFor(world, `part ${k}`, { payer: k % 2 ? other : world.wallet })))
  assert.ok(outcomes.every(({ isGranted }) => isGranted))
  assert.deepEqual([world.vendor.spent, world.broker.reserved], [60n * price, 60n * price], 'and none is opened in vain')
})

test('who waits for an opening that another one\'s budget does not allow opens by its own', async () => {
  const world = await newWorld()
  const poor = payFor(world, 'poor', { budget: { ...noLimits, perRequest: 1n } })
  const rich = payFor(world, 'rich')
  await assert.rejects(poor, BudgetError)
  assert.ok((await rich).isGranted)
})

test('a vendor that checks fewer steps than before is brought up by as many as it checks', async () => {
  const world = await newWorld()
  await payFor(world, 'first')
  for (let page = 0; page < 10; page++) await world.wallet.lose(await take(world, `lost ${page}`), false)
  world.vendor.maxStep = 4
  assert.ok((await payFor(world, 'after')).isGranted)
  assert.equal(world.broker.count('POST', '/v1/reservations'), 1)
})

test('two tabs that open accounts at two brokers get one account', async () => {
  const world = await newWorld()
  const storage = new MemoryStorage()
  const elsewhere = 'https://other.example'
  const ask: typeof fetch = async (input, init) => {
    const url = new URL(new Request(input, init).url)
    if (url.origin !== elsewhere) return world.broker.fetch(input, init)
    const answer = url.pathname === '/v1/challenges' ? { challenge: 'fresh' }
      : { account: 'account2', currency: 'eur-micro', available: '0', reserved: '0', credit: '0', state: 'open' }
    return new Response(JSON.stringify(answer), { headers: { 'Content-Type': 'application/json' } })
  }
  const options = { storage, fetch: ask, now: () => world.clock.seconds * 1000 }
  const tabs = [await Wallet.create(options), (await Wallet.open(options))!]
  await Promise.allSettled([tabs[0]!.openAccount(elsewhere), tabs[1]!.openAccount(world.broker.origin)])
  const { broker, account, currency } = (await storage.load())!.document
  const whole = broker === elsewhere ? ['account2', 'eur-micro'] : ['account1', 'usd-micro']
  assert.deepEqual([account, currency], whole, broker)
})

test('a broker that is away uses up no keys', async () => {
  const world = await newWorld()
  world.broker.before = () => new Response('', { status: 503 })
  for (let attempt = 0; attempt < 5; attempt++) await assert.rejects(payFor(world, 'page'), { kind: 'broker' })
  assert.equal((await world.document()).nextKey, 0)
  world.broker.before = () => undefined
  world.broker.loseAnswers = 1
  await assert.rejects(payFor(world, 'page'), { kind: 'broker' })
  assert.ok((await payFor(world, 'page')).isGranted)
  assert.equal((await world.document()).nextKey, 4, 'what was issued and lost is asked for again')
})

test('a site that asks for more than certificates allow uses none up', async () => {
  const world = await newWorld()
  world.broker.limit = 50_000n
  for (let attempt = 0; attempt < 6; attempt++) {
    await assert.rejects(take(world, `page ${attempt}`, { price: 50_001n }), { reason: 'over-certificate-limit' })
  }
  assert.equal(world.broker.count('POST', '/v1/certificates'), 1)
  assert.ok((await payFor(world, 'page')).isGranted)
})

test('a reservation of less than was wanted, whose answer was lost, is found again', async () => {
  const world = await newWorld()
  world.broker.balance = 3_500n
  let asked = 0
  world.broker.before = (_, path) => {
    if (path === '/v1/reservations' && ++asked === 2) world.broker.loseAnswers = 1
    return undefined
  }
  await assert.rejects(payFor(world, 'page'), { kind: 'broker' })
  assert.equal(world.broker.reserved, 3_500n)
  for (let page = 0; page < 3; page++) assert.ok((await payFor(world, `page ${page}`)).isGranted)
  await assert.rejects(payFor(world, 'one more'), (error: unknown) => error instanceof PaywordError && 'reason' in error && error.reason === 'insufficient-funds')
  assert.equal(world.vendor.accepted, 3_000n)
})

test('a clock that was far ahead and is set right does not block a site', async () => {
  const world = await newWorld()
  const budget = { ...noLimits, perSiteAndMinute: 2n * price }
  world.clock.seconds += 7200
  for (const page of ['one', 'two']) assert.ok((await payFor(world, page, { budget })).isGranted)
  world.clock.seconds -= 30
  await assert.rejects(payFor(world, 'three', { budget }), BudgetError)
  world.clock.seconds -= 7170
  assert.ok((await payFor(world, 'four', { budget })).isGranted)
})

test('a request that is given up after a refusal leaves what it paid to the next one', async () => {
  const world = await newWorld()
  await payFor(world, 'first')
  world.vendor.states.clear()
  const ticket = await take(world, 'page')
  assert.ok((await world.wallet.refused(ticket, await world.vendor.serve(ticket, 'page'))).shouldRetry)
  world.clock.seconds += 61
  const before = (await world.wallet.summary()).released
  assert.ok((await payFor(world, 'another')).isGranted)
  assert.equal((await world.wallet.summary()).released, before)
})

test('a tab that is closed while it opens a commitment keeps another one waiting for some seconds only', async () => {
  const world = await newWorld()
  let isAsked = false
  const hanging: typeof fetch = () => new Promise(() => { isAsked = true })
  const tab = (await Wallet.open({ storage: world.storage, fetch: hanging, now: () => world.clock.seconds * 1000 }))!
  void payFor(world, 'never', { payer: tab })
  while (!isAsked) await setTimeout(5)
  await tab.close()
  world.clock.seconds += 4
  let isPaid = false
  const paying = payFor(world, 'page').then(() => { isPaid = true })
  await setTimeout(600)
  assert.ok(!isPaid, 'it may still be there')
  world.clock.seconds += 4
  await Promise.race([paying, setTimeout(2000)])
  assert.ok(isPaid)
})

test('a tab that waits for a slow broker stays the one that opens', async () => {
  const world = await newWorld()
  let answer = (): void => undefined
  let isAsked = false
  const slow: typeof fetch = async (input, init) => {
    isAsked = true
    await new Promise<void>(resolve => { answer = resolve })
    return world.broker.fetch(input, init)
  }
  const tab = (await Wallet.open({ storage: world.storage, fetch: slow, now: () => world.clock.seconds * 1000 }))!
  const first = payFor(world, 'first', { payer: tab })
  while (!isAsked) await setTimeout(5)
  for (let second = 0; second < 3; second++) {
    world.clock.seconds += 4
    await setTimeout(1100)
  }
  const second = payFor(world, 'second')
  await setTimeout(300)
  const answering = setInterval(() => answer(), 5)
  const outcomes = await Promise.all([first, second])
  clearInterval(answering)
  assert.ok(outcomes.every(({ isGranted }) => isGranted))
  assert.equal(world.broker.count('POST', '/v1/reservations'), 1)
})
