import assert from 'node:assert/strict'
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { FileStorage, MemoryStorage, payFetch, Wallet } from '../../src/node.js'
import { noLimits, payPage } from '../paying.js'
import { startServers, type Servers } from '../servers.js'

const price = 1000n
let servers: Servers
let folder: string

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'payword-wallet-'))
  servers = await startServers([{ name: 'news', caddyfile: '\tpayword {\n\t\tvendor {origin}\n\t\tprice 0.001 USD\n\t}\n\trespond "page"\n' }])
})

after(async () => {
  await servers.close()
  rmSync(folder, { recursive: true, force: true })
})

/** A wallet with an account and money on it. */
async function funded(wallet: Wallet): Promise<Wallet> {
  const { account } = await wallet.openAccount(servers.broker.origin)
  await servers.fund(account, 5_000_000n)
  return wallet
}

function goWallet(path: string, ...given: string[]): string {
  return execFileSync(process.env.PAYWORD_BINARY!, ['wallet', ...given, '--wallet', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
}

test('a wallet opens an account, pays a real gate, and knows what it paid', async () => {
  const wallet = await funded(await Wallet.create({ storage: new MemoryStorage() }))
  const { origin } = servers.site('news')
  const before = await servers.taken('news')
  for (let page = 0; page < 20; page++) assert.equal((await payPage(wallet, `${origin}/memory/${page}`, price)).status, 200)
  const { released, spent, sites } = await wallet.summary()
  assert.deepEqual([released, spent, sites.length], [20n * price, 20n * price, 1])
  const taken = await servers.taken('news')
  assert.equal(taken.spent - before.spent, 20n * price)
  assert.equal(taken.accepted - before.accepted, 20n * price)
  await wallet.close()
})

test('thirty payments at once are each granted once, and release no more than they cost', async () => {
  const wallet = await funded(await Wallet.create({ storage: new MemoryStorage() }))
  const { origin } = servers.site('news')
  const answers = await Promise.all(Array.from({ length: 30 }, (_, k) => payPage(wallet, `${origin}/many/${k}`, price)))
  assert.deepEqual(answers.map(({ status }) => status), answers.map(() => 200))
  assert.equal((await wallet.summary()).spent, 30n * price)
})

test('payFetch pays with it, inside the budget', async () => {
  const payer = await funded(await Wallet.create({ storage: new MemoryStorage() }))
  const { origin } = servers.site('news')
  const paying = payFetch({ payer, budget: { ...noLimits, perSite: 10n * price } })
  const bodies = await Promise.all(Array.from({ length: 10 }, async (_, k) => (await paying(`${origin}/fetched/${k}`)).text()))
  assert.deepEqual(bodies, bodies.map(() => 'page'))
  await assert.rejects(paying(`${origin}/fetched/more`), { kind: 'budget', limit: 'perSite' })
  const { released, spent } = await payer.summary()
  assert.deepEqual([released, spent], [10n * price, 10n * price])
})

test('the Go client opens a file and a backup of ours and pays on, and we pay on after it', async () => {
  const path = join(folder, 'ours.json')
  const { origin } = servers.site('news')
  const wallet = await funded(await Wallet.create({ storage: new FileStorage(path) }))
  await payPage(wallet, `${origin}/ours`, price)
  const backup = join(folder, 'backup.json')
  writeFileSync(backup, await wallet.backup())
  await wallet.close()
  const shown = JSON.parse(goWallet(path, 'show', '--json')) as { released: string, account: string }
  assert.equal(shown.released, String(price))
  assert.deepEqual(JSON.parse(goWallet(backup, 'show', '--json')).released, String(price))
  execFileSync(process.env.PAYWORD_BINARY!, ['pay', `${origin}/go`, '--wallet', path, '-o', join(folder, 'page')])
  const again = await Wallet.open({ storage: new FileStorage(path) })
  assert.ok(again)
  assert.equal((await again.summary()).released, 2n * price)
  assert.equal((await payPage(again, `${origin}/again`, price)).status, 200)
  assert.equal((await again.summary()).released, 3n * price)
})

test('a file of the Go client is restored with its passphrase, and it opens what we sealed', async () => {
  const [theirs, ours, passphrase] = [join(folder, 'theirs.json'), join(folder, 'sealed.json'), join(folder, 'passphrase')]
  writeFileSync(passphrase, 'seven words that nobody else ever wrote', { mode: 0o600 })
  const secret = { passphrase: 'seven words that nobody else ever wrote' }
  goWallet(theirs, 'create', '--passphrase-file', passphrase)
  const wallet = await funded(await Wallet.restore({ storage: new MemoryStorage() }, readFileSync(theirs, 'utf8'), secret))
  assert.equal((await payPage(wallet, `${servers.site('news').origin}/theirs`, price)).status, 200)
  const sealed = await funded(await Wallet.create({ storage: new MemoryStorage() }, { ...secret, workFactor: 10 }))
  await payPage(sealed, `${servers.site('news').origin}/sealed`, price)
  writeFileSync(ours, await sealed.backup())
  assert.equal(JSON.parse(goWallet(ours, 'show', '--json', '--passphrase-file', passphrase)).spent, String(price))
  assert.equal(goWallet(ours, 'seed', '--passphrase-file', passphrase).trim(), await sealed.seed())
})

test('a lost wallet is found again from its seed: the vendor proves how far it was paid', async () => {
  const { origin } = servers.site('news')
  const lost = await funded(await Wallet.create({ storage: new MemoryStorage() }))
  for (let page = 0; page < 7; page++) await payPage(lost, `${origin}/lost/${page}`, price)
  const before = await servers.taken('news')
  const found = await Wallet.restoreSeed({ storage: new MemoryStorage() }, { seed: await lost.seed(), broker: servers.broker.origin })
  for (let page = 0; page < 5; page++) assert.equal((await payPage(found, `${origin}/found/${page}`, price)).status, 200)
  const { released } = await found.summary()
  assert.equal(released, 12n * price)
  const taken = await servers.taken('news')
  assert.deepEqual([taken.spent - before.spent, taken.commitments], [5n * price, before.commitments])
})

test('two processes pay with one file: no payword and no number is given out twice', async () => {
  const path = join(folder, 'shared.json')
  const { origin } = servers.site('news')
  await (await funded(await Wallet.create({ storage: new FileStorage(path) }))).close()
  const before = await servers.taken('news')
  const program = fileURLToPath(new URL('../paying_program.js', import.meta.url))
  const children = [1, 2].map(k => fork(program, [path, `${origin}/process/${k}`, '15']))
  for (const [code] of await Promise.all(children.map(child => once(child, 'exit')))) assert.equal(code, 0)
  const wallet = await Wallet.open({ storage: new FileStorage(path) })
  const { released, spent } = await wallet!.summary()
  assert.deepEqual([released, spent], [30n * price, 30n * price])
  const taken = await servers.taken('news')
  assert.equal(taken.spent - before.spent, 30n * price)
  assert.equal(taken.commitments - before.commitments, 1, 'one process opened for both')
})
