package broker_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/money"
)

// receiver takes webhook messages, and can fail, or lose its answer after it
// has taken the message.
type receiver struct {
	*httptest.Server
	t    *testing.T
	keys func() map[string]ed25519.PublicKey
	now  func() int64

	mutex    sync.Mutex
	answer   func(w http.ResponseWriter) // nil: 204
	messages []received                  // guarded by mutex, as is answer
}

// received is a message whose signature was good.
type received struct {
	id, kind string
	data     map[string]any
}

// newReceiver opens a receiver that checks signatures with the broker's
// published keys.
func (b *bank) newReceiver() *receiver {
	r := &receiver{t: b.t, now: b.clock.seconds.Load}
	r.keys = func() map[string]ed25519.PublicKey {
		keys, err := payword.ParseJWKS(b.plain("GET", payword.PathBrokerKeys, nil).body)
		if err != nil {
			b.t.Error(err)
		}
		return keys
	}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	b.t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	if !r.isSigned(request.Header, body) {
		r.t.Errorf("a message with a bad signature: %v %s", request.Header, body)
	}
	var m struct {
		Type      string
		Timestamp string
		Data      map[string]any
	}
	if err := json.Unmarshal(body, &m); err != nil || m.Timestamp == "" {
		r.t.Errorf("got message %s: %v", body, err)
	}
	r.mutex.Lock()
	r.messages = append(r.messages, received{request.Header.Get("Webhook-Id"), m.Type, m.Data})
	answer := r.answer
	r.mutex.Unlock()
	if answer != nil {
		answer(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// isSigned checks a message as Standard Webhooks says.
func (r *receiver) isSigned(header http.Header, body []byte) bool {
	timestamp := header.Get("Webhook-Timestamp")
	if timestamp != fmt.Sprint(r.now()) {
		return false
	}
	encoded, _ := strings.CutPrefix(header.Get("Webhook-Signature"), "v1a,")
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return false
	}
	signed := header.Get("Webhook-Id") + "." + timestamp + "." + string(body)
	for _, key := range r.keys() {
		if ed25519.Verify(key, []byte(signed), signature) {
			return true
		}
	}
	return false
}

// respond sets what the receiver answers from now on; nil is 204.
func (r *receiver) respond(answer func(w http.ResponseWriter)) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.answer = answer
}

func fail(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }

// loseAnswer breaks the connection after the message was taken.
func loseAnswer(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// kinds returns the kinds of what was taken since the last call, sorted.
func (r *receiver) kinds() (kinds []string) {
	for _, m := range r.taken() {
		kinds = append(kinds, m.kind)
	}
	slices.Sort(kinds)
	return kinds
}

func (r *receiver) taken() []received {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	taken := r.messages
	r.messages = nil
	return taken
}

func (r *receiver) wantKinds(kinds ...string) {
	r.t.Helper()
	if got := r.kinds(); !slices.Equal(got, kinds) {
		r.t.Errorf("got messages %q, want %q", got, kinds)
	}
}

// addWebhook registers a receiver and returns the id.
func (s *shop) addWebhook(url string, events ...string) string {
	s.t.Helper()
	var got struct{ ID, State string }
	s.call(s.key, "POST", "/v1/vendor/webhooks", map[string]any{"vendor": s.origin, "url": url, "events": append([]string{}, events...)}).
		into(s.t, http.StatusOK, &got)
	if got.State != "enabled" {
		s.t.Errorf("got state %q", got.State)
	}
	return got.ID
}

// webhookStates returns the states of a vendor's webhooks by their ids.
func (s *shop) webhookStates() map[string]string {
	s.t.Helper()
	var list struct{ Webhooks []struct{ ID, State string } }
	s.call(s.key, "GET", "/v1/vendor/webhooks?vendor="+s.origin, nil).into(s.t, http.StatusOK, &list)
	states := make(map[string]string)
	for _, hook := range list.Webhooks {
		states[hook.ID] = hook.State
	}
	return states
}

// delivery is what a vendor sees of a message.
type delivery struct {
	ID, Webhook, Event, State, Error string
	Attempts, Status                 int
	Next                             int64
}

func (s *shop) deliveries() []delivery {
	s.t.Helper()
	var list struct{ Deliveries []delivery }
	s.call(s.key, "GET", "/v1/vendor/deliveries?vendor="+s.origin, nil).into(s.t, http.StatusOK, &list)
	return list.Deliveries
}

// deliver sends what is due, until nothing is.
func (b *bank) deliver() {
	b.t.Helper()
	for {
		count, err := b.Deliver(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		if count == 0 {
			return
		}
	}
}

func TestWebhookTellsOfPayments(t *testing.T) {
	b := newBank(t)
	s, other := b.newShop(), b.newShop()
	r, quiet, foreign := b.newReceiver(), b.newReceiver(), b.newReceiver()
	s.addWebhook(r.URL+"/hook?a=1", "redemption.paid", "payout.paid")
	s.addWebhook(quiet.URL)
	other.addWebhook(foreign.URL, "redemption.paid")
	b.deliver()
	r.wantKinds("webhook.added", "webhook.added") // its own, and the other one's
	quiet.wantKinds("webhook.added")
	foreign.wantKinds("webhook.added")
	u := b.newUser(10 * money.Unit)
	p, q := u.commit(s.origin, 100*cent), u.commit(s.origin, 100*cent)
	for _, got := range s.send(s.claim(p, 10, 10*cent), s.claim(q, 5, 5*cent)) {
		if got.Reason != payword.Accepted {
			t.Fatal(got.Reason)
		}
	}
	s.send(s.claim(p, 10, 10*cent)) // nothing new, no message
	b.deliver()
	quiet.wantKinds()
	foreign.wantKinds()
	got := r.taken()
	if len(got) != 1 || got[0].kind != "redemption.paid" || got[0].data["redemptions"] != 2.0 || got[0].data["amount"] != "150000" ||
		got[0].data["vendor"] != s.origin {
		t.Errorf("got %+v", got)
	}
	s.mustAsk("ref:7")
	b.clock.advance(destinationDelay)
	s.settle()
	want(t, s.payOut("one", cent, 0), http.StatusOK, payword.Accepted)
	s.setState("blocked")
	s.setState("open")
	b.deliver()
	r.wantKinds("payout.paid", "vendor.blocked", "vendor.payout-destination-changed", "vendor.payout-destination-requested", "vendor.unblocked")
	quiet.wantKinds("vendor.blocked", "vendor.payout-destination-changed", "vendor.payout-destination-requested", "vendor.unblocked")
	foreign.wantKinds()
	for _, d := range s.deliveries() {
		if d.State != "delivered" || d.Attempts != 1 || d.Status != 204 {
			t.Errorf("got %+v", d)
		}
	}
}

// A root that is used twice is told to the vendor that was paid on it.
func TestWebhookTellsOfFraud(t *testing.T) {
	b := newBank(t)
	s, other := b.newShop(), b.newShop()
	r, foreign := b.newReceiver(), b.newReceiver()
	s.addWebhook(r.URL, "fraud.root-reused")
	other.addWebhook(foreign.URL, "fraud.root-reused")
	b.deliver()
	r.taken()
	foreign.taken()
	u := b.newUser(10 * money.Unit)
	p := u.commit(other.origin, 100*cent)
	other.wantResult(other.claim(p, 10, 10*cent), payword.Accepted, 10*cent, 10*cent)
	q := u.reuse(p, s.origin)
	s.wantResult(s.claim(q, 10, 10*cent, func(c *payword.Claim) { c.Tails[0] = p.tail(10) }), payword.Accepted, 10*cent, 10*cent)
	b.deliver()
	got := r.taken()
	if len(got) != 1 || got[0].kind != "fraud.root-reused" || got[0].data["commitment"] != q.m.ID.String() {
		t.Errorf("got %+v", got)
	}
	foreign.wantKinds()
	if strings.Contains(fmt.Sprint(got), p.m.ID.String()) {
		t.Error("the message names another vendor's commitment")
	}
}

// reuse makes a commitment to another vendor with the chains of p.
func (u *user) reuse(p *purse, vendor string) *purse {
	u.t.Helper()
	certificate, key := u.certificate()
	q := &purse{user: u, m: p.m, chains: p.chains}
	q.m.Vendor, q.m.Certificate, q.m.Token = vendor, certificate, ""
	var err error
	if q.m, err = payword.SignCommitment(q.m, key); err != nil {
		u.t.Fatal(err)
	}
	return q
}

// A receiver that fails gets the same message again, later and later, at last
// no more, and its vendor is told and can have it sent again.
func TestWebhookIsTriedAgain(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	broken, healthy := b.newReceiver(), b.newReceiver()
	id := s.addWebhook(broken.URL)
	s.addWebhook(healthy.URL)
	b.deliver()
	broken.taken()
	healthy.taken()
	broken.respond(fail)
	s.mustAsk(iban)
	attempts, last := 0, int64(0)
	for round := range 14 {
		b.deliver()
		taken := broken.taken()
		if len(taken) != 1 {
			t.Fatalf("round %d: got %d messages", round, len(taken))
		}
		attempts++
		d := s.deliveries()
		b.deliver() // not due: nothing is sent
		if got := len(broken.taken()); got != 0 {
			t.Fatalf("round %d: sent again at once", round)
		}
		k := slices.IndexFunc(d, func(d delivery) bool { return d.ID == taken[0].id })
		if k < 0 || d[k].Attempts != attempts || d[k].Status != 500 {
			t.Fatalf("round %d: got %+v", round, d)
		}
		if round == 13 {
			break
		}
		wait := d[k].Next - b.clock.seconds.Load()
		if d[k].State != "waiting" || wait < min(2*last, 8*3600) || wait > 10*3600 {
			t.Errorf("round %d: the next attempt is in %d seconds, the last one was after %d", round, wait, last)
		}
		last = wait
		b.clock.advance(wait + 1)
	}
	if got := s.webhookStates()[id]; got != "disabled" {
		t.Errorf("after %d failures the webhook is %s", attempts, got)
	}
	b.deliver()
	healthy.wantKinds("vendor.payout-destination-requested", "webhook.disabled")
	if b.audited("disable-webhook", "vendor:"+s.origin) != 1 {
		t.Error("the audit log does not say that the webhook was disabled")
	}
	s.mustAsk(otherIBAN) // while it is disabled it gets nothing
	b.deliver()
	broken.wantKinds()
	broken.respond(nil)
	s.addWebhook(broken.URL)
	b.deliver()
	broken.wantKinds("webhook.added")
	for _, d := range s.deliveries() {
		if d.Webhook == id && d.State == "failed" {
			path := "/v1/vendor/deliveries/" + d.ID + "/retry?vendor=" + s.origin
			want(t, s.call(s.key, "POST", path, nil), http.StatusOK, payword.Accepted)
			want(t, s.call(s.key, "POST", path, nil), http.StatusNotFound, payword.Accepted) // it waits already
			b.deliver()
			if got := broken.taken(); len(got) != 1 || got[0].id != d.ID {
				t.Errorf("got %+v", got)
			}
		}
	}
}

// The answer is lost, or the broker's note of it: the message comes again under
// the same id, and then never more.
func TestWebhookWhoseAnswerIsLost(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	r := b.newReceiver()
	s.addWebhook(r.URL)
	r.respond(loseAnswer)
	b.deliver()
	first := r.taken()
	r.respond(nil)
	b.clock.advance(60)
	b.SetFault(func(point string) error {
		if point == "before end delivery" {
			return errors.New("broken")
		}
		return nil
	})
	if _, err := b.Deliver(t.Context()); err == nil {
		t.Error("no error, though nothing could be noted")
	}
	b.SetFault(nil)
	second := r.taken()
	b.deliver()
	r.wantKinds() // the lease still holds
	b.clock.advance(61)
	b.deliver()
	third := r.taken()
	b.clock.advance(3600)
	b.deliver()
	r.wantKinds()
	if len(first) != 1 || len(second) != 1 || len(third) != 1 || first[0].id != second[0].id || second[0].id != third[0].id {
		t.Errorf("got %v, %v and %v", first, second, third)
	}
}

// One receiver is slow: others hear at once.
func TestASlowReceiverDelaysNobody(t *testing.T) {
	b := newBank(t)
	s, other := b.newShop(), b.newShop()
	slow, quick := b.newReceiver(), b.newReceiver()
	release, entered, told := make(chan struct{}), make(chan struct{}, 10), make(chan struct{}, 10)
	slow.respond(func(w http.ResponseWriter) {
		entered <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNoContent)
	})
	quick.respond(func(w http.ResponseWriter) { told <- struct{}{} })
	s.addWebhook(slow.URL)
	s.mustAsk(iban) // a second message to it, which must not be sent beside the first
	other.addWebhook(quick.URL)
	ended := make(chan error)
	go func() {
		_, err := b.Deliver(context.Background())
		ended <- err
	}()
	<-entered
	<-told
	if got := len(entered); got != 0 {
		t.Errorf("%d more messages at once to the slow one", got)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	b.deliver()
	slow.wantKinds("vendor.payout-destination-requested", "webhook.added")
}

// Two brokers on one database send each message once.
func TestTwoBrokersSendEachMessageOnce(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	r := b.newReceiver()
	for k := range 8 {
		s.addWebhook(fmt.Sprint(r.URL, "/", k))
	}
	b.deliver()
	r.taken()
	second := *b
	second.open()
	s.mustAsk(iban)
	s.mustAsk(otherIBAN)
	var group sync.WaitGroup
	for _, each := range []*bank{b, &second, b, &second} {
		group.Go(func() { each.deliver() })
	}
	group.Wait()
	seen := make(map[string]int)
	for _, m := range r.taken() {
		seen[m.id]++
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was sent %d times", id, times)
		}
	}
	if len(seen) != 16 {
		t.Errorf("%d messages were sent, want 16", len(seen))
	}
}

// A webhook does not make the broker reach what it should not: no redirect is
// followed, no endless answer read, no private address connected to.
func TestWebhooksReachNothingElse(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	r, target := b.newReceiver(), b.newReceiver()
	r.respond(func(w http.ResponseWriter) {
		w.Header().Set("Location", target.URL)
		w.WriteHeader(http.StatusPermanentRedirect)
	})
	s.addWebhook(r.URL)
	b.deliver()
	target.wantKinds()
	if got := s.deliveries()[0]; got.Status != http.StatusPermanentRedirect || got.State != "waiting" {
		t.Errorf("got %+v", got)
	}
	r.respond(func(w http.ResponseWriter) {
		for block := make([]byte, 1<<16); ; {
			if _, err := w.Write(block); err != nil {
				return // the broker has hung up
			}
		}
	})
	b.clock.advance(60)
	b.deliver()
	if got := s.deliveries()[0]; got.Status != http.StatusOK || got.State != "delivered" {
		t.Errorf("got %+v", got)
	}

	b.config.AllowLoopbackVendors = false
	b.open()
	s.mustAsk(iban)
	r.taken()
	b.deliver()
	r.wantKinds()
	if got := s.deliveries()[0]; got.Status != 0 || got.Error != "the name leads to an address that is not public" {
		t.Errorf("got %+v", got)
	}
}

func TestWebhooksAreChecked(t *testing.T) {
	b := newBank(t)
	s, other := b.newShop(), b.newShop()
	add := func(url string, events ...string) answer {
		return s.call(s.key, "POST", "/v1/vendor/webhooks", map[string]any{"vendor": s.origin, "url": url, "events": append([]string{}, events...)})
	}
	for _, url := range []string{
		"", "http://news.example/hook", "https://user@news.example/", "https://news.example/#a", "ftp://news.example/", "//news.example",
		"https://", "https://news.example/a b", "https://news.example/\u00e4", "https://news.example/" + strings.Repeat("a", 500),
	} {
		want(t, add(url), http.StatusUnprocessableEntity, payword.Accepted)
	}
	want(t, add("https://news.example/hook", "redemption.*"), http.StatusUnprocessableEntity, payword.Accepted)
	want(t, add("https://news.example/hook", "vendor.key-added"), http.StatusUnprocessableEntity, payword.Accepted)
	if got := s.webhookStates(); len(got) != 0 {
		t.Errorf("got webhooks %v", got)
	}
	var id string
	for k := range 8 {
		id = s.addWebhook(fmt.Sprintf("https://news.example/%d", k), "redemption.paid")
	}
	if again := s.addWebhook("https://news.example/7"); again != id {
		t.Errorf("the same URL got another id, %s and %s", id, again)
	}
	want(t, add("https://news.example/8"), http.StatusTooManyRequests, payword.RateLimited)

	path := "/v1/vendor/webhooks/" + id + "?vendor="
	want(t, other.call(other.key, "DELETE", path+other.origin, nil), http.StatusNotFound, payword.Accepted)
	want(t, other.call(other.key, "DELETE", path+s.origin, nil), http.StatusNotFound, payword.UnknownVendor)
	for _, path := range []string{"webhooks", "deliveries"} {
		want(t, other.call(other.key, "GET", "/v1/vendor/"+path+"?vendor="+s.origin, nil), http.StatusNotFound, payword.UnknownVendor)
	}
	mine := s.deliveries()[0].ID
	want(t, other.call(other.key, "POST", "/v1/vendor/deliveries/"+mine+"/retry?vendor="+other.origin, nil), http.StatusNotFound, payword.Accepted)
	if got := len(other.deliveries()); got != 0 {
		t.Errorf("the other vendor sees %d messages", got)
	}
	want(t, s.call(s.key, "DELETE", path+s.origin, nil), http.StatusOK, payword.Accepted)
	want(t, s.call(s.key, "DELETE", path+s.origin, nil), http.StatusNotFound, payword.Accepted)
	s.addWebhook("https://news.example/8")
	if got := len(s.webhookStates()); got != 8 {
		t.Errorf("got %d webhooks, want 8", got)
	}
}

// A webhook that is removed hears of it: if a thief removed it, its owner knows.
func TestARemovedWebhookHearsOfIt(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	r := b.newReceiver()
	id := s.addWebhook(r.URL, "redemption.paid")
	want(t, s.call(s.key, "DELETE", "/v1/vendor/webhooks/"+id+"?vendor="+s.origin, nil), http.StatusOK, payword.Accepted)
	s.mustAsk(iban)
	b.deliver()
	r.wantKinds("webhook.added", "webhook.removed")
}

// An event is there if and only if what it tells was committed.
func TestEventsAreWrittenWithTheChange(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	r := b.newReceiver()
	s.addWebhook(r.URL, "redemption.paid")
	b.deliver()
	r.taken()
	u := b.newUser(10 * money.Unit)
	p := u.commit(s.origin, 100*cent)
	claim := s.claim(p, 10, 10*cent)
	request := payword.RedemptionRequest{Vendor: s.origin, Redemptions: []payword.Redemption{claim}}
	for _, point := range []string{"before redeem", "after redeem"} {
		b.SetFault(func(at string) error {
			if at == point {
				return errors.New("broken")
			}
			return nil
		})
		want(t, s.call(s.key, "POST", payword.PathRedemptions, request), http.StatusServiceUnavailable, payword.Accepted)
		b.SetFault(nil)
		b.deliver()
		if point == "before redeem" {
			r.wantKinds()
		} else {
			r.wantKinds("redemption.paid")
		}
	}
	s.wantResult(claim, payword.Accepted, 10*cent, 0)
	b.deliver()
	r.wantKinds()
}

// Messages that ended are kept for thirty days, and listed page by page.
func TestOldMessagesAreForgotten(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	r := b.newReceiver()
	s.addWebhook(r.URL)
	b.deliver()
	b.clock.advance(31 * day)
	s.mustAsk(iban)
	b.deliver()
	if err := b.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.deliveries(); len(got) != 1 || got[0].Event != "vendor.payout-destination-requested" {
		t.Errorf("got %+v", got)
	}
	for range 60 { // two messages each
		s.mustAsk(otherIBAN)
		s.mustAsk(iban)
	}
	seen := make(map[string]bool)
	for after := ""; ; {
		var page struct {
			Deliveries []delivery
			Next       string
		}
		s.call(s.key, "GET", "/v1/vendor/deliveries?vendor="+s.origin+"&after="+after, nil).into(t, http.StatusOK, &page)
		for _, d := range page.Deliveries {
			seen[d.ID] = true
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if len(seen) != 121 {
		t.Errorf("the pages have %d messages, want 121", len(seen))
	}
}

func FuzzCheckWebhookURL(f *testing.F) {
	for _, seed := range []string{"https://news.example/hook?a=1", "http://127.0.0.1:80/", "https://[::1]/", "https://u@h/", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if broker.CheckWebhookURL(address) != nil {
			return
		}
		request, err := http.NewRequest(http.MethodPost, address, nil)
		if err != nil || request.URL.Host == "" || request.URL.User != nil || request.URL.String() != address {
			t.Errorf("%q was taken, and leads to %v: %v", address, request, err)
		}
	})
}
