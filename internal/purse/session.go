package purse

// Order is what a SAM asks a card to pay: the data of DEBIT without its MAC, 35
// bytes.
type Order struct {
	Merchant ID
	TNo      uint32
	SNo      uint32 // of this payment, as the card said
	Card     ID
	Amount   uint32 // in units
	Unit     Unit
	Time     uint32 // seconds since 1970
}

// Append writes the 35 bytes.
func (o Order) Append(to []byte) []byte {
	to = big.AppendUint32(big.AppendUint32(append(to, o.Merchant[:]...), o.TNo), o.SNo)
	to = big.AppendUint32(append(to, o.Card[:]...), o.Amount)
	return big.AppendUint32(o.Unit.append(to), o.Time)
}

// Start is what a card answers to START, without its MAC.
type Start struct {
	Card       ID
	Holder     ID
	KeyVersion byte
	SNo        uint32 // of the payment that may come
	Unit       Unit
	Random     Random // RANDC
}

// Append writes the 40 bytes.
func (s Start) Append(to []byte) []byte {
	to = append(append(append(to, s.Card[:]...), s.Holder[:]...), s.KeyVersion)
	return append(s.Unit.append(big.AppendUint32(to, s.SNo)), s.Random[:]...)
}

// Identify returns MAC1 by the key of CardKey: the card is who it says, to this
// SAM and its random number.
func (s Start) Identify(key *Key, merchant ID, tno uint32, random Random) MAC {
	return key.MAC([]byte{0xA1, 1}, merchant[:], big.AppendUint32(nil, tno), random[:], s.Append(nil))
}

// Session returns KS, the key of one payment, of the key of CardKey and the
// random numbers of both sides.
func (s Start) Session(key *Key, merchant ID, tno uint32, random Random) *Key {
	return key.derive("KS", random[:], s.Random[:], big.AppendUint32(nil, s.SNo), merchant[:], big.AppendUint32(nil, tno))
}

// Sign returns MAC2 by the key of the session.
func (o Order) Sign(session *Key) MAC { return session.MAC([]byte{0xA2, 1}, o.Append(nil)) }

// Confirm returns MAC3 by the key of the session: the SAM, which cannot check
// MACZ, sees by it that proof and MACZ are the card's.
func (p Proof) Confirm(session *Key, macz MAC) MAC {
	return session.MAC([]byte{0xA4, 1}, p.Append(nil), macz[:])
}

// Deny returns MACN by the key of CardKey: the card says, to this random number,
// that it did not pay the transaction, and which SNo is its next.
func Deny(key *Key, merchant ID, tno, sno uint32, random Random, next uint32) MAC {
	return key.MAC([]byte{0xA5, 1}, merchant[:], big.AppendUint32(nil, tno), big.AppendUint32(nil, sno),
		random[:], big.AppendUint32(nil, next))
}
