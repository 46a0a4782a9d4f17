import type { Messages, ReceiptView } from './messages.js'

/** A file for the owner to keep. */
export type ExportFile = Messages['export']['back']

/** The columns of a table of receipts, as they stand in its first line. */
const columns = ['time', 'amount', 'currency', 'returned', 'vendor', 'url']

/** What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection"). */
const formulaStart = /^[=+\-@\t\r\n\uFF0B\uFF0D\uFF1D\uFF20]/

/**
 * Writes receipts as a file, in the order given.
 *
 * CSV (RFC 4180, UTF-8) has times in UTC and amounts as decimal numbers of the
 * currency's major unit. Every cell is quoted, and one that a spreadsheet would
 * run gets an apostrophe in front: addresses are chosen by vendors. JSON has the
 * receipts as they travel, amounts in micros.
 *
 * @param day names the file, such as `2026-11-26`.
 */
export function exportReceipts(receipts: ReceiptView[], format: 'csv' | 'json', day: string): ExportFile {
  const name = `payword-receipts-${day}.${format}`
  if (format === 'json') return { name, type: 'application/json', text: `${JSON.stringify({ receipts }, null, 2)}\n` }
  const lines = receipts.map(receipt => [
    new Date(receipt.time * 1000).toISOString(), decimal(receipt.amount), code(receipt.currency),
    receipt.returned === undefined ? '' : decimal(receipt.returned), receipt.vendor, receipt.url,
  ])
  return { name, type: 'text/csv', text: [columns, ...lines].map(cells => `${cells.map(cell).join(',')}\r\n`).join('') }
}

function cell(text: string): string {
  const safe = formulaStart.test(text) ? `'${text}` : text
  return `"${safe.replaceAll('"', '""')}"`
}

/** Writes micros as a decimal number without needless zeros: `1500` is `0.0015`. */
function decimal(micros: string): string {
  const digits = BigInt(micros).toString().padStart(7, '0')
  return `${digits.slice(0, -6)}.${digits.slice(-6)}`.replace(/\.?0+$/, '')
}

/** The ISO code of a currency: `USD` of `usd-micro`. */
function code(currency: string): string {
  return currency.replace(/-micro$/, '').toUpperCase()
}
