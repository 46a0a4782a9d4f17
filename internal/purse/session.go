package purse

// The lengths of what is said at a payment, in bytes, with their MACs but for
// OrderLength.
const (
	OpeningLength     = 29
	StartLength       = 56
	OrderLength       = 35
	DebitLength       = OrderLength + block
	CancelOrderLength = OrderLength + 8 + block
	PaidLength        = ProofLength + 2*block
	CancelledLength   = CancellationLength + 2*block
	RecoverLength     = 32
	DeniedLength      = 21
)

// Opening is what a SAM answers to INIT, and the data of START.
type Opening struct {
	Merchant   ID
	TNo        uint32
	KeyVersion byte   // of the SAM's newest keys
	Random     Random // RANDS
}

// Append writes the 29 bytes.
func (o Opening) Append(to []byte) []byte {
	to = append(big.AppendUint32(append(to, o.Merchant[:]...), o.TNo), o.KeyVersion)
	return append(to, o.Random[:]...)
}

// ParseOpening reads the 29 bytes.
func ParseOpening(text []byte) (Opening, error) {
	if len(text) != OpeningLength {
		return Opening{}, lengthError("opening of a payment", len(text), OpeningLength)
	}
	r := reader(text)
	return Opening{Merchant: r.id(), TNo: r.uint32(), KeyVersion: r.byte(), Random: r.random()}, nil
}

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

// ParseOrder reads the 35 bytes.
func ParseOrder(text []byte) (Order, error) {
	if len(text) != OrderLength {
		return Order{}, lengthError("order", len(text), OrderLength)
	}
	r := reader(text)
	return Order{
		Merchant: r.id(), TNo: r.uint32(), SNo: r.uint32(), Card: r.id(), Amount: r.uint32(), Unit: r.unit(), Time: r.uint32(),
	}, nil
}

// CancelOrder is what a SAM asks a card to take back: the data of CANCEL LAST
// without its MAC, 43 bytes. TNo and SNo are those of the cancellation.
type CancelOrder struct {
	Order
	PaidTNo uint32 // of the payment that is taken back
	PaidSNo uint32
}

// Append writes the 43 bytes.
func (o CancelOrder) Append(to []byte) []byte {
	return big.AppendUint32(big.AppendUint32(o.Order.Append(to), o.PaidTNo), o.PaidSNo)
}

// ParseCancelOrder reads the 59 bytes of data of CANCEL LAST: with MAC7.
func ParseCancelOrder(text []byte) (CancelOrder, MAC, error) {
	if len(text) != CancelOrderLength {
		return CancelOrder{}, MAC{}, lengthError("order of a cancellation", len(text), CancelOrderLength)
	}
	order, err := ParseOrder(text[:OrderLength])
	if err != nil {
		return CancelOrder{}, MAC{}, err
	}
	r := reader(text[OrderLength:])
	cancel := CancelOrder{order, r.uint32(), r.uint32()}
	return cancel, r.mac(), nil
}

// Sign returns MAC7 by the key of the session.
func (o CancelOrder) Sign(session *Key) MAC { return session.MAC([]byte{0xA7, 1}, o.Append(nil)) }

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

// ParseStart reads the 56 bytes that a card answers to START: with MAC1.
func ParseStart(text []byte) (Start, MAC, error) {
	if len(text) != StartLength {
		return Start{}, MAC{}, lengthError("answer to START", len(text), StartLength)
	}
	r := reader(text)
	start := Start{Card: r.id(), Holder: r.id(), KeyVersion: r.byte(), SNo: r.uint32(), Unit: r.unit(), Random: r.random()}
	return start, r.mac(), nil
}

// Identify returns MAC1 by the key of CardKey: the card is who it says, to this
// SAM and its random number.
func (s Start) Identify(key *Key, merchant ID, tno uint32, random Random) MAC {
	return key.MAC([]byte{0xA1, 1}, merchant[:], big.AppendUint32(nil, tno), random[:], s.Append(nil))
}

// Session returns KS, the key of one payment, of the key of CardKey and the
// random numbers of both sides.
func (s Start) Session(key *Key, merchant ID, tno uint32, random Random) *Key {
	return keyOf(s.sessionSecret(key, merchant, tno, random))
}

func (s Start) sessionSecret(key *Key, merchant ID, tno uint32, random Random) secret {
	return key.deriveSecret("KS", random[:], s.Random[:], big.AppendUint32(nil, s.SNo), merchant[:], big.AppendUint32(nil, tno))
}

// Sign returns MAC2 by the key of the session.
func (o Order) Sign(session *Key) MAC { return session.MAC([]byte{0xA2, 1}, o.Append(nil)) }

// Confirm returns MAC3 by the key of the session: the SAM, which cannot check
// MACZ, sees by it that proof and MACZ are the card's.
func (p Proof) Confirm(session *Key, macz MAC) MAC {
	return session.MAC([]byte{0xA4, 1}, p.Append(nil), macz[:])
}

// Deny returns MACN by the key of CardKey: the card says, to this random number,
// that it did not pay the transaction, and which SNo was its last.
func Deny(key *Key, merchant ID, tno, sno uint32, random Random, last uint32) MAC {
	return key.MAC([]byte{0xA5, 1}, merchant[:], big.AppendUint32(nil, tno), big.AppendUint32(nil, sno),
		random[:], big.AppendUint32(nil, last))
}

// Paid is what a card answers to DEBIT (85 bytes) or CANCEL LAST (93), says again
// to RECOVER, and keeps in its log. PaidTNo 0 means that it is a payment.
type Paid struct {
	Cancellation
	MACZ MAC
	MAC  MAC // MAC3 or MAC9
}

// IsCancellation reports whether a payment was taken back by it.
func (p Paid) IsCancellation() bool { return p.PaidTNo != 0 }

// Append writes the 85 or 93 bytes.
func (p Paid) Append(to []byte) []byte {
	if p.IsCancellation() {
		to = p.Cancellation.Append(to)
	} else {
		to = p.Proof.Append(to)
	}
	return append(append(to, p.MACZ[:]...), p.MAC[:]...)
}

// ParsePaid reads the 85 or 93 bytes.
func ParsePaid(text []byte) (paid Paid, err error) {
	switch len(text) {
	case PaidLength:
		paid.Proof, err = ParseProof(text[:ProofLength])
	case CancelledLength:
		paid.Cancellation, err = ParseCancellation(text[:CancellationLength])
	default:
		return Paid{}, lengthError("answer to DEBIT", len(text), PaidLength)
	}
	if err != nil {
		return Paid{}, err
	}
	r := reader(text[len(text)-2*block:])
	paid.MACZ, paid.MAC = r.mac(), r.mac()
	return paid, nil
}

// Denied is what a card answers to RECOVER when it did not do what it is asked
// for, and never will.
type Denied struct {
	SNo uint32 // its last
	MAC MAC    // MACN
}

// Append writes the 21 bytes.
func (d Denied) Append(to []byte) []byte {
	return append(big.AppendUint32(append(to, 0), d.SNo), d.MAC[:]...)
}

// ParseRecovered reads the answer to RECOVER: either what the card answered
// before, or that it did not do it.
func ParseRecovered(text []byte) (paid Paid, denied Denied, isPaid bool, err error) {
	switch {
	case len(text) == DeniedLength && text[0] == 0:
		r := reader(text[1:])
		return Paid{}, Denied{r.uint32(), r.mac()}, false, nil
	case len(text) > 0 && text[0] == 1:
		paid, err = ParsePaid(text[1:])
		return paid, Denied{}, err == nil, err
	default:
		return Paid{}, Denied{}, false, lengthError("answer to RECOVER", len(text), 1+PaidLength)
	}
}
