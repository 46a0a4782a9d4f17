package client

import (
	"errors"
	"fmt"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/foreign"
	"github.com/paywordhq/payword/money"
)

// What goes wrong with a wallet file. The errors that wrap these name the file.
var (
	// ErrLocked means that another process has the wallet open.
	ErrLocked = errors.New("the wallet is open in another process")
	// ErrPassphrase means that the wallet is encrypted, and the passphrase is
	// missing or wrong.
	ErrPassphrase = errors.New("the passphrase is missing or wrong")
	// ErrCorrupt means that the file is not a whole wallet.
	ErrCorrupt = errors.New("not a whole wallet file")
	// ErrVersion means that the file was written by a newer version of payword.
	ErrVersion = errors.New("the wallet was written by a newer version of payword")
	// ErrNoAccount means that the wallet has no account at a broker yet.
	ErrNoAccount = errors.New("the wallet has no account at a broker: open one first")
	// ErrClosed means that the wallet was closed.
	ErrClosed = errors.New("the wallet is closed")
)

// RefusedError means that a request was not granted: the server refused the
// payment after everything that can be done about it, or the wallet refused to
// pay what the server asked for. Whatever was released stays as credit with the
// vendor.
type RefusedError struct {
	Origin   string // that was asked
	Reason   payword.Reason
	Detail   string         // one sentence
	Price    money.Amount   // that was asked for, in micros; 0 if it is not known
	Currency money.Currency // empty if it is not known
	Status   int            // of the answer; 0 if the wallet refused
}

// Error says in one sentence what was refused, and why.
func (e *RefusedError) Error() string {
	text := fmt.Sprintf("paying %s: refused: %s", e.Origin, e.Reason)
	if e.Price > 0 {
		text += fmt.Sprintf(" (price %s %s)", e.Price.Decimal(), e.Currency.Code())
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// StalledError means that a vendor did not serve what it was paid for of late,
// over and over, and is paid no more for the time being. Nothing was released
// for the request. Every five minutes one request is paid for all the same; once
// one is served, all are paid for again.
type StalledError struct {
	Origin    string       // the vendor's
	Unserved  money.Amount // paid and not served, in micros
	Allowance money.Amount // how much of that a vendor may leave at this price, in micros
	Currency  money.Currency
	Retry     int64 // when a request is paid for again, seconds since 1970
}

// Error says in one sentence what was refused, and why.
func (e *StalledError) Error() string {
	return fmt.Sprintf("paying %s: it does not serve what it is paid for: %s %s were paid for nothing, the wallet allows %s",
		e.Origin, e.Unserved.Decimal(), e.Currency.Code(), e.Allowance.Decimal())
}

// BrokerError means that the broker refused something (Reason is set) or could
// not be asked (Err is set).
type BrokerError struct {
	Broker string         // origin
	Action string         // what was asked for, such as "reserving"
	Reason payword.Reason // Accepted if the broker could not be asked
	Detail string
	Status int // HTTP status of the answer; 0: none
	Err    error
}

// Error says in one sentence what was refused, and why.
func (e *BrokerError) Error() string {
	text := fmt.Sprintf("broker %s: %s", e.Broker, e.Action)
	switch {
	case e.Reason != payword.Accepted:
		text += ": refused: " + e.Reason.String()
	case e.Status != 0:
		text += fmt.Sprintf(": answer %d", e.Status)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *BrokerError) Unwrap() error { return e.Err }

// unavailable reports whether the broker could not be asked, as opposed to
// having said no.
func (e *BrokerError) unavailable() bool {
	return e.Reason == payword.Accepted && (e.Status == 0 || e.Status >= 500)
}

// maxDetailBytes bounds a sentence of somebody else's that stands in our errors.
const maxDetailBytes = 200

// foreignText returns text of a server as it may stand in an error.
func foreignText(text string) string { return foreign.Text(text, maxDetailBytes) }
