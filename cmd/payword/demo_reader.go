package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// demoReaders are the card readers of the demo: the cards in them are software
// that does what a chip does.
type demoReaders []*demoReader

// List implements smartcard.Readers.
func (r demoReaders) List(context.Context) ([]smartcard.Reader, error) {
	list := make([]smartcard.Reader, len(r))
	for i, reader := range r {
		list[i] = reader
	}
	return list, nil
}

// demoReader is a reader with a card in it.
type demoReader struct {
	name string
	chip demoChip
	// pullAt is the command after which the card is pulled out, once: it was done,
	// and its answer is lost.
	pullAt purse.Instruction
}

// demoChip is a card or a SAM.
type demoChip interface {
	Transmit(command []byte) ([]byte, error)
	Reset()
}

// Name implements smartcard.Reader.
func (r *demoReader) Name() string { return r.name }

// Wait implements smartcard.Reader: whoever was asked has put the card back in.
func (r *demoReader) Wait(context.Context, bool) error { return nil }

// Connect implements smartcard.Reader.
func (r *demoReader) Connect(context.Context) (smartcard.Session, error) {
	r.chip.Reset()
	return &demoSession{reader: r}, nil
}

// demoSession is a card in its reader, until it is pulled out.
type demoSession struct {
	reader *demoReader
	isTorn bool
}

// Transmit implements smartcard.Card.
func (s *demoSession) Transmit(_ context.Context, command []byte) ([]byte, error) {
	if s.isTorn {
		return nil, smartcard.ErrTorn
	}
	answer, err := s.reader.chip.Transmit(command)
	if s.reader.pullAt != 0 && command[1] == byte(s.reader.pullAt) {
		s.reader.pullAt, s.isTorn = 0, true
		return nil, smartcard.ErrTorn
	}
	return answer, err
}

// Close implements smartcard.Session.
func (s *demoSession) Close() error {
	s.isTorn = true
	return nil
}

// demoMemory is the memory of a chip, for as long as the demo runs.
type demoMemory struct {
	mu    sync.Mutex
	state []byte
}

// Load implements purse.Memory.
func (m *demoMemory) Load() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.state), nil
}

// Store implements purse.Memory.
func (m *demoMemory) Store(state []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = bytes.Clone(state)
	return nil
}

// issueDemoCard makes a card and puts it into a reader.
func issueDemoCard(name string, issue purse.CardIssue) (*demoReader, error) {
	memory := &demoMemory{}
	if err := purse.IssueCard(memory, issue); err != nil {
		return nil, err
	}
	card, err := purse.OpenCard(memory, rand.Reader)
	return &demoReader{name: name, chip: card}, err
}

// issueDemoSAM makes a merchant's SAM and puts it into a reader.
func issueDemoSAM(name string, issue purse.SAMIssue) (*demoReader, error) {
	memory := &demoMemory{}
	if err := purse.IssueSAM(memory, issue); err != nil {
		return nil, err
	}
	sam, err := purse.OpenSAM(memory, rand.Reader)
	return &demoReader{name: name, chip: sam}, err
}
