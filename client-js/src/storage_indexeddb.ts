import { Changes } from './changes.js'
import type { WalletDocument } from './document.js'
import { PaywordError } from './errors.js'
import type { Storage, StoredSecret } from './storage.js'

/** The object store of the database, and the keys of its two records. */
const storeName = 'wallet'
const secretKey = 'secret'
const documentKey = 'document'

/** Says what went wrong as a `storage` error. */
function storageError(what: string, cause: unknown): PaywordError {
  return new PaywordError('storage', `the browser's storage: ${what}`, { cause })
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

/** Resolves when a transaction is durable. */
function completed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve()
    transaction.onabort = () => reject(transaction.error ?? new Error('the transaction was aborted'))
  })
}

/**
 * A wallet in a browser's IndexedDB, for tabs and workers of one origin. Each
 * change is one readwrite transaction that waits for the disk; the browser lets
 * one at a time have the store, whichever tab or worker it belongs to. The seed
 * is kept as a key that script cannot read out.
 */
export class IndexedDbStorage implements Storage {
  /** Name of the BroadcastChannel that tells of changes. */
  readonly channel: string
  readonly #name: string
  #opened: Promise<IDBDatabase> | undefined
  readonly #changes = new Changes(run => this.#write(run))

  /** `name` is the database's; one origin may have several wallets. */
  constructor(name = 'payword-wallet') {
    this.#name = name
    this.channel = name
  }

  async create(secret: StoredSecret, document: WalletDocument): Promise<void> {
    const { key, sealed } = secret
    if (!key) throw new PaywordError('usage', 'a wallet in a browser needs its seed as a key')
    await this.#transact('readwrite', async store => {
      if (await settled(store.get(secretKey)) !== undefined) throw new PaywordError('storage', 'there is a wallet in this browser already')
      store.put(sealed === undefined ? { key } : { key, sealed }, secretKey)
      store.put(document, documentKey)
    })
  }

  async load(): Promise<{ secret: StoredSecret, document: WalletDocument } | undefined> {
    return this.#transact('readonly', async store => {
      const [secret, document] = await Promise.all([settled(store.get(secretKey)), settled(store.get(documentKey))])
      if (secret === undefined && document === undefined) return undefined
      if (secret === undefined || document === undefined) throw new PaywordError('storage', 'a part of the wallet is gone from the browser\'s storage')
      return { secret: secret as StoredSecret, document: document as WalletDocument }
    })
  }

  update<T>(change: (document: WalletDocument) => T): Promise<T> {
    return this.#changes.add(change)
  }

  async remove(): Promise<void> {
    await this.#transact('readwrite', async store => {
      store.clear()
    })
  }

  async close(): Promise<void> {
    const opened = this.#opened
    this.#opened = undefined
    if (opened) (await opened).close()
  }

  async #write(run: (read: () => WalletDocument) => WalletDocument | undefined): Promise<void> {
    await this.#transact('readwrite', async store => {
      const stored = await settled(store.get(documentKey)) as WalletDocument | undefined
      if (stored === undefined) throw new PaywordError('storage', 'there is no wallet in this browser')
      const document = run(() => structuredClone(stored))
      if (document) store.put(document, documentKey)
    })
  }

  async #transact<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => Promise<T>): Promise<T> {
    let transaction: IDBTransaction
    try {
      transaction = (await this.#open()).transaction(storeName, mode, { durability: 'strict' })
    } catch (error) {
      this.#opened = undefined // the next call opens it again
      throw storageError('it cannot be opened', error)
    }
    const done = completed(transaction)
    done.catch(() => undefined) // whoever fails first is told below
    try {
      const result = await work(transaction.objectStore(storeName))
      await done
      return result
    } catch (error) {
      try {
        transaction.abort()
      } catch {
        // it has ended by itself
      }
      throw error instanceof PaywordError ? error : storageError('it failed', error)
    }
  }

  #open(): Promise<IDBDatabase> {
    this.#opened ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(this.#name, 1)
      request.onupgradeneeded = () => request.result.createObjectStore(storeName)
      request.onerror = () => reject(request.error)
      request.onsuccess = () => {
        const database = request.result
        // The browser closes it to delete or upgrade it; then it is opened again.
        database.onversionchange = () => { database.close(); this.#opened = undefined }
        database.onclose = () => { this.#opened = undefined }
        resolve(database)
      }
    })
    return this.#opened
  }
}
