import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decide, isNearlyUsed, isSameVendor, maxPaymentsPerMinute, type Situation } from '../extension/src/policy.js'
import { newSettings, readSettings, type Settings } from '../extension/src/settings.js'
import { exactly, paymentRule } from '../extension/src/rules.js'
import { isPayableOrigin, payableOrigin } from '../extension/src/site.js'

const origin = 'https://news.example'

function settings(change: (settings: Settings) => void = () => {}): Settings {
  const made = newSettings()
  made.sites[origin] = { limits: { perRequest: '5000', perDay: '100000', total: '900000' }, isPaused: false, complaints: 0 }
  change(made)
  return made
}

function situation(given: Partial<Situation> = {}): Situation {
  return { settings: settings(), origin, offer: { origin, price: 1000n }, lately: 0, ...given }
}

const refusals: [string, Partial<Situation>, object][] = [
  ['everything is paused', { settings: settings(all => { all.isPaused = true }) }, { kind: 'paused' }],
  ['everything is paused, for once too', { settings: settings(all => { all.isPaused = true }), once: { price: 1000n } }, { kind: 'paused' }],
  ['the site is paused', { settings: settings(({ sites }) => { sites[origin]!.isPaused = true }) }, { kind: 'paused' }],
  ['its keys changed', { settings: settings(({ sites }) => { sites[origin]!.stopped = 'key-changed' }) }, { kind: 'stopped', reason: 'key-changed' }],
  ['it serves nothing', { settings: settings(({ sites }) => { sites[origin]!.stopped = 'not-served' }) }, { kind: 'stopped', reason: 'not-served' }],
  ['above the site\'s limit', { offer: { origin, price: 5001n } }, { kind: 'budget', limit: 'perRequest' }],
  ['above the limit of all', { settings: settings(({ limits }) => { limits.perRequest = '999' }) }, { kind: 'budget', limit: 'perRequest' }],
  ['once, at a higher price than the owner saw', { once: { price: 999n } }, { kind: 'budget', limit: 'perRequest' }],
  ['too often', { lately: maxPaymentsPerMinute }, { kind: 'budget', limit: 'perSiteAndMinute' }],
  ['an offer of another site', { offer: { origin: 'https://other.example', price: 1n } }, { kind: 'refused', reason: 'wrong-resource' }],
]

for (const [title, given, refusal] of refusals) {
  test(`policy: nothing is paid: ${title}`, () => {
    const made = situation(given)
    assert.deepEqual(decide(made), { action: 'refuse', refusal: { ...refusal, price: String(made.offer.price) } })
  })
}

test('policy: the full origin is what the owner allowed', () => {
  for (const other of ['http://news.example', 'https://news.example:8443', 'https://www.news.example', 'https://news.example.evil', 'https://nеws.example', '__proto__', 'constructor']) {
    assert.deepEqual(decide(situation({ origin: other, offer: { origin: other, price: 1n } })), { action: 'ask' }, other)
  }
})

test('policy: an allowed site is paid within the lower of all limits', () => {
  assert.deepEqual(decide(situation({ lately: maxPaymentsPerMinute - 1 })), {
    action: 'pay', deposit: 100_000n,
    budget: { perRequest: 5000n, perSite: 900_000n, perDay: 1_000_000n, total: 20_000_000n, perSiteAndDay: 100_000n, perSiteAndMinute: 25_000n },
  })
  assert.equal(decide(situation({ offer: { origin, price: 5000n } })).action, 'pay')
})

test('policy: once pays the price that the owner saw, and no more of the site', () => {
  const decision = decide(situation({ settings: newSettings(), once: { price: 1000n } }))
  assert.ok(decision.action === 'pay')
  assert.deepEqual({ perRequest: decision.budget.perRequest, deposit: decision.deposit }, { perRequest: 1000n, deposit: 1000n })
})

test('policy: a vendor is the same until it lists a key that was not there first', () => {
  const pin = { vendor: origin, keys: ['a', 'b'] }
  const table: [string[], string, boolean][] = [
    [['a', 'b'], origin, true], [['b'], origin, true], [['a', 'c'], origin, false], [['c'], origin, false], [[], origin, false], [['a'], 'https://other.example', false],
  ]
  for (const [keys, vendor, isSame] of table) assert.equal(isSameVendor(pin, { vendor, keys }), isSame, `${vendor} ${keys.join()}`)
})

test('policy: a limit is nearly used from 80 percent on', () => {
  assert.deepEqual([[79n, 100n], [80n, 100n], [100n, 100n], [0n, 0n]].map(([used, limit]) => isNearlyUsed(used!, limit!)), [false, true, true, false])
})

test('settings: none, older, damaged and newer ones', () => {
  assert.deepEqual(readSettings(undefined), newSettings())
  const old = { version: 0, isPaused: true, limits: newSettings().limits, sites: { [origin]: { limits: newSettings().limits, isPaused: false } } }
  assert.equal(readSettings(old).sites[origin]?.complaints, 0)
  assert.throws(() => readSettings({ ...newSettings(), version: 2 }), /version 2/)
  for (const damaged of [1, null, [], {}, { version: 1 }, { ...newSettings(), sites: { 'http://news.example': {} } }, { ...newSettings(), limits: { perDay: -1 } }]) {
    assert.throws(() => readSettings(damaged), /damaged|version/, JSON.stringify(damaged))
  }
})

test('rules: one exact URL, GET, one tab and the page\'s own worker, no frame', () => {
  const { condition } = paymentRule({ id: 1, tabId: 7, url: `${origin}/a?b=c`, part: 'document', headers: { Payword: 'x' } })
  assert.deepEqual(condition, {
    urlFilter: `|${origin}/a?b=c|`, isUrlFilterCaseSensitive: true, requestMethods: ['get'], tabIds: [7, -1],
    resourceTypes: ['main_frame', 'xmlhttprequest', 'other'],
  })
  assert.ok('regexFilter' in exactly(`${origin}/a*b`))
  const special = exactly(`${origin}/a*b?c=^|`)
  assert.ok('regexFilter' in special && new RegExp(special.regexFilter).test(`${origin}/a*b?c=^|`) && !new RegExp(special.regexFilter).test(`${origin}/axb?c=^|`))
})

test('sites: https, and http to this machine', () => {
  assert.equal(payableOrigin('https://news.example/a?b#c'), origin)
  for (const bad of ['http://news.example/', 'https://user@news.example/', 'ftp://news.example/', 'data:,', 'about:blank', 'file:///a', `https://news.example/${'a'.repeat(4000)}`]) {
    assert.equal(payableOrigin(bad), undefined, bad)
  }
  assert.deepEqual(['https://news.example', 'https://news.example/', 'https://NEWS.example', 'https://news.example:443'].map(isPayableOrigin), [true, false, false, false])
})
