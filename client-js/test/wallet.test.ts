import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BudgetError, MemoryStorage, PaywordError, StalledError, Wallet } from '../src/index.js'
import type { WalletOptions } from '../src/index.js'
import { noLimits } from './paying.js'
import { newWorld, offerOf, payFor } from './wallet_world.js'

const price = 1000n

test('what a page costs is released, agreed and counted, to the micro', async () => {
  const world = await newWorld()
  for (let page = 0; page < 50; page++) assert.ok((await payFor(world, `page ${page}`)).isGranted)
  const { released, spent, releasedToday, sites, history } = await world.wallet.summary()
  assert.deepEqual([released, spent, releasedToday, world.leak.released(), world.vendor.spent], Array(5).fill(50n * price))
  assert.deepEqual([sites.length, sites[0]!.limit, history.length], [1, 500_000n, 50])
  assert.equal(world.broker.count('POST', '/v1/reservations'), 1)
})

test('two tabs of one storage give no index and no number out twice, and open one commitment', async () => {
  const world = await newWorld()
  const tabs = [world.wallet, await world.another(), await world.another()]
  const outcomes = await Promise.all(Array.from({ length: 90 }, (_, k) => payFor(world, `page ${k}`, { payer: tabs[k % 3]! })))
  assert.ok(outcomes.every(({ isGranted }) => isGranted))
  assert.deepEqual([world.vendor.spent, world.leak.released(), world.vendor.states.size], [90n * price, 90n * price, 1])
  assert.equal(world.broker.count('POST', '/v1/reservations'), 1)
  assert.equal((await world.wallet.summary()).released, 90n * price)
})

test('every outcome of a ticket counts once, whoever tells it and however often', async () => {
  const world = await newWorld()
  await payFor(world, 'first')
  const other = await world.another()
  const take = () => world.wallet.take(offerOf(world.vendor), { budget: noLimits, fingerprint: 'page' })
  const url = 'https://news.example/page'
  const endings: ((ticket: Awaited<ReturnType<typeof take>>, wallet: Wallet) => Promise<unknown>)[] = [
    (ticket, wallet) => wallet.settle(ticket, { url, amount: 0n, isWhole: true }),
    (ticket, wallet) => wallet.takeBack(ticket),
    (ticket, wallet) => wallet.refused(ticket, { reason: 'payment-required', price }),
    (ticket, wallet) => wallet.settle(ticket, { url, amount: price, isWhole: false }).then(() => wallet.giveBack(ticket, price, url)),
  ]
  for (const end of endings) {
    const ticket = await take()
    for (const wallet of [world.wallet, other, world.wallet]) await end(ticket, wallet)
    await world.wallet.delivered(ticket, 0n)
    const { surplus } = (await world.document()).vendors[world.vendor.origin]!.open!
    assert.equal(surplus.reduce((sum, one) => sum + BigInt(one), 0n), price, `${end}`)
  }
  assert.equal((await world.wallet.summary()).released, 2n * price)
})

test('what a stream may still take is no credit, whatever the vendor says is left when it begins', async () => {
  const world = await newWorld()
  const url = 'https://news.example/stream'
  world.vendor.price = 400n // of the 1000 that are agreed to
  const ticket = await world.wallet.take({ ...offerOf(world.vendor, price), meter: { unitType: 'event', unitPrice: 10n } }, { budget: noLimits, fingerprint: 'stream' })
  const status = await world.vendor.serve(ticket, 'stream')
  const credit = async (): Promise<bigint> => (await world.document()).vendors[world.vendor.origin]!.open!.surplus.reduce((sum, one) => sum + BigInt(one), 0n)
  await world.wallet.settle(ticket, { url, amount: price, status, isWhole: false })
  assert.deepEqual([status.known?.spent, await credit(), (await world.wallet.summary()).spent], [400n, 0n, price])
  await world.wallet.giveBack(ticket, 100n, url)
  await world.wallet.delivered(ticket, 900n)
  assert.deepEqual([await credit(), (await world.wallet.summary()).spent], [100n, 900n])
})

test('a request whose answer was lost is asked for again under its number, in another tab too, and costs once', async () => {
  const world = await newWorld()
  await payFor(world, 'first')
  const ticket = await world.wallet.take(offerOf(world.vendor), { budget: noLimits, fingerprint: 'page' })
  assert.equal((await world.vendor.serve(ticket, 'page')).reason, 'accepted')
  await world.wallet.lose(ticket, true)
  const again = await (await world.another()).take(offerOf(world.vendor), { budget: noLimits, fingerprint: 'page' })
  assert.deepEqual([again.payment.number, again.isRepeat], [ticket.payment.number, true])
  const status = await world.vendor.serve(again, 'page')
  await world.wallet.settle(again, { url: 'https://news.example/page', amount: status.price, status, isWhole: true })
  assert.deepEqual([world.vendor.spent, (await world.wallet.summary()).spent], [2n * price, 2n * price])
})

test('a budget is kept to the micro, and names its limit', async () => {
  const budgets = {
    perRequest: { perRequest: 999n }, perSite: { perSite: 5n * price }, perDay: { perDay: 5n * price + 999n }, total: { total: 5n * price },
    perSiteAndDay: { perSiteAndDay: 5n * price }, perSiteAndMinute: { perSiteAndMinute: 5n * price },
  }
  for (const [limit, own] of Object.entries(budgets)) {
    const world = await newWorld()
    const budget = { ...noLimits, ...own }
    let paid = 0
    await assert.rejects(async () => {
      for (; paid < 10; paid++) await payFor(world, `page ${paid}`, { budget })
    }, (error: unknown) => error instanceof BudgetError && error.limit === limit, limit)
    assert.equal(paid, limit === 'perRequest' ? 0 : 5, limit)
    assert.equal(world.leak.released(), BigInt(paid) * price, limit)
    world.clock.seconds += limit === 'perSiteAndMinute' ? 61 : 86_401
    const isOver = ['perDay', 'perSiteAndDay', 'perSiteAndMinute'].includes(limit)
    if (isOver) assert.ok((await payFor(world, 'later', { budget })).isGranted, limit)
    else await assert.rejects(payFor(world, 'later', { budget }), BudgetError, limit)
  }
})

test('setting the clock back does not empty the budget of the day', async () => {
  const world = await newWorld()
  const budget = { ...noLimits, perDay: 2n * price }
  await payFor(world, 'one', { budget })
  await payFor(world, 'two', { budget })
  world.clock.seconds -= 2 * 86_400
  await assert.rejects(payFor(world, 'three', { budget }), (error: unknown) => error instanceof BudgetError && error.limit === 'perDay')
})

test('a vendor that serves nothing of what it is paid for is paid no more for five minutes', async () => {
  const world = await newWorld()
  const lose = async (page: number) => world.wallet.lose(await world.wallet.take(offerOf(world.vendor), { budget: noLimits, fingerprint: `${page}` }), false)
  let paid = 0
  await assert.rejects(async () => { for (; paid < 100; paid++) await lose(paid) }, StalledError)
  assert.ok(paid >= 32 && paid <= 33, `${paid} requests`)
  world.clock.seconds += 301
  assert.ok((await payFor(world, 'once more')).isGranted)
})

test('a commitment that the vendor forgot is sent along again; one that it refuses is replaced, once for a request', async () => {
  const world = await newWorld()
  await payFor(world, 'first')
  world.vendor.states.clear()
  assert.ok((await payFor(world, 'second')).isGranted)
  assert.equal(world.broker.count('POST', '/v1/reservations'), 1)
  world.vendor.refuseAll = 'commitment-closed'
  assert.equal((await payFor(world, 'third')).isGranted, false)
  assert.equal(world.broker.count('POST', '/v1/reservations'), 2)
  world.vendor.refuseAll = undefined
  assert.ok((await payFor(world, 'fourth')).isGranted)
})

test('a vendor that is too far behind is brought up by smaller steps', async () => {
  const world = await newWorld()
  world.vendor.maxStep = 4
  for (let page = 0; page < 3; page++) assert.ok((await payFor(world, `page ${page}`)).isGranted)
  for (let page = 0; page < 10; page++) {
    await world.wallet.lose(await world.wallet.take(offerOf(world.vendor), { budget: noLimits, fingerprint: `lost ${page}` }), false)
  }
  assert.ok((await payFor(world, 'after')).isGranted)
  assert.equal(world.broker.count('POST', '/v1/reservations'), 1)
})

test('a revoked certificate is replaced, and spares are renewed when half of their life is over', async () => {
  const world = await newWorld()
  await payFor(world, 'first')
  world.broker.revokeAll()
  world.clock.seconds += 25 * 3600
  assert.ok((await payFor(world, 'second')).isGranted)
  const fresh = await newWorld()
  await payFor(fresh, 'first')
  fresh.clock.seconds += 16 * 86_400
  assert.ok((await payFor(fresh, 'second')).isGranted)
  await fresh.wallet.close()
  assert.ok(fresh.broker.count('POST', '/v1/renewals') >= 1)
})

test('a backup goes on: what was paid after it the vendor proves, and it counts again', async () => {
  const world = await newWorld()
  for (let page = 0; page < 3; page++) await payFor(world, `before ${page}`)
  const backup = await world.wallet.backup()
  for (let page = 0; page < 8; page++) await payFor(world, `between ${page}`)
  const storage = new MemoryStorage()
  const restored = await Wallet.restore({ storage, fetch: world.broker.fetch, now: () => world.clock.seconds * 1000 }, backup)
  world.clock.seconds += 120
  for (let page = 0; page < 5; page++) {
    const ticket = await payPageOf(restored, world, `after ${page}`)
    assert.ok(ticket, `page ${page}`)
  }
  assert.equal((await restored.summary()).released, 16n * price)
  assert.equal(world.vendor.spent, 16n * price)
})

/** Pays without the check of numbers: a restored wallet gives out again what another life of it gave out. */
async function payPageOf(payer: Wallet, world: Awaited<ReturnType<typeof newWorld>>, request: string): Promise<boolean> {
  const { leak } = await newWorld()
  leak.note = () => undefined
  return (await payFor({ ...world, leak }, request, { payer })).isGranted
}

test('a wallet that cannot be had says why, and what is there stays', async () => {
  const storage = new MemoryStorage()
  const wallet = await Wallet.create({ storage }, { passphrase: 'correct horse', workFactor: 4 })
  const backup = await wallet.backup()
  const kindOf = (kind: string) => (error: unknown) => error instanceof PaywordError && error.kind === kind
  await assert.rejects(Wallet.create({ storage }), kindOf('storage'))
  const fresh = () => ({ storage: new MemoryStorage() })
  for (const [text, passphrase, kind] of [
    [backup, undefined, 'passphrase'], [backup, 'wrong', 'passphrase'], [backup.replace('"nextKey":0', '"nextKey":1'), 'correct horse', 'storage'],
    [backup.slice(0, -10), 'correct horse', 'storage'], [backup.replace('"version":1', '"version":2'), 'correct horse', 'storage'], ['{}', '', 'storage'],
  ] as const) await assert.rejects(Wallet.restore(fresh(), text, passphrase === undefined ? {} : { passphrase }), kindOf(kind), text.slice(0, 40))
  const restored = await Wallet.restore(fresh(), backup, { passphrase: 'correct horse' })
  assert.equal(await restored.seed(), await wallet.seed())
  await assert.rejects(wallet.balance(), kindOf('account'))
  await assert.rejects(wallet.take({ origin: 'https://a.example', vendor: 'https://a.example', price, currency: 'usd-micro', maxStep: 10, unreserved: false }, { budget: noLimits, fingerprint: 'x' }), kindOf('account'))
  await wallet.close()
  await assert.rejects(wallet.summary(), kindOf('storage'))
})

test('a wallet without a storage is a usage error', async () => {
  for (const options of [undefined, {}, { storage: {} }]) {
    await assert.rejects(Wallet.create(options as unknown as WalletOptions), { kind: 'usage' })
    await assert.rejects(Wallet.open(options as unknown as WalletOptions), { kind: 'usage' })
  }
})
