import { formatAmount, type Currency, type Micros } from './amount.js'
import type { Commitment } from './commitment.js'
import type { Base64url } from './encoding.js'
import { signJws, splitJws, type Jws } from './jws.js'
import { verifySignature, type Brokers, type Signer } from './keys.js'
import { commitmentIdBytes, maxReservationBytes } from './limits.js'
import { MalformedError, within } from './malformed.js'
import { Refusal } from './reason.js'

/** The broker's word over one commitment. docs/protocol.md, section 6.3. */
export interface Reservation {
  /** The exact token, as signed. */
  token: string
  /** The broker's origin. */
  issuer: string
  /** The commitment's id. */
  commitment: Base64url
  /** Set aside, in micros. */
  amount: Micros
  currency: Currency
  /** 1 for the first, one more for each that replaces it. */
  sequence: number
  /** Seconds since 1970. */
  issuedAt: number
  /** Seconds since 1970: claims are paid while now < redeemBy. */
  redeemBy: number
}

/**
 * Signs a reservation with the broker's key and returns it with its token, for
 * programs that play a broker, such as tests.
 */
export async function signReservation(reservation: Omit<Reservation, 'token'>, broker: Signer): Promise<Reservation> {
  const token = await signJws('payword-reservation+jwt', {
    iss: reservation.issuer, commitment: reservation.commitment, amount: formatAmount(reservation.amount),
    currency: reservation.currency, seq: reservation.sequence, iat: reservation.issuedAt, redeem_by: reservation.redeemBy
  }, broker)
  return { token, ...reservation }
}

/**
 * Reads a reservation without checking the broker's signature, for the wallet that
 * was given it over a secure channel.
 *
 * @throws {@link MalformedError}
 */
export function unverifiedReservation(token: string): Reservation {
  return within('reservation', () => readReservation(splitReservation(token), token))
}

/**
 * Reads a reservation, checks the broker's signature, and that it is for the
 * commitment and fits it. It refuses with malformed-reservation, unknown-broker,
 * bad-reservation or reservation-mismatch.
 */
export async function parseReservation(token: string, commitment: Commitment, brokers: Brokers): Promise<Reservation | Refusal> {
  let object: Jws
  let reservation: Reservation
  try {
    object = splitReservation(token)
    reservation = readReservation(object, token)
  } catch (error) {
    if (error instanceof MalformedError) return new Refusal('malformed-reservation', `reservation: ${error.message}`)
    throw error
  }
  const key = brokers.get(reservation.issuer)?.get(object.keyId)
  if (key === undefined) return new Refusal('unknown-broker', `no key of broker ${reservation.issuer} is known under that kid`)
  if (!await verifySignature(key, object.signed, object.signature)) {
    return new Refusal('bad-reservation', 'the broker’s signature over the reservation is wrong')
  }
  const mismatch = mismatchOf(reservation, commitment)
  return mismatch === undefined ? reservation : new Refusal('reservation-mismatch', mismatch)
}

function splitReservation(token: string): Jws {
  return splitJws(token, 'payword-reservation+jwt', maxReservationBytes)
}

function readReservation({ payload }: Jws, token: string): Reservation {
  return {
    token, issuer: payload.text('iss'), commitment: payload.binary('commitment', commitmentIdBytes),
    amount: payload.amount('amount'), currency: payload.currency('currency'),
    sequence: payload.integer('seq', 0, 4_294_967_295), issuedAt: payload.integer('iat', 0), redeemBy: payload.integer('redeem_by', 0)
  }
}

/** Says why a reservation does not fit a commitment, or undefined. */
export function mismatchOf(reservation: Reservation, commitment: Commitment): string | undefined {
  if (reservation.commitment !== commitment.id) return 'the reservation is for another commitment'
  if (reservation.issuer !== commitment.certificate.issuer) return 'the reservation is by another broker than the certificate'
  if (reservation.currency !== commitment.currency) return 'the reservation is in another currency'
  if (reservation.amount < 1n || reservation.amount > commitment.limit) return 'the amount is not between 1 and the commitment’s limit'
  if (reservation.sequence < 1) return 'the reservation has no sequence number'
  return reservation.redeemBy < commitment.expires ? 'the reservation ends before the commitment' : undefined
}
