import assert from 'node:assert/strict'
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { FileStorage, PaywordError, Wallet } from '../src/node.js'

let folder: string
let path: string

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'payword-file-'))
  path = join(folder, 'wallet.json')
  await (await Wallet.create({ storage: new FileStorage(path) })).close()
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Counts in the document, as every change does. */
function count(storage = new FileStorage(path)): Promise<number> {
  return storage.update(document => ++document.nextKey)
}

/** Waits until something is so, at most ten seconds. */
async function until(isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + 10_000; !isSo(); await wait(1)) assert.ok(performance.now() < end, String(isSo))
}

const isStorageError = (error: unknown) => error instanceof PaywordError && error.kind === 'storage'

test('many changes at once, by many storages of one file, all happen', async () => {
  const storages = [1, 2, 3].map(() => new FileStorage(path))
  const counts = await Promise.all(Array.from({ length: 60 }, (_, k) => count(storages[k % 3])))
  assert.deepEqual(counts.sort((a, b) => a - b), Array.from({ length: 60 }, (_, k) => k + 1))
  assert.deepEqual(readdirSync(folder), ['wallet.json'])
  assert.equal(statSync(path).mode & 0o777, 0o600)
})

test('a change that throws changes nothing, and those beside it happen', async () => {
  const storage = new FileStorage(path)
  const [one, failed, two] = await Promise.allSettled([count(storage), storage.update(document => { document.nextKey = 99; throw new Error('no') }), count(storage)])
  assert.deepEqual([one.status, failed.status, two.status], ['fulfilled', 'rejected', 'fulfilled'])
  assert.equal((await storage.load())!.document.nextKey, 2)
})

test('processes that are killed while they write leave a whole file, and their lock is taken over', async () => {
  const program = fileURLToPath(new URL('counting_program.js', import.meta.url))
  for (let kill = 0; kill < 4; kill++) {
    const child = fork(program, [path])
    let told = 0
    child.on('message', message => { told = Number(message) })
    const before = (await new FileStorage(path).load())!.document.nextKey
    await until(() => told > before + 3)
    child.kill('SIGKILL')
    await once(child, 'exit')
    assert.ok(await count() > told, 'what it was told is durable stays')
  }
})

test('the lock of a process that died is removed, one of a process that lives is not', async () => {
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  const lock = `${path}.writing`
  writeFileSync(lock, JSON.stringify({ pid: child.pid, began: '', host: hostname() }))
  assert.equal(await count(), 1)
  writeFileSync(lock, JSON.stringify({ pid: process.pid, began: '1', host: hostname() }))
  assert.equal(await count(), 2, 'the number is another process\'s by now')
  for (const holder of [{ pid: process.ppid, began: '', host: hostname() }, { pid: child.pid, began: '', host: 'another' }]) {
    writeFileSync(lock, JSON.stringify(holder))
    let isDone = false
    const counting = count().then(() => { isDone = true })
    await until(() => readdirSync(folder).length > 2) // it waits
    assert.ok(!isDone && existsSync(lock))
    rmSync(lock)
    await counting
  }
})

test('nothing is written while the Go client has the file', async () => {
  const holder = spawn('flock', [`${path}.lock`, 'sh', '-c', 'echo locked; cat'], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(holder.stdout, 'data')
  let isDone = false
  const counting = count().then(() => { isDone = true })
  let looks = 0
  for (let was = false; looks < 3;) { // it has looked three times
    const is = existsSync(`${path}.writing`)
    if (was && !is) looks++
    was = is
    await wait(0)
  }
  assert.equal(isDone, false)
  holder.stdin.end()
  await counting
  assert.equal((await new FileStorage(path).load())!.document.nextKey, 1)
})

test('a file that is damaged, or is none, is said to be and left as it is', async () => {
  const whole = readFileSync(path, 'utf8')
  for (const text of ['', '{}', whole.slice(1), whole.slice(0, -3), whole.replace('"nextKey":0', '"nextKey":7'), whole.replace('"version":1', '"version":9')]) {
    writeFileSync(path, text)
    await assert.rejects(count(), isStorageError, text.slice(0, 60))
    await assert.rejects(Wallet.create({ storage: new FileStorage(path) }), isStorageError)
    assert.equal(readFileSync(path, 'utf8'), text)
  }
  writeFileSync(path, whole)
  assert.equal(await count(), 1)
  assert.equal(await new FileStorage(join(folder, 'none.json')).load(), undefined)
  await assert.rejects(new FileStorage(join(folder, 'no folder', 'wallet.json')).create({ seed: 'A' }, (await new FileStorage(path).load())!.document), isStorageError)
})

test('a wallet is not written through a symbolic link, which would make two of it', async () => {
  const link = join(folder, 'link.json')
  symlinkSync(path, link)
  await assert.rejects(count(new FileStorage(link)), isStorageError)
  assert.equal(await count(), 1)
})
