package terminal

import (
	"context"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// Host is clearing, as a terminal asks it. Each function may be called again
// with the same arguments: it answers the same and books once. An error that is
// a *purse.Refusal (errors.As) is a no for good; any other means that it is
// unknown whether clearing did it.
type Host interface {
	// AuthoriseLoad takes the data of INIT LOAD (19 bytes) and the card's answer
	// (57), and returns the load's name and the data of CREDIT (32 bytes).
	AuthoriseLoad(ctx context.Context, request, answer []byte) (reference purse.ID, credit []byte, err error)
	// ConfirmLoad takes the card's answer to CREDIT (24 bytes).
	ConfirmLoad(ctx context.Context, reference purse.ID, receipt []byte) error
	// ChallengeLoad returns what LOAD STATUS is to be asked with.
	ChallengeLoad(ctx context.Context, reference purse.ID) (purse.Random, error)
	// ResolveLoad takes the card's answer to LOAD STATUS (44 bytes), and says
	// whether the card took the load.
	ResolveLoad(ctx context.Context, reference purse.ID, status []byte) (taken bool, err error)
	// PayOnline books the record of one payment, with the MACM before it.
	PayOnline(ctx context.Context, record []byte, previous purse.MAC) error
	// SubmitBatch takes total and records, and returns the data of ACK BATCH.
	SubmitBatch(ctx context.Context, batch []byte) (purse.MAC, error)
	// Claim takes a proof (53 bytes) and its MACZ, of a payment that the card
	// made and the SAM has voided without knowing: the holder gets it back. So it
	// does with what a card says of a cancellation (61 bytes): the holder has it
	// back already.
	Claim(ctx context.Context, proof []byte, macz purse.MAC) error
	// Scripts returns the commands (SCRIPT, whole) that wait for a card, in their
	// order, at most 16.
	Scripts(ctx context.Context, card purse.ID) (commands [][]byte, err error)
	// ScriptDone takes the card's answer to a script (20 bytes).
	ScriptDone(ctx context.Context, card purse.ID, answer []byte) error
	// HotList returns the cards that are not to be taken.
	HotList(ctx context.Context) ([]purse.ID, error)
	// CardAccount returns the broker's account that a card is loaded from: "" for
	// a white card, and for one that clearing does not know a refusal.
	CardAccount(ctx context.Context, card purse.ID) (account string, err error)
	// CashOut pays the payment of a white card, booked by PayOnline, out in cash.
	CashOut(ctx context.Context, merchant purse.ID, tno uint32) error
}

// Accounts is the broker, as a terminal asks it. Errors are as those of Host,
// but refusals are a *Refused.
type Accounts interface {
	// Check says whether an account could be given an amount now.
	Check(ctx context.Context, account string, amount money.Amount) error
	// Fund puts an amount on an account, once for each id.
	Fund(ctx context.Context, account, id string, amount money.Amount) error
}

// Refused is a no of the broker's for good, with a sentence for people.
type Refused struct{ Reason, Sentence string }

// Error returns the sentence.
func (r *Refused) Error() string { return r.Sentence }
