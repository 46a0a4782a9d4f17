import { Changes } from './changes.js'
import type { WalletDocument } from './document.js'
import { PaywordError } from './errors.js'
import type { Storage, StoredSecret } from './storage.js'

/** A wallet in memory, for tests and for programs that need it no longer than they run. */
export class MemoryStorage implements Storage {
  #secret: StoredSecret | undefined
  #text = ''
  readonly #changes = new Changes(async run => {
    if (!this.#secret) throw new PaywordError('storage', 'there is no wallet in memory')
    const document = run(() => JSON.parse(this.#text) as WalletDocument)
    if (document) this.#text = JSON.stringify(document)
  })

  async create(secret: StoredSecret, document: WalletDocument): Promise<void> {
    if (this.#secret) throw new PaywordError('storage', 'there is a wallet in memory already')
    this.#secret = secret
    this.#text = JSON.stringify(document)
  }

  async load(): Promise<{ secret: StoredSecret, document: WalletDocument } | undefined> {
    return this.#secret && { secret: this.#secret, document: JSON.parse(this.#text) as WalletDocument }
  }

  update<T>(change: (document: WalletDocument) => T): Promise<T> {
    return this.#changes.add(change)
  }

  async remove(): Promise<void> {
    this.#secret = undefined
    this.#text = ''
  }

  async close(): Promise<void> {}
}
