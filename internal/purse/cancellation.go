package purse

import "errors"

// CancellationLength is the length of what a card says of a cancellation.
const CancellationLength = 61

const cancellationVersion = 2

// Cancellation is what a card says when it took its last payment back. It is a
// transaction of its own: Proof holds its TNo and SNo, and the amount that came
// back.
type Cancellation struct {
	Proof
	PaidTNo uint32 // of the payment that was taken back
	PaidSNo uint32 // of the same: the one before SNo
}

// Append writes the 61 bytes.
func (c Cancellation) Append(to []byte) []byte {
	start := len(to)
	to = c.Proof.Append(to)
	to[start] = cancellationVersion
	return big.AppendUint32(big.AppendUint32(to, c.PaidTNo), c.PaidSNo)
}

// ParseCancellation reads the 61 bytes.
func ParseCancellation(text []byte) (Cancellation, error) {
	if len(text) != CancellationLength {
		return Cancellation{}, lengthError("cancellation", len(text), CancellationLength)
	}
	if text[0] != cancellationVersion {
		return Cancellation{}, errors.New("cancellation: want 02 as its first byte")
	}
	r := reader(text[1:])
	c := Cancellation{Proof: parseProofFields(&r), PaidTNo: r.uint32(), PaidSNo: r.uint32()}
	if err := c.check(); err != nil {
		return Cancellation{}, err
	}
	if c.PaidTNo == 0 || c.PaidTNo >= c.TNo || c.PaidSNo == 0 || c.PaidSNo != c.SNo-1 {
		return Cancellation{}, errors.New("cancellation: it is not of a transaction before it, and of the card's payment just before it")
	}
	return c, nil
}

// Prove returns MACZ of the cancellation by the key of ProofKey.
func (c Cancellation) Prove(key *Key) MAC { return key.MAC([]byte{0xA8, 1}, c.Append(nil)) }

// IsProved reports whether MACZ is the card's.
func (c Cancellation) IsProved(key *Key, macz MAC) bool { return c.Prove(key).equal(macz) }

// Confirm returns MAC9 by the key of the session: the SAM sees by it that
// cancellation and MACZ are the card's.
func (c Cancellation) Confirm(session *Key, macz MAC) MAC {
	return session.MAC([]byte{0xA9, 1}, c.Append(nil), macz[:])
}
