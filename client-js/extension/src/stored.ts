/**
 * One value in an area of `chrome.storage`, which outlives the worker: a worker
 * may be stopped between any two steps. One worker at a time writes, and one
 * change at a time is under way.
 */
export class Stored<T> {
  readonly #area: () => chrome.storage.StorageArea
  readonly #key: string
  readonly #parse: (stored: unknown) => T
  #last: Promise<unknown> = Promise.resolve()

  /** `parse` makes the value of what is stored; of undefined the first one. It may throw: then nothing is changed. */
  constructor(area: () => chrome.storage.StorageArea, key: string, parse: (stored: unknown) => T) {
    this.#area = area
    this.#key = key
    this.#parse = parse
  }

  /** The newest value. */
  async read(): Promise<T> {
    const found = await this.#area().get(this.#key)
    return this.#parse(found[this.#key])
  }

  /** Changes the value and resolves with what `change` returned once it is stored. If `change` throws, nothing is changed. */
  update<R>(change: (value: T) => R): Promise<R> {
    const next = this.#last.then(async () => {
      const value = await this.read()
      const result = change(value)
      await this.#area().set({ [this.#key]: value })
      return result
    })
    this.#last = next.catch(() => undefined)
    return next
  }
}
