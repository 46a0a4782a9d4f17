import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Micros } from '../src/amount.js'
import type { Budget } from '../src/budget.js'
import { payFetch } from '../src/payfetch.js'
import type { Receipt } from '../src/payer.js'
import { FakeGate, FakeWeb } from './gate_fake.js'
import { FakePayer } from './payer_fake.js'

const ai = 'https://ai.example'
const streamId = 'Vm9yIGRlciBHYXJ0ZW50w7xy'
const budget: Budget = { perRequest: 10_000n, perSite: 50_000n, perDay: 50_000n, total: 50_000n }

/** What a metered stream does: it says these things in turn; those that ask for money wait until it is there. */
interface Script {
  /** Each is one piece of the body. Undefined asks for `slice` more. */
  says: (string | undefined)[]
  slice?: Micros
  type?: string
  unitType?: string
  /** Whether it names itself. */
  isNamed?: boolean
  method?: string
}

function start(script: Script, limits = budget): { gate: FakeGate, payer: FakePayer, web: FakeWeb, receipts: Receipt[], ask: () => Promise<string> } {
  const web = new FakeWeb()
  const gate = new FakeGate(web, ai)
  const payer = new FakePayer()
  const receipts: Receipt[] = []
  gate.price = 1000n
  gate.editQuote = quote => ({
    ...quote, amount: 10n, unitType: script.unitType ?? 'token', methodDetails: { ...quote.methodDetails, ceiling: 1000n },
  })
  gate.upstream = request => request.method === 'HEAD' ? new Response(null, { status: 204 }) : streamOf(script, gate, payer)
  const fetch = payFetch({ payer, budget: limits, fetch: web.fetch, onReceipt: receipt => receipts.push(receipt) })
  const ask = async (): Promise<string> => {
    try {
      return await (await fetch(`${ai}/chat`, { method: script.method ?? 'GET' })).text()
    } catch (error) {
      const { reason, limit, kind } = error as { reason?: string, limit?: string, kind?: string }
      return reason ?? limit ?? kind ?? String(error)
    }
  }
  return { web, gate, payer, receipts, ask }
}

function streamOf({ says, slice = 1000n, type = 'text/event-stream', isNamed = true }: Script, gate: FakeGate, payer: FakePayer): Response {
  const rest = [...says]
  let wanted = gate.taken.accepted
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      // The vendor sends on once it has what it asked for.
      while (gate.taken.accepted < wanted && payer.count('take') > 0) await new Promise(resolve => setImmediate(resolve))
      const next = rest.shift()
      if (next === undefined && rest.length === 0) return controller.close()
      const accepted = gate.taken.accepted
      if (next === undefined) wanted = accepted + slice
      controller.enqueue(new TextEncoder().encode(next ?? notice('payment-need-voucher', { stream: streamId, required: String(wanted), accepted: String(accepted), spent: String(accepted), charged: String(accepted), max: '9000' })))
    },
  }, { highWaterMark: 0 })
  return new Response(body, { headers: { 'Content-Type': type, ...isNamed && { 'Payword-Stream': streamId } } })
}

function notice(event: string, data: object): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}

const receiptOf = (amount: Micros): string => notice('payment-receipt', { status: 'success', amount: String(amount) })

test('a stream is paid on while it is read, and given back what it did not cost', async () => {
  const { payer, web, receipts, ask } = start({ says: ['data: one\n\n', undefined, 'data: two\n\n', undefined, 'data: three\n\n', receiptOf(2400n)] })
  assert.match(await ask(), /data: one\n\n[^]*data: two\n\n[^]*data: three\n\n/)
  assert.equal(payer.released(), 3000n)
  assert.deepEqual(receipts.map(({ amount, returned }) => [amount, returned]), [[1000n, undefined], [1000n, undefined], [1000n, undefined], [0n, 600n]])
  const heads = web.seen.filter(({ method }) => method === 'HEAD')
  assert.deepEqual(heads.map(({ headers }) => headers.get('Payword-Stream')), [streamId, streamId])
  assert.deepEqual(heads.map(({ headers }) => /max=(\d+)/.exec(headers.get('Payword') ?? '')?.[1]), ['2000', '3000'])
  assert.equal(payer.count('delivered'), 1)
})

test('pieces may be cut anywhere', async () => {
  const whole = `data: x\r\n\r\n${receiptOf(400n)}`
  for (let at = 1; at < whole.length; at++) {
    const { receipts, ask } = start({ says: [whole.slice(0, at), whole.slice(at)] })
    assert.equal(await ask(), whole)
    assert.equal(receipts.at(-1)?.returned, 600n, `cut at ${at}`)
  }
})

test('a stream that answers a POST is given back what it did not cost, once', async () => {
  const { payer, receipts, ask } = start({ method: 'POST', says: ['data: one\n\n', undefined, 'data: two\n\n', receiptOf(1400n), receiptOf(1400n)] })
  assert.match(await ask(), /data: two/)
  assert.deepEqual(receipts.map(({ amount, returned }) => [amount, returned]), [[1000n, undefined], [1000n, undefined], [0n, 600n]])
  assert.deepEqual([payer.count('delivered'), payer.count('lose')], [1, 0], 'it is over')
})

test('a stream ends where the budget does', async () => {
  const says = Array.from({ length: 40 }, (_, k) => k % 2 === 0 ? 'data: more\n\n' : undefined)
  const rows: [Budget, string, Micros][] = [
    [budget, 'perRequest', 10_000n], [{ ...budget, perSite: 3500n }, 'perSite', 3000n], [{ ...budget, total: 2000n }, 'total', 2000n],
  ]
  for (const [limits, want, allowed] of rows) {
    const { payer, gate, ask } = start({ says }, limits)
    assert.equal(await ask(), want)
    assert.equal(payer.released(), allowed, want)
    assert.equal(gate.taken.accepted, allowed, want)
  }
})

test('a stream that asks again and again and sends nothing is left', async () => {
  const { payer, ask } = start({ says: Array.from({ length: 30 }, () => undefined) })
  assert.equal(await ask(), 'lost')
  assert.equal(payer.released(), 4000n)
})

test('notices that are not the stream\'s own cost nothing', async () => {
  const asks = { stream: streamId, required: '5000', spent: '0' }
  const rows: [string, string][] = [
    ['another stream', notice('payment-need-voucher', { ...asks, stream: 'another' })], ['no JSON', 'event: payment-need-voucher\ndata: {\n\n'],
    ['null', 'event: payment-need-voucher\ndata: null\n\n'], ['a number', notice('payment-need-voucher', { ...asks, required: 5000 })],
    ['another event', notice('message', asks)], ['a line that is too long', notice('payment-need-voucher', { ...asks, filling: 'x'.repeat(9000) })],
    ['a receipt of more than was agreed', receiptOf(999_999n)],
  ]
  for (const [name, text] of rows) {
    const { payer, receipts, ask } = start({ says: [text, 'data: end\n\n'] })
    assert.ok((await ask()).endsWith('data: end\n\n'), name)
    assert.equal(payer.released(), 1000n, name)
    assert.equal(receipts.length, 1, name)
  }
})

test('more than the budget is not brought at once', async () => {
  const { payer, ask } = start({ says: ['data: one\n\n', undefined, 'data: two\n\n'], slice: 900_000n })
  assert.equal(await ask(), 'perRequest')
  assert.equal(payer.released(), 1000n)
})

test('a refused top-up ends the stream', async () => {
  const { gate, payer, ask } = start({ says: ['data: one\n\n', undefined, 'data: two\n\n'] })
  gate.before = request => request.method === 'HEAD' ? gate.refuse(request, { reason: 'commitment-closed', price: 0n }) : undefined
  assert.equal(await ask(), 'commitment-closed')
  assert.equal(payer.count('lose'), 1)
  assert.equal(payer.released(), 2000n)
})

test('bytes that have used up what was agreed to are paid on after a while', async () => {
  const piece = 'x'.repeat(100)
  let waiting = 1
  const { gate, payer, ask } = start({ says: [], unitType: 'byte' })
  gate.upstream = request => request.method === 'HEAD' ? new Response(null, { status: 204 }) : new Response(new ReadableStream({
    async pull(controller) {
      if (waiting > 3) return controller.close()
      while (gate.taken.accepted < BigInt(waiting) * 1000n) await new Promise(resolve => setTimeout(resolve, 5))
      waiting++
      controller.enqueue(new TextEncoder().encode(piece))
    },
  }, { highWaterMark: 0 }), { headers: { 'Payword-Stream': streamId } })
  assert.equal(await ask(), piece.repeat(3))
  assert.equal(payer.released(), 3000n)
})

test('what a stream did not cost is credit once, however little it begins with', async () => {
  const rows: [name: string, begin: Micros, says: string[], cost: Micros, isNamed?: false][] = [
    ['the ceiling is charged', 1000n, [receiptOf(700n)], 700n, false], ['less is charged than was agreed to', 400n, [receiptOf(250n)], 250n, false],
    ['it costs what was charged', 400n, [receiptOf(400n)], 400n, false], ['a stream that begins with all', 1000n, [receiptOf(700n)], 700n],
    ['a stream that begins with less', 400n, [receiptOf(250n)], 250n], ['a stream that takes more later', 400n, [receiptOf(900n)], 900n],
    ['a stream that takes all', 400n, [receiptOf(1000n)], 1000n], ['a receipt of more than was agreed to', 400n, [receiptOf(5000n)], 1000n],
    ['the same receipt twice', 400n, [receiptOf(600n), receiptOf(600n)], 600n],
  ]
  for (const [name, begin, says, cost, isNamed = true] of rows) {
    const script: Script = { says: [receiptOf(1000n)], isNamed }
    const { gate, payer, receipts, ask } = start(script)
    await ask()
    gate.price = begin
    script.says = says
    await ask()
    const told = receipts.reduce((sum, { amount, returned = 0n }) => sum + amount - returned, 0n)
    assert.deepEqual([told, payer.released() - payer.credit()], [1000n + cost, 1000n + cost], name)
  }
})
