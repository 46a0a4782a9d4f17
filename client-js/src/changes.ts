import type { WalletDocument } from './document.js'

/** One change that waits for its turn. */
interface Waiting {
  change: (document: WalletDocument) => unknown
  resolve: (result: unknown) => void
  reject: (error: unknown) => void
}

/**
 * Runs the changes that wait on a document and returns what has to be made
 * durable; undefined if none of them could be done. `read` returns the newest
 * document, a fresh copy each time.
 */
export type Run = (read: () => WalletDocument) => WalletDocument | undefined

/**
 * Changes of one storage. All that come while a write is under way share the
 * next one, so that thirty payments at once cost one write or two.
 */
export class Changes {
  readonly #write: (run: Run) => Promise<void>
  #waiting: Waiting[] = []
  #isWriting = false

  /** `write` resolves when what `run` returned is durable, and may call `run` more than once. */
  constructor(write: (run: Run) => Promise<void>) {
    this.#write = write
  }

  /** Resolves with what `change` returned when that is durable; rejects with what it threw, and then nothing was changed. */
  add<T>(change: (document: WalletDocument) => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ change, resolve: resolve as (result: unknown) => void, reject })
      void this.#drain()
    })
  }

  async #drain(): Promise<void> {
    if (this.#isWriting) return
    this.#isWriting = true
    while (this.#waiting.length > 0) {
      await Promise.resolve() // lets those that come in the same turn join
      await this.#writeOnce(this.#waiting.splice(0))
    }
    this.#isWriting = false
  }

  async #writeOnce(group: Waiting[]): Promise<void> {
    let results = new Map<Waiting, unknown>()
    let failed = new Map<Waiting, unknown>()
    try {
      await this.#write(read => {
        const all = runAll(group, read)
        results = all.results
        failed = all.failed
        return all.document
      })
    } catch (error) {
      for (const one of group) one.reject(failed.has(one) ? failed.get(one) : error)
      return
    }
    for (const [one, result] of results) one.resolve(result)
    for (const [one, error] of failed) one.reject(error)
  }
}

/** Runs a group on a fresh document, and again without one that throws: what it changed before must not stay. */
function runAll(group: Waiting[], read: () => WalletDocument) {
  const failed = new Map<Waiting, unknown>()
  for (;;) {
    const document = read()
    const results = new Map<Waiting, unknown>()
    const before = failed.size
    for (const one of group) {
      if (failed.has(one)) continue
      try {
        results.set(one, one.change(document))
      } catch (error) {
        failed.set(one, error)
        break
      }
    }
    if (failed.size === before) return { results, failed, document: results.size > 0 ? document : undefined }
  }
}
