import type { Currency } from './amount.js'
import type { Base64url } from './encoding.js'
import { Members, type Json } from './json.js'
import { readPublicJwk } from './keys.js'
import { maxBrokers, maxDiscoveryBytes, maxKeys } from './limits.js'
import { MalformedError, within } from './malformed.js'
import { checkOrigin } from './origin.js'

/** Where a gate describes itself, at the vendor's origin. */
export const pathDiscovery = '/.well-known/payword'

/** What a gate says of itself. docs/protocol.md, section 13. */
export interface Discovery {
  /** V: the name that commitments carry. */
  vendor: string
  /** Other origins that are paid with commitments to the vendor. */
  origins: string[]
  /** What claims are signed with, base64url. */
  keys: Base64url[]
  /** Whose certificates are taken. */
  brokers: string[]
  /** Of the prices; undefined if it is not said. */
  currency: Currency | undefined
  /** The most hashes for one request. */
  maxStep: number
  /** Whether commitments without a reservation are taken. */
  unreserved: boolean
  /** Of the payword method. */
  version: number
}

/** More origins than that are no document of 16 KB. */
const maxOrigins = 1024

/**
 * Reads a discovery document.
 *
 * @throws {@link MalformedError}
 */
export function parseDiscovery(document: string): Discovery {
  return within('discovery document', () => {
    if (document.length > maxDiscoveryBytes) throw new MalformedError(`${document.length} bytes: at most ${maxDiscoveryBytes}`)
    const members = Members.parse(document)
    return {
      vendor: within('vendor', () => checkOrigin(members.text('vendor'))),
      origins: listOf(members, 'origins', maxOrigins).map(text),
      keys: listOf(members, 'keys', maxKeys).map(key => within('keys', () => readPublicJwk(new Members(key)))),
      brokers: listOf(members, 'brokers', maxBrokers).map(text),
      currency: members.optional('currency', name => members.currency(name)),
      maxStep: members.integer('maxStep', 0, 4_294_967_295),
      unreserved: members.optional('unreserved', name => members.boolean(name)) ?? false,
      version: members.integer('version', 0)
    }
  })
}

/** A list that may be left out, or null: so Go writes one that is empty. */
function listOf(members: Members, name: string, most: number): Json[] {
  return members.read(name, value => value === null || value === undefined) ? [] : members.list(name, 0, most)
}

function text(value: Json): string {
  if (typeof value !== 'string') throw new MalformedError('want a list of strings')
  return value
}
