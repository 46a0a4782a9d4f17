import { formatPayment, headerCommitment, headerPayword, headerReservation, headerState, parseStatus } from '../src/header.js'
import { maxMicros } from '../src/amount.js'
import type { Budget } from '../src/budget.js'
import { toBase64url, toUtf8 } from '../src/encoding.js'
import type { Payer, Ticket } from '../src/payer.js'
import { Refusal } from '../src/reason.js'

/** No limit at all. */
export const noLimits: Budget = { perRequest: maxMicros, perSite: maxMicros, perDay: maxMicros, total: maxMicros }

/** The header fields of a ticket. */
export function headersOf(ticket: Ticket): Record<string, string> {
  const headers: Record<string, string> = { [headerPayword]: formatPayment(ticket.payment) }
  if (ticket.commitment) headers[headerCommitment] = ticket.commitment
  if (ticket.reservation) headers[headerReservation] = ticket.reservation
  return headers
}

/**
 * Pays for a page as a careful client does, with nothing but a Payer: so tests of
 * the wallet do not depend on payFetch.
 */
export async function payPage(payer: Payer, url: string, price: bigint, budget: Budget = noLimits, ask: typeof fetch = fetch): Promise<Response> {
  const { origin } = new URL(url)
  const fingerprint = toBase64url(new Uint8Array(await crypto.subtle.digest('SHA-256', toUtf8(url))))
  let forfeited: bigint | undefined
  for (let attempt = 1; ; attempt++) {
    const offer = { origin, vendor: origin, price, currency: 'usd-micro', maxStep: 4096, unreserved: false }
    const ticket = await payer.take(offer, { budget, fingerprint, ...forfeited === undefined ? {} : { forfeited } })
    for (const step of ticket.steps ?? []) await ask(url, { method: 'HEAD', headers: { [headerPayword]: formatPayment(step) } })
    let answer: Response
    try {
      answer = await ask(url, { headers: headersOf(ticket) })
    } catch (error) {
      await payer.lose(ticket, true)
      if (attempt === 3) throw error
      continue
    }
    const status = parseStatus(answer.headers.get(headerState) ?? '')
    if (status instanceof Refusal) throw new Error(`status ${answer.status}, and it does not say what became of the payment`)
    if (answer.ok) {
      const amount = ticket.isRepeat || status.price < ticket.payment.max ? status.price : ticket.payment.max
      await payer.settle(ticket, { url, amount, status, isWhole: true })
      return answer
    }
    const mended = await payer.refused(ticket, status)
    forfeited = (forfeited ?? 0n) + mended.forfeited
    if (!mended.shouldRetry || attempt === 3) return answer
    price = status.price > price ? status.price : price
  }
}
