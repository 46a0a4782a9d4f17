import type { Account } from './account.js'
import { maxMicros, parseAmount, type Currency, type Micros } from './amount.js'
import { TipsNeeded, type Books, type Tips } from './books.js'
import { BrokerClient, isUnavailable, readAccount, wrongAnswer, type Question } from './broker.js'
import { checkBudget } from './budget.js'
import type { WalletDocument } from './document.js'
import { formatWalletFile, parseWalletFile, withoutMoment } from './document_file.js'
import { toBase64url } from './encoding.js'
import { BrokerError, PaywordError, RefusedError } from './errors.js'
import { thumbprint } from './keys.js'
import { maxChainLength, seedBytes } from './limits.js'
import { refused } from './mend.js'
import { newDocument, defaultDeposit, knownTo } from './opening.js'
import { Opener } from './opener.js'
import { checkOrigin, isOrigin } from './origin.js'
import type { Grant, Mended, Offer, Payer, Receipt, Status, Terms, Ticket } from './payer.js'
import { delivered, findTicket, giveBack, lose, retire, settle, takeBack } from './payment.js'
import { catchUpDocument, restoredDocument } from './restoration.js'
import { Secret } from './secret.js'
import { formatSeed, parseSeed } from './seed.js'
import { unverifiedCertificate } from './certificate.js'
import { commitmentId, unverifiedCommitment } from './commitment.js'
import { Notices } from './notices.js'
import type { Storage, StoredSecret } from './storage.js'
import { summaryOf, type Summary } from './summary.js'
import { takeOnce } from './taking.js'

/** Where a wallet lives and how it works. */
export interface WalletOptions {
  storage: Storage
  /** Asks the broker; the platform's unless set. */
  fetch?: typeof fetch
  /** Milliseconds since 1970; `Date.now` unless set. */
  now?: () => number
  /** Limit of a commitment that has to be opened, in micros, where a payment does not say; 0.50 unless set. */
  deposit?: Micros
}

/** How a wallet's seed is kept. */
export interface SecretOptions {
  /** Seals the seed. Without one there is no backup from a browser, where the seed cannot be read out. */
  passphrase?: string
  /** Logarithm of scrypt's cost, 1 to 20: about a second and 256 MB at 18, which it is unless set. Lower for tests alone. */
  workFactor?: number
}

/** How many commitments a request opens to be debited from, if others use them up first. */
const maxOpenings = 3
/** How many that others opened it tries: the parts of a page may share small ones. */
const maxTries = 64
/** How often a change asks for the tips of a commitment: those of the open one and of one that was opened meanwhile. */
const maxTipTries = 8
/** Bounds the commitments whose tips are kept in memory; when it is full it begins anew. */
const maxTips = 256
/** How many keys are derived at the same time. */
const keysAtOnce = 64
/** Bounds what tells a request from others, in characters. */
const maxFingerprint = 200

/**
 * A wallet. Any number of tabs, workers and processes may have the same one open
 * by its storage; docs/decisions/54-one-wallet-many-tabs.md says why that is safe.
 *
 * Its secret is one seed: the account's key, every certificate's key and every
 * chain are derived from it, as the Go client derives them.
 */
export class Wallet implements Payer {
  readonly #options: WalletOptions
  readonly #secret: Secret
  readonly #client: BrokerClient
  readonly #opener: Opener
  readonly #notices: Notices
  readonly #tips: Tips = new Map()
  #account: { broker: string, currency: Currency } | undefined
  #isClosed = false

  private constructor(options: WalletOptions, secret: Secret) {
    this.#options = options
    this.#secret = secret
    this.#client = clientOf(options, secret)
    this.#notices = new Notices(options.storage.channel)
    this.#opener = new Opener({
      secret, client: this.#client, tips: this.#tips,
      read: () => this.#document(), change: change => this.#change(change), now: () => this.#now(),
      changed: listener => this.#notices.listen(listener),
    })
  }

  /** Makes a wallet with a fresh seed. Rejects with a `storage` error if the storage holds one. */
  static async create(options: WalletOptions, secret: SecretOptions = {}): Promise<Wallet> {
    mustHaveStorage(options)
    const stored = await Secret.store(crypto.getRandomValues(new Uint8Array(seedBytes)), secret.passphrase, secret.workFactor)
    return make(options, stored, newDocument())
  }

  /**
   * Opens the wallet that the storage holds; undefined if it holds none. Rejects
   * with a `passphrase` error if its seed is sealed and the passphrase is missing
   * or wrong: only files are like that, since browsers hold a key beside.
   */
  static async open(options: WalletOptions, secret: { passphrase?: string } = {}): Promise<Wallet | undefined> {
    mustHaveStorage(options)
    const kept = await options.storage.load()
    return kept && new Wallet(options, await Secret.open(kept.secret, secret.passphrase))
  }

  /**
   * Makes the wallet that a file or a backup holds, of this library or of the Go
   * client, and asks the broker what it knows besides, if it can be asked. How
   * far each chain was paid after the backup the vendor tells and proves when it
   * is paid next. Rejects with a `passphrase` or a `storage` error.
   */
  static async restore(options: WalletOptions, fileText: string, secret: { passphrase?: string } = {}): Promise<Wallet> {
    await mustBeEmpty(options.storage)
    const file = parseWalletFile(fileText)
    const seed = await Secret.seed(file.secret, secret.passphrase)
    const stored = await Secret.store(seed)
    if (file.secret.sealed !== undefined) stored.sealed = file.secret.sealed
    const document = withoutMoment(file.document)
    const { broker } = document
    if (broker !== undefined) {
      const opened = await Secret.open(stored)
      const before = structuredClone(document)
      try {
        await catchUpDocument({ broker, client: clientOf(options, opened), secret: opened, now: secondsOf(options) }, document)
      } catch (error) {
        if (!(error instanceof BrokerError)) throw error
        return make(options, stored, before) // what the backup holds is enough to go on
      }
    }
    return make(options, stored, document)
  }

  /**
   * Makes a wallet from its seed, written as 14 groups of 4 letters and digits,
   * and from what the broker knows of its account. Rejects with a BrokerError or
   * a `usage` error, and then there is no wallet.
   */
  static async restoreSeed(options: WalletOptions, from: { seed: string, broker: string } & SecretOptions): Promise<Wallet> {
    await mustBeEmpty(options.storage)
    const broker = checkOrigin(from.broker)
    const stored = await Secret.store(parseSeed(from.seed), from.passphrase, from.workFactor)
    const secret = await Secret.open(stored)
    const document = await restoredDocument({ broker, client: clientOf(options, secret), secret, now: secondsOf(options) })
    return make(options, stored, document)
  }

  /** For the functions of this module: a wallet that was just made. */
  static made(options: WalletOptions, secret: Secret): Wallet {
    return new Wallet(options, secret)
  }

  /** Opens an account at a broker, or finds the one that the wallet has there. Rejects with a BrokerError. */
  async openAccount(broker: string): Promise<Account> {
    checkOrigin(broker)
    const known = await this.account()
    if (known && known.broker !== broker) throw anotherBroker(known.broker)
    const challenged = await this.#client.ask(broker, { action: 'asking for a challenge', method: 'POST', path: '/v1/challenges', isSigned: false })
    const { challenge } = (challenged ?? {}) as { challenge?: unknown }
    const action = 'opening an account'
    if (typeof challenge !== 'string' || challenge.length > 64) throw wrongAnswer(broker, action, 'it gave no challenge')
    const { publicKey } = await this.#secret.account()
    const body = { key: { crv: 'Ed25519', kty: 'OKP', x: publicKey }, challenge }
    const account = readAccount(await this.#client.ask(broker, { action, method: 'POST', path: '/v1/accounts', body }), broker, action)
    await this.#change(({ document }) => {
      if (document.broker !== undefined && document.broker !== broker) throw anotherBroker(document.broker) // another tab was faster
      Object.assign(document, { broker, account: account.account, currency: account.currency })
    })
    return account
  }

  /** Asks the broker for the account. Rejects with a BrokerError, or an `account` error without one. */
  async balance(): Promise<Account> {
    return this.#opener.balance()
  }

  /** Puts the worth of a voucher on the account. */
  async redeemVoucher(code: string): Promise<{ amount: Micros, account: Account }> {
    const { broker } = await this.#ownAccount()
    const action = 'redeeming a voucher'
    const answer = await this.#askTwice({ action, method: 'POST', path: '/v1/account/vouchers', body: { code } })
    const { amount, account } = (answer ?? {}) as { amount?: unknown, account?: unknown }
    try {
      return { amount: parseAmount(String(amount)), account: readAccount(account, broker, action) }
    } catch (error) {
      throw error instanceof BrokerError ? error : wrongAnswer(broker, action, 'it does not say what the voucher was worth')
    }
  }

  /**
   * Sends a signed request to the broker (docs/protocol.md, section 14) and
   * resolves with the JSON of its answer, undefined if that is empty. `path`
   * begins with a slash; `body` becomes JSON. Rejects with a BrokerError.
   */
  async ask(method: string, path: string, body?: unknown): Promise<unknown> {
    const { broker } = await this.#ownAccount()
    return this.#client.ask(broker, questionOf(method, path, body))
  }

  /** As `ask`, with the whole text of the answer, at most 64 MiB, which need not be JSON: the account's export is not. */
  async askText(method: string, path: string, body?: unknown): Promise<string> {
    const { broker } = await this.#ownAccount()
    return this.#client.askText(broker, { ...questionOf(method, path, body), isExport: true })
  }

  /**
   * The wallet as a file that the Go client and `restore` read. Its seed is
   * sealed if there is a passphrase. Rejects with a `passphrase` error where the
   * seed cannot be read out and is not sealed.
   */
  async backup(): Promise<string> {
    const { secret, document } = await this.#load()
    if (secret.seed === undefined && secret.sealed === undefined) await Secret.seed(secret)
    return formatWalletFile({ secret, document: withoutMoment(document) })
  }

  /**
   * The seed as people write it down: whoever has it has the account. Takes the
   * passphrase where the seed cannot be read without. Rejects with a `passphrase` error.
   */
  async seed(passphrase?: string): Promise<string> {
    return formatSeed(await Secret.seed((await this.#load()).secret, passphrase))
  }

  /** What the wallet holds and what it paid. */
  async summary(): Promise<Summary> {
    const { secret, document } = await this.#load()
    return summaryOf(document, this.#now(), secret.sealed !== undefined)
  }

  /**
   * What tells a commitment of this wallet from one that somebody made up: the
   * thumbprints of all keys that it ever derived for certificates, and how far
   * the chains of the commitments that it remembers were released, by their ids.
   */
  async signed(): Promise<{ keyIds: Set<string>, released: Map<string, readonly number[]> }> {
    const { nextKey, vendors } = await this.#document()
    const keyIds = new Set<string>()
    for (let first = 0; first < nextKey; first += keysAtOnce) {
      const numbers = Array.from({ length: Math.min(keysAtOnce, nextKey - first) }, (_, k) => first + k)
      for (const { publicKey } of await Promise.all(numbers.map(number => this.#secret.certificate(number)))) keyIds.add(thumbprint(publicKey))
    }
    const commitments = Object.values(vendors).flatMap(({ open, old }) => [...open ? [open] : [], ...old ?? []])
    return { keyIds, released: new Map(commitments.map(({ token, released }) => [commitmentId(token), released])) }
  }

  /** Has the broker revoke the certificates that these vendors know the wallet by; without any, all. Resolves with how many. */
  async revoke(vendors: string[] = []): Promise<number> {
    const { broker } = await this.#ownAccount()
    const document = await this.#document()
    const isAll = vendors.length === 0
    const subjects = vendors.map(origin => {
      const held = knownTo(document, origin)
      if (!held) throw new PaywordError('usage', `${origin} has no certificate of this wallet`)
      return unverifiedCertificate(held.certificate).subject
    })
    const body = isAll ? { all: true } : { subjects }
    const answer = await this.#client.ask(broker, { action: 'revoking certificates', method: 'POST', path: '/v1/revocations', body })
    await this.#change(books => {
      if (isAll) books.document.spares = []
      for (const origin of isAll ? Object.keys(books.document.vendors) : vendors) {
        const vendor = books.document.vendors[origin]
        if (!vendor) continue
        vendor.key = 0
        vendor.certificate = ''
        retire(books, vendor)
      }
    })
    const { revoked } = (answer ?? {}) as { revoked?: unknown }
    return typeof revoked === 'number' ? revoked : 0
  }

  /**
   * Calls a listener whenever the wallet has changed, in this tab or another
   * one. Returns what ends that.
   */
  changed(listener: () => void): () => void {
    return this.#notices.listen(listener)
  }

  /** Gives the storage free. Requests that are still under way get a `storage` error. */
  async close(): Promise<void> {
    await this.#opener.rest()
    this.#isClosed = true
    this.#notices.close()
    await this.#options.storage.close()
  }

  async account(): Promise<{ broker: string, currency: Currency } | undefined> {
    if (!this.#account) {
      const { broker, currency } = await this.#document()
      if (broker && currency) this.#account = { broker, currency }
    }
    return this.#account
  }

  async take(offer: Offer, terms: Terms): Promise<Ticket> {
    checkTake(offer, terms)
    const { currency } = await this.#ownAccount()
    const { origin, vendor, price } = offer
    const wrong = (reason: string, detail: string) => new RefusedError({ origin, reason, detail, price, currency: offer.currency })
    if (offer.currency !== currency) throw wrong('wrong-currency', `the account is in ${currency}`)
    for (let tries = 0, openings = 0; ; tries++) {
      const ticket = await this.#change(books => takeOnce(books, offer, terms))
      if (ticket) return ticket
      if (openings === maxOpenings || tries === maxTries) throw wrong('chain-exhausted', 'no commitment that can be opened covers the price')
      const deposit = terms.deposit ?? this.#options.deposit ?? defaultDeposit
      const isOwn = await this.#opener.ensure(vendor, { offer, budget: terms.budget, deposit, forfeited: terms.forfeited ?? 0n, fingerprint: terms.fingerprint })
      if (isOwn) openings++
    }
  }

  async settle(ticket: Ticket, grant: Grant): Promise<Receipt> {
    return this.#change(books => settle(books, ticket, grant))
  }

  async refused(ticket: Ticket, status: Status): Promise<Mended> {
    return this.#change(books => refused(books, ticket, status))
  }

  async delivered(ticket: Ticket, amount: Micros): Promise<void> {
    await this.#change(books => delivered(books, ticket, amount))
  }

  async lose(ticket: Ticket, isRepeatable: boolean): Promise<void> {
    await this.#change(books => {
      const held = findTicket(books.document, ticket)
      if (held && held.record.state !== 'lost') lose(books, held.commitment, held.record, isRepeatable)
    })
  }

  async takeBack(ticket: Ticket): Promise<void> {
    await this.#change(books => {
      const held = findTicket(books.document, ticket)
      if (held?.record.state !== 'sent') return
      // A repeat was sent before: it may have been charged, and can be asked for again.
      if (held.record.repeat || ticket.isRepeat) lose(books, held.commitment, held.record, true)
      else takeBack(books, held.commitment, held.record)
    })
  }

  async giveBack(ticket: Ticket, rest: Micros, url: string): Promise<Receipt> {
    return this.#change(books => giveBack(books, ticket, rest, url))
  }

  /** Seconds since 1970. */
  #now(): number {
    return secondsOf(this.#options)
  }

  async #ownAccount(): Promise<{ broker: string, currency: Currency }> {
    const account = await this.account()
    if (!account) throw new PaywordError('account', 'the wallet has no account at a broker: open one first')
    return account
  }

  async #load(): Promise<{ secret: StoredSecret, document: WalletDocument }> {
    this.#mustBeOpen()
    const kept = await this.#options.storage.load()
    if (!kept) throw new PaywordError('storage', 'the wallet is gone from its storage')
    return kept
  }

  async #document(): Promise<WalletDocument> {
    return (await this.#load()).document
  }

  #mustBeOpen(): void {
    if (this.#isClosed) throw new PaywordError('storage', 'the wallet is closed')
  }

  /**
   * Runs a change on the newest document and resolves when it is durable. The
   * tips that a change needs are derived first, for a change cannot wait.
   */
  async #change<T>(change: (books: Books) => T): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      this.#mustBeOpen()
      try {
        const result = await this.#options.storage.update(document => change({ document, now: this.#now(), tips: this.#tips }))
        this.#notices.tell()
        return result
      } catch (error) {
        if (!(error instanceof TipsNeeded) || attempt > maxTipTries) throw error
        if (this.#tips.size >= maxTips) this.#tips.clear()
        this.#tips.set(error.token, await this.#secret.tips(unverifiedCommitment(error.token)))
      }
    }
  }

  /** Asks what changes something, and once more under the same key if the broker could not be asked: it is done once. */
  async #askTwice(question: Question): Promise<unknown> {
    const { broker } = await this.#ownAccount()
    const keyed = { ...question, idempotencyKey: toBase64url(crypto.getRandomValues(new Uint8Array(16))) }
    try {
      return await this.#client.ask(broker, keyed)
    } catch (error) {
      if (!isUnavailable(error)) throw error
      return this.#client.ask(broker, keyed)
    }
  }
}

function anotherBroker(known: string): PaywordError {
  return new PaywordError('usage', `the wallet has an account at ${known} already; use another wallet`)
}

function secondsOf(options: WalletOptions): number {
  return Math.floor((options.now ?? Date.now)() / 1000)
}

function clientOf(options: WalletOptions, secret: Secret): BrokerClient {
  // Called as a method of another object, the browser's own refuses.
  const ask: typeof fetch = options.fetch ?? ((input, init) => fetch(input, init))
  return new BrokerClient({ fetch: ask, now: options.now ?? Date.now, secret })
}

function mustHaveStorage(options: WalletOptions): void {
  if (typeof options?.storage?.load !== 'function') throw new PaywordError('usage', 'a wallet: want options with a storage, such as new IndexedDbStorage()')
}

async function mustBeEmpty(storage: Storage): Promise<void> {
  if (await storage.load()) throw new PaywordError('storage', 'there is a wallet already, and a wallet is never replaced')
}

/** Stores a new wallet and opens it. */
async function make(options: WalletOptions, stored: StoredSecret, document: WalletDocument): Promise<Wallet> {
  await options.storage.create(stored, document)
  return Wallet.made(options, await Secret.open(stored))
}

function questionOf(method: string, path: string, body: unknown): Question {
  if (!path.startsWith('/')) throw new PaywordError('usage', `path ${JSON.stringify(path)}: want one that begins with a slash`)
  return { action: `asking ${method} ${path.replace(/\?.*$/, '')}`, method, path, ...body === undefined ? {} : { body } }
}

function checkTake(offer: Offer, terms: Terms): void {
  const wrong = (what: string) => new PaywordError('usage', what)
  checkBudget(terms.budget)
  if (!isOrigin(offer.vendor) || !isOrigin(offer.origin)) throw wrong('an offer is of an origin such as https://news.example')
  checkAmounts({ price: offer.price, deposit: terms.deposit ?? 0n, forfeited: terms.forfeited ?? 0n })
  const { maxStep } = offer
  if (!Number.isInteger(maxStep) || maxStep < 1 || maxStep > maxChainLength) throw wrong(`maxStep: want 1 to ${maxChainLength}`)
  const { fingerprint } = terms
  if (fingerprint === '' || fingerprint.length > maxFingerprint) throw wrong(`fingerprint: want 1 to ${maxFingerprint} characters`)
}

function checkAmounts(amounts: Record<string, Micros>): void {
  for (const [name, amount] of Object.entries(amounts)) {
    if (typeof amount !== 'bigint' || amount < 0n || amount > maxMicros) throw new PaywordError('usage', `${name}: want micros as a bigint`)
  }
}

