// How long a reader waits for the payment: from the gate's 402 to the arrival of
// the paid request, by the gate's own clock, in each browser. `npm run
// bench:extension`. The bar: two round trips and 50 ms, on loopback.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { browserNames } from '../test/browsers.js'
import { type Attack, type Place, startBattlefield } from '../test/hostile.js'

const loads = 20
const barMs = 50

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? NaN
}

interface LogLine {
  ts: number
  duration: number
  status: number
  request?: { host: string, method: string, uri: string }
}

/** Milliseconds between the end of the 402 and the beginning of what was paid, for each page of the site. */
function waits(at: Place): number[] {
  const lines = readFileSync(join(at.servers.directory, 'gate.log'), 'utf8').split('\n')
    .filter(line => line.startsWith('{')).map(line => JSON.parse(line) as LogLine)
    .filter(({ request }) => request?.host === new URL(at.origin).host && request.method === 'GET')
  return Array.from({ length: loads }, (_, i) => {
    const own = lines.filter(({ request }) => request?.uri === `/paid/${at.browser}-${i}`)
    const asked = own.find(({ status }) => status === 402)
    const paid = own.find(({ status }) => status === 200)
    return asked === undefined || paid === undefined ? NaN : (paid.ts - paid.duration - asked.ts) * 1000
  })
}

const measured: Attack = {
  title: 'pages that are paid one after the other',
  control: 'before',
  pages: {},
  payments: loads,
  async run(at) {
    const page = await at.visit('/free')
    for (let i = 0; i < loads; i++) {
      await page.goto(`${at.origin}/paid/${at.browser}-${i}`)
      await page.until(`document.title === '/paid/${at.browser}-${i}'`)
    }
    const trips: number[] = []
    for (let i = 0; i < loads; i++) {
      trips.push(await page.evaluate<number>(async () => {
        const start = performance.now()
        await fetch('/free', { method: 'HEAD', cache: 'no-store' })
        return performance.now() - start
      }))
    }
    const added = waits(at)
    const [wait, trip] = [median(added), median(trips)]
    const bar = 2 * trip + barMs
    console.log(`${at.browser}: 402 to paid request: median ${wait.toFixed(1)} ms, longest ${Math.max(...added).toFixed(1)} ms, ${loads} pages; `
      + `a round trip is ${trip.toFixed(1)} ms; the bar is ${bar.toFixed(1)} ms: ${wait <= bar ? 'kept' : 'missed'}`)
  },
}

const field = await startBattlefield([measured], '')
try {
  for (const name of browserNames) {
    const world = await field.startWorld(name)
    await world.run(measured).finally(() => world.close())
  }
} finally {
  await field.close()
}
