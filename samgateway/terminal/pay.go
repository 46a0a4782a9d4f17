package terminal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

const (
	// exchangeTimeout bounds what card and SAM do together: ten commands, each of
	// which takes a tenth of a second on a slow card, and some of which may go to a
	// reader at home.
	exchangeTimeout = 30 * time.Second
	// hostTimeout bounds one question to clearing or broker.
	hostTimeout = 20 * time.Second
	// batchTimeout bounds turning a batch in: 200 KB over a slow line, whose card
	// takes nothing until it has arrived.
	batchTimeout = 90 * time.Second
	// maxAccountBytes bounds the name of an account.
	maxAccountBytes = 128
)

// HotListed is the reason why a card that clearing does not want taken is
// refused here, before anything is taken off it.
const HotListed purse.Reason = "hot-list"

// The reasons of refusals that are made here, beside those of package purse.
const (
	notWhite  purse.Reason = "holder"
	nothing   purse.Reason = "amount"
	otherCard purse.Reason = "other-card"
)

func refuse(reason purse.Reason, format string, args ...any) *purse.Refusal {
	return &purse.Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// Pay has a card pay. What was open about SAM and card is decided before. Errors:
// a purse.StatusWord is a no of the card's or the SAM's, and nothing was taken;
// ErrUndecided says that the card may have paid. A payment that the card made is
// no error, even if clearing or broker cannot be reached: the receipt says so.
func (t *Terminal) Pay(ctx context.Context, card smartcard.Card, p Payment) (Receipt, error) {
	if err := t.checkPayment(ctx, p); err != nil {
		return Receipt{}, err
	}
	x, err := t.transact(ctx, smartcard.Purse{Card: card}, func(purse.CardData, purse.SAMData) (transaction, error) {
		return transaction{Kind: KindPayment, Amount: p.Amount, Unit: p.Unit, Account: p.Account, IsOnline: p.Online, IsCash: p.Cash}, nil
	})
	if err != nil {
		return Receipt{}, err
	}
	// The card has paid. What follows is repeated until it is done.
	x, err = t.advance(ctx, x)
	if err != nil {
		t.log.Warn("a payment waits", "transaction", x.TNo, "state", string(x.State), "error", err.Error())
	}
	return x.receipt(), nil
}

// checkPayment refuses what makes no sense, and asks the broker whether the
// account can be funded, before anything is taken off the card.
func (t *Terminal) checkPayment(ctx context.Context, p Payment) error {
	if err := p.Unit.Check(); err != nil {
		return err
	}
	switch {
	case p.Amount == 0:
		return refuse(nothing, "a payment of nothing: want 1 unit at least")
	case p.Account != "" && p.Cash:
		return errors.New("a payment funds an account, or is paid out in cash: want one of them")
	case len(p.Account) > maxAccountBytes:
		return fmt.Errorf("account of %d bytes: want at most %d", len(p.Account), maxAccountBytes)
	case p.Account == "":
		return nil
	case t.config.Accounts == nil:
		return errors.New("no broker is known here: accounts cannot be funded")
	}
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	if err := t.config.Accounts.Check(ctx, p.Account, p.Unit.Amount(p.Amount)); err != nil {
		return fmt.Errorf("account %s cannot be funded now, and nothing was taken off the card: %w", p.Account, err)
	}
	return nil
}

// intent says what a card that is there, and a SAM that is idle, are to do.
type intent func(card purse.CardData, sam purse.SAMData) (transaction, error)

// transact has card and SAM do something together, and returns what the SAM has
// recorded. Any error but ErrUndecided means that nothing was taken.
func (t *Terminal) transact(ctx context.Context, card smartcard.Purse, want intent) (transaction, error) {
	says, err := look(ctx, card)
	if err != nil {
		return transaction{}, err
	}
	release, err := t.acquire(ctx)
	if err != nil {
		return transaction{}, err
	}
	defer release()
	// A context that ends does not end what was written down and is not known.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTimeout)
	defer cancel()
	x, err := t.attempt(ctx, work, card, says, want)
	if !errors.Is(err, purse.OverSAMLimit) && !errors.Is(err, errBatchFull) {
		t.told(x)
		return x, err
	}
	if _, turnErr := t.turnIn(ctx); turnErr != nil {
		return transaction{}, fmt.Errorf("%w: %w", ErrSAMFull, turnErr)
	}
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTimeout)
	defer cancel()
	x, err = t.attempt(ctx, again, card, says, want)
	t.told(x)
	return x, err
}

// look selects a card and asks it about itself, before it is its turn: a card that
// does not answer, or that is none, keeps nobody else from the SAM by that.
func look(ctx context.Context, card smartcard.Purse) (purse.CardData, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	if err := card.Select(ctx); err != nil {
		return purse.CardData{}, err
	}
	return card.Data(ctx)
}

// told forgets the outcome of what Pay or CancelLast returns by itself.
func (t *Terminal) told(x transaction) {
	t.forgetNote(func(m Matter) bool { return x.TNo != 0 && m.TNo == x.TNo })
}

// errBatchFull means that the batch has as many records as clearing takes.
var errBatchFull = errors.New("the batch is full")

// attempt does it once. ctx is asked as long as nothing can have been taken.
func (t *Terminal) attempt(ctx, work context.Context, card smartcard.Purse, says purse.CardData, want intent) (transaction, error) {
	data, err := t.settle(work, &card, false)
	if err != nil {
		return transaction{}, err
	}
	if data.State == purse.SAMClosed {
		if _, err := t.turnIn(ctx); err != nil {
			return transaction{}, fmt.Errorf("%w: %w", ErrBatchClosed, err)
		}
		if data, err = t.samData(work); err != nil {
			return transaction{}, err
		}
	}
	if data.TNo >= data.First && data.TNo-data.First+1 >= purse.MaxRecords {
		return transaction{}, errBatchFull
	}
	x, err := want(says, data)
	if err == nil && x.Kind == KindPayment {
		err = t.checkOwned()
	}
	if err != nil {
		return transaction{}, err
	}
	previous, err := t.previous(work, data)
	if err != nil {
		return transaction{}, err
	}
	x.State, x.TNo, x.Merchant, x.Began, x.Previous = Initiated, data.TNo+1, name(data.Merchant), t.now(), previous[:]
	if err := t.journal.begin(x); err != nil {
		return transaction{}, err
	}
	if err := t.exchange(ctx, work, card, x); err != nil {
		return t.afterwards(work, card, x, err)
	}
	x, _, err = t.journal.transaction(x.TNo)
	return x, err
}

// exchange is a payment, or a cancellation, in which nothing goes wrong. After
// any error it is found out what took place.
func (t *Terminal) exchange(ctx, work context.Context, card smartcard.Purse, x transaction) error {
	begun, err := t.initiate(work, x)
	if err != nil {
		return err
	}
	if begun.TNo != x.TNo || begun.Merchant != purse.ID(x.Merchant) {
		return fmt.Errorf("the SAM began transaction %d of %s: want %d of %s", begun.TNo, begun.Merchant, x.TNo, purse.ID(x.Merchant))
	}
	started, err := card.Start(work, begun)
	if err != nil {
		return err
	}
	if err := t.admit(started, x); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // the customer went away; no order has left the SAM
		return err
	}
	x, isChanged, err := t.journal.change(x.TNo, Initiated, func(x *transaction) {
		x.State, x.Card, x.SNo = Ordered, name(started.Card), started.SNo
	})
	if err != nil || !isChanged {
		return errors.Join(err, errNotAlone(isChanged))
	}
	order, err := t.sam.Authorize(work, started)
	if err != nil {
		return err
	}
	answer, err := obey(work, card, x.Kind, order)
	if err != nil {
		return err
	}
	x, isChanged, err = t.journal.change(x.TNo, Ordered, func(x *transaction) { x.State, x.Answer = Proved, answer })
	if err != nil || !isChanged {
		return errors.Join(err, errNotAlone(isChanged))
	}
	record, err := t.sam.Commit(work, answer)
	return t.take(x, record, err)
}

func errNotAlone(isChanged bool) error {
	if isChanged {
		return nil
	}
	return errors.New("somebody else changed the transaction in the journal")
}

func (t *Terminal) initiate(ctx context.Context, x transaction) (purse.Opening, error) {
	if x.Kind == KindCancellation {
		return t.sam.InitCancel(ctx, x.CancelledTNo, x.Began)
	}
	return t.sam.Init(ctx, x.Amount, x.Unit, x.Began)
}

func obey(ctx context.Context, card smartcard.Purse, kind Kind, order []byte) ([]byte, error) {
	if kind == KindCancellation {
		return card.CancelLast(ctx, order)
	}
	return card.Debit(ctx, order)
}

// admit refuses a card before any order is made for it.
func (t *Terminal) admit(started smartcard.Started, x transaction) error {
	switch {
	case t.hot.has(started.Card):
		return refuse(HotListed, "card %s is not to be taken: its issuer has it on the hot list", started.Card)
	case x.Kind == KindPayment && started.Unit != x.Unit:
		return refuse(purse.OtherUnit, "the card counts in %s, exponent %d", started.Unit.Currency.Money().Code(), started.Unit.Exponent)
	case x.IsCash && started.Holder != (purse.ID{}):
		return refuse(notWhite, "card %s belongs to an account: only a white card is paid out in cash", started.Card)
	case x.Kind == KindCancellation && started.Card != purse.ID(x.Card):
		return refuse(otherCard, "this is card %s: transaction %d was paid by card %s", started.Card, x.CancelledTNo, purse.ID(x.Card))
	}
	return nil
}

// afterwards finds out what became of a transaction in which something went
// wrong.
func (t *Terminal) afterwards(work context.Context, card smartcard.Purse, x transaction, cause error) (transaction, error) {
	_, settleErr := t.settle(work, &card, false)
	now, found, err := t.journal.transaction(x.TNo)
	switch {
	case err != nil:
		return transaction{}, errors.Join(ErrUndecided, cause, err)
	case !found || now.State == Voided:
		return transaction{}, cause
	case now.State == Recorded || now.State == Booked || now.State == Funded || now.State == Cashed: // Resolve may be ahead
		return now, nil
	case now.State == Initiated:
		return transaction{}, cause // no order left the SAM; it is void when the SAM answers
	}
	t.log.Warn("a transaction is not decided", "transaction", x.TNo, "state", string(now.State), "error", errors.Join(cause, settleErr).Error())
	return transaction{}, fmt.Errorf("%w (%w)", ErrUndecided, cause)
}

// CancelLast cancels the card's last payment, if it is of the open batch and was
// not for clearing to book online; one that was for an account is cancelled where
// the broker refuses to fund it. Errors are as those of Pay, and ErrNothingToCancel.
func (t *Terminal) CancelLast(ctx context.Context, card smartcard.Card) (Receipt, error) {
	x, err := t.transact(ctx, smartcard.Purse{Card: card}, func(says purse.CardData, sam purse.SAMData) (transaction, error) {
		paid, err := t.lastPayment(says, sam)
		if err != nil {
			return transaction{}, err
		}
		return transaction{Kind: KindCancellation, Amount: paid.Amount, Unit: paid.Unit, CancelledTNo: paid.TNo, Card: paid.Card}, nil
	})
	if err != nil {
		return Receipt{}, err
	}
	return x.receipt(), nil
}

// lastPayment finds the payment that the card made last, and that may be
// cancelled.
func (t *Terminal) lastPayment(says purse.CardData, sam purse.SAMData) (transaction, error) {
	var last transaction
	for _, bucket := range [][]byte{openBucket, endedBucket} {
		_, err := t.journal.transactions(bucket, func(x transaction) bool {
			if x.Kind == KindPayment && len(x.Record) == purse.PaymentLength && x.TNo >= sam.First && x.TNo > last.TNo &&
				purse.ID(x.Card) == says.Card && x.SNo == says.SNo {
				last = x
			}
			return false
		})
		if err != nil {
			return transaction{}, err
		}
	}
	return last, last.mayCancel()
}

func (x transaction) receipt() Receipt {
	return Receipt{
		Merchant: purse.ID(x.Merchant), TNo: x.TNo, Card: purse.ID(x.Card), SNo: x.SNo, Amount: x.Amount, Unit: x.Unit, Time: x.Began,
		CancelledTNo: x.CancelledTNo, Account: x.Account,
		IsBooked: x.State == Booked || x.State == Funded || x.State == Cashed, IsFunded: x.State == Funded, IsCash: x.State == Cashed,
		Waiting: x.waiting(),
	}
}

// waiting says why something is not done yet.
func (x transaction) waiting() string {
	switch {
	case x.isEnded():
		return ""
	case x.Reason != "":
		return x.Reason
	}
	return "it waits to be sent"
}
