package broker

import (
	"context"

	"github.com/paywordhq/payword"
)

// EncodeTails and DecodeTails write and read the tails of a stored commitment.
var EncodeTails, DecodeTails = encodeTails, decodeTails

// ParsePeriod reads the two days of a statement.
func ParsePeriod(from, to string) error {
	_, err := parsePeriod(from, to)
	return err
}

// CheckChallenge refuses a challenge that was not made here.
func (b *Broker) CheckChallenge(ctx context.Context, challenge string) (payword.Refusal, error) {
	return b.checkChallenge(ctx, challenge)
}
