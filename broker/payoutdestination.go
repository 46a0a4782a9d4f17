package broker

import (
	"errors"
	"strings"
	"unicode"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/bankaccount"
)

// The kinds of destinations of an account's payouts.
const (
	payoutIBAN      = "iban"
	payoutReference = "reference"
)

// payoutDestination is where a payout of an account goes. The empty one is none.
type payoutDestination struct {
	kind string
	text string // an IBAN without spaces, or a text
}

// newPayoutDestination returns a destination that checkPayoutDestination has
// found right, in its stored form.
func newPayoutDestination(given *payword.PayoutDestination) payoutDestination {
	switch {
	case given == nil:
		return payoutDestination{}
	case given.IBAN != "":
		return payoutDestination{payoutIBAN, strings.ToUpper(strings.ReplaceAll(given.IBAN, " ", ""))}
	}
	return payoutDestination{payoutReference, given.Reference}
}

func (d payoutDestination) shown() payword.PayoutDestination {
	if d.kind == payoutIBAN {
		return payword.PayoutDestination{IBAN: d.text}
	}
	return payword.PayoutDestination{Reference: d.text}
}

// checkPayoutDestination says what is wrong with where money is to go.
func checkPayoutDestination(given payword.PayoutDestination) error {
	if (given.IBAN == "") == (given.Reference == "") {
		return errors.New("want either an iban or a reference")
	}
	if given.IBAN != "" {
		return bankaccount.CheckIBAN(newPayoutDestination(&given).text)
	}
	if !isOneLine(given.Reference) || strings.ContainsFunc(given.Reference, isUnseen) {
		return errors.New("reference: want a text of one line, of characters that can be seen")
	}
	return nil
}

// isUnseen reports whether a character changes what an operator sees without
// being seen: control characters of every kind, and those that turn the
// direction of what follows. The two joiners belong to the spelling of names.
func isUnseen(c rune) bool {
	const joiner, nonJoiner = '\u200d', '\u200c'
	return !unicode.IsGraphic(c) && c != joiner && c != nonJoiner
}
