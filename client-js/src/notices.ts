/**
 * Tells that a wallet has changed: the listeners of this wallet, and those of
 * other tabs and workers by a BroadcastChannel.
 */
export class Notices {
  readonly #channel: BroadcastChannel | undefined
  readonly #listeners = new Set<() => void>()
  #isTelling = false

  /** `name` is the channel's; undefined: there are no others. */
  constructor(name: string | undefined) {
    if (name === undefined || typeof BroadcastChannel === 'undefined') return
    this.#channel = new BroadcastChannel(name)
    this.#channel.onmessage = () => this.#call()
  }

  /** Calls a listener for every change, or once for several that come together. Returns what ends that. */
  listen(listener: () => void): () => void {
    const own = () => listener() // so that one that listens twice ends once
    this.#listeners.add(own)
    return () => { this.#listeners.delete(own) }
  }

  /** Tells that the wallet has changed. */
  tell(): void {
    if (this.#isTelling) return
    this.#isTelling = true
    queueMicrotask(() => {
      this.#isTelling = false
      this.#channel?.postMessage('changed')
      this.#call()
    })
  }

  /** Ends it. */
  close(): void {
    this.#listeners.clear()
    this.#channel?.close()
  }

  #call(): void {
    for (const listener of [...this.#listeners]) listener()
  }
}
