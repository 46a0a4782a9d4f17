import { lstat, open, readFile, rename, unlink } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

import { Changes, type Run } from './changes.js'
import type { WalletDocument } from './document.js'
import { formatWalletFile, maxFileLength, parseWalletFile, type WalletFile } from './document_file.js'
import { PaywordError } from './errors.js'
import { withFileLock } from './storage_file_lock.js'
import type { Storage, StoredSecret } from './storage.js'

/**
 * A wallet in a file of the Go client's format, for Node. The file is replaced
 * whole, so that it is always one whole version or another, and any number of
 * processes may use it at the same time. The Go client may use it when none
 * does.
 */
export class FileStorage implements Storage {
  /** Of the file, absolute. */
  readonly path: string
  readonly #changes = new Changes(run => this.#write(run))

  /** `path.writing`, `path.new` and `path.lock` are used beside the file. */
  constructor(path: string) {
    this.path = resolve(path)
  }

  async create(secret: StoredSecret, document: WalletDocument): Promise<void> {
    if (!secret.seed && !secret.sealed) throw new PaywordError('usage', 'a wallet file needs the seed, in clear or sealed')
    await this.#locked('creating', async () => {
      if (await exists(this.path)) throw new PaywordError('storage', `there is a wallet ${this.path} already`)
      await this.#replace({ secret, document })
    })
  }

  async load(): Promise<{ secret: StoredSecret, document: WalletDocument } | undefined> {
    return this.#guarded('reading', async () => await exists(this.path) ? this.#read() : undefined)
  }

  update<T>(change: (document: WalletDocument) => T): Promise<T> {
    return this.#changes.add(change)
  }

  async remove(): Promise<void> {
    await this.#locked('removing', async () => {
      if (await exists(this.path)) await unlink(this.path)
    })
  }

  async close(): Promise<void> {}

  async #write(run: Run): Promise<void> {
    await this.#locked('saving', async () => {
      const { secret, document } = await this.#read()
      const changed = run(() => structuredClone(document))
      if (changed) await this.#replace({ secret, document: changed })
    })
  }

  #locked<T>(action: string, work: () => Promise<T>): Promise<T> {
    return this.#guarded(action, () => withFileLock(this.path, work))
  }

  /** Errors of the system become `storage` errors. */
  async #guarded<T>(action: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (cause) {
      if (cause instanceof PaywordError) throw cause
      throw new PaywordError('storage', `${action} the wallet ${this.path}: ${(cause as Error).message}`, { cause })
    }
  }

  async #read(): Promise<WalletFile> {
    const found = await lstat(this.path)
    if (found.isSymbolicLink()) { // replacing it would make two wallets of one
      throw new PaywordError('storage', `the wallet ${this.path} is a symbolic link: name the file that it leads to`)
    }
    if (found.size > maxFileLength) throw new PaywordError('storage', `the wallet ${this.path} is too large to be one`)
    return parseWalletFile(await readFile(this.path, 'utf8'))
  }

  /** Makes a wallet durable as the file. The lock is held. */
  async #replace(wallet: WalletFile): Promise<void> {
    const next = `${this.path}.new`
    const file = await open(next, 'w', 0o600)
    try {
      await file.writeFile(formatWalletFile(wallet))
      await file.chmod(0o600) // one that was left over from a crash may have had another mode
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(next, this.path)
    await syncFolder(dirname(this.path))
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return false
    throw error
  }
}

/** Makes the names in a folder durable, where the system can. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return // folders cannot be opened there; NTFS keeps names in its journal
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
