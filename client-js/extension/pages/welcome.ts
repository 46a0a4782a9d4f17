import type { OwnerMessages } from '../src/messages.js'
import { button, onAction, statusArea } from './action.js'
import { byId, download, element, foreign, newId } from './element.js'
import { makeField, readAll, type Field } from './field.js'
import { plural, text, translatePage, type Key } from './language.js'
import { originOf } from './origin_field.js'
import { describe, showProblem } from './problem.js'
import { siteName } from './site_name.js'
import { ask } from './worker.js'

/** The fewest letters of a passphrase, and from how many on it is good: only its length is judged. */
const [leastLetters, goodLetters] = [10, 20]
/** A backup is a few KB; what is larger is another file. */
const maxBackupBytes = 4 << 20

/** The ways to a wallet, and the order in which they are offered. */
const ways = ['create', 'restore', 'seed'] as const
type Way = typeof ways[number]

function brokerField(): Field {
  return makeField({
    label: text('broker_label'), hint: text('broker_hint'), attributes: { dir: 'ltr', inputmode: 'url', autocapitalize: 'none' },
    check: typed => originOf(typed) === undefined ? text('broker_wrong') : undefined,
  })
}

/** A new passphrase, twice: a slip of the finger would lock the owner out of the backup. */
function passphraseFields(): { first: Field, second: Field, strength: HTMLElement } {
  const secret = { type: 'password', autocomplete: 'new-password', dir: 'ltr' }
  const first = makeField({
    label: text('passphrase_label'), hint: text('passphrase_hint'), attributes: secret,
    check: typed => [...typed].length < leastLetters ? plural('passphrase_short', leastLetters) : undefined,
  })
  const second = makeField({
    label: text('passphrase_again'), attributes: secret,
    check: typed => typed === first.input.value ? undefined : text('passphrase_differs'),
  })
  const strength = element('p', { class: 'strength', role: 'status' })
  first.input.addEventListener('input', () => {
    const letters = [...first.input.value].length
    strength.textContent = letters === 0 ? '' : text(letters < leastLetters ? 'strength_short' : letters < goodLetters ? 'strength_fair' : 'strength_good')
  })
  first.root.append(strength)
  return { first, second, strength }
}

/** Whether typed letters are shown, for those who want to see them. */
function revealChoice(fields: Field[]): HTMLElement {
  const id = newId()
  const box = element('input', { type: 'checkbox', id })
  box.addEventListener('change', () => {
    for (const { input } of fields) input.setAttribute('type', box.checked ? 'text' : 'password')
  })
  return element('div', { class: 'choice' }, box, element('label', { for: id }, text('passphrase_show')))
}

function makeForm(parts: HTMLElement[], submit: Key, work: () => Promise<void>): HTMLElement {
  const area = statusArea()
  const form = element('form', { novalidate: true }, ...parts, element('div', { class: 'answers' }, element('button', { type: 'submit' }, text(submit))), area)
  onAction(form, area, async () => {
    await work()
    return undefined
  })
  return form
}

function createForm(done: (account: string) => void): HTMLElement {
  const broker = brokerField()
  const { first, second } = passphraseFields()
  return makeForm([broker.root, first.root, second.root, revealChoice([first, second])], 'create_do', async () => {
    const read = readAll({ broker, first, second })
    if (!read) return
    done((await ask('create', { broker: originOf(read.broker) ?? '', passphrase: read.first })).account)
  })
}

function restoreForm(done: (account: string) => void): HTMLElement {
  const file = makeField({ label: text('restore_file'), hint: text('restore_file_hint'), attributes: { type: 'file', accept: '.json,application/json' }, check: () => undefined })
  const passphrase = makeField({
    label: text('restore_passphrase'), attributes: { type: 'password', autocomplete: 'current-password', dir: 'ltr' },
    check: typed => typed === '' ? text('restore_passphrase_empty') : undefined,
  })
  return makeForm([file.root, passphrase.root, revealChoice([passphrase])], 'restore_do', async () => {
    const chosen = (file.input as HTMLInputElement).files?.[0]
    const complaint = !chosen ? 'restore_file_none' : chosen.size > maxBackupBytes ? 'restore_file_large' : undefined
    file.complain(complaint ? text(complaint) : '')
    const typed = passphrase.read()
    if (complaint || !chosen) file.input.focus()
    else if (typed === undefined) passphrase.input.focus()
    else done((await ask('restore', { text: await chosen.text(), passphrase: typed })).account)
  })
}

function seedForm(done: (account: string) => void): HTMLElement {
  const broker = brokerField()
  const seed = makeField({
    label: text('seed_label'), hint: text('seed_hint'), isLong: true, attributes: { dir: 'ltr', autocapitalize: 'characters' },
    check: typed => /^[A-Za-z2-7]{56}$/.test(typed.replace(/[\s-]/g, '')) ? undefined : text('seed_wrong'),
  })
  const { first, second } = passphraseFields()
  return makeForm([broker.root, seed.root, first.root, second.root, revealChoice([first, second])], 'restore_do', async () => {
    const read = readAll({ broker, seed, first, second })
    if (!read) return
    const sent: OwnerMessages['restoreSeed']['sent'] = { broker: originOf(read.broker) ?? '', seed: read.seed, passphrase: read.first }
    done((await ask('restoreSeed', sent)).account)
  })
}

function showWays(done: (account: string) => void): void {
  const forms: Record<Way, HTMLElement> = { create: createForm(done), restore: restoreForm(done), seed: seedForm(done) }
  const choices = ways.map(way => {
    const id = newId()
    const radio = element('input', { type: 'radio', name: 'way', id, value: way, checked: way === 'create' })
    radio.addEventListener('change', () => { for (const each of ways) forms[each].hidden = each !== way })
    forms[way].hidden = way !== 'create'
    return element('div', { class: 'choice' }, radio, element('label', { for: id }, text(`way_${way}`)))
  })
  byId('content').replaceChildren(
    element('p', {}, text('welcome_means')), element('p', { class: 'hint' }, text('welcome_privacy')),
    element('fieldset', { class: 'ways' }, element('legend', {}, text('way_legend')), ...choices), ...Object.values(forms))
}

function showDone(account: string, broker: string, isNew: boolean): void {
  const area = statusArea()
  const save = button(text('backup_save'))
  onAction(save, area, async () => {
    const { name, text: content } = await ask('backup', {})
    download({ name, type: 'application/json', text: content })
    return text('backup_saved', { name })
  })
  byId('heading').textContent = text(isNew ? 'done_title' : 'account_there')
  byId('content').replaceChildren(
    element('p', {}, text('done_account')), element('p', { class: 'account' }, foreign(account, { dir: 'ltr' }), ' · ', siteName(broker)),
    element('h2', {}, text('done_backup')), element('p', {}, text('backup_means')), element('div', { class: 'answers' }, save), area,
    element('h2', {}, text('done_fund')), element('p', {}, text('done_fund_means')),
    element('p', { class: 'answers' }, element('a', { href: 'options.html#account', class: 'as-button' }, text('done_fund_do'))),
    element('h2', {}, text('done_use')), element('p', {}, text('done_use_means')))
}

async function start(): Promise<void> {
  translatePage()
  const { account } = await ask('overview', {})
  if (account) {
    showDone(account.account, account.broker, false)
    return
  }
  showWays(made => {
    void ask('overview', {}).then(now => {
      showDone(made, now.account?.broker ?? '', true)
      byId('heading').focus()
    }).catch((error: unknown) => { showProblem(byId('alarm'), describe(error)) })
  })
}

start().catch((error: unknown) => { showProblem(byId('alarm'), describe(error)) })
