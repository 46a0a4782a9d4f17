/**
 * One value in an area of `chrome.storage`, which outlives the worker: a worker
 * may be stopped between any two steps. One worker at a time writes, and one
 * change at a time is under way.
 */
export class Stored<T> {
  readonly #area: () => chrome.storage.StorageArea
  readonly #key: string
  readonly #parse: (stored: unknown) => T
  // What the area holds, as long as this worker lives: nobody else writes. Each
  // question to the browser takes about a millisecond, and a payment reads a dozen times.
  #held: { value: unknown } | undefined
  #writes = 0
  #waiting: Change<T>[] = []
  #last: Promise<void> = Promise.resolve()

  /** `parse` makes the value of what is stored; of undefined the first one. It may throw: then nothing is changed. */
  constructor(area: () => chrome.storage.StorageArea, key: string, parse: (stored: unknown) => T) {
    this.#area = area
    this.#key = key
    this.#parse = parse
  }

  /** The newest value. */
  async read(): Promise<T> {
    return this.#parse(structuredClone((this.#held ?? await this.#load()).value))
  }

  async #load(): Promise<{ value: unknown }> {
    const writes = this.#writes
    const found = await this.#area().get(this.#key)
    const held = { value: found[this.#key] }
    // What was written meanwhile is newer.
    if (writes === this.#writes) this.#held = held
    return held
  }

  /**
   * Changes the value and resolves with what `change` returned once it is stored.
   * If `change` throws, nothing is changed. What waits is written together: a page
   * with sixty parts would be hundreds of writes.
   */
  update<R>(change: (value: T) => R): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        reject,
        run: value => {
          const result = change(value)
          return () => resolve(result)
        },
      })
      if (this.#waiting.length === 1) this.#last = this.#last.then(() => this.#write())
    })
  }

  async #write(): Promise<void> {
    let changes: Change<T>[] = []
    try {
      let value = await this.read()
      changes = this.#waiting.splice(0)
      const stored: (() => void)[] = []
      for (const { run, reject } of changes) {
        const before = changes.length > 1 ? structuredClone(value) : value
        try {
          stored.push(run(value))
        } catch (error) {
          value = before
          reject(error)
        }
      }
      if (stored.length > 0) await this.#store(value)
      for (const tell of stored) tell()
    } catch (error) {
      for (const { reject } of changes.length > 0 ? changes : this.#waiting.splice(0)) reject(error)
    }
  }

  async #store(value: T): Promise<void> {
    this.#writes++
    this.#held = undefined // a write that fails may have been made
    await this.#area().set({ [this.#key]: value })
    this.#writes++
    this.#held = { value: structuredClone(value) }
  }
}

/** A change that waits; `run` gives back what tells that it is stored. */
interface Change<T> {
  run: (value: T) => () => void
  reject: (error: unknown) => void
}
