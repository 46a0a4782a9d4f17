package terminal

import (
	"context"
	"errors"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// maxChallenges is how often a card is asked about a load that was begun
// elsewhere. Whoever began it may ask, too, and the last challenge alone counts.
const maxChallenges = 3

// openElsewhere returns the load that clearing wants to have settled first, if that
// is what an error says. Those of this journal are decided by then.
func openElsewhere(err error) (purse.ID, bool) {
	var refusal *purse.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != loadOpen {
		return purse.ID{}, false
	}
	load, err := purse.ParseID(refusal.Load)
	return load, err == nil
}

// settleElsewhere settles a load that another terminal began. Nothing of it is
// written down here: it is clearing that keeps it, and where an answer is lost the
// next load comes here again. Nor has the other terminal to be told: it hears from
// clearing that the load is settled.
func (t *Terminal) settleElsewhere(ctx context.Context, card smartcard.Purse, id, reference purse.ID) error {
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	var err error
	for range maxChallenges {
		var isTaken bool
		isTaken, err = t.askElsewhere(ctx, card, reference)
		switch reason := refusedAs(err); {
		case err == nil:
			t.log.Info("a load that was begun elsewhere is settled", "load", reference.String(), "card", id.String(), "isTaken", isTaken)
			return nil
		case reason != wrongLoadMAC:
			return err
		}
	}
	return err
}

// askElsewhere asks the card for its last load, and brings clearing the answer.
func (t *Terminal) askElsewhere(ctx context.Context, card smartcard.Purse, reference purse.ID) (isTaken bool, err error) {
	challenge, err := t.config.Host.ChallengeLoad(ctx, reference)
	if refusedAs(err) == loadEnded { // somebody was faster
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// It ends the load that the card has begun here, and leaves the PIN entered.
	status, err := card.LoadStatus(ctx, challenge)
	if err != nil {
		return false, err
	}
	return t.config.Host.ResolveLoad(ctx, reference, status)
}

// refusedAs returns the reason of a refusal of clearing's; "": it is none.
func refusedAs(err error) purse.Reason {
	var refusal *purse.Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return ""
}
