import { deriveByKey, deriveTip, fourBytes, importSeed, type Derive } from './chain.js'
import type { Commitment } from './commitment.js'
import { fromBase64url, fromBase64urlFixed, toBase64url, toUtf8, type Bytes } from './encoding.js'
import { PaywordError } from './errors.js'
import { signerFromSecret, type Signer } from './keys.js'
import { seedBytes } from './limits.js'
import { seal, unseal } from './seal.js'
import type { StoredSecret } from './storage.js'

/**
 * What a wallet derives from its seed, as the Go client does (client/wallet.go):
 * the keys of the account and of certificates, and the tips of chains.
 */
export class Secret {
  readonly #derive: Derive
  #account: Promise<Signer> | undefined

  private constructor(key: CryptoKey) {
    this.#derive = deriveByKey(key)
  }

  /**
   * Makes what a storage keeps of a seed: each storage keeps the members that it
   * may. `workFactor` is the logarithm of scrypt's cost.
   */
  static async store(seed: Uint8Array, passphrase?: string, workFactor?: number): Promise<StoredSecret> {
    const stored: StoredSecret = { seed: toBase64url(seed), key: await importSeed(seed) }
    if (passphrase !== undefined) stored.sealed = await seal(seed, passphrase, workFactor)
    return stored
  }

  /** Opens what a storage kept. Throws a `passphrase` error where the passphrase is needed and missing or wrong. */
  static async open(stored: StoredSecret, passphrase?: string): Promise<Secret> {
    if (stored.key) return new Secret(stored.key)
    return new Secret(await importSeed(await Secret.seed(stored, passphrase)))
  }

  /** The seed itself, where it can be read at all. Throws a `passphrase` or a `storage` error. */
  static async seed(stored: StoredSecret, passphrase?: string): Promise<Bytes> {
    if (stored.seed === undefined && stored.sealed === undefined) {
      throw new PaywordError('passphrase', 'this wallet was made without a passphrase, and its seed cannot be read out of the browser')
    }
    if (stored.seed === undefined) return unseal(stored.sealed!, passphrase)
    try {
      return fromBase64urlFixed(stored.seed, seedBytes)
    } catch (error) {
      throw new PaywordError('storage', 'the wallet is damaged: its seed is no seed', { cause: error })
    }
  }

  /** The key of the account. */
  account(): Promise<Signer> {
    this.#account ??= this.#signer('payword-account-key-1', 0)
    return this.#account
  }

  /** The key of a certificate, by its number. */
  certificate(number: number): Promise<Signer> {
    return this.#signer('payword-certificate-key-1', number)
  }

  /** The tips of the chains of a commitment. */
  tips({ vendor, nonce, chains }: Pick<Commitment, 'vendor' | 'nonce'> & { chains: { length: number }[] }): Promise<Bytes[]> {
    const bytes = fromBase64url(nonce)
    return Promise.all(chains.map(({ length }, chain) => deriveTip(this.#derive, vendor, bytes, chain, length)))
  }

  async #signer(purpose: string, number: number): Promise<Signer> {
    return signerFromSecret(await this.#derive(new Uint8Array([...toUtf8(purpose), ...fourBytes(number)])))
  }
}
