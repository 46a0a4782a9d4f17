package agent_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/relay"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

const testPIN = pursetest.PIN

var (
	cents    = purse.Unit{Currency: 0x0978, Exponent: -2}
	merchant = purse.ID{0x4D, 7: 9}
	cardID   = purse.ID{0xC1, 7: 1}
)

// slot is a reader with an applet, which can be taken out.
type slot struct {
	mutex sync.Mutex // guards what follows
	pursetest.Applet
	isOut bool
	asked [][]byte
	// tear says that the card is pulled at a command: before it has it, or after it
	// did it.
	tear func(purse.Instruction) (before, after bool)
	pad  func() []byte // the answer to VERIFY of a reader with keys; nil: it has none
}

func (s *slot) Name() string { return "Reader of the test" }

func (s *slot) Wait(context.Context, bool) error { return nil }

func (s *slot) Connect(context.Context) (smartcard.Session, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.isOut {
		return nil, smartcard.ErrNoCard
	}
	s.Reset()
	return session{s}, nil
}

func (s *slot) Transmit(_ context.Context, command []byte) ([]byte, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.isOut {
		return nil, smartcard.ErrTorn
	}
	s.asked = append(s.asked, bytes.Clone(command))
	before, after := false, false
	if s.tear != nil {
		before, after = s.tear(purse.Instruction(command[1]))
	}
	if before {
		s.isOut = true
		return nil, smartcard.ErrTorn
	}
	answer, err := s.Applet.Transmit(command)
	if after {
		s.isOut = true
		return nil, nil // as torn cards do
	}
	return answer, err
}

func (s *slot) put(isOut bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.isOut = isOut
	s.Reset()
}

// count returns how often the card was sent a command.
func (s *slot) count(instruction purse.Instruction) (count int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, command := range s.asked {
		if purse.Instruction(command[1]) == instruction {
			count++
		}
	}
	return count
}

type session struct{ *slot }

func (session) Close() error { return nil }

func (s session) VerifyPIN(context.Context) ([]byte, error) {
	if s.pad == nil {
		return nil, smartcard.ErrNoPINPad
	}
	return s.pad(), nil
}

// data returns what a card says of itself.
func (s *slot) data(t testing.TB) purse.CardData {
	t.Helper()
	p := smartcard.Purse{Card: s}
	if err := p.Select(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := p.Data(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// newCard issues a card with some money on it.
func newCard(t testing.TB, keys *purse.Keys, id purse.ID, balance uint32) *slot {
	t.Helper()
	issue := purse.CardIssue{Keys: keys, KeyVersion: 1, Card: id, Holder: purse.ID{0xA0, 7: id[7]}, Unit: cents, MaxBalance: 200_00, MaxPayment: 200_00, PIN: testPIN}
	s := &slot{Applet: pursetest.NewCard(t, issue)}
	p := smartcard.Purse{Card: s}
	if err := p.Select(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(t.Context(), []byte(testPIN)); err != nil {
		t.Fatal(err)
	}
	request := purse.LoadRequest{Amount: balance, Unit: cents, Time: 1, Terminal: merchant}
	answer, err := p.InitLoad(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	load, err := purse.ParseLoad(request.Append(nil), answer)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.LoadKey(1, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Credit(t.Context(), load.Credit(key, purse.ID{0xFF})); err != nil {
		t.Fatal(err)
	}
	s.asked = nil
	return s
}

// office is clearing and broker, honest, in memory. What it knows of a load it
// knows by the card's own word.
type office struct {
	keys *purse.Keys

	mutex sync.Mutex // guards what follows
	loads map[purse.ID]purse.Load
	taken map[purse.ID]bool
	void  map[purse.ID]bool
	funds map[string]money.Amount
	paid  map[uint32]uint32 // by PayOnline: cents by TNo
}

func (o *office) AuthoriseLoad(_ context.Context, request, answer []byte) (purse.ID, []byte, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	load, err := purse.ParseLoad(request, answer)
	if err != nil {
		return purse.ID{}, nil, err
	}
	key, err := o.keys.LoadKey(1, load.Answer.Card)
	if err != nil || !load.IsSigned(key) {
		return purse.ID{}, nil, &purse.Refusal{Reason: "load-mac", Detail: "the MAC is wrong"}
	}
	reference := purse.ID{1}
	binary.BigEndian.PutUint32(reference[4:], uint32(len(o.loads)+1))
	for other, one := range o.loads {
		if one == load {
			reference = other
		}
	}
	o.loads[reference] = load
	return reference, load.Credit(key, reference), nil
}

func (o *office) ConfirmLoad(_ context.Context, reference purse.ID, _ []byte) error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.taken[reference] = true
	return nil
}

func (o *office) ChallengeLoad(context.Context, purse.ID) (purse.Random, error) {
	return purse.Random{5}, nil
}

func (o *office) ResolveLoad(_ context.Context, reference purse.ID, answer []byte) (bool, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	status, err := purse.ParseStatus(answer)
	if err != nil {
		return false, err
	}
	o.taken[reference] = status.Reference == reference
	o.void[reference] = !o.taken[reference]
	return o.taken[reference], nil
}

func (o *office) PayOnline(_ context.Context, text []byte, _ purse.MAC) error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	record, err := purse.ParseRecord(text)
	if err != nil {
		return err
	}
	o.paid[record.TNo()] = record.Proof.Amount
	return nil
}

func (o *office) SubmitBatch(_ context.Context, text []byte) (purse.MAC, error) {
	batch, refusals, err := purse.CheckBatch(o.keys, 1, purse.Position{}, text[:purse.TotalLength], text[purse.TotalLength:])
	if err != nil || len(refusals) > 0 {
		return purse.MAC{}, &purse.Refusal{Reason: purse.Malformed, Detail: "the batch is wrong"}
	}
	return batch.Ack, nil
}

func (o *office) Claim(context.Context, []byte, purse.MAC) error { return nil }

func (o *office) Scripts(context.Context, purse.ID) ([][]byte, error) { return nil, nil }

func (o *office) ScriptDone(context.Context, purse.ID, []byte) error { return nil }

func (o *office) HotList(context.Context) ([]purse.ID, error) { return nil, nil }

func (o *office) CardAccount(context.Context, purse.ID) (string, error) { return "own-account", nil }

func (o *office) CashOut(context.Context, purse.ID, uint32) error { return nil }

func (o *office) Check(_ context.Context, account string, _ money.Amount) error {
	if account == "closed" {
		return &terminal.Refused{Reason: "account-closed", Sentence: "the account is closed"}
	}
	return nil
}

func (o *office) Fund(_ context.Context, account, id string, amount money.Amount) error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.funds[account+" "+id] = amount
	return nil
}

// funded returns how much an account was given.
func (o *office) funded(account string) (sum money.Amount) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for name, amount := range o.funds {
		if strings.HasPrefix(name, account+" ") {
			sum += amount
		}
	}
	return sum
}

// place is a gateway with SAM and terminal.
type place struct {
	*terminal.Terminal
	office  *office
	address string // of its relay
}

func newOffice(t testing.TB) *office {
	return &office{
		keys: pursetest.Keys(t), loads: make(map[purse.ID]purse.Load), taken: make(map[purse.ID]bool), void: make(map[purse.ID]bool),
		funds: make(map[string]money.Amount), paid: make(map[uint32]uint32),
	}
}

// newPlace serves a gateway as samgateway serve does.
func newPlace(t *testing.T) *place {
	t.Helper()
	o := newOffice(t)
	sam := pursetest.NewSAM(t, purse.SAMIssue{Keys: o.keys, KeyVersion: 1, Merchant: merchant, Unit: cents, Limit: 1_000_000})
	opened, err := terminal.Open(t.Context(), terminal.Config{
		SAM: &slot{Applet: sam}, Journal: filepath.Join(t.TempDir(), "journal"), Host: o, Accounts: o, LoadTerminal: merchant,
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &place{Terminal: opened, office: o}
	p.address = serve(t, desk{name: "A shop", serve: p.serve})
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// serve does what samgateway serve does for readers at home.
func (p *place) serve(ctx context.Context, hello relay.Hello, card smartcard.Card) relay.Result {
	if hello.Intent == relay.Resolve {
		if _, err := p.Meet(ctx, card); err != nil {
			return relay.Result{Outcome: relay.Undecided, Sentence: err.Error()}
		}
		return relay.Result{Outcome: relay.Done, Sentence: "Nothing is open."}
	}
	amount, err := cents.Count(hello.Amount)
	if hello.Intent == relay.Unload {
		hello.Account = "own-account"
	}
	result := relay.Result{Outcome: relay.Done, Amount: hello.Amount, Sentence: "Thank you."}
	if err == nil && hello.Intent == relay.Load {
		_, err = p.Load(ctx, card, amount)
	} else if err == nil {
		var receipt terminal.Receipt
		receipt, err = p.Pay(ctx, card, terminal.Payment{Amount: amount, Unit: cents, Account: hello.Account})
		result.Transaction = receipt.TNo
	}
	switch {
	case errors.Is(err, terminal.ErrUndecided), errors.Is(err, terminal.ErrLoadUndecided), errors.Is(err, smartcard.ErrTorn):
		return relay.Result{Outcome: relay.Undecided, Sentence: err.Error()}
	case err != nil:
		return relay.Result{Outcome: relay.Failed, Sentence: err.Error()}
	}
	return result
}

// serve serves the relay of a gateway.
func serve(t *testing.T, desk relay.Desk) (address string) {
	t.Helper()
	gateway := relay.NewGateway(desk, relay.Limits{Answer: 5 * time.Second}, slog.New(slog.DiscardHandler))
	server := httptest.NewServer(gateway)
	t.Cleanup(func() { gateway.Close(); server.Close() })
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/relay"
}

// desk is a gateway's, that does what a test says.
type desk struct {
	name  string
	serve func(ctx context.Context, hello relay.Hello, card smartcard.Card) relay.Result
	// refuses is what it says in place of an offer; "": it makes one.
	refuses string
}

func (d desk) Offer(_ context.Context, hello relay.Hello) (relay.Offer, error) {
	if d.refuses != "" {
		return relay.Offer{}, errors.New(d.refuses)
	}
	return relay.Offer{Merchant: merchant.String(), Name: d.name, Amount: hello.Amount, Currency: hello.Currency, Account: hello.Account}, nil
}

func (d desk) Serve(ctx context.Context, hello relay.Hello, card smartcard.Card) relay.Result {
	return d.serve(ctx, hello, card)
}
