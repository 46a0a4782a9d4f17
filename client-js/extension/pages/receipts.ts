import type { ReceiptView } from '../src/messages.js'
import { element, foreign } from './element.js'
import { moment, money, text } from './language.js'

/** An address without its origin where that says the same: `/story/1?page=2`. */
function pathOf(receipt: ReceiptView): string {
  try {
    const url = new URL(receipt.url)
    return url.origin === receipt.vendor ? `${url.pathname}${url.search}` : receipt.url
  } catch {
    return receipt.url
  }
}

/** What a receipt came to. What a stream did not cost after all came back. */
function amountOf(receipt: ReceiptView): string {
  if (receipt.returned !== undefined && receipt.returned !== '0') return text('receipt_returned', { amount: money(receipt.returned, receipt.currency) })
  return receipt.amount === '0' ? text('receipt_repeat') : money(receipt.amount, receipt.currency)
}

/** Receipts as a list, for little room. */
export function receiptList(receipts: ReceiptView[]): HTMLElement {
  return element('ul', { class: 'receipts' }, ...receipts.map(receipt => element('li', {},
    element('span', { class: 'what' }, foreign(receipt.vendor, { dir: 'ltr' }), foreign(pathOf(receipt), { dir: 'ltr', class: 'path' })),
    element('span', { class: 'figure' }, amountOf(receipt)),
    element('time', { datetime: new Date(receipt.time * 1000).toISOString() }, moment(receipt.time)))))
}

/** Receipts as a table. */
export function receiptTable(receipts: ReceiptView[], caption: string): HTMLElement {
  const head = (['column_time', 'column_site', 'column_page', 'column_paid'] as const).map(key =>
    element('th', { scope: 'col', class: key === 'column_paid' ? 'figure' : undefined }, text(key)))
  const rows = receipts.map(receipt => element('tr', {},
    element('td', { class: 'time', 'data-column': text('column_time') }, element('time', { datetime: new Date(receipt.time * 1000).toISOString() }, moment(receipt.time))),
    element('td', { class: 'long', 'data-column': text('column_site') }, foreign(receipt.vendor, { dir: 'ltr' })),
    element('td', { class: 'long', 'data-column': text('column_page') }, foreign(pathOf(receipt), { dir: 'ltr' })),
    element('td', { class: 'figure', 'data-column': text('column_paid') }, amountOf(receipt))))
  return element('table', { class: 'receipt-table' }, element('caption', { class: 'unseen' }, caption),
    element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows))
}
