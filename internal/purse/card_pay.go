package purse

import (
	"fmt"
	"io"
	"math"
)

// start begins a payment or a cancellation: the card says who it is, to this SAM
// and its random number.
func (c *Card) start(of command) ([]byte, StatusWord, error) {
	c.endSession()
	opening, err := ParseOpening(of.data)
	switch {
	case err != nil:
		return nil, WrongLength, nil
	case opening.TNo == 0:
		return nil, WrongData, nil
	case c.state.SNo == math.MaxUint32:
		return nil, OutOfOrder, nil
	}
	start := Start{Card: c.state.Card, Holder: c.state.Holder, KeyVersion: c.state.KeyVersion, SNo: c.state.SNo + 1, Unit: c.state.Unit}
	if _, err := io.ReadFull(c.random, start.Random[:]); err != nil {
		return nil, 0, fmt.Errorf("a random number for the card: %w", err)
	}
	key := keyOf(c.state.purseKey)
	c.payment = &cardSession{opening, start.Session(key, opening.Merchant, opening.TNo, opening.Random)}
	mac := start.Identify(key, opening.Merchant, opening.TNo, opening.Random)
	return append(start.Append(nil), mac[:]...), Done, nil
}

// takeSession returns what START began, and ends it: there is one try.
func (c *Card) takeSession() *cardSession {
	session := c.payment
	c.endSession()
	return session
}

// checkOrder returns Done for an order that is the session's.
func (c *Card) checkOrder(session *cardSession, order Order) StatusWord {
	switch {
	case order.SNo != c.state.SNo+1 || order.TNo != session.opening.TNo:
		return WrongSequence
	case order.Merchant != session.opening.Merchant || order.Card != c.state.Card || order.Unit != c.state.Unit || order.Amount == 0:
		return WrongData
	default:
		return Done
	}
}

func (c *Card) debit(of command) ([]byte, StatusWord, error) {
	session := c.takeSession()
	if len(of.data) != DebitLength {
		return nil, WrongLength, nil
	}
	if session == nil {
		return nil, OutOfOrder, nil
	}
	order, err := ParseOrder(of.data[:OrderLength])
	if err != nil {
		return nil, WrongLength, nil
	}
	if !order.Sign(session.key).equal(MAC(of.data[OrderLength:])) {
		return nil, WrongMAC, nil
	}
	if status := c.checkOrder(session, order); status != Done {
		return nil, status, nil
	}
	switch {
	case order.Amount > c.state.MaxPayment:
		return nil, OverTransaction, nil
	case order.Amount > c.state.Balance:
		return nil, TooLittle, nil
	}
	changed := *c.state
	changed.Balance -= order.Amount
	paid := Paid{Cancellation: Cancellation{Proof: changed.prove(order)}}
	paid.MACZ = paid.Proof.Prove(keyOf(changed.proofKey))
	paid.MAC = paid.Proof.Confirm(session.key, paid.MACZ)
	return c.record(changed, paid)
}

// prove returns the proof of an order, and counts it. The balance is the new one
// already.
func (s *cardState) prove(order Order) Proof {
	s.SNo++
	return Proof{
		Amount: order.Amount, Unit: s.Unit, Time: order.Time, Merchant: order.Merchant, TNo: order.TNo,
		Card: s.Card, Holder: s.Holder, KeyVersion: s.KeyVersion, SNo: s.SNo, LNo: s.LNo,
	}.Hide(keyOf(s.proofKey), s.Balance)
}

// record stores the new balance together with the answer, so that it can be asked
// for again.
func (c *Card) record(changed cardState, paid Paid) ([]byte, StatusWord, error) {
	changed.payments = prepend(changed.payments, paid.Append(nil), MaxLoggedPayments)
	if err := c.store(changed); err != nil {
		return nil, 0, err
	}
	return paid.Append(nil), Done, nil
}

// cancelLast takes the last payment back: all of it, once, for the same
// merchant.
func (c *Card) cancelLast(of command) ([]byte, StatusWord, error) {
	session := c.takeSession()
	if len(of.data) != CancelOrderLength {
		return nil, WrongLength, nil
	}
	if session == nil {
		return nil, OutOfOrder, nil
	}
	order, mac, err := ParseCancelOrder(of.data)
	if err != nil {
		return nil, WrongData, nil
	}
	if !order.Sign(session.key).equal(mac) {
		return nil, WrongMAC, nil
	}
	if status := c.checkOrder(session, order.Order); status != Done {
		return nil, status, nil
	}
	if len(c.state.payments) == 0 {
		return nil, WrongSequence, nil
	}
	if c.state.cancelled >= maxCancellations {
		return nil, OutOfOrder, nil
	}
	last, err := ParsePaid(c.state.payments[0])
	switch {
	case err != nil:
		return nil, 0, errState
	case last.IsCancellation() || last.Merchant != order.Merchant || last.TNo != order.PaidTNo || last.SNo != order.PaidSNo:
		return nil, WrongSequence, nil
	case order.PaidTNo >= order.TNo:
		return nil, WrongSequence, nil // no SAM orders it, and no log could be read that has it
	case last.Amount != order.Amount:
		return nil, WrongData, nil
	case c.isTooMuch(order.Amount):
		return nil, OverBalance, nil // there was a load in between
	}
	changed := *c.state
	changed.Balance += order.Amount
	changed.cancelled++
	paid := Paid{Cancellation: Cancellation{changed.prove(order.Order), order.PaidTNo, order.PaidSNo}}
	paid.MACZ = paid.Cancellation.Prove(keyOf(changed.proofKey))
	paid.MAC = paid.Cancellation.Confirm(session.key, paid.MACZ)
	return c.record(changed, paid)
}

// recover answers what became of a transaction. What was begun is over first, so
// that a no stays true: the order that it is about needs the random number of a
// session that is gone.
func (c *Card) recover(of command) ([]byte, StatusWord, error) {
	c.endSession()
	if len(of.data) != RecoverLength {
		return nil, WrongLength, nil
	}
	r := reader(of.data)
	merchant, tno, sno, random := r.id(), r.uint32(), r.uint32(), r.random()
	if tno == 0 || sno == 0 {
		return nil, WrongData, nil
	}
	if sno <= c.state.SNo {
		back := c.state.SNo - sno // every number has one entry in the log
		if uint64(back) >= uint64(len(c.state.payments)) {
			return nil, NoRecord, nil // too long ago to tell
		}
		answer := c.state.payments[back]
		paid, err := ParsePaid(answer)
		if err != nil {
			return nil, 0, errState
		}
		if paid.Merchant == merchant && paid.TNo == tno {
			return append([]byte{1}, answer...), Done, nil
		}
	}
	mac := Deny(keyOf(c.state.purseKey), merchant, tno, sno, random, c.state.SNo)
	return Denied{c.state.SNo, mac}.Append(nil), Done, nil
}
