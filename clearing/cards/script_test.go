package cards_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/money"
)

// realCard is a card that takes commands, in a terminal.
type realCard struct {
	*purse.Card
	o       *office
	id      purse.ID
	skipped int // scripts that the terminal does not bring
}

// purseCard issues a card as the office and its personalisation do.
func (o *office) purseCard(number int, account string) *realCard {
	o.t.Helper()
	soft := o.card(number, account)
	issue := purse.CardIssue{Keys: o.keys, Card: soft.ID, Holder: soft.Holder, KeyVersion: 1, Unit: cents, MaxBalance: 200_00, MaxPayment: 100_00}
	if account != "" {
		issue.PIN = pursetest.PIN
	}
	c := &realCard{Card: pursetest.NewCard(o.t, issue), o: o, id: soft.ID}
	c.send(purse.Done, purse.Command(purse.Select, 4, 0, []byte(purse.CardAID)))
	return c
}

// send sends a command and wants a status.
func (c *realCard) send(want purse.StatusWord, command []byte) []byte {
	c.o.t.Helper()
	answer, err := c.Transmit(command)
	if err != nil {
		c.o.t.Fatal(err)
	}
	data, status, err := purse.Answer(answer)
	if err != nil || status != want {
		c.o.t.Fatalf("%X: %04X (%v), want %04X", command[:4], uint16(status), err, uint16(want))
	}
	return data
}

func (c *realCard) skip(count int) { c.skipped = count }

// runScripts brings the card what waits for it, and its answers back, twice.
func (c *realCard) runScripts() (done int) {
	c.o.t.Helper()
	commands, refusal, err := c.o.Scripts(c.o.t.Context(), c.id)
	if err != nil || refusal != nil {
		c.o.t.Fatalf("%v (%v)", refusal, err)
	}
	for _, command := range commands[min(c.skipped, len(commands)):] {
		answer := c.send(purse.Done, command)
		for range 2 {
			script, refusal, err := c.o.ScriptDone(c.o.t.Context(), c.id, answer)
			if err != nil || refusal != nil || script.State != "done" {
				c.o.t.Fatalf("%+v %v (%v)", script, refusal, err)
			}
		}
		done++
	}
	c.skipped = 0
	return done
}

func (o *office) addScript(card purse.ID, order cards.ScriptOrder) cards.Script {
	o.t.Helper()
	script, refusal, err := o.AddScript(o.t.Context(), card, order, "anna")
	if err != nil || refusal != nil {
		o.t.Fatalf("%v (%v)", refusal, err)
	}
	return script
}

func (o *office) shown(card purse.ID) cards.Statement {
	o.t.Helper()
	shown, err := o.Show(o.t.Context(), card)
	if err != nil {
		o.t.Fatal(err)
	}
	return shown
}

// A real card does what waits for it, in the order of the numbers.
func TestScripts(t *testing.T) {
	o := newOffice(t)
	account := o.account(1, 300*money.Unit)
	card := o.purseCard(1, account)
	start := purse.Command(purse.StartPay, 0, 0, make([]byte, 29))
	if first := o.addScript(card.id, cards.ScriptOrder{Kind: purse.BlockCard}); first.Count != 1 || first.State != "waiting" {
		t.Errorf("got %+v", first)
	}
	if card.runScripts() != 1 {
		t.Error("one waits")
	}
	card.send(purse.CardBlocked, start)
	o.addScript(card.id, cards.ScriptOrder{Kind: purse.UnblockCard})
	o.addScript(card.id, cards.ScriptOrder{Kind: purse.SetPIN, PIN: "111111"})
	o.addScript(card.id, cards.ScriptOrder{Kind: purse.SetLimits, MaxBalance: 50 * money.Unit, MaxPayment: 20 * money.Unit})
	if done := card.runScripts(); done != 3 {
		t.Errorf("%d were done", done)
	}
	card.send(purse.Done, purse.Command(purse.Verify, 0, 0x80, []byte("111111")))
	data, err := purse.ParseCardData(card.send(purse.Done, purse.Command(purse.GetData, 0, 0, nil)))
	if err != nil || data.MaxBalance != 50_00 || data.MaxPayment != 20_00 {
		t.Errorf("%+v (%v)", data, err)
	}
	soft := o.softCard(card.id, data.Holder)
	request, answer := ask(soft, 50_01)
	_, refusal, err := o.AuthoriseLoad(t.Context(), request, answer)
	wantRefusal(t, refusal, err, cards.OverLimit)
	if card.runScripts() != 0 {
		t.Error("something waits")
	}
	scripts := o.shown(card.id).Scripts
	if len(scripts) != 4 || scripts[0].Kind != "limits" || scripts[0].State != "done" || scripts[0].Ended == nil || scripts[3].Kind != "block" {
		t.Errorf("got %+v", scripts)
	}
	// No PIN stands in what is kept or said.
	for _, line := range o.audit {
		if strings.Contains(line, "111111") {
			t.Errorf("a PIN in the audit log: %s", line)
		}
	}
	var kept []byte
	err = o.db.View(t.Context(), func(tx *ledger.Tx) error {
		return tx.QueryRowContext(t.Context(), `SELECT command FROM cards_scripts WHERE kind = 4`).Scan(&kept)
	})
	if err != nil || bytes.Contains(kept, []byte("111111")) {
		t.Errorf("the PIN is kept: %X (%v)", kept, err)
	}
	o.wantSound()
}

// What a card has passed is not done any more, and what it says is checked.
func TestScriptAnswers(t *testing.T) {
	o := newOffice(t)
	card, other := o.purseCard(1, o.account(1, 0)), o.purseCard(2, "")
	for _, kind := range []purse.ScriptKind{purse.BlockCard, purse.UnblockCard} {
		o.addScript(card.id, cards.ScriptOrder{Kind: kind})
		o.addScript(other.id, cards.ScriptOrder{Kind: kind})
	}
	commands, _, err := o.Scripts(t.Context(), other.id)
	if err != nil || len(commands) != 2 {
		t.Fatalf("%X (%v)", commands, err)
	}
	foreign := other.send(purse.Done, commands[0])
	_, refusal, err := o.ScriptDone(t.Context(), card.id, foreign)
	wantRefusal(t, refusal, err, cards.WrongLoadMAC)
	_, refusal, err = o.ScriptDone(t.Context(), card.id, append([]byte{0, 0, 0, 9}, foreign[4:]...))
	wantRefusal(t, refusal, err, cards.UnknownScript)
	_, refusal, err = o.ScriptDone(t.Context(), card.id, foreign[:19])
	wantRefusal(t, refusal, err, purse.Malformed)
	card.skip(1)
	card.runScripts()
	if scripts := o.shown(card.id).Scripts; scripts[0].State != "done" || scripts[1].State != "passed" {
		t.Errorf("got %+v", scripts)
	}
	// Its answer to the first one was lost, and comes after that to the second.
	if _, refusal, err = o.ScriptDone(t.Context(), other.id, other.send(purse.Done, commands[1])); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	if _, refusal, err = o.ScriptDone(t.Context(), other.id, foreign); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	if scripts := o.shown(other.id).Scripts; scripts[0].State != "done" || scripts[1].State != "done" {
		t.Errorf("got %+v", scripts)
	}
	o.wantSound()
}

// What a card cannot do, or is too much, is not made.
func TestScriptsThatAreNotMade(t *testing.T) {
	o := newOffice(t)
	white := o.card(1, "")
	for _, c := range []struct {
		name  string
		card  purse.ID
		order cards.ScriptOrder
		want  purse.Reason
	}{
		{"a card that nobody issued", cardID(9), cards.ScriptOrder{Kind: purse.BlockCard}, cards.UnknownCard},
		{"nothing", white.ID, cards.ScriptOrder{}, cards.WrongScript},
		{"a PIN for a white card", white.ID, cards.ScriptOrder{Kind: purse.SetPIN, PIN: "111111"}, cards.WrongScript},
		{"too much", white.ID, cards.ScriptOrder{Kind: purse.SetLimits, MaxBalance: 200*money.Unit + cent, MaxPayment: cent}, cards.WrongScript},
		{"more at once", white.ID, cards.ScriptOrder{Kind: purse.SetLimits, MaxBalance: cent, MaxPayment: 2 * cent}, cards.WrongScript},
		{"half a cent", white.ID, cards.ScriptOrder{Kind: purse.SetLimits, MaxBalance: money.Unit, MaxPayment: cent / 2}, cards.WrongScript},
	} {
		_, refusal, err := o.AddScript(t.Context(), c.card, c.order, "anna")
		if wantRefusal(t, refusal, err, c.want); t.Failed() {
			t.Fatal(c.name)
		}
	}
	owned := o.card(2, o.account(1, 0))
	_, refusal, err := o.AddScript(t.Context(), owned.ID, cards.ScriptOrder{Kind: purse.SetPIN, PIN: "11112222333"}, "anna")
	if wantRefusal(t, refusal, err, cards.WrongScript); refusal != nil && strings.Contains(refusal.Detail, "1111") {
		t.Errorf("the PIN is in a refusal: %v", refusal)
	}
	if _, _, err := o.AddScript(t.Context(), white.ID, cards.ScriptOrder{Kind: purse.BlockCard}, ""); err == nil {
		t.Error("a script of nobody's is made")
	}
	for range 16 {
		o.addScript(white.ID, cards.ScriptOrder{Kind: purse.BlockCard})
	}
	_, refusal, err = o.AddScript(t.Context(), white.ID, cards.ScriptOrder{Kind: purse.BlockCard}, "anna")
	wantRefusal(t, refusal, err, cards.TooManyScripts)
	// A report does not fail for that.
	if err := o.ReportCard(t.Context(), white.ID, false, "cash desk 1"); err != nil {
		t.Error(err)
	}
	o.wantSound()
}

// A card that is reported blocks itself at the next terminal, and one that is
// found again is unblocked, unless an operator has blocked it.
func TestReportedCardsBlockThemselves(t *testing.T) {
	o := newOffice(t)
	card := o.purseCard(1, "")
	report := func() {
		t.Helper()
		if err := o.ReportCard(t.Context(), card.id, false, "cash desk 1"); err != nil {
			t.Fatal(err)
		}
	}
	found := func() {
		t.Helper()
		if err := o.FoundCard(t.Context(), card.id); err != nil {
			t.Fatal(err)
		}
		card.runScripts()
	}
	start := purse.Command(purse.StartPay, 0, 0, make([]byte, 29))
	report()
	card.runScripts()
	card.send(purse.CardBlocked, start)
	found()
	card.send(purse.WrongData, start) // it makes no sense, but is looked at
	report()
	o.addScript(card.id, cards.ScriptOrder{Kind: purse.BlockCard})
	found()
	card.send(purse.CardBlocked, start)
	scripts := o.shown(card.id).Scripts
	if len(scripts) != 4 || scripts[0].Operator != "anna" || scripts[1].Operator != "" {
		t.Errorf("got %+v", scripts)
	}
	o.wantSound()
}

// Terminals fetch scripts and bring answers over HTTP, signed.
func TestHandlerForScripts(t *testing.T) {
	o := newOffice(t)
	h, key := o.handler(), o.gateway("purse", 0)
	card := o.purseCard(1, "")
	path := "/v1/cards/" + card.id.String() + "/scripts"
	o.addScript(card.id, cards.ScriptOrder{Kind: purse.BlockCard})
	if status, answer := answered(t, h, "GET", path, "192.0.2.1:1", nil); status != 401 {
		t.Errorf("unsigned: %d %v", status, answer)
	}
	status, answer := o.signedAnswer(h, key, "GET", path, nil)
	listed, _ := answer["scripts"].([]any)
	if status != 200 || len(listed) != 1 {
		t.Fatalf("got %d %v", status, answer)
	}
	command, err := hex.DecodeString(fmt.Sprint(listed[0]))
	if err != nil {
		t.Fatal(err)
	}
	said := card.send(purse.Done, command)
	if status, answer := answered(t, h, "POST", path, "192.0.2.1:1", said); status != 401 {
		t.Errorf("unsigned: %d %v", status, answer)
	}
	for range 2 {
		if status, answer := o.signedAnswer(h, key, "POST", path, said); status != 200 || answer["isDone"] != true || answer["count"] != 1.0 {
			t.Errorf("got %d %v", status, answer)
		}
	}
	status, answer = o.signedAnswer(h, key, "GET", path, nil)
	if listed, isList := answer["scripts"].([]any); status != 200 || !isList || len(listed) != 0 {
		t.Errorf("got %d %v", status, answer)
	}
	for _, c := range []struct {
		method, path string
		body         []byte
		status       int
	}{
		{"POST", path, said[:19], 422}, {"POST", path, make([]byte, 21), 413}, {"POST", path, make([]byte, 20), 404},
		{"GET", "/v1/cards/" + cardID(9).String() + "/scripts", nil, 404}, {"GET", "/v1/cards/x/scripts", nil, 422},
	} {
		if status, answer := o.signedAnswer(h, key, c.method, c.path, c.body); status != c.status || answer["detail"] == "" {
			t.Errorf("%s %s: %d %v, want %d", c.method, c.path, status, answer, c.status)
		}
	}
	o.wantSound()
}
