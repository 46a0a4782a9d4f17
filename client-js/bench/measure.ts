import { sha256 } from '@noble/hashes/sha2.js'

import { Chain } from '../src/chain.js'
import { kernelOfLongWalks, walkWords } from '../src/hash.js'

/** Nanoseconds a hash, of each contender, by the round. */
export type Rounds = Record<string, number[]>

/** What payments of a long chain cost. */
export interface Payments {
  /** Of 10,000 payments of one step, in order, with what has to be stored after each. */
  millisMean: number
  /** What 99 of 100 payments stay under; the rest waited for the machine. */
  millisNearlyAll: number
  hashesMean: number
  hashesMost: number
  storageBytesMost: number
}

const tip = new Uint8Array(32).fill(7)

/** A way to hash, and of how many hashes in a row its time is taken, where all steps would take too long. */
interface Contender {
  hashes: number
  run: (hashes: number) => unknown
}

/** Who hashes, by name. `chain` is what the wallet does: all of a preparation. */
function contendersFor(steps: number): Record<string, Contender> {
  const contenders: Record<string, Contender> = {
    noble: { hashes: Math.min(steps, 100_000), run: byNoble },
    chain: { hashes: steps, run: hashes => Chain.prepare(tip, hashes) },
    plain: { hashes: Math.min(steps, 500_000), run: hashes => { walkWords(new Int32Array(8), hashes) } },
    webcrypto: { hashes: Math.min(steps, 2000), run: byWebCrypto },
  }
  const kernel = kernelOfLongWalks()
  if (kernel) contenders.kernel = { hashes: steps, run: hashes => { kernel(new Int32Array(8), hashes) } }
  return contenders
}

function byNoble(hashes: number): void {
  let word: Uint8Array = tip
  for (let k = 0; k < hashes; k++) word = sha256(word)
}

async function byWebCrypto(hashes: number): Promise<void> {
  let word: BufferSource = tip
  for (let k = 0; k < hashes; k++) word = await crypto.subtle.digest('SHA-256', word)
}

/**
 * Has everyone hash once a round, every second round in the other order. One round
 * more goes before, for the compilers. Runs in Node and in browsers, whose clock may
 * be as coarse as 1 ms.
 */
export async function measureRounds(steps: number, rounds: number): Promise<Rounds> {
  const contenders = Object.entries(contendersFor(steps))
  const taken: Rounds = Object.fromEntries(contenders.map(([name]) => [name, []]))
  for (let round = 0; round <= rounds; round++) {
    for (const [name, { hashes, run }] of round % 2 === 0 ? contenders : contenders.toReversed()) {
      const start = performance.now()
      await run(hashes)
      if (round > 0) taken[name]?.push((performance.now() - start) * 1e6 / hashes)
    }
  }
  return taken
}

/** The longest that anything else waited for the thread while a chain was prepared in slices, in ms. */
export async function longestWait(steps: number): Promise<number> {
  let [longest, isOver] = [0, false]
  const waiting = (async () => {
    for (let last = performance.now(); !isOver;) {
      await new Promise(resolve => { setTimeout(resolve) })
      const now = performance.now()
      longest = Math.max(longest, now - last)
      last = now
    }
  })()
  await Chain.prepareInSlices(tip, steps)
  isOver = true
  await waiting
  return longest
}

/** Measures payments of a chain. */
export function measurePayments(steps: number): Payments {
  const chain = Chain.prepare(tip, steps)
  const payments = Math.min(10_000, steps)
  const before = chain.hashes
  const millis: number[] = []
  let [hashesMost, storageBytesMost] = [0, 0]
  for (let index = 1; index <= payments; index++) {
    const hashes = chain.hashes
    const start = performance.now()
    chain.release(index)
    const saved = chain.save()
    millis.push(performance.now() - start)
    hashesMost = Math.max(hashesMost, chain.hashes - hashes)
    storageBytesMost = Math.max(storageBytesMost, saved.length)
  }
  const mean = millis.reduce((sum, one) => sum + one, 0) / payments
  millis.sort((a, b) => a - b)
  return {
    millisMean: mean, millisNearlyAll: millis[Math.floor(payments * 0.99)] ?? 0, hashesMean: (chain.hashes - before) / payments,
    hashesMost, storageBytesMost,
  }
}
