package purse

import (
	"errors"
	"fmt"
)

// SoftCard is a purse card in memory that is honest: it makes what a card makes,
// in the order that a card would, without APDUs, a PIN or a memory that survives.
// It is for tests and demonstrations. It is for one goroutine.
type SoftCard struct {
	ID         ID
	Holder     ID
	KeyVersion byte
	Unit       Unit
	Balance    uint32 // in units
	SNo, LNo   uint32 // of the last payment and the last load

	load, proof *Key
	open        *Load // authorised in the session that INIT LOAD began
	last        Status
	paid        Proof // the last payment; zero: none, or it was taken back
}

var (
	errSoftBalance = errors.New("the card has too little on it")
	errSoftOrder   = errors.New("the card did not expect this now")
	errSoftMAC     = errors.New("the MAC is not right")
)

// NewSoftCard returns an empty card whose keys come from the masters LoadMaster
// and ClearingMaster.
func NewSoftCard(keys *Keys, keyVersion byte, card, holder ID, unit Unit) (*SoftCard, error) {
	load, err := keys.LoadKey(keyVersion, card)
	if err != nil {
		return nil, err
	}
	proof, err := keys.ProofKey(keyVersion, card)
	if err != nil {
		return nil, err
	}
	return &SoftCard{ID: card, Holder: holder, KeyVersion: keyVersion, Unit: unit, load: load, proof: proof}, nil
}

// InitLoad answers to INIT LOAD with the given RANDC. What was begun before
// cannot take place any more.
func (c *SoftCard) InitLoad(request LoadRequest, random Random) LoadAnswer {
	load := Load{request, LoadAnswer{
		Card: c.ID, Holder: c.Holder, KeyVersion: c.KeyVersion, LNo: c.LNo + 1, Balance: c.Balance, Random: random,
	}}
	load.Answer.MAC = load.Sign(c.load)
	c.open = &load
	return load.Answer
}

// Credit takes the value of the load that InitLoad began, once.
func (c *SoftCard) Credit(data []byte) (Receipt, error) {
	load := c.open
	c.open = nil
	if load == nil || len(data) != CreditLength {
		return Receipt{}, errSoftOrder
	}
	reference := ID(data[:8])
	r := reader(data[16:])
	if mac := r.mac(); !load.creditMAC(c.load, reference).equal(mac) || big.Uint32(data[12:]) != load.Request.Amount {
		return Receipt{}, errSoftMAC
	}
	c.LNo++
	c.Balance += load.Request.Amount
	c.last = Status{Reference: reference, Amount: load.Request.Amount}
	receipt := Receipt{LNo: c.LNo, Balance: c.Balance}
	receipt.MAC = load.SignReceipt(c.load, reference, receipt)
	return receipt, nil
}

// LoadStatus answers to LOAD STATUS. A load that was begun and not credited
// cannot take place any more, so that the answer stays true.
func (c *SoftCard) LoadStatus(challenge Random) Status {
	c.open = nil
	status := c.last
	status.Card, status.LNo, status.Balance = c.ID, c.LNo, c.Balance
	status.MAC = status.Sign(c.load, challenge)
	return status
}

// Pay debits the card and returns proof and MACZ.
func (c *SoftCard) Pay(merchant ID, tno, amount, time uint32) (Proof, MAC, error) {
	if amount > c.Balance {
		return Proof{}, MAC{}, errSoftBalance
	}
	c.open = nil
	c.Balance -= amount
	c.SNo++
	proof := Proof{
		Amount: amount, Unit: c.Unit, Time: time, Merchant: merchant, TNo: tno,
		Card: c.ID, Holder: c.Holder, KeyVersion: c.KeyVersion, SNo: c.SNo, LNo: c.LNo,
	}.Hide(c.proof, c.Balance)
	c.paid = proof
	return proof, proof.Prove(c.proof), nil
}

// Cancel takes the last payment back, if it is the one of the merchant's
// transaction paidTNo, and returns what the card says of it and MACZ.
func (c *SoftCard) Cancel(merchant ID, tno, paidTNo, time uint32) (Cancellation, MAC, error) {
	if c.paid.Merchant != merchant || c.paid.TNo != paidTNo || paidTNo == 0 || c.paid.SNo != c.SNo {
		return Cancellation{}, MAC{}, errSoftOrder
	}
	c.open = nil
	c.Balance += c.paid.Amount
	c.SNo++
	cancellation := Cancellation{c.paid, paidTNo, c.SNo - 1}
	cancellation.TNo, cancellation.SNo, cancellation.LNo, cancellation.Time = tno, c.SNo, c.LNo, time
	cancellation.Proof = cancellation.Proof.Hide(c.proof, c.Balance)
	c.paid = Proof{}
	return cancellation, cancellation.Prove(c.proof), nil
}

// SoftSAM is a merchant's SAM in memory that is honest. It is for tests and
// demonstrations, and for one goroutine.
type SoftSAM struct {
	Merchant ID
	Batch    uint32 // that is open, 1 and up
	TNo      uint32 // the last that was used

	key     *Key
	records []byte
	total   Total // of the open batch so far
	closed  *Total
}

// NewSoftSAM returns a SAM that has made nothing yet, with a key that comes from
// ClearingMaster.
func NewSoftSAM(keys *Keys, keyVersion byte, merchant ID) (*SoftSAM, error) {
	key, err := keys.MerchantKey(keyVersion, merchant)
	if err != nil {
		return nil, err
	}
	return &SoftSAM{Merchant: merchant, Batch: 1, key: key, total: Total{Merchant: merchant, Batch: 1, First: 1}}, nil
}

// Next uses up a transaction number, which Commit or Void must end.
func (s *SoftSAM) Next() uint32 {
	s.TNo++
	return s.TNo
}

// Pay lets a card pay and keeps the record. It returns the record and the MACM
// of the one before.
func (s *SoftSAM) Pay(card *SoftCard, amount, time uint32) (record []byte, previous MAC, err error) {
	if s.closed != nil {
		return nil, MAC{}, errSoftOrder
	}
	proof, macz, err := card.Pay(s.Merchant, s.TNo+1, amount, time)
	if err != nil {
		return nil, MAC{}, err
	}
	s.Next()
	return s.Commit(proof, macz)
}

// Commit keeps a payment of the last transaction number.
func (s *SoftSAM) Commit(proof Proof, macz MAC) (record []byte, previous MAC, err error) {
	if proof.Merchant != s.Merchant || proof.TNo != s.TNo {
		return nil, MAC{}, fmt.Errorf("transaction %d of %s: %w", proof.TNo, proof.Merchant, errSoftOrder)
	}
	previous = s.total.Chain
	record = s.keep(Record{Proof: proof, MACZ: macz})
	s.total.Payments++
	s.total.Sum += uint64(proof.Amount)
	return record, previous, nil
}

// Cancel lets a card take its last payment back, which must be one of the open
// batch, and keeps the record. It returns the record and the MACM of the one
// before.
func (s *SoftSAM) Cancel(card *SoftCard, time uint32) (record []byte, previous MAC, err error) {
	if s.closed != nil || card.paid.TNo < s.total.First {
		return nil, MAC{}, errSoftOrder
	}
	cancellation, macz, err := card.Cancel(s.Merchant, s.TNo+1, card.paid.TNo, time)
	if err != nil {
		return nil, MAC{}, err
	}
	s.Next()
	previous = s.total.Chain
	record = s.keep(Record{Proof: cancellation.Proof, MACZ: macz, PaidTNo: cancellation.PaidTNo, PaidSNo: cancellation.PaidSNo})
	s.total.Payments++
	s.total.Sum -= uint64(cancellation.Amount)
	return record, previous, nil
}

// Void ends the last transaction number without a payment.
func (s *SoftSAM) Void(card ID, sno, amount, time uint32, proved Proved) []byte {
	s.total.Voids++
	return s.keep(Record{IsVoid: true, Void: Void{
		Merchant: s.Merchant, TNo: s.TNo, Amount: amount, Time: time, Card: card, SNo: sno, Proved: proved,
	}})
}

func (s *SoftSAM) keep(record Record) []byte {
	record.Batch = s.Batch
	record.MACM = record.Chain(s.key, s.total.Chain)
	s.total.Chain, s.total.Last = record.MACM, s.TNo
	kept := record.Append(nil)
	s.records = append(s.records, kept...)
	return kept
}

// Close ends the batch and returns its total and its records, as often as it is
// asked. A batch without a record is not closed, and its total is nil.
func (s *SoftSAM) Close() (total, records []byte) {
	if len(s.records) == 0 {
		return nil, nil
	}
	if s.closed == nil {
		closed := s.total
		closed.MAC = closed.Sign(s.key)
		s.closed = &closed
	}
	return s.closed.Append(nil), s.records
}

// Acknowledge takes the data of ACK BATCH, forgets the records and opens the
// next batch.
func (s *SoftSAM) Acknowledge(ack MAC) error {
	if s.closed == nil {
		return errSoftOrder
	}
	if !s.closed.IsAcknowledged(s.key, ack) {
		return errSoftMAC
	}
	s.Batch++
	s.closed, s.records = nil, nil
	s.total = Total{Merchant: s.Merchant, Batch: s.Batch, First: s.TNo + 1}
	return nil
}
