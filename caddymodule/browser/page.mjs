// Looks at the gate's pages as readers do: see look.mjs.
import { check, checkAxe, checkPrintInk, picture, run, site, spacing } from '../../internal/browsertest/browser/look.mjs'

// Every page, in every way that it may be looked at.
const refused = { Payword: 'nonsense' }
const views = [
  { name: 'en-light', locale: 'en-GB', picture: true },
  { name: 'page', locale: 'en-GB', path: '/news/storks', width: 720, picture: true }, // the one in docs
  { name: 'en-dark', locale: 'en-GB', colorScheme: 'dark' },
  { name: 'en-forced', locale: 'en-GB', forcedColors: 'active' },
  { name: 'en-forced-dark', locale: 'en-GB', forcedColors: 'active', colorScheme: 'dark' },
  { name: 'de-light', locale: 'de-DE', language: 'de' },
  { name: 'de-dark', locale: 'de-DE', language: 'de', colorScheme: 'dark', picture: true },
  { name: 'fr-light', locale: 'fr-FR', language: 'fr' },
  { name: 'es-light', locale: 'es-ES', language: 'es' },
  { name: 'refused-light', locale: 'en-GB', headers: refused, picture: true },
  { name: 'refused-dark', locale: 'fr-FR', language: 'fr', headers: refused, colorScheme: 'dark', picture: true },
  { name: 'refused-forced', locale: 'en-GB', headers: refused, forcedColors: 'active' },
  { name: 'metered', locale: 'de-DE', language: 'de', path: '/metered/feed', picture: true },
  { name: 'narrow', locale: 'de-DE', language: 'de', headers: refused, width: 320, path: '/long/' + 'a'.repeat(300), picture: true },
  { name: 'teaser-light', locale: 'en-GB', path: '/teaser/storks', picture: true },
  { name: 'teaser-dark', locale: 'de-DE', path: '/teaser/storks', colorScheme: 'dark', picture: true },
  { name: 'teaser-forced', locale: 'en-GB', path: '/teaser/storks', forcedColors: 'active' },
  { name: 'teaser-refused', locale: 'en-GB', path: '/teaser/storks', headers: refused, picture: true },
  { name: 'teaser-narrow', locale: 'de-DE', path: '/teaser/storks', width: 320, picture: true },
]

// open visits a page and watches what it asks for and complains of.
async function open(browser, view, options = {}) {
  const context = await browser.newContext({
    locale: view.locale, colorScheme: view.colorScheme ?? 'light', forcedColors: view.forcedColors ?? 'none',
    reducedMotion: 'reduce', viewport: { width: view.width ?? 1000, height: 800 },
    extraHTTPHeaders: view.headers, ...options,
  })
  const page = await context.newPage()
  const seen = { requests: [], complaints: [] }
  page.on('request', request => { if (!request.url().startsWith('data:')) seen.requests.push(request.url()) })
  page.on('pageerror', error => seen.complaints.push(String(error)))
  page.on('console', message => {
    // Chromium notes the status of every page that is not found or not paid for.
    if (message.type() === 'error' && !message.text().includes('status of 402')) seen.complaints.push(message.text())
  })
  const url = site.origin + (view.path ?? '/articles/storks')
  const response = await page.goto(url, { waitUntil: 'load' })
  return { context, page, seen, response, url }
}

// sideways returns what makes the reader scroll sideways, or does not fit in.
const sideways = page => page.evaluate(() => {
  const width = document.documentElement.clientWidth
  const over = [...document.querySelectorAll('body *')].filter(element => {
    const box = element.getBoundingClientRect()
    return box.width > 0 && (box.right > width + 1 || box.left < -1 || element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline')
  })
  return over.map(element => `${element.tagName}.${element.className}`)
})

async function checkView(browser, view) {
  const { context, page, seen, response, url } = await open(browser, view)
  check(view.name, 'the status is 402', response.status() === 402, response.status())
  check(view.name, 'the page is all that is asked for', seen.requests.length === 1 && seen.requests[0] === url, seen.requests)
  check(view.name, 'the browser complains of nothing', seen.complaints.length === 0, seen.complaints)
  if (view.language ?? !view.path) {
    check(view.name, 'the language is said', await page.getAttribute('html', 'lang') === (view.language ?? 'en'))
  }
  await checkAxe(page, view.name)
  check(view.name, 'nothing stands out sideways', (await sideways(page)).length === 0, await sideways(page))
  if (view.picture) await picture(page, view.name)
  await page.addStyleTag({ content: spacing })
  check(view.name, 'wide spacing fits', (await sideways(page)).length === 0, await sideways(page))
  if (!view.width) { // 200 % of the text at 320 pixels is more than is asked for
    await page.addStyleTag({ content: 'html { font-size: 200% }' })
    check(view.name, 'large text fits', (await sideways(page)).length === 0, await sideways(page))
  }
  await context.close()
}

async function checkKeyboard(browser) {
  const view = { name: 'keyboard', locale: 'en-GB' }
  const { context, page } = await open(browser, view)
  const focused = () => page.evaluate(() => {
    const style = getComputedStyle(document.activeElement)
    return { tag: document.activeElement.tagName, outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 }
  })
  const order = []
  for (let i = 0; i < 2; i++) {
    await page.keyboard.press('Tab')
    const now = await focused()
    order.push(now.tag)
    check(view.name, `the focus on ${now.tag} can be seen`, now.outline)
  }
  check(view.name, 'Tab goes through what can be used', order.join(' ') === 'A SUMMARY', order)
  check(view.name, 'the command is folded away', !await page.locator('.command').isVisible())
  await page.keyboard.press('Enter')
  check(view.name, 'Enter unfolds the command', await page.locator('.command').isVisible())
  await checkAxe(page, view.name)
  await picture(page, view.name)
  await context.close()
}

async function checkPrint(browser) {
  const view = { name: 'print', locale: 'en-GB', colorScheme: 'dark', headers: refused }
  const { context, page } = await open(browser, view)
  await checkPrintInk(page, view.name, 'body')
  await picture(page, view.name)
  await context.close()
}

async function checkRightToLeft(browser) {
  const view = { name: 'right-to-left', locale: 'en-GB', headers: refused, width: 320 }
  const { context, page } = await open(browser, view)
  await page.evaluate(() => { document.documentElement.dir = 'rtl' })
  const borders = await page.evaluate(() => {
    const style = getComputedStyle(document.querySelector('.problem'))
    return [parseFloat(style.borderRightWidth), parseFloat(style.borderLeftWidth)]
  })
  check(view.name, 'the bar of the problem changes sides', borders[0] > borders[1], borders)
  check(view.name, 'nothing stands out sideways', (await sideways(page)).length === 0, await sideways(page))
  await picture(page, view.name)
  await context.close()
}

async function checkWithoutScript(browser) {
  const view = { name: 'without-script', locale: 'en-GB' }
  const { context, page } = await open(browser, view, { javaScriptEnabled: false })
  const heading = await page.textContent('h1')
  check(view.name, 'the price is the heading', heading.replaceAll('\u00a0', ' ').includes('0.001 USD'), heading)
  await page.click('summary')
  check(view.name, 'the command unfolds', await page.locator('.command').isVisible())
  await context.close()
}

await run(async browser => {
  for (const view of views) await checkView(browser, view)
  await checkKeyboard(browser)
  await checkPrint(browser)
  await checkRightToLeft(browser)
  await checkWithoutScript(browser)
})
