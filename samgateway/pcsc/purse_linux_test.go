//go:build pcsc && cgo

package pcsc_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/paywordhq/payword/internal/pcsctest"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/samgateway/profile"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

var (
	cents    = purse.Unit{Currency: 0x0840, Exponent: -2}
	cardID   = purse.ID{0xC1, 7: 1}
	holderID = purse.ID{0xA0, 7: 7}
	merchant = purse.ID{0x4D, 7: 9}
	testPIN  = []byte(pursetest.PIN)
)

// chip is a card or a SAM that can be in a reader. It counts its commands.
type chip struct {
	mu       sync.Mutex
	inside   pursetest.Applet
	commands int
	cut      pcsctest.Tear // within which command it loses contact for a moment
}

// become makes another card of it while it is in the reader, which nobody notices:
// to put another in takes half a second.
func (c *chip) become(inside pursetest.Applet, cut pcsctest.Tear) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inside, c.commands, c.cut = inside, 0, cut
}

func (c *chip) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inside.Reset()
}

func (c *chip) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commands
}

func (c *chip) answer(command []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commands++
	isCut := c.commands == c.cut.At
	if isCut && c.cut.How == pcsctest.CutBefore {
		c.inside.Reset()
		return []byte{0x90}
	}
	answer, err := c.inside.Transmit(command)
	switch {
	case err != nil:
		return []byte{0x6F, 0x00} // its memory does not fail
	case isCut:
		c.inside.Reset()
		return answer[:1]
	}
	return answer
}

// inserted is the chip as a card for a reader, pulled as tear says.
func (c *chip) inserted(tear pcsctest.Tear) pcsctest.Card {
	return pcsctest.Card{Tear: tear, Reset: c.reset, Answer: c.answer}
}

// newChips issues a card and a SAM.
func newChips(t testing.TB) (card, sam *chip) {
	t.Helper()
	keys := pursetest.Keys(t)
	card = &chip{inside: pursetest.NewCard(t, purse.CardIssue{
		Keys: keys, KeyVersion: 1, Card: cardID, Holder: holderID, Unit: cents, MaxBalance: 200_00, MaxPayment: 200_00, PIN: string(testPIN),
	})}
	sam = &chip{inside: pursetest.NewSAM(t, purse.SAMIssue{Keys: keys, KeyVersion: 1, Merchant: merchant, Unit: cents, Limit: 1000_00})}
	return card, sam
}

// host is clearing for one load of one card, and for batches. It checks every MAC.
type host struct {
	keys *purse.Keys

	mu        sync.Mutex
	load      *purse.Load
	isTaken   bool
	isEnded   bool
	challenge purse.Random
	batches   uint32
}

var (
	errRefused = &purse.Refusal{Reason: purse.Malformed, Detail: "says the host"}
	reference  = purse.ID{7: 1}
)

func (h *host) AuthoriseLoad(_ context.Context, request, answer []byte) (purse.ID, []byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	load, err := purse.ParseLoad(request, answer)
	if err != nil {
		return purse.ID{}, nil, err
	}
	key, err := h.keys.LoadKey(1, load.Answer.Card)
	if err != nil || !load.IsSigned(key) || h.load != nil && *h.load != load {
		return purse.ID{}, nil, errRefused
	}
	h.load = &load
	return reference, load.Credit(key, reference), nil
}

func (h *host) ConfirmLoad(_ context.Context, _ purse.ID, receipt []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	read, err := purse.ParseReceipt(receipt)
	if err != nil || h.load == nil {
		return errRefused
	}
	key, err := h.keys.LoadKey(1, h.load.Answer.Card)
	if err != nil || !h.load.IsReceipt(key, reference, read) || h.isEnded {
		return errRefused
	}
	h.isTaken = true
	return nil
}

func (h *host) ChallengeLoad(context.Context, purse.ID) (purse.Random, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.challenge[0]++
	return h.challenge, nil
}

func (h *host) ResolveLoad(_ context.Context, _ purse.ID, answer []byte) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	status, err := purse.ParseStatus(answer)
	if err != nil || h.load == nil {
		return false, errRefused
	}
	key, err := h.keys.LoadKey(1, h.load.Answer.Card)
	if err != nil || !status.IsSigned(key, h.challenge) {
		return false, errRefused
	}
	h.isTaken = status.Reference == reference
	h.isEnded = !h.isTaken
	return h.isTaken, nil
}

func (h *host) SubmitBatch(_ context.Context, batch []byte) (purse.MAC, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	checked, refusals, err := purse.CheckBatch(h.keys, 1, purse.Position{Batch: h.batches}, batch[:purse.TotalLength], batch[purse.TotalLength:])
	if err != nil || len(refusals) > 0 {
		return purse.MAC{}, errors.Join(err, fmt.Errorf("refused: %v", refusals))
	}
	h.batches++
	return checked.Ack, nil
}

func (h *host) PayOnline(context.Context, []byte, purse.MAC) error  { return errRefused }
func (h *host) Claim(context.Context, []byte, purse.MAC) error      { return errRefused }
func (h *host) Scripts(context.Context, purse.ID) ([][]byte, error) { return nil, nil }
func (h *host) ScriptDone(context.Context, purse.ID, []byte) error  { return errRefused }
func (h *host) HotList(context.Context) ([]purse.ID, error)         { return nil, nil }
func (h *host) CardAccount(context.Context, purse.ID) (account string, err error) {
	return "", errRefused
}
func (h *host) CashOut(context.Context, purse.ID, uint32) error { return errRefused }

// counter is where a card meets a SAM: two readers of a real pcscd, and a terminal
// that is opened anew after each failure.
type counter struct {
	t                 *testing.T
	card, sam         *chip
	customer, shop    *pcsctest.Reader
	cardAt, samAt     smartcard.Reader
	host              *host
	journal           string
	terminal          *terminal.Terminal
	cardWith, samWith smartcard.Session
}

const loaded, paid = 5000, 1234

func newCounter(t *testing.T, where torn) *counter {
	t.Helper()
	cardTear, samTear := where.tears()
	c := &counter{t: t, host: &host{keys: pursetest.Keys(t)}, journal: filepath.Join(t.TempDir(), "journal")}
	c.card, c.sam = newChips(t)
	c.customer, c.shop = pcsctest.New(t)
	c.cardAt, c.samAt = find(t, c.customer), find(t, c.shop)
	c.customer.Insert(t, c.card.inserted(cardTear))
	c.shop.Insert(t, c.sam.inserted(samTear))
	return c
}

// open connects to both and opens the terminal.
func (c *counter) open() {
	c.cardWith, c.samWith = connect(c.t, c.cardAt), connect(c.t, c.samAt)
	var err error
	c.terminal, err = terminal.Open(c.t.Context(), terminal.Config{SAM: c.samWith, Journal: c.journal, Host: c.host, LoadTerminal: purse.ID{1}})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *counter) close() {
	if err := errors.Join(c.terminal.Close(), c.cardWith.Close(), c.samWith.Close()); err != nil {
		c.t.Errorf("closing: %v", err)
	}
}

// loadAndPay is what the holder came for.
func (c *counter) loadAndPay() error {
	ctx := withPatience(c.t)
	card := smartcard.Purse{Card: c.cardWith}
	if _, err := c.terminal.Resolve(ctx); err != nil {
		return err
	}
	if err := card.Select(ctx); err != nil {
		return err
	}
	if err := card.Verify(ctx, testPIN); err != nil {
		return err
	}
	if _, err := c.terminal.Load(ctx, c.cardWith, loaded); err != nil {
		return err
	}
	_, err := c.terminal.Pay(ctx, c.cardWith, terminal.Payment{Amount: paid, Unit: cents})
	return err
}

// putBack puts in again what was pulled out.
func (c *counter) putBack(isSAM bool) {
	if isSAM {
		c.shop.Replace(c.t, c.sam.inserted(pcsctest.Tear{}))
	} else {
		c.customer.Replace(c.t, c.card.inserted(pcsctest.Tear{}))
	}
}

// settle finds out what happened, turns the batch in and compares what there is.
func (c *counter) settle() (balance uint32, sum uint64) {
	c.open()
	defer c.close()
	ctx := withPatience(c.t)
	if _, err := c.terminal.ResolveAll(ctx); err != nil {
		c.t.Errorf("resolving: %v", err)
	}
	if _, err := c.terminal.Meet(ctx, c.cardWith); err != nil {
		c.t.Errorf("meeting the card: %v", err)
	}
	if open, err := c.terminal.Undecided(ctx); err != nil || len(open) > 0 {
		c.t.Errorf("undecided: %+v, %v", open, err)
	}
	turned, err := c.terminal.TurnIn(ctx)
	if err != nil {
		c.t.Errorf("turning in: %v", err)
	}
	data, err := smartcard.Purse{Card: c.cardWith}.Data(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	if taken := uint64(0); c.host.isTaken {
		taken = loaded
		if uint64(data.Balance)+turned.Sum != taken {
			c.t.Errorf("%d loaded, %d on the card, %d turned in", taken, data.Balance, turned.Sum)
		}
	} else if data.Balance != 0 || turned.Sum != 0 {
		c.t.Errorf("nothing loaded, %d on the card, %d turned in", data.Balance, turned.Sum)
	}
	return data.Balance, turned.Sum
}

// become makes new cards of those that are in the readers.
func (c *counter) become(cardCut, samCut pcsctest.Tear) {
	card, sam := newChips(c.t)
	c.card.become(card.inside, cardCut)
	c.sam.become(sam.inside, samCut)
	c.host, c.journal = &host{keys: pursetest.Keys(c.t)}, filepath.Join(c.t.TempDir(), "journal")
}

// torn is where one of the two loses contact.
type torn struct {
	isSAM bool
	pcsctest.Tear
}

// String names it for the names of tests.
func (w torn) String() string {
	whose := "card"
	if w.isSAM {
		whose = "SAM"
	}
	return fmt.Sprintf("%s command %d of the %s", w.How, w.At, whose)
}

// tears returns those of the card and of the SAM.
func (w torn) tears() (card, sam pcsctest.Tear) {
	if w.isSAM {
		return pcsctest.Tear{}, w.Tear
	}
	return w.Tear, pcsctest.Tear{}
}

// everywhere returns a tear within every command, in two ways.
func everywhere(ofCard, ofSAM int, hows ...pcsctest.How) (all []torn) {
	for _, how := range hows {
		for at := 1; at <= ofCard; at++ {
			all = append(all, torn{false, pcsctest.Tear{At: at, How: how}})
		}
		for at := 1; at <= ofSAM; at++ {
			all = append(all, torn{true, pcsctest.Tear{At: at, How: how}})
		}
	}
	return all
}

// A card, and a SAM, that lose contact within any command of a load and a payment
// lose nothing and make nothing: when they are pulled out, and when they are in
// again before anybody looks.
func TestTornAtEveryCommand(t *testing.T) {
	t.Parallel()
	c := newCounter(t, torn{})
	c.open()
	if err := c.loadAndPay(); err != nil {
		t.Fatal(err)
	}
	ofCard, ofSAM := c.card.count(), c.sam.count()
	c.close()
	if balance, sum := c.settle(); balance != loaded-paid || sum != paid {
		t.Fatalf("%d on the card and %d turned in, want %d and %d", balance, sum, loaded-paid, paid)
	}
	if ofCard < 5 || ofSAM < 4 {
		t.Fatalf("a load and a payment took %d commands to the card and %d to the SAM", ofCard, ofSAM)
	}
	t.Logf("a load and a payment take %d commands to the card and %d to the SAM", ofCard, ofSAM)
	for _, where := range everywhere(ofCard, ofSAM, pcsctest.CutBefore, pcsctest.CutAfter) {
		c.become(where.tears())
		c.open()
		err := c.loadAndPay()
		c.close()
		if err == nil {
			t.Errorf("%s: nobody noticed", where)
		}
		c.settle()
		if t.Failed() {
			t.Fatalf("%s", where)
		}
	}
	for _, where := range everywhere(ofCard, ofSAM, pcsctest.Before, pcsctest.After) {
		t.Run(where.String(), func(t *testing.T) {
			t.Parallel()
			c := newCounter(t, where)
			c.open()
			err := c.loadAndPay()
			c.close()
			if err == nil {
				t.Error("nobody noticed")
			}
			c.putBack(where.isSAM)
			c.settle()
		})
	}
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	decoded, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// foreignCommands are what other programs ask a card that they do not know, such
// as opensc-tool: applications of others, files, and what no card knows.
var foreignCommands = []string{
	"00A4040009A00000030800001000", "00A4040006D2760001240100", "00A404000EA000000063504B43532D313500", "00A404000E325041592E5359532E4444463031",
	"00A4000C023F00", "00A40000023F0000", "00A4080C0450154401", "00A4040000", "00CA004F00", "00CA7F68", "80CA9F7F00", "00B0000000", "00B201BC00",
	"00C0000000", "FFCA000000", "0084000008", "80340000", "00A40400FF", "0020008008", "00200081083131313100000000", "00010000",
	"00A404000000000BA000000308000010000100", "80E20000000001", "B0FFFFFF", "00A4040010A0000000620101000000000000000000",
}

// The purse survives what is meant for other cards, and a card that has no purse is
// ErrForeign, after which the reader goes on.
func TestForeign(t *testing.T) {
	t.Parallel()
	c := newCounter(t, torn{})
	c.open()
	for _, session := range []smartcard.Session{c.cardWith, c.samWith} {
		for _, command := range foreignCommands {
			answer, err := session.Transmit(withPatience(t), unhex(t, command))
			if err != nil || len(answer) != 2 {
				t.Errorf("to %s: %X, %v; want a status that says no", command, answer, err)
			}
		}
	}
	if err := c.loadAndPay(); err != nil {
		t.Errorf("after that: %v", err)
	}
	if _, err := c.terminal.Meet(withPatience(t), c.samWith); !errors.Is(err, smartcard.ErrForeign) {
		t.Errorf("meeting a SAM: %v, want ErrForeign", err)
	}
	c.close()
	c.customer.Replace(t, pcsctest.Card{Answer: func([]byte) []byte { return []byte{0x6A, 0x82} }})
	c.open()
	defer c.close()
	_, err := profile.Identify(withPatience(t), c.cardWith)
	if !errors.Is(err, smartcard.ErrForeign) || !strings.Contains(err.Error(), "6A82 to PWP1") {
		t.Errorf("got %v, want ErrForeign with what the card answered", err)
	}
}

// A PIN that is wrong three times is blocked, whatever happens to the card in
// between.
func TestWrongPINUntilItIsBlocked(t *testing.T) {
	t.Parallel()
	c := newCounter(t, torn{})
	for left := 2; left >= 0; left-- {
		card := connect(t, c.cardAt)
		asked := smartcard.Purse{Card: card}
		if err := asked.Select(withPatience(t)); err != nil {
			t.Fatal(err)
		}
		err := asked.Verify(withPatience(t), []byte("2222"))
		status := purse.StatusWord(0)
		if tries, is := 0, errors.As(err, &status); !is {
			t.Fatalf("a wrong PIN: %v", err)
		} else if tries, is = status.Tries(); !is || tries != left {
			t.Errorf("a wrong PIN: %v, want that %d tries are left", err, left)
		}
		if err := card.Close(); err != nil {
			t.Fatal(err)
		}
		c.customer.Exchange(t, c.card.inserted(pcsctest.Tear{}))
	}
	c.open()
	defer c.close()
	if err := c.loadAndPay(); !errors.Is(err, purse.PINBlocked) {
		t.Errorf("the right PIN, after that: %v, want PINBlocked", err)
	}
}

// When pcscd is started again, a terminal goes on with the same card, SAM and
// journal.
func TestServiceEndsWithinAPayment(t *testing.T) {
	c := newCounter(t, torn{})
	c.open()
	if err := c.loadAndPay(); err != nil {
		t.Fatal(err)
	}
	pcsctest.Stop(t)
	if _, err := c.terminal.Pay(withPatience(t), c.cardWith, terminal.Payment{Amount: 1, Unit: cents}); err == nil {
		t.Error("a payment without the service")
	}
	c.close()
	pcsctest.Start(t)
	if balance, sum := c.settle(); balance != loaded-paid || sum != paid {
		t.Errorf("%d on the card and %d turned in, want %d and %d", balance, sum, loaded-paid, paid)
	}
}
