package purse

import (
	"errors"
	"fmt"
)

// The lengths of what is said at a load, in bytes.
const (
	LoadRequestLength = 19
	LoadAnswerLength  = 57
	CreditLength      = 32
	ReceiptLength     = 24
	StatusLength      = 44
)

// Random is 16 bytes that somebody chose for this once.
type Random [16]byte

// LoadRequest is the data of INIT LOAD.
type LoadRequest struct {
	Amount   uint32 // in units, above 0
	Unit     Unit
	Time     uint32 // seconds since 1970
	Terminal ID     // LDA
}

// Append writes the 19 bytes.
func (r LoadRequest) Append(to []byte) []byte {
	to = big.AppendUint32(to, r.Amount)
	return append(big.AppendUint32(r.Unit.append(to), r.Time), r.Terminal[:]...)
}

// ParseLoadRequest reads the 19 bytes. Whether the unit makes sense is not looked
// at.
func ParseLoadRequest(text []byte) (LoadRequest, error) {
	if len(text) != LoadRequestLength {
		return LoadRequest{}, lengthError("load request", len(text), LoadRequestLength)
	}
	r := reader(text)
	return LoadRequest{Amount: r.uint32(), Unit: r.unit(), Time: r.uint32(), Terminal: r.id()}, nil
}

// LoadAnswer is what the card answers to INIT LOAD.
type LoadAnswer struct {
	Card       ID
	Holder     ID // zero: a white card
	KeyVersion byte
	LNo        uint32 // of this load
	Balance    uint32 // before it, in units
	Random     Random // RANDC; the load is good in this session of the card alone
	MAC        MAC    // MACL1
}

func (a LoadAnswer) head(to []byte) []byte {
	to = append(append(append(to, a.Card[:]...), a.Holder[:]...), a.KeyVersion)
	return big.AppendUint32(big.AppendUint32(to, a.LNo), a.Balance)
}

// Append writes the 57 bytes.
func (a LoadAnswer) Append(to []byte) []byte {
	return append(append(a.head(to), a.Random[:]...), a.MAC[:]...)
}

// Load is a request with its answer: who wants how much on which card.
type Load struct {
	Request LoadRequest
	Answer  LoadAnswer
}

// ParseLoad reads the data of INIT LOAD and the answer of the card.
func ParseLoad(request, answer []byte) (Load, error) {
	parsed, err := ParseLoadRequest(request)
	if err != nil {
		return Load{}, err
	}
	if len(answer) != LoadAnswerLength {
		return Load{}, lengthError("answer to a load request", len(answer), LoadAnswerLength)
	}
	r := reader(answer)
	load := Load{Request: parsed}
	load.Answer = LoadAnswer{Card: r.id(), Holder: r.id(), KeyVersion: r.byte(), LNo: r.uint32(), Balance: r.uint32()}
	copy(load.Answer.Random[:], r.take(len(Random{})))
	load.Answer.MAC = r.mac()
	if load.Request.Amount == 0 || load.Answer.LNo == 0 {
		return Load{}, errors.New("load of nothing, or with a number 0: loads are numbered from 1")
	}
	if err := load.Request.Unit.Check(); err != nil {
		return Load{}, fmt.Errorf("load: %w", err)
	}
	return load, nil
}

// Sign returns MACL1 by the key of LoadKey.
func (l Load) Sign(key *Key) MAC {
	return key.MAC([]byte{0xC1, 1}, l.Answer.head(nil), l.Request.Append(nil), l.Answer.Random[:])
}

// IsSigned reports whether MACL1 is the card's.
func (l Load) IsSigned(key *Key) bool { return l.Sign(key).equal(l.Answer.MAC) }

// Credit returns the data of CREDIT, 32 bytes, with which this card, in this
// session, takes the value of the load that reference names.
func (l Load) Credit(key *Key, reference ID) []byte {
	mac := l.creditMAC(key, reference)
	data := big.AppendUint32(append([]byte(nil), reference[:]...), l.Answer.LNo)
	return append(big.AppendUint32(data, l.Request.Amount), mac[:]...)
}

func (l Load) creditMAC(key *Key, reference ID) MAC {
	request := l.Request.Append(nil)
	return key.MAC([]byte{0xC2, 1}, l.Answer.Card[:], big.AppendUint32(nil, l.Answer.LNo), request,
		l.Answer.Random[:], reference[:])
}

// Receipt is what the card answers to CREDIT.
type Receipt struct {
	LNo     uint32
	Balance uint32 // after the load, in units
	MAC     MAC    // MACL3
}

// Append writes the 24 bytes.
func (r Receipt) Append(to []byte) []byte {
	return append(big.AppendUint32(big.AppendUint32(to, r.LNo), r.Balance), r.MAC[:]...)
}

// ParseReceipt reads the 24 bytes.
func ParseReceipt(text []byte) (Receipt, error) {
	if len(text) != ReceiptLength {
		return Receipt{}, lengthError("receipt", len(text), ReceiptLength)
	}
	r := reader(text)
	return Receipt{LNo: r.uint32(), Balance: r.uint32(), MAC: r.mac()}, nil
}

// SignReceipt returns MACL3 by the key of LoadKey.
func (l Load) SignReceipt(key *Key, reference ID, receipt Receipt) MAC {
	numbers := big.AppendUint32(big.AppendUint32(big.AppendUint32(nil, receipt.LNo), l.Request.Amount), receipt.Balance)
	return key.MAC([]byte{0xC3, 1}, l.Answer.Card[:], numbers, reference[:], l.Answer.Random[:])
}

// IsReceipt reports whether the card took the value of this load: MACL3 is the
// card's, for this load and this reference.
func (l Load) IsReceipt(key *Key, reference ID, receipt Receipt) bool {
	return receipt.LNo == l.Answer.LNo && l.SignReceipt(key, reference, receipt).equal(receipt.MAC)
}

// Status is what a card answers to LOAD STATUS: its last load that took place.
type Status struct {
	Card      ID
	LNo       uint32 // 0: there was none
	Balance   uint32 // now, in units
	Reference ID
	Amount    uint32
	MAC       MAC // MACL4
}

func (s Status) head(to []byte) []byte {
	to = big.AppendUint32(big.AppendUint32(append(to, s.Card[:]...), s.LNo), s.Balance)
	return big.AppendUint32(append(to, s.Reference[:]...), s.Amount)
}

// Append writes the 44 bytes.
func (s Status) Append(to []byte) []byte { return append(s.head(to), s.MAC[:]...) }

// ParseStatus reads the 44 bytes.
func ParseStatus(text []byte) (Status, error) {
	if len(text) != StatusLength {
		return Status{}, lengthError("load status", len(text), StatusLength)
	}
	r := reader(text)
	return Status{Card: r.id(), LNo: r.uint32(), Balance: r.uint32(), Reference: r.id(), Amount: r.uint32(), MAC: r.mac()}, nil
}

// Sign returns MACL4 by the key of LoadKey, over the challenge that was asked
// with.
func (s Status) Sign(key *Key, challenge Random) MAC {
	return key.MAC([]byte{0xC4, 1}, challenge[:], s.head(nil))
}

// IsSigned reports whether MACL4 is the card's, in answer to the challenge.
func (s Status) IsSigned(key *Key, challenge Random) bool { return s.Sign(key, challenge).equal(s.MAC) }
