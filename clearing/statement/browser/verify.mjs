// Looks at the page that checks statements as people use it, opened from the disk:
// see look.mjs.
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { check, checkAxe, picture, run, site } from '../../../internal/browsertest/browser/look.mjs'

const address = pathToFileURL(site.page).href
const vectors = []
for (const name of (await readdir(site.vectors)).sort()) vectors.push(JSON.parse(await readFile(join(site.vectors, name), 'utf8')))
const named = name => vectors.find(v => v.name === name)

// open opens the page in a window of its own.
async function open(browser, options = {}) {
  const context = await browser.newContext({ locale: 'en-GB', reducedMotion: 'reduce', viewport: { width: 900, height: 900 }, ...options })
  const page = await context.newPage()
  const seen = { foreign: [], complaints: [] }
  page.on('request', request => { if (request.url() !== address) seen.foreign.push(request.url()) })
  page.on('pageerror', error => seen.complaints.push(String(error)))
  page.on('console', message => { if (message.type() === 'error') seen.complaints.push(message.text()) })
  await page.goto(address)
  return { context, page, seen }
}

// checkVectors gives each vector to the function that the page checks with.
async function checkVectors(browser) {
  const { context, page, seen } = await open(browser)
  for (const v of vectors) {
    const got = await page.evaluate(async input => {
      const keys = set => set && readKeys(JSON.stringify(set))
      const { word, report } = await verifyStatement(new Blob([input.statement]), {
        issuer: input.issuer, keys: keys(input.keys), dayKeys: keys(input.dayKeys), vendorKeys: keys(input.vendorKeys),
      })
      return { word, paid: report.header?.paid, cumulative: String(report.cumulative), hashes: report.hashes, leaf: report.leaf, uncheckedClaims: report.uncheckedClaims }
    }, v.input)
    check(v.name, `expects ${v.expect}`, got.word === v.expect, got.word)
    for (const [name, value] of Object.entries(v.output ?? {})) check(v.name, name, got[name] === value, got[name])
  }
  // A chain of the greatest length, in pieces that let the page breathe.
  const root = await page.evaluate(async () => toBase64url(await walk(new Uint8Array(32), 1 << 16)))
  check('walk', '2^16 steps', root === site.walk, root)
  check('vectors', 'nothing is asked for', seen.foreign.length === 0, seen.foreign)
  check('vectors', 'the browser complains of nothing', seen.complaints.length === 0, seen.complaints)
  await context.close()
}

async function choose(page, directory, v) {
  await writeFile(join(directory, 'statement.jsonl'), v.input.statement)
  await writeFile(join(directory, 'jwks.json'), JSON.stringify(v.input.keys))
  await page.setInputFiles('#statement', join(directory, 'statement.jsonl'))
  await page.setInputFiles('#keys', join(directory, 'jwks.json'))
  if (v.input.dayKeys) {
    await writeFile(join(directory, 'days.json'), JSON.stringify(v.input.dayKeys))
    await page.setInputFiles('#day-keys', join(directory, 'days.json'))
  }
}

// checkPage does what people do, in light and in dark, wide and narrow.
async function checkPage(browser, directory) {
  for (const [way, options] of [['light', {}], ['dark', { colorScheme: 'dark' }], ['narrow', { viewport: { width: 320, height: 800 } }]]) {
    const { context, page, seen } = await open(browser, options)
    if (way === 'narrow') await checkAxe(page, `${way} empty`)
    await page.click('#go')
    check(way, 'asks for a statement', await page.textContent('#verdict') === 'Something is missing', await page.textContent('#verdict'))
    check(way, 'leads to the field', await page.evaluate(() => document.activeElement.id) === 'statement')
    await choose(page, directory, named('good-vendor'))
    await page.click('#go')
    await page.waitForSelector('#result.good')
    check(way, 'says what is proven', (await page.textContent('#report')).includes('0.34998 USD in this period'), await page.textContent('#report'))
    check(way, 'says which day', (await page.textContent('#report')).includes('signed by key'))
    check(way, 'the result has the focus', await page.evaluate(() => document.activeElement.id) === 'result')
    if (way === 'light') await checkAxe(page, `${way} good`)
    await picture(page, `verify-${way}-good`)
    await choose(page, directory, named('fee-wrong'))
    await page.click('#go')
    await page.waitForSelector('#result.problem')
    check(way, 'says what disagrees', (await page.textContent('#detail')).includes('its share of the fee is'), await page.textContent('#detail'))
    if (way === 'dark') await checkAxe(page, `${way} problem`)
    await picture(page, `verify-${way}-problem`)
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    check(way, 'nothing stands out sideways', over <= 0, over)
    check(way, 'nothing is asked for', seen.foreign.length === 0, seen.foreign)
    check(way, 'the browser complains of nothing', seen.complaints.length === 0, seen.complaints)
    await context.close()
  }
}

// checkKeyboard reaches every field and the button with Tab, seen on the way.
async function checkKeyboard(browser, directory) {
  const { context, page } = await open(browser)
  await choose(page, directory, named('good-user'))
  const reached = []
  for (let i = 0; i < 5; i++) {
    await page.keyboard.press('Tab')
    reached.push(await page.evaluate(() => {
      const style = getComputedStyle(document.activeElement)
      return document.activeElement.id + (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 ? '' : ' without outline')
    }))
  }
  check('keyboard', 'Tab reaches everything', reached.join() === 'statement,keys,day-keys,vendor-keys,go', reached)
  await page.keyboard.press('Enter')
  await page.waitForSelector('#result.good')
  check('keyboard', 'Enter checks', (await page.textContent('#verdict')) === 'All of it agrees')
  await context.close()
}

// checkDrop drops files onto the page.
async function checkDrop(browser) {
  const { context, page } = await open(browser)
  const drop = (selector, name, text) => page.evaluate(([selector, name, text]) => {
    const data = new DataTransfer()
    data.items.add(new File([text], name))
    document.querySelector(selector).dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }))
  }, [selector, name, text])
  const v = named('day-by-another-key')
  await drop('h1', 'a.jsonl', v.input.statement)
  await drop('h1', 'jwks.json', JSON.stringify(v.input.keys))
  await drop('#day-keys', 'days.json', JSON.stringify(v.input.dayKeys))
  await page.click('#go')
  await page.waitForSelector('#result.problem')
  check('drop', 'says what disagrees', (await page.textContent('#detail')).includes('unknown-day-key'), await page.textContent('#detail'))
  await drop('h1', 'jwks.json', 'no keys at all')
  await page.click('#go')
  await page.waitForFunction(() => document.getElementById('detail').textContent.includes('cannot be read'))
  check('drop', 'keys that are none are told', (await page.textContent('#verdict')) === 'This could not be checked')
  await context.close()
}

const directory = await mkdtemp(join(tmpdir(), 'payword-verify-'))
try {
  await run(async browser => {
    await checkVectors(browser)
    await checkPage(browser, directory)
    await checkKeyboard(browser, directory)
    await checkDrop(browser)
  })
} finally {
  await rm(directory, { recursive: true })
}
