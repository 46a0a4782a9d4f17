import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { areas } from './vectors.js'

/** Areas that other tests read, or nobody in JavaScript, with the reason. */
const elsewhere: Record<string, string> = {
  cards: 'a client never talks to a card: cardd does, in Go',
  statements: 'the test of src/statement.ts reads them'
}

test('every area of the vectors is read by a test, or is an exception', () => {
  const source = ['vectors', 'gate'].flatMap(name => {
    const folder = fileURLToPath(new URL(`../../../test/${name}/`, import.meta.url))
    return readdirSync(folder).map(file => readFileSync(`${folder}${file}`, 'utf8'))
  }).join('\n')
  const read = areas().filter(area => new RegExp(`testVectors(<[^(]*>)?\\('${area}'`).test(source))
  assert.deepEqual([...read, ...Object.keys(elsewhere)].sort(), areas(), 'an area that nobody reads, or an exception that is none')
})
