// What the scripts that look at pages in Chromium share. Arguments of each: a
// JSON document with what there is to look at, and the path of the browser. It
// writes one JSON document: what was checked and what was wrong.
// PAYWORD_SCREENSHOTS names a folder for pictures.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import { chromium } from 'playwright-core'

export const site = JSON.parse(process.argv[2])
export const pictures = process.env.PAYWORD_SCREENSHOTS
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
const checked = []
const wrong = []

// The spacing that a page must bear (WCAG 2.2, success criterion 1.4.12).
export const spacing = '* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important } p { margin-block-end: 2em !important }'

export function check(where, what, holds, detail) {
  checked.push(`${where}: ${what}`)
  if (!holds) wrong.push(`${where}: ${what}${detail === undefined ? '' : `: ${JSON.stringify(detail)}`}`)
}

export async function picture(page, name) {
  if (!pictures) return
  await mkdir(pictures, { recursive: true })
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true })
}

// checkAxe looks with every rule, or with that of the colours alone.
export async function checkAxe(page, where, coloursAlone) {
  const axe = new AxeBuilder({ page })
  const found = await (coloursAlone ? axe.withRules(['color-contrast']) : axe.withTags(rules)).analyze()
  check(where, 'axe looked', found.passes.length > (coloursAlone ? 0 : 10), found.passes.length)
  check(where, 'axe finds nothing', found.violations.length === 0,
    found.violations.map(v => `${v.id}: ${v.nodes.map(n => `${n.html} ${n.failureSummary}`).join('; ')}`))
  const unsure = found.incomplete.filter(rule => rule.id === 'color-contrast')
  check(where, 'axe is sure of the contrast', unsure.length === 0, unsure.map(r => r.nodes.map(n => n.html)))
}

// checkPrintInk checks that a page in dark mode is printed black on white.
// Backdrop is the element that has the background.
export async function checkPrintInk(page, where, backdrop) {
  await page.emulateMedia({ media: 'print' })
  const ink = await page.evaluate(backdrop => [getComputedStyle(document.querySelector(backdrop)).backgroundColor, getComputedStyle(document.body).color], backdrop)
  check(where, 'it is black on white, also in dark mode', ink.join() === 'rgb(255, 255, 255),rgb(0, 0, 0)', ink)
}

// run opens the browser, does the checks, and writes what came of them.
export async function run(checks) {
  const browser = await chromium.launch({
    executablePath: process.argv[3], headless: false, // the flag decides
    args: [
      '--headless=new', '--hide-scrollbars', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
  })
  try {
    await checks(browser)
  } finally {
    await browser.close()
  }
  console.log(JSON.stringify({ checked, wrong }))
}
