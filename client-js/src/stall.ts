import { maxMicros, type Micros } from './amount.js'
import type { TicketRecord, VendorRecord, WalletDocument } from './document.js'
import { StalledError } from './errors.js'
import { least, minus, most, plus } from './sums.js'

// What a vendor was paid and did not serve. A ticket counts when its outcome is
// known and bad: the answer or its body did not come, it was 503, or the credit
// that it left is gone because the vendor refuses the commitment or denies it.
// Requests under way do not count, nor does credit that the next request uses.

/** How many requests in a row a vendor may be paid for and leave unserved: a page with everything in it, lost at once. */
const stalledPrices = 32n
/** What it may leave unserved however little it asks for, in micros: 0.01. */
const stalledFloor: Micros = 10_000n
/** How much unserved one served request makes up for. At one, a vendor that fails half of the time would sooner or later be refused. */
const servedFactor = 4n
/** Between two requests that a vendor at its allowance is paid for, to see whether it serves again. */
const stalledSeconds = 5 * 60

/** What a vendor may leave unserved that asks for `price`, in micros. */
function allowance(price: Micros): Micros {
  return most(stalledFloor, least(price * stalledPrices, maxMicros))
}

/** Whether a request at `price`, in micros, is inside the vendor's allowance. */
export function isServing(vendor: VendorRecord, price: Micros): boolean {
  return BigInt(vendor.unserved ?? '0') + price <= allowance(price)
}

/** Throws a StalledError if the vendor has left so much unserved that nothing is released to it now, in seconds since 1970. */
export function checkServes(vendor: VendorRecord | undefined, price: Micros, now: number, origin: string): void {
  if (!vendor || isServing(vendor, price)) return
  const retry = (vendor.probed ?? 0) + stalledSeconds
  if (now < retry) throw new StalledError({ vendor: origin, unserved: BigInt(vendor.unserved ?? '0'), retry })
}

/** Notes that what a vendor got, in micros, was not served. */
export function failed(document: WalletDocument, origin: string, amount: Micros): void {
  const vendor = document.vendors[origin]
  if (vendor && amount > 0n) vendor.unserved = plus(vendor.unserved, amount)
}

/** Notes that what failed is under way again, or credit after all, in micros. */
export function isOpenAgain(document: WalletDocument, origin: string, amount: Micros): void {
  const vendor = document.vendors[origin]
  if (vendor?.unserved) vendor.unserved = minus(vendor.unserved, amount)
}

/** Notes that a vendor served what it got for a ticket, in micros. */
export function served(document: WalletDocument, origin: string, ticket: Pick<TicketRecord, 'max'>, amount: Micros): void {
  const vendor = document.vendors[origin]
  if (!vendor?.unserved || amount === 0n) return
  // However much an outage took, one served request ends it.
  const left = least(BigInt(vendor.unserved), allowance(BigInt(ticket.max)))
  vendor.unserved = minus(String(left), least(amount * servedFactor, maxMicros))
}
