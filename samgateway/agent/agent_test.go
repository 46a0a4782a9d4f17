package agent_test

import (
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/agent"
)

// What sites may ask for, from the question to the money.
func TestRequestsToTheEnd(t *testing.T) {
	p := newPlace(t)
	card := newCard(t, p.office.keys, cardID, 100_00)
	h := newHome(t, card, "", nil)
	h.pair()
	cases := []struct {
		name    string
		change  func(*agent.RequestBody)
		pin     string
		phase   agent.Phase
		balance uint32 // afterwards
		words   string
	}{
		{"pay", func(*agent.RequestBody) {}, "", agent.Done, 98_77, "Thank you"},
		{"fund", func(b *agent.RequestBody) { b.Intent, b.Account, b.Amount = "fund", "u-1", 5_000_000 }, "", agent.Done, 93_77, "Thank you"},
		{"fund what is closed", func(b *agent.RequestBody) { b.Intent, b.Account = "fund", "closed" }, "", agent.Failed, 93_77, "the account is closed"},
		{"load", func(b *agent.RequestBody) { b.Intent, b.Amount = "load", 10_000_000 }, testPIN, agent.Done, 103_77, "Thank you"},
		{"load too much", func(b *agent.RequestBody) { b.Intent, b.Amount = "load", 190_000_000 }, testPIN, agent.Failed, 103_77, "may not hold so much"},
		{"resolve", func(b *agent.RequestBody) { b.Intent, b.Amount, b.Currency = "resolve", 0, "" }, "", agent.Done, 103_77, "Nothing is open"},
		{"unload", func(b *agent.RequestBody) { b.Intent, b.Amount = "unload", 0 }, "", agent.Done, 0, "Thank you"},
	}
	for _, c := range cases {
		body := payment(p.address)
		c.change(&body)
		got := h.pay(body, c.pin)
		if got.Phase != c.phase || !strings.Contains(got.Sentence, c.words) {
			t.Errorf("%s: got %+v, want %s, %q", c.name, got, c.phase, c.words)
		}
		if balance := card.data(t).Balance; balance != c.balance {
			t.Errorf("%s: %d is on the card, want %d", c.name, balance, c.balance)
		}
		if text := h.look(); !strings.Contains(text, got.Sentence) || strings.Contains(text, "Not known yet") {
			t.Errorf("%s: the page does not say %q, or keeps something open", c.name, got.Sentence)
		}
	}
	if got := p.office.funded("u-1"); got != 5_000_000 {
		t.Errorf("the account has %s, want 5", got.Decimal())
	}
	if got := p.office.funded("own-account"); got != 103_770_000 {
		t.Errorf("the card's account has %s, want 103.77", got.Decimal())
	}
	turned, err := p.TurnIn(t.Context())
	if err != nil || turned.Sum != 1_23+5_00+103_77 {
		t.Errorf("the batch has %+v, %v", turned, err)
	}
	h.stop()
	if log := h.log.String(); strings.Contains(log, testPIN) || log != "" {
		t.Errorf("the log says %q", log)
	}
	if got := card.count(purse.Verify); got != 2 {
		t.Errorf("the PIN was shown to the card %d times, want 2", got)
	}
}
