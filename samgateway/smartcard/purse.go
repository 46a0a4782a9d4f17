package smartcard

import (
	"context"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/purse"
)

// pinReference is P2 of VERIFY: the PIN of the application.
const pinReference = 0x80

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
	if len(pin) < purse.MinPINDigits || len(pin) > purse.MaxPINDigits {
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

// Data asks the card about itself. Nothing proves what it tells everybody: it is
// for people, and to know what to ask.
func (p Purse) Data(ctx context.Context) (purse.CardData, error) {
	answer, err := exchange(ctx, p, purse.GetData, 0, 0, nil)
	if err != nil {
		return purse.CardData{}, err
	}
	return purse.ParseCardData(answer)
}

// State asks whether the card is blocked, and how many scripts it has taken.
func (p Purse) State(ctx context.Context) (purse.ScriptState, error) {
	answer, err := exchange(ctx, p, purse.GetData, 1, 0, nil)
	if err != nil {
		return purse.ScriptState{}, err
	}
	return purse.ParseScriptState(answer)
}

// Payments returns the card's last payments and cancellations, the newest first,
// at most 15. The card wants its PIN before.
func (p Purse) Payments(ctx context.Context) (payments []purse.Paid, err error) {
	err = p.records(ctx, purse.PaymentsFile, purse.MaxLoggedPayments, func(record []byte) error {
		paid, err := purse.ParsePaid(record)
		payments = append(payments, paid)
		return err
	})
	return payments, err
}

// Loads returns the card's last loads, the newest first, at most 3. The card
// wants its PIN before.
func (p Purse) Loads(ctx context.Context) (loads []purse.LoadEntry, err error) {
	err = p.records(ctx, purse.LoadsFile, purse.MaxLoggedLoads, func(record []byte) error {
		entry, err := purse.ParseLoadEntry(record)
		loads = append(loads, entry)
		return err
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

// Started is what a card answers to START, and what AUTHORIZE is sent with. Who
// the card is, is known when the SAM has taken it.
type Started struct {
	purse.Start
	MAC purse.MAC // MAC1
}

// Append writes the 56 bytes.
func (s Started) Append(to []byte) []byte { return append(s.Start.Append(to), s.MAC[:]...) }

// Start begins a payment or a cancellation with what the SAM answered to INIT.
func (p Purse) Start(ctx context.Context, opening purse.Opening) (Started, error) {
	answer, err := exchange(ctx, p, purse.StartPay, 0, 0, opening.Append(nil))
	if err != nil {
		return Started{}, err
	}
	start, mac, err := purse.ParseStart(answer)
	return Started{start, mac}, err
}

// Debit takes the SAM's order, 51 bytes, and returns the card's answer, 85.
func (p Purse) Debit(ctx context.Context, order []byte) ([]byte, error) {
	return fixed(ctx, p, purse.Debit, order, purse.PaidLength)
}

// CancelLast takes the SAM's order of a cancellation, 59 bytes, and returns the
// card's answer, 93.
func (p Purse) CancelLast(ctx context.Context, order []byte) ([]byte, error) {
	return fixed(ctx, p, purse.CancelLast, order, purse.CancelledLength)
}

// Recover asks whether the card did what a SAM had ordered. It returns the answer
// to DEBIT or CANCEL LAST again, or, isPaid being false, what the SAM takes as
// proof that the card never will: 21 bytes. Nothing here checks who answers: the
// SAM does. purse.NoRecord means that it is too long ago for the card to tell.
func (p Purse) Recover(ctx context.Context, merchant purse.ID, tno, sno uint32, random purse.Random) (answer []byte, isPaid bool, err error) {
	data := big.AppendUint32(big.AppendUint32(append([]byte(nil), merchant[:]...), tno), sno)
	answer, err = exchange(ctx, p, purse.Recover, 0, 0, append(data, random[:]...))
	if err != nil {
		return nil, false, err
	}
	if _, _, isPaid, err = purse.ParseRecovered(answer); err != nil {
		return nil, false, err
	}
	if isPaid {
		answer = answer[1:]
	}
	return answer, isPaid, nil
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
const maxScript = 4 + 1 + purse.MaxCommandData + 1

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
	case len(content) != purse.ScriptAnswerLength:
		return nil, fmt.Errorf("the answer to SCRIPT has %d bytes: want %d", len(content), purse.ScriptAnswerLength)
	}
	return content, nil
}
