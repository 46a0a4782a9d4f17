import { formatAmount, type Currency, type Micros } from './amount.js'
import { fromBase64url, fromUtf8, toBase64url, toUtf8, type Base64url } from './encoding.js'
import { Members } from './json.js'
import { maxNumber, maxReceiptBytes } from './limits.js'
import { MalformedError, within } from './malformed.js'

/**
 * What the Payment-Receipt field of a request that was granted to a credential
 * holds, and the last event of a stream: docs/protocol.md, section 8.3.
 */
export interface PaymentReceipt {
  status: 'success'
  method: string
  intent?: string
  /** RFC 3339. */
  timestamp: string
  /** Commitment id and request number, joined by a dot. */
  reference: string
  challengeId?: string
  /** Of this request, in micros; 0 for a repeat. */
  amount: Micros
  currency: Currency
  number?: number
  /** In micros. */
  accepted: Micros
  /** In micros. */
  spent: Micros
  /** In micros. */
  credit: Micros
  /** Whether the commitment ended with it. */
  final?: boolean
}

/** Returns a receipt as the value of a Payment-Receipt field. */
export function formatPaymentReceipt(receipt: PaymentReceipt): Base64url {
  return toBase64url(toUtf8(JSON.stringify(receipt, (_, value: unknown) => typeof value === 'bigint' ? formatAmount(value) : value)))
}

/**
 * Reads the value of a Payment-Receipt field. Its status must be success, the only
 * one there is.
 *
 * @throws {@link MalformedError}
 */
export function parsePaymentReceipt(value: string): PaymentReceipt {
  if (value.length > maxReceiptBytes) throw new MalformedError(`receipt of ${value.length} bytes: at most ${maxReceiptBytes}`)
  return within('receipt', () => parsePaymentReceiptDocument(fromUtf8(fromBase64url(value))))
}

/**
 * Reads a receipt that is not encoded, as the last event of a stream holds it.
 *
 * @throws {@link MalformedError}
 */
export function parsePaymentReceiptDocument(document: string): PaymentReceipt {
  if (document.length > maxReceiptBytes) throw new MalformedError(`receipt of ${document.length} bytes: at most ${maxReceiptBytes}`)
  const members = Members.parse(document)
  if (members.text('status') !== 'success') throw new MalformedError('status: want success')
  const receipt: PaymentReceipt = {
    status: 'success', method: members.text('method'), timestamp: members.text('timestamp'), reference: members.text('reference'),
    amount: members.amount('amount'), currency: members.currency('currency'),
    accepted: members.amount('accepted'), spent: members.amount('spent'), credit: members.amount('credit')
  }
  for (const name of ['intent', 'challengeId'] as const) {
    const text = members.optional(name, key => members.text(key))
    if (text) receipt[name] = text
  }
  const number = members.optional('number', name => members.integer(name, 0, maxNumber))
  if (number) receipt.number = number
  if (members.optional('final', name => members.boolean(name))) receipt.final = true
  return receipt
}
