package terminal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

const (
	// maxClaims is how many voids a card is asked about at one meeting.
	maxClaims = 16
	// maxDenials is how often a card has to say that it did not pay what is void
	// before it is asked no more. Nobody here can check that it was that card: the
	// SAM could, and has ended the transaction. Whoever lies so keeps nothing: the
	// holder can still claim with what is in the card's log.
	maxDenials = 3
)

// Meet decides what is open about a card that is there, and gives it what its
// issuer has for it. It selects the card: a PIN that was entered is forgotten.
// ErrForeign means that it is no purse. Other errors say what could not be
// decided now; the outcomes are of what was.
func (t *Terminal) Meet(ctx context.Context, card smartcard.Card) ([]Outcome, error) {
	p := smartcard.Purse{Card: card}
	says, err := t.meetSAM(ctx, p)
	if errors.Is(err, smartcard.ErrForeign) {
		return nil, err
	}
	if err == nil || says.Card != (purse.ID{}) {
		err = errors.Join(err, t.claimVoids(ctx, p, says.Card), t.decideLoads(ctx, p, says), t.deliver(ctx, p, says.Card))
	}
	return t.drain(), err
}

// meetSAM asks the card what the SAM waits for.
func (t *Terminal) meetSAM(ctx context.Context, card smartcard.Purse) (purse.CardData, error) {
	says, err := look(ctx, card)
	if err != nil {
		return purse.CardData{}, err
	}
	release, err := t.acquire(ctx)
	if err != nil {
		return purse.CardData{}, err
	}
	defer release()
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTimeout)
	defer cancel()
	_, err = t.settle(work, &card, false)
	if errors.Is(err, ErrOccupied) {
		err = nil // that is another card's affair
	}
	return says, err
}

// claimVoids asks a card about what the SAM has void, unproved. If it paid, its
// holder gets it back.
func (t *Terminal) claimVoids(ctx context.Context, card smartcard.Purse, id purse.ID) error {
	voids, err := t.journal.transactions(voidBucket, func(x transaction) bool { return purse.ID(x.Card) == id })
	if err != nil {
		return err
	}
	var failed error
	for _, x := range voids[:min(len(voids), maxClaims)] {
		if err := t.claimVoid(ctx, card, x); isStatus(err) || isRefusal(err) {
			failed = errors.Join(failed, err)
		} else if err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

func (t *Terminal) claimVoid(ctx context.Context, card smartcard.Purse, x transaction) error {
	var random purse.Random
	rand.Read(random[:])
	answer, hasPaid, err := card.Recover(ctx, purse.ID(x.Merchant), x.TNo, x.SNo, random)
	if errors.Is(err, purse.NoRecord) {
		return t.doubted(x, Lost, "it is too long ago for the card to tell")
	}
	if err != nil {
		return err
	}
	if !hasPaid {
		return t.denied(x)
	}
	if !x.isSaidBy(answer) {
		return refuse(otherCard, "what the card says is about another payment than transaction %d", x.TNo)
	}
	claiming, isChanged, err := t.journal.change(x.TNo, Unproved, func(x *transaction) { x.State, x.Answer, x.retry = Claiming, answer, retry{Due: t.now()} })
	if err != nil || !isChanged {
		return err
	}
	now, err := t.advance(ctx, claiming)
	t.note(now)
	return err
}

// denied counts what a card says that nobody can check. A cancellation is kept: if
// it was a lie, the payment would go on, and the card has it back already.
func (t *Terminal) denied(x transaction) error {
	if x.Kind == KindCancellation {
		return nil
	}
	return t.doubted(x, Voided, "the card says so, and nobody has checked it")
}

// doubted ends a void as a card says, once it has said so often enough.
func (t *Terminal) doubted(x transaction, state State, reason string) error {
	now, isChanged, err := t.journal.change(x.TNo, Unproved, func(x *transaction) {
		if x.Doubts++; x.Doubts >= maxDenials {
			x.State, x.retry = state, retry{Reason: reason}
		}
	})
	if err == nil && isChanged && now.State == state {
		t.note(now)
	}
	return err
}

// isSaidBy reports whether a card's answer is about this transaction. Another card
// can have proofs of its own, and clearing would take them: as claims of its own.
func (x transaction) isSaidBy(answer []byte) bool {
	paid, err := purse.ParsePaid(answer)
	return err == nil && paid.Merchant == purse.ID(x.Merchant) && paid.TNo == x.TNo && paid.Card == purse.ID(x.Card) &&
		paid.SNo == x.SNo && paid.Amount == x.Amount && paid.IsCancellation() == (x.Kind == KindCancellation)
}

// deliver gives a card the scripts that its issuer has for it, in their order,
// and tells clearing what it answered.
func (t *Terminal) deliver(ctx context.Context, card smartcard.Purse, id purse.ID) error {
	asked, cancel := context.WithTimeout(ctx, hostTimeout)
	commands, err := t.config.Host.Scripts(asked, id)
	cancel()
	if err != nil {
		if !isRefusal(err) { // a card that clearing does not know has no scripts
			t.log.Warn("clearing does not say whether the card has scripts", "card", id.String(), "error", err.Error())
		}
		return nil
	}
	for _, command := range commands[:min(len(commands), purse.MaxScripts)] {
		answer, err := card.Script(ctx, command)
		if err != nil {
			return fmt.Errorf("a script of the issuer's: %w", err)
		}
		told, err := t.journal.keepScript(script{Card: name(id), Answer: answer, Began: t.now()})
		if err != nil {
			return err
		}
		if err := t.tellScript(ctx, told); err != nil {
			return nil // it waits, and the next script would be refused before it
		}
	}
	return nil
}

// tellScript tells clearing what a card answered to a script.
func (t *Terminal) tellScript(ctx context.Context, s script) error {
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	err := t.config.Host.ScriptDone(ctx, purse.ID(s.Card), s.Answer)
	if err != nil && !isRefusal(err) {
		s.failed(t.now(), err)
		_, writeErr := t.journal.keepScript(s)
		return errors.Join(err, writeErr)
	}
	state, reason := Scripted, ""
	if err != nil {
		state, reason = RefusedForGood, err.Error()
	}
	if err := t.journal.remove(scriptsTold, s.number); err != nil {
		return err
	}
	t.noteOutcome(Outcome{Matter: s.matter(), State: state, Sentence: sentenceOf(KindScript, state, reason)})
	return nil
}
