// Looks at the pages of clearing: see look.mjs and office.mjs.
import { join } from 'node:path'
import { check, checkAxe, pictures, run, site } from '../../internal/browsertest/browser/look.mjs'
import { checkPages, checkPrint, checkSignIn, checkSizes, checkSkipLink, office, walk } from '../../internal/adminpage/browser/office.mjs'

async function checkWithoutScript(browser) {
  const { context, page } = await office(browser, { javaScriptEnabled: false })
  await page.goto(site.origin + site.pages.overview)
  await page.click('text=Check them now')
  check('without-script', 'asking for a check works', (await page.textContent('.notice')).startsWith('A check of the books was asked for.'))
  await page.fill('#find-anything', site.hash)
  await page.click('text=Find >> nth=-1')
  check('without-script', 'finding a run by its hash works', page.url() === site.origin + site.pages.plan, page.url())
  const [download] = await Promise.all([
    page.waitForEvent('download'), page.goto(site.origin + site.pages.run).then(() => page.click('text=statement-' + site.run + '.txt')),
  ])
  check('without-script', 'a file is downloaded under its name', download.suggestedFilename() === 'statement-' + site.run + '.txt', download.suggestedFilename())
  await context.close()
}

async function checkReader(browser) {
  const { context, page } = await office(browser, {}, site.readerToken)
  for (const name of ['overview', 'runs', 'plan', 'bank']) {
    await page.goto(site.origin + site.pages[name])
    check('reader', `no action is offered on ${name}`, await page.locator('main form, main .button').count() === 0)
    await checkAxe(page, `reader-${name}`)
  }
  await context.close()
}

// checkRefresh looks at the page of a run that another process carries out: it
// loads itself again until somebody stops that.
async function checkRefresh(browser) {
  const { context, page } = await office(browser)
  const response = await page.goto(site.origin + site.going)
  check('refresh', 'the page loads itself again', /^3; url=\/clearing\//.test(response.headers().refresh ?? ''), response.headers().refresh)
  await page.click('text=Do not load this page again')
  const stopped = await page.goto(page.url())
  check('refresh', 'that can be stopped', stopped.headers().refresh === undefined, stopped.headers().refresh)
  await context.close()
}

// checkPicture makes the picture for docs/clearing.md.
async function checkPicture(browser) {
  const { context, page } = await office(browser, { viewport: { width: 1080, height: 790 } })
  await page.goto(site.origin + site.pages.runs)
  check('picture', 'the charts are there', await page.locator('.chart').count() === 4)
  if (pictures) await page.screenshot({ path: join(pictures, 'clearing.png') })
  await context.close()
}

await run(async browser => {
  await checkSignIn(browser, '/clearing/runs')
  await checkPicture(browser)
  await checkPages(browser)
  await checkSizes(browser)
  await checkSkipLink(browser, site.pages.run)
  await checkRefresh(browser)
  await checkReader(browser)
  for (const [name, steps] of Object.entries(site.walks)) await walk(browser, name, steps)
  await checkWithoutScript(browser)
  await checkPrint(browser, site.pages.run)
})
