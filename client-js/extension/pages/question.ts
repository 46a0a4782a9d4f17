import type { Overview, Question } from '../src/messages.js'
import { button, onAction, statusArea } from './action.js'
import { element, foreign } from './element.js'
import { inWords, money, text } from './language.js'
import { makeLimitFields } from './limits.js'
import { permissionPattern, siteName, siteWarnings } from './site_name.js'
import { ask, WorkerError } from './worker.js'

/** What is asked for, at most this long: the words are the site's own. */
const longestDescription = 300

function description(question: Question): HTMLElement[] {
  const words = question.description.slice(0, longestDescription).trim()
  return words === '' ? [] : [element('p', { class: 'what' }, foreign(words))]
}

function facts(question: Question): HTMLElement[] {
  const words = inWords(question.price, question.currency)
  const parts = [
    element('p', { class: 'site' }, siteName(question.origin)),
    ...siteWarnings(question.origin),
    element('h2', { class: 'price', id: 'question' }, text('question_costs'), ' ', element('b', {}, money(question.price, question.currency))),
  ]
  if (words !== '') parts.push(element('p', { class: 'words' }, words))
  parts.push(...description(question))
  if (question.vendor !== undefined && question.vendor !== question.origin) {
    parts.push(element('p', { class: 'hint' }, text('question_vendor'), ' ', siteName(question.vendor)))
  }
  if (question.priceBefore !== undefined) {
    parts.push(element('p', { class: 'warning' }, text('question_dearer', { before: money(question.priceBefore, question.currency) })))
  }
  return parts
}

/**
 * Asks the browser for its permission and tells the worker, in the turn of the
 * click: the browser asks only then, and its question may close this popup.
 */
function requestSite(origin: string, allow: () => Promise<unknown>): Promise<boolean> {
  const asked = chrome.permissions.request({ origins: [permissionPattern(origin)] })
  const told = allow().then(() => true, (error: unknown) => error)
  return asked.then(async isGranted => {
    if (!isGranted) return false
    const early = await told
    if (early instanceof WorkerError && early.kind === 'usage') await allow() // it was too early
    else if (early !== true) throw early
    return true
  })
}

/**
 * The question of a first visit: what it costs, who asks, and three answers of
 * the same weight. `done` looks at the tab again.
 */
export function makeQuestion(question: Question, overview: Overview, tabId: number, done: (said: string) => Promise<void>): HTMLElement {
  const area = statusArea()
  const fields = makeLimitFields(overview.suggested, question.currency, text('question_limits'), question.price)
  const form = element('form', { novalidate: true, 'aria-labelledby': 'question' }, fields.root,
    element('p', { class: 'hint' }, text('question_allow_means')))
  const allow = element('button', { type: 'submit' }, text('question_allow'))
  const once = button(text('question_once'))
  const no = button(text('question_no'))
  form.append(element('div', { class: 'answers' }, allow, once, no), area)
  onAction(form, area, () => {
    const limits = fields.read()
    if (!limits) return Promise.resolve(undefined)
    return requestSite(question.origin, () => ask('allow', { origin: question.origin, limits, tabId })).then(async isGranted => {
      if (!isGranted) return text('question_not_granted')
      await done(text('question_allowed'))
      return undefined
    })
  })
  onAction(once, area, async () => {
    await ask('payOnce', { tabId, url: question.url, price: question.price })
    await done(text('question_paid'))
    return undefined
  })
  no.addEventListener('click', () => { window.close() })
  return element('div', { class: 'question' }, ...facts(question), form)
}
