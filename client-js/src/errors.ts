import type { Currency, Micros } from './amount.js'
import type { Limit } from './budget.js'

/**
 * The classes of errors: what a program decides by.
 *
 * - `refused`: the vendor refused, or asks for something that must not be paid. `reason` is of the closed list.
 * - `budget`: the budget does not allow it. `limit` says which part. Nothing was released.
 * - `stalled`: the vendor left too much unserved and is paid no more for now. Nothing was released.
 * - `broker`: the broker refused (`reason`) or could not be asked.
 * - `lost`: the answer to a paid request did not come.
 * - `storage`: the wallet's storage failed, is damaged, or is of a newer version. Nothing was released.
 * - `passphrase`: it is missing or wrong.
 * - `account`: there is no account at a broker yet.
 * - `usage`: a wrong argument.
 */
export type ErrorKind = 'refused' | 'budget' | 'stalled' | 'broker' | 'lost' | 'storage' | 'passphrase' | 'account' | 'usage'

/** Every error of this library. `message` is one sentence for people, and holds no secret. */
export class PaywordError extends Error {
  override readonly name: string = 'PaywordError'
  readonly kind: ErrorKind

  constructor(kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options)
    this.kind = kind
  }
}

/** The request was not granted. Whatever was released stays as credit with the vendor. */
export class RefusedError extends PaywordError {
  override readonly name = 'RefusedError'
  /** A word of docs/protocol.md, section 11. */
  readonly reason: string
  /** That was asked. */
  readonly origin: string
  /** That was asked for, in micros; undefined if it is not known. */
  readonly price: Micros | undefined
  readonly currency: Currency | undefined
  /** Of the answer; 0 if the wallet refused. */
  readonly status: number

  constructor(fields: { reason: string, origin: string, detail: string, price?: Micros | undefined, currency?: Currency | undefined, status?: number }) {
    super('refused', `paying ${fields.origin}: refused: ${fields.reason}: ${fields.detail}`)
    this.reason = fields.reason
    this.origin = fields.origin
    this.price = fields.price
    this.currency = fields.currency
    this.status = fields.status ?? 0
  }
}

/** A request costs more than the budget allows. Nothing was released for it. */
export class BudgetError extends PaywordError {
  override readonly name = 'BudgetError'
  readonly limit: Limit
  readonly vendor: string
  /** What would have had to be released, in micros. */
  readonly want: Micros
  /** What the limit still allows, in micros. */
  readonly left: Micros
  readonly currency: Currency

  constructor(fields: { limit: Limit, vendor: string, want: Micros, left: Micros, currency: Currency }) {
    super('budget', `paying ${fields.vendor}: over the budget ${fields.limit}: it takes ${fields.want} micros of ${fields.currency}, ${fields.left} are left`)
    this.limit = fields.limit
    this.vendor = fields.vendor
    this.want = fields.want
    this.left = fields.left
    this.currency = fields.currency
  }
}

/** A vendor did not serve what it was paid for of late, and is paid no more for the time being. */
export class StalledError extends PaywordError {
  override readonly name = 'StalledError'
  readonly vendor: string
  /** Paid and not served, in micros. */
  readonly unserved: Micros
  /** When a request is paid for again, seconds since 1970. */
  readonly retry: number

  constructor(fields: { vendor: string, unserved: Micros, retry: number }) {
    super('stalled', `paying ${fields.vendor}: it does not serve what it is paid for: ${fields.unserved} micros were paid for nothing`)
    this.vendor = fields.vendor
    this.unserved = fields.unserved
    this.retry = fields.retry
  }
}

/** The broker refused something (`reason` is set), or could not be asked. */
export class BrokerError extends PaywordError {
  override readonly name = 'BrokerError'
  readonly broker: string
  /** A word of docs/protocol.md, section 11; undefined if the broker could not be asked. */
  readonly reason: string | undefined
  /** Of the answer; 0 if there was none. */
  readonly status: number

  constructor(fields: { broker: string, action: string, reason?: string | undefined, status?: number, detail?: string, cause?: unknown }) {
    const said = fields.reason !== undefined ? `: refused: ${fields.reason}` : fields.status ? `: answer ${fields.status}` : ''
    super('broker', `broker ${fields.broker}: ${fields.action}${said}${fields.detail ? `: ${fields.detail}` : ''}`, { cause: fields.cause })
    this.broker = fields.broker
    this.reason = fields.reason
    this.status = fields.status ?? 0
  }
}
