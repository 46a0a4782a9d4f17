// docs/PERMISSIONS.md has a heading for every permission of the manifest, and for nothing else.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..')

test('every permission is explained', () => {
  const manifest = JSON.parse(readFileSync(join(folder, 'extension', 'src', 'manifest.json'), 'utf8')) as Record<string, string[]>
  const asked = ['permissions', 'optional_permissions', 'host_permissions', 'optional_host_permissions'].flatMap(member => manifest[member] ?? [])
  const headings = readFileSync(join(folder, '..', 'docs', 'PERMISSIONS.md'), 'utf8').split('\n').filter(line => line.startsWith('## `')).join('\n')
  const explained = [...headings.matchAll(/`([^`]+)`/g)].map(match => match[1])
  assert.deepEqual(explained.sort(), asked.sort())
})
