package purse

import (
	"errors"
	"fmt"
)

// The lengths of records in bytes, by their first byte.
const (
	PaymentLength            = 90
	VoidLength               = 54
	CancellationRecordLength = 98

	paymentType      = 1
	voidType         = 2
	cancellationType = 3
)

// Proved says how sure it is that a void transaction took nothing off the card.
type Proved byte

const (
	// Unproved: the customer walked away. The card may have paid, and its holder
	// may come with the proof.
	Unproved Proved = 0
	// ByCard: the card signed that it did not pay.
	ByCard Proved = 1
	// NeverOrdered: no order left the SAM.
	NeverOrdered Proved = 2
	// UnprovedCancellation: an order to take a payment back left the SAM, and the
	// card may have done it. The payment is the card's with the number before SNo,
	// earlier in the same batch. Its merchant is not to be paid for it as long as
	// nobody knows: card and merchant together could else keep the money twice.
	UnprovedCancellation Proved = 3
)

// Record is what a SAM keeps of one transaction: a payment, its cancellation, or
// a void.
type Record struct {
	Batch uint32
	// Proof and MACZ are of a payment or a cancellation; IsVoid says that it is
	// neither.
	Proof Proof
	MACZ  MAC
	// PaidTNo and PaidSNo are above 0 if it is a cancellation: of the payment of
	// these numbers, earlier in the same batch, whose amount went back to the card.
	PaidTNo, PaidSNo uint32

	IsVoid bool
	Void   Void
	// MACM chains it to the record before.
	MACM MAC
}

// Void is a transaction that ended without a payment.
type Void struct {
	Merchant ID
	TNo      uint32
	Amount   uint32 // in units
	Time     uint32 // seconds since 1970
	Card     ID     // zero: there was none yet
	SNo      uint32
	Proved   Proved
}

// Merchant returns whose record it is.
func (r Record) Merchant() ID {
	if r.IsVoid {
		return r.Void.Merchant
	}
	return r.Proof.Merchant
}

// TNo returns the number of the transaction.
func (r Record) TNo() uint32 {
	if r.IsVoid {
		return r.Void.TNo
	}
	return r.Proof.TNo
}

// IsCancellation reports whether a payment was taken back by it.
func (r Record) IsCancellation() bool { return !r.IsVoid && r.PaidTNo != 0 }

// IsProved reports whether MACZ of a payment or a cancellation is the card's, by
// the key of ProofKey.
func (r Record) IsProved(key *Key) bool {
	if r.IsCancellation() {
		return r.cancellation().IsProved(key, r.MACZ)
	}
	return r.Proof.IsProved(key, r.MACZ)
}

func (r Record) cancellation() Cancellation { return Cancellation{r.Proof, r.PaidTNo, r.PaidSNo} }

// body writes the record without MACM.
func (r Record) body(to []byte) []byte {
	switch {
	case r.IsCancellation():
		return append(r.cancellation().Append(big.AppendUint32(append(to, cancellationType), r.Batch)), r.MACZ[:]...)
	case !r.IsVoid:
		return append(r.Proof.Append(big.AppendUint32(append(to, paymentType), r.Batch)), r.MACZ[:]...)
	}
	v := r.Void
	to = append(big.AppendUint32(append(to, voidType), r.Batch), v.Merchant[:]...)
	to = big.AppendUint32(big.AppendUint32(big.AppendUint32(to, v.TNo), v.Amount), v.Time)
	return append(big.AppendUint32(append(to, v.Card[:]...), v.SNo), byte(v.Proved))
}

// Append writes the record: 90 bytes, 54 or 98.
func (r Record) Append(to []byte) []byte { return append(r.body(to), r.MACM[:]...) }

// Chain returns MACM by the key of MerchantKey and the MACM of the record
// before, zero for the first of a batch.
func (r Record) Chain(key *Key, previous MAC) MAC {
	return key.MAC([]byte{0xB1, 1}, r.body(nil), previous[:])
}

// IsChained reports whether MACM is the SAM's, after the record with the MACM
// given.
func (r Record) IsChained(key *Key, previous MAC) bool { return r.Chain(key, previous).equal(r.MACM) }

// recordLength returns the length that the first byte of a record says, or 0.
func recordLength(first byte) int {
	switch first {
	case paymentType:
		return PaymentLength
	case voidType:
		return VoidLength
	case cancellationType:
		return CancellationRecordLength
	default:
		return 0
	}
}

// ParseRecord reads a record.
func ParseRecord(text []byte) (Record, error) {
	if len(text) == 0 {
		return Record{}, errors.New("record of no bytes: want 90 for a payment, 54 for a void, 98 for a cancellation")
	}
	length := recordLength(text[0])
	if length == 0 {
		return Record{}, fmt.Errorf("record of type %02x: want 01 for a payment, 02 for a void or 03 for a cancellation", text[0])
	}
	if len(text) != length {
		return Record{}, lengthError(fmt.Sprintf("record of type %02x", text[0]), len(text), length)
	}
	r := reader(text[1:])
	record := Record{Batch: r.uint32(), IsVoid: text[0] == voidType}
	var err error
	switch text[0] {
	case voidType:
		record.Void, err = parseVoid(&r)
	case cancellationType:
		var c Cancellation
		c, err = ParseCancellation(r.take(CancellationLength))
		record.Proof, record.PaidTNo, record.PaidSNo = c.Proof, c.PaidTNo, c.PaidSNo
		record.MACZ = r.mac()
	default:
		record.Proof, err = ParseProof(r.take(ProofLength))
		record.MACZ = r.mac()
	}
	record.MACM = r.mac()
	return record, err
}

func parseVoid(r *reader) (Void, error) {
	void := Void{
		Merchant: r.id(), TNo: r.uint32(), Amount: r.uint32(), Time: r.uint32(),
		Card: r.id(), SNo: r.uint32(), Proved: Proved(r.byte()),
	}
	if void.Proved > UnprovedCancellation || void.TNo == 0 {
		return void, errors.New("void with a number 0, or proved otherwise than 0, 1, 2 or 3")
	}
	return void, nil
}
