// Looks at administration pages as operators do. The script of each service uses
// these parts, and those of look.mjs.
import { check, checkAxe, checkPrintInk, picture, site, spacing } from '../../browsertest/browser/look.mjs'

const ways = [
  { name: 'light' },
  { name: 'dark', colorScheme: 'dark', coloursAlone: true }, // nothing else differs
  { name: 'forced', forcedColors: 'active', few: true },
]

async function signIn(page, token) {
  await page.goto(site.origin + site.base)
  await page.fill('#secret', token)
  await page.click('main button')
  await page.waitForURL(site.origin + site.base)
}

// office opens a browser window of somebody who is signed in.
export async function office(browser, options = {}, token = site.token) {
  const context = await browser.newContext({
    locale: 'en-GB', reducedMotion: 'reduce', viewport: { width: 1200, height: 900 }, ...options,
  })
  const page = await context.newPage()
  const seen = { foreign: [], complaints: [] }
  page.on('request', request => { if (!request.url().startsWith(site.origin + site.base)) seen.foreign.push(request.url()) })
  page.on('pageerror', error => seen.complaints.push(String(error)))
  page.on('console', message => {
    // Chromium notes the status of every page that is not found or not valid.
    if (message.type() === 'error' && !message.text().includes('server responded with a status')) seen.complaints.push(message.text())
  })
  if (token) await signIn(page, token)
  return { context, page, seen }
}

// sideways returns what makes the reader scroll the page sideways. Tables may
// scroll by themselves, in a region that the keyboard reaches.
const sideways = page => page.evaluate(() => {
  const width = document.documentElement.clientWidth
  const over = [...document.querySelectorAll('body *')].filter(element => {
    const box = element.getBoundingClientRect()
    const inside = element.parentElement.closest('.scroll, svg, .skip') || element.matches('.skip, .scroll')
    return !inside && box.width > 0 && (box.right > width + 1 || box.left < -1)
  })
  if (document.documentElement.scrollWidth > width) over.push(document.documentElement)
  return over.map(element => `${element.tagName}.${element.className}`)
})

export async function checkPages(browser) {
  for (const way of ways) {
    const { context, page, seen } = await office(browser, { colorScheme: way.colorScheme ?? 'light', forcedColors: way.forcedColors ?? 'none' })
    for (const [name, path] of Object.entries(site.pages)) {
      if (way.few && !site.few.includes(name)) continue
      const where = `${name}-${way.name}`
      const response = await page.goto(site.origin + path)
      check(where, 'the page is there', response.status() === 200, response.status())
      check(where, 'there is one heading of the first level', await page.locator('h1').count() === 1)
      await checkAxe(page, where, way.coloursAlone)
      await picture(page, where)
    }
    check(way.name, 'nothing foreign is asked for', seen.foreign.length === 0, seen.foreign)
    check(way.name, 'the browser complains of nothing', seen.complaints.length === 0, seen.complaints)
    await context.close()
  }
}

export async function checkSizes(browser) {
  for (const [size, width, zoom] of [['narrow', 320, 1], ['zoomed', 1280, 2]]) {
    // At 200 % of 1280 pixels a page has 640 of its own.
    const { context, page } = await office(browser, { viewport: { width: width / zoom, height: 900 }, deviceScaleFactor: zoom, bypassCSP: true })
    for (const [name, path] of Object.entries(site.pages)) {
      const where = `${name}-${size}`
      await page.goto(site.origin + path)
      check(where, 'nothing stands out sideways', (await sideways(page)).length === 0, await sideways(page))
      if (size === 'narrow') await picture(page, where)
      await page.addStyleTag({ content: spacing })
      check(where, 'wide spacing fits', (await sideways(page)).length === 0, await sideways(page))
    }
    await context.close()
  }
}

// tabTo presses Tab until the element with that text has the focus, and checks
// that the focus can be seen on the way.
export async function tabTo(page, where, text, tags = 'A BUTTON') {
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press('Tab')
    const now = await page.evaluate(() => {
      const element = document.activeElement
      const style = getComputedStyle(element)
      const label = element.labels?.[0]?.textContent ?? element.textContent
      return { text: label.trim(), tag: element.tagName, outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 }
    })
    if (!now.outline && now.tag !== 'BODY') check(where, `the focus on ${now.tag} ${now.text} can be seen`, false)
    if (now.text.startsWith(text) && tags.includes(now.tag)) return true
  }
  check(where, `Tab reaches ${text}`, false)
  return false
}

// enter presses Enter where that leads to another page.
export const enter = page => Promise.all([page.waitForEvent('load'), page.keyboard.press('Enter')])

// walk does an action with the keyboard alone: the fields in
// order, then the button of the confirmation.
export async function walk(browser, name, { page: start, link, typed, button, notice }) {
  const { context, page } = await office(browser)
  await page.goto(site.origin + site.pages[start])
  await tabTo(page, name, link)
  await enter(page)
  const mistaken = Object.keys(typed)[0]
  if (mistaken) { // first nothing is typed
    await tabTo(page, name, 'Continue')
    await enter(page)
    await page.waitForSelector('.problem')
    await checkAxe(page, `${name}-problem`)
    await picture(page, `${name}-problem`)
    check(name, 'the title says that there is a problem', (await page.title()).startsWith('Problem: '), await page.title())
    check(name, 'the problem has the focus', await page.evaluate(() => document.activeElement.className) === 'problem')
  }
  for (const [label, text] of Object.entries(typed)) {
    await tabTo(page, name, label, 'INPUT')
    await page.keyboard.type(text)
  }
  await tabTo(page, name, 'Continue')
  await enter(page)
  await page.waitForSelector('text=Nothing is done yet')
  await checkAxe(page, `${name}-confirm`)
  await picture(page, `${name}-confirm`)
  await tabTo(page, name, button)
  await enter(page)
  await page.waitForSelector('.notice')
  check(name, 'the page says what was done', (await page.textContent('.notice')) === notice, await page.textContent('.notice'))
  await checkAxe(page, `${name}-done`)
  await context.close()
}

export async function checkSkipLink(browser, path) {
  const { context, page } = await office(browser)
  await page.goto(site.origin + path)
  await page.keyboard.press('Tab')
  check('skip', 'the first thing is a link past the menu', (await page.evaluate(() => document.activeElement.className)) === 'skip')
  await page.keyboard.press('Enter')
  check('skip', 'it leads to the content', (await page.evaluate(() => document.activeElement.id)) === 'main')
  await context.close()
}

// checkSignIn signs in on the way to the page at path.
export async function checkSignIn(browser, path) {
  for (const colorScheme of ['light', 'dark']) {
    const { context, page } = await office(browser, { colorScheme }, null)
    await page.goto(site.origin + path)
    await checkAxe(page, `sign-in-${colorScheme}`)
    await picture(page, `sign-in-${colorScheme}`)
    await page.fill('#secret', 'not the token of anybody')
    await page.click('main button')
    await checkAxe(page, `sign-in-problem-${colorScheme}`)
    await page.fill('#secret', site.token)
    await page.click('main button')
    check('sign-in', 'it leads to what was asked for', page.url() === site.origin + path, page.url())
    const [cookie, ...others] = await context.cookies()
    check('sign-in', 'the cookie is strict, and hidden from scripts', cookie.httpOnly && cookie.sameSite === 'Strict' && others.length === 0, cookie)
    await context.close()
  }
}

export async function checkPrint(browser, path) {
  const { context, page } = await office(browser, { colorScheme: 'dark' })
  await page.goto(site.origin + path)
  await checkPrintInk(page, 'print', 'html')
  check('print', 'the menu stays away', !await page.locator('nav').isVisible())
  await picture(page, 'print')
  await context.close()
}
