package kiosk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/kiosk"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// booth is a kiosk without a network: everything goes through its handler.
type booth struct {
	t       *testing.T
	kiosk   *kiosk.Kiosk
	slot    *slot
	desk    *fakeDesk
	cards   map[string]*fakeCard
	log     bytes.Buffer
	last    shown
	present *fakeCard
}

type shown struct {
	Session, Name, Language, HTML string
	Number                        uint64
}

func openBooth(t *testing.T) *booth {
	t.Helper()
	b := &booth{t: t, slot: newSlot(), desk: newDesk(), cards: make(map[string]*fakeCard)}
	var err error
	b.kiosk, err = kiosk.New(kiosk.Config{Find: b.slot.find, Desk: b.desk, Location: time.UTC, Log: slog.New(slog.NewTextHandler(&b.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { defer close(ran); b.kiosk.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ran })
	return b
}

// lookAt returns what the page shows now.
func (b *booth) lookAt() shown {
	b.t.Helper()
	synctest.Wait()
	ctx, stop := context.WithCancel(b.t.Context())
	defer stop()
	recorder := httptest.NewRecorder()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.kiosk.ServeHTTP(recorder, httptest.NewRequest("GET", "http://127.0.0.1:8437/events", nil).WithContext(ctx))
	}()
	synctest.Wait()
	stop()
	<-ended
	_, data, found := strings.Cut(recorder.Body.String(), "event: screen\ndata: ")
	if !found {
		b.t.Fatalf("got %d %q; want a screen", recorder.Code, recorder.Body)
	}
	var now shown
	if err := json.Unmarshal([]byte(data), &now); err != nil {
		b.t.Fatal(err)
	}
	b.last = now
	b.checkDiscretion()
	return now
}

// checkDiscretion fails if a screen shows what it must not: a PIN ever, or
// anything of a card when none is in the reader.
func (b *booth) checkDiscretion() {
	b.t.Helper()
	secrets := []string{"1111", "9999"}
	if b.present == nil {
		secrets = append(secrets, "12.34", "20.00", "5.00", "32.34", "7.34", "qwer", "C1000000")
	}
	for _, secret := range secrets {
		if strings.Contains(b.last.HTML, secret) {
			b.t.Errorf("screen %s shows %q: %s", b.last.Name, secret, b.last.HTML)
		}
	}
}

// post sends a request as the page does and returns the status.
func (b *booth) post(path, body string) int {
	request := httptest.NewRequest("POST", "http://127.0.0.1:8437"+path, strings.NewReader(body))
	request.Header.Set("Origin", "http://127.0.0.1:8437")
	recorder := httptest.NewRecorder()
	b.kiosk.ServeHTTP(recorder, request)
	return recorder.Code
}

// answer answers a screen.
func (b *booth) answer(to shown, action, body string) int {
	return b.post(fmt.Sprintf("/sessions/%s/screens/%d/%s", to.Session, to.Number, action), body)
}

// step does one step of a dialogue:
//
//	insert A    put card A in           pull        take it out
//	> load      answer the screen       = menu      this screen is shown
//	~ 12.34     the screen says this    ! 12.34     it does not
//	wait 60s    time passes             go on       what waits goes on
//	forget      nobody knows what was open
//	offers X    it can be answered by X lacks X     it cannot
func (b *booth) step(step string) {
	b.t.Helper()
	word, rest, _ := strings.Cut(step, " ")
	switch word {
	case "insert":
		b.present = b.cards[rest]
		b.slot.insert(b.present)
	case "pull":
		b.present = nil
		b.slot.pull()
	case ">":
		action, body, _ := strings.Cut(rest, " ")
		if code := b.answer(b.last, action, body); code != http.StatusNoContent {
			b.t.Fatalf("step %q at screen %s: got %d", step, b.last.Name, code)
		}
	case "=":
		if now := b.lookAt(); now.Name != rest {
			b.t.Fatalf("got screen %s, want %s: %s\nlog: %s", now.Name, rest, now.HTML, &b.log)
		}
	case "~", "!":
		if plain := strings.Join(strings.Fields(b.lookAt().HTML), " "); strings.Contains(plain, strings.Join(strings.Fields(rest), " ")) != (word == "~") {
			b.t.Fatalf("step %q: the screen is %s", step, plain)
		}
	case "offers", "lacks":
		if strings.Contains(b.lookAt().HTML, `data-action="`+rest+`"`) != (word == "offers") {
			b.t.Fatalf("step %q: the screen is %s", step, b.last.HTML)
		}
	case "wait":
		length, err := time.ParseDuration(rest)
		if err != nil {
			b.t.Fatal(err)
		}
		<-time.After(length) // of the bubble
	case "forget": // nobody but the card knows what was open
		b.cards["A"].left = nil
	case "go":
		close(b.desk.hold)
	default:
		b.t.Fatalf("no step %q", step)
	}
}

var errNetwork = errors.New("dial tcp 192.0.2.1:443: no route to host")

// TestDialogues goes through what customers do.
func TestDialogues(t *testing.T) {
	cases := []struct {
		name  string
		setUp func(b *booth, a *fakeCard)
		steps string
		did   []string // what the desk was asked for
		check func(t *testing.T, b *booth, a *fakeCard)
	}{
		{name: "balance", steps: "= start; insert A; = menu; ~ On your card: €12.34; offers load; offers fund; offers unload; offers payments; > end; = take; ! 12.34; pull; = start"},
		{name: "pulled at the menu", steps: "insert A; = menu; pull; = start"},
		{
			name: "load", did: []string{"verify 4", "load 2000"},
			steps: "insert A; = menu; > load; = amount; ~ €187.66; > choose 2000; = pin; ~ To load €20.00; > pin 1111; = done; ~ €20.00 has been loaded; ~ Now on your card: €32.34; > back; = menu; ~ €32.34; pull; = start",
		},
		{
			name: "load of a typed amount", did: []string{"verify 4", "load 500"},
			steps: "insert A; = menu; > load; = amount; > text five; = amount; ~ That is no amount; ~ five; > text 1000; = amount; ~ €187.66 is the most; > text 0; = amount; ~ above 0; > text 5,00; = pin; > pin 1111; = done",
		},
		{
			name: "a wrong PIN", did: []string{"verify 4", "verify 4", "verify 4", "load 2000"},
			steps: "insert A; = menu; > load; = amount; > choose 2000; = pin; ! Tries left; > pin 9999; = pin; ~ Tries left: 2; > pin 9999; = pin; ~ last try; > pin 1111; = done",
		},
		{
			name: "a PIN that gets blocked", did: []string{"verify 4", "verify 4", "verify 4"},
			steps: "insert A; = menu; > load; = amount; > choose 2000; = pin; > pin 9999; = pin; > pin 9999; = pin; > pin 9999; = refused; ~ blocked; > back; = menu; ~ blocked; > load; = amount; > choose 2000; = refused; > end; = take",
		},
		{
			name: "what can be no PIN is not tried", did: nil,
			steps: "insert A; = menu; > payments; = pin; > pin 123; = pin; ~ 4 to 8; > pin 12a4; = pin; > pin 123456789; = pin; > back; = menu",
		},
		{
			name: "payments", did: []string{"verify 4", "load 500"},
			setUp: func(_ *booth, a *fakeCard) {
				a.payments = []kiosk.Payment{{Time: noon, Amount: 734, Unit: euro, Merchant: a.purse.ID}}
			},
			steps: "insert A; = menu; > payments; = pin; > pin 1111; = payments; ~ 1 November 2026, 12:05; ~ €7.34; > back; = menu; > load; = amount; > choose 500; = confirm; > go; = done",
		},
		{name: "no payments", steps: "insert A; = menu; > payments; = pin; > pin 1111; = payments; ~ has not paid yet", did: []string{"verify 4"}},
		{
			name: "the card forgot its PIN", did: []string{"verify 4", "verify 4", "load 500"},
			setUp: func(b *booth, _ *fakeCard) { b.desk.pinAgain = true },
			steps: "insert A; = menu; > load; = amount; > choose 500; = pin; > pin 1111; = pin; > pin 1111; = done",
		},
		{
			name: "fund", did: []string{"fund 500"},
			steps: "insert A; = menu; > fund; = account; > text qwert; = account; ~ 16 characters; > text zzzzzzzzzzzzzzzz; = amount; > choose 500; = account; ~ no such account; > text QWER tyui-op23 4567; = amount; ~ €12.34; > choose 500; = confirm; ~ Pay €5.00; ~ qwer\u2009tyui; > go; = done; ~ €5.00 has been paid in; ~ €7.34",
			check: func(t *testing.T, b *booth, _ *fakeCard) {
				if b.desk.accounts[goodAccount] != 500 {
					t.Errorf("got %d on the account", b.desk.accounts[goodAccount])
				}
			},
		},
		{name: "fund and back", steps: "insert A; = menu; > fund; = account; > text qwertyuiop234567; = amount; > back; = account; ~ qwer; > back; = menu"},
		{name: "fund, not after all", steps: "insert A; = menu; > fund; = account; > text qwertyuiop234567; = amount; > choose 500; = confirm; > back; = menu"},
		{name: "unload", did: []string{"unload 1234"}, steps: "insert A; = menu; > unload; = confirm; ~ Take €12.34 off; > go; = done; ~ Now on your card: €0.00; > back; = menu; lacks fund; lacks unload; offers load"},
		{name: "a white card", setUp: func(_ *booth, a *fakeCard) { a.purse.HasAccount = false }, steps: "insert A; = menu; lacks load; lacks unload; offers fund; ~ belongs to no account; > payments; = payments"},
		{name: "the account gets it later", setUp: func(b *booth, _ *fakeCard) { b.desk.late = true }, did: []string{"unload 1234"}, steps: "insert A; = menu; > unload; = confirm; > go; = done; ~ Your card has paid €12.34; ~ a little later"},
		{
			name: "paying makes the card forget the PIN", did: []string{"verify 4", "fund 500", "verify 4", "load 500"},
			steps: "insert A; = menu; > payments; = pin; > pin 1111; = payments; > back; = menu; > fund; = account; > text qwertyuiop234567; = amount; > choose 500; = confirm; > go; = done; > back; = menu; > load; = amount; > choose 500; = pin; > pin 1111; = done",
		},
		{name: "a full card", setUp: func(_ *booth, a *fakeCard) { a.purse.Balance = 20000 }, steps: "insert A; = menu; lacks load; offers fund"},
		{name: "a blocked card", setUp: func(_ *booth, a *fakeCard) { a.purse.IsBlocked = true }, steps: "insert A; = menu; ~ blocked this card; ~ 12.34; lacks load; lacks fund; lacks payments"},
		{name: "another kind of purse", setUp: func(_ *booth, a *fakeCard) { a.purse.ShowsBalanceOnly = true }, steps: "insert A; = balance; ~ 12.34; lacks load; > end; = take"},
		{name: "a foreign card", setUp: func(_ *booth, a *fakeCard) { a.read = smartcard.ErrForeign }, steps: "insert A; = foreign; wait 61s; = take; pull; = start"},
		{name: "a mute card", setUp: func(_ *booth, a *fakeCard) { a.connect = smartcard.ErrMute }, steps: "insert A; = mute; pull; = start"},
		{name: "a card that something else uses", setUp: func(_ *booth, a *fakeCard) { a.connect = smartcard.ErrBusy }, steps: "insert A; = again; pull; = start"},
		{name: "a card that does not answer", setUp: func(_ *booth, a *fakeCard) { a.read = smartcard.ErrTorn }, steps: "insert A; wait 3s; = again; pull; = start"},
		{name: "refused", setUp: func(b *booth, _ *fakeCard) { b.desk.fail = &kiosk.Refusal{Reason: kiosk.ReasonAccountShort} }, did: []string{"verify 4", "load 500"}, steps: "insert A; = menu; > load; = amount; > choose 500; = pin; > pin 1111; = refused; ~ too little on the account; > back; = menu"},
		{name: "failed", setUp: func(b *booth, _ *fakeCard) { b.desk.fail = errNetwork }, did: []string{"unload 1234"}, steps: "insert A; = menu; > unload; = confirm; > go; = failed; ~ Nothing was moved; ! 192.0.2.1; > back; = menu"},
		{name: "undecided", setUp: func(b *booth, _ *fakeCard) { b.desk.fail = kiosk.ErrUndecided }, did: []string{"unload 1234"}, steps: "insert A; = menu; > unload; = confirm; > go; wait 3s; = undecided; ~ Nothing is lost; > end; = take"},
		{name: "nobody answers about what is open", setUp: func(b *booth, _ *fakeCard) { b.desk.meetFail = errNetwork }, steps: "insert A; = resolved; ~ still open; > back; = menu"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := openBooth(t)
				a := newCard()
				b.cards["A"] = a
				if c.setUp != nil {
					c.setUp(b, a)
				}
				for step := range strings.SplitSeq(c.steps, "; ") {
					b.step(step)
				}
				if !slices.Equal(b.desk.log, c.did) {
					t.Errorf("the desk was asked for %q, want %q", b.desk.log, c.did)
				}
				if c.check != nil {
					c.check(t, b, a)
				}
				b.checkLog()
			})
		})
	}
}

// checkLog fails if the log says what it must not.
func (b *booth) checkLog() {
	b.t.Helper()
	for _, secret := range []string{"1111", "9999", "qwer", "C1000000"} {
		if strings.Contains(b.log.String(), secret) {
			b.t.Errorf("the log says %q: %s", secret, &b.log)
		}
	}
}

// TestPulledInTheMiddle pulls the card while something is done with it.
func TestPulledInTheMiddle(t *testing.T) {
	begin := map[kiosk.Kind]string{
		kiosk.Loading:   "insert A; = menu; > load; = amount; > choose 500; = pin; > pin 1111; = working; pull; = pulled; ~ put it in again",
		kiosk.Funding:   "insert A; = menu; > fund; = account; > text qwertyuiop234567; = amount; > choose 500; = confirm; > go; = working; pull; = pulled",
		kiosk.Unloading: "insert A; = menu; > unload; = confirm; > go; = working; pull; = pulled",
	}
	cases := []struct {
		name              string
		kind              kiosk.Kind
		tornDid, finishes bool
		steps             string
	}{
		{"a load that took place", kiosk.Loading, true, false, "insert A; = resolved; ~ loaded with €5.00; ~ Now on your card: €17.34; > back; = menu"},
		{"a load that did not", kiosk.Loading, false, false, "insert A; = resolved; ~ was not loaded; ~ Now on your card: €12.34; > end; = take"},
		{"a funding that took place", kiosk.Funding, true, false, "insert A; = resolved; ~ €5.00 has been paid into"},
		{"a funding that did not", kiosk.Funding, false, false, "insert A; = resolved; ~ was not paid in"},
		{"an unloading that took place", kiosk.Unloading, true, false, "insert A; = resolved; ~ €12.34 is back on your account"},
		{"a load that was not begun", kiosk.Loading, false, false, "forget; insert A; = resolved; ~ was not loaded; > back; = menu; pull; = start; insert A; = menu"},
		{"a load that somebody else settled", kiosk.Loading, true, false, "forget; insert B; = menu; ! loaded; pull; = start; insert A; = resolved; ~ loaded with €5.00"},
		{"a funding that somebody else settled", kiosk.Funding, true, false, "forget; insert A; = resolved; ~ has paid €5.00"},
		{"another card comes first", kiosk.Loading, true, false, "insert B; = menu; ! loaded; pull; = start; insert A; = resolved"},
		{"nobody comes back", kiosk.Loading, true, false, "wait 61s; = start"},
		{"the message was read", kiosk.Loading, true, false, "> back; = start"},
		{"it was finished", kiosk.Loading, true, true, "= pulled-done; ! 5.00; wait 61s; = start; insert A; = menu; ~ €17.34"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := openBooth(t)
				b.cards["A"], b.cards["B"] = newCard(), newCard()
				b.cards["B"].purse.ID = purse.ID{0xC1, 7: 2}
				b.desk.hold, b.desk.tornDid, b.desk.finishes = make(chan struct{}), c.tornDid, c.finishes
				first := begin[c.kind]
				if c.finishes {
					first = strings.TrimSuffix(first, "; = pulled; ~ put it in again")
				}
				for step := range strings.SplitSeq(first+"; "+c.steps, "; ") {
					b.step(step)
				}
				b.checkLog()
			})
		})
	}
}

// TestIdle leaves the kiosk alone.
func TestIdle(t *testing.T) {
	cases := []struct{ name, steps string }{
		{"somebody is there", "insert A; = menu; wait 61s; = still-there; ! 12.34; > go; = menu; ~ 12.34"},
		{"nobody is there", "insert A; = menu; wait 61s; = still-there; wait 21s; = take; ! 12.34; pull; = start"},
		{"at the PIN", "insert A; = menu; > payments; = pin; wait 81s; = take"},
		{"pulled at the question", "insert A; = menu; wait 61s; = still-there; pull; = start"},
		{"the question is a way out", "insert A; = menu; wait 61s; = still-there; > end; = take"},
		{"after it was done", "insert A; = menu; > unload; = confirm; > go; = done; wait 81s; = take"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := openBooth(t)
				b.cards["A"] = newCard()
				for step := range strings.SplitSeq(c.steps, "; ") {
					b.step(step)
				}
			})
		})
	}
}

// TestTypingKeepsTheScreen types slowly.
func TestTypingKeepsTheScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBooth(t)
		b.cards["A"] = newCard()
		b.step("insert A")
		b.step("= menu")
		for range 4 {
			b.step("wait 40s")
			if code := b.post("/sessions/"+b.last.Session+"/touch", ""); code != http.StatusNoContent {
				t.Fatalf("got %d", code)
			}
			b.step("= menu")
		}
	})
}

// TestPulledWhileServersAreAsked pulls the card while nothing moves and something
// takes long: the screen is empty at once.
func TestPulledWhileServersAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBooth(t)
		b.cards["A"] = newCard()
		b.desk.checks = make(chan struct{})
		for _, step := range []string{"insert A", "= menu", "> fund", "= account", "> text qwertyuiop234567", "= amount", "> choose 500", "= checking", "pull", "= start"} {
			b.step(step)
		}
	})
}

// TestLateAnswers answers screens that are gone.
func TestLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBooth(t)
		b.cards["A"], b.cards["B"] = newCard(), newCard()
		for _, step := range []string{"insert A", "= menu", "> unload", "= confirm"} {
			b.step(step)
		}
		late := b.last
		b.step("pull")
		b.step("= start")
		b.step("insert B")
		b.step("= menu")
		b.step("> unload")
		b.step("= confirm")
		now := b.last
		for name, to := range map[string]shown{
			"the session of before": {Session: late.Session, Number: now.Number},
			"the screen of before":  {Session: now.Session, Number: now.Number - 1},
			"the whole of before":   late,
		} {
			if code := b.answer(to, "go", ""); code != http.StatusConflict {
				t.Errorf("%s: got %d, want 409", name, code)
			}
		}
		if code := b.answer(now, "load", ""); code != http.StatusConflict {
			t.Errorf("what the screen does not offer: got %d, want 409", code)
		}
		if code := b.answer(now, "go", ""); code != http.StatusNoContent {
			t.Errorf("the screen itself: got %d, want 204", code)
		}
		if code := b.answer(now, "go", ""); code != http.StatusConflict {
			t.Errorf("twice: got %d, want 409", code)
		}
		b.step("= done")
		if want := []string{"unload 1234"}; !slices.Equal(b.desk.log, want) {
			t.Errorf("the desk was asked for %q, want %q", b.desk.log, want)
		}
	})
}

// TestPINPad enters the PIN at the reader.
func TestPINPad(t *testing.T) {
	cases := []struct {
		name  string
		pad   []uint16
		steps string
	}{
		{"right", []uint16{0x9000}, "insert A; = menu; > load; = amount; > choose 500; = done"},
		{"wrong, then right", []uint16{0x63C2, 0x9000}, "insert A; = menu; > load; = amount; > choose 500; = done"},
		{"blocked", []uint16{0x63C1, 0x63C0}, "insert A; = menu; > load; = amount; > choose 500; = refused; ~ blocked"},
		{"cancelled at the reader", []uint16{0x6401}, "insert A; = menu; > load; = amount; > choose 500; = menu"},
		{"no pad after all", []uint16{}, "insert A; = menu; > load; = amount; > choose 500; = pin; > pin 1111; = done"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := openBooth(t)
				a := newCard()
				a.pad = c.pad
				b.cards["A"] = a
				for step := range strings.SplitSeq(c.steps, "; ") {
					b.step(step)
				}
			})
		})
	}
}

// TestReaderGone unplugs the reader.
func TestReaderGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBooth(t)
		b.cards["A"] = newCard()
		b.step("= start")
		b.slot.fail(smartcard.ErrGone)
		b.step("= out-of-order")
		b.slot.fail(nil)
		b.step("wait 3s")
		b.step("= start")
		b.step("insert A")
		b.step("= menu")
		b.present = nil
		b.slot.fail(smartcard.ErrNoService)
		b.step("= out-of-order")
		b.slot.fail(nil)
		b.step("wait 3s")
		b.present = b.cards["A"]
		b.step("= menu")
	})
}

// TestLanguage changes the language, which lasts as long as the customer does.
func TestLanguage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBooth(t)
		b.cards["A"] = newCard()
		b.step("= start")
		speak := func(tag string, want int) {
			t.Helper()
			if code := b.post("/sessions/"+b.last.Session+"/language", tag); code != want {
				t.Fatalf("language %s: got %d, want %d", tag, code, want)
			}
		}
		speak("de", http.StatusNoContent)
		b.step("~ Bitte Karte einstecken")
		speak("xx", http.StatusConflict)
		b.step("insert A")
		b.step("= menu")
		b.step("~ Auf Ihrer Karte: 12,34\u00a0€")
		number := b.last.Number
		speak("fr", http.StatusNoContent)
		b.step("~ Sur votre carte\u00a0: 12,34\u00a0€")
		if b.last.Number != number || b.last.Language != "fr" {
			t.Errorf("got screen %d in %s, want %d in fr", b.last.Number, b.last.Language, number)
		}
		b.step("pull")
		b.step("= start")
		b.step("~ Please insert")
		speak("de", http.StatusNoContent)
		b.step("wait 61s")
		b.step("~ Please insert")
	})
}
