import type { Overview } from '../src/messages.js'
import { button, onAction, statusArea } from './action.js'
import { makeChart } from './chart.js'
import { byId, download, element, newId } from './element.js'
import { plural, text } from './language.js'
import { describe, showProblem } from './problem.js'
import { receiptTable } from './receipts.js'
import { ask } from './worker.js'

/** Days in the chart. */
const chartDays = 30
/** Receipts on a page of the table. */
const pageReceipts = 25

function exportPart(): HTMLElement {
  const area = statusArea()
  const buttons = (['csv', 'json'] as const).map(format => {
    const made = button(text(`export_${format}`))
    onAction(made, area, async () => {
      const file = await ask('export', { format })
      download(file)
      return text('export_done', { name: file.name })
    })
    return made
  })
  return element('div', {}, element('div', { class: 'answers' }, ...buttons), area)
}

/** Pages of receipts, of one site or of all. */
class ReceiptPages {
  readonly #area = byId('receipts')
  readonly #table = element('div')
  readonly #place = element('p', { class: 'hint', role: 'status' })
  readonly #newer = button(text('receipts_newer'))
  readonly #older = button(text('receipts_older'))
  readonly #site = element('select', { id: newId() })
  #skip = 0
  #total = 0

  constructor() {
    const status = statusArea()
    const turn = (by: number) => async (): Promise<undefined> => {
      const to = Math.max(0, this.#skip + by)
      if (to < Math.max(1, this.#total)) this.#skip = to
      await this.show()
      return undefined
    }
    onAction(this.#newer, status, turn(-pageReceipts))
    onAction(this.#older, status, turn(pageReceipts))
    this.#site.addEventListener('change', () => {
      this.#skip = 0
      this.show().catch((error: unknown) => { showProblem(status, describe(error)) })
    })
    this.#area.replaceChildren(
      element('div', { class: 'filter' }, element('label', { for: this.#site.id }, text('receipts_of')), this.#site),
      this.#table, element('div', { class: 'pages' }, this.#newer, this.#older, this.#place), status)
  }

  /** Fills the choice of sites, and keeps what is chosen. */
  offer(origins: string[]): void {
    const chosen = this.#site.value
    this.#site.replaceChildren(element('option', { value: '' }, text('receipts_all_sites')),
      ...origins.map(origin => element('option', { value: origin, dir: 'ltr' }, origin)))
    this.#site.value = origins.includes(chosen) ? chosen : ''
  }

  async show(): Promise<void> {
    const origin = this.#site.value
    const { receipts, total } = await ask('receipts', { skip: this.#skip, count: pageReceipts, ...(origin === '' ? {} : { origin }) })
    this.#total = total
    this.#table.replaceChildren(...total === 0 ? [] : [receiptTable(receipts, text('receipts_caption'))])
    this.#place.textContent = total === 0 ? text('receipts_none')
      : plural('receipts_place', total, { first: String(this.#skip + 1), last: String(this.#skip + receipts.length) })
    // Not disabled: a button that is loses the focus, and with it the place of whoever reads by keyboard.
    this.#newer.setAttribute('aria-disabled', String(this.#skip === 0))
    this.#older.setAttribute('aria-disabled', String(this.#skip + receipts.length >= total))
    for (const turn of [this.#newer, this.#older]) turn.hidden = total <= pageReceipts
  }
}

/** What was paid: by day as a chart, by receipt as a table, and as a file. */
export function makeHistory(currency: string): (overview: Overview) => Promise<void> {
  const pages = new ReceiptPages()
  byId('export').replaceChildren(exportPart())
  return async overview => {
    const { days } = await ask('days', { days: chartDays })
    const isTableOpen = byId('chart').querySelector('details')?.open ?? false
    const chart = makeChart(days, currency)
    const table = chart.querySelector('details')
    if (table) table.open = isTableOpen
    byId('chart').replaceChildren(chart)
    pages.offer(overview.sites.map(site => site.origin))
    await pages.show()
  }
}
