package purse

import (
	"errors"
	"fmt"
)

// How many of the last payments and cancellations, and of the last loads, a card
// keeps in its logs.
const (
	MaxLoggedPayments = 15
	MaxLoggedLoads    = 3
)

// MinPINDigits and MaxPINDigits bound a PIN.
const (
	MinPINDigits = 4
	MaxPINDigits = 8
)

const (
	cardMagic = "PWPC"
	// maxCancellations is how many payments may be taken back between two loads.
	// Every SAM can order it, so that whoever opened one could have a card give him
	// back what he spent, again and again. At a load clearing sees the balance.
	maxCancellations = 8
	// pinTriesAllowed is how often in a row a PIN may be wrong.
	pinTriesAllowed      = 3
	pinBytes             = 8
	pinPadding      byte = 0xFF
	// maxBalanceMicros is the most that any card may hold: 200.00.
	maxBalanceMicros = 200_000_000
)

// cardState is what a card keeps.
type cardState struct {
	CardData
	isBlocked bool
	pin       [pinBytes]byte // ASCII digits, then FF; FF alone: there is none
	purseKey  secret         // SKC
	loadKey   secret         // KLC
	proofKey  secret         // KZC
	scripts   uint32         // CNT of the last one
	script    MAC            // its MAC, to answer it again
	last      lastLoad
	cancelled byte     // payments that were taken back since the last load
	payments  [][]byte // answers to DEBIT and CANCEL LAST, the newest first
	loads     []LoadEntry
}

type lastLoad struct {
	reference ID
	amount    uint32
}

func (s *cardState) append(to []byte) []byte {
	to = append(s.CardData.Append(openFrame(to, cardMagic)), flag(s.isBlocked))
	to = append(to, s.pin[:]...)
	to = append(append(append(to, s.purseKey[:]...), s.loadKey[:]...), s.proofKey[:]...)
	to = append(big.AppendUint32(to, s.scripts), s.script[:]...)
	to = append(big.AppendUint32(append(to, s.last.reference[:]...), s.last.amount), s.cancelled)
	to = append(to, byte(len(s.payments)))
	for _, payment := range s.payments {
		to = append(append(to, byte(len(payment))), payment...)
	}
	to = append(to, byte(len(s.loads)))
	for _, load := range s.loads {
		to = load.Append(to)
	}
	return seal(to)
}

const cardStateFixed = CardDataLength + 1 + pinBytes + 3*block + 4 + block + 8 + 4 + 1

// parseCardState reads a state. Whatever is not one is errState.
func parseCardState(framed []byte) (*cardState, error) {
	body, err := unseal(framed, cardMagic)
	if err != nil {
		return nil, err
	}
	if len(body) < cardStateFixed+2 {
		return nil, errState
	}
	r := reader(body)
	s := &cardState{}
	if s.CardData, err = ParseCardData(r.take(CardDataLength)); err != nil || s.Unit.Check() != nil || s.Tries > pinTriesAllowed {
		return nil, errState
	}
	s.isBlocked = r.byte() == 1
	copy(s.pin[:], r.take(pinBytes))
	s.purseKey, s.loadKey, s.proofKey = secret(r.mac()), secret(r.mac()), secret(r.mac())
	s.scripts, s.script = r.uint32(), r.mac()
	s.last, s.cancelled = lastLoad{r.id(), r.uint32()}, r.byte()
	if !s.parseLogs(&r) {
		return nil, errState
	}
	return s, nil
}

func (s *cardState) parseLogs(r *reader) bool {
	count := int(r.byte())
	if count > MaxLoggedPayments {
		return false
	}
	for range count {
		if len(*r) < 1 || len(*r) < 1+int((*r)[0]) {
			return false
		}
		payment := r.take(int(r.byte()))
		if _, err := ParsePaid(payment); err != nil {
			return false
		}
		s.payments = append(s.payments, payment)
	}
	if len(*r) < 1 {
		return false
	}
	count = int(r.byte())
	if count > MaxLoggedLoads || len(*r) != count*LoadEntryLength {
		return false
	}
	for range count {
		load, err := ParseLoadEntry(r.take(LoadEntryLength))
		if err != nil {
			return false
		}
		s.loads = append(s.loads, load)
	}
	return true
}

// CardIssue is what a card is issued with.
type CardIssue struct {
	// Keys need all three masters of KeyVersion; three keys of the card are made of
	// them, and the masters do not go into it.
	Keys       *Keys
	KeyVersion byte
	Card       ID
	Holder     ID // zero: a white card, which has no PIN
	Unit       Unit
	MaxBalance uint32 // in units, at most 200.00
	MaxPayment uint32 // in units, 1 to MaxBalance
	PIN        string // 4 to 8 digits
}

// String keeps keys and PIN out of logs and errors.
func (i CardIssue) String() string { return "(issue of card " + i.Card.String() + ")" }

// IssueCard stores the state of a new, empty card. ErrIssued means that there is
// one; ErrNoMaster comes back as of Keys.
func IssueCard(memory Memory, issue CardIssue) error {
	if err := issue.check(); err != nil {
		return err
	}
	s := cardState{CardData: CardData{
		Card: issue.Card, Holder: issue.Holder, KeyVersion: issue.KeyVersion, Unit: issue.Unit,
		MaxBalance: issue.MaxBalance, MaxPayment: issue.MaxPayment, Tries: pinTriesAllowed,
	}}
	for i := range s.pin {
		s.pin[i] = pinPadding
	}
	copy(s.pin[:], issue.PIN)
	for _, derived := range []struct {
		to            *secret
		master, label string
	}{{&s.purseKey, PurseMaster, "SKC"}, {&s.loadKey, LoadMaster, "KLC"}, {&s.proofKey, ClearingMaster, "KZC"}} {
		key, err := issue.Keys.diversifySecret(derived.master, derived.label, issue.KeyVersion, issue.Card)
		if err != nil {
			return fmt.Errorf("issuing card %s: %w", issue.Card, err)
		}
		*derived.to = key
	}
	return issueState(memory, s.append(nil))
}

func (i CardIssue) check() error {
	if i.Keys == nil || i.Card == (ID{}) {
		return errors.New("a card needs keys, and a number that is not 0")
	}
	if err := i.Unit.Check(); err != nil {
		return err
	}
	if !areLimits(i.Unit, i.MaxBalance, i.MaxPayment) {
		return fmt.Errorf("limits of %d units on the card and %d at once: want at most %d on it, and at once from 1 to what it may hold",
			i.MaxBalance, i.MaxPayment, MaxBalance(i.Unit))
	}
	if i.Holder == (ID{}) && i.PIN == "" {
		return nil
	}
	if i.Holder == (ID{}) || !IsPIN([]byte(i.PIN)) {
		return errors.New("the PIN: want 4 to 8 digits, and none for a white card")
	}
	return nil
}

// MaxBalance is the most units that any card may hold: 200.00 of its currency. The
// unit must be one that Check takes.
func MaxBalance(unit Unit) uint32 {
	return uint32(maxBalanceMicros / int64(unit.Amount(1))) // at most 200 000 000
}

func areLimits(unit Unit, balance, payment uint32) bool {
	return payment >= 1 && payment <= balance && balance <= MaxBalance(unit)
}

// IsPIN reports whether digits can be a PIN: 4 to 8 ASCII digits. To show a card
// anything else is of no use.
func IsPIN(digits []byte) bool {
	if len(digits) < MinPINDigits || len(digits) > MaxPINDigits {
		return false
	}
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			return false
		}
	}
	return true
}
