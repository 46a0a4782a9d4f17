import type { Bytes } from './encoding.js'
import { paywordBytes } from './limits.js'

/** Hashes the eight words of a payword `steps` times in place. `steps` from 1. */
export type WalkWords = (words: Int32Array, steps: number) => void

// Engines compile a module in haste first and well in the background, and take up
// the better code when a function is called anew, never within a call. With all
// steps in one call a million of them take ten times as long.
const stepsPerCall = 256

/** Few, because the known one may not be compiled at all yet. */
const stepsOfCheck = 3

/**
 * Makes a walk of a WebAssembly module, as scripts/chain_wasm.mjs writes it, and
 * compares it with a walk that is known to be right. Returns undefined where there
 * is no WebAssembly, where the page's policy forbids it, and where the two differ.
 *
 * @param module - empty where it was left out, as the extension's build does
 */
export function loadKernel(module: Bytes, known: WalkWords): WalkWords | undefined {
  if (module.length === 0) return undefined
  try {
    const { memory, walk } = new WebAssembly.Instance(new WebAssembly.Module(module)).exports as {
      memory: WebAssembly.Memory, walk: (steps: number) => void
    }
    const inside = new Int32Array(memory.buffer, 0, paywordBytes / 4)
    const kernel: WalkWords = (words, steps) => {
      inside.set(words)
      for (let left = steps; left > 0; left -= stepsPerCall) walk(Math.min(left, stepsPerCall))
      words.set(inside)
    }
    return isSame(kernel, known) ? kernel : undefined
  } catch {
    return undefined
  }
}

function isSame(kernel: WalkWords, known: WalkWords): boolean {
  const [one, other] = [kernel, known].map(walkWords => {
    const words = new Int32Array(8).map((_, k) => 0x9e3779b9 * (k + 1))
    walkWords(words, stepsOfCheck)
    return words.join()
  })
  return one === other
}
