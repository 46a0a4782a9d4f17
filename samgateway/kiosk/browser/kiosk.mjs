// Looks at the page of a kiosk as a customer does, with a card that the test
// puts into the reader and pulls out again: see look.mjs.
import { join } from 'node:path'
import { check, checkAxe, picture, pictures, run, site } from '../../../internal/browsertest/browser/look.mjs'

export const hand = async action => {
  const response = await fetch(`${site.control}/${action}`, { method: 'POST' })
  if (!response.ok) throw new Error(`${action}: ${response.status}`)
}

// customer opens a browser window before the kiosk.
async function customer(browser, options = {}) {
  const context = await browser.newContext({ viewport: usual, reducedMotion: 'reduce', ...options })
  const page = await context.newPage()
  const seen = { foreign: [], complaints: [], urls: [] }
  page.on('request', request => {
    seen.urls.push(request.url())
    if (!request.url().startsWith(site.origin + '/')) seen.foreign.push(request.url())
  })
  page.on('pageerror', error => seen.complaints.push(String(error)))
  page.on('console', message => { if (message.type() === 'error') seen.complaints.push(message.text()) })
  await page.goto(site.origin)
  await page.waitForSelector('body[data-screen]')
  return { context, page, seen }
}

const screen = (page, name) => page.waitForSelector(`body[data-screen="${name}"]`)
const textOf = page => page.locator('body').innerText()

// over returns what does not fit: what stands out of the window sideways, and
// texts that stand out of their buttons.
const over = page => page.evaluate(() => {
  const width = document.documentElement.clientWidth
  const found = [...document.querySelectorAll('body *')].filter(element => {
    if (element.closest('svg, template') || element.parentElement.closest('.scroll')) return false
    const box = element.getBoundingClientRect()
    const isClipped = element.tagName === 'BUTTON' && (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1)
    return box.width > 0 && (box.right > width + 1 || box.left < -1 || isClipped)
  })
  return found.map(element => `${element.tagName} ${element.textContent.trim().slice(0, 40)}`)
})

const usual = { width: 1280, height: 1024 }
// At 200 % of the usual window a page has half of it, and narrow ones have 320.
const sizes = [['zoomed', { width: 640, height: 512 }], ['narrow', { width: 320, height: 800 }]]

// The screens that between them have all colours.
const inDark = ['menu', 'amount', 'pin-wrong', 'done', 'payments', 'pulled']

// look checks the screen that is shown: at the usual size, where nobody has to
// scroll, at smaller ones, and with axe.
async function look(page, where, { isDeep = false, isSmall = false }) {
  const [needed, has] = await page.evaluate(() => [document.documentElement.scrollHeight, innerHeight])
  check(where, 'nobody has to scroll', needed <= has, [needed, has])
  const heading = await page.evaluate(() => [...document.querySelectorAll('h1')].map(h => h.textContent))
  check(where, 'there is one heading, and the title says it', heading.length === 1 && heading[0] === await page.title(), heading)
  const focus = await page.evaluate(() => document.activeElement.tagName)
  check(where, 'the focus is on what is new', ['H1', 'INPUT'].includes(focus), focus)
  check(where, 'everything fits', (await over(page)).length === 0, await over(page))
  await picture(page, where)
  if (isDeep) {
    await checkAxe(page, where)
  }
  if (isDeep && inDark.some(name => where.startsWith(name))) {
    await page.emulateMedia({ colorScheme: 'dark' })
    await checkAxe(page, `${where}-dark`, true)
    await picture(page, `${where}-dark`)
    await page.emulateMedia({ colorScheme: 'light' })
  }
  for (const [name, size] of isSmall ? sizes : []) {
    await page.setViewportSize(size)
    check(`${where}-${name}`, 'everything fits', (await over(page)).length === 0, await over(page))
    await picture(page, `${where}-${name}`)
  }
  if (isSmall) await page.setViewportSize(usual)
}

// tabTo presses Tab until the focus is where the selector says, and checks that
// it can be seen on the way.
async function tabTo(page, where, selector) {
  for (let i = 0; i < 30; i++) {
    await page.keyboard.press('Tab')
    const now = await page.evaluate(selector => {
      const element = document.activeElement
      const style = getComputedStyle(element)
      return { is: element.matches(selector), name: element.tagName + element.textContent, seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 }
    }, selector)
    if (!now.seen && !now.name.startsWith('BODY')) check(where, `the focus on ${now.name} can be seen`, false)
    if (now.is) return
  }
  check(where, `Tab reaches ${selector}`, false)
}

async function press(page, where, selector) {
  await tabTo(page, where, selector)
  await page.keyboard.press('Enter')
}

// visit goes through everything with the keyboard alone, in a language.
async function visit(browser, language, how) {
  const { context, page, seen } = await customer(browser)
  const at = name => `${name}-${language}`
  const on = async (name, picture = name) => { await screen(page, name); await look(page, at(picture), how) }
  await screen(page, 'start')
  await press(page, at('start'), `[data-language="${language}"]`)
  await page.waitForFunction(language => document.documentElement.lang === language, language)
  await page.reload()
  await on('start')
  await hand('insert')
  await on('menu')
  await press(page, at('menu'), '[data-action="load"]')
  await on('amount')
  await page.keyboard.type('1000')
  await page.keyboard.press('Enter')
  await page.waitForSelector('[aria-invalid]')
  await look(page, at('amount-wrong'), how)
  await press(page, at('amount'), '[data-action="choose"][data-value="2000"]')
  await on('pin')
  await page.keyboard.type('9999')
  check(at('pin'), 'the digits are not in the page', !(await page.evaluate(() => document.documentElement.outerHTML + document.querySelector('input').value)).includes('9999'))
  check(at('pin'), 'a dot stands for each', await page.inputValue('#field') === '••••')
  await page.keyboard.press('Enter')
  await page.waitForSelector('[aria-invalid]')
  await look(page, at('pin-wrong'), how)
  await page.keyboard.type('1112')
  await page.keyboard.press('Backspace')
  await page.keyboard.type('1')
  await page.keyboard.press('Enter')
  await on('done')
  await page.keyboard.press('Escape')
  await screen(page, 'menu')
  await press(page, at('menu'), '[data-action="payments"]')
  await on('payments')
  await page.keyboard.press('Escape')
  await screen(page, 'menu')
  await press(page, at('menu'), '[data-action="fund"]')
  await on('account')
  await page.keyboard.type(site.account)
  check(at('account'), 'the account is written in groups', await page.inputValue('#field') === site.account.match(/.{4}/g).join(' '), await page.inputValue('#field'))
  await page.keyboard.press('Enter')
  await screen(page, 'amount')
  await page.keyboard.type('5')
  await page.keyboard.press('Enter')
  await on('confirm')
  await hand('hold')
  await press(page, at('confirm'), '[data-action="go"]')
  await on('working')
  await hand('pull')
  await on('pulled')
  check(at('pulled'), 'neither amount nor account are shown', !/[0-9]/.test(await textOf(page)), await textOf(page))
  await hand('go-on')
  await hand('insert-again')
  await on('resolved')
  await press(page, at('resolved'), '[data-action="back"]')
  await screen(page, 'menu')
  await page.keyboard.press('Escape')
  await on('take')
  await hand('pull')
  await screen(page, 'start')
  check(at('start'), 'nothing of the customer is left', !/[0-9]/.test(await textOf(page)), await textOf(page))
  for (const [card, name, picture] of [['insert-white', 'menu', 'white'], ['insert-foreign', 'foreign', 'foreign']]) {
    await hand(card)
    await on(name, picture)
    await hand('pull')
    await screen(page, 'start')
  }
  check(at('all'), 'nothing foreign is asked for', seen.foreign.length === 0, seen.foreign)
  check(at('all'), 'the browser complains of nothing', seen.complaints.length === 0, seen.complaints)
  check(at('all'), 'no address has the PIN', !seen.urls.some(url => /1111|9999/.test(url)))
  await context.close()
}

// checkTouch uses fingers alone.
async function checkTouch(browser) {
  const { context, page } = await customer(browser, { hasTouch: true })
  await hand('insert')
  await screen(page, 'menu')
  await page.tap('[data-action="fund"]')
  await screen(page, 'account')
  for (const letter of 'qwertyuiop234567') await page.tap(`[data-key="${letter}"]`)
  check('touch', 'the account is typed', await page.inputValue('#field') === 'qwer tyui op23 4567', await page.inputValue('#field'))
  await page.tap('[data-key="Backspace"]')
  await page.tap('[data-key="7"]')
  await page.tap('[type="submit"]')
  await screen(page, 'amount')
  for (const key of ['5', '.', '5', '0']) await page.tap(`[data-key="${key}"]`)
  await page.tap('[type="submit"]')
  await screen(page, 'confirm')
  await page.tap('[data-action="back"]')
  await screen(page, 'menu')
  await page.tap('[data-action="payments"]')
  await screen(page, 'pin')
  for (const key of '1111') await page.tap(`[data-key="${key}"]`)
  check('touch', 'the digits are counted', (await page.textContent('#count')).endsWith('4'))
  await page.tap('[type="submit"]')
  await screen(page, 'payments')
  const small = await page.evaluate(() => [...document.querySelectorAll('button')].filter(b => b.getBoundingClientRect().height < 44).length)
  check('touch', 'every button is large', small === 0, small)
  await hand('pull')
  await screen(page, 'start')
  await context.close()
}

// checkLost loses the server while a card is in.
async function checkLost(browser) {
  const { context, page } = await customer(browser)
  await hand('insert')
  await screen(page, 'menu')
  await hand('hang-up')
  await screen(page, 'lost')
  check('lost', 'nothing of the card is shown', !(await textOf(page)).includes('12'), await textOf(page))
  await checkAxe(page, 'lost')
  await picture(page, 'lost')
  await screen(page, 'menu')
  check('lost', 'it comes back by itself', (await textOf(page)).includes('12.34'))
  await hand('pull')
  await screen(page, 'start')
  await context.close()
}

// checkPicture makes the picture for docs/kiosk.md.
async function checkPicture(browser) {
  const { context, page } = await customer(browser, { viewport: { width: 1080, height: 720 } })
  await hand('insert')
  await screen(page, 'menu')
  check('picture', 'the menu is there', await page.locator('.menu button').count() === 4)
  if (pictures) await page.screenshot({ path: join(pictures, 'kiosk.png') })
  await hand('pull')
  await screen(page, 'start')
  await context.close()
}

await run(async browser => {
  await checkPicture(browser)
  await visit(browser, 'en', { isDeep: true })
  await visit(browser, 'de', { isSmall: true }) // it has the longest words
  await visit(browser, 'fr', {})
  await checkTouch(browser)
  await checkLost(browser)
})
