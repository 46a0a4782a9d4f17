import type { Micros } from '../src/amount.js'
import type { Limit } from '../src/budget.js'
import { toBase64url } from '../src/encoding.js'
import { BudgetError } from '../src/errors.js'
import type { Grant, Mended, Offer, Payer, Receipt, Status, Terms, Ticket } from '../src/payer.js'

/** What a fake payer knows of one vendor. One step of its only chain is worth one micro. */
interface Account {
  commitmentId: string
  released: Micros
  surplus: Micros
  nextNumber: number
  isConfirmed: boolean
  lost: Map<string, Ticket>
}

/**
 * A payer in memory that keeps to the budget and to the contract of Payer, without
 * any cryptography: for tests of who calls it. It writes down every call.
 */
export class FakePayer implements Payer {
  readonly broker = 'https://broker.example'
  readonly calls: string[] = []
  readonly #accounts = new Map<string, Account>()
  readonly #fingerprints = new Map<string, string>()
  /** Of tickets whose request is over. */
  readonly #ended = new Set<string>()
  /** Limit of a commitment, in micros. */
  cap: Micros = 500_000n
  hasAccount = true
  /** Whether each ticket is of a commitment of its own. */
  isRestless = false

  /** Released to a vendor, or to all, in micros. */
  released(vendor?: string): Micros {
    return [...this.#accounts].reduce((sum, [name, { released }]) => vendor === undefined || name === vendor ? sum + released : sum, 0n)
  }

  /** What was released and no request agreed to, in micros. */
  credit(): Micros {
    return [...this.#accounts.values()].reduce((sum, { surplus }) => sum + surplus, 0n)
  }

  /** How often a method was called. */
  count(method: string): number {
    return this.calls.filter(call => call === method).length
  }

  async account(): Promise<{ broker: string, currency: string } | undefined> {
    return this.hasAccount ? { broker: this.broker, currency: 'usd-micro' } : undefined
  }

  async take(offer: Offer, { budget, forfeited = 0n, fingerprint }: Terms): Promise<Ticket> {
    this.calls.push('take')
    const account = this.#accountOf(offer.vendor)
    const again = account.lost.get(fingerprint)
    if (again !== undefined) {
      account.lost.delete(fingerprint)
      return { ...again, isRepeat: true, released: 0n }
    }
    const over = (limit: Limit, left: Micros): never => {
      throw new BudgetError({ limit, vendor: offer.vendor, want: offer.price, left, currency: offer.currency })
    }
    if (this.isRestless) Object.assign(account, { commitmentId: randomText(16), surplus: 0n, isConfirmed: false })
    const release = offer.price > account.surplus ? offer.price - account.surplus : 0n
    if (offer.price + forfeited > budget.perRequest) over('perRequest', budget.perRequest - forfeited)
    if (account.released + release > budget.perSite) over('perSite', budget.perSite - account.released)
    if (this.released() + release > budget.perDay) over('perDay', budget.perDay - this.released())
    if (this.released() + release > budget.total) over('total', budget.total - this.released())
    account.released += release
    account.surplus += release - offer.price
    const ticket: Ticket = {
      id: crypto.randomUUID(), vendor: offer.vendor, released: release, isRepeat: false,
      payment: {
        commitmentId: account.commitmentId, chain: 0, index: Number(account.released), payword: randomText(32),
        number: account.nextNumber++, max: offer.price,
      },
      ...(!account.isConfirmed && { commitment: 'a.commitment.token', reservation: 'a.reservation.token' }),
    }
    this.#fingerprints.set(ticket.id, fingerprint)
    return ticket
  }

  async settle(ticket: Ticket, grant: Grant): Promise<Receipt> {
    this.calls.push('settle')
    const account = this.#accountOf(ticket.vendor)
    if (grant.isWhole) this.#ended.add(ticket.id)
    account.surplus += ticket.payment.max - grant.amount
    if (grant.status?.known !== undefined) account.isConfirmed = true
    return { time: 0, url: grant.url, vendor: ticket.vendor, amount: grant.amount, currency: 'usd-micro' }
  }

  async refused(ticket: Ticket, status: Status): Promise<Mended> {
    this.calls.push('refused')
    const account = this.#accountOf(ticket.vendor)
    account.surplus += ticket.payment.max
    if (status.reason === 'price-over-max') return { shouldRetry: true, forfeited: 0n }
    if (status.reason === 'unknown-commitment') {
      account.isConfirmed = false
      return { shouldRetry: ticket.commitment === undefined, forfeited: 0n }
    }
    if (status.reason === 'already-used') return { shouldRetry: true, forfeited: 0n }
    if (status.reason !== 'insufficient-credit' || status.known === undefined) return { shouldRetry: false, forfeited: 0n }
    const { accepted, spent } = status.known
    const credit = accepted - spent
    if (accepted > account.released || credit >= ticket.payment.max) return { shouldRetry: false, forfeited: 0n }
    const gone = account.surplus > credit ? account.surplus - credit : 0n
    account.surplus -= gone
    return { shouldRetry: true, forfeited: gone }
  }

  async delivered(ticket: Ticket): Promise<void> {
    this.calls.push('delivered')
    this.#ended.add(ticket.id)
  }

  async lose(ticket: Ticket, isRepeatable: boolean): Promise<void> {
    this.calls.push(isRepeatable ? 'lose repeatable' : 'lose')
    const fingerprint = this.#fingerprints.get(ticket.id)
    if (isRepeatable && fingerprint !== undefined) this.#accountOf(ticket.vendor).lost.set(fingerprint, ticket)
  }

  async takeBack(ticket: Ticket): Promise<void> {
    this.calls.push('takeBack')
    this.#accountOf(ticket.vendor).surplus += ticket.payment.max
  }

  async giveBack(ticket: Ticket, rest: Micros, url: string): Promise<Receipt> {
    this.calls.push('giveBack')
    if (this.#ended.has(ticket.id)) rest = 0n
    this.#accountOf(ticket.vendor).surplus += rest
    return { time: 0, url, vendor: ticket.vendor, amount: 0n, currency: 'usd-micro', returned: rest }
  }

  #accountOf(vendor: string): Account {
    const found = this.#accounts.get(vendor)
    if (found !== undefined) return found
    const account: Account = {
      commitmentId: randomText(16), released: 0n, surplus: 0n, nextNumber: 1, isConfirmed: false, lost: new Map(),
    }
    this.#accounts.set(vendor, account)
    return account
  }
}

function randomText(size: number): string {
  return toBase64url(crypto.getRandomValues(new Uint8Array(size)))
}
