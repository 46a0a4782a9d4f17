// Runs the tests: `npm test` all of them, `npm test -- unit` those that need no
// server, `npm test -- vectors/chains` the files whose path holds that text.
// It compiles first, and builds the payword program, which the servers are.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = dirname(dirname(fileURLToPath(import.meta.url)))

function run(program, ...given) {
  const { status, error } = spawnSync(program, given, { cwd: folder, stdio: 'inherit' })
  if (error) {
    console.error(`${program}: ${error.message}`)
    process.exit(1)
  }
  if (status !== 0) process.exit(status ?? 1)
}

function testFiles(of) {
  return readdirSync(of).flatMap(name => {
    const path = join(of, name)
    if (statSync(path).isDirectory()) return testFiles(path)
    return name.endsWith('.test.js') ? [path] : []
  })
}

const servers = ['/test/integration/', '/test/browsers/']
const wanted = process.argv[2] ?? ''
run('npm', 'run', '--silent', 'compile')
const files = testFiles(join(folder, 'build')).filter(path =>
  wanted === 'unit' ? !servers.some(part => path.includes(part)) : path.includes(wanted))
if (files.length === 0) {
  console.error(`no test file's path holds ${wanted}`)
  process.exit(1)
}
if (files.some(path => servers.some(part => path.includes(part)))) {
  if (!process.env.PAYWORD_BINARY) {
    process.env.PAYWORD_BINARY = join(folder, 'build', 'payword')
    run('go', 'build', '-race', '-o', process.env.PAYWORD_BINARY, '../cmd/payword')
  }
  if (existsSync(join(folder, 'scripts', 'extension.mjs'))) run('node', 'scripts/extension.mjs', '--for-tests')
}
run('node', '--test', '--test-concurrency=1', ...files)
