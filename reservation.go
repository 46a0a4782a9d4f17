package payword

import (
	"crypto"
	"fmt"

	"github.com/paywordhq/payword/money"
)

// Reservation is the broker's word over one commitment: so much of the user's
// balance is set aside for it until RedeemBy. It is a JWT
// (typ payword-reservation+jwt) signed by the broker. The highest Sequence wins.
type Reservation struct {
	Token      string // the exact bytes, as signed
	Issuer     string // B: the broker's origin
	Commitment CommitmentID
	Amount     money.Amount // set aside, in micros; at most the commitment's limit
	Currency   money.Currency
	Sequence   uint32 // 1 for the first, one more for each that replaces it
	IssuedAt   int64  // seconds since 1970
	RedeemBy   int64  // D plus grace, seconds since 1970: claims are paid while now < RedeemBy
}

type reservationClaims struct {
	Issuer     string         `json:"iss"`
	Commitment CommitmentID   `json:"commitment"`
	Amount     money.Amount   `json:"amount"`
	Currency   money.Currency `json:"currency"`
	Sequence   uint32         `json:"seq"`
	IssuedAt   int64          `json:"iat"`
	RedeemBy   int64          `json:"redeem_by"`
}

// SignReservation signs r with the broker's key and returns it with its token.
func SignReservation(r Reservation, broker crypto.Signer) (Reservation, error) {
	token, err := signJWS(typeReservation, reservationClaims{
		Issuer: r.Issuer, Commitment: r.Commitment, Amount: r.Amount, Currency: r.Currency,
		Sequence: r.Sequence, IssuedAt: r.IssuedAt, RedeemBy: r.RedeemBy,
	}, broker)
	if err != nil {
		return Reservation{}, err
	}
	if len(token) > MaxReservationBytes {
		return Reservation{}, fmt.Errorf("signing a reservation: it takes %d bytes, at most %d", len(token), MaxReservationBytes)
	}
	r.Token = token
	return r, nil
}

// ParseReservation reads a reservation, checks the broker's signature, and that
// it is for m and fits it. It refuses with MalformedReservation, UnknownBroker,
// BadReservation or ReservationMismatch.
func ParseReservation(token string, m *Commitment, brokers Brokers) (Reservation, Refusal) {
	object, err := splitJWS(token, typeReservation, MaxReservationBytes)
	if err != nil {
		return Reservation{}, refuse(MalformedReservation, "reservation: %v", err)
	}
	var claims reservationClaims
	if err := object.claims(&claims); err != nil {
		return Reservation{}, refuse(MalformedReservation, "reservation: %v", err)
	}
	key := brokers.Key(claims.Issuer, object.keyID)
	if key == nil {
		return Reservation{}, refuse(UnknownBroker, "no key of broker %s is known under that kid", claims.Issuer)
	}
	if !object.verify(key, oneByOne) {
		return Reservation{}, refuse(BadReservation, "the broker's signature over the reservation is wrong")
	}
	switch {
	case claims.Commitment != m.ID:
		return Reservation{}, refuse(ReservationMismatch, "the reservation is for another commitment")
	case claims.Issuer != m.Certificate.Issuer:
		return Reservation{}, refuse(ReservationMismatch, "the reservation is by another broker than the certificate")
	case claims.Currency != m.Currency:
		return Reservation{}, refuse(ReservationMismatch, "the reservation is in another currency")
	case claims.Amount < 1 || claims.Amount > m.Limit:
		return Reservation{}, refuse(ReservationMismatch, "the reservation's amount is not between 1 and the commitment's limit")
	case claims.Sequence < 1 || claims.RedeemBy < m.Expires:
		return Reservation{}, refuse(ReservationMismatch, "the reservation ends before the commitment, or has no sequence number")
	}
	return Reservation{
		Token: token, Issuer: claims.Issuer, Commitment: claims.Commitment, Amount: claims.Amount,
		Currency: claims.Currency, Sequence: claims.Sequence, IssuedAt: claims.IssuedAt, RedeemBy: claims.RedeemBy,
	}, Refusal{}
}
