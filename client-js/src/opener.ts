import type { Account } from './account.js'
import type { Micros } from './amount.js'
import { commitmentsOf, type Books, type Tips } from './books.js'
import { isToken, isUnavailable, readAccount, wrongAnswer, type BrokerClient } from './broker.js'
import { Chain } from './chain.js'
import { signCommitment, unverifiedCommitment, type Commitment } from './commitment.js'
import type { CommitmentRecord, HeldCertificate, WalletDocument } from './document.js'
import { toBase64url } from './encoding.js'
import { BrokerError, BudgetError, PaywordError, RefusedError, StalledError } from './errors.js'
import { nonceBytes } from './limits.js'
import {
  beginOpening, commitmentSeconds, endOpening, isFresh, isGood, isHalfOver, keepOpened, keepOpening, knownTo, maxOpenedLength,
  giveSpare, readHeld, takeSpare, unitsFor, dropOldSpares, type OpeningTerms, type Place,
} from './opening.js'
import { retire } from './payment.js'
import { mismatchOf, unverifiedReservation, type Reservation } from './reservation.js'
import type { Secret } from './secret.js'
import { maxCertificatesPerRequest, renewCertificates, requestCertificates, spareCount, type Asking } from './spares.js'
import { least, most } from './sums.js'

/** How long one opening may take, with every question to the broker, or with waiting for another tab that does it. */
const openingMilliseconds = 60_000
/** How often a wallet that opens says that it still does. */
const beatMilliseconds = 1_000
/** How long a wallet that waits for another tab looks away, if no notice comes. */
const lookMilliseconds = 250
/** How often a smaller amount is tried where a limit of the account is in the way: what is left of it the broker alone knows. */
const maxReserveTries = 6
/** How long `rest` waits for spares that are being renewed. */
const restMilliseconds = 5_000

/** What an opener works with: the wallet that it belongs to. */
interface Fields {
  secret: Secret
  client: BrokerClient
  tips: Tips
  read: () => Promise<WalletDocument>
  change: <T>(change: (books: Books) => T) => Promise<T>
  /** Seconds since 1970. */
  now: () => number
  changed: (listener: () => void) => () => void
}

/** Opens commitments, and keeps the certificates that that takes. */
export class Opener {
  readonly #wallet: Fields
  /** Who opens, in the claims of `beginOpening`: this wallet of this tab. */
  readonly #id = toBase64url(crypto.getRandomValues(new Uint8Array(9)))
  readonly #openings = new Map<string, Promise<boolean>>()
  #tending: Promise<void> | undefined

  constructor(fields: Fields) {
    this.#wallet = fields
  }

  /**
   * Opens a commitment to a vendor unless one is open. One opening at a time is
   * under way for a vendor, in whichever tab or process, and serves all who wait.
   * Resolves with whether it made one for these terms; if not, look what is open.
   */
  async ensure(vendor: string, terms: OpeningTerms): Promise<boolean> {
    const others = this.#openings.get(vendor)
    if (others) {
      await others.catch((error: unknown) => {
        // What is too much for the budget of one may be little to another.
        if (!(error instanceof BudgetError || error instanceof StalledError || error instanceof RefusedError)) throw error
      })
      return false
    }
    const own = this.#open(terms).finally(() => this.#openings.delete(vendor))
    this.#openings.set(vendor, own)
    return own
  }

  /** Waits until what it does in the background is done, but not for long. */
  async rest(): Promise<void> {
    if (!this.#tending) return
    await Promise.race([this.#tending, pause(restMilliseconds)])
  }

  /** Asks the broker for the account. */
  async balance(): Promise<Account> {
    const { broker } = await this.#asking()
    const action = 'asking for the balance'
    const account = readAccount(await this.#wallet.client.ask(broker, { action, method: 'GET', path: '/v1/account' }), broker, action)
    if ((await this.#wallet.read()).account !== account.account) {
      await this.#wallet.change(({ document }) => { document.account = account.account }) // of a wallet that joined
    }
    return account
  }

  async #open(terms: OpeningTerms): Promise<boolean> {
    const { vendor } = terms.offer
    const end = performance.now() + openingMilliseconds
    for (let isAgain = false; ;) {
      const place = await this.#wallet.change(books => beginOpening(books, terms, this.#id))
      if (place.kind === 'open') return false
      if (place.kind === 'wait') {
        if (performance.now() > end) throw new PaywordError('storage', `another tab or program takes long to open a commitment to ${vendor}`)
        await this.#notice()
        continue
      }
      const beat = setInterval(() => {
        this.#wallet.change(books => keepOpening(books, vendor, this.#id)).catch(() => clearInterval(beat))
      }, beatMilliseconds)
      try {
        await this.#openOnce(terms, place)
        this.#tend()
        return true
      } catch (error) {
        const isRevoked = error instanceof BrokerError && error.reason === 'certificate-revoked'
        await this.#wallet.change(books => this.#give(books, vendor, isRevoked)).catch(() => undefined) // the claim ends by itself
        if (!isRevoked || isAgain) throw error
        isAgain = true
      } finally {
        clearInterval(beat)
      }
    }
  }

  /** Gives up an opening that failed, and the certificate if the broker has revoked it. */
  #give(books: Books, origin: string, isRevoked: boolean): void {
    endOpening(books.document, origin, this.#id)
    const vendor = books.document.vendors[origin]
    if (!vendor || !isRevoked) return
    vendor.key = 0
    vendor.certificate = ''
    books.document.spares = [] // the owner may have revoked them all
    retire(books, vendor)
  }

  async #openOnce({ offer }: OpeningTerms, place: Exclude<Place, { kind: 'open' } | { kind: 'wait' }>): Promise<void> {
    const { change } = this.#wallet
    let token: string
    if (place.kind === 'reserve') token = place.token
    else {
      const held = await this.#certificateFor(offer.vendor)
      const commitment = await this.#make(offer, held, place.limit).catch(async (error: unknown) => {
        await change(books => giveSpare(books, offer.vendor, held))
        throw error
      })
      const isKept = await change(books => {
        if (keepOpened(books, offer.vendor, structuredClone(commitment), held, this.#id)) return true
        endOpening(books.document, offer.vendor, this.#id)
        return false
      })
      if (!isKept) return
      token = commitment.token
    }
    const { limit } = unverifiedCommitment(token)
    let reserved: { reservation: string, amount: Micros }
    try {
      reserved = await this.#reserve(token, limit, offer.price)
    } catch (error) {
      if (!isUnavailable(error) || !offer.unreserved) throw error
      reserved = { reservation: '', amount: limit }
    }
    await change(({ document }) => {
      endOpening(document, offer.vendor, this.#id)
      const vendor = document.vendors[offer.vendor]
      const commitment = vendor && commitmentsOf(vendor).find(one => one.token === token)
      if (!commitment || commitment.reservation) return
      commitment.cap = String(reserved.amount)
      if (reserved.reservation === '') commitment.unreserved = true
      else commitment.reservation = reserved.reservation
    })
  }

  /** Waits for a change of the wallet, but not for long: other processes give no notice. */
  async #notice(): Promise<void> {
    await new Promise<void>(resolve => {
      const timer = setTimeout(done, lookMilliseconds)
      const end = this.#wallet.changed(done)
      function done(): void {
        clearTimeout(timer)
        end()
        resolve()
      }
    })
  }

  async #asking(): Promise<Asking> {
    const { broker, currency } = await this.#wallet.read()
    if (!broker || !currency) throw new PaywordError('account', 'the wallet has no account at a broker: open one first')
    return { broker, currency, client: this.#wallet.client, secret: this.#wallet.secret }
  }

  /**
   * The certificate that the vendor knows the wallet by, renewed if it is about to
   * expire, or a spare one, or a new one from the broker. A pseudonym that the
   * broker renews no more is replaced. While the broker is away, what is good for
   * some minutes will do.
   */
  async #certificateFor(vendor: string): Promise<HeldCertificate> {
    const { change, now } = this.#wallet
    const asking = await this.#asking()
    let known = knownTo(await this.#wallet.read(), vendor)
    if (known && !isFresh(known, now())) {
      try {
        return (await renewCertificates(asking, [known]))[0]!
      } catch (error) {
        if (!(error instanceof BrokerError) || error.reason !== undefined) known = undefined
      }
    }
    if (known && isGood(known, now())) return known
    for (let attempt = 0; attempt < 2; attempt++) {
      const spare = await change(takeSpare)
      if (spare) return spare
      await this.#fetchSpares(asking)
    }
    throw wrongAnswer(asking.broker, 'asking for certificates', 'those it gives expire at once')
  }

  async #fetchSpares(asking: Asking): Promise<void> {
    const { change } = this.#wallet
    const { first, missing, prefixes } = await change(books => {
      dropOldSpares(books)
      const { document } = books
      const first = document.nextKey
      const missing = spareCount - (document.spares?.length ?? 0)
      document.nextKey += Math.max(0, missing) // two who ask at once must not ask for the same keys
      return { first, missing, prefixes: document.prefixes ?? [] }
    })
    if (missing <= 0) return
    const spares = await requestCertificates(asking, first, missing, prefixes).catch(async (error: unknown) => {
      // Asked again for the same, the broker gives what it issued and nobody got.
      if (isUnavailable(error)) await change(({ document }) => { if (document.nextKey === first + missing) document.nextKey = first })
      throw error
    })
    await change(({ document }) => { document.spares = [...document.spares ?? [], ...spares] })
  }

  /** Makes and signs a commitment with fresh chains. */
  async #make(offer: OpeningTerms['offer'], held: HeldCertificate, wanted: Micros): Promise<CommitmentRecord> {
    const certificate = readHeld(held)
    if (!certificate) throw new PaywordError('storage', 'the wallet is damaged: a certificate in it cannot be read')
    if (offer.price > certificate.limit) {
      throw new RefusedError({
        origin: offer.origin, reason: 'over-certificate-limit', price: offer.price, currency: offer.currency,
        detail: `the broker's certificate allows ${certificate.limit} micros for one vendor`,
      })
    }
    const limit = least(wanted, certificate.limit)
    const now = this.#wallet.now()
    const nonce = toBase64url(crypto.getRandomValues(new Uint8Array(nonceBytes)))
    const shapes = unitsFor(offer.price, limit).map(unit => ({ unit, length: Number(least(limit / unit, maxOpenedLength)) }))
    const { vendor } = offer
    const tips = await this.#wallet.secret.tips({ vendor, nonce, chains: shapes })
    const made: Chain[] = []
    for (const [k, { length }] of shapes.entries()) made.push(await Chain.prepareInSlices(tips[k]!, length))
    const terms = await signCommitment({
      vendor, certificate, issuedAt: now, expires: Math.min(now + commitmentSeconds, certificate.expires), nonce,
      currency: certificate.currency, limit, chains: shapes.map((shape, k) => ({ ...shape, root: toBase64url(made[k]!.root) })),
    }, await this.#wallet.secret.certificate(held.key))
    this.#wallet.tips.set(terms.token, tips)
    return {
      token: terms.token, key: held.key, cap: String(limit), released: shapes.map(() => 0), surplus: shapes.map(() => '0'),
      proved: shapes.map(() => 0), agreed: '0', nextNumber: 1, maxStep: offer.maxStep, traversals: made.map(chain => chain.save()),
    }
  }

  /**
   * Asks that the amount be set aside for a commitment. If the balance is smaller,
   * it reserves what there is, if that is at least `floor`; if a limit of the
   * account is, a half, a quarter and so on. Amounts are micros.
   */
  async #reserve(token: string, wanted: Micros, price: Micros): Promise<{ reservation: string, amount: Micros }> {
    const floor = most(1n, price)
    let amount = wanted
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#askReservation(token, amount)
      } catch (error) {
        if (!(error instanceof BrokerError) || attempt > maxReserveTries || amount <= floor) throw error
        if (error.reason === 'insufficient-funds') {
          const { available } = await this.balance().catch(() => { throw error })
          if (available >= amount) throw error
          amount = most(floor, available) // with too little left, a part may be reserved already
        } else if (error.reason === 'over-account-limit') {
          amount = attempt === maxReserveTries ? floor : most(floor, amount / 2n)
        } else throw error
      }
    }
  }

  async #askReservation(commitment: string, amount: Micros): Promise<{ reservation: string, amount: Micros }> {
    const { broker, client } = await this.#asking()
    const action = 'reserving'
    const answer = await client.ask(broker, { action, method: 'POST', path: '/v1/reservations', body: { commitment, amount: String(amount) } })
    const { reservation } = (answer ?? {}) as { reservation?: unknown }
    if (!isToken(reservation)) throw wrongAnswer(broker, action, 'the reservation has no form that fits a header')
    return { reservation, amount: reservedFor(unverifiedCommitment(commitment), reservation, detail => wrongAnswer(broker, action, detail)) }
  }

  /**
   * Renews the spares of which half of the life is over, so that there are some
   * for when the broker is away. It is called when the broker has just answered;
   * if it does not any more, the spares are good as they are.
   */
  #tend(): void {
    this.#tending ??= this.#renewSpares().catch(() => undefined).finally(() => { this.#tending = undefined })
  }

  async #renewSpares(): Promise<void> {
    const { read, change, now } = this.#wallet
    const aged = ((await read()).spares ?? []).filter(held => isHalfOver(held, now())).slice(0, maxCertificatesPerRequest)
    if (aged.length === 0) return
    const renewed = await renewCertificates(await this.#asking(), aged)
    await change(({ document }) => {
      // Unless a vendor was given it meanwhile.
      document.spares = (document.spares ?? []).map(held => {
        const at = aged.findIndex(one => one.key === held.key && one.certificate === held.certificate)
        return renewed[at] ?? held
      })
    })
  }
}

/** The amount of a reservation, in micros, which must fit its commitment: what was reserved before may be more or less than is asked for. */
function reservedFor(commitment: Commitment, token: string, wrong: (detail: string) => Error): Micros {
  let reservation: Reservation
  try {
    reservation = unverifiedReservation(token)
  } catch (error) {
    throw wrong((error as Error).message)
  }
  const mismatch = mismatchOf(reservation, commitment)
  if (mismatch !== undefined) throw wrong(mismatch)
  return reservation.amount
}

function pause(milliseconds: number): Promise<void> {
  return new Promise(resolve => {
    const timer: unknown = setTimeout(resolve, milliseconds)
    // A program that has ended otherwise need not stay for it.
    if (typeof timer === 'object' && timer !== null && 'unref' in timer) (timer as { unref: () => void }).unref()
  })
}

