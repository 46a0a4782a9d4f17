// What dishonest sites do to a fetch that pays: rows 39, 41, 42, 46 and 47 of the
// attacks, and the classes that wallets of other payment methods were tested with.
// Each row says what the owner allowed, and compares what left the wallet with it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Micros } from '../src/amount.js'
import type { Budget } from '../src/budget.js'
import type { PriceRequest } from '../src/challenge.js'
import { PaywordError } from '../src/errors.js'
import { payFetch } from '../src/payfetch.js'
import { FakeGate, FakeWeb } from './gate_fake.js'
import { FakePayer } from './payer_fake.js'

const news = 'https://news.example'
const budget: Budget = { perRequest: 5000n, perSite: 20_000n, perDay: 30_000n, total: 30_000n }

interface Scene {
  web: FakeWeb
  gate: FakeGate
  payer: FakePayer
  fetch: typeof fetch
}

function start(limits: Budget = budget): Scene {
  const web = new FakeWeb()
  const gate = new FakeGate(web, news)
  const payer = new FakePayer()
  return { web, gate, payer, fetch: payFetch({ payer, budget: limits, fetch: web.fetch }) }
}

/** What came of a request: the text of the answer, or the word for why there is none. */
async function outcome(answer: Promise<Response>): Promise<string> {
  try {
    return await (await answer).text()
  } catch (error) {
    const { kind, reason, limit } = error as { kind?: string, reason?: string, limit?: string }
    return reason ?? limit ?? kind ?? (error as Error).name
  }
}

const quoting = (change: (quote: PriceRequest) => PriceRequest) => ({ gate }: Scene): void => {
  gate.editQuote = change
}
const details = (change: Partial<PriceRequest['methodDetails']>): (scene: Scene) => void =>
  quoting(quote => ({ ...quote, methodDetails: { ...quote.methodDetails, ...change } }))

interface Attack {
  name: string
  lie: (scene: Scene) => void
  /** Asked for; the article of the honest site unless set. */
  url?: string
  init?: RequestInit
  want: string
  /** The most that may leave the wallet, in micros. */
  allowed: Micros
}

const attacks: Attack[] = [
  { name: 'control: an honest site is paid', lie: () => {}, want: 'content of /a', allowed: 1000n },
  { name: 'a price above the limit per request', lie: ({ gate }) => { gate.price = 5001n }, want: 'perRequest', allowed: 0n },
  { name: 'bait: a price of nothing, then a dear one', lie: bait, want: 'perRequest', allowed: 0n },
  { name: 'bait: the price rises after each payment', lie: scene => rising(scene, 1000n), want: 'content of /a', allowed: 5000n },
  { name: 'bait: it rises above the limit', lie: scene => rising(scene, 2500n), want: 'perRequest', allowed: 5000n },
  { name: 'a price is called too high that was agreed to', lie: ({ gate }) => { gate.refuseAll = 'price-over-max' }, want: 'price-over-max', allowed: 1000n },
  { name: 'another recipient', lie: quoting(quote => ({ ...quote, recipient: 'https://evil.example' })), want: 'wrong-vendor', allowed: 0n },
  { name: 'a recipient that vouches for another origin alone', lie: vouching('https://evil.example', ['https://other.example']), want: 'wrong-vendor', allowed: 0n },
  { name: 'a recipient whose document is another vendor\'s', lie: vouching('https://evil.example', [news], 'https://evil.example:8443'), want: 'wrong-vendor', allowed: 0n },
  { name: 'a recipient on this machine', lie: vouching('http://127.0.0.1:8080', [news]), want: 'wrong-vendor', allowed: 0n },
  { name: 'control: a recipient that lists the origin', lie: vouching('https://publisher.example', [news]), want: 'content of /a', allowed: 1000n },
  { name: 'another resource', lie: details({ url: `${news}/b` }), want: 'wrong-resource', allowed: 0n },
  { name: 'a resource of another site', lie: details({ url: 'https://evil.example/a' }), want: 'wrong-resource', allowed: 0n },
  { name: 'another method', lie: details({ httpMethod: 'POST' }), want: 'wrong-resource', allowed: 0n },
  { name: 'another version of the method', lie: details({ version: 2 }), want: 'method-unsupported', allowed: 0n },
  { name: 'another broker', lie: details({ brokers: ['https://evil.example'] }), want: 'unknown-broker', allowed: 0n },
  { name: 'another currency with the same digits', lie: quoting(quote => ({ ...quote, currency: 'eur-micro' })), want: 'wrong-currency', allowed: 0n },
  { name: 'a unit that is no micro', lie: raw({ amount: '1', currency: 'usd' }), want: 'invalid-challenge', allowed: 0n },
  { name: 'an amount with a fraction', lie: raw({ amount: '0.001' }), want: 'invalid-challenge', allowed: 0n },
  { name: 'an amount that is a number', lie: raw({ amount: 1000 }), want: 'invalid-challenge', allowed: 0n },
  { name: 'a negative amount', lie: raw({ amount: '-1000' }), want: 'invalid-challenge', allowed: 0n },
  { name: 'a quote that ended', lie: ({ gate }) => { gate.editChallenge = challenge => ({ ...challenge, expires: '2020-01-01T00:00:00Z' }) }, want: 'challenge-expired', allowed: 0n },
  { name: 'a quote that ends at no time', lie: ({ gate }) => { gate.editChallenge = challenge => ({ ...challenge, expires: 'for ever' }) }, want: 'challenge-expired', allowed: 0n },
  { name: 'another body', lie: ({ gate }) => { gate.editChallenge = challenge => ({ ...challenge, digest: 'sha-256=:AAAA:' }) }, want: 'wrong-resource', allowed: 0n },
  { name: 'a rail that is switched', lie: ({ gate }) => { gate.editChallenge = challenge => ({ ...challenge, method: 'card' }) }, want: 'pay first', allowed: 0n },
  { name: 'a price in words alone', lie: ({ gate }) => { gate.before = () => new Response('Send 5 dollars to be let in', { status: 402 }) }, want: 'Send 5 dollars to be let in', allowed: 0n },
  { name: 'a challenge that was injected into a text', lie: ({ gate }) => { gate.editChallenge = challenge => ({ ...challenge, realm: 'a", request="e30', description: 'x", amount="9"' }) }, want: 'content of /a', allowed: 1000n },
  { name: 'the dearest of several offers first', lie: severalOffers, want: 'content of /a', allowed: 1000n },
  { name: '402 for ever, without a word of the payment', lie: ({ gate }) => { gate.before = request => gate.refuse(request, undefined) }, want: 'payment-required', allowed: 1000n },
  { name: '402 for ever: not enough credit', lie: ({ gate }) => { gate.refuseAll = 'insufficient-credit' }, want: 'insufficient-credit', allowed: 5000n },
  { name: '402 for ever: the number was used', lie: ({ gate }) => { gate.refuseAll = 'already-used' }, want: 'already-used', allowed: 5000n },
  { name: '402 for ever: the commitment is not known', lie: ({ gate }) => { gate.refuseAll = 'unknown-commitment' }, want: 'unknown-commitment', allowed: 1000n },
  { name: 'an origin that is passed from vendor to vendor', lie: passedOn, want: 'payment-required', allowed: 5000n },
  { name: 'nothing is delivered', lie: ({ gate }) => { gate.upstream = () => new Response('') }, want: '', allowed: 1000n },
  { name: 'it says that it charged more than was agreed', lie: ({ gate }) => { gate.editStatus = status => ({ ...status, price: 999_999n }) }, want: 'content of /a', allowed: 1000n },
  { name: 'the http twin of an https site', lie: ({ web }) => { new FakeGate(web, 'http://news.example') }, url: 'http://news.example/a', want: 'insecure-transport', allowed: 0n },
  { name: 'a lookalike that asks to pay the true one', lie: lookalike('https://news.example.evil.example'), url: 'https://news.example.evil.example/a', want: 'wrong-vendor', allowed: 0n },
  { name: 'another port that asks to pay the site', lie: lookalike('https://news.example:8443'), url: 'https://news.example:8443/a', want: 'wrong-vendor', allowed: 0n },
  { name: 'a name in letters that look alike', lie: lookalike('https://xn--ews-6ma.example'), url: 'https://\u00f1ews.example/a', want: 'wrong-vendor', allowed: 0n },
  { name: 'an answer that cannot be read', lie: () => {}, init: { mode: 'no-cors' }, want: 'pay first', allowed: 0n },
]

/** It quotes nothing, and asks for a fortune once it is paid. */
function bait({ gate }: Scene): void {
  gate.price = 0n
  gate.before = request => request.headers.has('Payword') ? undefined : gate.refuse(request, undefined)
  gate.editStatus = status => ({ ...status, reason: 'price-over-max', price: 900_000n })
  gate.refuseAll = 'price-over-max'
}

/** Twice, what was asked for is not enough once it was paid. */
function rising({ gate }: Scene, step: Micros): void {
  const end = gate.price + 2n * step
  gate.before = request => {
    if (request.headers.has('Payword') && gate.price < end) gate.price += step
    return undefined
  }
}

function vouching(vendor: string, origins: string[], name: string = vendor) {
  return ({ web, gate }: Scene): void => {
    gate.editQuote = quote => ({ ...quote, recipient: vendor })
    web.site(vendor, () => Response.json({ vendor: name, keys: [], brokers: gate.brokers, currency: 'usd-micro', maxStep: 4096, origins, version: 1 }))
  }
}

/** Changes members of the quote as JSON, to what its type does not allow. */
function raw(members: Record<string, unknown>) {
  return ({ gate }: Scene): void => {
    gate.editChallenge = challenge => {
      const quote = JSON.parse(Buffer.from(challenge.request, 'base64url').toString()) as object
      return { ...challenge, request: Buffer.from(JSON.stringify({ ...quote, ...members })).toString('base64url') }
    }
  }
}

/** Before the honest challenge stands one that no wallet should take. */
function severalOffers({ gate, web }: Scene): void {
  const honest = new FakeGate(web, news)
  const dear = new FakeGate(web, 'https://dear.example')
  dear.price = 4000n
  web.site(news, async request => {
    if (request.headers.has('Payword')) return honest.serve(request)
    const [first, second] = [dear.refuse(request, undefined), honest.refuse(request, undefined)]
    return new Response('pay first', { status: 402, headers: { 'WWW-Authenticate': `${first.headers.get('WWW-Authenticate')}, ${second.headers.get('WWW-Authenticate')}` } })
  })
  gate.price = honest.price
}

/** Each 402 names the next vendor, which lists the origin, and says nothing of the payment. */
function passedOn({ web, gate }: Scene): void {
  let count = 0
  gate.price = 3000n
  gate.before = request => gate.refuse(request, undefined)
  gate.editQuote = quote => {
    const vendor = `https://vendor-${++count}.example`
    web.site(vendor, () => Response.json({ vendor, keys: [], brokers: gate.brokers, currency: 'usd-micro', maxStep: 4096, origins: [news], version: 1 }))
    return { ...quote, recipient: vendor }
  }
}

function lookalike(origin: string) {
  return ({ web }: Scene): void => {
    const twin = new FakeGate(web, origin)
    twin.editQuote = quote => ({ ...quote, recipient: news })
  }
}

for (const { name, lie, url = `${news}/a`, init, want, allowed } of attacks) {
  test(name, async () => {
    const scene = start()
    lie(scene)
    const got = await outcome(scene.fetch(url, init))
    assert.equal(got, want)
    assert.ok(scene.payer.released() <= allowed, `${scene.payer.released()} micros left the wallet, ${allowed} were allowed`)
    if (name.startsWith('control')) assert.equal(scene.payer.released(), allowed, 'the honest site was paid')
    const sent = scene.web.seen.filter(({ headers }) => headers.has('Payword'))
    assert.ok(sent.length <= 3, `${sent.length} requests were paid`)
  })
}

test('a loop of payments ends at each limit', async () => {
  const rows: [string, Budget, Micros][] = [
    ['perSite', budget, 20_000n], ['perDay', { ...budget, perSite: 90_000n, perDay: 7000n }, 7000n],
    ['total', { ...budget, perSite: 90_000n, perDay: 90_000n, total: 9000n }, 9000n], ['perRequest', { ...budget, perRequest: 999n }, 0n],
  ]
  for (const [limit, limits, allowed] of rows) {
    const { payer, gate, fetch } = start(limits)
    const got = await Promise.all(Array.from({ length: 100 }, (_, page) => outcome(fetch(`${news}/${page}`))))
    assert.equal(payer.released(), allowed, limit)
    assert.equal(gate.taken.accepted, allowed, limit)
    assert.equal(got.filter(text => text.startsWith('content')).length, Number(allowed / 1000n), limit)
    assert.equal(got.filter(text => text === limit).length, 100 - Number(allowed / 1000n), limit)
  }
})

test('one price split over many origins stays within the day', async () => {
  const { web, payer, fetch } = start()
  for (let site = 0; site < 50; site++) new FakeGate(web, `https://site-${site}.example`)
  await Promise.all(Array.from({ length: 50 }, (_, site) => outcome(fetch(`https://site-${site}.example/a`))))
  assert.equal(payer.released(), 30_000n)
})

/** Sends `/from` on to a target, once it is paid or at once. */
function redirecting({ gate, web }: Scene, target: string, status: number, isPaid: boolean): void {
  const leave = (): Response => new Response(null, { status, headers: { Location: target } })
  gate.upstream = request => request.url.endsWith('/from') ? leave() : new Response('arrived')
  if (!isPaid) gate.before = request => request.url.endsWith('/from') ? leave() : undefined
  for (const origin of ['https://evil.example', 'http://news.example']) web.site(origin, () => new Response('loot'))
}

test('a payment follows no redirect', async () => {
  const rows: [string, number, boolean, boolean, string][] = [
    // target, status, behind the gate, in a browser, what came
    ['https://evil.example/loot', 302, true, false, 'loot'], ['https://evil.example/loot', 307, true, false, 'loot'],
    ['https://evil.example/loot', 302, true, true, 'lost'], ['https://evil.example/loot', 302, false, false, 'loot'],
    ['https://evil.example/loot', 302, false, true, 'loot'], ['http://news.example/loot', 301, true, false, 'loot'],
    [`${news}/to`, 302, true, false, 'arrived'], [`${news}/to`, 302, true, true, 'lost'], ['/to', 308, false, true, 'arrived'],
    ['data:text/html,loot', 302, true, false, 'TypeError'],
  ]
  for (const [target, status, isPaid, isBrowser, want] of rows) {
    for (const isWarm of [false, true]) {
      const scene = start()
      const { web, payer, fetch } = scene
      web.isBrowser = isBrowser
      if (isWarm) await outcome(fetch(`${news}/other`))
      redirecting(scene, target, status, isPaid)
      const name = `${status} to ${target}, paid ${isPaid}, browser ${isBrowser}, warm ${isWarm}`
      assert.equal(await outcome(fetch(`${news}/from`, { headers: { Authorization: 'Bearer secret' } })), want, name)
      for (const origin of ['https://evil.example', 'http://news.example']) {
        for (const { headers } of web.seenBy(origin)) {
          assert.deepEqual([...headers.keys()].filter(key => key.startsWith('payword')), [], name)
          if (isPaid) assert.equal(headers.get('Authorization'), null, name)
        }
      }
      assert.ok(payer.released() <= 2000n, name)
    }
  }
})

test('a redirect to a site that asks to be paid is a request of its own', async () => {
  const scene = start()
  const other = new FakeGate(scene.web, 'https://other.example')
  other.upstream = () => new Response('of the other')
  redirecting(scene, 'https://other.example/a', 302, true)
  const answer = await scene.fetch(`${news}/from`)
  assert.deepEqual([await answer.text(), answer.url, answer.redirected], ['of the other', 'https://other.example/a', true])
  assert.deepEqual([scene.gate.taken.spent, other.taken.spent], [0n, 1000n])
  const [asked] = scene.web.seenBy('https://other.example')
  assert.equal(asked?.headers.get('Payword'), null)
})

test('redirects for ever end', async () => {
  const { gate, payer, fetch } = start()
  gate.upstream = () => new Response(null, { status: 302, headers: { Location: '/again' } })
  assert.equal(await outcome(fetch(`${news}/again`)), 'TypeError')
  assert.ok(payer.released() <= 1000n)
  assert.equal(gate.taken.spent, 0n)
})

test('the caller\'s own mode of redirects counts', async () => {
  const scene = start()
  redirecting(scene, '/to', 302, true)
  assert.equal((await scene.fetch(`${news}/from`, { redirect: 'manual' })).status, 302)
  assert.equal(await outcome(scene.fetch(`${news}/from`, { redirect: 'error' })), 'TypeError')
})

test('a POST that a redirect changes into a GET loses its body', async () => {
  const scene = start()
  redirecting(scene, `${news}/to`, 303, true)
  assert.equal(await outcome(scene.fetch(`${news}/from`, { method: 'POST', body: 'secret' })), 'arrived')
  const last = scene.web.seen.at(-1)
  assert.deepEqual([last?.method, last?.body, last?.headers.get('Content-Type')], ['GET', '', null])
})

test('errors hold no payword', async () => {
  for (const { lie, url = `${news}/a`, init } of attacks) {
    const scene = start()
    lie(scene)
    const error: unknown = await scene.fetch(url, init).then(answer => answer.text(), (thrown: unknown) => thrown)
    if (!(error instanceof PaywordError)) continue
    const sent = scene.web.seen.flatMap(({ headers }) => /w=:([^:]+):/.exec(headers.get('Payword') ?? '')?.[1] ?? [])
    for (const word of sent) assert.ok(!`${error.message} ${error.stack}`.includes(word))
  }
})
