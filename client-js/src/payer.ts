import type { Currency, Micros } from './amount.js'
import type { Budget } from './budget.js'

/**
 * What a vendor asks for, as far as it was checked: the challenge is for the URL
 * and method that were asked, its currency and broker are the wallet's, and the
 * vendor is the origin that was asked or lists it.
 */
export interface Offer {
  /** Origin that was asked. */
  origin: string
  /** V: the origin that commitments name. */
  vendor: string
  /** What has to be agreed to, in micros: the price of one request, or the ceiling of what is metered. */
  price: Micros
  currency: Currency
  /** The most steps that the vendor checks for one request. */
  maxStep: number
  /** Whether commitments without a reservation are taken. */
  unreserved: boolean
  /** Set where the answer costs as many units as it takes. */
  meter?: Meter
}

/** How a metered answer is counted. */
export interface Meter {
  /** What is counted, such as `token`. */
  unitType: string
  /** Price of one unit, in micros. */
  unitPrice: Micros
}

/** What a payment has to keep to. */
export interface Terms {
  budget: Budget
  /** Limit of a commitment that has to be opened, in micros. Left out: the wallet's own. */
  deposit?: Micros
  /** Of the limit per request, what was released for this request before and is gone, in micros. */
  forfeited?: Micros
  /**
   * Tells the request from others: method, URL and digest of the body. The same
   * again soon, after an answer that was lost, gets the same number, which is
   * free if it was charged.
   */
  fingerprint: string
}

/** A payment as it is sent: docs/protocol.md, section 7.1. Binary members are base64url. */
export interface Payment {
  commitmentId: string
  chain: number
  index: number
  payword: string
  number: number
  /** The most that the request agrees to pay, in micros. */
  max: Micros
}

/**
 * A debited request: what to send for it. It is durable before anybody sees it.
 * Structured clone carries it.
 */
export interface Ticket {
  /** Of this debit, unique in this wallet. */
  id: string
  vendor: string
  payment: Payment
  /** Goes along until the vendor is known to have it. */
  commitment?: string
  /** Goes along with `commitment`. */
  reservation?: string
  /** Released by this take, in micros: 0 for a request that is sent again. */
  released: Micros
  /** It was sent before, and may have been charged. */
  isRepeat: boolean
  /**
   * The vendor is too far behind to check the payment at once: these, which agree
   * to pay nothing, go before it, in order, each in a HEAD request for the URL.
   */
  steps?: Payment[]
}

/** What a vendor says of a commitment: docs/protocol.md, section 7.3. */
export interface Status {
  reason: string
  price: Micros
  number?: number
  /** Together or not at all: told only to who proved a payword. */
  known?: {
    accepted: Micros
    spent: Micros
    chain: number
    index: number
    /** base64url. */
    tailHash: string
  }
}

/** What came of a request that was granted. */
export interface Grant {
  url: string
  /** What it cost, in micros, never more than `payment.max`. */
  amount: Micros
  status?: Status
  /** Whether the body is known to have come whole. `false`: `delivered` or `lose` follows. */
  isWhole: boolean
}

/** One paid request, for people. */
export interface Receipt {
  /** Seconds since 1970. */
  time: number
  /** Without user, password and fragment; cut after 300 bytes. */
  url: string
  vendor: string
  /** Charged, in micros; 0 for a repeat. */
  amount: Micros
  currency: Currency
  /** What a metered answer did not cost after all, in micros; then `amount` is 0. */
  returned?: Micros
}

/** What to do after a refusal. */
export interface Mended {
  /** Whether to take a ticket again and send the request once more. */
  shouldRetry: boolean
  /** What turned out to be gone of what was released for this request, in micros: one more part of `Terms.forfeited` of the next take. */
  forfeited: Micros
}

/**
 * Who pays: a {@link Wallet}, or one behind a bridge, such as the extension's.
 * Every method may reject with a `PaywordError`. All may be called at the same
 * time, from several tabs and workers.
 */
export interface Payer {
  /** The account's broker and currency; undefined without an account. */
  account(): Promise<{ broker: string, currency: Currency } | undefined>
  /**
   * Debits the wallet for one request, opening a commitment if need be, and
   * resolves when that is durable: debit first. Rejects with a BudgetError,
   * StalledError, BrokerError or RefusedError, and then nothing was released.
   */
  take(offer: Offer, terms: Terms): Promise<Ticket>
  /** Notes that the request was granted and what it cost. */
  settle(ticket: Ticket, grant: Grant): Promise<Receipt>
  /**
   * Notes that the request was refused (402), learns from what the vendor says
   * as far as that can be true, and tells whether another attempt makes sense.
   * Never more is released because a server says so.
   */
  refused(ticket: Ticket, status: Status): Promise<Mended>
  /** Notes that a granted answer's body came whole. */
  delivered(ticket: Ticket, amount: Micros): Promise<void>
  /**
   * Notes that the answer did not come, or left open whether it was charged. If
   * repeatable, taking for the same fingerprint soon gives the same number.
   */
  lose(ticket: Ticket, isRepeatable: boolean): Promise<void>
  /** Undoes a debit whose ticket certainly never left. */
  takeBack(ticket: Ticket): Promise<void>
  /** What a stream did not cost after all, in micros, of what `settle` counted: once, before `delivered`. */
  giveBack(ticket: Ticket, rest: Micros, url: string): Promise<Receipt>
}
