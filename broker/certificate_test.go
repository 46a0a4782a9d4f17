package broker_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/paywordhq/payword"
)

// trusted returns the keys that the broker publishes.
func (b *bank) trusted() payword.Brokers {
	b.t.Helper()
	keys, err := payword.ParseJWKS(b.plain("GET", payword.PathBrokerKeys, nil).body)
	if err != nil {
		b.t.Fatal(err)
	}
	return payword.Brokers{issuer: keys}
}

func (b *bank) wantPublished(want ...ed25519.PublicKey) {
	b.t.Helper()
	got := b.trusted()[issuer]
	for _, key := range want {
		if got[payword.Thumbprint(key)] == nil {
			b.t.Errorf("key %s is not published", payword.Thumbprint(key))
		}
	}
	if len(got) != len(want) {
		b.t.Errorf("%d keys are published, want %d", len(got), len(want))
	}
}

// read parses certificates that the broker issued.
func (b *bank) read(a answer) []payword.Certificate {
	b.t.Helper()
	var issued payword.CertificateAnswer
	a.into(b.t, http.StatusOK, &issued)
	var all []payword.Certificate
	for _, token := range issued.Certificates {
		certificate, refusal := payword.ParseCertificate(token, b.trusted())
		if refusal.Refused() {
			b.t.Fatal(refusal)
		}
		all = append(all, certificate)
	}
	return all
}

// list fetches the hot list that a certificate names, as a gate does.
func (b *bank) list(c payword.Certificate) *payword.StatusList {
	b.t.Helper()
	a := b.plain("GET", strings.TrimPrefix(c.Status.URI, issuer), nil)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/statuslist+jwt" {
		b.t.Fatalf("got status %d, content type %q: %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	list, err := payword.ParseStatusList(string(a.body), issuer, c.Status.URI, b.trusted())
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

func (b *bank) wantStatus(c payword.Certificate, want uint8) {
	b.t.Helper()
	if got, found := b.list(c).Status(c.Status.Index); !found || got != want {
		b.t.Errorf("%s: got status %d (%t), want %d", c.Subject, got, found, want)
	}
}

func (u *user) renew(subjects ...string) answer {
	return u.call(u.key, "POST", payword.PathRenewals, payword.RenewalRequest{Subjects: subjects})
}

func (u *user) revoke(subjects ...string) answer {
	return u.call(u.key, "POST", payword.PathRevocations, payword.RevocationRequest{Subjects: subjects, All: subjects == nil})
}

// A renewed certificate is the same pseudonym's, with the same key and the same
// bounds, and is a certificate of its own. The age is what is known now.
func TestRenewal(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	key := newKey()
	first := b.read(u.call(u.key, "POST", payword.PathCertificates, payword.CertificateRequest{
		Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(key))}, Prefixes: []string{"192.0.2.0/24", "2001:db8::/32"},
	}))[0]
	if refusal, err := b.SetAge(t.Context(), u.account, 21); err != nil || refusal.Refused() {
		t.Fatal(refusal, err)
	}
	b.clock.advance(6 * 24 * 3600)
	second := b.read(u.renew(first.Subject))[0]
	if second.Subject != first.Subject || !second.Key.Equal(first.Key) || !slices.Equal(second.Prefixes, first.Prefixes) {
		t.Errorf("got %+v, want the subject, key and prefixes of %+v", second, first)
	}
	if first.Age != 0 || second.Age != 21 || second.ID == first.ID || *second.Status == *first.Status || second.Expires != first.Expires+6*24*3600 {
		t.Errorf("got %+v after %+v", second, first)
	}
	// Long after it has expired, too: the vendor goes on to know the user.
	b.clock.advance(100 * 24 * 3600)
	third := b.read(u.renew(first.Subject))[0]
	m := payword.Commitment{
		Vendor: s.origin, Certificate: third, IssuedAt: b.clock.seconds.Load(), Expires: third.Expires, Currency: usd,
		Limit: 10 * cent, Chains: []payword.ChainTerms{{Unit: cent, Length: 10, Root: payword.Payword{7}}},
	}
	m, err := payword.SignCommitment(m, key)
	if err != nil {
		t.Fatal(err)
	}
	reserved := u.call(u.key, "POST", payword.PathReservations, payword.ReservationRequest{Commitment: m.Token, Amount: cent})
	want(t, reserved, http.StatusOK, payword.Accepted)
}

func TestRenewalRefusals(t *testing.T) {
	b := newBank(t)
	u, other := b.newUser(0), b.newUser(0)
	mine, _ := u.certificate()
	foreign, _ := other.certificate()
	want(t, u.renew(mine.Subject, foreign.Subject), http.StatusBadRequest, payword.MalformedCertificate)
	want(t, u.renew("nobody"), http.StatusBadRequest, payword.MalformedCertificate)
	want(t, u.renew(), http.StatusUnprocessableEntity, payword.Accepted)
	want(t, u.renew(slices.Repeat([]string{mine.Subject}, 17)...), http.StatusUnprocessableEntity, payword.Accepted)
	u.revoke(mine.Subject)
	want(t, u.renew(mine.Subject), http.StatusForbidden, payword.CertificateRevoked)
	b.clock.advance(365 * 24 * 3600)
	want(t, u.renew(mine.Subject), http.StatusForbidden, payword.CertificateRevoked)
}

// What was revoked is on the hot list and reserves nothing any more; what was
// reserved before is paid.
func TestRevocation(t *testing.T) {
	b := newBank(t)
	u, other, s := b.newUser(100*cent), b.newUser(100*cent), b.newShop()
	reserved, late := u.commit(s.origin, 10*cent), u.commit(s.origin, 10*cent)
	kept, foreign := u.commit(s.origin, 10*cent), other.commit(s.origin, 10*cent)
	reserved.mustReserve(5 * cent)
	stolen := []payword.Certificate{reserved.m.Certificate, late.m.Certificate}
	b.wantStatus(stolen[0], payword.StatusValid)

	var answer payword.RevocationAnswer
	u.revoke(stolen[0].Subject, stolen[1].Subject, foreign.m.Certificate.Subject).into(t, http.StatusOK, &answer)
	if answer.Revoked != 2 {
		t.Errorf("%d were revoked, want the user's own two", answer.Revoked)
	}
	b.clock.advance(5)
	for _, c := range stolen {
		b.wantStatus(c, payword.StatusInvalid)
	}
	b.wantStatus(kept.m.Certificate, payword.StatusValid)
	b.wantStatus(foreign.m.Certificate, payword.StatusValid)
	want(t, late.reserve(cent), http.StatusForbidden, payword.CertificateRevoked)
	want(t, reserved.reserve(6*cent), http.StatusForbidden, payword.CertificateRevoked)
	reserved.mustReserve(5 * cent) // which is what was promised
	kept.mustReserve(cent)
	s.wantResult(s.claim(reserved, 5, 5*cent), payword.Accepted, 5*cent, 5*cent)

	u.revoke().into(t, http.StatusOK, &answer)
	if answer.Revoked != 1 {
		t.Errorf("%d were revoked, want the one that was left", answer.Revoked)
	}
	want(t, kept.reserve(2*cent), http.StatusForbidden, payword.CertificateRevoked)
	var listed struct{ Certificates []struct{ Revoked bool } }
	u.call(u.key, "GET", payword.PathCertificates, nil).into(t, http.StatusOK, &listed)
	if len(listed.Certificates) != 3 || !listed.Certificates[0].Revoked || !listed.Certificates[2].Revoked {
		t.Errorf("the account is told of %+v", listed.Certificates)
	}
	b.wantSound()
}

func TestRevocationRefusals(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	c, _ := u.certificate()
	for _, body := range []string{`{}`, `{"subjects":[]}`, `{"all":true,"subjects":["` + c.Subject + `"]}`, `{"subjects":[""]}`} {
		want(t, u.call(u.key, "POST", payword.PathRevocations, body), http.StatusBadRequest, payword.MalformedCertificate)
	}
	want(t, b.admin("POST", "/v1/admin/revocations", `{"account":"nobody"}`), http.StatusNotFound, payword.UnknownAccount)
	want(t, b.plain("POST", "/v1/admin/revocations", `{"account":"`+u.account+`"}`), http.StatusUnauthorized, payword.Accepted)
	b.wantStatus(c, payword.StatusValid)
	var answer payword.RevocationAnswer
	b.admin("POST", "/v1/admin/revocations", `{"account":"`+u.account+`","subject":"`+c.Subject+`"}`).into(t, http.StatusOK, &answer)
	b.clock.advance(5)
	b.wantStatus(c, payword.StatusInvalid)
	if answer.Revoked != 1 {
		t.Errorf("%d were revoked, want 1", answer.Revoked)
	}
}

// The certificates of a blocked account and its sub-accounts are suspended. They
// come back when it is unblocked, but for what was revoked meanwhile, and for
// those of a sub-account that is blocked itself.
func TestSuspension(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(1000*cent), b.newShop()
	free, blocked := u.newSub(100*cent, payword.Limits{}), u.newSub(100*cent, payword.Limits{})
	p, revoked := u.commit(s.origin, 10*cent), u.commit(s.origin, 10*cent)
	ofFree, _ := free.certificate()
	ofBlocked, _ := blocked.certificate()
	set := func(account string, change func(context.Context, string, string) (payword.Account, payword.Refusal, error)) {
		t.Helper()
		if _, refusal, err := change(t.Context(), account, "a reason"); err != nil || refusal.Refused() {
			t.Fatal(refusal, err)
		}
		b.clock.advance(5)
	}
	set(blocked.account, b.BlockAccount)
	b.wantStatus(ofBlocked, payword.StatusSuspended)
	b.wantStatus(ofFree, payword.StatusValid)
	b.clock.advance(5)
	set(u.account, b.BlockAccount)
	for _, c := range []payword.Certificate{p.m.Certificate, revoked.m.Certificate, ofFree, ofBlocked} {
		b.wantStatus(c, payword.StatusSuspended)
	}
	want(t, u.revoke(revoked.m.Certificate.Subject), http.StatusOK, payword.Accepted)
	set(u.account, b.UnblockAccount)
	b.wantStatus(p.m.Certificate, payword.StatusValid)
	b.wantStatus(revoked.m.Certificate, payword.StatusInvalid)
	b.wantStatus(ofFree, payword.StatusValid)
	b.wantStatus(ofBlocked, payword.StatusSuspended)
	p.mustReserve(cent)
	want(t, revoked.reserve(cent), http.StatusForbidden, payword.CertificateRevoked)
	b.clock.advance(5)
	set(blocked.account, b.UnblockAccount)
	b.wantStatus(ofBlocked, payword.StatusValid)
}

// Gates that ask again are told that nothing has changed, and a flood of
// revocations has a list signed no more often than every five seconds.
func TestStatusListCaching(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	c, _ := u.certificate()
	path := strings.TrimPrefix(c.Status.URI, issuer)
	ask := func(etag string) answer {
		request, _ := b.request("GET", path, nil)
		request.Header.Set("If-None-Match", etag)
		return b.do(request)
	}
	first := ask(`"none"`)
	etag := first.header.Get("ETag")
	if first.status != http.StatusOK || etag == "" || first.header.Get("Cache-Control") != "public, max-age=30" {
		t.Fatalf("got %d, %v", first.status, first.header)
	}
	if again := ask(etag); again.status != http.StatusNotModified || len(again.body) > 0 || again.header.Get("ETag") != etag {
		t.Errorf("got %d, %v, %d bytes", again.status, again.header, len(again.body))
	}
	if list := b.list(c); list.TTLSeconds != 60 || list.IssuedAt != start || list.Expires != start+48*3600 {
		t.Errorf("got %+v", list)
	}
	b.clock.advance(3599)
	if again := ask(etag); again.status != http.StatusNotModified {
		t.Errorf("within the hour: got %d", again.status)
	}
	b.clock.advance(2)
	if again := ask(etag); again.status != http.StatusOK {
		t.Errorf("after the hour: got %d", again.status)
	}
	u.revoke()
	b.clock.advance(4)
	b.wantStatus(c, payword.StatusValid)
	b.clock.advance(2)
	b.wantStatus(c, payword.StatusInvalid)
	for _, path := range []string{"/v1/status-lists/2", "/v1/status-lists/9223372036854775807"} {
		want(t, b.plain("GET", path, nil), http.StatusNotFound, payword.Accepted)
	}
	for _, path := range []string{"/v1/status-lists/0", "/v1/status-lists/x", "/v1/status-lists/9223372036854775808"} {
		want(t, b.plain("GET", path, nil), http.StatusUnprocessableEntity, payword.Accepted)
	}
}

// Two brokers on one database give the same list, whichever is asked, and take
// each other's challenges.
func TestBrokersShareListsAndChallenges(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	c, _ := u.certificate()
	second := *b
	second.open()
	path := strings.TrimPrefix(c.Status.URI, issuer)
	var wait sync.WaitGroup
	tokens := make([]string, 16)
	for k := range tokens {
		from := []*bank{b, &second}[k%2]
		wait.Go(func() { tokens[k] = string(from.plain("GET", path, nil).body) })
	}
	wait.Wait()
	for k, token := range tokens {
		if token != tokens[0] || token == "" {
			t.Errorf("answer %d is another list than the first", k)
		}
	}
	u.revoke()
	b.clock.advance(5)
	second.wantStatus(c, payword.StatusInvalid)
	if one, other := b.plain("GET", path, nil), second.plain("GET", path, nil); string(one.body) != string(other.body) || one.header.Get("ETag") != other.header.Get("ETag") {
		t.Error("after a revocation they give different lists")
	}
	var challenge payword.AccountChallenge
	second.plain("POST", payword.PathChallenges, nil).into(t, http.StatusOK, &challenge)
	b.clock.advance(200)
	key := newKey()
	opened := b.call(key, "POST", payword.PathAccounts, payword.OpenAccount{Key: payword.NewPublicKey(publicKey(key)), Challenge: challenge.Challenge})
	want(t, opened, http.StatusCreated, payword.Accepted)
}

// A challenge is good over midnight, and not a day later.
func TestChallengeOverMidnight(t *testing.T) {
	b := newBank(t)
	b.clock.seconds.Store((start/86400+1)*86400 - 10)
	open := func(after int64) answer {
		var challenge payword.AccountChallenge
		b.plain("POST", payword.PathChallenges, nil).into(t, http.StatusOK, &challenge)
		b.clock.advance(after)
		key := newKey()
		return b.call(key, "POST", payword.PathAccounts, payword.OpenAccount{Key: payword.NewPublicKey(publicKey(key)), Challenge: challenge.Challenge})
	}
	want(t, open(20), http.StatusCreated, payword.Accepted)
	want(t, open(300), http.StatusUnprocessableEntity, payword.ChallengeExpired)
	want(t, open(3*86400), http.StatusUnprocessableEntity, payword.InvalidChallenge)
}

// A list that is full is followed by another, both are published, and the first
// one ends after its last certificate.
func TestStatusListsFollowEachOther(t *testing.T) {
	b := newBank(t)
	if err := b.AddStatusList(t.Context(), 1, 16); err != nil {
		t.Fatal(err)
	}
	u := b.newUser(0)
	byList := make(map[string][]payword.Certificate)
	for range 40 {
		c, _ := u.certificate()
		byList[c.Status.URI] = append(byList[c.Status.URI], c)
	}
	first, second := byList[issuer+"/v1/status-lists/1"], byList[issuer+"/v1/status-lists/2"]
	if len(byList) != 2 || len(first) > 16 || len(first) < 8 || len(second) != 40-len(first) {
		t.Fatalf("%d lists, %d and %d certificates", len(byList), len(first), len(second))
	}
	places := make(map[uint32]bool)
	for _, c := range first {
		if places[c.Status.Index] || c.Status.Index >= 16 {
			t.Errorf("place %d was given twice, or is none", c.Status.Index)
		}
		places[c.Status.Index] = true
	}
	u.revoke(first[0].Subject, second[0].Subject)
	b.wantStatus(first[0], payword.StatusInvalid)
	b.wantStatus(second[0], payword.StatusInvalid)
	b.wantStatus(first[1], payword.StatusValid)
	b.clock.advance(first[0].Expires - start + 3*24*3600)
	b.runOnce()
	b.list(first[0])
	b.clock.advance(2)
	b.runOnce()
	want(t, b.plain("GET", "/v1/status-lists/1", nil), http.StatusNotFound, payword.Accepted)
	b.list(second[0]) // the newest goes on
}

// Neither a place nor a time tells which certificates were issued together.
func TestCertificatesThatWereIssuedTogetherCannotBeJoined(t *testing.T) {
	b := newBank(t)
	var indexes []uint32
	times := make(map[int64]bool)
	for range 20 {
		u := b.newUser(0)
		var request payword.CertificateRequest
		for range 10 {
			request.Keys = append(request.Keys, payword.NewPublicKey(publicKey(newKey())))
		}
		for _, c := range b.read(u.call(u.key, "POST", payword.PathCertificates, request)) {
			indexes = append(indexes, c.Status.Index)
			times[c.IssuedAt], times[c.Expires] = true, true
		}
		b.clock.advance(60)
	}
	if len(times) != 2 {
		t.Errorf("users of the same hour have %d different times in their certificates, want 2", len(times))
	}
	near := 0 // to the one issued before, within a hundredth of the list
	for k := 1; k < len(indexes); k++ {
		if distance := int(indexes[k]) - int(indexes[k-1]); distance > -1310 && distance < 1310 {
			near++
		}
	}
	if near > 20 { // 4 are expected; more than 20 come by chance once in 10^8 times
		t.Errorf("%d of 199 certificates lie beside the one issued before", near)
	}
}

// An account has a bounded number of certificates, however it renews and revokes.
func TestCertificatesOfAnAccountAreBounded(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	c, _ := u.certificate()
	subjects := slices.Repeat([]string{c.Subject}, 16)
	for range 255 {
		want(t, u.renew(subjects...), http.StatusOK, payword.Accepted)
	}
	want(t, u.renew(subjects...), http.StatusTooManyRequests, payword.RateLimited)
	u.revoke()
	key := payword.NewPublicKey(publicKey(newKey()))
	request := payword.CertificateRequest{Keys: []payword.PublicKey{key}}
	for range 15 {
		b.read(u.call(u.key, "POST", payword.PathCertificates, request))
	}
	want(t, u.call(u.key, "POST", payword.PathCertificates, request), http.StatusTooManyRequests, payword.RateLimited)
	b.clock.advance(8 * 24 * 3600)
	want(t, u.call(u.key, "POST", payword.PathCertificates, request), http.StatusOK, payword.Accepted)
}

// A list is small, however many are revoked.
func TestStatusListSize(t *testing.T) {
	b := newBank(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, c := range []struct{ places, revoked, atMost int }{
		{1 << 17, 0, 600}, {1 << 17, 100, 1000}, {1 << 17, 10_000, 19_000},
		{1 << 22, 0, 2500}, {1 << 22, 100, 3200}, {1 << 22, 10_000, 40_000},
	} {
		var revoked []uint32
		for _, index := range random.Perm(c.places)[:c.revoked] {
			revoked = append(revoked, uint32(index))
		}
		token, err := b.SignStatuses(t.Context(), int64(c.places), revoked)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d places, %d revoked: %d bytes", c.places, c.revoked, len(token))
		if len(token) > c.atMost {
			t.Errorf("%d places, %d revoked: %d bytes, want at most %d (seed %d)", c.places, c.revoked, len(token), c.atMost, seed)
		}
	}
}

// Whatever is sent where certificates are issued, renewed and revoked is
// answered with what it deserves, and breaks nothing.
func FuzzCertificateBodies(f *testing.F) {
	for _, body := range []string{`{"keys":[]}`, `{"subjects":["a"]}`, `{"all":true}`, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}],"prefixes":["::/0"]}`, `null`, `{`} {
		f.Add(uint8(0), body)
		f.Add(uint8(1), body)
		f.Add(uint8(2), body)
	}
	f.Fuzz(func(t *testing.T, route uint8, body string) {
		u := newBank(t).newUser(0)
		path := []string{payword.PathCertificates, payword.PathRenewals, payword.PathRevocations}[route%3]
		a := u.call(u.key, "POST", path, body)
		if a.status/100 == 5 || a.status/100 != 2 && !json.Valid(a.body) {
			t.Errorf("%s: got %d for %q: %s", path, a.status, body, a.body)
		}
	})
}

func (b *bank) runOnce() {
	b.t.Helper()
	if err := b.RunOnce(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// What is noted once for all the requests of a day can fail before and after it
// is done: the request is answered 503 then, and asked again it is served.
func TestFailuresWhileCertifying(t *testing.T) {
	for _, point := range []string{"challenge secret", "note signed", "add list", "certify", "revoke", "sign list"} {
		for _, when := range []string{"before ", "after "} {
			t.Run(when+point, func(t *testing.T) {
				b := newBank(t)
				failed := 0
				b.SetFault(func(at string) error {
					if at == when+point && failed == 0 {
						failed++
						return errors.New("the disk is full")
					}
					return nil
				})
				again := func(ask func() answer) answer {
					a := ask()
					if a.status == http.StatusServiceUnavailable && failed == 1 {
						failed++
						a = ask()
					}
					return a
				}
				var challenge payword.AccountChallenge
				again(func() answer { return b.plain("POST", payword.PathChallenges, nil) }).into(t, http.StatusOK, &challenge)
				u := b.newUser(0)
				key := payword.NewPublicKey(publicKey(newKey()))
				c := b.read(again(func() answer {
					return u.call(u.key, "POST", payword.PathCertificates, payword.CertificateRequest{Keys: []payword.PublicKey{key}})
				}))[0]
				want(t, again(func() answer { return u.revoke(c.Subject) }), http.StatusOK, payword.Accepted)
				b.clock.advance(5)
				path := strings.TrimPrefix(c.Status.URI, issuer)
				want(t, again(func() answer { return b.plain("GET", path, nil) }), http.StatusOK, payword.Accepted)
				b.wantStatus(c, payword.StatusInvalid)
				if failed != 2 {
					t.Errorf("it failed at %d of the requests, want one that was asked again", failed)
				}
			})
		}
	}
}
