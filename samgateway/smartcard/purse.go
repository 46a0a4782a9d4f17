package smartcard

import (
	"context"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/purse"
)

// The lengths of what card and SAM tell each other, in bytes.
const (
	BegunLength       = 29 // INIT's answer and START's data
	StartedLength     = 56 // START's answer and AUTHORIZE's data
	OrderLength       = 51 // AUTHORIZE's answer and DEBIT's data
	PaidLength        = 85 // DEBIT's answer and COMMIT's data
	CancelOrderLength = 59 // AUTHORIZE's answer to a cancellation, and CANCEL LAST's data
	CancelledLength   = 93 // CANCEL LAST's answer and COMMIT's data
	DeniedLength      = 21 // RECOVER's answer of a card that did not pay
	ScriptedLength    = 20 // SCRIPT's answer
)

const (
	purseDataLength  = 41
	purseStateLength = 5
	maxPayments      = 15 // that a card keeps
	maxLoads         = 3
	paymentsFile     = 0x0C
	loadsFile        = 0x14
	pinReference     = 0x80
)

// Purse is a purse card, by the commands of PWP1. A status other than 9000 comes
// back as a purse.StatusWord: the card said no. Any other error means that it is
// unknown what the card did.
type Purse struct{ Card }

// Select selects the purse: ErrForeign if the card has none. What was begun in
// the session, and a PIN that was entered, are forgotten.
func (p Purse) Select(ctx context.Context) error {
	return selectApplication(ctx, p, purse.CardAID)
}

// Verify shows the card its PIN, 4 to 8 digits. purse.StatusWord.Tries tells how
// many tries are left after a wrong one.
func (p Purse) Verify(ctx context.Context, pin []byte) error {
	if len(pin) < 4 || len(pin) > 8 {
		return errors.New("the PIN has another length than 4 to 8 digits")
	}
	_, err := exchange(ctx, p, purse.Verify, 0, pinReference, pin)
	return err
}

// Tries returns how many tries of the PIN are left. It uses up none.
func (p Purse) Tries(ctx context.Context) (int, error) {
	_, err := exchange(ctx, p, purse.Verify, 0, pinReference, nil)
	var status purse.StatusWord
	if errors.As(err, &status) {
		if tries, is := status.Tries(); is {
			return tries, nil
		}
	}
	if err == nil {
		err = errors.New("the card does not say how many tries are left")
	}
	return 0, err
}

// PurseData is what a card tells everybody about itself. Nothing proves it: it
// is for people, and to know what to ask.
type PurseData struct {
	Card           purse.ID
	Holder         purse.ID // zero: a white card
	KeyVersion     byte
	Unit           purse.Unit
	Balance        uint32 // in units
	MaxBalance     uint32 // in units
	MaxTransaction uint32 // in units
	SNo            uint32 // of the last payment
	LNo            uint32 // of the last load
	Tries          byte   // of the PIN
}

// Data asks the card about itself.
func (p Purse) Data(ctx context.Context) (PurseData, error) {
	answer, err := fixed(ctx, p, purse.GetData, nil, purseDataLength)
	if err != nil {
		return PurseData{}, err
	}
	f := fields(answer)
	return PurseData{
		Card: f.id(), Holder: f.id(), KeyVersion: f.byte(), Unit: f.unit(), Balance: f.uint32(), MaxBalance: f.uint32(),
		MaxTransaction: f.uint32(), SNo: f.uint32(), LNo: f.uint32(), Tries: f.byte(),
	}, nil
}

// PurseState says whether the issuer has blocked a card.
type PurseState struct {
	IsBlocked bool
	Scripts   uint32 // how many it has taken
}

// State asks for the card's state.
func (p Purse) State(ctx context.Context) (PurseState, error) {
	answer, err := exchange(ctx, p, purse.GetData, 1, 0, nil)
	if err == nil && len(answer) != purseStateLength {
		err = fmt.Errorf("the card tells its state in %d bytes: want %d", len(answer), purseStateLength)
	}
	if err != nil {
		return PurseState{}, err
	}
	return PurseState{IsBlocked: answer[0] != 0, Scripts: big.Uint32(answer[1:])}, nil
}

// Payments returns the card's last payments and cancellations, the newest first,
// at most 15. The card wants its PIN before.
func (p Purse) Payments(ctx context.Context) (payments []Paid, err error) {
	err = p.records(ctx, paymentsFile, maxPayments, func(record []byte) error {
		paid, err := ParsePaid(record)
		payments = append(payments, paid)
		return err
	})
	return payments, err
}

// LoggedLoad is a load as the card keeps it.
type LoggedLoad struct {
	Bytes []byte
}

// Loads returns the card's last loads, the newest first, at most 3. The card
// wants its PIN before.
func (p Purse) Loads(ctx context.Context) (loads []LoggedLoad, err error) {
	err = p.records(ctx, loadsFile, maxLoads, func(record []byte) error {
		loads = append(loads, LoggedLoad{record})
		return nil
	})
	return loads, err
}

func (p Purse) records(ctx context.Context, file byte, most int, add func(record []byte) error) error {
	for number := 1; number <= most; number++ {
		record, err := exchange(ctx, p, purse.ReadRecord, byte(number), file, nil)
		if errors.Is(err, purse.NoRecord) {
			return nil
		}
		if err == nil {
			err = add(record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Start begins a payment or a cancellation with what the SAM answered to INIT.
func (p Purse) Start(ctx context.Context, begun Begun) (Started, error) {
	answer, err := fixed(ctx, p, purse.StartPay, begun.Append(nil), StartedLength)
	if err != nil {
		return Started{}, err
	}
	return ParseStarted(answer)
}

// Debit takes the SAM's order, 51 bytes, and returns the card's answer, 85.
func (p Purse) Debit(ctx context.Context, order []byte) ([]byte, error) {
	return fixed(ctx, p, purse.Debit, order, PaidLength)
}

// CancelLast takes the SAM's order of a cancellation, 59 bytes, and returns the
// card's answer, 93.
func (p Purse) CancelLast(ctx context.Context, order []byte) ([]byte, error) {
	return fixed(ctx, p, purse.CancelLast, order, CancelledLength)
}

// Recover asks whether the card did what a SAM had ordered. It returns the answer
// to DEBIT or CANCEL LAST again, or, hasPaid being false, what the SAM takes as
// proof that the card never will: SNo, MACN, 20 bytes. Nothing here checks who
// answers: the SAM does.
func (p Purse) Recover(ctx context.Context, merchant purse.ID, tno, sno uint32, random purse.Random) (answer []byte, hasPaid bool, err error) {
	data := big.AppendUint32(big.AppendUint32(append([]byte(nil), merchant[:]...), tno), sno)
	answer, err = exchange(ctx, p, purse.Recover, 0, 0, append(data, random[:]...))
	if err != nil {
		return nil, false, err
	}
	switch {
	case len(answer) == DeniedLength && answer[0] == 0:
		return answer[1:], false, nil
	case (len(answer) == 1+PaidLength || len(answer) == 1+CancelledLength) && answer[0] == 1:
		return answer[1:], true, nil
	}
	return nil, false, fmt.Errorf("the answer to RECOVER has %d bytes: want %d, %d or %d", len(answer), DeniedLength, 1+PaidLength, 1+CancelledLength)
}

// InitLoad begins a load and returns the card's answer, 57 bytes. The card wants
// its PIN before, unless it is a white one.
func (p Purse) InitLoad(ctx context.Context, request purse.LoadRequest) ([]byte, error) {
	return fixed(ctx, p, purse.InitLoad, request.Append(nil), purse.LoadAnswerLength)
}

// Credit takes what clearing authorised, 32 bytes, and returns the card's
// receipt, 24.
func (p Purse) Credit(ctx context.Context, credit []byte) ([]byte, error) {
	return fixed(ctx, p, purse.Credit, credit, purse.ReceiptLength)
}

// LoadStatus asks for the last load, with the challenge of clearing, and returns
// the answer, 44 bytes. A load that was begun is over by it.
func (p Purse) LoadStatus(ctx context.Context, challenge purse.Random) ([]byte, error) {
	return fixed(ctx, p, purse.LoadStatus, challenge[:], purse.StatusLength)
}

// maxScript bounds a script: an APDU of short form.
const maxScript = 4 + 1 + maxData + 1

// Script sends a whole SCRIPT command of the issuer and returns the card's
// answer, 20 bytes.
func (p Purse) Script(ctx context.Context, command []byte) ([]byte, error) {
	if len(command) < 5 || len(command) > maxScript || command[0] != 0x80 || command[1] != byte(purse.Script) {
		return nil, fmt.Errorf("script of %d bytes: want a whole command that begins with 8070, at most %d bytes", len(command), maxScript)
	}
	answer, err := p.Transmit(ctx, command)
	if err != nil {
		return nil, err
	}
	content, status, err := purse.Answer(answer)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrTorn, err)
	case status != purse.Done:
		return nil, status
	case len(content) != ScriptedLength:
		return nil, fmt.Errorf("the answer to SCRIPT has %d bytes: want %d", len(content), ScriptedLength)
	}
	return content, nil
}

// Begun is what a SAM answers to INIT, and what START is sent with.
type Begun struct {
	Merchant   purse.ID
	TNo        uint32
	KeyVersion byte
	Random     purse.Random // RANDS
}

// Append writes the 29 bytes.
func (b Begun) Append(to []byte) []byte {
	to = big.AppendUint32(append(to, b.Merchant[:]...), b.TNo)
	return append(append(to, b.KeyVersion), b.Random[:]...)
}

// ParseBegun reads the 29 bytes.
func ParseBegun(text []byte) (Begun, error) {
	if len(text) != BegunLength {
		return Begun{}, fmt.Errorf("answer to INIT of %d bytes: want %d", len(text), BegunLength)
	}
	f := fields(text)
	return Begun{Merchant: f.id(), TNo: f.uint32(), KeyVersion: f.byte(), Random: f.random()}, nil
}

// Started is what a card answers to START, and what AUTHORIZE is sent with. Who
// the card is, is known when the SAM has taken it.
type Started struct {
	purse.Start
	MAC purse.MAC // MAC1
}

// Append writes the 56 bytes.
func (s Started) Append(to []byte) []byte { return append(s.Start.Append(to), s.MAC[:]...) }

// ParseStarted reads the 56 bytes.
func ParseStarted(text []byte) (Started, error) {
	if len(text) != StartedLength {
		return Started{}, fmt.Errorf("answer to START of %d bytes: want %d", len(text), StartedLength)
	}
	f := fields(text)
	return Started{
		Start: purse.Start{Card: f.id(), Holder: f.id(), KeyVersion: f.byte(), SNo: f.uint32(), Unit: f.unit(), Random: f.random()},
		MAC:   f.mac(),
	}, nil
}

// Paid is what a card answers to DEBIT or CANCEL LAST.
type Paid struct {
	Proof purse.Proof
	// CancelledTNo and CancelledSNo name the payment that was cancelled; 0: this
	// is a payment.
	CancelledTNo, CancelledSNo uint32
	// Evidence is what MACZ is over: PROOF of 53 bytes, or CPROOF of 61.
	Evidence []byte
	MACZ     purse.MAC
}

// ParsePaid reads the 85 bytes of a payment, or the 93 of a cancellation. It
// checks no MAC.
func ParsePaid(text []byte) (Paid, error) {
	isCancellation := len(text) == CancelledLength
	if len(text) != PaidLength && !isCancellation {
		return Paid{}, fmt.Errorf("answer to DEBIT of %d bytes: want %d, or %d of a cancellation", len(text), PaidLength, CancelledLength)
	}
	head := append([]byte(nil), text[:purse.ProofLength]...)
	if isCancellation {
		if head[0] != 2 {
			return Paid{}, fmt.Errorf("cancellation of type %d: want 2", head[0])
		}
		head[0] = 1 // the rest is laid out as in a proof of payment
	}
	proof, err := purse.ParseProof(head)
	if err != nil {
		return Paid{}, err
	}
	end := len(text) - 32
	paid := Paid{Proof: proof, Evidence: append([]byte(nil), text[:end]...), MACZ: purse.MAC(text[end : end+16])}
	if isCancellation {
		paid.CancelledTNo, paid.CancelledSNo = big.Uint32(text[purse.ProofLength:]), big.Uint32(text[purse.ProofLength+4:])
	}
	return paid, nil
}
