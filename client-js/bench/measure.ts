import { sha256 } from '@noble/hashes/sha2.js'

import { Chain } from '../src/chain.js'

/** What a long chain costs. */
export interface Measured {
  steps: number
  prepareMillis: number
  /** Of 10,000 payments of one step, in order, with what has to be stored after each. */
  payMillisMean: number
  /** What 99 of 100 payments stay under; the rest waited for the machine. */
  payMillisNearlyAll: number
  hashesMean: number
  hashesMost: number
  storageBytesMost: number
  /** The same walk by `@noble/hashes`, as far as it was measured, times what is left. */
  baselineMillis: number
  /** baselineMillis / prepareMillis. */
  ratio: number
}

/** Measures a chain. Runs in Node and in browsers, whose clock may be as coarse as 0.1 ms. */
export function measure(steps: number): Measured {
  const tip = new Uint8Array(32).fill(7)
  Chain.prepare(tip, 10_000)
  let start = performance.now()
  const chain = Chain.prepare(tip, steps)
  const prepareMillis = performance.now() - start

  const sample = Math.min(steps, 100_000)
  start = performance.now()
  let word: Uint8Array = tip
  for (let k = 0; k < sample; k++) word = sha256(word)
  const baselineMillis = (performance.now() - start) * steps / sample

  const payments = Math.min(10_000, steps)
  const before = chain.hashes
  const payMillis: number[] = []
  let [hashesMost, storageBytesMost] = [0, 0]
  for (let index = 1; index <= payments; index++) {
    const hashes = chain.hashes
    start = performance.now()
    chain.release(index)
    const saved = chain.save()
    payMillis.push(performance.now() - start)
    hashesMost = Math.max(hashesMost, chain.hashes - hashes)
    storageBytesMost = Math.max(storageBytesMost, saved.length)
  }
  const mean = payMillis.reduce((sum, millis) => sum + millis, 0) / payments
  payMillis.sort((a, b) => a - b)
  return {
    steps, prepareMillis, payMillisMean: mean, payMillisNearlyAll: payMillis[Math.floor(payments * 0.99)] ?? 0, hashesMean: (chain.hashes - before) / payments,
    hashesMost, storageBytesMost, baselineMillis, ratio: baselineMillis / prepareMillis
  }
}
