import type { Balance, Overview, StatementView } from '../src/messages.js'
import { button, onAction, statusArea } from './action.js'
import { byId, element, foreign } from './element.js'
import { makeField } from './field.js'
import { moment, money, plural, text } from './language.js'
import { makeFundingPart } from './options_funding.js'
import { siteName } from './site_name.js'
import { ask } from './worker.js'

/** The account of the overview. */
type Account = NonNullable<Overview['account']>

function voucherForm(refresh: () => Promise<void>): HTMLElement {
  const field = makeField({
    label: text('voucher_code'), hint: text('voucher_hint'), attributes: { autocapitalize: 'characters', dir: 'ltr' },
    check: typed => typed.trim() === '' ? text('voucher_empty') : undefined,
  })
  const area = statusArea()
  const form = element('form', { novalidate: true }, field.root, element('div', { class: 'answers' }, element('button', { type: 'submit' }, text('voucher_redeem'))), area)
  onAction(form, area, async () => {
    const code = field.read()
    if (code === undefined) {
      field.input.focus()
      return undefined
    }
    const balance = await ask('voucher', { code: code.trim() })
    field.input.value = ''
    await refresh()
    return text('voucher_done', { available: money(balance.available, balance.currency) })
  })
  return form
}

function balanceList(account: Account, balance: Balance | undefined): HTMLElement {
  const rows: [string, HTMLElement | string][] = [
    [text('account_broker'), siteName(account.broker)],
    [text('account_id'), foreign(account.account, { dir: 'ltr' })],
  ]
  if (balance) {
    rows.push([text('balance'), money(balance.available, balance.currency)], [text('balance_reserved'), money(balance.reserved, balance.currency)])
  }
  return element('dl', {}, ...rows.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]))
}

function statementTable(statement: StatementView): HTMLElement[] {
  const { currency, commitments, problems = [] } = statement
  const wrong = commitments.filter(commitment => commitment.problem !== undefined).length
  const said = wrong > 0 ? plural('statement_wrong', wrong) : text('statement_wrong_account')
  const verdict = wrong === 0 && problems.length === 0 ? element('p', {}, plural('statement_right', commitments.length))
    : element('div', { class: 'problem' }, element('p', {}, element('strong', {}, said)),
      ...problems.map(problem => element('p', {}, foreign(problem))), element('p', {}, text('statement_wrong_do')))
  const rows = commitments.map(commitment => element('tr', {},
    element('td', { class: 'long' }, foreign(commitment.vendor, { dir: 'ltr' }), ...commitment.problem === undefined ? [] : [element('p', { class: 'complaint' }, foreign(commitment.problem))]),
    element('td', { class: 'figure' }, money(commitment.paid, currency)),
    element('td', { class: 'figure' }, plural('statement_hashes', commitment.hashes))))
  const parts: HTMLElement[] = [verdict, element('dl', {},
    element('dt', {}, text('statement_came_in')), element('dd', {}, money(statement.cameIn, currency)),
    element('dt', {}, text('statement_paid')), element('dd', {}, money(statement.paid, currency)),
    element('dt', {}, text('statement_at')), element('dd', {}, moment(statement.at)))]
  if (rows.length > 0) {
    parts.push(element('table', {}, element('caption', { class: 'unseen' }, text('statement_caption')),
      element('thead', {}, element('tr', {}, element('th', { scope: 'col' }, text('column_site')),
        element('th', { scope: 'col', class: 'figure' }, text('column_paid')), element('th', { scope: 'col', class: 'figure' }, text('column_checked')))),
      element('tbody', {}, ...rows)))
  }
  return parts
}

function statementPart(): HTMLElement {
  const area = statusArea()
  const shown = element('div')
  const check = button(text('statement_check'))
  onAction(check, area, async () => {
    const statement = await ask('statement', {})
    shown.replaceChildren(...statementTable(statement))
    return text('statement_done')
  })
  return element('div', {}, element('h3', {}, text('statement_heading')), element('p', { class: 'hint' }, text('statement_means')),
    element('div', { class: 'answers' }, check), area, shown)
}

/** The account at the broker: what is there, how money gets there, and whether the broker counts right. */
export function makeAccountPart(overview: Overview, account: Account, refresh: () => Promise<void>): (overview: Overview) => void {
  const list = element('div')
  const area = statusArea()
  const again = button(text('balance_ask'))
  onAction(again, area, async () => {
    const balance = await ask('balance', {})
    await refresh()
    return text('balance_is', { available: money(balance.available, balance.currency) })
  })
  byId('account-parts').replaceChildren(list, element('div', { class: 'answers' }, again), area,
    element('h3', {}, text('voucher_heading')), voucherForm(refresh), makeFundingPart(account, refresh), statementPart())
  const show = (now: Overview): void => { list.replaceChildren(balanceList(account, now.balance)) }
  show(overview)
  return show
}
