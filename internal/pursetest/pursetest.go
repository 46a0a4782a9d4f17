// Package pursetest makes cards and SAMs for tests: with keys that nobody could
// take for real ones, and with a memory that is gone when the test is.
//
// A test whose memory has to fail, or whose card is a file, brings its own and
// takes only the keys from here.
package pursetest

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

// PIN is that of every card a test issues.
const PIN = "1111"

// Masters returns master keys of version 1: MKP of 32 bytes 11, MKL of 22, KZD
// of 33.
func Masters() (*purse.Keys, error) {
	keys := &purse.Keys{}
	for name, b := range map[string]byte{purse.PurseMaster: 0x11, purse.LoadMaster: 0x22, purse.ClearingMaster: 0x33} {
		if err := keys.Add(name, 1, bytes.Repeat([]byte{b}, 32)); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// Keys returns Masters. The test ends where there are none.
func Keys(t testing.TB) *purse.Keys {
	t.Helper()
	keys, err := Masters()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Applet is what a *purse.Card and a *purse.SAM have in common.
type Applet interface {
	// Transmit does one command and answers it.
	Transmit(command []byte) ([]byte, error)
	// Reset is what taking the card out does to it.
	Reset()
}

// Memory is a purse.Memory that never fails. The zero Memory is empty.
type Memory struct{ state []byte }

// Load implements purse.Memory.
func (m *Memory) Load() ([]byte, error) { return bytes.Clone(m.state), nil }

// Store implements purse.Memory.
func (m *Memory) Store(state []byte) error {
	m.state = bytes.Clone(state)
	return nil
}

// NewCard issues a card and opens it. The test ends where that fails.
func NewCard(t testing.TB, issue purse.CardIssue) *purse.Card {
	t.Helper()
	memory := &Memory{}
	if err := purse.IssueCard(memory, issue); err != nil {
		t.Fatal(err)
	}
	card, err := purse.OpenCard(memory, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return card
}

// NewSAM issues a SAM and opens it. The test ends where that fails.
func NewSAM(t testing.TB, issue purse.SAMIssue) *purse.SAM {
	t.Helper()
	memory := &Memory{}
	if err := purse.IssueSAM(memory, issue); err != nil {
		t.Fatal(err)
	}
	sam, err := purse.OpenSAM(memory, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sam
}
