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
  /** This library's: of late, at most 64. */
  attempts?: AttemptRecord[]
  /** This library's: who opens a commitment for all that wait, and until when that counts, seconds since 1970. */
  opening?: { by: string, until: number }
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
  /** This library's: the traversal of each chain, '' where it has not been used; left out of backups, since the seed gives it. */
  traversals?: string[]
  /** This library's: requests under way or in doubt, so that every tab and process knows of them; at most 512. */
  tickets?: TicketRecord[]
  /** This library's: how many debits there were. */
  debits?: number
  /** This library's: what only the vendor knew of, by chain; null: nothing. */
  found?: (FoundRecord | null)[]
}

/** How far a vendor had a chain when the document did not know of it. */
export interface FoundRecord {
  index: number
  /** Of the commitment until then. */
  debits: number
}

/**
 * A request whose outcome is open: `sent` is under way, `granted` was settled
 * and its body is not here yet, `lost` has no answer and may be repeated under
 * its number, `again` is sent once more as it is, by whoever asks for the same.
 */
export interface TicketRecord extends Tries {
  id: string
  state: 'sent' | 'granted' | 'lost' | 'again'
  fingerprint: string
  chain: number
  index: number
  number: number
  /** In micros. */
  max: string
  /** When it was debited, seconds since 1970. */
  at: number
  /** Among the debits of its commitment. */
  order: number
  /** By its debit, in micros. */
  released: string
  /** No other request was under way or in doubt when it was debited. */
  alone?: boolean
  /** It was sent before, and may have been charged. */
  repeat?: boolean
  /** It was granted before, and its amount is accounted for. */
  settled?: boolean
  /** Its answer may be charged while it flows. */
  metered?: boolean
  /** What a stream did not cost was given back. */
  returned?: boolean
  /** It goes after HEAD requests that prove paywords on the way. */
  stepped?: boolean
}

/** What was done for a request before, by tickets that were refused. Amounts are micros. */
export interface Tries {
  /** Released for it in all, by the ticket at hand too. */
  triedReleased: string
  /** Part of that which cannot pay for it any more. */
  forfeited: string
  /** A commitment was given up for it. */
  abandoned?: boolean
}

/** A request that was refused and may be paid for again: the next ticket goes on from here. */
export interface AttemptRecord extends Tries {
  fingerprint: string
  /** When it was refused, seconds since 1970. */
  at: number
  /** Id of the commitment that paid. */
  commitment: string
  /** Number that the next ticket has again; left out: a new one. */
  number?: number
}
