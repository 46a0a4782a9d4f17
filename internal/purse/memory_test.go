package purse_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
)

// fault is what a memory does instead of storing.
type fault int

const (
	healthy    fault = iota
	failBefore       // nothing is stored
	failAfter        // it is stored, and nobody is told
	failTorn         // a part of it is
)

var errFault = errors.New("the power is gone")

// chip is a memory whose n-th store from now fails.
type chip struct {
	state  []byte
	in     int // stores until the fault; below 1: none
	fault  fault
	stores int
	before func(state []byte) // sees what is stored when the fault comes
}

func (c *chip) Load() ([]byte, error) { return bytes.Clone(c.state), nil }

func (c *chip) Store(state []byte) error {
	c.stores++
	c.in--
	if c.in != 0 {
		c.state = bytes.Clone(state)
		return nil
	}
	if c.before != nil {
		c.before(c.state)
	}
	switch c.fault {
	case failAfter:
		c.state = bytes.Clone(state)
	case failTorn:
		c.state = append(bytes.Clone(state[:len(state)/2]), c.state[min(len(state)/2, len(c.state)):]...)
	}
	return errFault
}

// repeated reads the same bytes again and again.
type repeated struct {
	bytes []byte
	at    int
}

func (r *repeated) Read(to []byte) (int, error) {
	for i := range to {
		to[i] = r.bytes[r.at%len(r.bytes)]
		r.at++
	}
	return len(to), nil
}

// applet is a card or a SAM.
type applet interface {
	Transmit(command []byte) ([]byte, error)
	Reset()
}

// send does one command and returns data and status. It spoils the command
// afterwards, as a transport that uses its buffer again does.
func send(t testing.TB, to applet, command []byte) ([]byte, purse.StatusWord) {
	t.Helper()
	buffer := bytes.Clone(command)
	answer, err := to.Transmit(buffer)
	if err != nil {
		t.Fatalf("%X: %v", command, err)
	}
	for i := range buffer {
		buffer[i] = 0xA5
	}
	data, status, err := purse.Answer(answer)
	if err != nil {
		t.Fatalf("%X: %v", command, err)
	}
	return data, status
}

// done does one command that must be done, and returns the data.
func done(t testing.TB, to applet, instruction purse.Instruction, p1, p2 byte, data []byte) []byte {
	t.Helper()
	answer, status := send(t, to, purse.Command(instruction, p1, p2, data))
	if status != purse.Done {
		t.Fatalf("%02X %02X %02X %X: %04X %v", byte(instruction), p1, p2, data, uint16(status), status)
	}
	return answer
}

// refused does one command that must be refused with a status.
func refused(t testing.TB, to applet, want purse.StatusWord, instruction purse.Instruction, p1, p2 byte, data []byte) {
	t.Helper()
	answer, status := send(t, to, purse.Command(instruction, p1, p2, data))
	if status != want || len(answer) > 0 {
		t.Errorf("%02X %02X %02X %X: %04X with %X, want %04X", byte(instruction), p1, p2, data, uint16(status), answer, uint16(want))
	}
}

const (
	cardNumber     = "C100000000000001"
	holderNumber   = "A000000000000007"
	merchantNumber = "4D00000000000009"
)

var dollarCents = purse.Unit{Currency: 0x0840, Exponent: -2}

func cardIssue(t testing.TB) purse.CardIssue {
	return purse.CardIssue{
		Keys: pursetest.Keys(t), KeyVersion: 1, Card: id(t, cardNumber), Holder: id(t, holderNumber), Unit: dollarCents,
		MaxBalance: 20_000, MaxPayment: 10_000, PIN: "4711",
	}
}

func issueCard(t testing.TB, issue purse.CardIssue, random io.Reader) (*purse.Card, *chip) {
	t.Helper()
	memory := &chip{}
	if err := purse.IssueCard(memory, issue); err != nil {
		t.Fatal(err)
	}
	card, err := purse.OpenCard(memory, random)
	if err != nil {
		t.Fatal(err)
	}
	return card, memory
}

func samIssue(t testing.TB) purse.SAMIssue {
	return purse.SAMIssue{Keys: pursetest.Keys(t), KeyVersion: 1, Merchant: id(t, merchantNumber), Unit: dollarCents, Limit: 100_000}
}

func issueSAM(t testing.TB, issue purse.SAMIssue, random io.Reader) (*purse.SAM, *chip) {
	t.Helper()
	memory := &chip{}
	if err := purse.IssueSAM(memory, issue); err != nil {
		t.Fatal(err)
	}
	sam, err := purse.OpenSAM(memory, random)
	if err != nil {
		t.Fatal(err)
	}
	return sam, memory
}
