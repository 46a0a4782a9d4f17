package purse

import (
	"fmt"
	"io"
	"math"
)

// The lengths of the data of INIT and INIT CANCEL in bytes.
const (
	initLength       = 11
	initCancelLength = 8
)

// init uses up a transaction number, whatever becomes of it.
func (s *SAM) init(of command) ([]byte, StatusWord, error) {
	r := reader(of.data)
	open := OpenTransaction{Amount: r.uint32(), Unit: r.unit(), Time: r.uint32()}
	if open.Amount == 0 || open.Unit != s.state.unit {
		return nil, WrongData, nil
	}
	if status := s.isReady(); status != Done {
		return nil, status, nil
	}
	if s.state.Sum+uint64(open.Amount) > s.state.Limit {
		return nil, OverSAMLimit, nil
	}
	return s.begin(open, openState{})
}

// isReady returns Done where a transaction may begin.
func (s *SAM) isReady() StatusWord {
	switch {
	case s.state.State != SAMIdle || s.state.TNo >= math.MaxUint32-1:
		return OutOfOrder
	case len(s.state.records) >= MaxRecords:
		return OverSAMLimit
	default:
		return Done
	}
}

// initCancel does the same to take a payment of the open batch back.
func (s *SAM) initCancel(of command) ([]byte, StatusWord, error) {
	r := reader(of.data)
	tno, time := r.uint32(), r.uint32()
	if status := s.isReady(); status != Done {
		return nil, status, nil
	}
	text, is := s.state.record(tno)
	if !is {
		return nil, NoRecord, nil
	}
	record, err := ParseRecord(text)
	switch {
	case err != nil:
		return nil, 0, errState
	case record.IsVoid || record.IsCancellation():
		return nil, NoRecord, nil
	case s.state.isReturned(record.Proof):
		return nil, OutOfOrder, nil
	}
	open := OpenTransaction{IsCancellation: true, Amount: record.Proof.Amount, Unit: record.Proof.Unit, Time: time}
	return s.begin(open, openState{paidTNo: tno, paidSNo: record.Proof.SNo, card: record.Proof.Card})
}

func (s *SAM) begin(open OpenTransaction, more openState) ([]byte, StatusWord, error) {
	if _, err := io.ReadFull(s.random, more.random[:]); err != nil {
		return nil, 0, fmt.Errorf("a random number for the SAM: %w", err)
	}
	changed := *s.state
	changed.State = SAMBegun
	changed.TNo++
	changed.Open, changed.open = open, more
	if err := s.store(changed); err != nil {
		return nil, 0, err
	}
	return Opening{changed.Merchant, changed.TNo, changed.KeyVersion, more.random}.Append(nil), Done, nil
}

// authorize checks who the card is and orders it to pay, or to take back. The
// key of the session is stored first: the card's answer may come after a reset.
func (s *SAM) authorize(of command) ([]byte, StatusWord, error) {
	if s.state.State != SAMBegun {
		return nil, OutOfOrder, nil
	}
	start, mac, err := ParseStart(of.data)
	if err != nil {
		return nil, WrongLength, nil
	}
	key, is := s.cardKey(start.KeyVersion, start.Card)
	if !is {
		return nil, NoData, nil
	}
	open := s.state.open
	if !start.Identify(key, s.state.Merchant, s.state.TNo, open.random).equal(mac) {
		return nil, WrongMAC, nil
	}
	if start.Unit != s.state.unit || start.SNo == 0 {
		return nil, WrongData, nil
	}
	if s.state.Open.IsCancellation {
		if start.Card != open.card {
			return nil, WrongData, nil
		}
		if start.SNo != open.paidSNo+1 {
			return nil, WrongSequence, nil // the card paid somebody else since
		}
	}
	changed := *s.state
	changed.State = SAMOrdered
	changed.Open.Card, changed.Open.SNo = start.Card, start.SNo
	changed.open.keyVersion, changed.open.holder = start.KeyVersion, start.Holder
	changed.open.session = start.sessionSecret(key, changed.Merchant, changed.TNo, open.random)
	if err := s.store(changed); err != nil {
		return nil, 0, err
	}
	return changed.order(), Done, nil
}

// order returns the data of DEBIT or CANCEL LAST.
func (s *samState) order() []byte {
	session := keyOf(s.open.session)
	order := Order{s.Merchant, s.TNo, s.Open.SNo, s.Open.Card, s.Open.Amount, s.Open.Unit, s.Open.Time}
	if s.Open.IsCancellation {
		cancel := CancelOrder{order, s.open.paidTNo, s.open.paidSNo}
		mac := cancel.Sign(session)
		return append(cancel.Append(nil), mac[:]...)
	}
	mac := order.Sign(session)
	return append(order.Append(nil), mac[:]...)
}

// cardKey returns SKC of a card, if its key version is known here.
func (s *SAM) cardKey(version byte, card ID) (*Key, bool) {
	for _, master := range s.state.masters {
		if master.version != version {
			continue
		}
		key, err := NewKey(master.secret)
		if err != nil {
			return nil, false
		}
		return key.derive("SKC", []byte{version}, card[:]), true
	}
	return nil, false
}

// commit keeps what the card answered.
func (s *SAM) commit(of command) ([]byte, StatusWord, error) {
	if s.state.State != SAMOrdered {
		return nil, OutOfOrder, nil
	}
	paid, err := ParsePaid(of.data)
	if err != nil || paid.IsCancellation() != s.state.Open.IsCancellation {
		return nil, WrongData, nil
	}
	session := keyOf(s.state.open.session)
	mac := paid.Proof.Confirm(session, paid.MACZ)
	if paid.IsCancellation() {
		mac = paid.Cancellation.Confirm(session, paid.MACZ)
	}
	if !mac.equal(paid.MAC) {
		return nil, WrongMAC, nil
	}
	if status := s.state.checkPaid(paid.Cancellation); status != Done {
		return nil, status, nil
	}
	return s.keep(Record{Proof: paid.Proof, MACZ: paid.MACZ, PaidTNo: paid.PaidTNo, PaidSNo: paid.PaidSNo})
}

// checkPaid returns Done where the card did what it was ordered.
func (s *samState) checkPaid(paid Cancellation) StatusWord {
	order, open := s.Open, s.open
	switch {
	case paid.TNo != s.TNo || paid.SNo != order.SNo || paid.PaidTNo != open.paidTNo || paid.PaidSNo != open.paidSNo:
		return WrongSequence
	case paid.Amount != order.Amount || paid.Unit != order.Unit || paid.Time != order.Time || paid.Merchant != s.Merchant ||
		paid.Card != order.Card || paid.Holder != open.holder || paid.KeyVersion != open.keyVersion:
		return WrongData
	default:
		return Done
	}
}

// keep ends the open transaction with a record.
func (s *SAM) keep(record Record) ([]byte, StatusWord, error) {
	changed := *s.state
	record.Batch = changed.Batch
	record.MACM = record.Chain(keyOf(changed.key), changed.chain)
	if !changed.count(record) {
		return nil, 0, errState
	}
	text := record.Append(nil)
	// The array may be shared with the state before: what is beyond that one's
	// length is nobody's.
	changed.records = append(changed.records, text)
	changed.State, changed.Open, changed.open = SAMIdle, OpenTransaction{}, openState{}
	if err := s.store(changed); err != nil {
		return nil, 0, err
	}
	return record.Append(nil), Done, nil
}

// void ends the open transaction without a payment.
func (s *SAM) void(of command) ([]byte, StatusWord, error) {
	if !s.state.State.IsOpen() {
		return nil, OutOfOrder, nil
	}
	r := reader(of.data)
	if r.uint32() != s.state.TNo {
		return nil, WrongSequence, nil
	}
	proved, status := s.proved(r)
	if status != Done {
		return nil, status, nil
	}
	open := s.state.Open
	return s.keep(Record{IsVoid: true, Void: Void{s.state.Merchant, s.state.TNo, open.Amount, open.Time, open.Card, open.SNo, proved}})
}

// proved says how sure it is that the card did nothing: denial is its answer to
// RECOVER and the random number that it was asked with, or nothing.
func (s *SAM) proved(denial reader) (Proved, StatusWord) {
	open := s.state.Open
	switch {
	case s.state.State == SAMBegun:
		return NeverOrdered, Done
	case len(denial) == 0 && open.IsCancellation:
		return UnprovedCancellation, Done
	case len(denial) == 0:
		return Unproved, Done
	case denial.byte() != 0:
		return 0, WrongData
	}
	last, mac, random := denial.uint32(), denial.mac(), denial.random()
	key, is := s.cardKey(s.state.open.keyVersion, open.Card)
	if !is {
		return 0, NoData
	}
	if !Deny(key, s.state.Merchant, s.state.TNo, open.SNo, random, last).equal(mac) {
		return 0, WrongMAC
	}
	return ByCard, Done
}
