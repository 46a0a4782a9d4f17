import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Stored } from '../extension/src/stored.js'

/** An area of chrome.storage that counts its writes, and can fail. */
class FakeArea {
  stored: Record<string, unknown> = {}
  writes = 0
  reads = 0
  isFull = false

  get(key: string): Promise<Record<string, unknown>> {
    this.reads++
    return Promise.resolve(structuredClone({ [key]: this.stored[key] }))
  }

  set(items: Record<string, unknown>): Promise<void> {
    if (this.isFull) return Promise.reject(new Error('quota'))
    this.writes++
    Object.assign(this.stored, structuredClone(items))
    return Promise.resolve()
  }
}

function newStore(): { area: FakeArea, store: Stored<number[]> } {
  const area = new FakeArea()
  return { area, store: new Stored(() => area as unknown as chrome.storage.StorageArea, 'list', stored => stored === undefined ? [] : stored as number[]) }
}

test('changes that wait are made in order and written together', async () => {
  const { area, store } = newStore()
  const lengths = await Promise.all(Array.from({ length: 60 }, (_, at) => store.update(list => list.push(at))))
  assert.deepEqual(lengths, Array.from({ length: 60 }, (_, at) => at + 1))
  assert.deepEqual(await store.read(), Array.from({ length: 60 }, (_, at) => at))
  assert.ok(area.writes <= 2, `${area.writes} writes`)
})

test('a change that throws half-way changes nothing, and the others are made', async () => {
  const { store } = newStore()
  const made = await Promise.allSettled([
    store.update(list => list.push(1)),
    store.update(list => {
      list.push(2)
      throw new Error('no')
    }),
    store.update(list => list.push(3)),
  ])
  assert.deepEqual(made.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled'])
  assert.deepEqual(await store.read(), [1, 3])
})

test('who waits for a write that fails is told, and the next write is one', async () => {
  const { area, store } = newStore()
  area.isFull = true
  const failed = await Promise.allSettled([store.update(list => list.push(1)), store.update(list => list.push(2))])
  assert.deepEqual(failed.map(({ status }) => status), ['rejected', 'rejected'])
  area.isFull = false
  await store.update(list => list.push(3))
  assert.deepEqual(await store.read(), [3])
})

test('a worker reads the area once, and what a caller does to a value is its own affair', async () => {
  const { area, store } = newStore()
  await store.update(list => list.push(1))
  const list = await store.read()
  list.push(2)
  assert.deepEqual(await store.read(), [1])
  assert.equal(area.reads, 1)
})

test('after a write that failed it is read again: it may have been made', async () => {
  const { area, store } = newStore()
  await store.update(list => list.push(1))
  area.isFull = true
  await assert.rejects(store.update(list => list.push(2)))
  area.stored['list'] = [1, 2]
  assert.deepEqual(await store.read(), [1, 2])
})

test('a value that was read before a write does not hide what was written', async () => {
  const { area, store } = newStore()
  const [before] = await Promise.all([store.read(), store.update(list => list.push(1))])
  assert.deepEqual(before, [])
  assert.deepEqual(await store.read(), [1])
  assert.deepEqual(area.stored['list'], [1])
})
