import type { WalletDocument } from './document.js'
import type { Storage, StoredSecret } from './storage.js'

/**
 * A wallet in a file of the Go client's format, for Node. The file is replaced
 * whole, so that it is always one whole version or another, and any number of
 * processes may use it at the same time.
 */
export class FileStorage implements Storage {
  readonly path: string

  /** `path` is the file's; `path.lock`, `path.new` and `path.writing` are used beside it. */
  constructor(path: string) {
    this.path = path
  }

  async create(_secret: StoredSecret, _document: WalletDocument): Promise<void> {
    throw new Error('not written yet')
  }

  async load(): Promise<{ secret: StoredSecret, document: WalletDocument } | undefined> {
    throw new Error('not written yet')
  }

  async update<T>(_change: (document: WalletDocument) => T): Promise<T> {
    throw new Error('not written yet')
  }

  async remove(): Promise<void> {
    throw new Error('not written yet')
  }

  async close(): Promise<void> {}
}
