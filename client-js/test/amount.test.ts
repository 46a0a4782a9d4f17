import assert from 'node:assert/strict'
import { test } from 'node:test'
import { maxMicros } from '../src/amount.js'

test('the largest amount is that of the protocol', () => {
  assert.equal(maxMicros, 10n ** 15n - 1n)
})
