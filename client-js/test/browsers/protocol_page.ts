// Runs inside a page: what the vectors of the signed objects come to on its platform.
import { parseCertificate } from '../../src/certificate.js'
import { parseClaim } from '../../src/claim.js'
import { checkTerms, parseCommitment } from '../../src/commitment.js'
import { Chain, deriveBySeed, deriveTip } from '../../src/chain.js'
import { fromBase64url, toBase64url } from '../../src/encoding.js'
import { kernelOfLongWalks } from '../../src/hash.js'
import type { Brokers } from '../../src/keys.js'
import { MalformedError } from '../../src/malformed.js'
import { parseReservation } from '../../src/reservation.js'
import { Refusal } from '../../src/reason.js'
import { contentDigest, parseSignatureInput, verifyRequest } from '../../src/signature.js'
import { parseStatusList } from '../../src/statuslist.js'

/** The inputs of these areas, as far as this page reads them. */
export interface PageInput {
  brokers?: Record<string, Record<string, string>>
  token?: string
  commitment?: string
  terms?: { vendor: string, currency: string, now: number }
  issuer?: string
  uri?: string
  key?: string
  request?: { method: string, targetUri: string }
  body?: string
  input?: string
  signature?: string
  now?: number
}

const areas: Record<string, (input: PageInput) => Promise<unknown>> = {
  certificates: ({ token = '', brokers }) => parseCertificate(token, brokersOf(brokers)),
  commitments: async ({ token = '', brokers, terms }) => {
    const commitment = await parseCommitment(token, brokersOf(brokers))
    if (commitment instanceof Refusal || !terms) return commitment
    return checkTerms(commitment, terms.vendor, terms.currency, terms.now)
  },
  reservations: async ({ token = '', commitment = '', brokers }) => {
    const m = await parseCommitment(commitment, brokersOf(brokers))
    return m instanceof Refusal ? new Error(`the commitment of the vector: ${m.detail}`) : parseReservation(token, m, brokersOf(brokers))
  },
  'status-lists': ({ token = '', issuer = '', uri = '', brokers }) => parseStatusList(token, issuer, uri, brokersOf(brokers)),
  claims: ({ token = '', key = '' }) => parseClaim(token, key),
  signatures: async ({ request = { method: '', targetUri: '' }, body = '', key = '', input = '', signature = '', now = 0 }) => {
    const parameters = parseSignatureInput(input)
    if (parameters instanceof Refusal) return parameters
    return verifyRequest({ ...request, ...parameters, digest: contentDigest(fromBase64url(body)) }, key, signature, now)
  }
}

function brokersOf(brokers: PageInput['brokers'] = {}): Brokers {
  return new Map(Object.entries(brokers).map(([issuer, keys]) => [issuer, new Map(Object.entries(keys))]))
}

/** Returns what a vector of an area comes to: the word that it expects. */
async function run(area: string, input: PageInput): Promise<string> {
  try {
    const result = await areas[area]?.(input)
    if (result instanceof Error) return result.message
    return result instanceof Refusal ? result.reason : 'accepted'
  } catch (error) {
    return error instanceof MalformedError ? 'error' : String(error)
  }
}

/** Returns for each vector what it came to, in order. */
export async function runAll(vectors: { area: string, input: PageInput }[]): Promise<string[]> {
  const outcomes: string[] = []
  for (const { area, input } of vectors) outcomes.push(await run(area, input))
  return outcomes
}

/** Derives a chain by the platform's HKDF and returns its tip and its root. */
export async function deriveChain(seed: string, vendor: string, nonce: string, length: number): Promise<string[]> {
  const tip = await deriveTip(await deriveBySeed(fromBase64url(seed)), vendor, fromBase64url(nonce), 0, length)
  return [tip, Chain.prepare(tip, length).root].map(toBase64url)
}

/** Prepares a long chain whose tip is all zeros; returns its root and whether WebAssembly hashed it. */
export async function longChain(length: number): Promise<{ root: string, isByKernel: boolean }> {
  const { root } = await Chain.prepareInSlices(new Uint8Array(32), length)
  return { root: toBase64url(root), isByKernel: kernelOfLongWalks() !== undefined }
}
