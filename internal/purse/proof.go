package purse

import (
	"errors"
	"fmt"
)

// ProofLength is the length of a proof of payment in bytes.
const ProofLength = 53

const proofVersion = 1

// Proof is what a card says of a payment: its own numbers, and the merchant's.
type Proof struct {
	Amount     uint32 // in units, above 0
	Unit       Unit
	Time       uint32 // by the merchant, seconds since 1970
	Merchant   ID
	TNo        uint32 // of the SAM's transactions, 1 and up
	Card       ID
	Holder     ID // zero: a white card
	KeyVersion byte
	SNo        uint32 // of the card's payments, 1 and up
	LNo        uint32 // of the card's last load
	// Hidden (BALX) is the balance after the payment under a pad that only card
	// and clearing can make.
	Hidden uint32
}

// Append writes the 53 bytes.
func (p Proof) Append(to []byte) []byte {
	to = big.AppendUint32(append(to, proofVersion), p.Amount)
	to = big.AppendUint32(p.Unit.append(to), p.Time)
	to = big.AppendUint32(append(to, p.Merchant[:]...), p.TNo)
	to = append(append(append(to, p.Card[:]...), p.Holder[:]...), p.KeyVersion)
	return big.AppendUint32(big.AppendUint32(big.AppendUint32(to, p.SNo), p.LNo), p.Hidden)
}

// ParseProof reads the 53 bytes.
func ParseProof(text []byte) (Proof, error) {
	if len(text) != ProofLength {
		return Proof{}, lengthError("proof", len(text), ProofLength)
	}
	r := reader(text)
	if version := r.byte(); version != proofVersion {
		return Proof{}, fmt.Errorf("proof of version %d: want %d", version, proofVersion)
	}
	p := parseProofFields(&r)
	return p, p.check()
}

// parseProofFields reads what comes after the version.
func parseProofFields(r *reader) Proof {
	return Proof{
		Amount: r.uint32(), Unit: r.unit(), Time: r.uint32(), Merchant: r.id(), TNo: r.uint32(),
		Card: r.id(), Holder: r.id(), KeyVersion: r.byte(), SNo: r.uint32(), LNo: r.uint32(), Hidden: r.uint32(),
	}
}

func (p Proof) check() error {
	if p.Amount == 0 {
		return errors.New("proof of a payment of nothing")
	}
	if p.TNo == 0 || p.SNo == 0 {
		return errors.New("proof with a number 0: transactions and payments are numbered from 1")
	}
	if err := p.Unit.Check(); err != nil {
		return fmt.Errorf("proof: %w", err)
	}
	return nil
}

// pad is what hides the balance.
func (p Proof) pad(key *Key) uint32 {
	mac := key.MAC([]byte{0xA6, 1}, p.Merchant[:], big.AppendUint32(nil, p.TNo), big.AppendUint32(nil, p.SNo))
	return big.Uint32(mac[:4])
}

// Balance returns what was on the card after the payment, in units, by the key
// of ProofKey.
func (p Proof) Balance(key *Key) uint32 { return p.Hidden ^ p.pad(key) }

// Hide sets the balance after the payment.
func (p Proof) Hide(key *Key, balance uint32) Proof {
	p.Hidden = balance ^ p.pad(key)
	return p
}

// Prove returns MACZ by the key of ProofKey.
func (p Proof) Prove(key *Key) MAC { return key.MAC([]byte{0xA3, 1}, p.Append(nil)) }

// IsProved reports whether MACZ is the card's.
func (p Proof) IsProved(key *Key, macz MAC) bool { return p.Prove(key).equal(macz) }
