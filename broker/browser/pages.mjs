// Looks at the broker's administration pages: see look.mjs and office.mjs.
import { join } from 'node:path'
import { check, checkAxe, pictures, run, site } from '../../internal/browsertest/browser/look.mjs'
import { checkPages, checkPrint, checkSignIn, checkSizes, checkSkipLink, office, walk } from '../../internal/adminpage/browser/office.mjs'

async function checkWithoutScript(browser) {
  const { context, page } = await office(browser, { javaScriptEnabled: false })
  await page.goto(site.origin + site.pages.account)
  const before = await page.textContent('.figures strong')
  await page.click('text=Fund the account')
  await page.fill('#amount', '2.50')
  await page.click('text=Continue')
  await page.click('text=Book it')
  const after = await page.textContent('.figures strong')
  check('without-script', 'funding works', parseFloat(after) - parseFloat(before) === 2.5, [before, after])
  await page.click('text=Sign out')
  check('without-script', 'signing out works', await page.locator('#secret').count() === 1)
  await page.goto(site.origin + site.pages.account)
  check('without-script', 'then a page asks to sign in', await page.locator('#secret').count() === 1)
  await context.close()
}

async function checkReader(browser) {
  const { context, page } = await office(browser, {}, site.readerToken)
  await page.goto(site.origin + site.pages.account)
  check('reader', 'no action is offered', await page.locator('.actions').count() === 0)
  await checkAxe(page, 'reader')
  await context.close()
}

// checkPicture makes the picture for docs/broker.md.
async function checkPicture(browser) {
  const { context, page } = await office(browser, { viewport: { width: 1080, height: 790 } })
  check('picture', 'the overview is there', await page.locator('.chart').count() === 5)
  if (pictures) await page.screenshot({ path: join(pictures, 'admin.png') })
  await context.close()
}

await run(async browser => {
  await checkSignIn(browser, '/admin/accounts')
  await checkPicture(browser)
  await checkPages(browser)
  await checkSizes(browser)
  await checkSkipLink(browser, site.pages.account)
  for (const [name, steps] of Object.entries(site.walks)) await walk(browser, name, steps)
  await checkWithoutScript(browser)
  await checkReader(browser)
  await checkPrint(browser, site.pages.account)
})
