import type { Overview } from '../src/messages.js'
import { button, say, statusArea } from './action.js'
import { AgentError, fund, isPaired, isThere, pair, withdraw, type AgentRequest, type Funding } from './agent.js'
import { element, foreign } from './element.js'
import { makeAmountField, makeField, readAll } from './field.js'
import { isKey, text } from './language.js'
import { describe, showProblem } from './problem.js'
import { ask } from './worker.js'

type Account = NonNullable<Overview['account']>

/** Where the pages remember the gateway that was used last: nothing secret. */
const gatewayName = 'funding-gateway'

function remembered(): { gateway?: string, merchant?: string, payee?: string } {
  try {
    return JSON.parse(localStorage.getItem(gatewayName) ?? '{}') as { gateway?: string, merchant?: string, payee?: string }
  } catch {
    return {}
  }
}

/** What is wrong with the address of a gateway's relay, if anything. */
function checkGateway(typed: string): string | undefined {
  try {
    const url = new URL(typed.trim())
    const isOwnMachine = url.protocol === 'ws:' && ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname)
    return url.protocol === 'wss:' || isOwnMachine ? undefined : text('gateway_wrong')
  } catch {
    return text('gateway_wrong')
  }
}

function gatewayFields(currency: string) {
  const before = remembered()
  const ltr = { dir: 'ltr' }
  return {
    amount: makeAmountField({ label: text('fund_amount'), currency, isAtLeastOne: true }),
    gateway: makeField({ label: text('fund_gateway'), hint: text('fund_gateway_hint'), value: before.gateway ?? '', check: checkGateway, attributes: { ...ltr, inputmode: 'url' } }),
    merchant: makeField({
      label: text('fund_merchant'), hint: text('fund_merchant_hint'), value: before.merchant ?? '', attributes: ltr,
      check: typed => /^[0-9A-Fa-f]{16}$/.test(typed.trim()) ? undefined : text('merchant_wrong'),
    }),
    payee: makeField({ label: text('fund_payee'), hint: text('fund_payee_hint'), value: before.payee ?? '', check: typed => typed.trim() === '' ? text('payee_wrong') : undefined }),
  }
}

/** What to say of an agent's no: its own sentence is its word, and stands in quotation marks. */
function showNo(area: HTMLElement, error: unknown): void {
  if (!(error instanceof AgentError)) showProblem(area, describe(error))
  else if (error.isSilent) showProblem(area, { sentence: text('agent_silent') })
  else showProblem(area, { sentence: text(error.status === 401 ? 'agent_forgot' : 'agent_no'), detail: error.message })
}

function tell(area: HTMLElement, state: AgentRequest): void {
  const key = `phase_${state.phase}`
  say(area, text(isKey(key) ? key : 'phase_undecided'))
  if (state.sentence) area.append(element('p', { class: 'hint' }, text('agent_says'), ' ', foreign(`“${state.sentence}”`)))
}

function fundForm(account: Account, refresh: () => Promise<void>): HTMLElement {
  const fields = gatewayFields(account.currency)
  const area = statusArea()
  const cancel = button(text('cancel'))
  cancel.hidden = true
  let waiting = ''
  const form = element('form', { novalidate: true }, ...Object.values(fields).map(field => field.root),
    element('div', { class: 'answers' }, element('button', { type: 'submit' }, text('fund_ask')), cancel))
  let isAsking = false
  form.addEventListener('submit', event => {
    event.preventDefault()
    const read = isAsking ? undefined : readAll(fields)
    if (!read) return
    const place = { gateway: read.gateway.trim(), merchant: read.merchant.trim().toUpperCase(), payee: read.payee.trim() }
    localStorage.setItem(gatewayName, JSON.stringify(place))
    const funding: Funding = { ...place, amount: read.amount, currency: account.currency, account: account.account }
    isAsking = true
    let last = ''
    fund(funding, state => {
      waiting = state.request
      cancel.hidden = state.phase !== 'waiting'
      if (state.phase !== last) tell(area, state) // a screen reader hears each once
      last = state.phase
    }).then(async state => {
      if (state.phase === 'done') await ask('balance', {}).then(refresh)
    }).catch((error: unknown) => { showNo(area, error) }).finally(() => {
      isAsking = false
      cancel.hidden = true
    })
  })
  cancel.addEventListener('click', () => { withdraw(waiting).catch((error: unknown) => { showNo(area, error) }) })
  return element('div', {}, form, area)
}

function pairForm(done: () => Promise<void>): HTMLElement {
  const field = makeField({
    label: text('pair_code'), hint: text('pair_hint'), attributes: { inputmode: 'numeric', dir: 'ltr' },
    check: typed => /^\d{8}$/.test(typed.replace(/\s/g, '')) ? undefined : text('pair_wrong'),
  })
  const area = statusArea()
  const form = element('form', { novalidate: true }, field.root, element('div', { class: 'answers' }, element('button', { type: 'submit' }, text('pair_do'))))
  form.addEventListener('submit', event => {
    event.preventDefault()
    const code = field.read()
    if (code === undefined) {
      field.input.focus()
      return
    }
    pair(code.replace(/\s/g, '')).then(done).catch((error: unknown) => { showNo(area, error) })
  })
  return element('div', {}, form, area)
}

/** Money from a purse card, through the agent on this machine. Nothing is asked of it before the owner opens this part. */
export function makeFundingPart(account: Account, refresh: () => Promise<void>): HTMLElement {
  const state = element('div', { class: 'status', role: 'status' })
  const forms = element('div')
  const look = async (): Promise<void> => {
    say(state, text('agent_looking'))
    const found = await isThere()
    say(state, text(found ? 'agent_there' : isPaired() ? 'agent_gone' : 'agent_unknown'))
    forms.replaceChildren(found ? fundForm(account, refresh) : pairForm(look))
  }
  const again = button(text('agent_look'), { class: 'quiet' })
  const details = element('details', {}, element('summary', {}, text('fund_open')), element('p', { class: 'hint' }, text('fund_means')),
    state, again, forms)
  details.addEventListener('toggle', () => { if (details.open) void look() })
  again.addEventListener('click', () => { void look() })
  return element('div', {}, element('h3', {}, text('fund_heading')), details)
}
