import { parseCommitment, type Commitment } from '../src/commitment.js'
import { fromBase64url, toBase64url } from '../src/encoding.js'
import { tailHash } from '../src/chain.js'
import { judge } from '../src/judge.js'
import type { Brokers } from '../src/keys.js'
import type { Payment, Status, Ticket } from '../src/payer.js'
import { Refusal, type Reason } from '../src/reason.js'
import { unverifiedReservation } from '../src/reservation.js'
import { State } from './gate/state.js'

/**
 * A vendor that is paid with tickets as they are given out, without HTTP: it
 * judges and charges by the protocol's rules, and `lie` changes what it says.
 */
export class FakeVendor {
  readonly origin: string
  price = 1000n
  maxStep = 4096
  /** Changes what it says, of whatever it decided. */
  lie: (status: Status, ticket: Ticket) => Status = status => status
  /** Refuses everything with this, and charges nothing. */
  refuseAll: Reason | undefined
  /** Of all commitments, in micros. */
  readonly states = new Map<string, { commitment: Commitment, state: State }>()
  readonly #brokers: Brokers
  readonly #now: () => number

  /** `now` is in seconds since 1970. */
  constructor(origin: string, brokers: Brokers, now: () => number) {
    this.origin = origin
    this.#brokers = brokers
    this.#now = now
  }

  get spent(): bigint {
    return [...this.states.values()].reduce((sum, { state }) => sum + state.spent, 0n)
  }

  get accepted(): bigint {
    return [...this.states.values()].reduce((sum, { state }) => sum + state.accepted, 0n)
  }

  /** Answers a request that presents a ticket. */
  async serve(ticket: Ticket, request: string): Promise<Status> {
    for (const step of ticket.steps ?? []) await this.#judge({ ...ticket, payment: step }, '', 0n)
    return this.lie(await this.#judge(ticket, request, this.price), ticket)
  }

  async #judge(ticket: Ticket, request: string, price: bigint): Promise<Status> {
    const { payment } = ticket
    const known = this.states.get(payment.commitmentId) ?? await this.#open(ticket)
    if (!known) return { reason: 'unknown-commitment', price }
    const { commitment, state } = known
    if (this.refuseAll) return { reason: this.refuseAll, price, number: payment.number }
    const verdict = judge(commitment, state.tails[payment.chain]!, payment, { price, now: this.#now(), maxStep: this.maxStep })
    if (!verdict.tail) return { reason: verdict.reason, price, number: payment.number }
    const isOverMax = verdict.reason === 'price-over-max'
    const { reason } = state.charge({ chain: payment.chain, tail: verdict.tail, number: payment.number, request, price, now: this.#now(), isOverMax })
    return statusOf(state, payment, reason, price)
  }

  async #open(ticket: Ticket): Promise<{ commitment: Commitment, state: State } | undefined> {
    if (!ticket.commitment || !ticket.reservation) return undefined
    const commitment = await parseCommitment(ticket.commitment, this.#brokers)
    if (commitment instanceof Refusal) throw new Error(`the wallet opens with what is refused: ${commitment.reason}`)
    if (commitment.vendor !== this.origin) throw new Error('the wallet pays with the commitment to another vendor')
    const meanwhile = this.states.get(commitment.id)
    if (meanwhile) return meanwhile
    const opened = { commitment, state: new State(commitment, unverifiedReservation(ticket.reservation).amount) }
    this.states.set(commitment.id, opened)
    return opened
  }
}

/** What a vendor says of a commitment. */
function statusOf(state: State, payment: Payment, reason: Reason, price: bigint): Status {
  const { index, payword } = state.tails[payment.chain]!
  const tail = toBase64url(tailHash(fromBase64url(payword)))
  return { reason, price, number: payment.number, known: { accepted: state.accepted, spent: state.spent, chain: payment.chain, index, tailHash: tail } }
}
