// The linter of addons.mozilla.org on the extension as it is published, without a network.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..')

/** What web-ext says of an extension. */
interface Lint {
  errors: { code: string, message: string, file?: string }[]
  warnings: { code: string, message: string, file?: string }[]
}

test('web-ext lint finds nothing', () => {
  execFileSync(process.execPath, ['scripts/extension.mjs'], { cwd: folder, stdio: 'pipe' })
  const copy = mkdtempSync(join(tmpdir(), 'payword-lint-'))
  try {
    cpSync(join(folder, 'dist', 'extension', 'firefox'), copy, { recursive: true })
    const { stdout } = spawnSync(join(folder, 'node_modules', '.bin', 'web-ext'), ['lint', '--source-dir', copy, '--output', 'json', '--no-config-discovery'], { encoding: 'utf8' })
    const { errors, warnings } = JSON.parse(stdout) as Lint
    assert.deepEqual([...errors, ...warnings].map(({ code, message, file }) => `${code}: ${file ?? ''}: ${message}`), [])
  } finally {
    rmSync(copy, { recursive: true })
  }
})
