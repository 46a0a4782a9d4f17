import assert from 'node:assert/strict'

import { parseCommitment, type Commitment } from '../../src/commitment.js'
import type { Brokers } from '../../src/keys.js'
import { MalformedError } from '../../src/malformed.js'
import { Refusal } from '../../src/reason.js'
import type { Outcome } from './vectors.js'

/** How vectors write the keys of brokers, by issuer and kid. */
export type VectorBrokers = Record<string, Record<string, string>>

export function brokersOf(brokers: VectorBrokers): Brokers {
  return new Map(Object.entries(brokers).map(([issuer, keys]) => [issuer, new Map(Object.entries(keys))]))
}

/** Reads a commitment that a vector takes for granted. */
export async function commitmentOf(input: { commitment: string, brokers: VectorBrokers }): Promise<Commitment> {
  const commitment = await parseCommitment(input.commitment, brokersOf(input.brokers))
  assert.ok(!(commitment instanceof Refusal), `the commitment of the vector: ${String(commitment)}`)
  return commitment
}

/** The outcome of something that throws a MalformedError, and nothing else, if it fails. */
export async function attempt(run: () => unknown): Promise<Outcome> {
  try {
    return { expect: 'accepted', output: await run() }
  } catch (error) {
    assert.ok(error instanceof MalformedError, `want a MalformedError, not ${String(error)}`)
    return { expect: 'error' }
  }
}
