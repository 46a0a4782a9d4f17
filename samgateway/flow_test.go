package samgateway_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/relay"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

const dollar = money.Unit

// Everything that a till does in a day, command by command.
func TestADay(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.account(1, 100*dollar), h.account(2, 0)
	h.issue(1, anna)
	h.want("Loaded 20.00 USD. On the card now: 20.00 USD", "load", "20.00", "--pin-file", h.pinFile())
	h.wantAccount(anna, 80*dollar)

	h.wantNo(1, "the account of card C100000000000001 has less than 100.00 USD", "load", "100.00", "--pin-file", h.pinFile())
	h.clearingDoor.isShut.Store(true) // paying needs no network
	h.brokerDoor.isShut.Store(true)
	h.want("Paid 5.00 USD by transaction 1.\nOn the card now: 15.00 USD", "pay", "5.00")
	h.want("Paid 2.50 USD by transaction 2", "pay", "2.50")
	h.wantNo(1, "may not pay so much at once", "pay", "150.00") // which is void, with the number of the cancellation
	h.want("Cancelled transaction 2 by transaction 4: 2.50 USD went back to card C100000000000001.\nOn the card now: 15.00 USD", "cancel")
	h.wantNo(1, "cannot be cancelled", "cancel")
	h.wantNo(1, "there is too little on the card", "pay", "15.01")
	h.wantNo(1, "cannot be cancelled", "cancel")
	h.wantNo(2, `"-5.00" is no amount`, "pay", "-5.00")
	h.clearingDoor.isShut.Store(false)
	h.brokerDoor.isShut.Store(false)

	h.want("nothing is undecided", "status")
	h.want("Turned in batch 1", "turnin")
	h.want("there is nothing to turn in", "turnin")
	h.want("account "+ben+" has it", "fund", ben, "6.00")
	h.wantAccount(ben, 6*dollar)
	h.wantNo(1, "cannot be cancelled", "cancel")
	h.wantNo(1, "", "fund", "accountthatisnone", "1.00")
	h.want("account "+anna+" has it", "unload")
	h.wantNo(1, "there is nothing on the card", "unload")
	h.wantAccount(anna, 89*dollar)
	h.want("Turned in batch 2", "turnin")
	h.wantSound()
}

// A white card is loaded and paid out for cash.
func TestWhiteCard(t *testing.T) {
	h := newHouse(t)
	h.issue(1, "")
	got := h.say("load", "10.00")
	if got.code != 0 || got.stdout == "" {
		t.Fatalf("got %+v", got)
	}
	h.want("Paid 3.00 USD", "pay", "3.00")
	h.want("Paid 7.00 USD by transaction 2: hand it out in cash.\nOn the card now: 0.00 USD", "unload")
	h.want("Turned in batch 1", "turnin")
	h.wantSound()
}

// A card that is pulled out at DEBIT has paid or not, and either is found out.
func TestPulledCards(t *testing.T) {
	cases := []struct {
		name    string
		tear    tear
		balance uint32
	}{
		{"before it paid", tear{purse.Debit, 1, false}, 20_00},
		{"after it paid", tear{purse.Debit, 1, true}, 15_00},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.issue(1, h.account(1, 100*dollar))
			h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
			h.customer.tearAt(c.tear)
			h.wantNo(1, "the card was pulled out, and it is known now", "pay", "5.00")
			h.want("nothing is undecided", "status")
			if got := h.balance(); got != c.balance {
				t.Errorf("there are %d cents on the card, want %d", got, c.balance)
			}
			h.wantSound()
		})
	}
}

// What a card has paid for an account before it was pulled out gets there, once it
// is in again.
func TestPulledWhileItFunds(t *testing.T) {
	h := newHouse(t)
	anna := h.account(1, 100*dollar)
	ben := h.account(2, 0)
	h.issue(1, anna)
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	h.customer.tearAt(tear{purse.Debit, 1, true})
	h.wantNo(1, "it is known now: the card paid, and the account has the money", "fund", ben, "5.00")
	h.want("nothing is undecided, and nothing waits", "status")
	h.wantAccount(ben, 5*dollar)
	h.wantSound()
}

// What was for an account that only a lost journal knew is put there by hand: once,
// and only what clearing has let go on to the gateway.
func TestFundedByHand(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.account(1, 100*dollar), h.account(2, 0)
	h.issue(1, anna)
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	h.want("Paid 5.00 USD by transaction 1", "pay", "5.00")
	h.want("Paid 3.00 USD by transaction 2", "pay", "3.00")
	h.want("Cancelled transaction 2 by transaction 3", "cancel")
	fund := func(code int, sentence, gateway, transaction, amount string) {
		t.Helper()
		var said strings.Builder
		got := broker.Main(t.Context(), []string{"fund", "--db", h.location, "--account", ben, "--gateway", gateway,
			"--id", merchantID.String() + transaction, "--amount", amount}, strings.NewReader(""), &said, &said)
		if got != code || !strings.Contains(said.String(), sentence) {
			t.Errorf("%s of %s: got exit code %d, %s; want %d and %q", transaction, amount, got, said.String(), code, sentence)
		}
	}
	const none = "Clearing has booked no payment "
	fund(1, none, "purse", "-1", "5.00")
	h.want("Turned in batch 1", "turnin")
	fund(1, "is of 5.00 USD", "purse", "-1", "4.00")
	fund(1, none, "purse", "-2", "3.00") // was taken back
	fund(1, none, "purse", "-4", "5.00") // may still come
	fund(1, none, "purse", "", "5.00")
	fund(1, none, "other", "-1", "5.00")
	fund(0, "5.00", "purse", "-1", "5.00")
	fund(0, "5.00", "purse", "-1", "5.00")
	h.wantAccount(ben, 5*dollar)
	h.wantSound()
}

// A reader may notice late that a card went, and another program may look at one
// that came: the command goes on when that is over.
func TestPulledCardThatIsNotThereYet(t *testing.T) {
	h := newHouse(t)
	h.issue(1, h.account(1, 100*dollar))
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	h.customer.later = []error{smartcard.ErrTorn, smartcard.ErrBusy, smartcard.ErrNoCard, smartcard.ErrBusy}
	h.customer.tearAt(tear{purse.Debit, 1, true})
	h.wantNo(1, "the card was pulled out, and it is known now", "pay", "5.00")
	h.want("nothing is undecided", "status")
	h.customer.fails = []error{smartcard.ErrBusy}
	h.want("Paid 1.00 USD", "pay", "1.00")
	if got := h.balance(); got != 14_00 {
		t.Errorf("there are %d cents on the card", got)
	}
	h.wantSound()
}

// A card that is pulled out before an order reached it has paid nothing.
func TestPulledBeforeTheOrder(t *testing.T) {
	h := newHouse(t)
	h.issue(1, h.account(1, 100*dollar))
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	h.customer.tearAt(tear{purse.StartPay, 1, true})
	h.wantNo(1, "nothing was moved: the card was pulled out", "pay", "5.00")
	h.want("nothing is undecided", "status")
	if got := h.balance(); got != 20_00 {
		t.Errorf("there are %d cents on the card", got)
	}
}

// A PIN that cannot be one is not shown to the card, a wrong one uses up a try,
// and after three nobody can load it.
func TestPINs(t *testing.T) {
	h := newHouse(t)
	h.issue(1, h.account(1, 100*dollar))
	wrong := filepath.Join(h.folder, "wrong-pin")
	write := func(content string, mode os.FileMode) {
		t.Helper()
		if err := os.Remove(wrong); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(wrong, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	h.wantNo(2, "call this from a terminal, or name the PIN's file", "load", "5.00")
	for _, content := range []string{"111", "111111111", "11a1", "11 1"} {
		write(content, 0o600)
		h.wantNo(2, "4 to 8 digits and nothing else: it was not shown", "load", "5.00", "--pin-file", wrong)
	}
	write(testPIN, 0o644)
	h.wantNo(2, "may be read by others", "load", "5.00", "--pin-file", wrong)
	write("2222", 0o600)
	h.wantNo(1, "the PIN is wrong: 2 tries are left", "load", "5.00", "--pin-file", wrong)
	h.want("Loaded", "load", "5.00", "--pin-file", h.pinFile())
	for _, sentence := range []string{"2 tries are left", "1 try is left", "the PIN was wrong too often"} {
		h.wantNo(1, sentence, "load", "5.00", "--pin-file", wrong)
	}
	h.wantNo(1, "the PIN was wrong too often", "load", "5.00", "--pin-file", h.pinFile())
	h.want("Paid 5.00 USD", "pay", "5.00")
}

// A card that is pulled out while it is loaded has the money, or its account has.
func TestPulledWhileLoaded(t *testing.T) {
	cases := []struct {
		name    string
		tear    tear
		balance uint32
		account money.Amount
	}{
		{"before it began", tear{purse.InitLoad, 1, false}, 0, 100 * dollar},
		{"before it took the load", tear{purse.Credit, 1, false}, 0, 100 * dollar},
		{"after it took the load", tear{purse.Credit, 1, true}, 20_00, 80 * dollar},
	}
	h := newHouse(t)
	for k, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h.t = t
			number := byte(k + 1)
			account := h.account(number, 100*dollar)
			h.issue(number, account)
			h.customer.tearAt(c.tear)
			if got := h.say("load", "20.00", "--pin-file", h.pinFile()); got.code != 1 || !strings.Contains(got.stderr, "pulled out") {
				t.Errorf("got %+v", got)
			}
			h.want("", "resolve")
			h.want("nothing is undecided", "status")
			if got := h.balance(); got != c.balance {
				t.Errorf("there are %d cents on the card, want %d", got, c.balance)
			}
			h.wantAccount(account, c.account)
		})
	}
	h.t = t
	h.wantSound()
}

// What clearing or broker did and could not say is done once, and found out.
func TestLostAnswers(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.account(1, 100*dollar), h.account(2, 0)
	h.issue(1, anna)
	h.clearingDoor.lose("/v1/loads")
	h.want("Loaded 20.00 USD", "load", "20.00", "--pin-file", h.pinFile())
	for _, lost := range []struct {
		door *door
		path string
	}{{h.clearingDoor, "/v1/payments"}, {h.brokerDoor, "/v1/gateway/fundings"}} {
		lost.door.lose(lost.path)
		got := h.say("fund", ben, "5.00")
		if got.code != 1 || !strings.Contains(got.stdout, "NOT YET") || !strings.Contains(got.stderr, "the rest waits: ") {
			t.Errorf("%s: got %+v", lost.path, got)
		}
		h.want("tried again", "status")
		h.want("account", "resolve")
		h.want("nothing is undecided", "status")
	}
	h.wantAccount(ben, 10*dollar)
	h.wantAccount(anna, 80*dollar)
	h.clearingDoor.lose("/v1/batches")
	h.wantNo(1, "cannot be reached", "turnin")
	h.want("is closed and has to be turned in", "status")
	h.want("Turned in batch 1", "turnin")
	h.wantSound()
}

// liar is a white card that says that it has a holder.
type liar struct{ chip }

func (l liar) Transmit(command []byte) ([]byte, error) {
	answer, err := l.chip.Transmit(command)
	if err == nil && purse.Instruction(command[1]) == purse.GetData && len(answer) > 16 {
		answer[8] = 0xA0
	}
	if purse.Instruction(command[1]) == purse.Verify {
		return []byte{0x90, 0x00}, nil
	}
	return answer, err
}

// Nobody gets money for a white card that says that it is none: no cash was paid.
func TestWhiteCardThatLies(t *testing.T) {
	h := newHouse(t)
	h.customer.put(liar{h.issue(1, "")})
	h.wantNo(1, "this is a white card", "load", "50.00", "--pin-file", h.pinFile())
	s := h.serve()
	got := h.atHome(s, relay.Hello{Intent: relay.Load, Amount: 50 * dollar, Currency: "usd-micro"})
	if got.Outcome != relay.Failed || !strings.Contains(got.Sentence, "white card") {
		t.Errorf("at home: %+v", got)
	}
	got = h.atHome(s, relay.Hello{Intent: relay.Unload, Amount: dollar, Currency: "usd-micro"})
	if got.Outcome != relay.Failed || !strings.Contains(got.Sentence, "white card") {
		t.Errorf("unloading at home: %+v", got)
	}
	s.end()
	if got := h.balance(); got != 0 {
		t.Errorf("there are %d cents on the card", got)
	}
	h.wantSound()
}

// stopAt cancels a context when a text is written.
type stopAt struct {
	lockedBuffer
	text string
	stop context.CancelFunc
}

// Write implements io.Writer.
func (s *stopAt) Write(text []byte) (int, error) {
	if strings.Contains(string(text), s.text) {
		s.stop()
	}
	return s.lockedBuffer.Write(text)
}

// Whoever breaks a command off while it waits for a card is told what that means.
func TestBrokenOff(t *testing.T) {
	h := newHouse(t)
	ctx, stop := context.WithCancel(t.Context())
	stderr := &stopAt{text: "Put the card into the reader Customer 00", stop: stop}
	code := samgateway.Main(ctx, h.machine, []string{"pay", "1.00", "--config", h.config}, strings.NewReader(""), io.Discard, stderr)
	if code != 1 || !strings.Contains(stderr.String(), "it was broken off; what is not decided") {
		t.Errorf("got exit code %d and %s", code, stderr.String())
	}
}

// modest is a card that says that it may pay one cent at once.
type modest struct{ chip }

func (m modest) Transmit(command []byte) ([]byte, error) {
	answer, err := m.chip.Transmit(command)
	if err != nil || purse.Instruction(command[1]) != purse.GetData || command[2] != 0 || len(answer) != purse.CardDataLength+2 {
		return answer, err
	}
	data, err := purse.ParseCardData(answer[:purse.CardDataLength])
	if err != nil {
		return nil, err
	}
	data.MaxPayment = 1
	return append(data.Append(nil), 0x90, 0x00), nil
}

// How much a card says that it may pay at once does not keep everybody else busy.
func TestUnloadInManySmallPayments(t *testing.T) {
	h := newHouse(t)
	anna := h.account(1, 100*dollar)
	h.customer.put(modest{h.issue(1, anna)})
	h.want("Loaded", "load", "0.52", "--pin-file", h.pinFile())
	h.want("transaction 50", "unload")
	if got := h.balance(); got != 2 {
		t.Errorf("there are %d cents on the card, want 2", got)
	}
	h.want("transaction 52", "unload")
	h.wantAccount(anna, 100*dollar)
	h.wantSound()
}
