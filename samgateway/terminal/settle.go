package terminal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// samData asks the SAM about itself, and selects it first where it must be: a
// SAM may be a card that was pulled and put in again.
func (t *Terminal) samData(ctx context.Context) (purse.SAMData, error) {
	data, err := t.sam.Data(ctx)
	if err != nil {
		if err := t.sam.Select(ctx); err != nil {
			return purse.SAMData{}, fmt.Errorf("the SAM does not answer: %w", err)
		}
		if data, err = t.sam.Data(ctx); err != nil {
			return purse.SAMData{}, fmt.Errorf("the SAM does not answer: %w", err)
		}
	}
	return data, nil
}

// settle finds out what became of the transaction that is not decided, so that
// journal and SAM are of one opinion. card is a card that is there, or nil. It
// returns what the SAM says then. ErrOccupied means that the card of that
// transaction is still waited for, unless force is set. t.turn is held.
func (t *Terminal) settle(ctx context.Context, card *smartcard.Purse, force bool) (purse.SAMData, error) {
	data, err := t.samData(ctx)
	if err != nil {
		return data, err
	}
	if err := t.learn(ctx, data); err != nil {
		return data, err
	}
	if err := t.checkAge(data); err != nil {
		return data, err
	}
	open, found, err := t.journal.undecided()
	if err != nil || !found {
		return data, err
	}
	switch {
	case data.TNo < open.TNo: // INIT did not come to the SAM
		return data, t.journal.forget(open)
	case data.TNo == open.TNo && data.State.IsOpen():
		err = t.decide(ctx, open, data, card, force)
	default:
		err = t.readRecord(ctx, open, data)
	}
	if err != nil {
		return data, err
	}
	return t.samData(ctx)
}

// checkAge refuses a SAM that knows less than the journal. A SAM does not go back,
// so it is another one of the same merchant, or a copy. It would use numbers again
// that stand for payments here, at clearing and at the broker.
func (t *Terminal) checkAge(data purse.SAMData) error {
	_, last, _, err := t.journal.merchant()
	if err != nil {
		return err
	}
	if last <= data.TNo {
		return t.checkOpen(data)
	}
	open, found, err := t.journal.transaction(last)
	if err != nil || found && open.State == Initiated && last == data.TNo+1 {
		return err
	}
	t.log.Error("the SAM is older than the journal", "journal", last, "sam", data.TNo)
	return fmt.Errorf("%w (its last transaction is %d, and the journal's %d)", ErrOldSAM, data.TNo, last)
}

// checkOpen refuses a SAM for which a transaction is open that the journal has the
// end of.
func (t *Terminal) checkOpen(data purse.SAMData) error {
	if !data.State.IsOpen() {
		return nil
	}
	open, _, err := t.journal.transaction(data.TNo)
	if err != nil || open.isUndecided() && (open.State != Proved || data.State == purse.SAMOrdered) {
		return err
	}
	t.log.Error("the SAM is older than the journal", "transaction", data.TNo)
	return fmt.Errorf("%w (transaction %d is open for it, and not for the journal)", ErrOldSAM, data.TNo)
}

// SAM returns what the SAM says of itself, for people.
func (t *Terminal) SAM(ctx context.Context) (purse.SAMData, error) {
	release, err := t.acquire(ctx)
	if err != nil {
		return purse.SAMData{}, err
	}
	defer release()
	return t.samData(ctx)
}

// decide finds out about the transaction that is open in the SAM.
func (t *Terminal) decide(ctx context.Context, open transaction, data purse.SAMData, card *smartcard.Purse, force bool) error {
	if data.State == purse.SAMBegun {
		record, err := t.sam.Void(ctx, open.TNo, nil, purse.Random{})
		return t.take(open, record, err)
	}
	if open.State == Proved {
		record, err := t.sam.Commit(ctx, open.Answer)
		if status := purse.StatusWord(0); !errors.As(err, &status) {
			return t.take(open, record, err)
		}
		// What answered was not the card of the order.
		var err2 error
		if open, _, err2 = t.journal.change(open.TNo, Proved, func(x *transaction) { x.State, x.Answer = Ordered, nil }); err2 != nil {
			return err2
		}
	}
	isAnswered, err := t.askCard(ctx, open, data, card)
	if err != nil || isAnswered {
		return err
	}
	// Where the clock was put back nobody knows how long it was.
	if waited := t.now().Sub(open.Began).Abs(); !force && waited < Patience {
		return ErrOccupied
	}
	record, err := t.sam.Void(ctx, open.TNo, nil, purse.Random{})
	return t.take(open, record, err)
}

// askCard asks a card that is there whether it did what the SAM had ordered. What
// the card says of itself only tells whether it is worth asking: the SAM checks
// the answer.
func (t *Terminal) askCard(ctx context.Context, open transaction, data purse.SAMData, card *smartcard.Purse) (isAnswered bool, err error) {
	if card == nil {
		return false, nil
	}
	says, err := identify(ctx, *card)
	if err != nil || says.Card != data.Open.Card {
		return false, err
	}
	var random purse.Random
	rand.Read(random[:])
	answer, hasPaid, err := card.Recover(ctx, data.Merchant, open.TNo, data.Open.SNo, random)
	if isStatus(err) { // it does not tell, such as after fifteen other payments
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var record []byte
	if hasPaid {
		proved, isChanged, err := t.journal.change(open.TNo, open.State, func(x *transaction) {
			x.State, x.Answer, x.Card, x.SNo = Proved, answer, name(data.Open.Card), data.Open.SNo
		})
		if err != nil || !isChanged {
			return false, err
		}
		open = proved
		record, err = t.sam.Commit(ctx, answer)
		if isStatus(err) { // another card answered
			_, _, err := t.journal.change(open.TNo, Proved, func(x *transaction) { x.State, x.Answer = Ordered, nil })
			return false, err
		}
		return true, t.take(open, record, err)
	}
	record, err = t.sam.Void(ctx, open.TNo, answer, random)
	if isStatus(err) { // another card answered
		return false, nil
	}
	return true, t.take(open, record, err)
}

// identify asks a card what it says of itself, and selects it first where it must
// be: its contacts may have been lost for a moment.
func identify(ctx context.Context, card smartcard.Purse) (purse.CardData, error) {
	says, err := card.Data(ctx)
	if !isStatus(err) {
		return says, err
	}
	if err := card.Select(ctx); err != nil {
		return says, err
	}
	return card.Data(ctx)
}

// isStatus reports whether an error is a card's or a SAM's no.
func isStatus(err error) bool {
	var status purse.StatusWord
	return errors.As(err, &status)
}

// readRecord ends a transaction that the SAM has ended, by its record.
func (t *Terminal) readRecord(ctx context.Context, open transaction, data purse.SAMData) error {
	if open.TNo < data.First {
		t.log.Error("the batch of a transaction was turned in without this journal", "transaction", open.TNo, "batch", data.Batch)
		return t.end(open, Lost, "its batch was turned in by somebody else")
	}
	record, err := t.sam.Record(ctx, open.TNo)
	return t.take(open, record, err)
}

// take writes down the record with which the SAM ended a transaction.
func (t *Terminal) take(open transaction, record []byte, err error) error {
	if err != nil {
		return fmt.Errorf("the SAM does not end transaction %d: %w", open.TNo, err)
	}
	read, err := purse.ParseRecord(record)
	if err == nil && read.TNo() != open.TNo {
		err = fmt.Errorf("the SAM ends transaction %d with the record of transaction %d", open.TNo, read.TNo())
	}
	if err != nil {
		return err
	}
	now, _, err := t.journal.change(open.TNo, open.State, func(x *transaction) {
		x.State, x.Record, x.Answer, x.Due = stateOf(read), record, nil, t.now()
		describe(x, read)
	})
	if err != nil {
		return err
	}
	t.chain = chainEnd{open.TNo, read.MACM}
	t.note(now)
	return nil
}

// stateOf returns the state that a record ends a transaction in.
func stateOf(record purse.Record) State {
	switch {
	case !record.IsVoid:
		return Recorded
	case record.Void.Proved == purse.ByCard || record.Void.Proved == purse.NeverOrdered:
		return Voided
	}
	return Unproved
}

// end brings a transaction to an end that no record says.
func (t *Terminal) end(x transaction, state State, reason string) error {
	now, isChanged, err := t.journal.change(x.TNo, x.State, func(x *transaction) { x.State, x.Reason = state, reason })
	if err == nil && isChanged {
		t.note(now)
	}
	return err
}

// chainEnd is the MACM of a record that the SAM made last.
type chainEnd struct {
	tno uint32
	mac purse.MAC
}

// previous returns the MACM that the next record follows.
func (t *Terminal) previous(ctx context.Context, data purse.SAMData) (purse.MAC, error) {
	if data.TNo < data.First { // nothing is in the batch yet
		return purse.MAC{}, nil
	}
	if t.chain.tno != data.TNo {
		record, err := t.sam.Record(ctx, data.TNo)
		if err != nil {
			return purse.MAC{}, fmt.Errorf("reading the last record: %w", err)
		}
		read, err := purse.ParseRecord(record)
		if err != nil {
			return purse.MAC{}, err
		}
		known, found, err := t.journal.transaction(data.TNo)
		if err != nil {
			return purse.MAC{}, err
		}
		if found && len(known.Record) > 0 && !bytes.Equal(known.Record, record) {
			return purse.MAC{}, fmt.Errorf("%w (its transaction %d is another one than the journal's)", ErrOldSAM, data.TNo)
		}
		t.chain = chainEnd{data.TNo, read.MACM}
	}
	return t.chain.mac, nil
}

// learn compares journal and SAM: whose it is, and whether the SAM has done
// something of which the journal does not know. So it is with a new journal for
// a SAM that was used before. What was paid is in the batch all the same; what it
// was for, nobody knows.
func (t *Terminal) learn(ctx context.Context, data purse.SAMData) error {
	merchant, last, isNew, err := t.journal.merchant()
	if err != nil {
		return err
	}
	if !isNew && merchant != data.Merchant {
		return fmt.Errorf("%w (the journal is of %s, the SAM of %s)", ErrOtherSAM, merchant, data.Merchant)
	}
	if !isNew && last >= data.TNo {
		return nil
	}
	// A journal from a backup: a batch was turned in since, and nobody can say any
	// more what was taken back in it.
	if !isNew && uint64(last)+1 < uint64(data.First) {
		if err := t.loseFollowed(); err != nil {
			return err
		}
	}
	first := max(data.First, last+1)
	if first <= data.TNo && data.TNo-first >= purse.MaxRecords {
		return fmt.Errorf("the SAM says that it has the records of transactions %d to %d: want at most %d", first, data.TNo, purse.MaxRecords)
	}
	var found []transaction
	for number := uint64(first); number <= uint64(data.TNo); number++ {
		tno := uint32(number)
		x := transaction{Kind: KindPayment, TNo: tno, Merchant: name(data.Merchant), IsAdopted: true, Began: t.now()}
		if tno == data.TNo && data.State.IsOpen() {
			adoptOpen(&x, data)
		} else if err := t.adoptRecord(ctx, &x); err != nil {
			// A card may be too slow for all of them at once.
			return errors.Join(err, t.adoptFirst(data, found))
		}
		found = append(found, x)
	}
	if len(found) > 0 {
		t.log.Warn("the SAM was used without this journal: what its payments were for is not known here", "transactions", len(found), "last", data.TNo)
	}
	return t.journal.adopt(data.Merchant, data.TNo, found)
}

// loseFollowed ends what waits for clearing or the broker. It may be on its account
// since, or on its card again, and is not put on the account a second time.
func (t *Terminal) loseFollowed() error {
	waiting, err := t.journal.transactions(openBucket, func(x transaction) bool { return x.Kind == KindPayment && x.isFollowed() && !x.isUndecided() })
	if err != nil {
		return err
	}
	for _, x := range waiting {
		t.log.Error("a batch was turned in without this journal: see whether a payment is on its account", "transaction", x.TNo, "account", x.Account)
		if err := t.end(x, Lost, "a batch was turned in without this journal: see whether its account has it, or its card took it back"); err != nil {
			return err
		}
	}
	return nil
}

// adoptFirst writes down those that were read, so that the next time goes on.
func (t *Terminal) adoptFirst(data purse.SAMData, found []transaction) error {
	if len(found) == 0 {
		return nil
	}
	return t.journal.adopt(data.Merchant, found[len(found)-1].TNo, found)
}

func adoptOpen(x *transaction, data purse.SAMData) {
	x.State, x.Amount, x.Unit, x.Card, x.SNo = Initiated, data.Open.Amount, data.Open.Unit, name(data.Open.Card), data.Open.SNo
	if data.Open.IsCancellation {
		x.Kind = KindCancellation
	}
	if data.State == purse.SAMOrdered {
		x.State = Ordered
	}
}

func (t *Terminal) adoptRecord(ctx context.Context, x *transaction) error {
	record, err := t.sam.Record(ctx, x.TNo)
	if err != nil {
		return fmt.Errorf("reading transaction %d of the SAM: %w", x.TNo, err)
	}
	read, err := purse.ParseRecord(record)
	if err != nil {
		return err
	}
	x.State, x.Record = stateOf(read), record
	describe(x, read)
	return nil
}

// describe takes out of a record what a transaction is about.
func describe(x *transaction, record purse.Record) {
	switch {
	case record.IsVoid:
		x.Card, x.SNo, x.Amount = name(record.Void.Card), record.Void.SNo, record.Void.Amount
		if record.Void.Proved == purse.UnprovedCancellation {
			x.Kind = KindCancellation
		}
	case record.IsCancellation():
		x.Kind, x.CancelledTNo = KindCancellation, record.PaidTNo
		fallthrough
	default:
		x.Card, x.SNo, x.Amount, x.Unit = name(record.Proof.Card), record.Proof.SNo, record.Proof.Amount, record.Proof.Unit
	}
}
