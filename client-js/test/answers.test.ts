// What payFetch makes of every answer to a payment: testdata/answers.json, which
// the Go client is tested with too.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { RefusedError } from '../src/errors.js'
import { formatStatus, parsePayment } from '../src/header.js'
import { payFetch } from '../src/payfetch.js'
import type { Receipt, Status } from '../src/payer.js'
import { Refusal } from '../src/reason.js'
import { FakeGate, FakeWeb } from './gate_fake.js'
import { FakePayer } from './payer_fake.js'

interface Table {
  statuses: number[]
  states: string[]
  rows: { state: string, from: number, to: number, outcome: string }[]
}

const table = JSON.parse(readFileSync(fileURLToPath(new URL('../../../testdata/answers.json', import.meta.url)), 'utf8')) as Table
const shop = 'https://shop.example'
const price = 1000n

function wanted(state: string, status: number): string {
  const found = table.rows.filter(row => row.state === state && row.from <= status && status <= row.to)
  assert.equal(found.length, 1, `rows for ${status}, ${state}`)
  return found[0]!.outcome
}

function stateField(state: string, number: number): string | undefined {
  const status: Status = { reason: state === 'refused' ? 'blocked' : 'accepted', price, number: state === 'of another number' ? number + 1000 : number }
  if (state === 'none') return undefined
  return state === 'unreadable' ? 'reason=fine' : formatStatus(status)
}

/** Asks for a page twice, the second time of a site that is well, and tells what the first answer was taken for. */
async function outcomeOf(method: string, first: number, firstState: string): Promise<string> {
  const gate = new FakeGate(new FakeWeb(), shop)
  const web = new FakeWeb()
  web.site(shop, request => gate.serve(request))
  const payer = new FakePayer()
  const receipts: Receipt[] = []
  const numbers: number[] = []
  let answer = { status: first, state: firstState }
  gate.before = request => {
    const field = request.headers.get('Payword')
    if (field === null) return undefined
    const payment = parsePayment(field)
    if (payment instanceof Refusal) throw new Error(`payFetch sent ${field}`)
    numbers.push(payment.number)
    const state = stateField(answer.state, payment.number)
    return new Response(null, { status: answer.status, headers: state === undefined ? {} : { 'Payword-State': state } })
  }
  const limit = 100_000n
  const fetch = payFetch({ payer, budget: { perRequest: limit, perSite: limit, perDay: limit, total: limit }, fetch: web.fetch, onReceipt: receipt => receipts.push(receipt) })
  const ask = (): Promise<Response | RefusedError> => fetch(`${shop}/page`, { method, redirect: 'manual' }).catch((error: unknown) => {
    if (error instanceof RefusedError) return error
    throw error
  })
  const got = await ask()
  await new Promise(resolve => setImmediate(resolve))
  const counted = receipts.reduce((sum, { amount }) => sum + amount, 0n)
  const released = payer.released()
  answer = { status: 200, state: 'accepted' }
  const again = await ask()
  assert.equal(again.status, 200)
  if (got instanceof RefusedError) return 'refused'
  assert.equal(got.status, first)
  const isSameNumber = numbers[0] === numbers.at(-1)
  const isCredit = payer.released() === released
  if (counted === price && !isSameNumber) return 'paid'
  if (counted === 0n && (method === 'GET' ? isSameNumber : !isSameNumber && !isCredit)) return 'lost'
  if (counted === 0n && !isSameNumber && isCredit) return 'free'
  return `${counted} counted, same number again: ${isSameNumber}, credit: ${isCredit}`
}

for (const method of ['GET', 'POST']) {
  for (const state of table.states) {
    test(`what an answer means: ${method}, ${state}`, async () => {
      const got: [number, string][] = []
      for (const status of table.statuses) got.push([status, await outcomeOf(method, status, state)])
      assert.deepEqual(got, table.statuses.map(status => [status, wanted(state, status)]))
    })
  }
}
