import type { Currency } from './amount.js'

/**
 * What a wallet remembers, but for its secret: the `wallet` of the Go client's
 * file (client/document.go), member by member, so that a file or a backup of one
 * is read by the other. Amounts are strings of micros, times seconds since 1970.
 * Members that only this library knows are optional, and the Go client passes
 * over them.
 */
export interface WalletDocument {
  /** Origin of the broker. */
  broker?: string
  /** Id of the account there. */
  account?: string
  currency?: Currency
  prefixes?: string[]
  /** Number of the next certificate's key. */
  nextKey: number
  /** Certificates that no vendor has seen. */
  spares: HeldCertificate[] | null
  /** By origin. */
  vendors: Record<string, VendorRecord>
  day: DayTotal
  total: Total
  /** Oldest first, at most 1000. */
  history: ReceiptRecord[] | null
}

/** A certificate and the number of its key. */
export interface HeldCertificate {
  key: number
  certificate: string
}

/** How much was paid. */
export interface Total {
  /** What counts against budgets; never shrinks. */
  released: string
  /** What was charged, by the vendors' receipts. */
  spent: string
}

/** The total of one day. */
export interface DayTotal extends Total {
  /** Days since 1970, UTC. */
  day: number
}

/** A receipt as it is stored: {@link Receipt} with amounts as strings. */
export interface ReceiptRecord {
  time: number
  url: string
  vendor: string
  amount: string
  currency: Currency
  returned?: string
}

/** What a wallet knows of one vendor. */
export interface VendorRecord extends Total {
  /** Of the certificate that the vendor knows the wallet by; 0 and '' before the first commitment. */
  key: number
  certificate: string
  price: string
  lowest: string
  steady: number
  lastPaid: number
  unserved?: string
  probed?: number
  open?: CommitmentRecord
  old?: CommitmentRecord[]
  /** This library's: released on one day, for `Budget.perSiteAndDay`. */
  day?: { day: number, released: string }
  /** This library's: released of late, for `Budget.perSiteAndMinute`: seconds since 1970 and micros, oldest first. */
  recent?: { at: number, released: string }[]
}

/** One commitment and how far it was used. */
export interface CommitmentRecord {
  token: string
  key: number
  reservation?: string
  unreserved?: boolean
  /** The most that may be released, in micros. */
  cap: string
  /** Index of each chain. */
  released: number[]
  /** Released on each chain and not agreed to be spent, in micros. */
  surplus: string[]
  /** Index of each chain that the vendor is known to have. */
  proved: number[]
  /** Sum of the `max` of every request, in micros. */
  agreed: string
  nextNumber: number
  confirmed?: boolean
  abandoned?: boolean
  maxStep: number
  told?: { accepted: string, spent: string, at: number }
  /** This library's: the traversal of each chain, base64url; left out of backups, since the seed gives it. */
  traversals?: string[]
}
