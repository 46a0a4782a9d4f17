// Stands before a kiosk whose card is in a reader of a real pcscd: see look.mjs.
import { check, run, site } from '../../../internal/browsertest/browser/look.mjs'

const hand = async action => {
  const response = await fetch(`${site.control}/${action}`, { method: 'POST' })
  if (!response.ok) throw new Error(`${action}: ${response.status}`)
}

await run(async browser => {
  const context = await browser.newContext({ reducedMotion: 'reduce' })
  const page = await context.newPage()
  const urls = []
  page.on('request', request => urls.push(request.url()))
  await page.goto(site.origin)
  const sees = async (screen, text) => {
    await page.waitForSelector(`body[data-screen="${screen}"]`)
    const shown = await page.locator('main').innerText()
    check(screen, `it says ${text}`, shown.includes(text), shown)
  }
  const type = async text => {
    await page.keyboard.type(text)
    await page.keyboard.press('Enter')
  }
  await sees('start', 'Please insert your card')
  await hand('insert')
  await sees('menu', 'On your card: $0.00')
  await page.click('[data-action="load"]')
  await sees('amount', 'How much')
  await page.click('[data-value="2000"]')
  await sees('pin', 'To load $20.00')
  await type(site.wrongPIN)
  await page.waitForSelector('[aria-invalid]')
  await sees('pin', 'Tries left: 2')
  await type(site.pin)
  await sees('done', 'Now on your card: $20.00')
  await page.keyboard.press('Escape')
  await sees('menu', 'On your card: $20.00')
  await page.click('[data-action="load"]')
  await page.click('[data-value="1000"]')
  await sees('confirm', 'Load $10.00')
  await page.click('[data-action="go"]') // and the card is pulled when it has taken it
  await sees('pulled', 'Please put it in again.')
  check('pulled', 'no amount is shown', !/[0-9]/.test(await page.locator('main').innerText()))
  await hand('insert-again')
  await sees('resolved', 'The card was loaded with $10.00.')
  await page.click('[data-action="back"]')
  await sees('menu', 'On your card: $30.00')
  await page.click('[data-action="fund"]')
  await page.waitForSelector('#field')
  await type(site.account)
  await sees('amount', 'How much')
  await type('4.50')
  await sees('confirm', 'Pay $4.50')
  await page.click('[data-action="go"]')
  await sees('done', 'Now on your card: $25.50')
  await page.click('[data-action="end"]')
  await sees('take', 'Please take your card')
  await hand('pull')
  await sees('start', 'Please insert your card')
  check('all', 'no address has a PIN', !urls.some(url => url.includes(site.pin) || url.includes(site.wrongPIN)))
  await context.close()
})
