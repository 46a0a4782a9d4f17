import type { Account } from './account.js'
import type { Currency, Micros } from './amount.js'
import type { Grant, Mended, Offer, Payer, Receipt, Status, Terms, Ticket } from './payer.js'
import type { Storage } from './storage.js'
import type { Summary } from './summary.js'

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
  /** Logarithm of scrypt's cost, 10 to 18: about a second and 256 MB at 18, which it is unless set. Lower for tests alone. */
  workFactor?: number
}

/**
 * A wallet. Any number of tabs, workers and processes may have the same one open
 * by its storage; docs/decisions/54-one-wallet-many-tabs.md says why that is safe.
 *
 * Its secret is one seed: the account's key, every certificate's key and every
 * chain are derived from it, as the Go client derives them.
 */
export class Wallet implements Payer {
  readonly #options: WalletOptions

  private constructor(options: WalletOptions) {
    this.#options = options
  }

  /** Makes a wallet with a fresh seed. Rejects with a `storage` error if the storage holds one. */
  static async create(_options: WalletOptions, _secret: SecretOptions = {}): Promise<Wallet> {
    throw new Error('not written yet')
  }

  /**
   * Opens the wallet that the storage holds; undefined if it holds none. Rejects
   * with a `passphrase` error if its seed is sealed and the passphrase is missing
   * or wrong: only files are like that, since browsers hold a key beside.
   */
  static async open(_options: WalletOptions, _secret: { passphrase?: string } = {}): Promise<Wallet | undefined> {
    throw new Error('not written yet')
  }

  /**
   * Makes the wallet that a file or a backup holds, of this library or of the Go
   * client. What was paid after the backup was made a vendor tells and proves
   * when it is paid next. Rejects with a `passphrase` or a `storage` error.
   */
  static async restore(_options: WalletOptions, _fileText: string, _secret: SecretOptions = {}): Promise<Wallet> {
    throw new Error('not written yet')
  }

  /**
   * Makes a wallet from its seed, written as 14 groups of 4 letters and digits,
   * and from what the broker knows of its account. Rejects with a BrokerError or
   * a `usage` error, and then there is no wallet.
   */
  static async restoreSeed(_options: WalletOptions, _from: { seed: string, broker: string } & SecretOptions): Promise<Wallet> {
    throw new Error('not written yet')
  }

  /** Opens an account at a broker, or finds the one that the wallet has there. Rejects with a BrokerError. */
  async openAccount(_broker: string): Promise<Account> {
    throw new Error('not written yet')
  }

  /** Asks the broker for the account. Rejects with a BrokerError, or an `account` error without one. */
  async balance(): Promise<Account> {
    throw new Error('not written yet')
  }

  /** Puts the worth of a voucher on the account. */
  async redeemVoucher(_code: string): Promise<{ amount: Micros, account: Account }> {
    throw new Error('not written yet')
  }

  /**
   * Sends a signed request to the broker (docs/protocol.md, section 14) and
   * resolves with the JSON of its answer, undefined if that is empty. `path`
   * begins with a slash; `body` becomes JSON.
   */
  async ask(_method: string, _path: string, _body?: unknown): Promise<unknown> {
    throw new Error('not written yet')
  }

  /** As `ask`, with the whole text of the answer, at most 64 MiB, which need not be JSON: the account's export is not. */
  async askText(_method: string, _path: string, _body?: unknown): Promise<string> {
    throw new Error('not written yet')
  }

  /**
   * The wallet as a file that the Go client and `restore` read. Its seed is
   * sealed if there is a passphrase. Rejects with a `passphrase` error where the
   * seed cannot be read out and is not sealed.
   */
  async backup(): Promise<string> {
    throw new Error('not written yet')
  }

  /**
   * The seed as people write it down: whoever has it has the account. Takes the
   * passphrase where the seed cannot be read without. Rejects with a `passphrase` error.
   */
  async seed(_passphrase?: string): Promise<string> {
    throw new Error('not written yet')
  }

  /** What the wallet holds and what it paid. */
  async summary(): Promise<Summary> {
    throw new Error('not written yet')
  }

  /** Has the broker revoke the certificates that these vendors know the wallet by; without any, all. Resolves with how many. */
  async revoke(_vendors?: string[]): Promise<number> {
    throw new Error('not written yet')
  }

  /**
   * Calls a listener whenever the wallet has changed, in this tab or another
   * one. Returns what ends that.
   */
  changed(_listener: () => void): () => void {
    throw new Error('not written yet')
  }

  /** Gives the storage free. */
  async close(): Promise<void> {
    await this.#options.storage.close()
  }

  async account(): Promise<{ broker: string, currency: Currency } | undefined> {
    throw new Error('not written yet')
  }

  async take(_offer: Offer, _terms: Terms): Promise<Ticket> {
    throw new Error('not written yet')
  }

  async settle(_ticket: Ticket, _grant: Grant): Promise<Receipt> {
    throw new Error('not written yet')
  }

  async refused(_ticket: Ticket, _status: Status): Promise<Mended> {
    throw new Error('not written yet')
  }

  async delivered(_ticket: Ticket, _amount: Micros): Promise<void> {
    throw new Error('not written yet')
  }

  async lose(_ticket: Ticket, _isRepeatable: boolean): Promise<void> {
    throw new Error('not written yet')
  }

  async takeBack(_ticket: Ticket): Promise<void> {
    throw new Error('not written yet')
  }

  async giveBack(_ticket: Ticket, _rest: Micros, _url: string): Promise<Receipt> {
    throw new Error('not written yet')
  }
}
