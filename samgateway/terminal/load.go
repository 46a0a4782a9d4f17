package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// Reasons of clearing's.
const (
	// wrongLoadMAC: an answer is not that of the load's card, or one to an older
	// challenge.
	wrongLoadMAC purse.Reason = "load-mac"
	// loadOpen: an earlier load of the card is not settled, wherever it was begun.
	loadOpen purse.Reason = "load-open"
	// loadEnded: it is settled.
	loadEnded purse.Reason = "load-ended"
)

// Load has a card take amount units. The card is selected, and its holder has
// entered the PIN in this session, unless it is a white card. What was open about
// an earlier load of it is decided before, also one that was begun elsewhere. Errors: a purse.StatusWord of the
// card's and a *purse.Refusal of clearing's say that nothing was loaded;
// ErrLoadUndecided says that the card may have taken it, or an earlier load.
func (t *Terminal) Load(ctx context.Context, card smartcard.Card, amount uint32) (LoadReceipt, error) {
	p := smartcard.Purse{Card: card}
	if amount == 0 {
		return LoadReceipt{}, refuse(nothing, "a load of nothing: want 1 unit at least")
	}
	says, err := p.Data(ctx)
	if err != nil {
		return LoadReceipt{}, err
	}
	if err := t.decideLoads(ctx, p, says); err != nil {
		return LoadReceipt{}, err
	}
	receipt, err := t.beginLoad(ctx, p, says, amount)
	earlier, is := openElsewhere(err)
	if !is {
		return receipt, err
	}
	if settleErr := t.settleElsewhere(ctx, p, says.Card, earlier); settleErr != nil {
		return LoadReceipt{}, fmt.Errorf("%w (%w)", err, settleErr)
	}
	return t.beginLoad(ctx, p, says, amount)
}

// beginLoad has the card begin a load, and goes on with it.
func (t *Terminal) beginLoad(ctx context.Context, p smartcard.Purse, says purse.CardData, amount uint32) (LoadReceipt, error) {
	request := purse.LoadRequest{Amount: amount, Unit: says.Unit, Time: uint32(t.now().Unix()), Terminal: t.config.LoadTerminal}
	answer, err := p.InitLoad(ctx, request)
	if err != nil {
		return LoadReceipt{}, err // nothing has begun that could go on
	}
	read, err := purse.ParseLoad(request.Append(nil), answer)
	if err != nil {
		return LoadReceipt{}, err
	}
	l, err := t.journal.beginLoad(load{
		State: Asked, Card: name(read.Answer.Card), LNo: read.Answer.LNo, Amount: amount, Unit: says.Unit, Began: t.now(),
		Request: request.Append(nil), Asked: answer,
	})
	if err != nil {
		return LoadReceipt{}, err
	}
	return t.creditLoad(ctx, p, l)
}

// creditLoad goes on with a load in the session in which the card began it.
func (t *Terminal) creditLoad(ctx context.Context, card smartcard.Purse, l load) (LoadReceipt, error) {
	reference, credit, err := t.authorise(ctx, l)
	if err != nil && !isRefusal(err) { // once more: the card is there, and waits
		reference, credit, err = t.authorise(ctx, l)
	}
	if err != nil {
		_, writeErr := t.authorised(l, reference, err)
		if isRefusal(err) {
			return LoadReceipt{}, errors.Join(err, writeErr)
		}
		return LoadReceipt{}, fmt.Errorf("clearing does not say whether it authorised the load, and nothing was loaded; put the card in again later, and the account gets back what may have been set aside: %w", errors.Join(err, writeErr))
	}
	if l, err = t.authorised(l, reference, nil); err != nil {
		return LoadReceipt{}, err
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTimeout)
	defer cancel()
	receipt, creditErr := card.Credit(work, credit)
	if creditErr == nil {
		if l, _, err = t.journal.changeLoad(l, func(l *load) { l.State, l.Answer = Credited, receipt }); err != nil {
			return LoadReceipt{}, fmt.Errorf("%w: %w", ErrLoadUndecided, err)
		}
	}
	l, err = t.advanceLoad(work, l, &card)
	t.forgetNote(func(m Matter) bool { return m.Kind == KindLoad && m.Load == purse.ID(l.Reference) })
	// With a receipt the card has it, whoever told clearing so: Resolve may have been
	// faster.
	switch {
	case l.State == Loaded || l.State == Credited || l.State == Settled && creditErr == nil:
		return l.receipt(cmp.Or(balanceIn(receipt), balanceIn(l.Answer))), nil
	case l.State == NotLoaded:
		return LoadReceipt{}, cmp.Or(creditErr, err, errNotLoaded)
	case isLoadEnded(l.State):
		return LoadReceipt{}, fmt.Errorf("clearing ended load %s otherwise: %w", purse.ID(l.Reference), cmp.Or(creditErr, err, errors.New(l.Reason)))
	}
	return LoadReceipt{}, fmt.Errorf("%w (%w)", ErrLoadUndecided, cmp.Or(creditErr, err, errNotDecided))
}

var (
	errNotLoaded  = errors.New("the card did not take the load")
	errNotDecided = errors.New("clearing has not decided it")
)

func (l load) receipt(balance uint32) LoadReceipt {
	return LoadReceipt{Card: purse.ID(l.Card), LNo: l.LNo, Amount: l.Amount, Unit: l.Unit, Balance: balance, Reference: purse.ID(l.Reference), IsConfirmed: isLoadEnded(l.State)}
}

// balanceIn returns what a card's answer to CREDIT or to LOAD STATUS says that is
// on it; 0: it is neither.
func balanceIn(answer []byte) uint32 {
	if receipt, err := purse.ParseReceipt(answer); err == nil {
		return receipt.Balance
	}
	status, _ := purse.ParseStatus(answer) // without an answer its balance is 0
	return status.Balance
}

func (t *Terminal) authorise(ctx context.Context, l load) (purse.ID, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	reference, credit, err := t.config.Host.AuthoriseLoad(ctx, l.Request, l.Asked)
	if err == nil && len(credit) != purse.CreditLength {
		err = fmt.Errorf("clearing authorises a load in %d bytes: want %d", len(credit), purse.CreditLength)
	}
	return reference, credit, err
}

// authorised writes down what clearing says to a load that was asked for.
func (t *Terminal) authorised(l load, reference purse.ID, err error) (load, error) {
	now, isChanged, writeErr := t.journal.changeLoad(l, func(l *load) {
		switch {
		case err == nil:
			l.State, l.Reference = Authorised, name(reference)
		case isRefusal(err):
			l.State, l.Reason = NotLoaded, err.Error()
		default:
			l.failed(t.now(), err)
		}
	})
	if writeErr == nil && !isChanged {
		writeErr = fmt.Errorf("load %d of card %s was decided meanwhile", l.LNo, purse.ID(l.Card))
	}
	return now, writeErr
}

// advanceLoad finds out what became of a load, as far as it can be found out
// with the card, or without one (nil). It returns the load as it is then.
func (t *Terminal) advanceLoad(ctx context.Context, l load, card *smartcard.Purse) (load, error) {
	// Three states lead to the end, and one may lead back once, if another card
	// answered.
	for range 6 {
		if isLoadEnded(l.State) {
			return l, nil
		}
		next, err := t.stepLoad(ctx, l, card)
		if err != nil || next.State == l.State {
			return next, err
		}
		l = next
	}
	return l, nil
}

func (t *Terminal) stepLoad(ctx context.Context, l load, card *smartcard.Purse) (load, error) {
	if err := ctx.Err(); err != nil {
		return l, err
	}
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	switch {
	case l.State == Credited:
		return t.loadAnswered(l, Loaded, t.config.Host.ConfirmLoad(ctx, purse.ID(l.Reference), l.Answer))
	case l.State == Answered:
		taken, err := t.config.Host.ResolveLoad(ctx, purse.ID(l.Reference), l.Answer)
		if taken {
			return t.loadAnswered(l, Loaded, err)
		}
		return t.loadAnswered(l, NotLoaded, err)
	case card == nil:
		return l, nil
	case l.State == Asked:
		// Whether clearing authorised it is learnt by asking again. The session in
		// which the card could take it is over.
		reference, _, err := t.authorise(ctx, l)
		now, writeErr := t.authorised(l, reference, err)
		if isRefusal(err) {
			err = nil
		}
		return now, errors.Join(err, writeErr)
	}
	return t.askLoad(ctx, l, *card)
}

// loadAnswered writes down what clearing says to a card's answer.
func (t *Terminal) loadAnswered(l load, next State, err error) (load, error) {
	var refusal *purse.Refusal
	isRefused := errors.As(err, &refusal)
	now, isChanged, writeErr := t.journal.changeLoad(l, func(l *load) {
		switch {
		case err == nil:
			l.State, l.retry = next, retry{}
		case isRefused && refusal.Reason == wrongLoadMAC:
			// Another card answered, or it answered an older challenge: ask the card.
			l.State, l.Answer, l.Reason = Authorised, nil, refusal.Error()
		case isRefused:
			l.State, l.Reason = RefusedForGood, refusal.Error()
		default:
			l.failed(t.now(), err)
		}
	})
	if writeErr != nil {
		return l, writeErr
	}
	if isChanged && isLoadEnded(now.State) {
		t.noteLoad(now)
	}
	if isRefused {
		err = nil
	}
	return now, err
}

// askLoad asks the card for its last load, with clearing's challenge.
func (t *Terminal) askLoad(ctx context.Context, l load, card smartcard.Purse) (load, error) {
	challenge, err := t.config.Host.ChallengeLoad(ctx, purse.ID(l.Reference))
	if isRefusal(err) { // it is no longer pending: a receipt, or a payment, has ended it
		now, _, writeErr := t.journal.changeLoad(l, func(l *load) { l.State, l.Reason = Settled, err.Error() })
		t.noteLoad(now)
		return now, writeErr
	}
	if err != nil {
		return l, err
	}
	answer, err := card.LoadStatus(ctx, challenge)
	if isStatus(err) { // its contacts may have been lost for a moment
		if err := card.Select(ctx); err != nil {
			return l, err
		}
		answer, err = card.LoadStatus(ctx, challenge)
	}
	if err != nil {
		return l, err
	}
	status, err := purse.ParseStatus(answer)
	if err != nil {
		return l, err
	}
	if status.Card != purse.ID(l.Card) {
		return l, refuse(otherCard, "this is card %s: the load is of card %s", status.Card, purse.ID(l.Card))
	}
	now, _, err := t.journal.changeLoad(l, func(l *load) { l.State, l.Answer = Answered, answer })
	return now, err
}

// decideLoads decides all loads of a card that is there. ErrLoadUndecided means
// that one is left.
func (t *Terminal) decideLoads(ctx context.Context, card smartcard.Purse, says purse.CardData) error {
	id := says.Card
	open, err := t.journal.loads(func(l load) bool { return purse.ID(l.Card) == id })
	if err != nil {
		return err
	}
	for _, l := range open {
		if l.State == Asked && says.LNo >= l.LNo {
			// The card took a load of that number elsewhere, so that clearing never
			// authorised this one: to ask now would look as if the card went back.
			now, _, err := t.journal.changeLoad(l, func(l *load) { l.State, l.Reason = NotLoaded, "" })
			if err != nil {
				return err
			}
			t.noteLoad(now)
			continue
		}
		now, err := t.advanceLoad(ctx, l, &card)
		if err != nil || !isLoadEnded(now.State) && now.State != Credited {
			return fmt.Errorf("%w: load %d of card %s: %w", ErrLoadUndecided, l.LNo, id, cmp.Or(err, errNotDecided))
		}
	}
	return nil
}
