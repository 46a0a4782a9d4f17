import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import fc from 'fast-check'
import { BrokerError, BudgetError, PaywordError, RefusedError, StalledError } from '../src/errors.js'
import {
  bridgeName, extensionPayer, isMethod, maxBridgeText, postBridgeMessage, readArguments, readBridgeMessage, readCall, readError, writeArguments, writeError, writeResult,
} from '../src/extension_payer.js'
import type { BridgeMessage, BridgeMethod, CallAnswer } from '../src/extension_payer.js'
import type { Offer, Payer, Receipt, Terms, Ticket } from '../src/payer.js'

const siteOrigin = 'https://news.example'

/** A window of its own, as far as the bridge uses it. Messages come in the order they were posted. */
class FakeWindow extends EventTarget {
  readonly location = { origin: siteOrigin }
  top: unknown = this

  /** What any script in the page can do. */
  postMessage(data: unknown, targetOrigin: string): void {
    assert.equal(targetOrigin, siteOrigin)
    this.post(data, this, siteOrigin)
  }

  /** What a frame or another window can do: the browser writes source and origin. */
  post(data: unknown, source: unknown, origin: string): void {
    const event = Object.assign(new Event('message'), { data: structuredClone(data), source, origin })
    setImmediate(() => this.dispatchEvent(event))
  }

  asWindow(): Window {
    return this as unknown as Window
  }
}

function openWindow(): FakeWindow {
  const own = new FakeWindow()
  Object.assign(globalThis, { window: own })
  return own
}

afterEach(() => {
  delete (globalThis as { window?: unknown }).window
})

/** The other end: calls `payer` with what it read, as extension/src/bridge.ts and the worker do together. */
function standIn(own: FakeWindow, payer: Partial<Payer>): void {
  own.addEventListener('message', event => {
    const message = readBridgeMessage(event as MessageEvent, own.asWindow(), 'extension')
    if (message === undefined) return
    const call = readCall(message.text)
    const answer = (content: CallAnswer): void => postBridgeMessage(own.asWindow(), 'page', message.nonce, content)
    if (call === undefined) return
    if (call.method === 'hello') return answer({ ok: true, result: null })
    const method = call.method
    void serve(payer, method, call.arguments).then(answer)
  })
}

async function serve(payer: Partial<Payer>, method: BridgeMethod, sent: unknown[]): Promise<CallAnswer> {
  try {
    const run = payer[method] as ((...given: unknown[]) => Promise<unknown>) | undefined
    const result = await run?.(...readArguments(method, sent)) as never
    return { ok: true, result: writeResult(method, result) }
  } catch (error) {
    return { ok: false, error: writeError(error) }
  }
}

const offer: Offer = {
  origin: siteOrigin, vendor: siteOrigin, price: 1000n, currency: 'usd-micro', maxStep: 4096, unreserved: false, meter: { unitType: 'token', unitPrice: 5n },
}
const terms: Terms = {
  budget: { perRequest: 5000n, perSite: 10n ** 6n, perDay: 10n ** 6n, total: 999_999_999_999_999n, perSiteAndDay: 7n },
  deposit: 10n ** 5n, forfeited: 3n, fingerprint: 'GET https://news.example/a',
}
const ticket: Ticket = {
  id: 'ticket-1', vendor: siteOrigin, commitment: 'eyJ.eyJ.sig', reservation: 'eyJ.eyK.sig', released: 1000n, isRepeat: false,
  payment: { commitmentId: 'yai9tCayK7eicLNq_g853A', chain: 0, index: 3, payword: 'i9-SykFmh9-2lUhDXSTzh53JMu2y0sTIyYQBXYjmKjk', number: 3, max: 1000n },
}
const receipt: Receipt = { time: 1_790_000_000, url: `${siteOrigin}/a`, vendor: siteOrigin, amount: 0n, currency: 'usd-micro', returned: 4n }
const status = { reason: 'accepted', price: 1000n, number: 3, known: { accepted: 3000n, spent: 3000n, chain: 0, index: 3, tailHash: 'ClZHYbDE21i6hDn2W9yf0UTwmAn2ZKt1f_1S_uhevBQ' } }

test('every method of a payer goes over the bridge and comes back as it was', async () => {
  const own = openWindow()
  const seen: unknown[][] = []
  const record = <T>(name: string, result: T) => async (...given: unknown[]): Promise<T> => {
    seen.push([name, ...given])
    return result
  }
  const mended = { shouldRetry: true, forfeited: 2n }
  standIn(own, {
    account: record('account', { broker: 'https://broker.example', currency: 'usd-micro' }), take: record('take', ticket),
    settle: record('settle', receipt), refused: record('refused', mended), delivered: record('delivered', undefined),
    lose: record('lose', undefined), takeBack: record('takeBack', undefined), giveBack: record('giveBack', receipt),
  })
  const payer = await extensionPayer()
  assert.ok(payer)
  const grant = { url: `${siteOrigin}/a`, amount: 1000n, status, isWhole: false }
  const results = await Promise.all([
    payer.account(), payer.take(offer, terms), payer.settle(ticket, grant), payer.refused(ticket, status),
    payer.delivered(ticket, 5n), payer.lose(ticket, true), payer.takeBack(ticket), payer.giveBack(ticket, 9n, 'https://x.example/'),
  ])
  assert.deepEqual(results, [{ broker: 'https://broker.example', currency: 'usd-micro' }, ticket, receipt, mended, undefined, undefined, undefined, receipt])
  assert.deepEqual(seen, [
    ['account'], ['take', offer, terms], ['settle', ticket, grant], ['refused', ticket, status],
    ['delivered', ticket, 5n], ['lose', ticket, true], ['takeBack', ticket], ['giveBack', ticket, 9n, 'https://x.example/'],
  ])
})

test('a wallet without an account is told as undefined', async () => {
  const own = openWindow()
  standIn(own, { account: async () => undefined })
  assert.equal(await (await extensionPayer())?.account(), undefined)
})

test('there is no payer without a bridge', async () => {
  assert.equal(await extensionPayer(), undefined, 'without a window')
  const own = openWindow()
  assert.equal(await extensionPayer(), undefined, 'without an extension')
  standIn(own, {})
  own.top = new FakeWindow()
  assert.equal(await extensionPayer(), undefined, 'in a frame')
  own.top = own
  assert.ok(await extensionPayer(), 'the control')
})

test('errors keep their kind and what a program decides by', async () => {
  const fields = { vendor: siteOrigin, currency: 'usd-micro' }
  const errors: PaywordError[] = [
    new BudgetError({ ...fields, limit: 'perDay', want: 5n, left: 4n }),
    new RefusedError({ reason: 'wrong-vendor', origin: siteOrigin, detail: 'another', price: 9n, currency: 'usd-micro', status: 402 }),
    new StalledError({ vendor: siteOrigin, unserved: 3n, retry: 1_790_000_000 }),
    new BrokerError({ broker: 'https://broker.example', action: 'reserving', reason: 'insufficient-funds', status: 402 }),
    new PaywordError('passphrase', 'it is wrong'), new PaywordError('account', 'there is none'),
  ]
  for (const error of errors) {
    const own = openWindow()
    standIn(own, { take: async () => Promise.reject(error) })
    const payer = await extensionPayer()
    await assert.rejects(async () => payer?.take(offer, terms), (thrown: unknown) => {
      assert.ok(thrown instanceof PaywordError)
      assert.equal(thrown.constructor, error.constructor)
      assert.deepEqual({ ...thrown, message: thrown.message }, { ...error, message: error.message })
      return true
    })
  }
})

test('an error of another kind tells nothing', () => {
  assert.deepEqual(writeError(new Error('the seed is 00010203')), { kind: 'storage', message: 'the wallet failed' })
  for (const sent of [undefined, 7, {}, { kind: '__proto__' }, { kind: 'budget', want: 'x', left: -1 }]) {
    assert.ok(readError(sent) instanceof PaywordError)
  }
})

test('only what this window itself posts for this end is heard', async () => {
  const answer: BridgeMessage = { payword: bridgeName, to: 'page', nonce: 'A'.repeat(22), text: '{}' }
  const other = new FakeWindow()
  const own = new FakeWindow()
  const rows: [string, unknown, unknown, string, boolean][] = [
    ['the control', answer, own, siteOrigin, true],
    ['a frame', answer, other, siteOrigin, false],
    ['no source', answer, null, siteOrigin, false],
    ['another origin', answer, own, 'https://news.example.evil', false],
    ['for the other end', { ...answer, to: 'extension' }, own, siteOrigin, false],
    ['another version', { ...answer, payword: 'bridge-2' }, own, siteOrigin, false],
    ['no nonce', { ...answer, nonce: undefined }, own, siteOrigin, false],
    ['a nonce with more in it', { ...answer, nonce: `${'A'.repeat(22)}"` }, own, siteOrigin, false],
    ['text that is an object', { ...answer, text: {} }, own, siteOrigin, false],
    ['text that is too long', { ...answer, text: ' '.repeat(maxBridgeText + 1) }, own, siteOrigin, false],
    ['members of its prototype', Object.create(answer), own, siteOrigin, false],
    ['text', 'bridge-1', own, siteOrigin, false],
    ['null', null, own, siteOrigin, false],
  ]
  for (const [name, data, source, origin, want] of rows) {
    const got = readBridgeMessage({ data, source, origin } as MessageEvent, own.asWindow(), 'page')
    assert.equal(got !== undefined, want, name)
  }
})

test('an answer that a frame forges, or for another call, is passed over', async () => {
  const own = openWindow()
  const genuine = { shouldRetry: false, forfeited: 0n }
  own.addEventListener('message', event => {
    const message = readBridgeMessage(event as MessageEvent, own.asWindow(), 'extension')
    if (message === undefined || readCall(message.text)?.method === 'hello') return
    const forged = { ...message, to: 'page', text: JSON.stringify({ ok: true, result: { shouldRetry: true, forfeited: '0' } }) }
    own.post(forged, new FakeWindow(), siteOrigin)
    own.post(forged, own, 'https://evil.example')
    own.post({ ...forged, nonce: 'B'.repeat(22) }, own, siteOrigin)
  })
  standIn(own, { refused: async () => genuine })
  assert.deepEqual(await (await extensionPayer())?.refused(ticket, status), genuine)
})

test('what the extension answers is read strictly', async () => {
  const answers: string[] = [
    'no JSON', '7', '{"ok":true}', '{"ok":true,"result":{"shouldRetry":"yes","forfeited":"0"}}', '{"ok":true,"result":{"shouldRetry":true,"forfeited":-1}}',
    '{"ok":true,"result":{"shouldRetry":true,"forfeited":"1e3"}}', '{"__proto__":{"ok":true,"result":{"shouldRetry":true,"forfeited":"0"}}}',
  ]
  for (const text of answers) {
    const own = openWindow()
    own.addEventListener('message', event => {
      const message = readBridgeMessage(event as MessageEvent, own.asWindow(), 'extension')
      if (message !== undefined) own.post({ ...message, to: 'page', text }, own, siteOrigin)
    })
    const payer = await extensionPayer()
    await assert.rejects(async () => payer?.refused(ticket, status), PaywordError, text)
  }
})

test('what a page sends is read strictly', () => {
  const good = writeArguments('take', [offer, terms]) as [Record<string, unknown>, Record<string, unknown>]
  assert.deepEqual(readArguments('take', good), [offer, terms])
  const rows: [string, unknown][] = [
    ['no list', {}], ['too few', [good[0]]], ['too many', [...good, 1]], ['no object', ['x', good[1]]],
    ['a member is missing', [{ ...good[0], vendor: undefined }, good[1]]],
    ['a member of the prototype', [Object.create(good[0]), good[1]]],
    ['a price that is a number', [{ ...good[0], price: 1000 }, good[1]]],
    ['a price with a sign', [{ ...good[0], price: '-1' }, good[1]]],
    ['a price that is too large', [{ ...good[0], price: '1000000000000000' }, good[1]]],
    ['an origin that is too long', [{ ...good[0], origin: `https://${'a'.repeat(300)}` }, good[1]]],
    ['a step that is no whole number', [{ ...good[0], maxStep: 1.5 }, good[1]]],
    ['a budget that is missing', [good[0], { ...good[1], budget: null }]],
  ]
  for (const [name, sent] of rows) {
    assert.throws(() => readArguments('take', sent), (error: unknown) => error instanceof PaywordError && error.kind === 'usage', name)
  }
})

test('prototypes stay as they are', () => {
  const sent: unknown = JSON.parse('[{"__proto__":{"isPolluted":true},"origin":"o","vendor":"v","price":"1","currency":"c","maxStep":1,"unreserved":false,"constructor":{"prototype":{"isPolluted":true}}},{"budget":{"perRequest":"1","perSite":"1","perDay":"1","total":"1"},"fingerprint":"f"}]')
  const [read] = readArguments('take', sent)
  assert.deepEqual(Object.keys(read).sort(), ['currency', 'maxStep', 'origin', 'price', 'unreserved', 'vendor'])
  assert.equal(Object.getPrototypeOf(read), Object.prototype)
  assert.equal(({} as { isPolluted?: boolean }).isPolluted, undefined)
  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'hello', '']) assert.equal(isMethod(name), false, name)
})

test('calls of no method are not read', () => {
  for (const text of ['', '[]', 'null', '{"method":"takeAll","arguments":[]}', '{"method":"take"}', '{"method":"__proto__","arguments":[]}', '{"method":["take"],"arguments":[]}']) {
    assert.equal(readCall(text), undefined, text)
  }
  assert.deepEqual(readCall('{"method":"hello","arguments":[]}'), { method: 'hello', arguments: [] })
})

test('whatever amounts and names there are, they come back as they were', () => {
  const amount = fc.bigInt({ min: 0n, max: 999_999_999_999_999n })
  fc.assert(fc.property(amount, amount, fc.string({ maxLength: 100 }), fc.boolean(), (price, forfeited, fingerprint, isReserved) => {
    const given: [Offer, Terms] = [{ ...offer, price, unreserved: !isReserved }, { ...terms, forfeited, fingerprint }]
    const travelled: unknown = JSON.parse(JSON.stringify(writeArguments('take', given)))
    assert.deepEqual(readArguments('take', travelled), given)
  }))
})
