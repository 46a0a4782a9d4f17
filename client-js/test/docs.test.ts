// docs/client-js.md shows the examples as they are, and README.md one of them.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const at = (path: string): URL => new URL(`../../${path}`, import.meta.url)
const read = (path: string): string => readFileSync(at(path), 'utf8')

function blocksOf(text: string): Map<string, string> {
  return new Map([...text.matchAll(/<!-- examples\/([a-z_]+\.ts) -->\n```ts\n([^]*?)```/g)].map(match => [match[1] ?? '', match[2] ?? '']))
}

test('docs/client-js.md shows every example as the tests run it', () => {
  const shown = blocksOf(read('../docs/client-js.md'))
  const files = readdirSync(at('examples')).filter(name => name.endsWith('.ts'))
  assert.deepEqual([...shown.keys()].sort(), files.sort())
  for (const [name, block] of shown) assert.equal(block, read(`examples/${name}`), name)
})

test('README.md shows an example as the tests run it', () => {
  const shown = blocksOf(read('README.md'))
  assert.deepEqual([...shown.keys()], ['fetch_a_page.ts'])
  assert.equal(shown.get('fetch_a_page.ts'), read('examples/fetch_a_page.ts'))
})

test('docs/client-js.md names every kind of error and every command', () => {
  const text = read('../docs/client-js.md')
  const kinds = /export type ErrorKind = (.*)/.exec(read('src/errors.ts'))?.[1]?.match(/[a-z]+/g) ?? []
  assert.ok(kinds.length >= 9)
  for (const kind of kinds) assert.match(text, new RegExp(`\\| \`${kind}\` \\|`), kind)
  for (const name of ['open', 'balance', 'voucher', 'pay', 'history', 'statement', 'backup', 'restore']) assert.match(text, new RegExp(`payword ${name}`))
})
