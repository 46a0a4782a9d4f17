package samgateway_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/kiosk/kiosktest"
	"github.com/paywordhq/payword/samgateway/relay"
)

// Somebody elsewhere hears that it cannot be done, and not which machines of this
// house did not answer; the log has that.
func TestReadersAtHomeLearnNothingOfTheHouse(t *testing.T) {
	h := newHouse(t)
	h.issue(1, h.account(1, 100*dollar))
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	s := h.serve()
	h.clearingDoor.isShut.Store(true)
	h.brokerDoor.isShut.Store(true)
	for _, hello := range []relay.Hello{
		{Intent: relay.Fund, Amount: dollar, Currency: "usd-micro", Account: "anna"},
		{Intent: relay.Unload, Amount: 20 * dollar, Currency: "usd-micro"},
		{Intent: relay.Load, Amount: dollar, Currency: "usd-micro"},
	} {
		got := h.atHome(s, hello)
		if got.Outcome == relay.Done || !strings.Contains(got.Sentence, "try again later") && hello.Intent != relay.Load {
			t.Errorf("%s: got %+v", hello.Intent, got)
		}
		for _, inner := range []string{"127.0.0.1", "http", "/v1/", "dial"} {
			if strings.Contains(got.Sentence, inner) {
				t.Errorf("%s: the holder is told %q", hello.Intent, got.Sentence)
			}
		}
	}
	s.end()
	if !strings.Contains(s.log.String(), "a reader at home was not served") {
		t.Errorf("the log does not say why: %s", s.log)
	}
}

// impostor is no card. It says that it is one, which anybody can from afar.
type impostor struct{ card purse.ID }

// Transmit implements smartcard.Card.
func (i impostor) Transmit(_ context.Context, command []byte) ([]byte, error) {
	var answer []byte
	switch {
	case purse.Instruction(command[1]) == purse.GetData && command[2] == 0:
		answer = purse.CardData{
			Card: i.card, Holder: purse.ID{0xA0, 7: 1}, KeyVersion: 1, Unit: testUnit, Balance: 200_00, MaxBalance: 200_00, MaxPayment: 200_00, Tries: 3,
		}.Append(nil)
	case purse.Instruction(command[1]) == purse.GetData:
		answer = purse.ScriptState{}.Append(nil)
	case purse.Instruction(command[1]) == purse.StartPay:
		answer = purse.Start{Card: i.card, Holder: purse.ID{0xA0, 7: 1}, KeyVersion: 1, SNo: 1, Unit: testUnit}.Append(nil)
		answer = append(answer, make([]byte, 16)...)
	case purse.Instruction(command[1]) == purse.InitLoad:
		answer = purse.LoadAnswer{Card: i.card, Holder: purse.ID{0xA0, 7: 1}, KeyVersion: 1, LNo: 1}.Append(nil)
	case purse.Instruction(command[1]) != purse.Select:
		return []byte{0x69, 0x85}, nil
	}
	return append(answer, 0x90, 0x00), nil
}

// lie has somebody without a card come to a gateway.
func (h *house) lie(s *serving, hello relay.Hello, card purse.ID) relay.Result {
	h.t.Helper()
	call, err := relay.Dial(h.t.Context(), relay.NewClient(nil), "ws://"+s.ports["readers at home"]+"/", hello, relay.Limits{})
	if err != nil {
		return relay.Result{Outcome: relay.Failed, Sentence: err.Error()}
	}
	return call.Run(h.t.Context(), impostor{card}, relay.Agreement{Intent: hello.Intent, Merchant: call.Merchant(), Unit: testUnit, Card: card, Amount: 1})
}

// Who says to have a card of somebody's number hears nothing of what became of its
// payments, nor of its account, and takes nothing of that from its holder.
func TestStrangersLearnNothingOfACard(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.account(1, 100*dollar), h.account(2, 7*dollar)
	h.issue(1, anna)
	h.configure(map[string]any{"kiosk": "127.0.0.1:0"})
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	h.brokerDoor.lose("/v1/gateway/fundings")
	h.wantNo(1, "the rest waits", "fund", ben, "5.00")
	card := h.customer
	chip := card.chip
	card.put(nil)
	s := h.serve() // which puts the money there when it begins
	h.wantAccount(ben, 12*dollar)
	if got := h.lie(s, relay.Hello{Intent: relay.Resolve}, cardID(1)); got.Sentence != "The gateway says: “Nothing is open about this card here.”" {
		t.Errorf("finding out: got %+v", got)
	}
	for _, hello := range []relay.Hello{
		{Intent: relay.Unload, Amount: 1_000_000 * dollar, Currency: "usd-micro"},
		{Intent: relay.Fund, Amount: 1_000_000 * dollar, Currency: "usd-micro", Account: anna},
	} {
		got := h.lie(s, hello, cardID(1))
		if got.Outcome != relay.Failed || !strings.Contains(got.Sentence, "cannot be given so much now") || strings.Contains(got.Sentence, anna) || strings.ContainsAny(got.Sentence, "0123456789") {
			t.Errorf("%s: got %+v", hello.Intent, got)
		}
	}
	v := kiosktest.Visit(t, s.ports["the kiosk"], nil)
	v.See("start")
	card.put(chip)
	v.See("resolved", "$5.00")
	s.end()
}

// Who has no card asks the broker nothing about accounts, and the one who has some
// other thing asks when it is there.
func TestAccountsAreCheckedWhenACardIsThere(t *testing.T) {
	h := newHouse(t)
	s := h.serve()
	h.brokerDoor.isShut.Store(true)
	call, err := relay.Dial(t.Context(), relay.NewClient(nil), "ws://"+s.ports["readers at home"]+"/",
		relay.Hello{Intent: relay.Fund, Amount: money.Unit, Currency: "usd-micro", Account: "anna"}, relay.Limits{})
	if err != nil {
		t.Fatalf("the broker was asked before a card was there: %v", err)
	}
	call.Close()
	s.end()
}

// Who comes without a card, again and again, uses up neither the SAM nor the
// journal.
func TestStrangersUseNothingUp(t *testing.T) {
	h := newHouse(t)
	h.issue(1, h.account(1, 100*dollar))
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	s := h.serve()
	pay := relay.Hello{Intent: relay.Pay, Amount: dollar / 100, Currency: "usd-micro"}
	var got relay.Result
	for range 60 {
		if got = h.lie(s, pay, cardID(1)); strings.Contains(got.Sentence, "Too many cards") {
			break
		}
	}
	if got.Outcome != relay.Failed || !strings.Contains(got.Sentence, "Too many cards") {
		t.Errorf("after 60 tries: got %+v", got)
	}
	h.clearingDoor.isShut.Store(true)
	if got := h.lie(s, relay.Hello{Intent: relay.Load, Amount: dollar / 100, Currency: "usd-micro"}, cardID(1)); got.Outcome == relay.Done {
		t.Errorf("a load: got %+v", got)
	}
	s.end()
	h.clearingDoor.isShut.Store(false)
	var status struct {
		Voids     int
		Undecided []struct{}
	}
	if err := json.Unmarshal([]byte(h.say("status", "--json").stdout), &status); err != nil {
		t.Fatal(err)
	}
	// The minute of the clock can end in between.
	if status.Voids < 10 || status.Voids > 20 || len(status.Undecided) > 0 {
		t.Errorf("got %+v, want 10 voids, and nothing undecided", status)
	}
}
