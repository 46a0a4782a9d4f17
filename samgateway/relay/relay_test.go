package relay_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/relay"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

var (
	merchant = purse.ID{0x4D, 7: 9}
	other    = purse.ID{0x4D, 7: 8}
	cardID   = purse.ID{0xC1, 7: 1}
	cents    = purse.Unit{Currency: 0x0978, Exponent: -2}
	hello    = relay.Hello{Version: relay.Version, Intent: relay.Pay, Amount: 1_230_000, Currency: "eur-micro"}
	agreed   = relay.Agreement{Intent: relay.Pay, Merchant: merchant, Amount: 123, Unit: cents, Card: cardID}
)

// script is a card that answers 9000 to everything, and keeps what it was asked.
type script struct {
	mutex sync.Mutex // guards asked
	asked [][]byte
	torn  purse.Instruction // what it does not answer
	mute  bool              // it answers with nothing, and no error
}

func (s *script) Transmit(_ context.Context, command []byte) ([]byte, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.asked = append(s.asked, bytes.Clone(command))
	if s.torn != 0 && purse.Instruction(command[1]) == s.torn {
		if s.mute {
			return nil, nil
		}
		return nil, smartcard.ErrTorn
	}
	return []byte{0xAB, 0x90, 0x00}, nil
}

func (s *script) instructions() (found []purse.Instruction) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, command := range s.asked {
		found = append(found, purse.Instruction(command[1]))
	}
	return found
}

func start(id purse.ID, tno uint32) []byte {
	return purse.Command(purse.StartPay, 0, 0, append(binary.BigEndian.AppendUint32(bytes.Clone(id[:]), tno), make([]byte, 17)...))
}

func debit(order purse.Order) []byte {
	return purse.Command(purse.Debit, 0, 0, append(order.Append(nil), make([]byte, 16)...))
}

func initLoad(amount uint32, unit purse.Unit) []byte {
	return purse.Command(purse.InitLoad, 0, 0, purse.LoadRequest{Amount: amount, Unit: unit}.Append(nil))
}

func credit(amount uint32) []byte {
	return purse.Command(purse.Credit, 0, 0, append(binary.BigEndian.AppendUint32(make([]byte, 12), amount), make([]byte, 16)...))
}

func recovery(id purse.ID) []byte {
	return purse.Command(purse.Recover, 0, 0, append(id[:], make([]byte, 24)...))
}

// order is the one that belongs to what was agreed.
func order(change func(*purse.Order)) []byte {
	right := purse.Order{Merchant: merchant, TNo: 7, SNo: 3, Card: cardID, Amount: 123, Unit: cents, Time: 5}
	if change != nil {
		change(&right)
	}
	return debit(right)
}

var (
	selecting = purse.Command(purse.Select, 4, 0, []byte(purse.CardAID))
	numbers   = purse.Command(purse.GetData, 0, 0, nil)
	blocking  = purse.Command(purse.Script, 1, 0, make([]byte, 20))
)

// desk is a gateway's, that does what a test says.
type desk struct {
	offer func(relay.Hello) (relay.Offer, error)
	serve func(context.Context, smartcard.Card) relay.Result
}

func rightOffer(hello relay.Hello) (relay.Offer, error) {
	return relay.Offer{Merchant: merchant.String(), Name: "A shop", Amount: hello.Amount, Currency: hello.Currency, Account: hello.Account}, nil
}

func (d desk) Offer(_ context.Context, hello relay.Hello) (relay.Offer, error) {
	if d.offer != nil {
		return d.offer(hello)
	}
	return rightOffer(hello)
}

func (d desk) Serve(ctx context.Context, _ relay.Hello, card smartcard.Card) relay.Result {
	return d.serve(ctx, card)
}

// sends is a desk that sends commands until the card answers no more.
func sends(commands ...[]byte) desk {
	return desk{serve: func(ctx context.Context, card smartcard.Card) relay.Result {
		for _, command := range commands {
			if _, err := card.Transmit(ctx, command); err != nil {
				return relay.Result{Outcome: relay.Undecided, Sentence: "put the card in again"}
			}
		}
		return relay.Result{Outcome: relay.Done, Sentence: "thank you", Transaction: 7, Amount: 1_230_000}
	}}
}

// serve serves a gateway for a test.
func serve(t *testing.T, d relay.Desk, limits relay.Limits) (address string) {
	t.Helper()
	gateway := relay.NewGateway(d, limits, slog.New(slog.DiscardHandler))
	server := httptest.NewServer(gateway)
	t.Cleanup(func() { gateway.Close(); server.Close() })
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func call(t *testing.T, address string, hello relay.Hello, limits relay.Limits) (*relay.Call, error) {
	t.Helper()
	client := relay.NewClient(nil)
	t.Cleanup(client.CloseIdleConnections)
	return relay.Dial(t.Context(), client, address, hello, limits)
}

func run(t *testing.T, address string, card smartcard.Card, agreed relay.Agreement, limits relay.Limits) relay.Result {
	t.Helper()
	asks := hello
	asks.Intent = agreed.Intent
	if agreed.Intent == relay.Fund {
		asks.Account = "u-1"
	}
	if agreed.Intent == relay.Resolve {
		asks.Amount, asks.Currency = 0, ""
	}
	c, err := call(t, address, asks, limits)
	if err != nil {
		t.Fatal(err)
	}
	if c.Merchant() != merchant {
		t.Errorf("the offer is of %s, want %s", c.Merchant(), merchant)
	}
	return c.Run(t.Context(), card, agreed)
}

func TestCommandsReachTheCardByAgreement(t *testing.T) {
	with := func(intent relay.Intent) relay.Agreement {
		a := agreed
		a.Intent = intent
		if intent == relay.Resolve {
			a.Amount = 0
		}
		return a
	}
	cases := []struct {
		name     string
		agreed   relay.Agreement
		commands [][]byte
		passed   int           // commands that reach the card
		outcome  relay.Outcome // as the holder is told
		sentence string        // a part of it
	}{
		{"a payment", with(relay.Pay), [][]byte{selecting, numbers, blocking, recovery(merchant), start(merchant, 7), order(nil)}, 6, relay.Done, "thank you"},
		{"a funding", with(relay.Fund), [][]byte{start(merchant, 7), order(nil), recovery(merchant)}, 3, relay.Done, "thank you"},
		{"an unloading", with(relay.Unload), [][]byte{start(merchant, 6), start(merchant, 7), order(nil)}, 3, relay.Done, "thank you"},
		{"a load", with(relay.Load), [][]byte{initLoad(123, cents), credit(123)}, 2, relay.Done, "thank you"},
		{"a load that is begun again", with(relay.Load), [][]byte{initLoad(123, cents), purse.Command(purse.LoadStatus, 0, 0, make([]byte, 16)), initLoad(123, cents), credit(123)}, 4, relay.Done, "thank you"},
		{"finding out", with(relay.Resolve), [][]byte{recovery(merchant), purse.Command(purse.LoadStatus, 0, 0, make([]byte, 16))}, 2, relay.Done, "thank you"},

		{"a larger amount", with(relay.Pay), [][]byte{start(merchant, 7), order(func(o *purse.Order) { o.Amount++ })}, 1, relay.Failed, "another amount"},
		{"another currency", with(relay.Pay), [][]byte{start(merchant, 7), order(func(o *purse.Order) { o.Unit.Currency = 0x0840 })}, 1, relay.Failed, "another amount"},
		{"another exponent", with(relay.Pay), [][]byte{start(merchant, 7), order(func(o *purse.Order) { o.Unit.Exponent = 0 })}, 1, relay.Failed, "another amount"},
		{"another payee", with(relay.Pay), [][]byte{start(other, 7)}, 0, relay.Failed, "somebody else"},
		{"another payee of the order", with(relay.Pay), [][]byte{start(merchant, 7), order(func(o *purse.Order) { o.Merchant = other })}, 1, relay.Failed, "another payment"},
		{"another transaction", with(relay.Pay), [][]byte{start(merchant, 7), order(func(o *purse.Order) { o.TNo++ })}, 1, relay.Failed, "another payment"},
		{"another card", with(relay.Pay), [][]byte{start(merchant, 7), order(func(o *purse.Order) { o.Card = other })}, 1, relay.Failed, "another card"},
		{"an order without a start", with(relay.Pay), [][]byte{order(nil)}, 0, relay.Failed, "another payment"},
		{"a second order", with(relay.Pay), [][]byte{start(merchant, 7), order(nil), order(nil)}, 2, relay.Undecided, "did not agree"},
		{"a second start", with(relay.Pay), [][]byte{start(merchant, 7), order(nil), start(merchant, 8)}, 2, relay.Undecided, "did not agree"},
		{"the PIN", with(relay.Load), [][]byte{purse.Command(purse.Verify, 0, 0x80, []byte("1111"))}, 0, relay.Failed, "for the holder alone"},
		{"tries of the PIN", with(relay.Pay), [][]byte{{0, 0x20, 0, 0x80}}, 0, relay.Failed, "for the holder alone"},
		{"the log", with(relay.Load), [][]byte{purse.Command(purse.ReadRecord, 1, 0x0C, nil)}, 0, relay.Failed, "the card's log"},
		{"a cancellation", with(relay.Pay), [][]byte{purse.Command(purse.CancelLast, 0, 0, make([]byte, 59))}, 0, relay.Failed, "no place here"},
		{"another application", with(relay.Pay), [][]byte{purse.Command(purse.Select, 4, 0, []byte(purse.SAMAID))}, 0, relay.Failed, "another application"},
		{"a load of a payer", with(relay.Pay), [][]byte{initLoad(123, cents)}, 0, relay.Failed, "did not agree"},
		{"a payment of a loader", with(relay.Load), [][]byte{start(merchant, 7)}, 0, relay.Failed, "did not agree"},
		{"a payment of one who finds out", with(relay.Resolve), [][]byte{start(merchant, 7)}, 0, relay.Undecided, "did not agree"},
		{"a smaller load", with(relay.Load), [][]byte{initLoad(122, cents)}, 0, relay.Failed, "another amount"},
		{"a smaller value", with(relay.Load), [][]byte{initLoad(123, cents), credit(122)}, 1, relay.Undecided, "another amount"},
		{"a value without a load", with(relay.Load), [][]byte{credit(123)}, 0, relay.Failed, "not begun"},
		{"a second load", with(relay.Load), [][]byte{initLoad(123, cents), credit(123), initLoad(123, cents)}, 2, relay.Undecided, "did not agree"},
		{"a second value", with(relay.Load), [][]byte{initLoad(123, cents), credit(123), credit(123)}, 2, relay.Undecided, "not begun"},
		{"a longer order", with(relay.Pay), [][]byte{start(merchant, 7), purse.Command(purse.Debit, 0, 0, append(order(nil)[5:56], 0))}, 1, relay.Failed, "another payment"},
		{"17 scripts", with(relay.Pay), bytesOf(blocking, 17), 16, relay.Failed, "script"},
		{"somebody else's payment", with(relay.Resolve), [][]byte{recovery(other)}, 0, relay.Undecided, "somebody else"},
		{"a script after the start", with(relay.Pay), [][]byte{start(merchant, 7), blocking}, 1, relay.Failed, "script"},
		{"no instruction", with(relay.Pay), [][]byte{{0x80, 0xFF, 0, 0, 0}}, 0, relay.Failed, "no place here"},
		{"another form", with(relay.Pay), [][]byte{append(start(merchant, 7), 0)}, 0, relay.Failed, "form"},
		{"another class", with(relay.Pay), [][]byte{append([]byte{0x90}, numbers[1:]...)}, 0, relay.Failed, "form"},
		{"another P2", with(relay.Pay), [][]byte{purse.Command(purse.Debit, 0, 1, make([]byte, 51))}, 0, relay.Failed, "form"},
		{"two bytes", with(relay.Pay), [][]byte{{0x80, 0x36}}, 0, relay.Failed, "none"},
		{"done without doing", with(relay.Pay), [][]byte{numbers}, 1, relay.Undecided, "was not asked"},
		{"endless", with(relay.Pay), bytesOf(numbers, 1000), 128, relay.Failed, "put the card in again"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			card := &script{}
			result := run(t, serve(t, sends(c.commands...), relay.Limits{}), card, c.agreed, relay.Limits{})
			if result.Outcome != c.outcome || !strings.Contains(result.Sentence, c.sentence) {
				t.Errorf("got %s, %q; want %s, %q", result.Outcome, result.Sentence, c.outcome, c.sentence)
			}
			if len(card.asked) != c.passed {
				t.Errorf("%d commands reached the card, want %d: %02X", len(card.asked), c.passed, card.instructions())
			}
		})
	}
}

func bytesOf(command []byte, count int) (all [][]byte) {
	for range count {
		all = append(all, command)
	}
	return all
}

// What a gateway says of a card that was lost in the middle is no knowledge, and
// how much was moved, and by which transaction, the agent has seen by itself.
func TestGatewayThatSaysAnotherThingThanTheCardDid(t *testing.T) {
	said := func(outcome relay.Outcome) desk {
		return desk{serve: func(ctx context.Context, card smartcard.Card) relay.Result {
			for _, command := range [][]byte{start(merchant, 7), order(nil)} {
				if _, err := card.Transmit(ctx, command); err != nil {
					break
				}
			}
			return relay.Result{Outcome: outcome, Sentence: "believe me", Transaction: 8, Amount: 200_000_000}
		}}
	}
	for _, c := range []struct {
		torn          purse.Instruction
		said, outcome relay.Outcome
		amount        int64
	}{
		{0, relay.Done, relay.Done, 1_230_000},
		{0, relay.Failed, relay.Undecided, 0},
		{0, relay.Undecided, relay.Undecided, 0},
		{purse.Debit, relay.Failed, relay.Undecided, 0},
		{purse.Debit, relay.Done, relay.Undecided, 0},
		{purse.StartPay, relay.Failed, relay.Failed, 0},
	} {
		got := run(t, serve(t, said(c.said), relay.Limits{}), &script{torn: c.torn}, agreed, relay.Limits{})
		if got.Outcome != c.outcome || int64(got.Amount) != c.amount || got.Transaction != 7 {
			t.Errorf("torn at %02X, the gateway says %s: got %+v, want %s, %d micros, transaction 7", c.torn, c.said, got, c.outcome, c.amount)
		}
	}
}

// Who loads a card, or funds an account, by the name of an order has paid nothing
// for it: the line in which a site looks for its order does not name it.
func TestOnlyPaymentsAreLoggedByTheirReference(t *testing.T) {
	for _, intent := range []relay.Intent{relay.Pay, relay.Fund, relay.Load, relay.Unload, relay.Resolve} {
		log := &bytes.Buffer{}
		gateway := relay.NewGateway(sends(), relay.Limits{}, slog.New(slog.NewJSONHandler(log, nil)))
		server := httptest.NewServer(gateway)
		asks := relay.Hello{Intent: intent, Amount: 1_230_000, Currency: "eur-micro", Reference: "order 7"}
		switch intent {
		case relay.Fund:
			asks.Account = "u-1"
		case relay.Resolve:
			asks.Amount, asks.Currency = 0, ""
		}
		c, err := call(t, "ws"+strings.TrimPrefix(server.URL, "http"), asks, relay.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		as := agreed
		as.Intent = intent
		c.Run(t.Context(), &script{}, as)
		gateway.Close()
		server.Close()
		if isNamed := strings.Contains(log.String(), "order 7"); isNamed != (intent == relay.Pay) || !strings.Contains(log.String(), "session ended") {
			t.Errorf("%s: the log has %s", intent, log)
		}
	}
}

// Who comes without a card, and is silent, holds up the others for less time than
// a card has that may have paid.
func TestSilentAgentsAreNotWaitedForLong(t *testing.T) {
	limits := relay.Limits{Look: 50 * time.Millisecond, Answer: time.Hour, Heartbeat: time.Hour}
	for _, command := range [][]byte{selecting, numbers, start(merchant, 7), recovery(merchant), initLoad(123, cents)} {
		ended := make(chan error, 1)
		address := serve(t, desk{serve: func(ctx context.Context, card smartcard.Card) relay.Result {
			_, err := card.Transmit(ctx, command)
			ended <- err
			return relay.Result{Outcome: relay.Failed, Sentence: "no card"}
		}}, limits)
		peer := dialRaw(t, address)
		peer.write(helloText)
		peer.read()
		peer.write(`{"type":"begin"}`)
		peer.read()
		select {
		case err := <-ended:
			if !errors.Is(err, smartcard.ErrTorn) {
				t.Errorf("%02X: got %v, want ErrTorn", command[1], err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%02X: the gateway waits still", command[1])
		}
	}
}

// Those who come in a minute are counted, so that no crowd keeps clearing busy, or
// fills the log.
func TestCrowds(t *testing.T) {
	log := &bytes.Buffer{}
	gateway := relay.NewGateway(sends(), relay.Limits{}, slog.New(slog.NewJSONHandler(log, nil)))
	server := httptest.NewServer(gateway)
	defer server.Close()
	address := "ws" + strings.TrimPrefix(server.URL, "http")
	served := 0
	var err error
	for ; err == nil && served < 700; served++ {
		var c *relay.Call
		if c, err = call(t, address, hello, relay.Limits{}); err == nil {
			c.Close()
		}
	}
	gateway.Close()
	// The minute of the clock can end in between.
	if served < 300 || err == nil || !strings.Contains(err.Error(), "too many have come") {
		t.Errorf("after %d: got %v, want that there were too many", served, err)
	}
	if log.Len() > 0 {
		t.Errorf("who did not begin is in the log: %.300s", log)
	}
}

// Whoever connects and says nothing keeps no place from others for long.
func TestSilentAgentsKeepNoPlace(t *testing.T) {
	limits := relay.Limits{Look: 50 * time.Millisecond, Connect: time.Hour, Answer: time.Hour, Heartbeat: time.Hour}
	address := serve(t, sends(), limits)
	for _, texts := range [][]string{{}, {helloText}} {
		peer := dialRaw(t, address)
		for _, text := range texts {
			peer.write(text)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for peer.read() != "" {
			}
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Errorf("after %q the gateway waits still", texts)
		}
	}
}

// Of a question that failed the answer is open still.
func TestQuestionThatFailed(t *testing.T) {
	asks := agreed
	asks.Intent, asks.Amount = relay.Resolve, 0
	d := desk{serve: func(context.Context, smartcard.Card) relay.Result {
		return relay.Result{Outcome: relay.Failed, Sentence: "try again later"}
	}}
	if result := run(t, serve(t, d, relay.Limits{}), &script{}, asks, relay.Limits{}); result.Outcome != relay.Undecided {
		t.Errorf("got %+v, want undecided", result)
	}
}

// A card that is pulled, or that answers nothing, is told to the gateway, which
// has the last word.
func TestLostCardIsToldToTheGateway(t *testing.T) {
	for _, mute := range []bool{false, true} {
		for _, torn := range []purse.Instruction{purse.StartPay, purse.Debit} {
			card := &script{torn: torn, mute: mute}
			var seen []error
			d := desk{serve: func(ctx context.Context, remote smartcard.Card) relay.Result {
				for _, command := range [][]byte{start(merchant, 7), order(nil), recovery(merchant)} {
					if _, err := remote.Transmit(ctx, command); err != nil {
						seen = append(seen, err)
					}
				}
				return relay.Result{Outcome: relay.Undecided, Sentence: "put the card in again"}
			}}
			result := run(t, serve(t, d, relay.Limits{}), card, agreed, relay.Limits{})
			want := relay.Undecided
			if torn == purse.StartPay { // no order came to the card
				want = relay.Failed
			}
			if result.Outcome != want || !strings.Contains(result.Sentence, "put the card in again") {
				t.Errorf("torn at %02X: got %+v, want %s", torn, result, want)
			}
			if len(seen) == 0 || !errors.Is(seen[0], smartcard.ErrTorn) {
				t.Errorf("torn at %02X: the gateway saw %v, want ErrTorn", torn, seen)
			}
			if got := card.instructions(); got[len(got)-1] != torn {
				t.Errorf("torn at %02X: the card was asked again: %02X", torn, got)
			}
		}
	}
}

func TestHellosAndOffersThatAreRefused(t *testing.T) {
	with := func(change func(*relay.Hello)) relay.Hello {
		h := hello
		change(&h)
		return h
	}
	offer := func(change func(*relay.Offer)) func(relay.Hello) (relay.Offer, error) {
		return func(h relay.Hello) (relay.Offer, error) {
			o, err := rightOffer(h)
			change(&o)
			return o, err
		}
	}
	cases := []struct {
		name  string
		hello relay.Hello
		offer func(relay.Hello) (relay.Offer, error)
		want  string
	}{
		{"no intent", with(func(h *relay.Hello) { h.Intent = "" }), nil, "intent"},
		{"an unknown intent", with(func(h *relay.Hello) { h.Intent = "cancel" }), nil, "intent"},
		{"nothing", with(func(h *relay.Hello) { h.Amount = 0 }), nil, "amount"},
		{"less", with(func(h *relay.Hello) { h.Amount = -1 }), nil, "amount"},
		{"no currency", with(func(h *relay.Hello) { h.Currency = "" }), nil, "currency"},
		{"an account to pay", with(func(h *relay.Hello) { h.Account = "u" }), nil, "account"},
		{"no account to fund", with(func(h *relay.Hello) { h.Intent = relay.Fund }), nil, "account"},
		{"an amount to resolve", with(func(h *relay.Hello) { h.Intent = relay.Resolve }), nil, "resolve"},
		{"a long reference", with(func(h *relay.Hello) { h.Reference = strings.Repeat("a", 65) }), nil, "reference"},
		{"a line break", with(func(h *relay.Hello) { h.Reference = "a\nb" }), nil, "reference"},
		{"another amount", hello, offer(func(o *relay.Offer) { o.Amount++ }), "another amount"},
		{"another currency", hello, offer(func(o *relay.Offer) { o.Currency = "usd-micro" }), "another amount"},
		{"another account", hello, offer(func(o *relay.Offer) { o.Account = "u-2" }), "another amount"},
		{"no merchant", hello, offer(func(o *relay.Offer) { o.Merchant = "4d" }), "merchant"},
		{"no name", hello, offer(func(o *relay.Offer) { o.Name = "" }), "name"},
		{"a name that turns round", hello, offer(func(o *relay.Offer) { o.Name = "a\u202Eb" }), "name"},
		{"the gateway will not", hello, func(relay.Hello) (relay.Offer, error) { return relay.Offer{}, errors.New("we are closed") }, "we are closed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := call(t, serve(t, desk{offer: c.offer}, relay.Limits{}), c.hello, relay.Limits{})
			if err == nil {
				got.Close()
				t.Fatal("a session began")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want a word of %q", err, c.want)
			}
		})
	}
}

// The gateway checks by itself what it is told.
func TestGatewayChecksTheHello(t *testing.T) {
	address := serve(t, desk{offer: func(relay.Hello) (relay.Offer, error) { panic("not asked") }}, relay.Limits{})
	for text, want := range map[string]string{
		`{"type":"hello","hello":{"version":2,"intent":"pay","amount":"1","currency":"eur-micro"}}`:          "speaks version 1",
		`{"type":"hello","hello":{"version":1,"intent":"pay","amount":"0","currency":"eur-micro"}}`:          "micros above 0",
		`{"type":"hello","hello":{"version":1,"intent":"pay","amount":"1","currency":"eur-micro","more":1}}`: "not the JSON",
		`{"type":"begin"}`:                        "where hello was to be said",
		`{"type":"hello"}`:                        "members",
		`{"type":"begin","number":3}`:             "members",
		`{"type":"poem"}`:                         "members",
		`{"type":"refused","sentence":"a\u0000"}`: "cannot be shown",
		`[]`:                               "not the JSON",
		`{"type":"begin"}{"type":"begin"}`: "more than one",
	} {
		peer := dialRaw(t, address)
		peer.write(text)
		if got := peer.read(); got != "" && !strings.Contains(got, want) {
			t.Errorf("%s is answered by %q, want %q", text, got, want)
		}
	}
}

func TestAddressesOfGateways(t *testing.T) {
	for address, isGood := range map[string]bool{
		"wss://gateway.example/relay": true, "wss://gateway.example:8443/": true, "ws://127.0.0.1:8080/relay": true, "ws://localhost:1/": true, "ws://[::1]:1/": true,
		"ws://gateway.example/relay": false, "https://gateway.example/": false, "http://127.0.0.1/": false, "wss://a@gateway.example/": false,
		"wss://gateway.example/?a=b": false, "wss://gateway.example/#a": false, "wss:///relay": false, "": false, "ws://127.0.0.1.evil.example/": false,
		"wss://" + strings.Repeat("a", 200) + "/": false, "wss://gate\u202Eway.example/": false, "wss://g\u0430teway.example/": false, "wss://xn--gteway-3ve.example/": true, "ws://0.0.0.0:80/": false, "javascript:alert(1)": false,
	} {
		if err := relay.CheckAddress(address); (err == nil) != isGood {
			t.Errorf("%q: got %v, want good: %v", address, err, isGood)
		}
	}
}

// A gateway behind a certificate that nobody vouches for is not talked to, and
// one that sends the agent elsewhere neither.
func TestOnlyTheGatewayThatWasAgreedTo(t *testing.T) {
	reached := false
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer elsewhere.Close()
	elsewhere.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	if _, err := call(t, "wss"+strings.TrimPrefix(elsewhere.URL, "https"), hello, relay.Limits{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v, want a word about the certificate", err)
	}
	sender := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer sender.Close()
	if _, err := call(t, "ws"+strings.TrimPrefix(sender.URL, "http"), hello, relay.Limits{}); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("got %v, want that it answered with 307", err)
	}
	if reached {
		t.Error("the agent went where nobody agreed to")
	}
}

// A certificate that this machine trusts will do, and the gateway's log has what a
// site looks for.
func TestSessionOverTLS(t *testing.T) {
	log := &bytes.Buffer{}
	gateway := relay.NewGateway(sends(start(merchant, 7), order(nil)), relay.Limits{}, slog.New(slog.NewJSONHandler(log, nil)))
	server := httptest.NewTLSServer(gateway)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client := relay.NewClient(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13})
	defer client.CloseIdleConnections()
	asks := hello
	asks.Reference = "order 7"
	c, err := relay.Dial(t.Context(), client, "wss"+strings.TrimPrefix(server.URL, "https"), asks, relay.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if result := c.Run(t.Context(), &script{}, agreed); result.Outcome != relay.Done || result.Transaction != 7 {
		t.Errorf("got %+v, want done", result)
	}
	gateway.Close()
	for _, want := range []string{`"reference":"order 7"`, `"outcome":"done"`, `"transaction":7`, `"amount":"1230000"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s: %s", want, log)
		}
	}
	if strings.Contains(log.String(), "8036") {
		t.Errorf("the log has commands: %s", log)
	}
}

func TestPagesAndTooManyAreTurnedAway(t *testing.T) {
	hold := make(chan struct{})
	address := serve(t, desk{serve: func(context.Context, smartcard.Card) relay.Result {
		<-hold
		return relay.Result{Outcome: relay.Failed, Sentence: "enough"}
	}}, relay.Limits{})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http"+strings.TrimPrefix(address, "ws"), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Origin", "http"+strings.TrimPrefix(address, "ws"))
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("a page got %v, %v; want 403", answer, err)
	}
	answer.Body.Close()
	var all sync.WaitGroup
	for range 32 {
		c, err := call(t, address, hello, relay.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { c.Run(t.Context(), &script{}, agreed) })
	}
	if _, err := call(t, address, hello, relay.Limits{}); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("one too many got %v, want 503", err)
	}
	close(hold)
	all.Wait()
	http.DefaultClient.CloseIdleConnections()
}

// Whoever is silent is not waited for without end, at either end.
func TestSilence(t *testing.T) {
	short := relay.Limits{Connect: 50 * time.Millisecond, Answer: 50 * time.Millisecond, Silence: 50 * time.Millisecond}
	t.Run("the gateway after the hello", func(t *testing.T) {
		peer := listenRaw(t)
		_, err := call(t, peer.address, hello, short)
		if err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("got %v, want that it does not answer", err)
		}
	})
	t.Run("the gateway after the order", func(t *testing.T) {
		hold := make(chan struct{})
		defer close(hold)
		address := serve(t, desk{serve: func(ctx context.Context, card smartcard.Card) relay.Result {
			sends(start(merchant, 7), order(nil)).Serve(ctx, hello, card)
			<-hold
			return relay.Result{Outcome: relay.Done, Sentence: "too late"}
		}}, relay.Limits{})
		if result := run(t, address, &script{}, agreed, short); result.Outcome != relay.Undecided {
			t.Errorf("got %+v, want undecided", result)
		}
	})
	t.Run("the gateway dies without a word", func(t *testing.T) {
		peer := listenRaw(t)
		go func() { peer.accept(); peer.read(); peer.write(offerText) }()
		c, err := call(t, peer.address, hello, relay.Limits{Heartbeat: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		// It reads nothing any more, and so answers no ping.
		if result := c.Run(t.Context(), &script{}, agreed); result.Outcome != relay.Failed || !strings.Contains(result.Sentence, "answer any more") {
			t.Errorf("got %+v, want that nothing was moved", result)
		}
	})
	t.Run("the agent", func(t *testing.T) {
		ended := make(chan error, 1)
		address := serve(t, desk{serve: func(ctx context.Context, card smartcard.Card) relay.Result {
			_, err := card.Transmit(ctx, numbers)
			ended <- err
			return relay.Result{Outcome: relay.Failed, Sentence: "no card"}
		}}, short)
		peer := dialRaw(t, address)
		peer.write(helloText)
		peer.read()
		peer.write(`{"type":"begin"}`)
		peer.read()
		if err := <-ended; !errors.Is(err, smartcard.ErrTorn) {
			t.Errorf("got %v, want ErrTorn", err)
		}
	})
}

const (
	helloText = `{"type":"hello","hello":{"version":1,"intent":"pay","amount":"1230000","currency":"eur-micro"}}`
	offerText = `{"type":"offer","offer":{"merchant":"4D00000000000009","name":"A shop","amount":"1230000","currency":"eur-micro"}}`
)

// A gateway that keeps to no protocol moves nothing and fills no memory.
func TestWildGateways(t *testing.T) {
	command := `{"type":"command","number":1,"bytes":"80CA000000"}`
	for name, c := range map[string]struct{ texts, want string }{
		"a huge message":      {`{"type":"refused","sentence":"` + strings.Repeat("a", 1<<20) + `"}`, "The other end sent a message of more than 4096 bytes"},
		"a number twice":      {command + "\n" + command, "no place here"},
		"another number":      {strings.Replace(command, "1", "2", 1), "no place here"},
		"an offer again":      {offerText, "no place here"},
		"no hex":              {strings.Replace(command, "80CA", "8xCA", 1), "not the JSON"},
		"a result of nothing": {`{"type":"result","result":{}}`, "want done, failed or undecided"},
		"a result below 0":    {`{"type":"result","result":{"outcome":"done","sentence":"a","amount":"-1"}}`, "not the JSON"},
		"a refusal":           {`{"type":"refused","sentence":"not today"}`, "The other end refuses: “not today”."},
		"goodbye":             {"", "The line was closed by the other end."},
	} {
		t.Run(name, func(t *testing.T) {
			peer := listenRaw(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				peer.accept()
				peer.read()
				peer.write(offerText)
				peer.read() // begin
				for _, text := range strings.Split(c.texts, "\n") {
					if text != "" {
						peer.write(text)
					}
				}
				if c.texts == "" {
					peer.conn.CloseNow()
				}
				for peer.read() != "" {
				}
			}()
			card := &script{}
			result := run(t, peer.address, card, agreed, relay.Limits{Silence: time.Second})
			if result.Outcome != relay.Failed || !strings.Contains(result.Sentence, c.want) {
				t.Errorf("got %+v, want failed: %q", result, c.want)
			}
			if len(card.asked) > 1 {
				t.Errorf("%d commands reached the card", len(card.asked))
			}
			<-done
		})
	}
}

// Close cuts the lines and waits for what the desk still has to write down.
func TestCloseWaitsForTheDesk(t *testing.T) {
	began, release, finished := make(chan struct{}), make(chan struct{}), false
	gateway := relay.NewGateway(desk{serve: func(ctx context.Context, card smartcard.Card) relay.Result {
		close(began)
		for {
			if _, err := card.Transmit(ctx, numbers); err != nil {
				break
			}
		}
		finished = ctx.Err() == nil
		return relay.Result{Outcome: relay.Failed, Sentence: "stopped"}
	}}, relay.Limits{}, slog.New(slog.DiscardHandler))
	server := httptest.NewServer(gateway)
	defer server.Close()
	address := "ws" + strings.TrimPrefix(server.URL, "http")
	c, err := call(t, address, hello, relay.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan relay.Result)
	go func() { ended <- c.Run(t.Context(), slowCard{release}, agreed) }()
	<-began
	gateway.Close()
	if !finished {
		t.Error("Close came back before the desk, or its context was cut")
	}
	close(release)
	if result := <-ended; result.Outcome != relay.Failed {
		t.Errorf("got %+v, want failed", result)
	}
	if _, err := call(t, address, hello, relay.Limits{}); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a closed gateway gave %v, want 503", err)
	}
}

// slowCard answers once it is let.
type slowCard struct{ release <-chan struct{} }

func (s slowCard) Transmit(context.Context, []byte) ([]byte, error) {
	<-s.release
	return []byte{0x90, 0}, nil
}
