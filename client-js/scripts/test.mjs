// Runs the tests: `npm test` all of them, `npm test -- unit` those that need no
// server, `npm test -- vectors/chains` the files whose path holds that text.
// It compiles first, and builds the payword program, which the servers are.
// Files run side by side, each in a process of its own; what a file prints is
// shown when it ends, and what it took. The slowest are listed at the end.
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = dirname(dirname(fileURLToPath(import.meta.url)))

// Each may be two browsers and two servers, so four at most, whatever the machine.
const atOnce = Math.min(availableParallelism(), 4)

// How long one file may take, in ms: the longest takes a minute on a quiet machine.
const fileTimeout = 300_000

function run(program, ...given) {
  const { status, error } = spawnSync(program, given, { cwd: folder, stdio: 'inherit' })
  if (error) console.error(`${program}: ${error.message}`)
  if (status !== 0) process.exit(status ?? 1)
}

function testFiles(of) {
  return readdirSync(of).flatMap(name => {
    const path = join(of, name)
    if (statSync(path).isDirectory()) return testFiles(path)
    return name.endsWith('.test.js') ? [path] : []
  })
}

// Runs a program beside others; resolves to what it wrote, whether it ended well,
// and its seconds. After `timeout` ms it gets SIGTERM, so that it ends its servers.
function start(timeout, program, ...given) {
  const from = performance.now()
  return new Promise(resolve => {
    const output = []
    const child = spawn(program, given, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], timeout })
    for (const stream of [child.stdout, child.stderr]) stream.on('data', part => output.push(part))
    child.on('error', error => output.push(Buffer.from(`${program}: ${error.message}\n`)))
    child.on('close', (status, signal) => {
      const seconds = (performance.now() - from) / 1000
      if (signal) output.push(Buffer.from(`ended by ${signal} after ${seconds.toFixed(0)} s\n`))
      resolve({ isGood: status === 0, output: Buffer.concat(output).toString(), seconds })
    })
  })
}

const kinds = ['/test/browsers/', '/test/integration/']
const needsServer = path => kinds.some(part => path.includes(part))
const wanted = process.argv[2] ?? ''
run('npm', 'run', '--silent', 'compile')
const files = testFiles(join(folder, 'build', 'test')).filter(path =>
  wanted === 'unit' ? !needsServer(path) : path.includes(wanted))
if (files.length === 0) {
  console.error(`no test file's path holds ${wanted}`)
  process.exit(1)
}
if (files.some(needsServer)) run('node', 'scripts/extension.mjs', '--for-tests')

const results = []
const line = (word, seconds, name) => `${word.padEnd(6)} ${seconds.toFixed(1).padStart(5)} s  ${name}`

async function runFile(path) {
  const name = relative(join(folder, 'build', 'test'), path)
  const { isGood, output, seconds } = await start(fileTimeout, process.execPath, '--test-reporter=spec', path)
  const lines = output.split('\n')
  const failing = [...new Set(lines.slice(lines.indexOf('✖ failing tests:') + 1).filter(text => text.startsWith('✖ ')))]
  results.push({ isGood, name, seconds, failing })
  console.log(line(isGood ? 'ok' : 'FAILED', seconds, name))
  // Of what went well only what tests print for people, unless it is all that was asked for.
  const isShort = isGood && files.length > 1
  const counts = /^\s*ℹ (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /
  const shown = isShort ? lines.filter(text => /^\s*ℹ /.test(text) && !counts.test(text)) : lines
  if (shown.length > 0) console.log(shown.join('\n'))
}

async function buildProgram() {
  if (process.env.PAYWORD_BINARY || !files.some(needsServer)) return
  process.env.PAYWORD_BINARY = join(folder, 'build', 'payword')
  // No timeout: the first build compiles Caddy for minutes.
  const { isGood, output, seconds } = await start(0, 'make', '--silent', '--directory=..', 'racebinary', `BINARY=${process.env.PAYWORD_BINARY}`)
  console.log(`${output}${line(isGood ? 'built' : 'FAILED', seconds, 'cmd/payword')}`)
  if (!isGood) process.exit(1)
}

const units = files.filter(path => !needsServer(path))
const others = kinds.flatMap(part => files.filter(path => path.includes(part)))

// The program is built beside the tests that do without it.
const building = buildProgram()
async function work(shouldWait) {
  if (shouldWait) await building
  const next = () => shouldWait ? others.shift() ?? units.shift() : units.shift() ?? others.shift()
  for (let path = next(); path; path = next()) {
    if (needsServer(path)) await building
    await runFile(path)
  }
}
await Promise.all(Array.from({ length: atOnce }, (_, k) => work(k === 0)))

if (results.length > 1) {
  console.log(`\nThe slowest of ${results.length} files, in seconds by the clock:`)
  results.sort((one, other) => other.seconds - one.seconds)
  for (const { isGood, name, seconds } of results.slice(0, 10)) console.log(line(isGood ? 'ok' : 'FAILED', seconds, name))
}
const failed = results.filter(({ isGood }) => !isGood)
for (const { name, failing } of failed) console.log(`\nFAILED ${name}\n${failing.join('\n')}`)
if (failed.length > 0) process.exitCode = 1
