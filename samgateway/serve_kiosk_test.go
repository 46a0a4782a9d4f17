package samgateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/purse/geldkarte"
)

// visitor stands before the kiosk. Its page is a stream of screens.
type visitor struct {
	t      testing.TB
	origin string
	hangUp func()
	lines  *bufio.Scanner
	now    struct {
		Session, Name, HTML string
		Number              uint64
	}
}

// visit opens the page of a kiosk.
func (s *serving) visit() *visitor {
	s.t.Helper()
	v := &visitor{t: s.t, origin: "http://" + s.ports["the kiosk"]}
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, v.origin+"/events", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	v.hangUp = func() { _ = answer.Body.Close() }
	s.t.Cleanup(v.hangUp)
	v.lines = bufio.NewScanner(answer.Body)
	v.lines.Buffer(nil, 1<<20)
	return v
}

// see waits for a screen, which must say all that.
func (v *visitor) see(name string, says ...string) {
	v.t.Helper()
	patience := time.AfterFunc(20*time.Second, v.hangUp)
	defer patience.Stop()
	for v.lines.Scan() {
		data, is := strings.CutPrefix(v.lines.Text(), "data: ")
		if !is || data == "" {
			continue
		}
		if err := json.Unmarshal([]byte(data), &v.now); err != nil {
			v.t.Fatal(err)
		}
		if v.now.Name != name {
			continue
		}
		for _, text := range says {
			if !strings.Contains(v.now.HTML, text) {
				v.t.Errorf("screen %s does not say %q: %s", name, text, v.now.HTML)
			}
		}
		return
	}
	v.t.Fatalf("the stream ended (%v) before screen %s; the last one was %s: %s", v.lines.Err(), name, v.now.Name, v.now.HTML)
}

// do answers the screen.
func (v *visitor) do(action, body string) {
	v.t.Helper()
	path := fmt.Sprintf("%s/sessions/%s/screens/%d/%s", v.origin, v.now.Session, v.now.Number, action)
	request, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	request.Header.Set("Origin", v.origin)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		v.t.Fatalf("%s at screen %s: got %d", action, v.now.Name, answer.StatusCode)
	}
}

// choose answers the screen and waits for the next.
func (v *visitor) choose(action, body, next string, says ...string) {
	v.t.Helper()
	v.do(action, body)
	v.see(next, says...)
}

// putAgain puts the card that was pulled within a command in again.
func (s *slot) putAgain() { s.put(s.pulled()) }

func (s *slot) pulled() chip {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.torn
}

func openKiosk(t *testing.T) (*house, *serving, *visitor) {
	h := newHouse(t)
	h.configure(map[string]any{"kiosk": "127.0.0.1:0"})
	s := h.serve()
	v := s.visit()
	v.see("start")
	return h, s, v
}

// A customer at the kiosk does everything there is to do.
func TestKiosk(t *testing.T) {
	h, s, v := openKiosk(t)
	anna, ben := h.account(1, 100*dollar), h.account(2, 0)
	h.issue(1, anna)
	v.see("menu", "On your card: $0.00")
	v.choose("load", "", "amount", "$200.00")
	v.choose("choose", "2000", "pin")
	v.choose("pin", "2222", "pin", "Tries left: 2")
	v.choose("pin", testPIN, "done", "$20.00 are loaded", "Now on your card: $20.00")
	h.wantAccount(anna, 80*dollar)
	v.choose("back", "", "menu", "$20.00")
	v.choose("load", "", "amount")
	v.choose("text", "90", "confirm") // the PIN was right already
	v.choose("go", "", "refused", "too little on the account")
	v.choose("back", "", "menu", "$20.00")
	v.choose("fund", "", "account")
	v.choose("text", "accountaaaaaaaaz", "amount")
	v.choose("choose", "500", "account", "no such account")
	v.choose("text", ben, "amount", "$20.00")
	v.choose("choose", "500", "confirm", "Pay $5.00")
	v.choose("go", "", "done", "$5.00 are paid in", "Now on your card: $15.00")
	h.wantAccount(ben, 5*dollar)
	v.choose("back", "", "menu")
	v.choose("payments", "", "pin")
	v.choose("pin", testPIN, "payments", "$5.00", merchantID.String())
	v.choose("back", "", "menu")
	v.choose("unload", "", "confirm", "Take $15.00")
	v.choose("go", "", "done", "$15.00 are back on your account", "$0.00")
	h.wantAccount(anna, 95*dollar)
	v.choose("end", "", "take")
	h.customer.put(nil)
	v.see("start")
	if _, text := s.get("/metrics"); !strings.Contains(text, `samgateway_served_total{what="kiosk-load",ended="refused"} 1`) {
		t.Errorf("the metrics say\n%s", text)
	}
	for _, secret := range []string{testPIN, "2222"} {
		if strings.Contains(s.log.String(), `"`+secret+`"`) {
			t.Errorf("the log says %s", s.log)
		}
	}
	s.end()
	h.want("Turned in batch 1", "turnin")
	h.wantSound()
}

// A card that is pulled in the middle, before or after it did what it was told,
// says so when it is put in again, and says it to nobody else.
func TestKioskPulledInTheMiddle(t *testing.T) {
	cases := []struct {
		name string
		tear tear
		kind string
		want string
		now  string
	}{
		{"before it began a load", tear{purse.InitLoad, 1, false}, "load", "was not loaded", "$20.00"},
		{"before it was told to pay", tear{purse.StartPay, 1, true}, "fund", "were not paid in", "$20.00"},
		{"before it took the load", tear{purse.Credit, 1, false}, "load", "was not loaded", "$20.00"},
		{"after it took the load", tear{purse.Credit, 1, true}, "load", "was loaded with $10.00", "$30.00"},
		{"before it paid", tear{purse.Debit, 1, false}, "fund", "were not paid in", "$20.00"},
		{"after it paid", tear{purse.Debit, 1, true}, "fund", "$10.00 were paid into", "$10.00"},
		{"after it paid what was on it", tear{purse.Debit, 1, true}, "unload", "$20.00 are back on your account", "$0.00"},
	}
	h, s, v := openKiosk(t)
	ben := h.account(9, 0)
	stranger := newCard(t, 8, true)
	h.customer.stays = true
	for k, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h.t, v.t = t, t
			number := byte(k + 1)
			card := h.issue(number, h.account(number, 100*dollar))
			v.see("menu")
			v.choose("load", "", "amount")
			v.choose("choose", "2000", "pin")
			v.choose("pin", testPIN, "done")
			v.choose("back", "", "menu", "$20.00")
			h.customer.tearAt(c.tear)
			v.do(c.kind, "")
			if c.kind == "fund" {
				v.see("account")
				v.choose("text", ben, "amount")
			}
			if c.kind == "load" {
				v.see("amount")
			}
			if c.kind != "unload" {
				v.do("choose", "1000")
			}
			v.see("confirm")
			v.choose("go", "", "pulled", "Nothing is lost")
			h.customer.put(stranger)
			v.see("menu", "$0.00")
			h.customer.put(nil)
			v.see("start")
			h.customer.putAgain()
			v.see("resolved", c.want, "Now on your card: "+c.now)
			v.choose("back", "", "menu", c.now)
			h.customer.put(nil)
			v.see("start")
			h.customer.put(card)
			v.see("menu", c.now) // it is said once
			h.customer.put(nil)
			v.see("start")
		})
	}
	h.t = t
	h.wantAccount(ben, 10*dollar)
	s.end()
	h.want("Turned in batch 1", "turnin")
	h.wantSound()
}

// Clearing or broker cannot be reached: nothing is moved, or it is told that the
// rest follows.
func TestKioskWithoutServers(t *testing.T) {
	h, s, v := openKiosk(t)
	anna, ben := h.account(1, 100*dollar), h.account(2, 0)
	h.issue(1, anna)
	v.see("menu")
	v.choose("load", "", "amount")
	v.choose("choose", "2000", "pin")
	v.choose("pin", testPIN, "done")
	v.choose("back", "", "menu")
	h.brokerDoor.lose("/v1/gateway/fundings")
	v.choose("fund", "", "account")
	v.choose("text", ben, "amount")
	v.choose("choose", "500", "confirm")
	v.choose("go", "", "done", "a little later", "$15.00")
	v.choose("back", "", "menu")
	h.clearingDoor.isShut.Store(true)
	h.brokerDoor.isShut.Store(true)
	v.choose("fund", "", "account")
	v.choose("text", ben, "amount")
	v.choose("choose", "500", "failed", "Nothing was moved")
	v.choose("back", "", "menu", "$15.00")
	v.choose("unload", "", "confirm")
	v.choose("go", "", "failed", "Nothing was moved")
	v.choose("back", "", "menu", "$15.00")
	h.clearingDoor.isShut.Store(false)
	h.brokerDoor.isShut.Store(false)
	h.customer.put(nil)
	v.see("start")
	s.end()
	h.issue(3, "")
	h.want("account", "resolve")
	h.want("nothing is undecided", "status")
	h.wantAccount(ben, 5*dollar)
	h.wantSound()
}

// Cards that cannot do all of it.
func TestKioskOtherCards(t *testing.T) {
	h, s, v := openKiosk(t)
	h.issue(1, "")
	v.see("menu", "belongs to no account")
	if strings.Contains(v.now.HTML, `data-action="load"`) {
		t.Errorf("a white card can be loaded: %s", v.now.HTML)
	}
	v.choose("payments", "", "payments", "has not paid yet")
	h.customer.put(nil)
	v.see("start")
	foreign, err := geldkarte.NewVirtual(geldkarte.ID{Number: "6725904415", ExpiryYear: 2027, ExpiryMonth: 3}, 1234, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.customer.put(foreign)
	v.see("balance", "12.34", "only its balance")
	h.customer.put(nil)
	v.see("start")
	h.customer.put(h.sam)
	v.see("foreign")
	h.customer.put(nil)
	v.see("start")
	h.issue(2, h.account(2, 100*dollar))
	v.see("menu")
	h.customer.put(nil)
	v.see("start")
	h.customer.put(liar{newCard(t, 3, true)})
	v.see("menu") // it says that it has an account
	v.choose("load", "", "amount")
	v.choose("choose", "500", "pin")
	v.do("pin", testPIN)
	v.see("refused")
	s.end()
}
