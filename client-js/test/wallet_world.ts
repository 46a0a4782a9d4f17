import assert from 'node:assert/strict'
import type { Budget } from '../src/budget.js'
import { unverifiedCommitment, type Commitment } from '../src/commitment.js'
import type { WalletDocument } from '../src/document.js'
import { MemoryStorage, Wallet } from '../src/index.js'
import type { Mended, Offer, Payer, Status, Ticket } from '../src/payer.js'
import type { Storage, StoredSecret } from '../src/storage.js'
import { FakeBroker } from './broker_fake.js'
import { noLimits } from './paying.js'
import { FakeVendor } from './vendor_fake.js'

/** Everything that left a wallet: what a vendor could claim of it at most. */
export class Leak {
  readonly #commitments = new Map<string, { terms: Commitment, cap: bigint, indices: number[] }>()
  readonly #numbers = new Map<string, string>()

  /** Notes a ticket that was given out, and checks that no number is given to two requests. */
  note(ticket: Ticket, fingerprint: string): void {
    const { commitmentId: id, chain, index, number } = ticket.payment
    let known = this.#commitments.get(id)
    if (!known) {
      assert.ok(ticket.commitment, 'the first ticket of a commitment brings it along')
      const terms = unverifiedCommitment(ticket.commitment)
      known = { terms, cap: terms.limit, indices: terms.chains.map(() => 0) }
      this.#commitments.set(id, known)
    }
    const before = this.#numbers.get(`${id} ${number}`)
    assert.ok(before === undefined || before === fingerprint, `number ${number} is given to two requests`)
    this.#numbers.set(`${id} ${number}`, fingerprint)
    if (ticket.released > 0n && !ticket.isRepeat && before === undefined) {
      assert.ok(index > known.indices[chain]!, `index ${index} is released twice`)
    }
    for (const payment of [ticket.payment, ...ticket.steps ?? []]) {
      known.indices[payment.chain] = Math.max(known.indices[payment.chain]!, payment.index)
    }
  }

  /** Released in truth, in micros: to one vendor, or to all. */
  released(vendor?: string): bigint {
    const all = [...this.#commitments.values()].filter(({ terms }) => vendor === undefined || terms.vendor === vendor)
    return all.reduce((sum, { terms, cap, indices }) => {
      const value = terms.chains.reduce((worth, { unit }, k) => worth + unit * BigInt(indices[k]!), 0n)
      return sum + (value < cap ? value : cap)
    }, 0n)
  }
}

/** A storage that fails at a chosen write: before it, or after it is durable. */
export class FaultyStorage implements Storage {
  readonly inner: Storage
  /** The write that fails, counted from 1; 0: none. */
  failAt = 0
  /** Whether it was done nevertheless. */
  isDone = false
  writes = 0

  constructor(inner: Storage) {
    this.inner = inner
  }

  create(secret: StoredSecret, document: WalletDocument): Promise<void> { return this.inner.create(secret, document) }
  load(): Promise<{ secret: StoredSecret, document: WalletDocument } | undefined> { return this.inner.load() }
  remove(): Promise<void> { return this.inner.remove() }
  async close(): Promise<void> {}

  async update<T>(change: (document: WalletDocument) => T): Promise<T> {
    const isFaulty = ++this.writes === this.failAt
    if (isFaulty && !this.isDone) throw new Error('the disk is full')
    const result = await this.inner.update(change)
    if (isFaulty) throw new Error('the disk went away')
    return result
  }
}

/** A wallet with an account at a fake broker, a vendor, and a clock. */
export interface World {
  clock: { seconds: number }
  broker: FakeBroker
  vendor: FakeVendor
  storage: Storage
  wallet: Wallet
  leak: Leak
  /** Opens the wallet again, as another tab does. */
  another: () => Promise<Wallet>
  document: () => Promise<WalletDocument>
}

export async function newWorld(options: { storage?: Storage, deposit?: bigint } = {}): Promise<World> {
  const clock = { seconds: 1_790_000_000 }
  const now = () => clock.seconds
  const broker = await FakeBroker.start(now)
  const storage = options.storage ?? new MemoryStorage()
  const walletOptions = { storage, fetch: broker.fetch, now: () => clock.seconds * 1000, ...options.deposit ? { deposit: options.deposit } : {} }
  const wallet = await Wallet.create(walletOptions)
  await wallet.openAccount(broker.origin)
  const vendor = new FakeVendor('https://news.example', broker.brokers, now)
  return {
    clock, broker, vendor, storage, wallet, leak: new Leak(),
    another: async () => (await Wallet.open(walletOptions))!,
    document: async () => (await storage.load())!.document,
  }
}

export function offerOf(vendor: FakeVendor, price = vendor.price): Offer {
  return { origin: vendor.origin, vendor: vendor.origin, price, currency: 'usd-micro', maxStep: vendor.maxStep, unreserved: false }
}

/** How one request ended. */
export interface Outcome {
  isGranted: boolean
  /** Released for it, by the tickets as they were given out, in micros. */
  released: bigint
  last: Status | undefined
}

/** Pays for one page as a careful client does, and tells what left the wallet for it. */
export async function payFor(
  world: World, request: string, settings: { payer?: Payer, vendor?: FakeVendor, budget?: Budget, isLost?: (attempt: number) => boolean } = {},
): Promise<Outcome> {
  const { payer = world.wallet, vendor = world.vendor, budget = noLimits, isLost = () => false } = settings
  let { price } = vendor
  let forfeited: bigint | undefined
  let released = 0n
  let last: Status | undefined
  for (let attempt = 0; attempt < 3; attempt++) {
    const terms = { budget, fingerprint: request, ...forfeited === undefined ? {} : { forfeited } }
    const ticket = await payer.take(offerOf(vendor, price), terms)
    world.leak.note(ticket, request)
    released += ticket.released
    last = await vendor.serve(ticket, request)
    if (isLost(attempt)) {
      await payer.lose(ticket, true)
      continue
    }
    if (last.reason === 'accepted') {
      await payer.settle(ticket, { url: `${vendor.origin}/${request}`, amount: last.price, status: last, isWhole: true })
      return { isGranted: true, released, last }
    }
    const mended: Mended = await payer.refused(ticket, last)
    forfeited = (forfeited ?? 0n) + mended.forfeited
    if (!mended.shouldRetry) break
    if (last.reason === 'price-over-max') price = last.price
  }
  return { isGranted: false, released, last }
}
