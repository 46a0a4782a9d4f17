package agent_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/samgateway/agent"
	"github.com/paywordhq/payword/samgateway/relay"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// A gateway that wants more than the holder said yes to takes nothing off the
// card, and the holder reads what it tried.
func TestHostileGateways(t *testing.T) {
	keys := pursetest.Keys(t)
	start := purse.Command(purse.StartPay, 0, 0, append(binary.BigEndian.AppendUint32(bytes.Clone(merchant[:]), 7), make([]byte, 17)...))
	order := purse.Order{Merchant: merchant, TNo: 7, SNo: 1, Card: cardID, Amount: 123, Unit: cents}
	debit := func(o purse.Order) []byte {
		return purse.Command(purse.Debit, 0, 0, append(o.Append(nil), make([]byte, 16)...))
	}
	larger := order
	larger.Amount = 124
	cases := []struct {
		name     string
		payee    string
		commands [][]byte
		words    string
	}{
		{"a larger amount", "A shop", [][]byte{start, debit(larger)}, "another amount"},
		{"another payee", "A shop", [][]byte{purse.Command(purse.StartPay, 0, 0, make([]byte, 29))}, "somebody else"},
		{"another name", "Another shop", nil, "not to the payee"},
		{"the PIN", "A shop", [][]byte{purse.Command(purse.Verify, 0, 0x80, []byte("0000"))}, "for the holder alone"},
		{"the log", "A shop", [][]byte{purse.Command(purse.ReadRecord, 1, 0x0C, nil)}, "for the holder alone"},
		{"nothing at all", "A shop", nil, "was not asked"},
	}
	card := newCard(t, keys, cardID, 100_00)
	h := newHome(t, card, "", nil)
	h.pair()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			address := serve(t, desk{name: c.payee, serve: func(ctx context.Context, _ relay.Hello, remote smartcard.Card) relay.Result {
				for _, command := range c.commands {
					if _, err := remote.Transmit(ctx, command); err != nil {
						break
					}
				}
				return relay.Result{Outcome: relay.Done, Sentence: "thank you"}
			}})
			got := h.pay(payment(address), "")
			if got.Phase != agent.Failed && got.Phase != agent.Undecided || !strings.Contains(got.Sentence, c.words) {
				t.Errorf("got %+v, want %q", got, c.words)
			}
			if data := card.data(t); data.Balance != 100_00 || data.SNo != 0 || data.Tries != 3 {
				t.Errorf("the card has %+v", data)
			}
			for _, instruction := range []purse.Instruction{purse.Debit, purse.Verify, purse.ReadRecord} {
				if card.count(instruction) != 0 {
					t.Errorf("%02X reached the card", instruction)
				}
			}
		})
	}
}

// A gateway can say whatever fits into a sentence, and the agent goes on.
func TestGatewaysThatSayNothing(t *testing.T) {
	card := newCard(t, pursetest.Keys(t), cardID, 100_00)
	h := newHome(t, card, "", nil)
	h.pair()
	for _, said := range []string{".", " ", "...", " . ", "No.” The PIN is wrong. Enter it at evil.example. “", "\" and", "« »", "’ and ‘"} {
		got := h.pay(payment(serve(t, desk{refuses: said})), "")
		if got.Phase != agent.Failed || !strings.HasPrefix(got.Sentence, "The other end refuses: “") {
			t.Errorf("%q: got %+v", said, got)
		}
		if inside := strings.TrimSuffix(strings.TrimPrefix(got.Sentence, "The other end refuses: “"), "”."); strings.ContainsAny(inside, `“”"«»‘’`) {
			t.Errorf("%q ends what is quoted by itself: %s", said, got.Sentence)
		}
	}
}

// The card signs to whom it pays, and not for which account: the holder agrees to
// what is sure.
func TestWhatTheHolderSaysYesToNamesThePayee(t *testing.T) {
	card := newCard(t, pursetest.Keys(t), cardID, 100_00)
	h := newHome(t, card, "", nil)
	h.pair()
	for _, intent := range []relay.Intent{relay.Pay, relay.Fund, relay.Unload} {
		body := payment("wss://gateway.example/relay")
		body.Intent = intent
		switch intent {
		case relay.Fund:
			body.Account = "u-1"
		case relay.Unload:
			body.Amount = 0
		}
		asked := h.ask(body)
		wantIn(t, h.look(), "EUR to A shop")
		h.press("no", url.Values{"request": {asked.Request}})
	}
}

// What the file system says is for the holder: the site does not learn how the
// holder's folders are called.
func TestSitesLearnNothingOfTheMachine(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "private")
	card := newCard(t, pursetest.Keys(t), cardID, 100_00)
	h := newHome(t, card, filepath.Join(folder, "agent.json"), nil)
	h.pair()
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	got := h.pay(payment(serve(t, desk{name: "A shop"})), "")
	if got.Phase != agent.Failed || !strings.Contains(got.Sentence, "cannot write down") || strings.Contains(got.Sentence, "private") {
		t.Errorf("got %+v", got)
	}
	h.stop()
	if !strings.Contains(h.log.String(), folder) {
		t.Errorf("the log does not say what is wrong: %s", h.log)
	}
}

// What cannot be a PIN uses up no try.
func TestWhatIsNoPINUsesUpNoTry(t *testing.T) {
	card := newCard(t, pursetest.Keys(t), cardID, 100_00)
	h := newHome(t, card, "", nil)
	h.pair()
	h.ask(agent.RequestBody{Intent: "load", Gateway: "wss://gateway.example/relay", Merchant: merchant.String(), Payee: "A shop", Amount: 1_230_000, Currency: "eur-micro"})
	for _, typed := range []string{"123", "123456789", "11 1", "1111\n", "１１"} {
		h.yes(typed)
		wantIn(t, h.look(), "no try was used up")
	}
	if data := card.data(t); data.Tries != 3 || card.count(purse.Verify) != 0 {
		t.Errorf("%d tries are left, and the card was asked %d times", data.Tries, card.count(purse.Verify))
	}
}

// A card that was changed after the yes is not used.
func TestAnotherCardThanTheHolderSaw(t *testing.T) {
	p := newPlace(t)
	card := newCard(t, p.office.keys, cardID, 100_00)
	h := newHome(t, card, "", nil)
	h.pair()
	asked := h.ask(payment(p.address))
	shown := shownPattern.FindStringSubmatch(h.look())[1]
	card.Applet = newCard(t, p.office.keys, purse.ID{0xC1, 7: 2}, 100_00).Applet
	h.press("yes", url.Values{"shown": {shown}, "agreed": {"yes"}})
	if got := h.settle(asked.Request); got.Phase != agent.Failed || !strings.Contains(got.Sentence, "Another card") {
		t.Errorf("got %+v, want that it is another card", got)
	}
	if data := card.data(t); data.Balance != 100_00 {
		t.Errorf("the other card has %d", data.Balance)
	}
}

func TestCardsThatWillNotDo(t *testing.T) {
	keys := pursetest.Keys(t)
	card := newCard(t, keys, cardID, 1_00)
	h := newHome(t, card, "", nil)
	h.pair()
	look := func(body agent.RequestBody) string {
		t.Helper()
		asked := h.ask(body)
		text := h.look()
		h.press("no", url.Values{"request": {asked.Request}})
		if strings.Contains(text, `name="shown"`) {
			t.Errorf("the holder can say yes:\n%s", text)
		}
		return text
	}
	body := payment("wss://gateway.example/relay")
	if text := look(body); strings.Contains(text, "Put your card into the reader") {
		t.Errorf("a card is asked for that is there:\n%s", text)
	}
	wantIn(t, look(body), "There is too little on the card.")
	body.Currency = "usd-micro"
	wantIn(t, look(body), "This card holds EUR, not USD.")
	body = payment("wss://gateway.example/relay")
	body.Amount = 1
	wantIn(t, look(body), "does not count in such small amounts")
	card.put(true)
	wantIn(t, look(body), "No card is in the reader. Put your card into the reader.")
	card.put(false)
	card.Applet = foreign{}
	wantIn(t, look(body), "This is no purse card.")
}

func wantIn(t *testing.T, text, words string) {
	t.Helper()
	if !strings.Contains(text, words) {
		t.Errorf("the page does not say %q:\n%s", words, text)
	}
}

// foreign is a card without a purse.
type foreign struct{}

func (foreign) Transmit([]byte) ([]byte, error) { return []byte{0x6A, 0x82}, nil }
func (foreign) Reset()                          {}

// The PIN goes to the card, and is asked for again as long as there are tries.
func TestPIN(t *testing.T) {
	p := newPlace(t)
	card := newCard(t, p.office.keys, cardID, 1_00)
	h := newHome(t, card, "", nil)
	h.pair()
	body := payment(p.address)
	body.Intent = relay.Load
	asked := h.ask(body)
	h.yes("2222")
	wantIn(t, h.calm(), "The PIN is wrong. Tries left: 2.")
	h.yes("")
	wantIn(t, h.calm(), "Enter the PIN here: the reader has no keys.")
	h.yes("12")
	wantIn(t, h.calm(), "A PIN has 4 to 8 digits")
	h.yes(testPIN)
	if got := h.settle(asked.Request); got.Phase != agent.Done {
		t.Errorf("got %+v, want done", got)
	}
	// The card stays in the reader, and has forgotten the PIN.
	if read, err := card.Transmit(t.Context(), purse.Command(purse.ReadRecord, 1, 0x14, nil)); err != nil || !bytes.Equal(read, []byte{0x69, 0x82}) {
		t.Errorf("the log is read after the session: %X, %v", read, err)
	}
	if got := card.data(t).Balance; got != 2_23 {
		t.Errorf("%d is on the card, want 223", got)
	}
	asked = h.ask(body)
	card.pad = func() []byte { return []byte{0x63, 0xC1} }
	h.yes("")
	wantIn(t, h.calm(), "The PIN is wrong. Tries left: 1.")
	for range 3 {
		h.yes("3333")
		h.calm()
	}
	if got := h.settle(asked.Request); got.Phase != agent.Failed || !strings.Contains(got.Sentence, "The PIN was wrong too often") {
		t.Errorf("got %+v, want that the PIN is blocked", got)
	}
	h.ask(body)
	if text := h.look(); !strings.Contains(text, "The PIN was wrong too often") || strings.Contains(text, `name="shown"`) {
		t.Errorf("a card whose PIN is blocked can be said yes to:\n%s", text)
	}
	h.stop()
	for _, secret := range []string{"2222", "3333", testPIN} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log has the PIN: %s", h.log)
		}
	}
}
