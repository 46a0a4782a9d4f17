// What a chain of 1,000,000 steps costs in Node, Chromium and Firefox: the walk by
// WebAssembly, by plain JavaScript, by @noble/hashes and by WebCrypto, in turns.
// `npm run bench`, or `npm run bench -- --rounds 5 node chromium`. Prints tables for
// people, and then each result as a line of JSON: the median and the spread (between
// the quartiles) in its unit, and the ratio to @noble/hashes, taken in each round:
// how many times as fast.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

import { build } from 'esbuild'

import { startBrowser, type BrowserName } from '../test/browsers.js'
import { longestWait, measurePayments, measureRounds, type Payments, type Rounds } from './measure.js'

const steps = 1_000_000

interface Measured {
  rounds: Rounds
  payments: Payments
  longestWaitMillis: number
}

interface Result {
  name: string
  unit: string
  median: number
  spread: number
  ratio?: number
  rounds: number
}

function quantile(values: number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) * part)] ?? NaN
}

const round = (value: number): number => Number(value.toPrecision(4))

function resultsOf(platform: string, { rounds, longestWaitMillis, payments }: Measured): Result[] {
  const noble = rounds.noble ?? []
  const hashed = Object.entries(rounds).map(([name, taken]): Result => ({
    name: `client-js/${platform}/${name}`, unit: 'ns/hash', rounds: taken.length,
    median: round(quantile(taken, 0.5)), spread: round(quantile(taken, 0.75) - quantile(taken, 0.25)),
    ratio: round(quantile(taken.map((one, k) => (noble[k] ?? NaN) / one), 0.5)),
  }))
  return [
    ...hashed,
    { name: `client-js/${platform}/payment`, unit: 'ms', median: round(payments.millisMean), spread: 0, rounds: 1 },
    { name: `client-js/${platform}/longest-wait`, unit: 'ms', median: round(longestWaitMillis), spread: 0, rounds: 1 },
  ]
}

function print(platform: string, results: Result[], { payments, longestWaitMillis }: Measured): void {
  console.log(`${platform}, a chain of ${steps} steps, medians of ${results[0]?.rounds} rounds`)
  const row = (name: string, value: string): void => { console.log(`  ${name.padEnd(26)}${value}`) }
  const said: Record<string, string> = {
    noble: '@noble/hashes', chain: 'prepare', kernel: 'WebAssembly', plain: 'plain JavaScript', webcrypto: 'WebCrypto, one by one',
  }
  for (const { name, median, spread, ratio } of results) {
    const words = said[name.split('/').pop() ?? '']
    if (words) row(words, `${median.toFixed(0).padStart(6)} ns a hash, ± ${(spread / 2).toFixed(0)}, ${ratio?.toFixed(2)} times as fast as @noble/hashes`)
  }
  row('others wait, in slices', `at most ${longestWaitMillis.toFixed(1)} ms`)
  row('pay, with what is stored', `${payments.millisMean.toFixed(3)} ms, 99 of 100 under ${payments.millisNearlyAll.toFixed(2)} ms`)
  row('hashes a payment', `${payments.hashesMean.toFixed(1)}, at most ${payments.hashesMost}`)
  row('storage', `at most ${payments.storageBytesMost} bytes`)
}

async function measureHere(rounds: number): Promise<Measured> {
  return { longestWaitMillis: await longestWait(steps), rounds: await measureRounds(steps, rounds), payments: measurePayments(steps) }
}

async function measureInBrowser(name: BrowserName, rounds: number): Promise<Measured> {
  const bundle = await build({
    entryPoints: [fileURLToPath(new URL('measure.js', import.meta.url))], bundle: true, write: false, format: 'iife', globalName: 'bench'
  })
  // WebCrypto is there for pages of this machine, and not for an empty one.
  const server = createServer((_request, response) => {
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    response.end(`<!doctype html><title>bench</title><script>${bundle.outputFiles[0]?.text}</script>`)
  })
  await new Promise<void>(listening => { server.listen(0, '127.0.0.1', listening) })
  const browser = await startBrowser(name)
  try {
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
    return {
      longestWaitMillis: await page.evaluate<number>(`bench.longestWait(${steps})`),
      rounds: await page.evaluate<Rounds>(`bench.measureRounds(${steps}, ${rounds})`),
      payments: await page.evaluate<Payments>(`bench.measurePayments(${steps})`),
    }
  } finally {
    await browser.close()
    server.close()
  }
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string', default: '21' } } })
const rounds = Number(values.rounds)
const platforms = ['node', 'chromium', 'firefox'] as const
const wanted = platforms.filter(name => positionals.length === 0 || positionals.includes(name))
if (!Number.isInteger(rounds) || rounds < 1 || positionals.some(name => !platforms.includes(name as never))) {
  throw new Error(`want --rounds from 1 and of ${platforms.join(', ')}, got ${process.argv.slice(2).join(' ')}`)
}
const all: Result[] = []
for (const name of wanted) {
  const measured = name === 'node' ? await measureHere(rounds) : await measureInBrowser(name, rounds)
  const results = resultsOf(name, measured)
  print(name, results, measured)
  all.push(...results)
}
for (const result of all) console.log(JSON.stringify(result))
