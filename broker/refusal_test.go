package broker_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Only who holds the account's key can speak for it, once for each signature.
func TestRequestSignatures(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	replaced := func(name, value string) *http.Request {
		request := b.signed(u.key, "GET", payword.PathAccount, nil)
		request.Header.Set(name, value)
		return request
	}
	foreign := b.signed(newKey(), "GET", payword.PathAccount, nil)
	forged := b.signed(u.key, "GET", payword.PathAccount, nil)
	forged.Header.Set(payword.HeaderSignature, foreign.Header.Get(payword.HeaderSignature))
	elsewhere := b.signed(u.key, "GET", payword.PathReservations, nil)
	elsewhere.URL.Path = payword.PathAccount
	otherQuery := b.signed(u.key, "GET", payword.PathReservations, nil)
	otherQuery.URL.RawQuery = "after=x"
	otherBody := b.signed(u.key, "POST", payword.PathCertificates, `{"keys":[]}`)
	otherBody.Body, otherBody.ContentLength = io.NopCloser(strings.NewReader(`{"keys":[0]}`)), 12
	twice := b.signed(u.key, "GET", payword.PathAccount, nil)
	twice.Header.Add(payword.HeaderSignature, twice.Header.Get(payword.HeaderSignature))
	b.clock.advance(-301)
	old := b.signed(u.key, "GET", payword.PathAccount, nil)
	b.clock.advance(602)
	coming := b.signed(u.key, "GET", payword.PathAccount, nil)
	b.clock.advance(-301)
	unsigned, _ := b.request("GET", payword.PathAccount, nil)

	cases := []struct {
		name    string
		request *http.Request
		status  int
		reason  payword.Reason
	}{
		{"not signed", unsigned, http.StatusUnauthorized, payword.BadSignature},
		{"another's signature", forged, http.StatusUnauthorized, payword.BadSignature},
		{"a key without an account", foreign, http.StatusNotFound, payword.UnknownAccount},
		{"another path", elsewhere, http.StatusUnauthorized, payword.BadSignature},
		{"another query", otherQuery, http.StatusUnauthorized, payword.BadSignature},
		{"another body", otherBody, http.StatusUnauthorized, payword.BadSignature},
		{"two signatures", twice, http.StatusUnauthorized, payword.BadSignature},
		{"signed too long ago", old, http.StatusUnauthorized, payword.BadSignature},
		{"signed in the future", coming, http.StatusUnauthorized, payword.BadSignature},
		{"no signature input", replaced(payword.HeaderSignatureInput, "sig=()"), http.StatusUnauthorized, payword.BadSignature},
		{"no digest", replaced(payword.HeaderContentDigest, "sha-256=::"), http.StatusUnauthorized, payword.BadSignature},
		{"a signature that is none", replaced(payword.HeaderSignature, "sig=:AAAA:"), http.StatusUnauthorized, payword.BadSignature},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { want(t, b.do(c.request), c.status, c.reason) })
	}

	good := b.signed(u.key, "GET", payword.PathAccount, nil)
	want(t, b.do(good.Clone(t.Context())), http.StatusOK, payword.Accepted)
	want(t, b.do(good), http.StatusUnauthorized, payword.BadSignature)
	if a := b.do(good); !strings.Contains(string(a.body), "nonce") {
		t.Errorf("a request that was sent twice got %s", a.body)
	}
}

// A body that is not what the document describes is refused before anything is
// done.
func TestForms(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(0), b.newShop()
	limit := func(a answer, name string) {
		t.Helper()
		if a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	limit(u.call(u.key, "POST", payword.PathReservations, `{"x":"`+strings.Repeat("a", 8<<10)+`"}`), "reservation")
	limit(u.call(u.key, "POST", payword.PathCertificates, `{"x":"`+strings.Repeat("a", 16<<10)+`"}`), "certificates")
	limit(s.call(s.key, "POST", payword.PathRedemptions, `{"x":"`+strings.Repeat("a", 3<<20)+`"}`), "redemptions")
	limit(b.call(newKey(), "POST", payword.PathAccounts, strings.Repeat(" ", 4<<10+1)), "accounts")
	limit(u.call(u.key, "GET", payword.PathAccount, "x"), "a body where none is")

	claims := payword.RedemptionRequest{Vendor: s.origin, Redemptions: make([]payword.Redemption, payword.MaxRedemptionsPerRequest+1)}
	cases := []struct {
		name   string
		answer answer
		status int
	}{
		{"truncated JSON", u.call(u.key, "POST", payword.PathReservations, `{"commitment":"a","am`), http.StatusBadRequest},
		{"no JSON", u.call(u.key, "POST", payword.PathReservations, "commitment"), http.StatusBadRequest},
		{"no body", u.call(u.key, "POST", payword.PathReservations, nil), http.StatusBadRequest},
		{"a member missing", u.call(u.key, "POST", payword.PathReservations, `{"commitment":"a"}`), 422},
		{"a member too many", u.call(u.key, "POST", payword.PathReservations, `{"commitment":"a","amount":"1","fee":"1"}`), 422},
		{"an amount as a number", u.call(u.key, "POST", payword.PathReservations, `{"commitment":"a","amount":1}`), 422},
		{"an amount with a sign", u.call(u.key, "POST", payword.PathReservations, `{"commitment":"a","amount":"-1"}`), 422},
		{"an amount past all", u.call(u.key, "POST", payword.PathReservations, `{"commitment":"a","amount":"1000000000000000"}`), 422},
		{"a commitment too long", u.call(u.key, "POST", payword.PathReservations,
			payword.ReservationRequest{Commitment: strings.Repeat("a", payword.MaxCommitmentBytes+1), Amount: 1}), 422},
		{"no redemptions", s.call(s.key, "POST", payword.PathRedemptions, payword.RedemptionRequest{Vendor: s.origin, Redemptions: []payword.Redemption{}}), 422},
		{"null for redemptions", s.call(s.key, "POST", payword.PathRedemptions, `{"vendor":"`+s.origin+`","redemptions":null}`), 422},
		{"null for keys", u.call(u.key, "POST", payword.PathCertificates, `{"keys":null}`), 422},
		{"too many redemptions", s.call(s.key, "POST", payword.PathRedemptions, claims), 422},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { want(t, c.answer, c.status, payword.Accepted) })
	}
	form := b.signed(u.key, "POST", payword.PathReservations, `commitment=a`)
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	want(t, b.do(form), http.StatusUnsupportedMediaType, payword.Accepted)
	a := u.call(u.key, "POST", payword.PathReservations, `{"commitment":"sesame","amount":"many"}`)
	if bytes.Contains(a.body, []byte("sesame")) {
		t.Errorf("a refusal quotes the request: %s", a.body)
	}
}

func TestReservationRefusals(t *testing.T) {
	b := newBank(t)
	u, other, s := b.newUser(3000*cent), b.newUser(100*cent), b.newShop()
	stranger := newBank(t) // the same issuer's name, another key
	strange := stranger.newUser(100 * cent)

	good := u.commit(s.origin, 100*cent)
	early := u.commit(s.origin, 100*cent, func(m *payword.Commitment) { m.IssuedAt += 61 })
	foreign := strange.commit(s.origin, 100*cent)
	cut := good.m.Token[:len(good.m.Token)-1]
	reserve := func(token string, amount money.Amount) answer {
		return u.call(u.key, "POST", payword.PathReservations, payword.ReservationRequest{Commitment: token, Amount: amount})
	}
	cases := []struct {
		name   string
		answer answer
		status int
		reason payword.Reason
	}{
		{"a truncated commitment", reserve(cut, cent), 400, payword.MalformedCommitment},
		{"a forged commitment", reserve(flip(good.m.Token), cent), 422, payword.BadCommitment},
		{"no commitment", reserve("", cent), 400, payword.MalformedCommitment},
		{"another broker's certificate", reserve(foreign.m.Token, cent), 422, payword.UnknownBroker},
		{"another account's certificate", reserve(other.commit(s.origin, cent).m.Token, cent), 404, payword.UnknownAccount},
		{"made in the future", early.reserve(cent), 422, payword.CommitmentNotYetValid},
		{"nothing", good.reserve(0), 422, payword.ReservationMismatch},
		{"more than the commitment's limit", good.reserve(100*cent + 1), 422, payword.ReservationMismatch},
		{"more than there is", other.commit(s.origin, 200*cent).reserve(100*cent + 1), 409, payword.InsufficientFunds},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { want(t, c.answer, c.status, c.reason) })
	}
	u.wantBalance(3000*cent, 0)
	other.wantBalance(100*cent, 0)

	good.mustReserve(cent)
	b.clock.advance(3600)
	want(t, good.reserve(2*cent), 422, payword.CommitmentExpired)
	if again := good.mustReserve(cent); again.Sequence != 1 {
		t.Errorf("what is reserved already was not answered again: %+v", again)
	}
	b.wantSound()
}

// flip changes one bit in the signature of a token.
func flip(token string) string {
	changed := []byte(token)
	at := strings.LastIndexByte(token, '.') + 10
	if changed[at] == 'A' {
		changed[at] = 'B'
	} else {
		changed[at] = 'A'
	}
	return string(changed)
}

// A root belongs to the first commitment of an account that was reserved with
// it. Whoever copies it into a commitment of another account neither blocks its
// owner nor makes a fraud of it.
func TestReservationOfReusedRoot(t *testing.T) {
	b := newBank(t)
	u, thief, s := b.newUser(100*cent), b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 10*cent)
	again := u.commit(s.origin, 10*cent, func(m *payword.Commitment) { m.Nonce = p.m.Nonce })
	if again.m.Chains[0].Root != p.m.Chains[0].Root || again.m.ID == p.m.ID {
		t.Fatal("the two commitments should differ and share their root")
	}
	thief.seed = u.seed
	stolen := thief.commit(s.origin, 10*cent, func(m *payword.Commitment) { m.Nonce = p.m.Nonce })
	stolen.mustReserve(10 * cent)
	p.mustReserve(10 * cent)
	want(t, again.reserve(10*cent), http.StatusConflict, payword.RootReused)
	u.wantBalance(90*cent, 10*cent)
	thief.wantBalance(90*cent, 10*cent)
	p.mustReserve(10 * cent)
	// A refused commitment must not have claimed its other chains either.
	free := u.commit(s.origin, 10*cent, func(m *payword.Commitment) {
		m.Nonce = p.m.Nonce
		m.Chains = append([]payword.ChainTerms{{Unit: 1, Length: 7}}, m.Chains...)
		m.Chains[1].Length = 50
	})
	free.mustReserve(cent)
	s.wantResult(s.claim(stolen, 3, 3*cent), payword.Accepted, 3*cent, 3*cent)
	s.wantResult(s.claim(p, 3, 3*cent), payword.Accepted, 3*cent, 3*cent)
	if strings.Contains(b.journal.String(), "root reused") {
		t.Error("somebody was accused of what another account did")
	}
	s.wantResult(s.claim(again, 3, 3*cent), payword.Accepted, 3*cent, 3*cent)
	if !strings.Contains(b.journal.String(), "account="+u.account) {
		t.Error("the owner's own reuse was not logged")
	}
	b.wantSound()
}

// All reservations of a day for one vendor together stay within what the
// certificates allow; another vendor and another day have limits of their own.
func TestReservationsOfADay(t *testing.T) {
	b := newBank(t)
	b.config.CertificateLimit = 50 * cent
	b.open()
	u, s, other := b.newUser(1000*cent), b.newShop(), b.newShop()
	first, second, third := u.commit(s.origin, 50*cent), u.commit(s.origin, 50*cent), u.commit(s.origin, 50*cent)
	first.mustReserve(30 * cent)
	want(t, second.reserve(21*cent), 422, payword.OverCertificateLimit)
	second.mustReserve(15 * cent)
	want(t, first.reserve(36*cent), 422, payword.OverCertificateLimit)
	first.mustReserve(35 * cent)
	want(t, third.reserve(1), 422, payword.OverCertificateLimit)
	u.commit(other.origin, 50*cent).mustReserve(50 * cent)
	// What a vendor gives back is free again.
	s.wantResult(s.claim(first, 5, 5*cent, final), payword.Accepted, 5*cent, 5*cent)
	third.mustReserve(30 * cent)
	want(t, third.reserve(31*cent), 422, payword.OverCertificateLimit)
	b.clock.advance(24 * 3600)
	u.commit(s.origin, 50*cent).mustReserve(50 * cent)
	b.wantSound()
}

func TestVendorRefusals(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	unlisted := b.newSite()
	unlisted.listed = s.listed
	foreign := b.newSite()
	foreignOrigin := foreign.origin
	foreign.origin = s.origin
	register := func(s *shop, origin string) answer {
		return s.call(s.key, "POST", payword.PathVendors, payword.VendorRequest{Vendor: origin, Key: payword.NewPublicKey(publicKey(s.key))})
	}
	gone := b.newSite()
	goneOrigin := strings.Replace(gone.origin, "127.0.0.1", "127.0.0.2", 1)
	crowded := b.newSite()
	for range 8 {
		crowded.listed = append(crowded.listed, payword.NewPublicKey(publicKey(newKey())))
	}
	cases := []struct {
		name   string
		answer answer
		reason payword.Reason
	}{
		{"a key that is not listed", unlisted.register(), payword.VendorNotProved},
		{"a document of another vendor", register(foreign, foreignOrigin), payword.VendorNotProved},
		{"a site that does not answer", register(gone, goneOrigin), payword.VendorNotProved},
		{"too many keys", crowded.register(), payword.VendorNotProved},
		{"no origin", register(s, "news.example"), payword.VendorNotProved},
		{"plain HTTP", register(s, "http://news.example"), payword.VendorNotProved},
		{"a private address", register(s, "https://10.0.0.1"), payword.VendorNotProved},
		{"a metadata service", register(s, "https://169.254.169.254"), payword.VendorNotProved},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { want(t, c.answer, http.StatusForbidden, c.reason) })
	}
	for _, path := range []string{"?vendor=" + foreignOrigin, "?vendor=" + unlisted.origin, "?vendor=x"} {
		want(t, s.call(s.key, "GET", "/v1/vendor"+path, nil), http.StatusNotFound, payword.UnknownVendor)
	}
	want(t, s.call(s.key, "GET", "/v1/vendor", nil), 422, payword.Accepted)
	want(t, unlisted.call(unlisted.key, "GET", "/v1/vendor?vendor="+s.origin, nil), http.StatusNotFound, payword.UnknownVendor)

	b.config.AllowLoopbackVendors = false
	b.open()
	late := b.newSite()
	want(t, late.register(), http.StatusForbidden, payword.VendorNotProved)
}

// A vendor changes its key by listing another one; the old one is forgotten
// then.
func TestVendorKeys(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 10*cent)
	p.mustReserve(10 * cent)
	old := s.key
	oldClaim := s.claim(p, 3, 3*cent)
	s.key = newKey()
	want(t, s.register(), http.StatusForbidden, payword.VendorNotProved)
	s.listed = append(s.listed, payword.NewPublicKey(publicKey(s.key)))
	want(t, s.register(), http.StatusOK, payword.Accepted)
	// While both are listed, a claim that the old key signed may be sent.
	s.wantResult(oldClaim, payword.Accepted, 3*cent, 3*cent)
	s.listed = s.listed[1:]
	want(t, s.register(), http.StatusOK, payword.Accepted)
	want(t, s.call(old, "GET", "/v1/vendor?vendor="+s.origin, nil), http.StatusNotFound, payword.UnknownVendor)
	s.wantResult(s.claim(p, 4, 4*cent), payword.Accepted, 4*cent, cent)
	s.wantResult(oldClaim, payword.BadClaim, 4*cent, 0)
}
