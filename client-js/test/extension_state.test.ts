import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Attempt, forgetOld, newState } from '../extension/src/state.js'

const hour = 3600
const attempt: Attempt = {
  phase: 'failed', tabId: 1, url: 'https://news.example/a', origin: 'https://news.example', isPart: false, isOnce: false,
  at: 10 * hour, tries: 1, worker: 'w', price: '1', forfeited: '0',
}

test('a clock that was set back by hours keeps no count and no attempt for hours', () => {
  const state = { ...newState(), attempts: { a: { ...attempt } }, lately: { 'https://news.example': [10 * hour] } }
  forgetOld(state, 2 * hour)
  assert.deepEqual(state.lately, { 'https://news.example': [2 * hour] })
  forgetOld(state, 2 * hour + 61)
  assert.deepEqual(state.lately, {})
  assert.equal(state.attempts.a?.at, 2 * hour)
  forgetOld(state, 2 * hour + 601)
  assert.deepEqual(state.attempts, {})
})

test('what is under way stays, whatever the time', () => {
  const state = { ...newState(), attempts: { a: { ...attempt, phase: 'sent' as const } } }
  forgetOld(state, 100 * hour)
  assert.equal(Object.keys(state.attempts).length, 1)
})
