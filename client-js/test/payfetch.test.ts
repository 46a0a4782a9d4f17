import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Budget } from '../src/budget.js'
import { BrokerError, BudgetError, PaywordError, RefusedError } from '../src/errors.js'
import { payFetch } from '../src/payfetch.js'
import type { PayFetchOptions } from '../src/payfetch.js'
import type { Receipt } from '../src/payer.js'
import { FakeGate, FakeWeb } from './gate_fake.js'
import { FakePayer } from './payer_fake.js'

const news = 'https://news.example'
const budget: Budget = { perRequest: 5000n, perSite: 100_000n, perDay: 200_000n, total: 200_000n }

/** A gate, a payer and a payFetch between them. */
function start(options: Partial<PayFetchOptions> = {}): { web: FakeWeb, gate: FakeGate, payer: FakePayer, fetch: typeof fetch, receipts: Receipt[] } {
  const web = new FakeWeb()
  const gate = new FakeGate(web, news)
  const payer = new FakePayer()
  const receipts: Receipt[] = []
  const paying = payFetch({ payer, budget, fetch: web.fetch, onReceipt: receipt => receipts.push(receipt), ...options })
  return { web, gate, payer, fetch: paying, receipts }
}

async function textOf(answer: Promise<Response>): Promise<string> {
  return (await answer).text()
}

test('a 402 is paid, and the next page without asking', async () => {
  const { web, gate, payer, fetch, receipts } = start()
  assert.equal(await textOf(fetch(`${news}/a`)), 'content of /a')
  assert.equal(web.seen.length, 2, 'asked, then paid')
  assert.equal(await textOf(fetch(`${news}/b`)), 'content of /b')
  assert.equal(web.seen.length, 3, 'paid at once')
  assert.deepEqual(gate.taken, { accepted: 2000n, spent: 2000n })
  assert.equal(payer.released(), 2000n)
  assert.deepEqual(receipts.map(({ url, amount }) => [url, amount]), [[`${news}/a`, 1000n], [`${news}/b`, 1000n]])
  assert.equal(payer.count('delivered'), 2)
  const [, first, second] = web.seen
  assert.equal(first?.headers.get('Payword-Commitment'), 'a.commitment.token')
  assert.equal(second?.headers.get('Payword-Commitment'), null, 'the gate has it')
})

test('other answers are passed through untouched', async () => {
  const { web, gate, payer, fetch } = start()
  gate.prices.set('/free', 0n)
  const rows: [string, Response][] = [
    ['free', new Response('free')], ['missing', new Response('no', { status: 404 })], ['another scheme', new Response('', { status: 402, headers: { 'WWW-Authenticate': 'Payment id="a", realm="r", method="card", intent="charge", request="e30"' } })],
    ['a 402 that says nothing', new Response('', { status: 402 })], ['a field that cannot be read', new Response('', { status: 402, headers: { 'WWW-Authenticate': 'Payment id="' } })],
    ['a charge', new Response('', { status: 402, headers: { 'WWW-Authenticate': 'Payment id="a", realm="r", method="payword", intent="charge", request="e30"' } })],
    ['no time', new Response('', { status: 503, headers: { 'Retry-After': '1' } })],
  ]
  for (const [name, answer] of rows) {
    web.site('https://plain.example', () => answer)
    assert.equal(await fetch('https://plain.example/'), answer, name)
  }
  assert.equal(payer.count('take'), 0)
})

test('a free page beside paid ones is not paid', async () => {
  const { web, gate, payer, fetch } = start()
  gate.prices.set('/free', 0n)
  await textOf(fetch(`${news}/free`))
  await textOf(fetch(`${news}/a`))
  await textOf(fetch(`${news}/free`))
  assert.equal(payer.released(), 1000n)
  assert.equal(web.seen.at(-1)?.headers.get('Payword'), null)
})

test('the input is read in every form and not changed', async () => {
  const headers: [string, HeadersInit][] = [
    ['an object', { 'X-Own': '1' }], ['a list', [['X-Own', '1']]], ['Headers', new Headers({ 'X-Own': '1' })],
  ]
  for (const [name, given] of headers) {
    const { web, fetch } = start()
    const before = [...new Headers(given)]
    const init: RequestInit = Object.freeze({ method: 'post', headers: given, body: 'question' })
    assert.equal(await textOf(fetch(new URL(`${news}/a#part`), init)), 'content of /a', name)
    assert.deepEqual([...new Headers(given)], before, name)
    const paid = web.seen.at(-1)
    assert.deepEqual([paid?.method, paid?.url, paid?.body, paid?.headers.get('X-Own')], ['POST', `${news}/a#part`, 'question', '1'], name)
  }
  const { web, fetch } = start()
  const request = new Request(`${news}/a`, { method: 'PUT', headers: { 'X-Own': '2', Payword: 'mine' }, body: 'of a Request' })
  assert.equal(await textOf(fetch(request, { headers: { 'X-Own': '3' } })), 'content of /a')
  assert.deepEqual(web.seen.map(({ method, body }) => [method, body]), [['PUT', 'of a Request'], ['PUT', 'of a Request']])
  assert.equal(web.seen.at(-1)?.headers.get('X-Own'), '3')
  assert.equal(request.headers.get('Payword'), 'mine')
})

test('bodies of every kind are sent again after a 402', async () => {
  const form = new FormData()
  form.set('word', 'value')
  const piece = new TextEncoder().encode('bytes')
  const rows: [string, BodyInit, RegExp][] = [
    ['text', 'text', /^text$/], ['bytes', piece, /^bytes$/], ['a buffer', piece.buffer, /^bytes$/], ['a Blob', new Blob(['blob']), /^blob$/],
    ['parameters', new URLSearchParams({ a: 'b' }), /^a=b$/], ['a form', form, /name="word"\r\n\r\nvalue/], ['a short stream', new Blob(['stream']).stream(), /^stream$/],
    ['a long Blob', new Blob(['x'.repeat(1_500_000)]), /^x{1000}/],
  ]
  for (const [name, body, want] of rows) {
    const { web, gate, fetch } = start()
    assert.equal(await textOf(fetch(`${news}/a`, { method: 'POST', body })), 'content of /a', name)
    const [asked, paid] = web.seen
    assert.match(paid?.body ?? '', want, name)
    assert.equal(asked?.body, paid?.body, name)
    assert.equal(asked?.headers.get('Content-Type'), paid?.headers.get('Content-Type'), name)
    assert.equal(gate.taken.spent, 1000n, name)
  }
})

test('a long stream is sent once, and its 402 is refused', async () => {
  const { web, gate, payer, fetch } = start()
  const body = (): ReadableStream => new Blob(['x'.repeat(1_500_000)]).stream()
  await assert.rejects(fetch(`${news}/a`, { method: 'POST', body: body() }), (error: unknown) => {
    return error instanceof RefusedError && error.reason === 'payment-required' && error.price === 1000n
  })
  assert.equal(web.seen.length, 1)
  assert.equal(web.seen[0]?.body.length, 1_500_000)
  assert.equal(payer.released(), 0n)
  gate.prices.set('/free', 0n)
  assert.equal(await textOf(fetch(`${news}/free`, { method: 'POST', body: body() })), 'content of /free')
})

test('a lost answer is asked for again under the same number, if that is safe', async () => {
  const rows: [string, number, string, boolean][] = [['GET', 2, 'content of /a', true], ['GET', 3, 'lost', true], ['POST', 1, 'lost', false]]
  for (const [method, losses, want, isSafe] of rows) {
    const { web, gate, payer, fetch } = start()
    gate.loseAnswers = losses
    const got = await textOf(fetch(`${news}/a`, { method })).catch((error: PaywordError) => error.kind)
    assert.equal(got, want)
    const numbers = new Set(web.seen.slice(1).map(({ headers }) => /n=(\d+)/.exec(headers.get('Payword') ?? '')?.[1]))
    assert.equal(numbers.size, 1, `${method} ${losses}`)
    assert.equal(web.seen.length - 1, isSafe ? 3 : 1)
    assert.deepEqual(gate.taken, { accepted: 1000n, spent: 1000n })
    assert.equal(payer.released(), 1000n)
    if (want !== 'lost') continue
    assert.equal(await textOf(fetch(`${news}/a`, { method })), 'content of /a')
    // Whether a POST was executed nobody knows, so the next one is another.
    assert.equal(gate.taken.spent, isSafe ? 1000n : 2000n)
  }
})

test('a body that breaks off is asked for again free', async () => {
  const { gate, payer, fetch } = start()
  gate.breakBodies = 1
  await assert.rejects(textOf(fetch(`${news}/a`)), (error: unknown) => error instanceof PaywordError && error.kind === 'lost')
  assert.deepEqual([payer.count('delivered'), payer.count('lose repeatable')], [0, 1])
  assert.equal(await textOf(fetch(`${news}/a`)), 'content of /a')
  assert.deepEqual(gate.taken, { accepted: 1000n, spent: 1000n })
  assert.equal(payer.released(), 1000n)
  assert.equal(payer.count('delivered'), 1)
})

test('a body is passed on piece by piece, and its reader may leave', async () => {
  const { gate, payer, fetch } = start()
  let pulled = 0
  gate.upstream = () => new Response(new ReadableStream({
    pull: controller => controller.enqueue(new Uint8Array(65_536).fill(++pulled)),
  }, { highWaterMark: 0 }))
  const reader = (await fetch(`${news}/endless`)).body?.getReader()
  assert.equal((await reader?.read())?.value?.[0], 1)
  assert.equal((await reader?.read())?.value?.[0], 2)
  assert.ok(pulled <= 4, `${pulled} pieces were pulled for 2 that were read`)
  await reader?.cancel()
  assert.equal(payer.count('delivered'), 1)
})

test('the answer has the members that a fetch gives it', async () => {
  const { fetch } = start()
  const answer = await fetch(`${news}/a`)
  assert.deepEqual([answer.url, answer.redirected, answer.status, answer.ok], [`${news}/a`, false, 200, true])
  const copy = answer.clone()
  assert.equal(copy.url, `${news}/a`)
  assert.deepEqual([await answer.text(), await copy.text()], ['content of /a', 'content of /a'])
})

test('what is refused within the budget is mended', async () => {
  const { web, gate, payer, fetch } = start()
  await textOf(fetch(`${news}/a`))
  gate.prices.set('/a', 3000n)
  assert.equal(await textOf(fetch(`${news}/a`)), 'content of /a', 'the price rose')
  assert.deepEqual(gate.taken, { accepted: 4000n, spent: 4000n })
  gate.forget()
  gate.prices.set('/a', 1000n)
  assert.equal(await textOf(fetch(`${news}/a`)), 'content of /a', 'the gate forgot the commitment')
  assert.equal(web.seen.at(-1)?.headers.get('Payword-Reservation'), 'a.reservation.token')
  assert.ok(payer.released() <= 8000n)
})

test('a 503 is given to the caller, and the same again has the same number', async () => {
  const { web, gate, fetch } = start()
  await textOf(fetch(`${news}/a`))
  let isDown = true
  gate.before = request => isDown && request.headers.has('Payword') ? new Response('', { status: 503, headers: { 'Retry-After': '1' } }) : undefined
  const answer = await fetch(`${news}/b`)
  assert.deepEqual([answer.status, answer.headers.get('Retry-After')], [503, '1'])
  const number = web.seen.at(-1)?.headers.get('Payword')
  isDown = false
  await textOf(fetch(`${news}/b`))
  assert.equal(web.seen.at(-1)?.headers.get('Payword'), number)
  assert.equal(gate.taken.spent, 2000n)
})

test('an upstream error is not paid', async () => {
  const { gate, payer, fetch, receipts } = start()
  gate.upstream = () => new Response('broken', { status: 500 })
  assert.equal((await fetch(`${news}/a`)).status, 500)
  assert.deepEqual(gate.taken, { accepted: 1000n, spent: 0n })
  assert.equal(receipts[0]?.amount, 0n)
  gate.upstream = () => new Response('mended')
  assert.equal(await textOf(fetch(`${news}/a`)), 'mended')
  assert.equal(payer.released(), 1000n, 'the credit pays for the next one')
})

test('what never left is taken back', async () => {
  const { web, payer, fetch, gate } = start()
  await textOf(fetch(`${news}/a`))
  web.site(news, () => {
    throw new TypeError('fetch failed', { cause: Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }) })
  })
  await assert.rejects(fetch(`${news}/b`), TypeError)
  assert.equal(payer.count('takeBack'), 1)
  assert.equal(payer.count('lose repeatable'), 0)
  assert.deepEqual(gate.taken, { accepted: 1000n, spent: 1000n })
})

test('an abort ends it at every point and is told as it is', async () => {
  const reason = new Error('the reader left')
  const aborter = new AbortController()
  aborter.abort(reason)
  const early = start()
  await assert.rejects(early.fetch(`${news}/a`, { signal: aborter.signal }), reason)
  assert.equal(early.payer.released(), 0n)
  const late = new AbortController()
  const { gate, payer, fetch } = start()
  gate.before = request => {
    if (!request.headers.has('Payword')) return undefined
    late.abort(reason)
    throw reason
  }
  await assert.rejects(fetch(new Request(`${news}/a`, { signal: late.signal })), reason)
  assert.equal(payer.count('lose repeatable'), 1)
  gate.before = () => undefined
  assert.equal(await textOf(fetch(`${news}/a`)), 'content of /a')
  assert.equal(payer.released(), 1000n)
})

test('an abort while the wallet debits sends nothing', async () => {
  const aborter = new AbortController()
  const { web, payer, fetch } = start()
  const take = payer.take.bind(payer)
  payer.take = async (...given) => {
    aborter.abort()
    return take(...given)
  }
  await assert.rejects(fetch(`${news}/a`, { signal: aborter.signal }), { name: 'AbortError' })
  assert.equal(payer.count('takeBack'), 1)
  assert.equal(web.seen.length, 1)
})

test('thirty at once are each charged once', async () => {
  const { gate, payer, fetch } = start()
  const pages = Array.from({ length: 30 }, (_, page) => `/page-${page}`)
  const texts = await Promise.all(pages.map(page => textOf(fetch(`${news}${page}`))))
  assert.deepEqual(texts, pages.map(page => `content of ${page}`))
  assert.deepEqual([...gate.charged.values()], pages.map(() => 1))
  assert.deepEqual(gate.taken, { accepted: 30_000n, spent: 30_000n })
  assert.equal(payer.released(), 30_000n)
})

test('a payer that cannot note what came does not cost the answer', async () => {
  const { payer, fetch } = start()
  payer.settle = () => Promise.reject(new PaywordError('storage', 'full'))
  payer.delivered = () => Promise.reject(new PaywordError('storage', 'full'))
  assert.equal(await textOf(fetch(`${news}/a`)), 'content of /a')
})

test('nothing is sent if the wallet cannot debit', async () => {
  const { web, payer, fetch } = start()
  payer.take = () => Promise.reject(new PaywordError('storage', 'full'))
  await assert.rejects(fetch(`${news}/a`), { kind: 'storage' })
  assert.equal(web.seen.length, 1)
})

test('a wallet without an account says so', async () => {
  const { payer, fetch } = start()
  payer.hasAccount = false
  await assert.rejects(fetch(`${news}/a`), { kind: 'account' })
})

test('budgets and deposits that are no amounts are refused', () => {
  const payer = new FakePayer()
  const rows: unknown[] = [
    { budget: { ...budget, perDay: 5 } }, { budget: { ...budget, total: -1n } }, { budget: { ...budget, perSite: undefined } },
    { budget: { ...budget, perSiteAndDay: 10n ** 15n } }, { budget, deposit: 1.5 },
    { budget: { ...budget, perDai: 5n } }, {}, { budget, payer: undefined }, { budget, payer: {} },
  ]
  for (const row of rows) {
    assert.throws(() => payFetch({ payer, ...row as { budget: Budget } }), (error: unknown) => error instanceof PaywordError && error.kind === 'usage')
  }
})

test('a guess that the budget does not allow is no reason to refuse a page that is free', async () => {
  const { payer, gate, fetch } = start({ budget: { ...budget, perSite: 1000n } })
  await textOf(fetch(`${news}/a`))
  gate.prices.set('/free', 0n)
  assert.equal(await textOf(fetch(`${news}/free`)), 'content of /free')
  await assert.rejects(fetch(`${news}/b`), (error: unknown) => error instanceof BudgetError && error.limit === 'perSite')
  assert.equal(payer.released(), 1000n)
})

test('what a cache kept of another payment is no receipt', async () => {
  const { gate, fetch, receipts } = start()
  gate.editStatus = status => ({ ...status, number: 999 })
  assert.equal(await textOf(fetch(`${news}/a`)), 'content of /a')
  assert.deepEqual(receipts, [])
})

test('a server that calls too high what was agreed to is asked once', async () => {
  const { web, gate, fetch } = start()
  gate.refuseAll = 'price-over-max'
  await assert.rejects(fetch(`${news}/a`), { reason: 'price-over-max' })
  assert.equal(web.seen.filter(({ headers }) => headers.has('Payword')).length, 1)
})

test('all commitments of one request together stay within its budget', async () => {
  const { web, gate, payer, fetch } = start()
  payer.isRestless = true
  gate.price = 3000n
  gate.before = request => {
    if (request.headers.has('Payword')) gate.price = 4000n
    return undefined
  }
  await assert.rejects(fetch(`${news}/a`), (error: unknown) => error instanceof BudgetError && error.limit === 'perRequest')
  assert.equal(web.seen.filter(({ headers }) => headers.has('Payword')).length, 1, 'only what the budget allows was sent')
  assert.equal(payer.count('takeBack'), 1)
})

test('a page that is free is had though the wallet cannot pay what was guessed', async () => {
  const { web, gate, payer, fetch } = start()
  await textOf(fetch(`${news}/a`))
  gate.prices.set('/free', 0n)
  const { take } = payer
  for (const error of [new BrokerError({ broker: payer.broker, action: 'reserving', detail: 'it is away' }), new PaywordError('storage', 'the disk is full')]) {
    payer.take = () => Promise.reject(error)
    const path = `/free?${error.kind}`
    assert.equal(await textOf(fetch(`${news}${path}`)), 'content of /free')
    await assert.rejects(fetch(`${news}/b`), { kind: error.kind })
  }
  payer.take = take
  assert.ok(web.seen.slice(2).every(({ headers }) => headers.get('Payword') === null))
})

test('a POST whose answer is a redirect that the browser hides is sent once', async () => {
  const { web, gate, fetch } = start()
  web.isBrowser = true
  await textOf(fetch(`${news}/a`))
  gate.prices.set('/order', 0n)
  gate.prices.set('/thanks', 0n)
  gate.upstream = request => new URL(request.url).pathname === '/order' ? new Response(null, { status: 303, headers: { Location: `${news}/thanks` } }) : new Response('thanks')
  assert.equal(await textOf(fetch(`${news}/order`, { method: 'POST', body: 'one' })), 'thanks')
  assert.equal(web.seen.filter(({ method, url }) => method === 'POST' && url === `${news}/order`).length, 1)
})
