package purse

import (
	"crypto/subtle"
	"errors"
	"fmt"
)

// ScriptKind is P1 of SCRIPT: what the issuer wants of a card.
type ScriptKind byte

// What scripts do.
const (
	BlockCard   ScriptKind = 1
	UnblockCard ScriptKind = 2
	SetLimits   ScriptKind = 3 // BALMAX and TXMAX
	SetPIN      ScriptKind = 4 // and all tries are there again
)

// ScriptAnswerLength is the length of a card's answer to SCRIPT in bytes.
const ScriptAnswerLength = 20

// MaxScripts is how many scripts may wait for a card: a terminal brings them all
// while the card is in it.
const MaxScripts = 16

// limitsLength is the length of the data of SetLimits in bytes.
const limitsLength = 8

// dataLength returns the length of the data of a script before CNT, or -1.
func (k ScriptKind) dataLength() int {
	switch k {
	case BlockCard, UnblockCard:
		return 0
	case SetLimits:
		return limitsLength
	case SetPIN:
		return block
	default:
		return -1
	}
}

// Scripts makes the commands SCRIPT for one card by the key of LoadKey, and
// checks the answers. Count (CNT) numbers the scripts of a card, from 1 on.
type Scripts struct {
	Key  *Key
	Card ID
}

// Block returns the command that blocks the card.
func (s Scripts) Block(count uint32) []byte { return s.command(BlockCard, count, nil) }

// Unblock returns the command that lets the card be used again.
func (s Scripts) Unblock(count uint32) []byte { return s.command(UnblockCard, count, nil) }

// Limits returns the command that sets how much the card may hold and pay at
// once, in units. An error says which limits are possible.
func (s Scripts) Limits(count uint32, unit Unit, balance, payment uint32) ([]byte, error) {
	if err := unit.Check(); err != nil {
		return nil, err
	}
	if !areLimits(unit, balance, payment) {
		return nil, fmt.Errorf("limits of %d units on the card and %d at once: want at most %d on it, and at once from 1 to what it may hold",
			balance, payment, MaxBalance(unit))
	}
	return s.command(SetLimits, count, big.AppendUint32(big.AppendUint32(nil, balance), payment)), nil
}

// PIN returns the command that sets a new PIN of 4 to 8 digits, encrypted.
func (s Scripts) PIN(count uint32, pin string) ([]byte, error) {
	if !IsPIN([]byte(pin)) {
		return nil, errors.New("the PIN: want 4 to 8 digits")
	}
	data := append(make([]byte, 0, block), byte(len(pin)))
	data = append(data, pin...)
	for len(data) < block {
		data = append(data, pinPadding)
	}
	pad := scriptPad(s.Key, s.Card, count)
	subtle.XORBytes(data, data, pad[:])
	return s.command(SetPIN, count, data), nil
}

func (s Scripts) command(kind ScriptKind, count uint32, data []byte) []byte {
	mac := scriptMAC(s.Key, s.Card, kind, count, data)
	return Command(Script, byte(kind), 0, append(big.AppendUint32(append([]byte(nil), data...), count), mac[:]...))
}

// IsDone reports whether an answer of 20 bytes says that the card did the script
// of this kind and count.
func (s Scripts) IsDone(kind ScriptKind, count uint32, answer []byte) bool {
	return len(answer) == ScriptAnswerLength && big.Uint32(answer) == count &&
		scriptAnswer(s.Key, s.Card, kind, count).equal(MAC(answer[4:]))
}

// scriptPad hides a new PIN. Each count has its own, and is used once.
func scriptPad(key *Key, card ID, count uint32) MAC {
	return key.MAC([]byte{0xD3, 1}, card[:], big.AppendUint32(nil, count))
}

func scriptMAC(key *Key, card ID, kind ScriptKind, count uint32, data []byte) MAC {
	return key.MAC([]byte{0xD1, 1}, card[:], []byte{byte(kind)}, big.AppendUint32(nil, count), data)
}

func scriptAnswer(key *Key, card ID, kind ScriptKind, count uint32) MAC {
	return key.MAC([]byte{0xD2, 1}, card[:], []byte{byte(kind)}, big.AppendUint32(nil, count))
}

// script does what the issuer wants, once. The last one may come again, since its
// answer may have been lost.
func (c *Card) script(of command) ([]byte, StatusWord, error) {
	c.endSession()
	kind := ScriptKind(of.p1)
	length := kind.dataLength()
	switch {
	case length < 0 || of.p2 != 0:
		return nil, WrongData, nil
	case len(of.data) != length+4+block:
		return nil, WrongLength, nil
	}
	data := of.data[:length]
	r := reader(of.data[length:])
	count, mac := r.uint32(), r.mac()
	key := keyOf(c.state.loadKey)
	if !scriptMAC(key, c.state.Card, kind, count, data).equal(mac) {
		return nil, WrongMAC, nil
	}
	done := scriptAnswer(key, c.state.Card, kind, count)
	answer := append(big.AppendUint32(nil, count), done[:]...)
	if count == c.state.scripts && mac.equal(c.state.script) {
		return answer, Done, nil
	}
	if count <= c.state.scripts {
		return nil, WrongSequence, nil
	}
	changed := *c.state
	if !changed.apply(key, kind, count, data) {
		return nil, WrongData, nil
	}
	changed.scripts, changed.script = count, mac
	c.isVerified = false
	if err := c.store(changed); err != nil {
		return nil, 0, err
	}
	return answer, Done, nil
}

// apply changes the state as a script says, or reports that it makes no sense.
func (s *cardState) apply(key *Key, kind ScriptKind, count uint32, data []byte) bool {
	switch kind {
	case BlockCard, UnblockCard:
		s.isBlocked = kind == BlockCard
	case SetLimits:
		r := reader(data)
		balance, payment := r.uint32(), r.uint32()
		if !areLimits(s.Unit, balance, payment) {
			return false
		}
		s.MaxBalance, s.MaxPayment = balance, payment
	case SetPIN:
		return s.setPIN(key, count, data)
	}
	return true
}

func (s *cardState) setPIN(key *Key, count uint32, data []byte) bool {
	pad := scriptPad(key, s.Card, count)
	var plain [block]byte
	subtle.XORBytes(plain[:], data, pad[:])
	length := int(plain[0])
	if s.Holder == (ID{}) || length > MaxPINDigits || !IsPIN(plain[1:1+length]) {
		return false
	}
	for _, padding := range plain[1+length:] {
		if padding != pinPadding {
			return false
		}
	}
	copy(s.pin[:], padPIN(plain[1:1+length]))
	s.Tries = pinTriesAllowed
	return true
}
