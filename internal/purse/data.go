package purse

import "errors"

// The lengths of answers to GET DATA and of an entry in the log of loads, in
// bytes.
const (
	CardDataLength    = 41
	ScriptStateLength = 5
	SAMDataLength     = 46
	openDataLength    = 24
	LoadEntryLength   = 35
)

// CardData is what a card answers to GET DATA 00.
type CardData struct {
	Card       ID
	Holder     ID // zero: a white card
	KeyVersion byte
	Unit       Unit
	Balance    uint32 // in units
	MaxBalance uint32 // BALMAX, in units
	MaxPayment uint32 // TXMAX, in units
	SNo, LNo   uint32 // of the last payment and the last load; 0: none
	Tries      byte   // of the PIN that are left
}

// Append writes the 41 bytes.
func (d CardData) Append(to []byte) []byte {
	to = append(append(append(to, d.Card[:]...), d.Holder[:]...), d.KeyVersion)
	to = d.Unit.append(to)
	to = big.AppendUint32(big.AppendUint32(big.AppendUint32(to, d.Balance), d.MaxBalance), d.MaxPayment)
	return append(big.AppendUint32(big.AppendUint32(to, d.SNo), d.LNo), d.Tries)
}

// ParseCardData reads the 41 bytes.
func ParseCardData(text []byte) (CardData, error) {
	if len(text) != CardDataLength {
		return CardData{}, lengthError("data of a card", len(text), CardDataLength)
	}
	r := reader(text)
	return CardData{
		Card: r.id(), Holder: r.id(), KeyVersion: r.byte(), Unit: r.unit(), Balance: r.uint32(), MaxBalance: r.uint32(),
		MaxPayment: r.uint32(), SNo: r.uint32(), LNo: r.uint32(), Tries: r.byte(),
	}, nil
}

// ScriptState is what a card answers to GET DATA 01.
type ScriptState struct {
	IsBlocked bool
	Count     uint32 // CNT of the last script that was done; 0: none
}

// Append writes the 5 bytes.
func (s ScriptState) Append(to []byte) []byte {
	return big.AppendUint32(append(to, flag(s.IsBlocked)), s.Count)
}

// ParseScriptState reads the 5 bytes.
func ParseScriptState(text []byte) (ScriptState, error) {
	if len(text) != ScriptStateLength || text[0] > 1 {
		return ScriptState{}, errors.New("state of a card: want 5 bytes that begin with 00 or 01")
	}
	return ScriptState{text[0] == 1, big.Uint32(text[1:])}, nil
}

func flag(is bool) byte {
	if is {
		return 1
	}
	return 0
}

// SAMState is what a SAM is about.
type SAMState byte

// The states of a SAM.
const (
	SAMIdle    SAMState = 0 // INIT, or CLOSE BATCH, may come
	SAMBegun   SAMState = 1 // INIT was; no order left the SAM
	SAMOrdered SAMState = 2 // AUTHORIZE was; the card may have paid
	SAMClosed  SAMState = 3 // CLOSE BATCH was; ACK BATCH is missing
)

// SAMData is what a SAM answers to GET DATA.
type SAMData struct {
	State      SAMState
	Merchant   ID
	KeyVersion byte
	Batch      uint32 // that is open or closed, 1 and up
	TNo        uint32 // the last that was used; 0: none
	First      uint32 // TNo of the batch's first record, there or to come
	Payments   uint32 // and cancellations, in the batch
	Voids      uint32
	Sum        uint64 // of payments less cancellations, in units
	Limit      uint64 // of Sum, in units
	// Open is the transaction TNo, in the states SAMBegun and SAMOrdered.
	Open OpenTransaction
}

// OpenTransaction is a transaction of a SAM that has no record yet.
type OpenTransaction struct {
	IsCancellation bool
	Amount         uint32 // in units
	Unit           Unit
	Time           uint32
	Card           ID     // zero: no card was there yet
	SNo            uint32 // of the order; 0: there is none yet
}

// IsOpen reports whether a transaction has begun and has no record yet.
func (s SAMState) IsOpen() bool { return s == SAMBegun || s == SAMOrdered }

// Append writes the 46 bytes, and 24 more where a transaction is open.
func (d SAMData) Append(to []byte) []byte {
	to = append(append(append(to, byte(d.State)), d.Merchant[:]...), d.KeyVersion)
	to = big.AppendUint32(big.AppendUint32(big.AppendUint32(to, d.Batch), d.TNo), d.First)
	to = big.AppendUint32(big.AppendUint32(to, d.Payments), d.Voids)
	to = big.AppendUint64(big.AppendUint64(to, d.Sum), d.Limit)
	if !d.State.IsOpen() {
		return to
	}
	to = big.AppendUint32(append(to, 1+flag(d.Open.IsCancellation)), d.Open.Amount)
	to = big.AppendUint32(d.Open.Unit.append(to), d.Open.Time)
	return big.AppendUint32(append(to, d.Open.Card[:]...), d.Open.SNo)
}

// ParseSAMData reads the 46 or 70 bytes.
func ParseSAMData(text []byte) (SAMData, error) {
	if len(text) < SAMDataLength || SAMState(text[0]) > SAMClosed {
		return SAMData{}, lengthError("data of a SAM", len(text), SAMDataLength)
	}
	r := reader(text)
	d := SAMData{
		State: SAMState(r.byte()), Merchant: r.id(), KeyVersion: r.byte(), Batch: r.uint32(), TNo: r.uint32(), First: r.uint32(),
		Payments: r.uint32(), Voids: r.uint32(), Sum: r.uint64(), Limit: r.uint64(),
	}
	want := SAMDataLength
	if d.State.IsOpen() {
		want += openDataLength
	}
	if len(text) != want {
		return SAMData{}, lengthError("data of a SAM", len(text), want)
	}
	if d.State.IsOpen() {
		kind := r.byte()
		if kind != 1 && kind != 2 {
			return SAMData{}, errors.New("data of a SAM: the open transaction is neither a payment (01) nor a cancellation (02)")
		}
		d.Open = OpenTransaction{kind == 2, r.uint32(), r.unit(), r.uint32(), r.id(), r.uint32()}
	}
	return d, nil
}

// LoadEntry is a load in the log of a card.
type LoadEntry struct {
	LNo       uint32
	Amount    uint32 // in units
	Unit      Unit
	Time      uint32
	Terminal  ID // LDA
	Reference ID
	Balance   uint32 // after it, in units
}

// Append writes the 35 bytes.
func (e LoadEntry) Append(to []byte) []byte {
	to = e.Unit.append(big.AppendUint32(big.AppendUint32(to, e.LNo), e.Amount))
	to = append(append(big.AppendUint32(to, e.Time), e.Terminal[:]...), e.Reference[:]...)
	return big.AppendUint32(to, e.Balance)
}

// ParseLoadEntry reads the 35 bytes.
func ParseLoadEntry(text []byte) (LoadEntry, error) {
	if len(text) != LoadEntryLength {
		return LoadEntry{}, lengthError("load in the log", len(text), LoadEntryLength)
	}
	r := reader(text)
	return LoadEntry{
		LNo: r.uint32(), Amount: r.uint32(), Unit: r.unit(), Time: r.uint32(), Terminal: r.id(), Reference: r.id(), Balance: r.uint32(),
	}, nil
}
