// Package terminal moves money between purse cards, a SAM, clearing and the
// broker. It writes down what it is about to do before it sends anything, and
// afterwards finds out what became of it, so that a card that was pulled, or a
// process that was killed, loses nothing and creates nothing.
package terminal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// Patience is how long a card that was pulled is waited for before the next
// customer may pay: long enough to clean a card and put it in again, and short
// enough for a queue.
const Patience = 2 * time.Minute

// Config is what Open needs.
type Config struct {
	// SAM is the merchant's, in a reader or in software.
	SAM smartcard.Card
	// Journal is the path of the file in which everything is written down that is
	// not decided; it is made with mode 0600. It belongs to the SAM, and goes with
	// it to another machine.
	Journal string
	// Host is clearing.
	Host Host
	// Accounts is the broker; nil: nothing is funded here.
	Accounts Accounts
	// LoadTerminal (LDA) names this place in loads.
	LoadTerminal purse.ID
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log takes what somebody should look at; nil: nobody does.
	Log *slog.Logger

	// hook and noSync are for tests: what is called around each write of the
	// journal, and that nothing waits for the disk.
	hook   func()
	noSync bool
}

// What can be wrong beside a purse.StatusWord of a card or a SAM, a
// *purse.Refusal of clearing and a *Refused of the broker. Errors that wrap
// these say more.
var (
	// ErrUndecided means that an order went to the card and its answer did not
	// come back. Meet with the card, or Resolve after Patience, decides it.
	ErrUndecided = errors.New("it is not known yet whether the card paid: put it in again")
	// ErrLoadUndecided means the same of a load.
	ErrLoadUndecided = errors.New("it is not known yet whether the card took the load: put it in again")
	// ErrOccupied means that the payment of another card is not decided, and that
	// card may still come back.
	ErrOccupied = errors.New("the payment of another card is not decided yet: put that card in again, or wait two minutes")
	// ErrSAMFull means that the SAM takes no more before its batch is turned in,
	// and that clearing cannot be reached for that.
	ErrSAMFull = errors.New("the SAM took as much as it may: its batch has to be turned in first, and clearing cannot be reached")
	// ErrBatchClosed means that the batch is closed and clearing has not taken it
	// yet.
	ErrBatchClosed = errors.New("the batch is closed, and clearing has not taken it yet: turn it in first")
	// ErrOtherSAM means that the journal is another SAM's.
	ErrOtherSAM = errors.New("the journal belongs to another SAM: put that one in, or begin a new journal for this one")
	// ErrOldSAM means that the SAM knows less than the journal: it was made again,
	// or restored from a copy. What it numbered anew would be refused by clearing.
	ErrOldSAM = errors.New("the SAM is older than the journal, such as a copy of it: put the right one in, and never restore one from a backup")
	// ErrDisowned means that clearing has another payment under the number of one
	// here: SAM and journal were both restored from older copies.
	ErrDisowned = errors.New("clearing knows another payment under a number of this SAM, such as after SAM and journal were restored from copies: take another SAM, of a merchant's number of its own, with a new journal")
	// ErrNothingToCancel means that the card's last payment is none of this
	// batch, is cancelled, is one that clearing books online, or may be.
	ErrNothingToCancel = errors.New("the card's last payment cannot be cancelled here")
)

// Payment is what a card is asked to pay.
type Payment struct {
	// Amount is in units, above 0.
	Amount uint32
	Unit   purse.Unit
	// Account is the broker's account that is to be funded with it; empty: none.
	Account string
	// Online has clearing book it at once, instead of with the batch. A payment
	// that funds an account, or is paid out in cash, always is.
	Online bool
	// Cash has it paid out in cash, for a white card alone.
	Cash bool
}

// Receipt is about a payment or a cancellation that the card made.
type Receipt struct {
	Merchant purse.ID
	TNo      uint32
	Card     purse.ID
	SNo      uint32
	Amount   uint32 // in units
	Unit     purse.Unit
	Time     time.Time
	// CancelledTNo is the transaction that was cancelled; 0: this is a payment.
	CancelledTNo uint32
	// Account was, or will be, funded; empty: none is.
	Account string
	// IsBooked, IsFunded and IsCash say what is done of what was asked for:
	// clearing has booked it online, the account is funded, the cash may be handed
	// out. What is not done yet waits in the journal and is repeated.
	IsBooked, IsFunded, IsCash bool
	// Waiting says for people why something is not done yet; empty: all is.
	Waiting string
}

// LoadReceipt is about a load that the card took.
type LoadReceipt struct {
	Card      purse.ID
	LNo       uint32
	Amount    uint32 // in units
	Unit      purse.Unit
	Balance   uint32 // after it, in units
	Reference purse.ID
	// IsConfirmed says that clearing knows that the card took it. Until then that
	// waits in the journal and is repeated.
	IsConfirmed bool
}

// Kind is what something in the journal is.
type Kind string

// The kinds.
const (
	KindPayment      Kind = "payment"
	KindCancellation Kind = "cancellation"
	KindLoad         Kind = "load"
	KindScript       Kind = "script"
)

// Matter is what something is about.
type Matter struct {
	Kind     Kind
	Merchant purse.ID // zero for a load and a script
	TNo      uint32   // 0 for a load and a script
	Load     purse.ID // reference of a load; zero: clearing did not say it
	Card     purse.ID // zero: none was there yet
	Amount   uint32   // in units
	Unit     purse.Unit
	Account  string // that is to be funded; empty: none
	Began    time.Time
}

// Outcome is what became of something that was not decided.
type Outcome struct {
	Matter
	State State
	// Sentence is for people.
	Sentence string
}

// Undecided is something of which it is not known what becomes of it, or that
// has still to be told to clearing or broker.
type Undecided struct {
	Matter
	State State
	// Reason says why it waits; empty: nothing went wrong yet.
	Reason string
	// Due is when it is tried again; zero: when the card is there.
	Due time.Time
}

// Turned is a batch that clearing has taken.
type Turned struct {
	Merchant purse.ID
	Batch    uint32 // 0: there was nothing to turn in
	First    uint32
	Last     uint32
	Payments uint32 // and cancellations
	Voids    uint32
	Sum      uint64 // in units
}

// Terminal is a SAM with its journal. It is safe for concurrent use: one
// transaction takes place at a time.
type Terminal struct {
	config  Config
	sam     smartcard.SAM
	journal *journal
	log     *slog.Logger
	hot     hotList

	// turn is held by whoever talks to the SAM; it guards the next three.
	turn    chan struct{}
	chain   chainEnd
	closed  closedBatch
	turnDue retry // of a batch that is closed

	mutex sync.Mutex
	notes []Outcome // guarded by mutex
}

// Open opens the journal. It talks to nobody: the first Resolve does.
func Open(_ context.Context, config Config) (*Terminal, error) {
	if config.SAM == nil || config.Host == nil || config.Journal == "" {
		return nil, errors.New("a terminal wants a SAM, clearing, and the path of a journal")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.hook == nil {
		config.hook = func() {}
	}
	journal, err := openJournal(config.Journal, &bbolt.Options{Timeout: lockTimeout, NoSync: config.noSync, NoGrowSync: config.noSync}, config.hook)
	if err != nil {
		return nil, err
	}
	t := &Terminal{config: config, sam: smartcard.SAM{Card: config.SAM}, journal: journal, log: config.Log, turn: make(chan struct{}, 1)}
	cards, err := journal.hotList()
	if err != nil {
		return nil, errors.Join(err, journal.db.Close())
	}
	t.hot.set(cards, time.Time{})
	return t, nil
}

func (t *Terminal) now() time.Time { return t.config.Now() }

// acquire waits until nobody else talks to the SAM, or ctx is done.
func (t *Terminal) acquire(ctx context.Context) (release func(), err error) {
	select {
	case t.turn <- struct{}{}:
		return func() { <-t.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close waits for a transaction that takes place, and closes the journal.
// Nothing may be called afterwards.
func (t *Terminal) Close() error {
	t.turn <- struct{}{}
	return t.journal.db.Close()
}
