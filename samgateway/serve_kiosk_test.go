package samgateway_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/purse/geldkarte"
	"github.com/paywordhq/payword/samgateway/kiosk/kiosktest"
)

// putAgain puts the card that was pulled within a command in again.
func (s *slot) putAgain() { s.put(s.pulled()) }

func (s *slot) pulled() chip {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.torn
}

func openKiosk(t *testing.T) (*house, *serving, *kiosktest.Visitor) {
	h := newHouse(t)
	h.configure(map[string]any{"kiosk": "127.0.0.1:0"})
	s := h.serve()
	v := kiosktest.Visit(t, s.ports["the kiosk"], nil)
	v.See("start")
	return h, s, v
}

// A customer at the kiosk does everything there is to do.
func TestKiosk(t *testing.T) {
	h, s, v := openKiosk(t)
	anna, ben := h.account(1, 100*dollar), h.account(2, 0)
	h.issue(1, anna)
	v.See("menu", "On your card: $0.00")
	v.Choose("load", "", "amount", "$200.00")
	v.Choose("choose", "2000", "pin")
	v.Choose("pin", "2222", "pin", "Tries left: 2")
	v.Choose("pin", testPIN, "done", "$20.00 has been loaded", "Now on your card: $20.00")
	h.wantAccount(anna, 80*dollar)
	v.Choose("back", "", "menu", "$20.00")
	v.Choose("load", "", "amount")
	v.Choose("text", "90", "confirm") // the PIN was right already
	v.Choose("go", "", "refused", "too little on the account")
	v.Choose("back", "", "menu", "$20.00")
	v.Choose("fund", "", "account")
	v.Choose("text", "accountaaaaaaaaz", "amount")
	v.Choose("choose", "500", "account", "no such account")
	v.Choose("text", ben, "amount", "$20.00")
	v.Choose("choose", "500", "confirm", "Pay $5.00")
	v.Choose("go", "", "done", "$5.00 has been paid in", "Now on your card: $15.00")
	h.wantAccount(ben, 5*dollar)
	v.Choose("back", "", "menu")
	v.Choose("payments", "", "pin")
	v.Choose("pin", testPIN, "payments", "$5.00", merchantID.String())
	v.Choose("back", "", "menu")
	v.Choose("unload", "", "confirm", "Take $15.00")
	v.Choose("go", "", "done", "$15.00 is back on your account", "$0.00")
	h.wantAccount(anna, 95*dollar)
	v.Choose("end", "", "take")
	h.customer.put(nil)
	v.See("start")
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
		{"before it was told to pay", tear{purse.StartPay, 1, true}, "fund", "was not paid in", "$20.00"},
		{"before it took the load", tear{purse.Credit, 1, false}, "load", "was not loaded", "$20.00"},
		{"after it took the load", tear{purse.Credit, 1, true}, "load", "was loaded with $10.00", "$30.00"},
		{"before it paid", tear{purse.Debit, 1, false}, "fund", "was not paid in", "$20.00"},
		{"after it paid", tear{purse.Debit, 1, true}, "fund", "$10.00 has been paid into", "$10.00"},
		{"after it paid what was on it", tear{purse.Debit, 1, true}, "unload", "$20.00 is back on your account", "$0.00"},
	}
	h, s, v := openKiosk(t)
	ben := h.account(9, 0)
	stranger := newCard(t, 8, true)
	h.customer.stays = true
	for k, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h.t, v.T = t, t
			number := byte(k + 1)
			card := h.issue(number, h.account(number, 100*dollar))
			v.See("menu")
			v.Choose("load", "", "amount")
			v.Choose("choose", "2000", "pin")
			v.Choose("pin", testPIN, "done")
			v.Choose("back", "", "menu", "$20.00")
			h.customer.tearAt(c.tear)
			v.Do(c.kind, "")
			if c.kind == "fund" {
				v.See("account")
				v.Choose("text", ben, "amount")
			}
			if c.kind == "load" {
				v.See("amount")
			}
			if c.kind != "unload" {
				v.Do("choose", "1000")
			}
			v.See("confirm")
			v.Choose("go", "", "pulled", "Nothing is lost")
			h.customer.put(stranger)
			v.See("menu", "$0.00")
			h.customer.put(nil)
			v.See("start")
			h.customer.putAgain()
			v.See("resolved", c.want, "Now on your card: "+c.now)
			v.Choose("back", "", "menu", c.now)
			h.customer.put(nil)
			v.See("start")
			h.customer.put(card)
			v.See("menu", c.now) // it is said once
			h.customer.put(nil)
			v.See("start")
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
	v.See("menu")
	v.Choose("load", "", "amount")
	v.Choose("choose", "2000", "pin")
	v.Choose("pin", testPIN, "done")
	v.Choose("back", "", "menu")
	h.brokerDoor.lose("/v1/gateway/fundings")
	v.Choose("fund", "", "account")
	v.Choose("text", ben, "amount")
	v.Choose("choose", "500", "confirm")
	v.Choose("go", "", "done", "a little later", "$15.00")
	v.Choose("back", "", "menu")
	h.clearingDoor.isShut.Store(true)
	h.brokerDoor.isShut.Store(true)
	v.Choose("fund", "", "account")
	v.Choose("text", ben, "amount")
	v.Choose("choose", "500", "failed", "Nothing was moved")
	v.Choose("back", "", "menu", "$15.00")
	v.Choose("unload", "", "confirm")
	v.Choose("go", "", "failed", "Nothing was moved")
	v.Choose("back", "", "menu", "$15.00")
	h.clearingDoor.isShut.Store(false)
	h.brokerDoor.isShut.Store(false)
	h.customer.put(nil)
	v.See("start")
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
	v.See("menu", "belongs to no account")
	if strings.Contains(v.HTML(), `data-action="load"`) {
		t.Errorf("a white card can be loaded: %s", v.HTML())
	}
	v.Choose("payments", "", "payments", "has not paid yet")
	h.customer.put(nil)
	v.See("start")
	foreign, err := geldkarte.NewVirtual(geldkarte.ID{Number: "6725904415", ExpiryYear: 2027, ExpiryMonth: 3}, 1234, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.customer.put(foreign)
	v.See("balance", "12.34", "only its balance")
	h.customer.put(nil)
	v.See("start")
	h.customer.put(h.sam)
	v.See("foreign")
	h.customer.put(nil)
	v.See("start")
	h.issue(2, h.account(2, 100*dollar))
	v.See("menu")
	h.customer.put(nil)
	v.See("start")
	h.customer.put(liar{newCard(t, 3, true)})
	v.See("menu") // it says that it has an account
	v.Choose("load", "", "amount")
	v.Choose("choose", "500", "pin")
	v.Do("pin", testPIN)
	v.See("refused")
	s.end()
}

// A card in a file is put in by putting the file there, and the kiosk asks for it
// until then.
func TestKioskCardInAFile(t *testing.T) {
	h := newHouse(t)
	in := func(name string) string { return filepath.Join(h.folder, name) }
	for _, arguments := range [][]string{
		{"personalise", "keys", "--out", in("masters")},
		{"personalise", "card", "--out", in("drawer"), "--keys", in("masters"), "--card", cardID(1).String(), "--currency", "USD"},
	} {
		if got := h.call(t, arguments...); got.code != 0 {
			t.Fatalf("samgateway %q: %+v", arguments, got)
		}
	}
	h.configure(map[string]any{"kiosk": "127.0.0.1:0", "cardReader": "", "cardFile": in("card")})
	s := h.serve()
	v := kiosktest.Visit(t, s.ports["the kiosk"], nil)
	v.See("start")
	if strings.Contains(v.HTML(), "out of order") {
		t.Errorf("the kiosk says %s", v.HTML())
	}
	if err := os.Rename(in("drawer"), in("card")); err != nil {
		t.Fatal(err)
	}
	v.See("menu", "belongs to no account")
	s.end()
}
