package broker_test

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/money"
)

const (
	iban      = "iban:DE89370400440532013000"
	otherIBAN = "iban:GB82WEST12345698765432"
)

// details is what a vendor is told of itself.
type details struct {
	payword.Vendor
	State, Contact, Destination, NextDestination string
	NextFrom                                     int64
	Pull                                         bool
	Keys                                         []struct{ Key string }
}

func (s *shop) details() (got details) {
	s.t.Helper()
	s.call(s.key, "GET", "/v1/vendor?vendor="+s.origin, nil).into(s.t, http.StatusOK, &got)
	return got
}

func (s *shop) ask(destination string) answer {
	return s.call(s.key, "PUT", "/v1/vendor/payout-destination", map[string]string{"vendor": s.origin, "destination": destination})
}

// mustAsk asks for another payout destination.
func (s *shop) mustAsk(destination string) {
	s.t.Helper()
	want(s.t, s.ask(destination), http.StatusOK, payword.Accepted)
}

// settle lets destinations count whose time has come.
func (s *shop) settle() {
	s.t.Helper()
	if err := s.SettleDestinations(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// wantDestination checks which destination counts and which one waits.
func (s *shop) wantDestination(counts, waits string) {
	s.t.Helper()
	got := s.details()
	if got.Destination != counts || got.NextDestination != waits || (got.NextFrom > 0) != (waits != "") {
		s.t.Errorf("got %q, next %q from %d; want %q, next %q", got.Destination, got.NextDestination, got.NextFrom, counts, waits)
	}
}

const destinationDelay = 3 * 24 * 60 * 60 // seconds, the default

func TestPayoutDestinationWaits(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	s.mustAsk("iban:de89 3704 0044 0532 0130 00")
	s.wantDestination("", iban)
	if got := s.details().NextFrom; got != start+destinationDelay {
		t.Errorf("it counts from %d, want %d", got, start+destinationDelay)
	}
	b.clock.advance(destinationDelay - 1)
	s.mustAsk(iban) // asking again does not begin the time anew, nor end it
	s.settle()
	s.wantDestination("", iban)
	b.clock.advance(1)
	s.settle()
	s.wantDestination(iban, "")
	s.mustAsk(otherIBAN)
	s.wantDestination(iban, otherIBAN)
	s.mustAsk(iban) // the one that counts withdraws the other
	s.wantDestination(iban, "")
	b.clock.advance(destinationDelay)
	s.settle()
	s.wantDestination(iban, "")
}

func TestPayoutDestinationsAreChecked(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	for _, bad := range []string{
		"", "DE89370400440532013000", "iban:", "iban:DE88370400440532013000", "iban:DE8937040044053201300",
		"iban:1289370400440532013000", "iban:DEX9370400440532013000", "iban:DE89-3704-0044-0532-0130-00",
		"iban:DE89370400440532013000DE89370400440532", "ref:", "ref:=HYPERLINK(1)", "ref:a b", "ref:" + strings.Repeat("a", 65),
		"iban:DE0837040044053201300", "iban:XX0237040044053201300", "ach:", "ach:021000021/123456789", "ach:021000022/123456789/checking",
		"ach:021000021/123456789/loan", "ach:021000021//savings", "ach:021000021/123456789012345678/savings", "ach:021000021/=1+1/savings",
		"ach:021000021/1/savings/2",
	} {
		want(t, s.ask(bad), http.StatusUnprocessableEntity, payword.Accepted)
	}
	s.wantDestination("", "")
	for _, good := range []string{iban, otherIBAN, "iban:NO9386011117947", "ach:021000021/123456789/checking", "ach:021000021/00-7/savings", "ref:customer-7/2"} {
		s.mustAsk(good)
		s.wantDestination("", good)
	}
	stranger := b.newShop()
	stranger.origin = s.origin
	want(t, stranger.ask(iban), http.StatusNotFound, payword.UnknownVendor)
	want(t, b.plain("PUT", "/v1/vendor/payout-destination", nil), http.StatusUnauthorized, payword.BadSignature)
	s.wantDestination("", "ref:customer-7/2")
}

// Somebody controls the site for an hour: what they begin ends when the owner
// lists their own keys again.
func TestATakenSiteMovesNoPayout(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	s.mustAsk(iban)
	b.clock.advance(destinationDelay)
	s.settle()
	owner := s.key
	thief := newKey()
	s.list(thief)
	s.key = thief
	want(t, s.register(), http.StatusOK, payword.Accepted)
	s.mustAsk(otherIBAN)
	s.key = owner
	want(t, s.ask(iban), http.StatusNotFound, payword.UnknownVendor) // the thief has locked the owner out
	b.clock.advance(destinationDelay - 1)
	s.settle()
	s.list(owner)
	want(t, s.register(), http.StatusOK, payword.Accepted)
	s.wantDestination(iban, "")
	b.clock.advance(destinationDelay)
	s.settle()
	s.wantDestination(iban, "")
	s.key = thief
	want(t, s.ask(otherIBAN), http.StatusNotFound, payword.UnknownVendor)
	for _, action := range []string{"add-vendor-key", "remove-vendor-key", "request-payout-destination", "withdraw-payout-destination"} {
		if got := b.audited(action, "vendor:"+s.origin); got == 0 {
			t.Errorf("the audit log has no %s", action)
		}
	}
}

// audited counts the entries of the audit log of an action on a subject.
func (b *bank) audited(action, subject string) int {
	b.t.Helper()
	count, err := b.Audited(b.t.Context(), action, subject)
	if err != nil {
		b.t.Fatal(err)
	}
	return count
}

// list makes the site name those keys and no others.
func (s *shop) list(keys ...ed25519.PrivateKey) {
	s.listed = nil
	for _, key := range keys {
		s.listed = append(s.listed, payword.NewPublicKey(publicKey(key)))
	}
}

// A vendor goes from one key to the next without a moment in which neither
// works, and a destination that the first one asked for falls with it.
func TestVendorKeysRotate(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	u := b.newUser(10 * money.Unit)
	p := u.commit(s.origin, 100*cent)
	p.mustReserve(100 * cent)
	old, next := s.key, newKey()
	s.list(old, next)
	s.key = next
	want(t, s.ask(iban), http.StatusNotFound, payword.UnknownVendor) // listed, and not registered yet
	want(t, s.register(), http.StatusOK, payword.Accepted)
	if got := len(s.details().Keys); got != 2 {
		t.Errorf("got %d keys, want 2", got)
	}
	for index, key := range map[uint32]ed25519.PrivateKey{3: old, 7: next} {
		s.key = key
		if got := s.send(s.claim(p, index, money.Amount(index)*cent))[0]; got.Reason != payword.Accepted {
			t.Errorf("claim under key %d: %s", index, got.Reason)
		}
	}
	s.key = old
	s.mustAsk(iban)
	s.list(next)
	want(t, s.register(), http.StatusForbidden, payword.VendorNotProved) // the old key is not listed any more
	s.key = next
	want(t, s.register(), http.StatusOK, payword.Accepted)
	if got := s.details(); len(got.Keys) != 1 || got.Keys[0].Key != payword.Thumbprint(publicKey(next)) || got.NextDestination != "" {
		t.Errorf("got keys %v, next destination %q", got.Keys, got.NextDestination)
	}
	s.key = old
	a := s.call(old, "POST", payword.PathRedemptions, payword.RedemptionRequest{Vendor: s.origin, Redemptions: []payword.Redemption{s.claim(p, 9, 9*cent)}})
	want(t, a, http.StatusNotFound, payword.UnknownVendor)
	s.key = next
	s.wantResult(s.claim(p, 9, 9*cent), payword.Accepted, 9*cent, 2*cent)
}

func TestContactOfAVendor(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	set := func(contact string) answer {
		return s.call(s.key, "PUT", "/v1/vendor/contact", map[string]string{"vendor": s.origin, "contact": contact})
	}
	want(t, set("ops@news.example"), http.StatusOK, payword.Accepted)
	if got := s.details().Contact; got != "ops@news.example" {
		t.Errorf("got contact %q", got)
	}
	want(t, set("two\nlines"), http.StatusUnprocessableEntity, payword.Accepted)
	want(t, set(strings.Repeat("a", 201)), http.StatusUnprocessableEntity, payword.Accepted)
	if got := s.details().Contact; got != "ops@news.example" {
		t.Errorf("got contact %q after refusals", got)
	}
}

// setState blocks or opens a vendor.
func (s *shop) setState(state string) {
	s.t.Helper()
	a := s.admin("PUT", "/v1/admin/vendors/state", map[string]string{"vendor": s.origin, "state": state, "reason": "complaints"})
	want(s.t, a, http.StatusOK, payword.Accepted)
}

// What users promised a vendor before it was blocked is paid into its balance;
// nothing new is begun, and nothing leaves.
func TestBlockedVendor(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	u := b.newUser(10 * money.Unit)
	promised, known := u.commit(s.origin, 100*cent), u.commit(s.origin, 100*cent)
	promised.mustReserve(50 * cent)
	s.wantResult(s.claim(known, 1, cent), payword.Accepted, cent, cent)
	s.mustAsk(iban)
	b.clock.advance(destinationDelay)
	s.settle()
	promised, unreserved := u.commit(s.origin, 100*cent), u.commit(s.origin, 100*cent)
	promised.mustReserve(50 * cent)

	s.setState("blocked")
	s.setState("blocked") // again is nothing new
	if got := s.details().State; got != "blocked" {
		t.Errorf("got state %q", got)
	}
	want(t, u.commit(s.origin, 100*cent).reserve(10*cent), http.StatusForbidden, payword.VendorBlocked)
	want(t, promised.reserve(60*cent), http.StatusForbidden, payword.VendorBlocked)
	s.wantResult(s.claim(promised, 20, 20*cent), payword.Accepted, 20*cent, 20*cent)
	s.wantResult(s.claim(unreserved, 5, 5*cent), payword.VendorBlocked, 0, 0)
	want(t, s.payOut("one", 10*cent, 0), http.StatusForbidden, payword.VendorBlocked)
	s.wantPayable(21 * cent)

	s.setState("open")
	s.wantResult(s.claim(unreserved, 5, 5*cent), payword.Accepted, 5*cent, 5*cent)
	want(t, promised.reserve(60*cent), http.StatusOK, payword.Accepted)
	want(t, s.payOut("one", 10*cent, 0), http.StatusOK, payword.Accepted)
	if got := b.audited("block-vendor", "vendor:"+s.origin); got != 1 {
		t.Errorf("the audit log has %d blocks, want 1", got)
	}
	if got := b.audited("unblock-vendor", "vendor:"+s.origin); got != 1 {
		t.Errorf("the audit log has %d unblocks, want 1", got)
	}
	want(t, b.admin("PUT", "/v1/admin/vendors/state", map[string]string{"vendor": "https://nobody.example", "state": "blocked", "reason": "x"}),
		http.StatusNotFound, payword.UnknownVendor)
	want(t, s.call(s.key, "PUT", "/v1/admin/vendors/state", map[string]string{"vendor": s.origin, "state": "open", "reason": "x"}),
		http.StatusUnauthorized, payword.Accepted)
	b.wantSound()
}

// payOut books a payout.
func (s *shop) payOut(id string, amount, fee money.Amount) answer {
	return s.admin("POST", "/v1/admin/payouts", map[string]string{
		"id": id, "vendor": s.origin, "amount": amount.String(), "fee": fee.String(),
	})
}

func TestPayouts(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	u := b.newUser(10 * money.Unit)
	p := u.commit(s.origin, 100*cent)
	s.wantResult(s.claim(p, 100, 100*cent), payword.Accepted, 100*cent, 100*cent)
	a := s.payOut("one", 10*cent, cent)
	want(t, a, http.StatusConflict, payword.Accepted)
	if !strings.Contains(string(a.body), "no payout destination") {
		t.Errorf("got %s", a.body)
	}
	s.mustAsk(iban)
	b.clock.advance(destinationDelay)
	s.settle()
	for range 2 { // once, whatever is asked
		a := s.payOut("one", 10*cent, cent)
		want(t, a, http.StatusOK, payword.Accepted)
		if !strings.Contains(string(a.body), iban) {
			t.Errorf("got %s", a.body)
		}
		s.wantPayable(89 * cent)
	}
	for name, a := range map[string]answer{
		"another amount": s.payOut("one", 11*cent, cent), "another fee": s.payOut("one", 10*cent, 2*cent), "no fee": s.payOut("one", 10*cent, 0),
	} {
		if a.status != http.StatusConflict {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	want(t, s.payOut("two", 89*cent, cent), http.StatusConflict, payword.InsufficientFunds)
	s.wantPayable(89 * cent)
	want(t, s.payOut("two", 88*cent, cent), http.StatusOK, payword.Accepted)
	s.wantPayable(0)
	if got := b.audited("pay-out", "vendor:"+s.origin); got != 2 {
		t.Errorf("the audit log has %d payouts, want 2", got)
	}
	b.wantSound()
}

// Asking for a payout again tells where it went, whatever the vendor has named
// since.
func TestPayoutKeepsItsDestination(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	s, other := b.newShop(), b.newShop()
	for _, s := range []*shop{s, other} {
		s.wantResult(s.claim(b.newUser(money.Unit).commit(s.origin, 20*cent), 20, 20*cent), payword.Accepted, 20*cent, 20*cent)
	}
	for _, destination := range []string{iban, otherIBAN} {
		s.mustAsk(destination)
		b.clock.advance(destinationDelay)
		s.settle()
		if a := s.payOut("one", 10*cent, 0); a.status != http.StatusOK || !strings.Contains(string(a.body), iban) {
			t.Errorf("got %d %s, want %s", a.status, a.body, iban)
		}
	}
	if a := other.payOut("one", 10*cent, 0); a.status != http.StatusConflict {
		t.Errorf("another vendor's: got %d %s", a.status, a.body)
	}
	if a := s.payOut("two", 10*cent, 0); !strings.Contains(string(a.body), otherIBAN) {
		t.Errorf("got %s, want %s", a.body, otherIBAN)
	}
	b.wantSound()
}

// The answer to a payout is lost: doing it again pays nothing twice.
func TestAPayoutWhoseAnswerIsLost(t *testing.T) {
	for _, point := range []string{"before pay out", "after pay out"} {
		b := newBank(t)
		s := b.newShop()
		u := b.newUser(10 * money.Unit)
		p := u.commit(s.origin, 100*cent)
		s.wantResult(s.claim(p, 100, 100*cent), payword.Accepted, 100*cent, 100*cent)
		s.mustAsk("ref:7")
		b.clock.advance(destinationDelay)
		s.settle()
		b.SetFault(func(at string) error {
			if at == point {
				return fmt.Errorf("broken %s", at)
			}
			return nil
		})
		want(t, s.payOut("one", 10*cent, 0), http.StatusServiceUnavailable, payword.Accepted)
		b.SetFault(nil)
		want(t, s.payOut("one", 10*cent, 0), http.StatusOK, payword.Accepted)
		s.wantPayable(90 * cent)
		b.wantSound()
	}
}

// A message about a destination shows what its owner knows it by, and no more.
func TestDestinationsAreMasked(t *testing.T) {
	for destination, masked := range map[string]string{
		iban:                               "iban:…3000",
		"ref:customer-7":                   "ref:…er-7",
		"ref:7":                            "ref:7",
		"ach:021000021/123456789/checking": "ach:…6789/checking",
		"ach:021000021/12345/savings":      "ach:…45/savings",
		"ach:021000021/1/savings":          "ach:…/savings",
	} {
		if got := broker.MaskedDestination(destination); got != masked {
			t.Errorf("%s is shown as %s, want %s", destination, got, masked)
		}
	}
}

func FuzzParseDestination(f *testing.F) {
	for _, seed := range []string{iban, otherIBAN, "iban:NO9386011117947", "ach:021000021/1/savings", "ref:7", "iban:", "ach:", "ref:", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		destination, err := broker.ParseDestination(text)
		if err != nil {
			return
		}
		again, err := broker.ParseDestination(destination)
		if err != nil || again != destination {
			t.Errorf("%q became %q and then %q: %v", text, destination, again, err)
		}
	})
}

// A reason that the audit log cuts off stays text.
func TestLongReasonsAreCut(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	want(t, b.admin("PUT", "/v1/admin/vendors/state", map[string]string{
		"vendor": s.origin, "state": "blocked", "reason": strings.Repeat("\u5f20", 500), // 1000 bytes end within a letter
	}), http.StatusOK, payword.Accepted)
	code, out, stderr := run(t, "audit", "--db", b.config.Database, "--action", "block-vendor")
	if code != 0 || strings.Count(out, "\u5f20") != 333 {
		t.Errorf("got %d: %s%s", code, out, stderr)
	}
}
