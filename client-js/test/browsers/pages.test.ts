// The pages of the extension in Chromium, with a fake worker behind them.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import type { Page } from 'playwright-core'
import type { Overview, Question, ReceiptView, SiteView } from '../../extension/src/messages.js'
import type { FakeWorker } from '../fake_worker.js'
import { axe, deeds, overflows, picture, space, startPages, texts, until, type Pages } from '../pages.js'

let pages: Pages
before(async () => { pages = await startPages() })
after(() => pages.close())

const limits = { perRequest: '500000', perDay: '1000000', total: '20000000' }
const news: SiteView = { origin: 'https://news.example', limits, isPaused: false, today: '870000', inAll: '3100000', spent: '2954000', lastPaid: 1_795_000_000 }
const sites: SiteView[] = [
  news,
  { ...news, origin: 'https://xn--nws-poa.example:8443', today: '0', inAll: '20000000', spent: '19000000', isPaused: true },
  { ...news, origin: 'https://videos-and-more.of-a-very-long-name.example', today: '12000', stopped: 'key-changed', lastPaid: 0 },
]
const account = { broker: 'https://broker.example', account: 'uK7dQ2v9sXh3', currency: 'usd-micro' }
const overview: Overview = {
  account, isPaused: false, limits: { perRequest: '1000000', perDay: '2000000', total: '50000000' }, today: '882000', inAll: '23100000', sites, notices: ['https://news.example'],
  balance: { available: '4200000', reserved: '1500000', currency: 'usd-micro', at: 1_795_000_000 }, suggested: limits,
}
const question: Question = {
  origin: 'https://xn--nws-poa.example:8443', vendor: 'https://pay.news.example', price: '1000', currency: 'usd-micro', priceBefore: '500',
  description: 'The whole story <img src=x onerror=alert(1)> \u202Eesrever', url: 'https://xn--nws-poa.example:8443/story',
}
const receipts: ReceiptView[] = Array.from({ length: 60 }, (_, number) => ({
  time: 1_795_000_000 - number * 7000, url: `${number % 3 ? news.origin : 'https://api.example'}/story/${number}`, vendor: number % 3 ? news.origin : 'https://api.example',
  amount: number % 10 === 4 ? '0' : String(1000 + number * 250), currency: 'usd-micro', ...number % 10 === 4 && number > 10 ? { returned: '900' } : {},
}))
const days = Array.from({ length: 30 }, (_, number) => ({ day: 20_747 + number, spent: number % 4 === 1 ? '0' : String(20_000 + (number * 7919) % 90_000) }))
const statement = {
  account: account.account, broker: account.broker, at: 1_795_000_000, currency: 'usd-micro', cameIn: '10000000', paid: '3100000',
  commitments: [
    { commitment: 'a', vendor: news.origin, paid: '3000000', hashes: 3000 },
    { commitment: 'b', vendor: 'https://api.example', paid: '100000', hashes: 1, problem: 'the tail does not hash to the root' },
  ],
}

function fakeWorker(changes: Partial<FakeWorker> = {}): FakeWorker {
  const language = changes.language ?? 'en'
  return structuredClone({ language, texts: texts(language), overview, tab: { origin: news.origin, site: news }, receipts, days, statement, refuses: {}, isGranted: true, ...changes })
}

const withoutAccount = (): Overview => {
  const { account: _account, balance: _balance, ...rest } = structuredClone(overview)
  return { ...rest, sites: [], notices: [] }
}

// `isWhole`: has every colour of its page, so that the dark ones are looked at there.
const states: { name: string, path: string, fake: () => FakeWorker, isPopup?: boolean, isWhole?: boolean }[] = [
  { name: 'popup-question', path: 'popup.html', isWhole: true, isPopup: true, fake: () => fakeWorker({ tab: { origin: question.origin, question } }) },
  { name: 'popup-site', path: 'popup.html', isPopup: true, fake: () => fakeWorker() },
  { name: 'popup-refusal', path: 'popup.html', isWhole: true, isPopup: true, fake: () => fakeWorker({ overview: { ...overview, isPaused: true }, tab: { origin: news.origin, site: { ...news, today: '1000000' }, refusal: { kind: 'budget', limit: 'perSiteAndDay', price: '200000' } } }) },
  { name: 'popup-no-account', path: 'popup.html', isPopup: true, fake: () => fakeWorker({ overview: withoutAccount(), tab: {}, receipts: [] }) },
  { name: 'options', path: 'options.html', isWhole: true, fake: () => fakeWorker() },
  { name: 'options-empty', path: 'options.html', fake: () => fakeWorker({ overview: { ...overview, sites: [], notices: [] }, receipts: [], days: days.map(({ day }) => ({ day, spent: '0' })) }) },
  { name: 'options-no-account', path: 'options.html', fake: () => fakeWorker({ overview: withoutAccount() }) },
  { name: 'welcome', path: 'welcome.html', isWhole: true, fake: () => fakeWorker({ overview: withoutAccount() }) },
  { name: 'welcome-done', path: 'welcome.html', fake: () => fakeWorker() },
]

const popupWindow = { width: 384, height: 600 }

/** Opens what can be opened, so that axe and the eye see all of it. The look for an agent has ended. */
async function openAll(page: Page): Promise<void> {
  await page.evaluate(() => { for (const details of document.querySelectorAll('details')) details.open = true })
  await until(page, '![...document.querySelectorAll("[role=status]")].some(area => area.textContent.includes("…"))')
}

for (const { name, path, fake, isPopup, isWhole } of states) {
  test(`${name}: nobody is shut out`, async () => {
    const page = await pages.open(path, fake(), isPopup ? popupWindow : undefined)
    await picture(page, name)
    await openAll(page)
    assert.deepEqual(await axe(page), [])
    await page.emulateMedia({ colorScheme: 'dark' })
    if (isWhole) assert.deepEqual(await axe(page, 'color-contrast'), [])
    await picture(page, `${name}-dark`)
    await page.emulateMedia({ colorScheme: 'light', forcedColors: 'active' })
    await picture(page, `${name}-forced`)
    await page.emulateMedia({ colorScheme: 'dark', forcedColors: 'none', media: 'print' })
    assert.deepEqual(await page.evaluate('[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]'), ['rgb(255, 255, 255)', 'rgb(0, 0, 0)'], 'prints are black on white')
    await picture(page, `${name}-print`)
    await page.emulateMedia({ colorScheme: 'light', media: 'screen' })
    await page.setViewportSize({ width: 320, height: 600 })
    assert.deepEqual(await overflows(page), [], '320 px')
    await picture(page, `${name}-narrow`)
    await space(page)
    assert.deepEqual(await overflows(page), [], 'wide spacing')
    await page.setViewportSize({ width: isPopup ? 384 : 640, height: 600 })
    await page.evaluate('document.documentElement.style.fontSize = "200%"')
    assert.deepEqual(await overflows(page), [], 'letters of 200 %')
    await picture(page, `${name}-large`)
  })
}

for (const language of ['de', 'fr', 'es']) {
  test(`${language}: texts, amounts and dates are of the language`, async () => {
    const page = await pages.open('popup.html', fakeWorker({ language, tab: { origin: question.origin, question } }), popupWindow)
    await picture(page, `popup-question-${language}`)
    assert.equal(await page.evaluate('document.documentElement.lang'), language)
    assert.match(await page.textContent('.price') ?? '', /0,001\u00a0USD/)
    await page.setViewportSize({ width: 320, height: 600 })
    assert.deepEqual(await overflows(page), [])
    const options = await pages.open('options.html', fakeWorker({ language }), { width: 320, height: 600 })
    await openAll(options)
    assert.deepEqual(await overflows(options), [])
    await picture(options, `options-${language}`)
  })
}

/** Presses Tab until an element has the focus, and sees to it that the focus can be seen on the way. */
async function tabTo(page: Page, selector: string): Promise<void> {
  for (let presses = 0; presses < 60; presses++) {
    await page.keyboard.press('Tab')
    const focus = await page.evaluate(selector => {
      const focused = document.activeElement
      if (!focused || focused === document.body) return { isThere: false, isSeen: true }
      const style = getComputedStyle(focused)
      return { isThere: focused.matches(selector), isSeen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 }
    }, selector)
    assert.ok(focus.isSeen, 'the focus can be seen')
    if (focus.isThere) return
  }
  assert.fail(`Tab does not lead to ${selector}`)
}

const focused = (page: Page): Promise<string> => page.evaluate('document.activeElement.textContent || document.activeElement.id')
const messages = async (page: Page): Promise<string[]> => (await deeds(page)).filter(deed => deed.what !== 'message' || !['overview', 'tab', 'receipts', 'days'].includes(deed.type ?? '')).map(deed => deed.type ?? deed.what)

test('popup: a site is allowed by keyboard, with the limits that were typed', async () => {
  const page = await pages.open('popup.html', fakeWorker({ tab: { origin: question.origin, question } }), popupWindow)
  const shown = await page.textContent('#here') ?? ''
  for (const part of [question.origin, 'https://pay.news.example', '0.001\u00a0USD', 'a tenth of a cent', '<img src=x onerror=alert(1)>', 'xn--', '0.0005\u00a0USD']) assert.ok(shown.includes(part), part)
  assert.equal(await page.locator('#here img').count(), 0)
  const values = await page.locator('#here input').evaluateAll(inputs => inputs.map(input => (input as HTMLInputElement).value))
  assert.deepEqual(values, ['0.50', '1.00', '20.00'])
  await tabTo(page, '#here input')
  await page.keyboard.press('Control+A')
  await page.keyboard.type('0.0001')
  await page.keyboard.press('Enter')
  assert.match(await page.textContent('.complaint:not(:empty)') ?? '', /costs more/)
  assert.equal(await page.inputValue('#here input'), '0.0001', 'what was typed is still there')
  assert.equal(await page.getAttribute('#here input', 'aria-invalid'), 'true')
  assert.deepEqual(await messages(page), [])
  await page.keyboard.press('Control+A')
  await page.keyboard.type('0,25')
  await tabTo(page, '#here button[type=submit]')
  await page.keyboard.press('Enter')
  await until(page, 'document.querySelector("#here [role=meter]")')
  const all = (await deeds(page)).filter(deed => deed.what === 'permission' || deed.type === 'allow')
  assert.deepEqual(all, [
    { what: 'permission', sent: { origins: ['https://xn--nws-poa.example/*'] }, isInTurn: true },
    { what: 'message', type: 'allow', sent: { origin: question.origin, limits: { ...limits, perRequest: '250000' }, tabId: 7 } },
  ])
  assert.match(await page.textContent('#here [role=status]:not(:empty)') ?? '', /allowed/)
  assert.equal(await focused(page), 'Pause this site', 'the focus goes on in what replaced the question')
})

test('an ordinary page is asked about without warnings; the pictures of the documentation', async () => {
  const { priceBefore: _before, vendor: _vendor, ...rest } = question
  const plain = { ...rest, origin: news.origin, price: '20000', description: 'The harbour that moved: a story in five parts' }
  const page = await pages.open('popup.html', fakeWorker({ tab: { origin: news.origin, question: plain } }), popupWindow)
  assert.equal(await page.locator('.warning').count(), 0)
  assert.match(await page.textContent('#here') ?? '', /0\.02\u00a0USD.*2 cents.*The harbour/)
  await picture(page, 'extension-popup')
  const options = await pages.open('options.html', fakeWorker({ overview: { ...overview, sites: [news] } }), { width: 800, height: 1330 })
  await picture(options, 'extension-options', true)
})

test('popup: pay once, and a no of the browser', async () => {
  const fake = fakeWorker({ tab: { origin: question.origin, question }, isGranted: false })
  const page = await pages.open('popup.html', fake, popupWindow)
  await page.click('#here button[type=submit]')
  await until(page, '/nothing was paid/.test(document.querySelector("#here [role=status]").textContent)')
  await page.getByRole('button', { name: 'Pay once' }).click()
  await until(page, '/paid for/.test(document.querySelector("#here").textContent)')
  assert.deepEqual(await messages(page), ['permission', 'allow', 'payOnce'])
})

test('popup: the three answers weigh the same', async () => {
  const page = await pages.open('popup.html', fakeWorker({ tab: { origin: question.origin, question } }), popupWindow)
  const looks = await page.locator('.question .answers button').evaluateAll(buttons => buttons.map(button => {
    const style = getComputedStyle(button)
    return [style.color, style.backgroundColor, style.borderColor, style.fontWeight, style.fontSize].join(' ')
  }))
  assert.equal(looks.length, 3)
  assert.equal(new Set(looks).size, 1)
})

for (const [refusal, says] of [
  [{ kind: 'budget', limit: 'perRequest', price: '900000' }, /more than you allow for one page.*settings.*0\.90\u00a0USD/],
  [{ kind: 'refused', reason: 'insufficient-credit' }, /does not cover this page.*insufficient-credit/],
  [{ kind: 'broker', reason: 'insufficient-funds' }, /not enough in your account.*insufficient-funds/],
  [{ kind: 'stalled' }, /did not deliver/],
  [{ kind: 'refused', reason: 'a-word-of-later' }, /Reload the page.*a-word-of-later/],
] as const) {
  test(`popup: a refusal says why and what to do: ${JSON.stringify(refusal)}`, async () => {
    const page = await pages.open('popup.html', fakeWorker({ tab: { origin: news.origin, site: news, refusal } }), popupWindow)
    assert.match(await page.textContent('#here .problem') ?? '', says)
  })
}

test('popup: pausing by keyboard, and a worker that cannot answer', async () => {
  const page = await pages.open('popup.html', fakeWorker(), popupWindow)
  await tabTo(page, '#pause')
  await page.keyboard.press('Space')
  await until(page, '/paused/.test(document.querySelector("#alarm").textContent)')
  assert.equal(await focused(page), 'Resume payments')
  const full = await pages.open('popup.html', fakeWorker({ refuses: { tab: { kind: 'storage', message: 'disk full' } } }), popupWindow)
  assert.match(await full.textContent('[role=alert]') ?? '', /could not store.*Is the disk full.*disk full/)
})

test('options: limits are changed, and a mistake is told beside its field', async () => {
  const page = await pages.open('options.html', fakeWorker())
  const fields = page.locator('#limits-form input')
  for (const [typed, says] of [
    ['', /such as 0\.50/], ['ten', /digits/], ['1,000', /thousands/], ['0.0000001', /six digits/], ['9999999999', /any account/], ['3', /limit of a day/],
  ] as const) {
    await fields.nth(0).fill(typed)
    await page.click('#limits-form button')
    assert.match(await page.textContent('#limits-form .complaint:not(:empty)') ?? '', says, typed)
    assert.equal(await fields.nth(0).inputValue(), typed)
    assert.equal(await page.evaluate('document.activeElement === document.querySelector("#limits-form input")'), true)
  }
  await fields.nth(0).fill('0.75')
  assert.equal(await page.locator('#limits-form .complaint:not(:empty)').count(), 0)
  await page.keyboard.press('Enter')
  await until(page, '/saved/.test(document.querySelector("#limits-form .status").textContent)')
  const [set] = (await deeds(page)).filter(deed => deed.type === 'setLimits')
  assert.deepEqual(set?.sent, { limits: { ...overview.limits, perRequest: '750000' } })
})

test('options: what the worker refuses is told, and what was typed stays', async () => {
  const page = await pages.open('options.html', fakeWorker({ refuses: { voucher: { kind: 'broker', message: 'no', reason: 'bad-voucher' } } }))
  const code = page.locator('#account-parts form input').first()
  await code.fill('ABCD-1234')
  await page.keyboard.press('Enter')
  await until(page, '/mistyped/.test(document.querySelector("#account-parts").textContent)')
  assert.equal(await code.inputValue(), 'ABCD-1234')
})

test('options: a site is revoked in two steps, and Escape goes back', async () => {
  const page = await pages.open('options.html', fakeWorker())
  await page.locator('.site-card').first().getByText('Revoke', { exact: true }).focus()
  await page.keyboard.press('Enter')
  assert.equal(await focused(page), 'Revoke now')
  await page.keyboard.press('Escape')
  assert.equal(await focused(page), 'Revoke')
  assert.deepEqual(await messages(page), [])
  await page.keyboard.press('Enter')
  await page.keyboard.press('Enter')
  await until(page, '/is revoked/.test(document.querySelector("#sites-status").textContent)')
  assert.equal(await page.locator('.site-card').count(), 2)
  assert.equal(await page.evaluate('document.activeElement.id'), 'sites')
})

test('options: a stopped site is resumed by allowing it anew', async () => {
  const page = await pages.open('options.html', fakeWorker())
  await page.locator('.site-card').nth(2).getByText('Resume this site').click()
  await until(page, 'done.some(deed => deed.type === "allow")')
})

test('options: history as chart, table, pages and files', async () => {
  const page = await pages.open('options.html', fakeWorker())
  assert.equal(await page.locator('.chart svg rect').count(), 30)
  const spent = days.filter(day => day.spent !== '0')
  assert.equal(await page.locator('.chart tbody tr').count(), spent.length)
  assert.match(await page.textContent('.chart figcaption') ?? '', /30 days: 1\.\d+\u00a0USD in all/)
  const firstPath = (): Promise<string | null> => page.textContent('.receipt-table tbody tr:first-child td:nth-child(3)')
  assert.equal(await firstPath(), '/story/0')
  await page.getByText('Older').focus()
  await page.keyboard.press('Enter')
  await until(page, '/26 to 50 of 60/.test(document.querySelector("#receipts").textContent)')
  assert.equal(await firstPath(), '/story/25')
  assert.equal(await focused(page), 'Older')
  await page.selectOption('#receipts select', news.origin)
  await until(page, '/1 to 25 of 40/.test(document.querySelector("#receipts").textContent)')
  const [file] = await Promise.all([page.waitForEvent('download'), page.click('text=Export as CSV')])
  assert.equal(file.suggestedFilename(), 'receipts.csv')
  assert.equal(readFileSync(await file.path(), 'utf8'), 'as csv')
})

test('options: the statement is checked, and what is wrong is said', async () => {
  const page = await pages.open('options.html', fakeWorker())
  await page.click('text=Check the statement')
  await until(page, '/1 commitment does not agree/.test(document.querySelector("#account-parts").textContent)')
  assert.match(await page.textContent('#account-parts table') ?? '', /3,000 hashes[^]*the tail does not hash to the root/)
  assert.deepEqual(await axe(page), [])
  await picture(page, 'options-statement')
})

test('options: an account that does not add up is no right one', async () => {
  const page = await pages.open('options.html', fakeWorker({ statement: { ...statement, commitments: [], problems: ['the broker lists less than came in <b>'] } }))
  await page.click('text=Check the statement')
  await until(page, '/does not add up.*less than came in <b>.*cannot prove/.test(document.querySelector("#account-parts").textContent)')
})

test('options: backup, and a wallet that is removed only by its name', async () => {
  const page = await pages.open('options.html', fakeWorker())
  const [file] = await Promise.all([page.waitForEvent('download'), page.click('text=Save a backup')])
  assert.equal(readFileSync(await file.path(), 'utf8'), '{"sealed":"…"}')
  await page.click('text=Remove the wallet from this browser')
  await page.fill('#backup-parts form input', 'uK7dQ2')
  await page.keyboard.press('Enter')
  assert.match(await page.textContent('#backup-parts .complaint:not(:empty)') ?? '', /not the account/)
  await page.fill('#backup-parts form input', account.account)
  await page.keyboard.press('Enter')
  await page.waitForURL('**/welcome.html')
})

test('welcome: an account is opened by keyboard', async () => {
  const page = await pages.open('welcome.html', fakeWorker({ overview: withoutAccount() }))
  await tabTo(page, 'input[inputmode=url]')
  await page.keyboard.type('http://broker.example')
  await tabTo(page, 'input[type=password]')
  await page.keyboard.type('short')
  await page.keyboard.press('Enter')
  assert.equal(await page.locator('.complaint:not(:empty)').count(), 3, 'broker, too short, not the same')
  assert.equal(await page.evaluate('document.activeElement.inputMode'), 'url', 'the first that is wrong has the focus')
  await page.keyboard.press('Control+A')
  await page.keyboard.type('broker.example/')
  await tabTo(page, 'input[type=password]')
  await page.keyboard.press('Control+A')
  await page.keyboard.type('correct horse battery')
  assert.match(await page.textContent('.strength') ?? '', /Good/)
  await tabTo(page, 'input[type=password]')
  await page.keyboard.type('correct horse battery')
  await page.keyboard.press('Enter')
  await until(page, '/The account is open/.test(document.querySelector("h1").textContent)')
  const [create] = (await deeds(page)).filter(deed => deed.type === 'create')
  assert.deepEqual(create?.sent, { broker: 'https://broker.example', passphrase: 'correct horse battery' })
  assert.equal(await page.evaluate('document.activeElement.id'), 'heading')
  assert.ok(!(await page.content()).includes('correct horse'), 'the passphrase is gone from the page')
})

test('welcome: from a backup, and from a seed on paper', async () => {
  const page = await pages.open('welcome.html', fakeWorker({ overview: withoutAccount(), refuses: { restore: { kind: 'passphrase', message: 'wrong' } } }))
  await page.getByLabel('From a backup').check()
  await page.click('text=Restore the wallet >> visible=true')
  assert.match(await page.textContent('form:not([hidden]) .complaint:not(:empty)') ?? '', /Choose the file/)
  await page.setInputFiles('form:not([hidden]) input[type=file]', { name: 'backup.json', mimeType: 'application/json', buffer: Buffer.from('{"a":1}') })
  await page.fill('form:not([hidden]) input[type=password]', 'a passphrase')
  await page.keyboard.press('Enter')
  await until(page, '/does not open this backup/.test(document.querySelector("form:not([hidden])").textContent)')
  const [restore] = (await deeds(page)).filter(deed => deed.type === 'restore')
  assert.deepEqual(restore?.sent, { text: '{"a":1}', passphrase: 'a passphrase' })
  await page.getByLabel('From a seed on paper').check()
  await page.fill('form:not([hidden]) input[inputmode=url]', 'http://127.0.0.1:4000')
  await page.fill('form:not([hidden]) textarea', 'aaaa bbbb')
  await page.click('text=Restore the wallet >> visible=true')
  assert.match(await page.textContent('form:not([hidden])') ?? '', /14 groups of 4, of the letters/)
  assert.deepEqual(await axe(page), [])
})

/** An agent as docs/agent.md describes it, behind the address where agents listen. */
async function fakeAgent(page: Page): Promise<{ asked: unknown[] }> {
  const asked: unknown[] = []
  let looks = 0
  const allowed = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': 'Authorization, Content-Type', 'Access-Control-Allow-Methods': 'GET, POST, DELETE' }
  await page.route('http://127.0.0.1:8417/**', async route => {
    const request = route.request()
    const answer = (status: number, body: unknown) => route.fulfill({ status, headers: allowed, contentType: 'application/json', body: JSON.stringify(body) })
    const path = new URL(request.url()).pathname
    if (request.method() === 'OPTIONS') return answer(204, '')
    if (path === '/v1/pairings') return (request.postDataJSON() as { code: string }).code === '68306780' ? answer(201, { token: 'T' }) : answer(403, { detail: 'the code is wrong' })
    if (request.headers()['authorization'] !== 'Bearer T') return answer(401, { detail: 'want the token' })
    if (request.method() === 'POST') {
      asked.push(request.postDataJSON())
      return answer(201, { request: 'r1', phase: 'waiting', sentence: 'Say yes.' })
    }
    if (path !== '/v1/requests/r1') return answer(404, { detail: 'there is no such request' })
    looks += 1
    return answer(200, { request: 'r1', phase: looks > 1 ? 'done' : 'working', sentence: 'Paid.' })
  })
  return { asked }
}

test('options: no agent is there, and it is said', async () => {
  const page = await pages.open('options.html', fakeWorker())
  await page.route('http://127.0.0.1:8417/**', route => route.abort('connectionrefused'))
  await page.click('text=Put money of a card onto this account')
  await until(page, '/paired with no agent yet/.test(document.querySelector("#account-parts").textContent)')
  await page.getByLabel('Code that the agent shows').fill('6830 6780')
  await page.keyboard.press('Enter')
  await until(page, '/No agent answers at 127.0.0.1:8417/.test(document.querySelector("#account-parts").textContent)')
})

test('options: a card puts money on the account, by the agent', async () => {
  const page = await pages.open('options.html', fakeWorker())
  const { asked } = await fakeAgent(page)
  await page.click('text=Put money of a card onto this account')
  await page.getByLabel('Code that the agent shows').fill('11111111')
  await page.keyboard.press('Enter')
  await until(page, '/the code is wrong/.test(document.querySelector("#account-parts").textContent)')
  await page.getByLabel('Code that the agent shows').fill('6830 6780')
  await page.keyboard.press('Enter')
  await page.getByLabel('Amount').fill('12.30')
  await page.getByLabel('Gateway').fill('https://gateway.example')
  await page.keyboard.press('Enter')
  assert.match(await page.textContent('#account-parts .complaint:not(:empty)') ?? '', /begins with wss/)
  await page.getByLabel('Gateway').fill('wss://gateway.example/relay')
  await page.getByLabel('Merchant number').fill('4D00000000000009')
  await page.getByLabel('Name of the payee').fill('A broker')
  assert.deepEqual(await axe(page), [])
  await page.keyboard.press('Enter')
  await until(page, '/the card has paid/.test(document.querySelector("#account-parts").textContent)')
  assert.deepEqual(asked, [{
    intent: 'fund', gateway: 'wss://gateway.example/relay', merchant: '4D00000000000009', payee: 'A broker', amount: '12300000', currency: 'usd-micro',
    account: account.account, reference: 'payword extension',
  }])
  assert.ok((await messages(page)).includes('balance'))
})
