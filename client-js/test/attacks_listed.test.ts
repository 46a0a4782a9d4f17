import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { Attack } from './hostile.js'
import { attacks } from './browsers/attacks/all.js'

test('decision 58 lists the attacks as they are', () => {
  const text = readFileSync(new URL('../../../docs/decisions/58-attacks-on-the-extension.md', import.meta.url), 'utf8')
  const listed = [...text.matchAll(/^\| (.+) \| (\d+) \| (both|Chromium|Firefox) \|$/gm)].map(([line]) => line)
  const row = ({ title, payments, only }: Attack): string =>
    `| ${title} | ${payments ?? 0} | ${only === undefined ? 'both' : only === 'chromium' ? 'Chromium' : 'Firefox'} |`
  assert.deepEqual(listed, attacks.map(row))
})
