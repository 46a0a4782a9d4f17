import { readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AxeBuilder } from '@axe-core/playwright'
import { chromium, type Page } from 'playwright-core'
import { eventually } from './browsers.js'
import { installFakeWorker, type Deed, type FakeWorker } from './fake_worker.js'

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const built = join(folder, 'build', 'extension', 'chromium')
const types: Record<string, string> = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.png': 'image/png' }
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

const spacing = '* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important } p { margin-block-end: 2em !important }'

/** Gives a page the spacing that it must bear (WCAG 2.2, success criterion 1.4.12). */
export async function space(page: Page): Promise<void> {
  await page.evaluate(text => {
    const sheet = new CSSStyleSheet()
    sheet.replaceSync(text)
    document.adoptedStyleSheets.push(sheet)
  }, spacing)
}

/** Waits until an expression is true in the page. Playwright's own way needs eval, which the policy forbids. */
export async function until(page: Page, expression: string): Promise<void> {
  await eventually(expression, async () => Boolean(await page.evaluate(expression)))
}

/** Texts of a language, as the extension has them. */
export function texts(language: string): Record<string, string> {
  return JSON.parse(readFileSync(join(folder, 'extension', 'languages', `${language}.json`), 'utf8')) as Record<string, string>
}

/** The built pages in Chromium, with a fake worker behind them. */
export interface Pages {
  /** Opens a page of the extension, with nothing left of the one before, which it closes. */
  open(path: string, fake: FakeWorker, size?: { width: number, height: number }): Promise<Page>
  close(): Promise<void>
}

/** Starts a browser and a server of the built pages, under the policy of the manifest. */
export async function startPages(): Promise<Pages> {
  const manifest = JSON.parse(readFileSync(join(built, 'manifest.json'), 'utf8')) as { content_security_policy: { extension_pages: string } }
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname
    try {
      const content = readFileSync(join(built, path))
      response.writeHead(200, { 'Content-Type': types[extname(path)] ?? 'text/plain', 'Content-Security-Policy': manifest.content_security_policy.extension_pages })
      response.end(content)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium', headless: false, // the flag decides
    args: ['--headless=new', '--hide-scrollbars', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  })
  const context = await browser.newContext({ timezoneId: 'UTC' })
  let last: Page | undefined
  return {
    async open(path, fake, size = { width: 800, height: 900 }) {
      await last?.close()
      const page = await context.newPage()
      last = page
      await page.setViewportSize(size)
      await page.addInitScript(installFakeWorker, fake)
      const problems: string[] = []
      page.on('pageerror', error => problems.push(String(error)))
      page.on('console', message => { if (message.type() === 'error') problems.push(message.text()) })
      await page.goto(`${origin}/${path}`)
      await until(page, 'isShown()')
      if (problems.length > 0) throw new Error(problems.join('\n'))
      return page
    },
    async close() {
      await browser.close()
      await new Promise(resolve => { server.close(resolve) })
    },
  }
}

/** What the page did so far. */
export function deeds(page: Page): Promise<Deed[]> {
  return page.evaluate('done')
}

/** Findings of axe, as sentences; with `rule`, of that rule alone. */
export async function axe(page: Page, rule?: string): Promise<string[]> {
  // There are no frames, for which axe would open a page of its own.
  const builder = new AxeBuilder({ page }).setLegacyMode(true)
  const found = await (rule === undefined ? builder.withTags(rules) : builder.withRules([rule])).analyze()
  if (found.passes.length === 0) throw new Error('axe looked at nothing')
  const unsure = found.incomplete.filter(one => one.id === 'color-contrast')
  return [...found.violations, ...unsure].flatMap(one => one.nodes.map(node => `${one.id}: ${node.html}: ${node.failureSummary ?? one.help}`))
}

/** A picture of the whole page, or of what the window shows of it, for people, if PAYWORD_SCREENSHOTS names a folder. */
export async function picture(page: Page, name: string, isWindow = false): Promise<void> {
  const to = process.env['PAYWORD_SCREENSHOTS']
  if (to === undefined) return
  await mkdir(to, { recursive: true })
  await page.screenshot({ path: join(to, `${name}.png`), fullPage: !isWindow })
}

/** What stands out of the window sideways, or of its own box, as sentences. */
export function overflows(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found = document.documentElement.scrollWidth > document.documentElement.clientWidth ? [`the page scrolls sideways: ${document.documentElement.scrollWidth} px`] : []
    for (const element of document.querySelectorAll<HTMLElement>('body *')) {
      if (element.closest('.unseen, thead') || element.closest('[hidden]')) continue
      const box = element.getBoundingClientRect()
      if (box.width > 0 && box.right > document.documentElement.clientWidth + 1) found.push(`${element.outerHTML.slice(0, 120)} ends at ${box.right}`)
      if (/BUTTON|A|LABEL|P|TD|DD/.test(element.tagName) && element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline') found.push(`${element.outerHTML.slice(0, 120)} is cut`)
    }
    return found
  })
}
