import type { Overview } from '../src/messages.js'
import { button, onAction, statusArea } from './action.js'
import { byId, download, element, foreign } from './element.js'
import { makeField } from './field.js'
import { text } from './language.js'
import { ask } from './worker.js'

function backupButton(): HTMLElement {
  const area = statusArea()
  const save = button(text('backup_save'))
  onAction(save, area, async () => {
    const { name, text: content } = await ask('backup', {})
    download({ name, type: 'application/json', text: content })
    return text('backup_saved', { name })
  })
  return element('div', {}, element('div', { class: 'answers' }, save), area)
}

function removeForm(account: NonNullable<Overview['account']>): HTMLElement {
  const field = makeField({
    label: text('remove_type'), attributes: { dir: 'ltr' },
    check: typed => typed.trim() === account.account ? undefined : text('remove_differs'),
  })
  const area = statusArea()
  const form = element('form', { novalidate: true }, element('p', {}, text('remove_means')), element('p', {}, text('remove_account'), ' ', foreign(account.account, { dir: 'ltr' })),
    field.root, element('div', { class: 'answers' }, element('button', { type: 'submit', class: 'danger' }, text('remove_do'))), area)
  onAction(form, area, async () => {
    const typed = field.read()
    if (typed === undefined) {
      field.input.focus()
      return undefined
    }
    await ask('remove', { account: typed.trim() })
    location.replace('welcome.html')
    return undefined
  })
  return element('details', {}, element('summary', {}, text('remove_open')), form)
}

/** The wallet as a file, from a file, and gone from this browser. */
export function makeBackupPart(account: NonNullable<Overview['account']>): void {
  byId('backup-parts').replaceChildren(
    element('p', {}, text('backup_means')), backupButton(),
    element('h3', {}, text('restore_heading')), element('p', {}, text('restore_means')),
    element('h3', {}, text('remove_heading')), removeForm(account))
}
