// Looks at the holder's page and at the example of a shop as people use them:
// see look.mjs.
import { check, checkAxe, checkPrintInk, picture, run, site } from '../../../internal/browsertest/browser/look.mjs'

const settings = { locale: 'en-GB', reducedMotion: 'reduce', viewport: { width: 900, height: 900 } }

// watch writes down what a page asks for and complains of.
function watch(page, own) {
  const seen = { foreign: [], complaints: [] }
  page.on('request', request => { if (!own.some(o => request.url().startsWith(o))) seen.foreign.push(request.url()) })
  page.on('pageerror', error => seen.complaints.push(String(error)))
  page.on('console', message => { if (message.type() === 'error') seen.complaints.push(message.text()) })
  return seen
}

// look checks what must hold of a state of the holder's page, on a wide and on a
// narrow screen, and of its colours in the dark if there are some of its own.
async function look(page, where, hasOwnColours) {
  await checkAxe(page, where)
  await picture(page, `agent-${where}`)
  if (hasOwnColours) {
    await page.emulateMedia({ colorScheme: 'dark' })
    await checkAxe(page, `${where}, dark`, true)
    await picture(page, `agent-${where}-dark`)
    await page.emulateMedia({ colorScheme: 'light' })
  }
  await page.setViewportSize({ width: 320, height: 800 })
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  check(where, 'nothing stands out sideways', over <= 0, over)
  await page.setViewportSize(settings.viewport)
}

const control = path => fetch(site.control + path, { method: 'POST' })

// sees looks again until the page has something, sooner than it would by itself.
async function sees(page, selector) {
  for (let i = 0; i < 200 && await page.locator(selector).count() === 0; i++) await page.reload()
  await page.waitForSelector(selector)
}
// sends waits until a form that an action sends was answered.
const sends = (page, action) => Promise.all([page.waitForNavigation(), action])
const heading = (page, text) => sees(page, `h1:has-text("${text}")`)
const hasSaid = (shop, text) => shop.waitForFunction(text => document.getElementById('says').textContent.includes(text), text)

// pairing shows a code, and types it into the shop.
async function pairing(page, shop) {
  await heading(page, 'Your purse card')
  check('idle', 'it says that nothing is asked for', (await page.textContent('main')).includes('No site asks for anything'))
  await sends(page, page.click('text=Show a code for a new site'))
  const code = (await page.textContent('.code')).trim()
  check('pairing', 'the code has eight digits', /^\d{4} \d{4}$/.test(code), code)
  await look(page, 'code')
  await shop.fill('#amount', '1.23')
  await shop.click('text=Pay >> nth=-1')
  await hasSaid(shop, 'pair it first')
  await shop.fill('#code', code)
  await shop.press('#code', 'Enter')
  await hasSaid(shop, 'is paired')
  await sees(page, 'text=Remove')
}

// paying says yes with the keyboard alone. The page finds the request by itself.
async function paying(page, shop) {
  await shop.click('#pay button')
  await hasSaid(shop, 'Say yes or no')
  await page.waitForSelector('h1:has-text("Pay 1.23 EUR?")')
  const text = await page.textContent('main')
  for (const word of [site.shop, 'A shop', '1.23 EUR', site.gateway, '4D00000000000009', 'order 7', '90.00 EUR']) check('asked', `it says ${word}`, text.includes(word), text)
  check('asked', 'the title says it', (await page.title()) === 'Pay 1.23 EUR?', await page.title())
  await look(page, 'asked', true)
  const reached = []
  await page.evaluate(() => document.activeElement.blur())
  for (let i = 0; i < 4; i++) {
    await page.keyboard.press('Tab')
    reached.push(await page.evaluate(() => {
      const element = document.activeElement
      const style = getComputedStyle(element)
      return (element.id || element.textContent) + (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 ? '' : ' without outline')
    }))
  }
  check('keyboard', 'Tab reaches everything', reached.join() === 'agreed,Pay,No,No, and remove this site', reached)
  await page.focus('#agreed')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  check('keyboard', 'without the tick nothing happens', (await page.title()) === 'Pay 1.23 EUR?', await page.title())
  await page.focus('#agreed')
  await page.keyboard.press('Space')
  await page.keyboard.press('Tab')
  await sends(page, page.keyboard.press('Enter'))
  await sees(page, 'text=Done.')
  await hasSaid(shop, 'done: The gateway says: “Thank you.”')
}

// loading asks for the PIN, takes a wrong one and then the right one.
async function loading(page, shop) {
  const end = shop.evaluate(() => pay('2.00', { intent: 'load' }))
  await heading(page, 'Load 2.00 EUR onto your card?')
  check('load', 'the PIN is not shown', (await page.getAttribute('#pin', 'type')) === 'password')
  await page.fill('#pin', '2222')
  await page.check('#agreed')
  await sends(page, page.click('button:has-text("Load")'))
  await sees(page, 'text=The PIN is wrong. Tries left: 2.')
  await look(page, 'pin-wrong', true)
  check('load', 'the PIN is gone from the page', (await page.inputValue('#pin')) === '')
  await page.fill('#pin', site.pin)
  await page.check('#agreed')
  await sends(page, page.click('button:has-text("Load")'))
  check('load', 'it is done', (await end).phase === 'done', await end)
}

// tearing pulls the card while it pays, and finds out what became of it.
async function tearing(page, shop) {
  await control('/tear')
  const end = shop.evaluate(() => pay('3.00'))
  await heading(page, 'Pay 3.00 EUR?')
  await page.check('#agreed')
  await sends(page, page.click('button:has-text("Pay")'))
  await sees(page, 'h2:has-text("Not known yet")')
  check('torn', 'the shop is told', (await end).phase === 'undecided', await end)
  await look(page, 'undecided')
  await sends(page, page.click('button:has-text("Find out")'))
  await sees(page, 'text=No card is in the reader.')
  await look(page, 'no-card')
  await control('/insert')
  await sees(page, '#agreed')
  await page.check('#agreed')
  await sends(page, page.click('button:has-text("Find out")'))
  await sees(page, 'text=The card has paid since then.')
  check('torn', 'nothing is open any more', await page.locator('h2:has-text("Not known yet")').count() === 0)
}

// attacking is what another site tries in the same browser.
async function attacking(page, other) {
  const tried = await other.evaluate(async agent => {
    const ask = options => fetch(agent + '/v1/requests', options).then(answer => `an answer of ${answer.status}`, () => 'nothing')
    const frame = document.createElement('iframe')
    frame.src = agent + '/'
    const framed = new Promise(resolve => { frame.onload = () => { try { resolve(frame.contentDocument ? 'readable' : 'closed') } catch { resolve('closed') } } })
    document.body.append(frame)
    return [
      await ask({ method: 'POST', headers: { 'Content-Type': 'application/json', Authorization: 'Bearer a' }, body: '{}' }),
      await ask({ method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: '{}' }),
      await ask({}),
      await framed,
    ]
  }, site.agent)
  check('attack', 'the site reads nothing', tried.join() === 'nothing,nothing,nothing,closed', tried)
  await page.reload()
  check('attack', 'nothing waits', !(await page.textContent('main')).includes('asks for this'))
}

await run(async browser => {
  const context = await browser.newContext(settings)
  const page = await context.newPage()
  const seen = watch(page, [site.agent])
  await page.goto(site.page)
  const shop = await context.newPage()
  await shop.goto(site.shop + '/')
  await shop.evaluate(([address, gateway]) => { agent = address; shop.gateway = `ws://${gateway}/relay` }, [site.agent, site.gateway])
  await checkAxe(shop, 'shop')
  await pairing(page, shop)
  await paying(page, shop)
  await loading(page, shop)
  await tearing(page, shop)
  await page.emulateMedia({ colorScheme: 'dark' })
  await checkPrintInk(page, 'print', ':root')
  await page.emulateMedia({ media: 'screen', colorScheme: 'light' })
  const other = await context.newPage()
  await other.goto(site.other + '/')
  await attacking(page, other)
  await page.goto(site.agent + '/')
  check('away', 'it says where the page is', (await page.textContent('main')).includes('printed'))
  check('holder', 'nothing foreign is asked for', seen.foreign.length === 0, seen.foreign)
  check('holder', 'the browser complains of nothing', seen.complaints.length === 0, seen.complaints)
  await context.close()
})
