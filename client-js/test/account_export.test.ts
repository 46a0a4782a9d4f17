// The check of an account's export, with exports of a broker that lies in one way
// at a time. The real broker's export is checked in integration/command.test.ts.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { checkExport, isExportSound, type ExportCheck, type ExportKnowledge } from '../src/account_export.js'
import { signCertificate } from '../src/certificate.js'
import { signCommitment, type Commitment } from '../src/commitment.js'
import { toBase64url } from '../src/encoding.js'
import { signerFromSecret, thumbprint, type Signer } from '../src/keys.js'
import { walk } from '../src/hash.js'

const broker = 'https://broker.example'
const vendor = 'https://news.example'
const account = 'qwertyuiop234567'
const user = `user:${account}:`
const length = 100
const unit = 1000n

interface Signed { m: Commitment, payword(index: number): string }

async function sign(user: Signer, chains = 1): Promise<Signed> {
  const issued = { issuedAt: 1_790_000_000, expires: 1_790_600_000, currency: 'usd-micro' }
  const brokerKey = await signerFromSecret(randomBytes(32))
  const certificate = await signCertificate({ ...issued, issuer: broker, subject: 'u-anna', key: user.publicKey, id: toBase64url(randomBytes(16)), limit: 10_000_000n }, brokerKey)
  const tips = Array.from({ length: chains }, () => randomBytes(32))
  const m = await signCommitment({
    ...issued, vendor, certificate, nonce: toBase64url(randomBytes(16)), limit: 80_000n,
    chains: tips.map(tip => ({ root: toBase64url(walk(tip, length)), unit, length })),
  }, user)
  return { m, payword: index => toBase64url(walk(tips[0] ?? tips.fill(randomBytes(32))[0]!, length - index)) }
}

const own = await signerFromSecret(randomBytes(32))
const foreign = await signerFromSecret(randomBytes(32))
const signed = await sign(own)
const strange = await sign(foreign)

const entry = (part: string, time: number, kind: string, reference: string, other: string, amount: { credit?: string, debit?: string }, phase = 'single') =>
  ({ ledgerAccount: user + part, number: time, time, transfer: `t-${time}-${part}`, phase, kind, reference, other, ...amount })

/** An honest export: 1.00 came in, 0.50 was reserved, 0.042 paid, 0.10 paid out. */
function honest({ m, payword }: Signed = signed) {
  return {
    broker, currency: 'usd-micro', account: { asOf: 5000, account: { account } },
    devices: { asOf: 5000, items: [{ device: 'one' }], until: 5000 },
    commitments: { asOf: 5000, items: [{ id: m.id, vendor: m.vendor, commitment: m.token, paid: '42000', tails: [{ chain: 0, index: 42, payword: payword(42) }] }], until: 5000 },
    balances: { asOf: 5001, items: [{ ledgerAccount: `${user}available`, balance: '400000' }, { ledgerAccount: `${user}reserved`, balance: '458000' }], until: 5001 },
    entries: {
      asOf: 5001, until: 5001, items: [
        entry('available', 100, 'fund', 'f-1', 'bank:in', { credit: '1000000' }),
        entry('available', 200, 'reserve', m.id, `${user}reserved`, { debit: '500000' }),
        entry('reserved', 200, 'reserve', m.id, `${user}available`, { credit: '500000' }),
        entry('reserved', 300, 'redeem', m.id, `vendor:${vendor}:payable`, { debit: '42000' }),
        entry('available', 400, 'payout', 'p-1', 'bank:out', { debit: '100000' }, 'pending'),
        entry('available', 401, 'payout', 'p-1', 'bank:out', { debit: '100000' }, 'post'),
      ],
    },
  }
}

type Export = ReturnType<typeof honest>

function check(document: unknown, knowledge: Partial<ExportKnowledge> = {}): Promise<ExportCheck> {
  return checkExport(JSON.stringify(document), {
    broker, account, keyIds: new Set([thumbprint(own.publicKey)]), released: new Map([[signed.m.id, [42]]]), ...knowledge,
  })
}

test('an honest export agrees', async () => {
  const found = await check(honest())
  assert.deepEqual(found.problems, [])
  assert.deepEqual(found.commitments, [{ commitment: signed.m.id, vendor, paid: 42_000n, proved: 42_000n, hashes: 42, isOwn: true, problem: undefined }])
  assert.deepEqual([found.cameIn, found.paid, found.wentOut, found.available, found.reserved, found.owed], [1_000_000n, 42_000n, 100_000n, 400_000n, 458_000n, 0n])
  assert.ok(isExportSound(found))
})

const first = (document: Export) => document.commitments.items[0]!
const tail = (document: Export) => first(document).tails[0]!

const lies: Record<string, { change: (document: Export) => unknown, says: RegExp, knowledge?: Partial<ExportKnowledge> }> = {
  'a payword that was made up': { change: d => { tail(d).payword = toBase64url(randomBytes(32)) }, says: /forged-payword/ },
  'an index that was raised': { change: d => { tail(d).index = 43 }, says: /forged-payword/, knowledge: { released: new Map() }, },
  'more than the wallet released': { change: d => Object.assign(tail(d), { index: 43, payword: signed.payword(43) }), says: /step 43 of chain 0, and this wallet released 42/ },
  'a tail past the end': { change: d => { tail(d).index = 101 }, says: /released 42|past the chain/ },
  'a tail of no chain': { change: d => { tail(d).chain = 1 }, says: /no chain/ },
  'a tail that is no payword': { change: d => { tail(d).payword = 'x' }, says: /no payword/ },
  'more paid than the tails prove': { change: d => { first(d).paid = '42001' }, says: /0.042001 was paid, and the paywords prove 0.042/ },
  'less paid than the entries say': { change: d => { first(d).paid = '41000' }, says: /the account's entries say 0.042/ },
  'another vendor': { change: d => { first(d).vendor = 'https://other.example' }, says: /signed for https:\/\/news.example/ },
  'another id': { change: d => { first(d).id = strange.m.id }, says: /its id is not|not among the commitments/ },
  'a commitment twice': { change: d => { d.commitments.items.push(first(d)) }, says: /stands twice/ },
  'a signature that is wrong': { change: d => { first(d).commitment = first(d).commitment.replace(/.{86}$/, 'A'.repeat(86)) }, says: /signature over it is wrong/ },
  'a commitment that is none': { change: d => { first(d).commitment = 'x.y.z' }, says: /cannot be read/ },
  'a commitment by somebody else': { change: () => honest(strange), says: /no key of this wallet signed it/ },
  'a payment without its commitment': { change: d => { d.commitments.items = [] }, says: /0.042 was paid on it, and it is not among/ },
  'a balance that is too low': { change: d => { d.balances.items[0]!.balance = '399999' }, says: /sum to 0.40, and its balance is 0.399999/ },
  'a balance that is missing': { change: d => { d.balances.items.shift() }, says: /has no balance/ },
  'a balance twice': { change: d => { d.balances.items.push(d.balances.items[0]!) }, says: /stands twice/ },
  'a payment that was never made': { change: d => { d.entries.items.push(entry('reserved', 301, 'redeem', signed.m.id, `vendor:${vendor}:payable`, { debit: '1' })) }, says: /entries say 0.042001/ },
  'an entry of another account': { change: d => { d.entries.items[0]!.ledgerAccount = 'user:other:available' }, says: /not this account's/ },
  'an entry that moves both ways': { change: d => { d.entries.items[0]!.debit = '1' }, says: /moves no amount/ },
}

for (const [name, { change, says, knowledge }] of Object.entries(lies)) {
  test(`${name} is found`, async () => {
    const document = honest()
    const changed = change(document)
    const lie = typeof changed === 'object' && changed !== null && 'broker' in changed ? changed : document
    const found = await check(lie, knowledge)
    assert.ok(!isExportSound(found))
    assert.match([...found.problems, ...found.commitments.map(one => one.problem ?? '')].join('\n'), says)
  })
}

test('another device of the account may have signed', async () => {
  const document = honest(strange)
  document.devices.items.push({ device: 'two' })
  const found = await check(document)
  assert.deepEqual([isExportSound(found), found.commitments[0]?.isOwn], [true, false])
})

test('what is paid while the export is written is no problem', async () => {
  const document = honest()
  Object.assign(first(document), { paid: '40000' })
  first(document).tails = [{ chain: 0, index: 40, payword: signed.payword(40) }]
  document.entries.items[3]!.debit = '40000'
  document.entries.items.push(entry('reserved', 5000, 'redeem', signed.m.id, `vendor:${vendor}:payable`, { debit: '2000' }))
  assert.deepEqual((await check(document)).problems, [])
  assert.ok(isExportSound(await check(document)))
})

for (const [name, text, says] of [
  ['no JSON', '{"broker":', /no JSON/], ['no export', '{}', /a member is missing/], ['null', 'null', /a member is missing/],
  ['another account', JSON.stringify({ ...honest(), account: { asOf: 1, account: { account: 'other' } } }), /of another account/],
] as const) {
  test(`${name} could not be told`, async () => {
    await assert.rejects(checkExport(text, { broker, account, keyIds: new Set() }), { kind: 'broker', message: says })
  })
}
