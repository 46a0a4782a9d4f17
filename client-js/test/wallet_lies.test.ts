import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MemoryStorage, PaywordError, Wallet } from '../src/index.js'
import type { Budget } from '../src/budget.js'
import type { Offer, Payer, Status, Terms } from '../src/payer.js'
import { reasons } from '../src/reason.js'
import { noLimits } from './paying.js'
import { FaultyStorage, newWorld, offerOf, payFor, type World } from './wallet_world.js'
import { FakeVendor } from './vendor_fake.js'

const amounts = [0n, 1n, 500n, 1000n, 1001n, 5000n, 500_000n, 999_999_999_999_999n]

/** What a vendor says, whatever the truth is. */
const lies = fc.record({
  reason: fc.constantFrom(...reasons), price: fc.constantFrom(...amounts), isKnown: fc.boolean(),
  accepted: fc.option(fc.constantFrom(...amounts)), spent: fc.option(fc.constantFrom(...amounts)),
  index: fc.option(fc.constantFrom(0, 1, 2, 10, 500, 1 << 20)), isTailTrue: fc.boolean(),
})

function lieOf(lie: typeof lies extends fc.Arbitrary<infer T> ? T : never) {
  return (status: Status): Status => {
    const told: Status = { reason: lie.reason, price: lie.price }
    if (!lie.isKnown || !status.known) return told
    const { known } = status
    return {
      ...told, known: {
        ...known, accepted: lie.accepted ?? known.accepted, spent: lie.spent ?? known.spent, index: lie.index ?? known.index,
        tailHash: lie.isTailTrue ? known.tailHash : 'A'.repeat(43),
      },
    }
  }
}

/** One thing that happens: a page is asked for in a tab, of a vendor with a mood. */
const events = fc.record({
  tab: fc.nat(1), vendor: fc.nat(1), page: fc.nat(3), isLost: fc.boolean(), lie: fc.option(lies, { freq: 3 }), seconds: fc.constantFrom(0, 1, 70, 400, 90_000),
  price: fc.constantFrom(1n, 700n, 1000n, 40_000n),
})

const budgets: fc.Arbitrary<Budget> = fc.record({
  perRequest: fc.constantFrom(1000n, 5000n, 40_000n), perSite: fc.constantFrom(3000n, 50_000n, 900_000n),
  perDay: fc.constantFrom(2500n, 60_000n), total: fc.constantFrom(7000n, 100_000n),
  perSiteAndDay: fc.constantFrom(2000n, 40_000n), perSiteAndMinute: fc.constantFrom(1500n, 40_000n),
})

/** Runs events one after the other and checks after each what left the wallet. */
async function keepsTo(budget: Budget, happens: EventOf[]): Promise<void> {
  const world = await newWorld({ deposit: 20_000n })
  const tabs = [world.wallet, await world.another()]
  const vendors = [world.vendor, new FakeVendor('https://other.example', world.broker.brokers, () => world.clock.seconds)]
  let day = { at: Math.floor(world.clock.seconds / 86_400), released: 0n }
  for (const [k, event] of happens.entries()) {
    world.clock.seconds += event.seconds
    const today = Math.floor(world.clock.seconds / 86_400)
    if (today > day.at) day = { at: today, released: world.leak.released() }
    const vendor = vendors[event.vendor]!
    vendor.price = event.price
    vendor.lie = event.lie ? lieOf(event.lie) : status => status
    const released = await attempt(world, `page ${event.page} of ${event.seconds ? k : 'now'}`, { vendor, budget, payer: tabs[event.tab]!, isLost: () => event.isLost })
    assert.ok(released <= budget.perRequest, `${released} for one request`)
    assert.ok(world.leak.released() <= budget.total, 'total')
    assert.ok(world.leak.released() - day.released <= budget.perDay, 'perDay')
    for (const { origin } of vendors) assert.ok(world.leak.released(origin) <= budget.perSite, 'perSite')
    assert.ok((await world.wallet.summary()).released >= world.leak.released(), 'the document knows of less than was released')
  }
}

type EventOf = typeof events extends fc.Arbitrary<infer T> ? T : never

/** Pays, and returns what was released for it; an error of the library ends it. */
async function attempt(world: World, request: string, settings: Parameters<typeof payFor>[2]): Promise<bigint> {
  const before = world.leak.released()
  try {
    return (await payFor(world, request, settings)).released
  } catch (error) {
    if (!(error instanceof PaywordError)) throw error
    return world.leak.released() - before
  }
}

test('whatever vendors say, no more is released than every limit allows, and the document knows of it', async () => {
  await fc.assert(fc.asyncProperty(budgets, fc.array(events, { minLength: 1, maxLength: 14 }), keepsTo), { numRuns: 40 })
})

/**
 * Loses the answers of some requests, and a request of a coarser chain, so that
 * a vendor can say credibly that it has spent all that it got.
 */
async function loseSome(world: World): Promise<void> {
  for (let k = 0; k < 8; k++) {
    const ticket = await world.wallet.take(offerOf(world.vendor), { budget: noLimits, fingerprint: `lost ${k}` })
    world.leak.note(ticket, `lost ${k}`)
    await world.vendor.serve(ticket, `lost ${k}`)
    await world.wallet.lose(ticket, false)
  }
  const ticket = await world.wallet.take(offerOf(world.vendor, 16_000n), { budget: noLimits, fingerprint: 'dear' })
  world.leak.note(ticket, 'dear')
  assert.notEqual(ticket.payment.chain, 0)
  await world.wallet.lose(ticket, false)
}

const robberies: Record<string, (status: Status) => Status> = {
  'all credit is gone, again and again': status => ({ ...status, reason: 'insufficient-credit', ...status.known ? { known: { ...status.known, spent: status.known.accepted } } : {} }),
  'every commitment is closed': ({ price }) => ({ reason: 'commitment-closed', price }),
  'the price rises': ({ price }) => ({ reason: 'price-over-max', price: price + 1n }),
}

for (const [name, lie] of Object.entries(robberies)) {
  test(`one request never takes more than its limit, even if its caller keeps no count: ${name}`, async () => {
    for (const isTold of [true, false]) {
      for (const perRequest of [1000n, 2500n]) {
        const world = await newWorld()
        await loseSome(world)
        world.vendor.lie = lie
        const before = world.leak.released()
        const payer: Payer = isTold ? world.wallet : Object.assign(Object.create(world.wallet) as Payer, {
          take: (offer: Offer, { forfeited: _, ...terms }: Terms) => world.wallet.take(offer, terms),
          refused: (...given: Parameters<Payer['refused']>) => world.wallet.refused(...given),
        })
        await payFor(world, 'page', { payer, budget: { ...noLimits, perRequest } }).catch((error: unknown) => assert.ok(error instanceof PaywordError, String(error)))
        assert.ok(world.leak.released() - before <= perRequest, `${world.leak.released() - before} released, ${perRequest} allowed`)
      }
    }
  })
}

test('what cannot be true of a commitment is not believed', async () => {
  const lies: ((status: Status) => Status)[] = [
    status => ({ ...status, known: { ...status.known!, index: status.known!.index + 5 } }),
    status => ({ ...status, known: { ...status.known!, tailHash: 'A'.repeat(43) } }),
    status => ({ ...status, known: { ...status.known!, accepted: status.known!.accepted + 1n } }),
    status => ({ ...status, known: { ...status.known!, accepted: 0n, spent: 0n } }),
    status => ({ ...status, known: { ...status.known!, spent: status.known!.spent + 1n } }),
  ]
  for (const lie of lies) {
    const world = await newWorld()
    await payFor(world, 'first')
    world.vendor.lie = status => lie({ ...status, reason: 'insufficient-credit' })
    const { isGranted, released } = await payFor(world, 'second')
    assert.deepEqual([isGranted, released], [false, 1000n], String(lie))
    assert.equal((await world.wallet.summary()).released, 2000n, String(lie))
  }
})

/** What a wallet does in the test of crash points. */
async function live(world: World, life: number): Promise<void> {
  const say = (request: string, isLost = false) => payFor(world, `${request} ${life}`, { isLost: () => isLost })
  await say('first')
  await say('lost', true)
  await say('lost')
  world.vendor.price = 1500n
  await say('dearer')
  world.vendor.refuseAll = 'commitment-closed'
  await say('refused')
  world.vendor.refuseAll = undefined
  world.vendor.price = 1000n
  await say('last')
}

test('a wallet whose storage fails at any write, before or after it, never released more than it knows of', async () => {
  const whole = new FaultyStorage(new MemoryStorage())
  const healthy = await newWorld({ storage: whole })
  await live(healthy, 0)
  assert.ok(whole.writes > 20, `${whole.writes} writes`)
  for (let failAt = 2; failAt <= whole.writes; failAt++) {
    for (const isDone of [false, true]) {
      const storage = new FaultyStorage(new MemoryStorage())
      const world = await newWorld({ storage })
      storage.failAt = failAt
      storage.isDone = isDone
      await live(world, 1).catch((error: unknown) => { if (error instanceof assert.AssertionError) throw error })
      const where = `write ${failAt}, ${isDone ? 'after' : 'before'}`
      world.vendor.refuseAll = undefined
      world.vendor.price = 1000n
      assert.ok((await world.wallet.summary()).released >= world.leak.released(), where)
      world.clock.seconds += 61 // the claim of an opening that was cut off
      world.wallet = await world.another()
      assert.ok((await payFor(world, 'after the crash')).isGranted, `${where}: it pays on`)
      assert.ok((await world.wallet.summary()).released >= world.leak.released(), where)
    }
  }
})

test('a broker that fails, lies or sends us elsewhere takes nothing, and says why', async () => {
  const answers: [string, (path: string) => Response | undefined, RegExp][] = [
    ['redirect', path => path === '/v1/reservations' ? new Response(null, { status: 302, headers: { Location: 'https://evil.example/' } }) : undefined, /elsewhere/],
    ['no JSON', path => path === '/v1/certificates' ? new Response('<html>') : undefined, /not what was asked for/],
    ['few certificates', path => path === '/v1/certificates' ? Response.json({ certificates: [] }) : undefined, /0 certificates for 4/],
    ['long', path => path === '/v1/reservations' ? new Response('x'.repeat(2 << 20)) : undefined, /more than/],
    ['a header in it', path => path === '/v1/reservations' ? Response.json({ reservation: 'a\r\nSet-Cookie: b' }) : undefined, /fits a header/],
    ['problem', path => path === '/v1/reservations' ? Response.json({ reason: 'blocked', detail: 'ask us\u0000\n' }, { status: 403 }) : undefined, /refused: blocked: ask us {2}$/],
    ['503', path => path === '/v1/reservations' ? new Response('', { status: 503 }) : undefined, /answer 503/],
  ]
  for (const [name, before, said] of answers) {
    const world = await newWorld()
    world.broker.before = (_, path) => before(path)
    await assert.rejects(payFor(world, 'page'), (error: unknown) => error instanceof PaywordError && error.kind === 'broker' && said.test(error.message), name)
    assert.equal(world.leak.released(), 0n, name)
    world.broker.before = () => undefined
    assert.ok((await payFor(world, 'page')).isGranted, `${name}: it pays when the broker is well again`)
  }
})

test('an answer of the broker that is lost costs nothing: the same is asked again', async () => {
  for (let lost = 1; lost <= 2; lost++) {
    const world = await newWorld()
    world.broker.loseAnswers = lost === 1 ? 1 : 0
    world.broker.before = (_, path) => {
      if (lost === 2 && path === '/v1/reservations' && world.broker.count('POST', path) === 1) world.broker.loseAnswers = 1
      return undefined
    }
    await assert.rejects(payFor(world, 'page'), { kind: 'broker' })
    assert.ok((await payFor(world, 'page')).isGranted)
    assert.equal(world.broker.reserved, 500_000n, 'it is reserved once')
  }
})

test('a smaller balance is reserved as it is; too small a one is refused', async () => {
  const world = await newWorld()
  world.broker.balance = 3_500n
  assert.ok((await payFor(world, 'page')).isGranted)
  assert.equal(world.broker.reserved, 3_500n)
  const poor = await newWorld()
  poor.broker.balance = 999n
  await assert.rejects(payFor(poor, 'page'), (error: unknown) => error instanceof PaywordError && 'reason' in error && error.reason === 'insufficient-funds')
})

test('a wallet restored from its seed finds its place by what the vendor proves', async () => {
  const world = await newWorld()
  for (let page = 0; page < 9; page++) await payFor(world, `lost ${page}`)
  const options = { storage: new MemoryStorage(), fetch: world.broker.fetch, now: () => world.clock.seconds * 1000 }
  const found = await Wallet.restoreSeed(options, { seed: (await world.wallet.seed()).toLowerCase().replaceAll('-', ' '), broker: world.broker.origin })
  world.leak.note = () => undefined
  for (let page = 0; page < 4; page++) assert.ok((await payFor(world, `found ${page}`, { payer: found })).isGranted)
  assert.deepEqual([(await found.summary()).released, world.vendor.spent, world.broker.count('POST', '/v1/reservations')], [13_000n, 13_000n, 1])
  const budget = { ...noLimits, total: 13_000n }
  await assert.rejects(payFor(world, 'more', { payer: found, budget }), { kind: 'budget' })
})
