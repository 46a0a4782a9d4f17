// Prints what a chain of 1,000,000 steps costs in Node and in Chromium, beside the
// same walk by @noble/hashes in the same run: `npm run bench`.
import { fileURLToPath } from 'node:url'

import { build } from 'esbuild'
import { chromium } from 'playwright-core'

import { measure, type Measured } from './measure.js'

const steps = 1_000_000

function print(platform: string, measured: Measured): void {
  const rows: [string, string][] = [
    ['prepare', `${measured.prepareMillis.toFixed(0)} ms`],
    ['  by @noble/hashes', `${measured.baselineMillis.toFixed(0)} ms, ${measured.ratio.toFixed(1)} times as long`],
    ['pay, with what is stored', `${measured.payMillisMean.toFixed(3)} ms, 99 of 100 under ${measured.payMillisNearlyAll.toFixed(2)} ms`],
    ['hashes a payment', `${measured.hashesMean.toFixed(1)}, at most ${measured.hashesMost}`],
    ['storage', `at most ${measured.storageBytesMost} bytes`]
  ]
  console.log(`${platform}, a chain of ${measured.steps} steps`)
  for (const [name, value] of rows) console.log(`  ${name.padEnd(26)}${value}`)
}

async function measureInChromium(): Promise<Measured> {
  const bundle = await build({
    entryPoints: [fileURLToPath(new URL('measure.js', import.meta.url))], bundle: true, write: false, format: 'iife', globalName: 'bench'
  })
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
  try {
    const page = await browser.newPage()
    await page.addScriptTag({ content: bundle.outputFiles[0]?.text ?? '' })
    return await page.evaluate<Measured>(`bench.measure(${steps})`)
  } finally {
    await browser.close()
  }
}

print(`Node ${process.versions.node}`, measure(steps))
print('Chromium', await measureInChromium())
