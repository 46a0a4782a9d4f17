//go:build pcsc && cgo

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/pcsctest"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/pcsc"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/softcard"
)

// runTests runs the tests with a pcscd of their own.
func runTests(m *testing.M) int { return pcsctest.Main(m) }

// chipInFile is a card in a file that is put into a virtual reader.
type chipInFile struct {
	t       *testing.T
	path    string
	session smartcard.Session
}

func (c *chipInFile) answer(command []byte) []byte {
	answer, err := c.session.Transmit(context.WithoutCancel(c.t.Context()), command)
	if err != nil {
		c.t.Errorf("the card in %s: %v", c.path, err)
		return []byte{0x6F, 0x00}
	}
	return answer
}

// reset takes the power from the card and gives it back.
func (c *chipInFile) reset() {
	if c.session != nil {
		_ = c.session.Close()
	}
	var err error
	if c.session, err = softcard.Reader(c.path).Connect(context.WithoutCancel(c.t.Context())); err != nil {
		c.t.Fatal(err)
	}
}

func newChip(t *testing.T, path string) *chipInFile {
	t.Helper()
	c := &chipInFile{t: t, path: path}
	c.reset()
	return c
}

// inserted is the chip as a card for a reader. It is pulled out after it did a
// command of the instruction, unless that is 0.
func (c *chipInFile) inserted(pulledAfter purse.Instruction) pcsctest.Card {
	card := pcsctest.Card{Answer: c.answer, Reset: c.reset}
	if pulledAfter != 0 {
		card.Tear = pcsctest.Tear{At: 1, How: pcsctest.After, Only: byte(pulledAfter)}
	}
	return card
}

// awaitCards returns when a card is in both readers.
func awaitCards(t *testing.T, virtual ...*pcsctest.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	readers, err := pcsc.Readers{}.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, reader := range readers {
		for _, v := range virtual {
			if reader.Name() != v.Name() {
				continue
			}
			if err := reader.Wait(ctx, true); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Card and SAM in two readers of a real pcscd, clearing and the broker as processes
// of their own: the card is pulled out while it is loaded, and while it pays; it pays
// again, funds an account, is emptied, and the batch is turned in.
func TestGatewayWithRealReaders(t *testing.T) {
	s := newSecretShop(t)
	s.open()
	customer, merchant := pcsctest.New(t)
	card, sam := newChip(t, s.path("card")), newChip(t, s.path("sam"))
	customer.Insert(t, card.inserted(purse.Credit))
	merchant.Insert(t, sam.inserted(0))
	awaitCards(t, customer, merchant)
	flags := func(words ...string) []string {
		return append(words, "--sam-reader", merchant.Name(), "--journal", s.path("till.journal"), "--currency", "USD",
			"--clearing", s.clearing, "--broker", s.broker, "--key", s.path("gateway.key"))
	}
	withCard := func(words ...string) []string { return append(flags(words...), "--card-reader", customer.Name()) }
	load := withCard("load", "20.00", "--load-terminal", "4C00000000000001")
	if code, said := s.run("samgateway", append(load, "--pin-file", s.path("wrong-pin"))...); code != 1 || !strings.Contains(said, "2 tries are left") {
		t.Errorf("a wrong PIN: exit code %d, %q", code, said)
	}
	if code, said := s.run("samgateway", append(load, "--pin-file", s.path("pin"))...); code != 1 || !strings.Contains(said, "pulled out") {
		t.Errorf("pulled while it was loaded: exit code %d, %q", code, said)
	}
	customer.Replace(t, card.inserted(purse.Debit))
	awaitCards(t, customer)
	s.want("", "samgateway", withCard("resolve")...)
	s.want("Balance  20.00 USD", "samgateway", "card", "show", "--card-reader", customer.Name())
	if code, said := s.run("samgateway", withCard("pay", "4.00")...); code != 1 || !strings.Contains(said, "pulled out") {
		t.Errorf("pulled while it paid: exit code %d, %q", code, said)
	}
	customer.Replace(t, card.inserted(0))
	awaitCards(t, customer)
	s.want("Paid 1.00 USD", "samgateway", withCard("pay", "1.00")...)
	s.want("Balance  15.00 USD", "samgateway", "card", "show", "--card-reader", customer.Name())
	s.want("has it", "samgateway", withCard("fund", s.account, "3.00")...)
	s.want("12.00", "samgateway", withCard("unload")...)
	s.want("Balance  0.00 USD", "samgateway", "card", "show", "--card-reader", customer.Name())
	s.want("Turned in batch 1", "samgateway", flags("turnin")...)
	if said := s.text(); strings.Contains(said, secretPIN) || strings.Contains(said, wrongPIN) {
		t.Error("a PIN was printed")
	}
}
