// Draws extension/icons/icon.svg as the pictures that browsers ask for. Run by hand
// after the drawing was changed (`node scripts/icons.mjs`); what it writes is kept.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const icons = join(dirname(dirname(fileURLToPath(import.meta.url))), 'extension', 'icons')
const drawing = readFileSync(join(icons, 'icon.svg')).toString('base64')
const program = execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim()

const browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox'] })
try {
  for (const size of [16, 32, 48, 128]) {
    const page = await browser.newPage({ viewport: { width: size, height: size } })
    await page.setContent(`<!doctype html><style>body { margin: 0 } img { display: block }</style>
      <img width="${size}" height="${size}" src="data:image/svg+xml;base64,${drawing}" alt="">`)
    await page.waitForFunction('document.images[0].complete')
    await page.screenshot({ path: join(icons, `${size}.png`), omitBackground: true })
    await page.close()
  }
} finally {
  await browser.close()
}
