import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const languages = readdirSync(join(folder, 'extension', 'languages')).map(name => name.replace('.json', '')).sort()

function texts(language: string): Record<string, string> {
  return JSON.parse(readFileSync(join(folder, 'extension', 'languages', `${language}.json`), 'utf8')) as Record<string, string>
}

/** All that the extension is written in, and the manifest. */
function sources(): string {
  const parts = ['pages', 'src'].flatMap(part => readdirSync(join(folder, 'extension', part), { recursive: true, encoding: 'utf8' })
    .filter(name => /\.(ts|html|json)$/.test(name)).map(name => readFileSync(join(folder, 'extension', part, name), 'utf8')))
  return parts.join('\n')
}

const placeholders = (text: string): string[] => [...text.matchAll(/\{[^}]*\}/g)].map(match => match[0]).sort()
const english = texts('en')

test('there are four languages', () => {
  assert.deepEqual(languages, ['de', 'en', 'es', 'fr'])
})

for (const language of languages) {
  const own = texts(language)
  test(`${language} has every text of English, in its order, with the same placeholders`, () => {
    assert.deepEqual(Object.keys(own), Object.keys(english))
    for (const [key, text] of Object.entries(own)) {
      // "One cent" needs no number, and French counts 0.5 among the ones.
      const counted = (name: string): boolean => !(key.endsWith('_one') && name === '{n}')
      assert.deepEqual(placeholders(text).filter(counted), placeholders(english[key] ?? '').filter(counted), key)
    }
    assert.equal(own.language, language)
  })

  test(`${language} has texts that browsers read`, () => {
    for (const [key, text] of Object.entries(own)) {
      assert.match(key, /^[A-Za-z0-9_]+$/, 'a key of a browser has letters, digits and _ alone')
      assert.ok(text.trim() === text && text !== '', key)
      assert.doesNotMatch(text, /\$|<|&[a-z]+;/, `${key}: $ begins a placeholder of the browsers, and no text is HTML`)
    }
  })
}

test('texts are translated', () => {
  for (const language of languages.filter(language => language !== 'en')) {
    const same = Object.entries(texts(language)).filter(([key, text]) => text === english[key] && text.length > 25).map(([key]) => key)
    assert.deepEqual(same, [], language)
  }
})

test('every text is used', () => {
  const code = sources()
  const computed = /^(reason|error|limit_reached|amount|phase|stopped|way|export)_|^(cent|eurocent|penny|rappen)_|_(one|other)$/
  const unused = Object.keys(english).filter(key => !computed.test(key) && !code.includes(`'${key}'`) && !code.includes(`"${key}"`) && !code.includes(`__MSG_${key}__`))
  assert.deepEqual(unused, [])
})
