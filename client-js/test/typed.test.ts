// What owners type into the extension's pages: amounts and the addresses of brokers.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decimalOf, readAmount } from '../extension/pages/amount.js'
import { originOf } from '../extension/pages/origin_field.js'
import { isPunycode, permissionPattern } from '../extension/pages/site_name.js'

test('amounts as people type them', () => {
  for (const [typed, separator, want] of [
    ['0.5', '.', 500_000n], ['0,5', '.', 500_000n], ['0,5', ',', 500_000n], [' 12 ', '.', 12_000_000n], ['0.001', ',', 1000n], ['0.000001', '.', 1n],
    ['1.000', '.', 1_000_000n], ['1,000', ',', 1_000_000n], ['1,000', '.', 'ambiguous'], ['1.000', ',', 'ambiguous'], ['999,000', '.', 'ambiguous'],
    ['1234,000', '.', 1_234_000_000n], ['1,00', '.', 1_000_000n], ['0', '.', 0n], ['', '.', 'empty'], ['  ', '.', 'empty'], ['ten', '.', 'not-a-number'],
    ['-1', '.', 'not-a-number'], ['+1', '.', 'not-a-number'], ['1e3', '.', 'not-a-number'], ['1.2.3', '.', 'not-a-number'], ['1.', '.', 'not-a-number'],
    ['.5', '.', 'not-a-number'], ['١', '.', 'not-a-number'], ['0.0000001', '.', 'too-precise'], ['999999999.999999', '.', 999_999_999_999_999n],
    ['1000000000', '.', 'too-large'], ['9'.repeat(400), '.', 'too-large'],
  ] as const) {
    const got = readAmount(typed, separator)
    assert.equal('micros' in got ? got.micros : got.problem, want, `${typed} with ${separator}`)
  }
})

test('an amount that is written is read as the same', () => {
  fc.assert(fc.property(fc.bigInt({ min: 0n, max: 999_999_999_999_999n }), fc.constantFrom('.', ','), (micros, mark) => {
    assert.deepEqual(readAmount(decimalOf(micros).replace('.', mark), mark), { micros })
  }))
})

test('addresses of brokers', () => {
  for (const [typed, want] of [
    ['https://broker.example', 'https://broker.example'], ['broker.example', 'https://broker.example'], [' https://Broker.Example/ ', 'https://broker.example'],
    ['https://broker.example:443', 'https://broker.example'], ['broker.example:8443', 'https://broker.example:8443'], ['http://127.0.0.1:4000', 'http://127.0.0.1:4000'],
    ['http://localhost', 'http://localhost'], ['https://bröker.example', 'https://xn--brker-kua.example'], ['http://broker.example', undefined], ['https://broker.example/v1', undefined],
    ['https://broker.example/?a', undefined], ['https://me:secret@broker.example', undefined], ['ftp://broker.example', undefined], ['javascript://broker.example', undefined],
    ['', undefined], ['https://', undefined], ['a b', undefined], [`https://${'a'.repeat(300)}.example`, undefined],
  ] as const) assert.equal(originOf(typed), want, typed)
})

test('names that can be mistaken, and the permission for a site', () => {
  assert.equal(isPunycode('https://xn--nws-poa.example'), true)
  assert.equal(isPunycode('https://news.xn--p1ai:8443'), true)
  assert.equal(isPunycode('https://news-xn--a.example'), false)
  assert.equal(permissionPattern('https://news.example:8443'), 'https://news.example/*')
  assert.equal(permissionPattern('http://127.0.0.1:4000'), 'http://127.0.0.1/*')
})
