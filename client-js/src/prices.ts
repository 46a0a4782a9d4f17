import { maxMicros } from './amount.js'
import type { Micros } from './amount.js'
import type { Meter, Offer } from './payer.js'

/** What a request had to agree to when it was paid last. */
interface KnownPrice {
  /** In micros; 0: it is free. */
  price: Micros
  meter: Meter | undefined
}

/** What is known of an origin that was paid. */
interface KnownSite {
  /** Of the last offer that was taken there. */
  offer: Offer
  /** When the vendor was found to speak for the origin, ms since 1970. */
  foundAt: number
  /** When it was paid last, ms since 1970. */
  paidAt: number
  /** Of the last page, in micros; 0: none was seen yet. */
  price: Micros
  /** Of all pages, in micros. */
  lowest: Micros
  /** How many new pages in a row had the same price. */
  steady: number
}

// When a memory is full it begins anew.
const maxPrices = 4096
const maxSites = 1024

// A vendor other than the origin is found again after that long, since its
// discovery document may list the origin no more.
const delegationMilliseconds = 600_000

// A payment goes along unasked for so long after the last one: a commitment that
// was paid with then is most likely still open.
const warmMilliseconds = 3_600_000

/** Remembers what URLs cost and whom an origin belongs to, so that a payment can go along without asking. */
export class Prices {
  readonly #prices = new Map<string, KnownPrice>()
  readonly #sites = new Map<string, KnownSite>()

  /**
   * The offer that a request would most likely be asked to take; undefined if
   * it is likely free, or nothing is known. A guess that is too low costs a round
   * trip; one that is too high leaves credit with the vendor, so it is low where
   * prices differ, and above `most` only where they do not.
   */
  guess(method: string, url: URL, most: Micros, now: number): Offer | undefined {
    const site = this.#sites.get(url.origin)
    if (site === undefined || now - site.paidAt > warmMilliseconds) return undefined
    if (site.offer.vendor !== url.origin && now - site.foundAt > delegationMilliseconds) {
      this.#sites.delete(url.origin)
      return undefined
    }
    const known = this.#prices.get(keyOf(method, url))
    // Where nobody knows that it costs anything, what may be done only once is not tried.
    const isHarmless = method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
    const price = known?.price ?? (isHarmless ? likelyPrice(site, most) : 0n)
    if (price === 0n) return undefined
    const { meter: _, ...plain } = site.offer
    return { ...plain, price, ...(known?.meter && { meter: known.meter }) }
  }

  /** Notes an offer that was paid, and what the answer said that the page costs; 0 if it said nothing new. */
  paid(method: string, url: URL, offer: Offer, price: Micros, now: number): void {
    const before = this.#sites.get(url.origin)
    const same = before?.offer.vendor === offer.vendor ? before : undefined
    const site: KnownSite = { offer, foundAt: same?.foundAt ?? now, paidAt: now, price: same?.price ?? 0n, lowest: same?.lowest ?? 0n, steady: same?.steady ?? 0 }
    const isNew = !this.#prices.has(keyOf(method, url))
    if (price > 0n && offer.meter === undefined) sawPrice(site, price, isNew)
    if (same === undefined && this.#sites.size >= maxSites) this.#sites.clear()
    this.#sites.set(url.origin, site)
    if (price > 0n) this.#remember(method, url, { price, meter: offer.meter })
  }

  /** Notes that a URL was delivered without a payment. */
  free(method: string, url: URL): void {
    this.#remember(method, url, { price: 0n, meter: undefined })
  }

  #remember(method: string, url: URL, known: KnownPrice): void {
    if (this.#prices.size >= maxPrices) this.#prices.clear()
    this.#prices.set(keyOf(method, url), known)
  }
}

function keyOf(method: string, url: URL): string {
  return `${method} ${url.origin}${url.pathname}${url.search}`
}

function likelyPrice(site: KnownSite, most: Micros): Micros {
  const isUneven = site.lowest * 16n < maxMicros && site.price > site.lowest * 16n
  const guess = isUneven ? site.lowest : site.price
  return guess > most && site.steady < 2 ? 0n : guess
}

function sawPrice(site: KnownSite, price: Micros, isNew: boolean): void {
  if (price !== site.price) site.steady = 1
  else if (isNew) site.steady++
  site.price = price
  if (site.lowest === 0n || price < site.lowest) site.lowest = price
}
