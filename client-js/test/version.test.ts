import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { run } from '../src/command/command.js'

test('payword says its version', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  for (const word of ['--version', 'version']) {
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()]
    assert.equal(await run([word], { stdin, stdout, stderr, environment: {} }), 0)
    assert.equal(await text(stdout.end()), `${version}\n`)
  }
})
