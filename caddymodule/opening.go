package caddymodule

import (
	"context"
	"errors"

	"github.com/paywordhq/payword"
)

// findCommitment looks the commitment up, or verifies it if it came along.
func (x *exchange) findCommitment(ctx context.Context) (payword.Refusal, error) {
	if x.known = x.gate.store.recall(x.sent.payment.Commitment, x.sent.payment.Chain, &x.view); !x.known {
		found, err := x.gate.store.find(ctx, x.sent.payment.Commitment)
		switch {
		case err == nil:
			x.known = true
			x.saw(&found)
		case !errors.Is(err, errUnknownCommitment):
			return payword.Refusal{}, err
		case x.sent.commitment == "":
			return payword.Refusal{Reason: payword.UnknownCommitment, Detail: "send the commitment along"}, nil
		}
	}
	if x.known && (x.sent.reservation == "" || x.sent.reservation == x.view.reservation) {
		return payword.Refusal{}, nil
	}
	if !x.known {
		if refusal := x.checkOpening(); refusal.Refused() {
			return refusal, nil
		}
	}
	return x.verify()
}

// verify checks a commitment that is not known yet, and its reservation; or a
// later reservation of a known one. Nothing is remembered of what fails.
func (x *exchange) verify() (payword.Refusal, error) {
	if x.sent.reservation == "" && len(x.app.creditCaps) == 0 {
		return reservationRequired, nil
	}
	if !x.known {
		commitment, refusal, err := x.verifyCommitment()
		if err != nil || refusal.Refused() {
			return refusal, err
		}
		x.view.commitment = commitment
		if chain := x.sent.payment.Chain; int(chain) < len(commitment.Chains) {
			x.view.chain, x.view.tail = chain, payword.Tail{Payword: commitment.Chains[chain].Root}
		}
	}
	commitment := x.view.commitment
	if x.sent.reservation == "" {
		unreserved, isGiven := x.app.unreserved(commitment, x.now)
		if !isGiven {
			return reservationRequired, nil
		}
		x.pending = &unreserved
		return payword.Refusal{}, nil
	}
	brokers, err := x.app.trusted(commitment.Certificate.Issuer)
	if err != nil {
		return payword.Refusal{}, err
	}
	reservation, refusal := payword.ParseReservation(x.sent.reservation, commitment, brokers)
	x.gate.metrics.verified("reservation", refusal.Refused())
	if refusal.Refused() {
		x.strike()
		return refusal, nil
	}
	if x.known && x.view.reservation == "" && reservation.Amount < commitment.Limit {
		return payword.Refusal{Reason: payword.ReservationMismatch, Detail: "the commitment was opened unreserved: reserve its whole limit"}, nil
	}
	x.pending = &opening{
		commitment: commitment, reservation: reservation.Token, amount: reservation.Amount,
		sequence: reservation.Sequence, redeemBy: reservation.RedeemBy,
	}
	return payword.Refusal{}, nil
}

// reservationRequired is the refusal of an unreserved commitment where none are
// taken.
var reservationRequired = payword.Refusal{
	Reason: payword.ReservationRequired, Detail: "this site takes reserved commitments only: have the broker reserve it",
}

// open remembers what verify found good. A known commitment is topped up.
func (x *exchange) open(ctx context.Context) (payword.Refusal, error) {
	if x.pending == nil {
		return payword.Refusal{}, nil
	}
	opened, err := x.gate.store.open(ctx, *x.pending)
	if errors.Is(err, errCreditLimit) {
		return creditLimited, nil
	}
	if err == nil {
		x.noteOpened(x.known, x.pending)
		x.saw(&opened)
		x.known, x.pending = true, nil
	}
	return payword.Refusal{}, err
}

// verifyCommitment checks the commitment that came along: what is cheap first,
// on what it says of itself, then two signatures.
func (x *exchange) verifyCommitment() (*payword.Commitment, payword.Refusal, error) {
	claimed, err := payword.UnverifiedCommitment(x.sent.commitment)
	if err != nil {
		_, refusal := payword.ParseCommitment(x.sent.commitment, nil) // says which part is malformed
		return nil, refusal, nil
	}
	if refusal := claimed.CheckTerms(x.Vendor, x.currency, x.now); refusal.Refused() {
		return nil, refusal, nil
	}
	brokers, err := x.app.trusted(claimed.Certificate.Issuer)
	if err != nil {
		return nil, payword.Refusal{}, err
	}
	commitment, refusal := payword.ParseCommitment(x.sent.commitment, brokers)
	x.gate.metrics.verified("commitment", refusal.Refused())
	if refusal.Refused() {
		x.strike()
		return nil, refusal, nil
	}
	return &commitment, payword.Refusal{}, nil
}
