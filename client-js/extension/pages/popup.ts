import type { Overview, SiteView, TabView } from '../src/messages.js'
import { button, onAction, say, statusArea } from './action.js'
import { budgetBar } from './bar.js'
import { byId, element } from './element.js'
import { moment, money, plural, text, translatePage, type Key } from './language.js'
import { wirePause } from './pause.js'
import { describe, describeRefusal, showProblem } from './problem.js'
import { makeQuestion } from './question.js'
import { receiptList } from './receipts.js'
import { siteName, siteWarnings } from './site_name.js'
import { ask } from './worker.js'

/** How many receipts are shown at once, and how many more on demand. */
const [firstReceipts, allReceipts] = [3, 20]

/** The tab in front; an address may name another (`popup.html?tab=7`), since tests open the popup as a page. */
async function tabInFront(): Promise<number | undefined> {
  const named = new URLSearchParams(location.search).get('tab')
  if (named !== null && /^\d{1,10}$/.test(named)) return Number(named)
  const [tab] = await chrome.tabs.query({ active: true, currentWindow: true })
  return tab?.id
}

function openSettings(section: string): void {
  void chrome.tabs.create({ url: chrome.runtime.getURL(`options.html${section}`) })
  window.close()
}

function welcome(): HTMLElement {
  const open = button(text('popup_open_account'))
  open.addEventListener('click', () => {
    void chrome.tabs.create({ url: chrome.runtime.getURL('welcome.html') })
    window.close()
  })
  return element('div', {}, element('p', {}, text('popup_no_account')), element('div', { class: 'answers' }, open))
}

function stoppedKey(stopped: NonNullable<SiteView['stopped']>): Key {
  return stopped === 'key-changed' ? 'stopped_key_changed' : 'stopped_not_served'
}

function sitePart(site: SiteView, currency: string, refresh: (said: string) => Promise<void>): HTMLElement {
  const area = statusArea()
  const part = element('div', {}, element('p', { class: 'site' }, siteName(site.origin)), ...siteWarnings(site.origin),
    budgetBar(text('popup_site_today'), site.today, site.limits.perDay, currency))
  if (site.stopped) part.append(element('p', { class: 'warning' }, text(stoppedKey(site.stopped))))
  else if (site.isPaused) part.append(element('p', { class: 'hint' }, text('site_paused')))
  const toggle = button(text(site.isPaused || site.stopped ? 'site_resume' : 'site_pause'))
  onAction(toggle, area, async () => {
    const isPaused = !(site.isPaused || site.stopped)
    // A site that was stopped is allowed anew, with the key that it has now.
    if (site.stopped) await ask('allow', { origin: site.origin, limits: site.limits })
    else await ask('changeSite', { origin: site.origin, isPaused })
    await refresh(text(isPaused ? 'site_paused_now' : 'site_resumed_now'))
    return undefined
  })
  const limits = button(text('popup_site_limits'), { class: 'quiet' })
  limits.addEventListener('click', () => { openSettings('#sites') })
  part.append(element('div', { class: 'answers' }, toggle, limits), area)
  return part
}

function herePart(overview: Overview, tab: TabView, tabId: number, refresh: (said: string) => Promise<void>): HTMLElement[] {
  if (!overview.account) return [welcome()]
  const parts: HTMLElement[] = []
  if (tab.refusal) {
    const refusal = element('div', { role: 'status' })
    showProblem(refusal, describeRefusal(tab.refusal, overview.account.currency))
    refusal.prepend(element('p', {}, element('strong', {}, text('refusal_heading'))))
    parts.push(refusal)
  }
  if (tab.question && tab.site?.stopped) parts.push(element('p', { class: 'warning' }, text(stoppedKey(tab.site.stopped))))
  if (tab.question) parts.push(makeQuestion(tab.question, overview, tabId, refresh))
  else if (tab.site) parts.push(sitePart(tab.site, overview.account.currency, refresh))
  else parts.push(element('p', { class: 'hint' }, text('popup_nothing_here')))
  return parts
}

function totalsPart(overview: Overview): HTMLElement[] {
  if (!overview.account) return []
  const { currency } = overview.account
  const parts: HTMLElement[] = [element('h2', {}, text('popup_totals')), budgetBar(text('popup_all_today'), overview.today, overview.limits.perDay, currency)]
  if (overview.balance) {
    parts.push(element('p', { class: 'bar-words' }, element('span', {}, text('balance')), ' ',
      element('span', { class: 'figure' }, money(overview.balance.available, overview.balance.currency))),
    element('p', { class: 'hint' }, text('balance_at', { time: moment(overview.balance.at) })))
  }
  return parts
}

async function receiptsPart(): Promise<HTMLElement[]> {
  const { receipts, total } = await ask('receipts', { skip: 0, count: allReceipts })
  if (total === 0) return [element('p', { class: 'hint' }, text('receipts_none'))]
  const parts = [receiptList(receipts.slice(0, firstReceipts))]
  const more = receipts.slice(firstReceipts)
  if (more.length > 0) {
    parts.push(element('details', {}, element('summary', {}, plural('popup_more_receipts', more.length)), receiptList(more)))
  }
  return parts
}

async function start(): Promise<void> {
  translatePage()
  byId('settings').addEventListener('click', () => { openSettings('') })
  const tabId = await tabInFront()
  const showPause = wirePause(byId<HTMLButtonElement>('pause'), byId('pause-status'), () => show())
  async function show(said = ''): Promise<void> {
    const [overview, tab] = await Promise.all([ask('overview', {}), tabId === undefined ? Promise.resolve({}) : ask('tab', { tabId })])
    const here = byId('here')
    const hadFocus = here.contains(document.activeElement)
    here.replaceChildren(...herePart(overview, tab, tabId ?? 0, show))
    if (said !== '') {
      const area = statusArea()
      here.append(area)
      say(area, said)
    }
    if (hadFocus) (here.querySelector<HTMLElement>('button, input') ?? byId('settings')).focus()
    byId('totals').replaceChildren(...totalsPart(overview))
    byId('last').hidden = overview.account === undefined
    byId('pause').hidden = overview.account === undefined
    showPause(overview.isPaused)
    say(byId('alarm'), overview.isPaused ? text('paused_all') : '')
    if (overview.account) byId('receipts').replaceChildren(...await receiptsPart())
  }
  await show()
}

start().catch((error: unknown) => { showProblem(byId('alarm'), describe(error)) })
