import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { exportReceipts } from '../extension/src/export.js'
import type { ReceiptView } from '../extension/src/messages.js'

const receipt: ReceiptView = { time: 1_795_000_000, url: 'https://news.example/a?b="c",d', vendor: 'https://news.example', amount: '1500', currency: 'usd-micro' }

/** Reads CSV as RFC 4180 says, without the code that is tested. */
function readCSV(text: string): string[][] {
  return text.split('\r\n').slice(0, -1).map(line =>
    [...line.matchAll(/"((?:[^"]|"")*)"(?:,|$)/g)].map(match => (match[1] ?? '').replaceAll('""', '"')))
}

test('receipts as CSV', () => {
  const file = exportReceipts([receipt, { ...receipt, amount: '0', returned: '2000000', url: 'https://news.example/' }], 'csv', '2026-11-26')
  assert.equal(file.name, 'payword-receipts-2026-11-26.csv')
  assert.equal(file.type, 'text/csv')
  assert.deepEqual(readCSV(file.text), [
    ['time', 'amount', 'currency', 'returned', 'vendor', 'url'],
    ['2026-11-18T11:06:40.000Z', '0.0015', 'USD', '', 'https://news.example', 'https://news.example/a?b="c",d'],
    ['2026-11-18T11:06:40.000Z', '0', 'USD', '2', 'https://news.example', 'https://news.example/'],
  ])
})

test('no cell is a formula', () => {
  for (const start of ['=', '+', '-', '@', '\t', '\r', '＝']) {
    const file = exportReceipts([{ ...receipt, url: `${start}cmd|' /C calc'!A0`, vendor: `${start}1` }], 'csv', '2026-11-26')
    for (const cell of file.text.matchAll(/"((?:[^"]|"")*)"/g)) assert.match(cell[1] ?? '', /^($|[^=+\-@\t\r＝])/)
    assert.ok(file.text.includes(`"'${start}1"`))
  }
})

test('amounts of the export are exact', () => {
  fc.assert(fc.property(fc.bigInt({ min: 0n, max: 999_999_999_999_999n }), micros => {
    const written = readCSV(exportReceipts([{ ...receipt, amount: String(micros) }], 'csv', 'd').text)[1]?.[1] ?? ''
    const [whole = '', part = ''] = written.split('.')
    assert.equal(BigInt(whole + part.padEnd(6, '0')), micros)
    assert.doesNotMatch(written, /\.$|\.\d*0$|^0\d/)
  }))
})

test('receipts as JSON are the receipts', () => {
  const file = exportReceipts([receipt], 'json', '2026-11-26')
  assert.equal(file.name, 'payword-receipts-2026-11-26.json')
  assert.deepEqual(JSON.parse(file.text), { receipts: [receipt] })
})
