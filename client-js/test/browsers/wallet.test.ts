// One wallet in IndexedDB, in two tabs and a worker that pay at the same time at
// the real gate, in both browsers.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { MemoryStorage, Wallet } from '../../src/index.js'
import { browserNames, startBrowser } from '../browsers.js'
import { startServers, type Servers } from '../servers.js'

const price = 1000n
const count = 12
let servers: Servers

before(async () => {
  const entry = fileURLToPath(new URL('wallet_page.js', import.meta.url))
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, write: false, format: 'iife', platform: 'browser' })
  const files = { 'index.html': '<!doctype html><title>wallet</title><script src="/wallet.js"></script>', 'wallet.js': outputFiles[0]!.text }
  servers = await startServers([{ name: 'news', files, caddyfile: 'root * {files}\npayword /paid/* {origin} 0.001 USD\nrespond /paid/* "paid"\nfile_server' }])
})

after(async () => {
  await servers?.close()
})

for (const name of browserNames) {
  test(`two tabs and a worker pay with one wallet at the same time: ${name}`, async () => {
    const browser = await startBrowser(name)
    try {
      const { origin } = servers.site('news')
      const [first, second] = [await browser.newPage(), await browser.newPage()]
      await first.goto(origin)
      await second.goto(origin)
      const account = await first.evaluate<string>(`make(${JSON.stringify(servers.broker.origin)})`)
      await servers.fund(account, 5_000_000n)
      await second.evaluate('listen()')
      const before = await servers.taken('news')
      const paying = [[first, 'payMany'], [second, 'payMany'], [first, 'payInWorker']] as const
      const statuses = await Promise.all(paying.map(([page, how], k) => page.evaluate(`${how}('${origin}/paid/${name}/${k}', ${count})`)))
      assert.deepEqual(statuses, ['200', '200', '200'])
      const total = BigInt(3 * count) * price
      const taken = await servers.taken('news')
      assert.deepEqual([taken.spent - before.spent, taken.accepted - before.accepted, taken.commitments - before.commitments], [total, total, 1])
      assert.equal(await second.evaluate('released()'), String(total))
      await second.until('noticeCount() > 0')
      assert.equal(await second.evaluate('secret()'), '[["key","sealed"],false,false]')
      assert.equal(await second.evaluate('makeAgain()'), 'storage')
      const backup = await second.evaluate<string>('backup()')
      const restored = await Wallet.restore({ storage: new MemoryStorage() }, backup, { passphrase: 'of a test' })
      assert.equal(await restored.seed(), await first.evaluate("seed('of a test')"))
      assert.equal((await restored.summary()).released, total)
    } finally {
      await browser.close()
    }
  })
}
