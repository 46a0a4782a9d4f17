// The extension's own pages with the real worker, broker and gate, in both browsers.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { browserNames, eventually, type BrowserName, type Page } from '../browsers.js'
import { type Owner, startOwner } from '../owner.js'
import { type Servers, startServers } from '../servers.js'

const price = 1000n
const passphrase = 'five words of no meaning'

let servers: Servers

before(async () => {
  const files = { 'paid/story.html': '<!doctype html><html lang="en"><title>The whole story</title><h1>The whole story</h1>' }
  const caddyfile = 'payword /paid/* {origin} 0.001 USD\nroot * {files}\nfile_server'
  servers = await startServers(browserNames.map(name => ({ name, caddyfile, files })))
})
after(() => servers?.close())

for (const name of browserNames) describe(name, () => tests(name))

function tests(name: BrowserName): void {
  let owner: Owner
  before(async () => { owner = await startOwner(name) })
  after(() => owner?.close())

  /** Opens a page of the extension and waits until it shows something. */
  async function open(path: string, shown: string): Promise<Page> {
    const page = await owner.browser.newPage()
    await page.goto(`${owner.browser.extensionOrigin}/${path}`)
    await page.until(shown)
    return page
  }
  const says = (selector: string, words: RegExp): string => `${words}.test(document.querySelector(${JSON.stringify(selector)})?.textContent ?? '')`

  test(`${name}: an account is opened, a site is allowed and paid, and all of it is seen, by the pages alone`, { timeout: 90_000 }, async () => {
    const welcome = await open('welcome.html', 'document.querySelector("form input[inputmode=url]")')
    assert.deepEqual(await welcome.axe(), [], 'welcome')
    await welcome.click('form input[inputmode=url]')
    await welcome.type(servers.broker.origin)
    await welcome.press('Tab')
    await welcome.type(passphrase)
    await welcome.press('Tab')
    await welcome.type(passphrase)
    await welcome.press('Enter')
    await welcome.until(says('h1', /The account is open/), 20)
    assert.deepEqual(await welcome.axe(), [], 'welcome, done')
    await welcome.close()
    const { account } = await owner.overview()
    assert.equal(account?.broker, servers.broker.origin)

    const story = await owner.browser.newPage()
    const url = `${servers.site(name).origin}/paid/story.html`
    await story.goto(url)
    assert.deepEqual(await story.axe(), [], 'the page of the gate')
    const tabId = await owner.page.evaluate<number>('chrome.tabs.query({}).then(tabs => Math.max(...tabs.map(tab => tab.id)))')
    const popup = await open(`popup.html?tab=${tabId}`, says('#here', /0\.001\s/))
    assert.ok(await popup.evaluate(`document.querySelector('#here').textContent.includes(${JSON.stringify(servers.site(name).origin)})`))
    assert.deepEqual(await popup.axe(), [], 'popup, question')
    assert.equal((await servers.taken(name)).spent, 0n)
    await popup.click('#here button[type=submit]')
    await eventually('the site is allowed', async () => (await owner.overview()).sites.length === 1)
    await popup.close() // as browsers do when they ask for the permission
    await eventually('the wallet is empty', async () => (await owner.ask('tab', { tabId })).refusal?.reason === 'insufficient-funds')
    const poor = await open(`popup.html?tab=${tabId}`, says('#here', /not enough in your account.*insufficient-funds/))
    await poor.close()
    const unpaid = await open('options.html', says('#site-list', /Nothing was paid here yet/))
    await unpaid.close()
    await servers.fund(account?.account ?? '', 5_000_000n)
    await story.reload()
    await story.until('document.title === "The whole story"', 20)
    assert.equal((await servers.taken(name)).spent, price)

    const again = await open(`popup.html?tab=${tabId}`, 'document.querySelector("#here [role=meter]")')
    assert.deepEqual(await again.axe(), [], 'popup, site')
    await again.close()
    await checkOptions(url)
  })

  async function checkOptions(url: string): Promise<void> {
    const options = await open('options.html', says('#site-list', /127\.0\.0\.1/))
    await options.until(says('#receipts', /paid\/story\.html/))
    assert.deepEqual(await options.axe(), [], 'options')
    assert.match(await options.evaluate('document.querySelector(".chart figcaption").textContent'), /30 days: 0\.001\s/)
    await servers.redeem()
    await options.evaluate('[...document.querySelectorAll("button")].find(button => button.textContent === "Check the statement").focus()')
    await options.press('Enter')
    await options.until(says('#account-parts', /All is right: 1 commitment was checked by hashing/), 20)
    assert.deepEqual(await options.axe(), [], 'options, with a statement')
    const code = await servers.voucher(1_000_000n)
    await options.click('#account-parts form input')
    await options.type(code)
    await options.press('Enter')
    await options.until(says('#account-parts', /redeemed/))
    await options.click('#sites .answers .answers button')
    await options.press('Enter') // the focus is on the second step
    await options.until(says('#sites-status', /revoked/))
    assert.deepEqual((await owner.overview()).sites, [])
    const { receipts } = await owner.ask('receipts', { skip: 0, count: 5 })
    assert.deepEqual(receipts.map(receipt => [receipt.url, receipt.amount]), [[url, String(price)]])
  }
}
