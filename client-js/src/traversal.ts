import { sha256 } from '@noble/hashes/sha2.js'

import { fromBase64url, toBase64url, type Base64url, type Bytes } from './encoding.js'
import { walk } from './hash.js'
import { maxChainLength, paywordBytes } from './limits.js'
import { MalformedError } from './malformed.js'
import { letOthersRun } from './turn.js'

/**
 * A stored value that wanders, two steps at a time, from where it was dropped down
 * to where it will be needed.
 */
interface Pebble {
  position: number
  destination: number
  value: Bytes
  /** How far above its first destination the next pebble's is: a power of two. */
  reach: number
}

/** The form of {@link Chain.save}: its version, then numbers of four bytes and values of 32. */
const version = 1
const pebbleBytes = 12 + paywordBytes
const headBytes = 1 + 8 + 2 * paywordBytes
const sumBytes = 8
/** log2 of the longest chain. */
const maxPebbles = 20
/**
 * Hashes, or steps of the pebbles, after which a preparation in slices lets others
 * run: some milliseconds, also where it is a tenth as fast as on a notebook.
 */
const sliceSteps = 8192

/**
 * Releases the paywords of one chain in order, from W_1 on. It stores about
 * log2(length) values and hashes about as often per step, after Jakobsson, "Fractal
 * Hash Sequence Representation and Traversal" (2002). The twin of Go's `Chain`.
 */
export class Chain {
  /** N, the number of steps. */
  readonly length: number
  private readonly tip: Bytes
  private pebbles: Pebble[]
  private at: number
  private current: Bytes
  private first: Bytes
  private count = 0

  private constructor(fields: { length: number, tip: Bytes, pebbles: Pebble[], at: number, current: Bytes, root: Bytes }) {
    this.length = fields.length
    this.tip = fields.tip
    this.pebbles = fields.pebbles
    this.at = fields.at
    this.current = fields.current
    this.first = fields.root
  }

  /**
   * Prepares the chain that ends in `tip`, has `length` steps, 1 to 2^20, and of
   * which the paywords up to `index`, 0 to length, have been released. It hashes
   * `length` times, which takes under a second for the longest; a page rather calls
   * {@link Chain.prepareInSlices}.
   *
   * @throws {@link MalformedError} if the numbers are out of bounds.
   */
  static prepare(tip: Uint8Array, length: number, index = 0): Chain {
    const chain = Chain.unprepared(tip, length, index)
    for (const _ of chain.preparation(index)) continue
    return chain
  }

  /**
   * Does what {@link Chain.prepare} does, and lets the page, or whatever else
   * waits for the thread, run every few milliseconds.
   *
   * @throws {@link MalformedError} if the numbers are out of bounds.
   */
  static async prepareInSlices(tip: Uint8Array, length: number, index = 0): Promise<Chain> {
    const chain = Chain.unprepared(tip, length, index)
    for (const _ of chain.preparation(index)) await letOthersRun()
    return chain
  }

  private static unprepared(tip: Uint8Array, length: number, index: number): Chain {
    if (!Number.isInteger(length) || length < 1 || length > maxChainLength) {
      throw new MalformedError(`chain of ${length} steps: want 1 to ${maxChainLength}`)
    }
    if (!Number.isInteger(index) || index < 0 || index > length) {
      throw new MalformedError(`index ${index} of a chain of ${length} steps: want 0 to ${length}`)
    }
    if (tip.length !== paywordBytes) throw new MalformedError(`tip of ${tip.length} bytes: want ${paywordBytes}`)
    const end = new Uint8Array(tip)
    const pebbles: Pebble[] = []
    for (let reach = 2; reach <= length; reach *= 2) {
      pebbles.push({ position: reach, destination: reach, value: end, reach })
    }
    return new Chain({ length, tip: end, pebbles, at: 0, current: end, root: end })
  }

  /** W_0, which the commitment names. */
  get root(): Bytes {
    return this.first
  }

  /** The index of the deepest payword that was released; 0 is the root. */
  get index(): number {
    return this.at
  }

  /** The deepest payword that was released. */
  get payword(): Bytes {
    return this.current
  }

  /** How many hashes this object has computed. */
  get hashes(): number {
    return this.count
  }

  /**
   * Goes forward to `index`, which must not be behind what was released before nor
   * past the end, and returns W_index.
   *
   * @throws {@link MalformedError} if it is; then nothing is released.
   */
  release(index: number): Bytes {
    if (!Number.isInteger(index) || index < this.at || index > this.length) {
      throw new MalformedError(`payword ${index} of a chain of ${this.length} steps of which ${this.at} are released`)
    }
    while (this.at < index) this.step(true)
    return this.current
  }

  /**
   * Returns the whole state in base64url, under 1.4 KB, for {@link Chain.restore}.
   * It is a secret: it holds paywords that are not spent.
   */
  save(): Base64url {
    const bytes = new Uint8Array(headBytes + this.pebbles.length * pebbleBytes + sumBytes)
    const view = new DataView(bytes.buffer)
    bytes[0] = version
    view.setUint32(1, this.length)
    view.setUint32(5, this.at)
    bytes.set(this.tip, 9)
    bytes.set(this.current, 9 + paywordBytes)
    this.pebbles.forEach((pebble, k) => {
      const start = headBytes + k * pebbleBytes
      view.setUint32(start, pebble.position)
      view.setUint32(start + 4, pebble.destination)
      view.setUint32(start + 8, pebble.reach)
      bytes.set(pebble.value, start + 12)
    })
    bytes.set(checksum(bytes.subarray(0, -sumBytes), this.first), bytes.length - sumBytes)
    return toBase64url(bytes)
  }

  /**
   * Makes the chain whose root is `root` of what {@link Chain.save} returned. It
   * hashes nothing. What was damaged or belongs to another chain is refused, and
   * `prepare` makes the chain anew.
   *
   * @throws {@link MalformedError}
   */
  static restore(saved: Base64url, root: Uint8Array): Chain {
    const bytes = fromBase64url(saved)
    const count = (bytes.length - headBytes - sumBytes) / pebbleBytes
    const sum = checksum(bytes.subarray(0, -sumBytes), root)
    if (bytes[0] !== version || !Number.isInteger(count) || count < 0 || count > maxPebbles ||
      !sum.every((byte, k) => byte === bytes[bytes.length - sumBytes + k])) {
      throw new MalformedError('the saved state of a chain is damaged, of another version or of another chain')
    }
    const view = new DataView(bytes.buffer)
    const pebbles = Array.from({ length: count }, (_, k) => {
      const start = headBytes + k * pebbleBytes
      return {
        position: view.getUint32(start), destination: view.getUint32(start + 4), reach: view.getUint32(start + 8),
        value: bytes.slice(start + 12, start + pebbleBytes)
      }
    })
    return new Chain({
      length: view.getUint32(1), tip: bytes.slice(9, 9 + paywordBytes), pebbles, at: view.getUint32(5),
      current: bytes.slice(9 + paywordBytes, headBytes), root: new Uint8Array(root)
    })
  }

  private walk(value: Bytes, steps: number): Bytes {
    this.count += steps
    return steps > 0 ? walk(value, steps) : value
  }

  /** Releases the next payword. Without hashing it only moves the pebbles. */
  private step(isHashing: boolean): void {
    this.at++
    for (const pebble of this.pebbles) {
      const distance = Math.min(2, pebble.position - pebble.destination)
      pebble.position -= distance
      if (isHashing) pebble.value = this.walk(pebble.value, distance)
    }
    if (isHashing) this.current = this.valueAt(this.at)
    if (this.at % 2 === 0) this.sendOn(this.at, isHashing)
  }

  /** Lets the pebble that has been waiting at a position start its next journey. */
  private sendOn(position: number, isHashing: boolean): void {
    const pebble = this.pebbles.find(({ destination }) => destination === position)
    if (!pebble) return
    const start = Math.min(position + 3 * pebble.reach, this.length)
    pebble.destination += 2 * pebble.reach
    if (pebble.destination > this.length) {
      this.pebbles = this.pebbles.filter(other => other !== pebble)
      return
    }
    // Before it moves, or it would find itself.
    if (isHashing) pebble.value = this.storedAt(start)
    pebble.position = start
  }

  /** Returns W_index for an index that is even and has a pebble waiting, or is odd and lies below such a one. */
  private valueAt(index: number): Bytes {
    if (index === this.length) return this.tip
    return index % 2 === 0 ? this.storedAt(index) : this.walk(this.storedAt(index + 1), 1)
  }

  /**
   * Returns the value at a position, from the nearest pebble at or above it. The
   * schedule puts one exactly there; a higher one would be right too, and slower.
   */
  private storedAt(position: number): Bytes {
    let nearest = this.length
    let value = this.tip
    for (const pebble of this.pebbles) {
      if (pebble.position < position || pebble.position >= nearest) continue
      nearest = pebble.position
      value = pebble.value
    }
    return this.walk(value, nearest - position)
  }

  /**
   * Goes to `index` and computes every pebble's value, the payword there and the
   * root. Where the pebbles stand after so many steps does not depend on their
   * values, so they are placed first and filled in one walk from the tip. Yields
   * after each slice.
   */
  private *preparation(index: number): Generator<void> {
    while (this.at < index) {
      this.step(false)
      if (this.at % sliceSteps === 0) yield
    }
    const stops = [...this.pebbles].sort((a, b) => b.position - a.position)
      .map(pebble => ({ position: pebble.position, keep: (value: Bytes) => { pebble.value = value } }))
    stops.push({ position: this.at, keep: value => { this.current = value } }, { position: 0, keep: value => { this.first = value } })
    let at = this.length
    let value = this.tip
    for (const { position, keep } of stops) {
      while (at > position) {
        const steps = Math.min(at - position, sliceSteps)
        value = this.walk(value, steps)
        at -= steps
        if (steps === sliceSteps) yield
      }
      keep(value)
    }
  }
}

function checksum(bytes: Uint8Array, root: Uint8Array): Uint8Array {
  return sha256.create().update(bytes).update(root).digest().subarray(0, sumBytes)
}
