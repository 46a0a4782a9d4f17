package broker_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/money"
)

func TestOpenAccount(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	var again payword.Account
	u.openAccount().into(t, http.StatusOK, &again)
	if again.Account != u.account {
		t.Errorf("the same key got account %s, then %s", u.account, again.Account)
	}
	if again.Currency != usd || again.Available != 0 || again.Reserved != 0 || again.Credit != 0 {
		t.Errorf("got %+v", again)
	}
}

func TestOpenAccountRefusals(t *testing.T) {
	b := newBank(t)
	key := newKey()
	open := func(challenge string) answer {
		return b.call(key, "POST", payword.PathAccounts,
			payword.OpenAccount{Key: payword.NewPublicKey(publicKey(key)), Challenge: challenge})
	}
	var challenge payword.AccountChallenge
	b.plain("POST", payword.PathChallenges, nil).into(t, http.StatusOK, &challenge)
	if challenge.Expires != start+300 {
		t.Errorf("got expiry %d, want %d", challenge.Expires, start+300)
	}
	forged := []byte(challenge.Challenge)
	forged[30] ^= 1
	want(t, open(""), http.StatusUnprocessableEntity, payword.InvalidChallenge)
	want(t, open(string(forged)), http.StatusUnprocessableEntity, payword.InvalidChallenge)
	b.clock.advance(300)
	want(t, open(challenge.Challenge), http.StatusUnprocessableEntity, payword.ChallengeExpired)
}

func TestFunding(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	type funding map[string]string
	whole := funding{"id": "bank-17", "account": u.account, "amount": "5000000", "currency": "usd-micro"}
	with := func(name, value string) funding {
		changed := funding{}
		for k, v := range whole {
			changed[k] = v
		}
		changed[name] = value
		return changed
	}
	cases := []struct {
		name   string
		body   funding
		status int
		reason payword.Reason
	}{
		{"no such account", with("account", "aaaaaaaaaaaaaaaa"), http.StatusNotFound, payword.UnknownAccount},
		{"no account's id", with("account", "../vendor"), http.StatusNotFound, payword.UnknownAccount},
		{"another currency", with("currency", "eur-micro"), http.StatusUnprocessableEntity, payword.WrongCurrency},
		{"first", whole, http.StatusOK, payword.Accepted},
		{"again", whole, http.StatusOK, payword.Accepted},
		{"same id, another amount", with("amount", "5000001"), http.StatusConflict, payword.IdempotencyDiffers},
		{"negative", with("amount", "-5"), http.StatusUnprocessableEntity, payword.Accepted},
		{"nothing", with("amount", "0"), http.StatusUnprocessableEntity, payword.Accepted},
		{"an id with a space", with("id", "a b"), http.StatusUnprocessableEntity, payword.Accepted},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want(t, b.admin("POST", "/v1/admin/fundings", c.body), c.status, c.reason)
		})
	}
	u.wantBalance(5*money.Unit, 0)
	b.wantSound()
}

func TestIdempotencyKey(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	ask := func(idempotencyKey string, keys ...payword.PublicKey) answer {
		request := b.signed(u.key, "POST", payword.PathCertificates, payword.CertificateRequest{Keys: keys})
		request.Header.Set("Idempotency-Key", idempotencyKey)
		return b.do(request)
	}
	one, other := payword.NewPublicKey(publicKey(newKey())), payword.NewPublicKey(publicKey(newKey()))
	first, again, free := ask("k", one), ask("k", one), ask("", one)
	if first.status != http.StatusOK || string(first.body) != string(again.body) {
		t.Errorf("the same key and body got %s, then %s", first.body, again.body)
	}
	if free.status != http.StatusOK || string(first.body) == string(free.body) {
		t.Errorf("without a key the same certificate came again: %s", free.body)
	}
	want(t, ask("k", other), http.StatusConflict, payword.IdempotencyDiffers)

	fund := func(id string) answer {
		request, _ := b.request("POST", "/v1/admin/fundings",
			map[string]string{"id": id, "account": u.account, "amount": "10", "currency": "usd-micro"})
		request.Header.Set("Authorization", "Bearer "+adminToken)
		request.Header.Set("Idempotency-Key", "f")
		return b.do(request)
	}
	before := fund("first")
	u.fund("second", cent)
	if after := fund("first"); string(after.body) != string(before.body) {
		t.Errorf("the same key and body got %s, then %s", before.body, after.body)
	}
	want(t, fund("third"), http.StatusConflict, payword.IdempotencyDiffers)
	u.wantBalance(cent+10, 0)
}

func TestCredit(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(10*cent), b.newShop()
	path := "/v1/admin/accounts/" + u.account + "/credit"
	set := func(micros string) answer { return b.admin("PUT", path, map[string]string{"credit": micros}) }
	want(t, set("300000"), http.StatusForbidden, payword.NotPermitted)
	u.tie("customer 1")
	var account payword.Account
	set("300000").into(t, http.StatusOK, &account)
	if account.Credit != 30*cent || account.Available != 40*cent {
		t.Errorf("got %+v", account)
	}
	p := u.commit(s.origin, 100*cent)
	p.mustReserve(35 * cent)
	u.wantBalance(5*cent, 35*cent)
	want(t, p.reserve(41*cent), http.StatusConflict, payword.InsufficientFunds)
	want(t, set("249999"), http.StatusConflict, payword.InsufficientFunds)
	want(t, set("250000"), http.StatusOK, payword.Accepted)
	u.wantBalance(0, 35*cent)
	want(t, b.admin("PUT", "/v1/admin/accounts/aaaaaaaaaaaaaaaa/credit", map[string]string{"credit": "1"}),
		http.StatusNotFound, payword.UnknownAccount)
	b.wantSound()
}

func TestAdministrationNeedsTheToken(t *testing.T) {
	b := newBank(t)
	body := map[string]string{"id": "x", "account": "aaaaaaaaaaaaaaaa", "amount": "1", "currency": "usd-micro"}
	for _, value := range []string{"", "Bearer ", "Bearer " + adminToken + "x", "Basic " + adminToken, adminToken} {
		request, _ := b.request("POST", "/v1/admin/fundings", body)
		request.Header.Set("Authorization", value)
		a := b.do(request)
		want(t, a, http.StatusUnauthorized, payword.Accepted)
		if a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%q: got WWW-Authenticate %q", value, a.header.Get("WWW-Authenticate"))
		}
	}
	b.config.AdminToken = ""
	b.open()
	request, _ := b.request("POST", "/v1/admin/fundings", body)
	request.Header.Set("Authorization", "Bearer ")
	want(t, b.do(request), http.StatusUnauthorized, payword.Accepted)
}

func TestCertificates(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	if refusal, err := b.SetAge(t.Context(), u.account, 18); err != nil || refusal.Refused() {
		t.Fatal(refusal, err)
	}
	var request payword.CertificateRequest
	for range payword.MaxCertificatesPerRequest {
		request.Keys = append(request.Keys, payword.NewPublicKey(publicKey(newKey())))
	}
	request.Prefixes = []string{"192.0.2.0/24", "2001:db8::/32"}
	var issued payword.CertificateAnswer
	u.call(u.key, "POST", payword.PathCertificates, request).into(t, http.StatusOK, &issued)
	signer := b.config.Signer.Public().(ed25519.PublicKey)
	seen := map[string]bool{u.account: true}
	for k, token := range issued.Certificates {
		c, refusal := payword.ParseCertificate(token, payword.Brokers{issuer: {payword.Thumbprint(signer): signer}})
		if refusal.Refused() {
			t.Fatal(refusal)
		}
		if payword.NewPublicKey(c.Key) != request.Keys[k] || c.Issuer != issuer || c.Currency != usd || c.Age != 18 ||
			c.Limit != 20*money.Unit || c.IssuedAt != start-start%3600 || c.Expires != c.IssuedAt+3600+7*24*3600 || len(c.Prefixes) != 2 {
			t.Errorf("certificate %d: got %+v", k, c)
		}
		if seen[c.Subject] || strings.Contains(token, u.account) {
			t.Errorf("certificate %d: the pseudonym %s is not its own", k, c.Subject)
		}
		seen[c.Subject] = true
	}
	if len(issued.Certificates) != len(request.Keys) {
		t.Errorf("got %d certificates for %d keys", len(issued.Certificates), len(request.Keys))
	}
}

func TestCertificateRefusals(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	key := payword.NewPublicKey(publicKey(newKey()))
	smallOrder := key
	smallOrder.X = encode(make([]byte, 32))
	many := make([]payword.PublicKey, payword.MaxCertificatesPerRequest+1)
	for k := range many {
		many[k] = payword.NewPublicKey(publicKey(newKey()))
	}
	cases := []struct {
		name    string
		request payword.CertificateRequest
		status  int
		reason  payword.Reason
	}{
		{"no keys", payword.CertificateRequest{Keys: []payword.PublicKey{}}, 422, payword.Accepted},
		{"too many keys", payword.CertificateRequest{Keys: many}, 422, payword.Accepted},
		{"the same key twice", payword.CertificateRequest{Keys: []payword.PublicKey{key, key}}, 400, payword.MalformedCertificate},
		{"a key of small order", payword.CertificateRequest{Keys: []payword.PublicKey{smallOrder}}, 400, payword.MalformedCertificate},
		{"no prefix", payword.CertificateRequest{Keys: []payword.PublicKey{key}, Prefixes: []string{"home"}}, 400, payword.MalformedCertificate},
		{"bits past a prefix", payword.CertificateRequest{Keys: []payword.PublicKey{key}, Prefixes: []string{"192.0.2.1/24"}}, 400, payword.MalformedCertificate},
		{"too many prefixes", payword.CertificateRequest{Keys: []payword.PublicKey{key},
			Prefixes: []string{"10.0.0.0/8", "10.0.0.0/9", "10.0.0.0/10", "10.0.0.0/11", "10.0.0.0/12"}}, 422, payword.Accepted},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want(t, u.call(u.key, "POST", payword.PathCertificates, c.request), c.status, c.reason)
		})
	}
}

// The owner of a lost wallet gets commitments and reservations back, page by
// page, and nobody else does.
func TestListReservations(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u, other := b.newUser(1000*cent), b.newUser(0)
	s := b.newShop()
	certificate, key := u.certificate()
	var made []string
	for range 103 {
		p := u.commitWith(certificate, key, s.origin, cent)
		p.mustReserve(cent)
		made = append(made, p.m.Token)
	}
	type page struct {
		Reservations []struct {
			Commitment, Reservation string
			Reserved, Paid          money.Amount
			Closed                  bool
		}
		Next string
	}
	var got []string
	path := payword.PathReservations
	for range 3 {
		var listed page
		u.call(u.key, "GET", path, nil).into(t, http.StatusOK, &listed)
		for _, r := range listed.Reservations {
			if r.Reserved != cent || r.Paid != 0 || r.Closed || r.Reservation == "" {
				t.Errorf("got %+v", r)
			}
			got = append(got, r.Commitment)
		}
		if listed.Next == "" {
			break
		}
		path = payword.PathReservations + "?after=" + listed.Next
	}
	if !slices.Equal(got, made) {
		t.Errorf("got %d commitments back of %d, or in another order", len(got), len(made))
	}
	var listed page
	other.call(other.key, "GET", path, nil).into(t, http.StatusOK, &listed)
	if len(listed.Reservations) != 0 {
		t.Errorf("somebody else sees %d commitments", len(listed.Reservations))
	}
	want(t, u.call(u.key, "GET", payword.PathReservations+"?after=x", nil), 422, payword.Accepted)
	want(t, u.call(u.key, "GET", payword.PathReservations+"?afer=x", nil), 422, payword.Accepted)
}

// keysFor returns so many public keys.
func keysFor(count int) (keys []ed25519.PublicKey) {
	for range count {
		keys = append(keys, publicKey(newKey()))
	}
	return keys
}

// What is wrong with a configuration is said before anything is opened.
func TestConfig(t *testing.T) {
	b := newBank(t)
	rsaLike := struct{ ed25519.PrivateKey }{newKey()}
	cases := []struct {
		name   string
		change func(*broker.Config)
		want   string
	}{
		{"no issuer", func(c *broker.Config) { c.Issuer = "" }, "issuer"},
		{"an issuer that is no origin", func(c *broker.Config) { c.Issuer = "https://broker.example/" }, "issuer"},
		{"no currency", func(c *broker.Config) { c.Currency = "" }, "currency"},
		{"no database", func(c *broker.Config) { c.Database = "" }, "database"},
		{"no signer", func(c *broker.Config) { c.Signer = nil }, "signer"},
		{"a short token", func(c *broker.Config) { c.AdminToken = "guess" }, "token"},
		{"no grace", func(c *broker.Config) { c.Grace = -1 }, "grace"},
		{"a limit past all", func(c *broker.Config) { c.CertificateLimit = money.MaxAmount + 1 }, "limit"},
		{"a published key of small order", func(c *broker.Config) { c.Published = []ed25519.PublicKey{make([]byte, 32)} }, "published"},
		{"more published keys than a key set holds", func(c *broker.Config) { c.Published = keysFor(64) }, "at most 64"},
		{"another issuer than before", func(c *broker.Config) { c.Issuer = "https://other.example" }, "belongs to"},
		{"another currency than before", func(c *broker.Config) { c.Currency = "eur-micro" }, "belongs to"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config := b.config
			c.change(&config)
			opened, err := broker.New(context.Background(), config)
			if err == nil {
				t.Fatalf("it was opened: %v", opened.Close())
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want a word of %q", err, c.want)
			}
		})
	}
	config := b.config
	config.Signer, config.Published = rsaLike, keysFor(63)
	opened, err := broker.New(context.Background(), config)
	if err != nil {
		t.Fatalf("a signer that wraps a key: %v", err)
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
}

// During a rotation what the old key signed is still taken, and both keys are
// published.
func TestKeyRotation(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	old := b.config.Signer.Public().(ed25519.PublicKey)
	early, late := u.commit(s.origin, 10*cent), u.commit(s.origin, 10*cent)
	early.mustReserve(10 * cent)

	b.config.Signer, b.config.Published = newKey(), []ed25519.PublicKey{old}
	b.open()
	var set struct{ Keys []json.RawMessage }
	a := b.plain("GET", payword.PathBrokerKeys, nil)
	a.into(t, http.StatusOK, &set)
	keys, err := payword.ParseJWKS(a.body)
	if err != nil || len(keys) != 2 || keys[payword.Thumbprint(old)] == nil {
		t.Errorf("got keys %s (%v)", a.body, err)
	}
	late.mustReserve(10 * cent)
	s.wantResult(s.claim(early, 5, 5*cent), payword.Accepted, 5*cent, 5*cent)

	// Nobody names the old key any more: what it signed is good all the same.
	b.config.Published = nil
	b.open()
	b.wantPublished(publicKey(b.config.Signer), old)
	u.commit(s.origin, 10*cent).mustReserve(10 * cent)

	// The old key was stolen and is withdrawn: new promises under it are not
	// taken, and what the books know is paid.
	if found, err := b.WithdrawKey(t.Context(), payword.Thumbprint(old)); !found || err != nil {
		t.Error(found, err)
	}
	b.clock.advance(10)
	s.wantResult(s.claim(early, 6, 6*cent), payword.Accepted, 6*cent, cent)
	want(t, late.reserve(10*cent), 422, payword.UnknownBroker)
	b.wantSound()
}

func TestProblemsOfUnknownRoutes(t *testing.T) {
	b := newBank(t)
	want(t, b.plain("GET", "/nothing", nil), http.StatusNotFound, payword.Accepted)
	a := b.plain("DELETE", payword.PathReservations, nil)
	want(t, a, http.StatusMethodNotAllowed, payword.Accepted)
	if got := a.header.Get("Allow"); got != "GET, POST" {
		t.Errorf("got Allow %q", got)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := b.plain("GET", path, nil); a.status != http.StatusOK || string(a.body) != "{\"status\":\"ok\"}\n" {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
	}
}

// The document says whose it is, and that each route may refuse. That it names
// every route is compared with docs/broker.md.
func TestOpenAPI(t *testing.T) {
	b := newBank(t)
	a := b.plain("GET", "/openapi.json", nil)
	var document struct {
		OpenAPI string
		Servers []struct{ URL string }
		Paths   map[string]map[string]struct {
			Responses map[string]struct{ Content map[string]any }
		}
		Components struct{ Schemas, SecuritySchemes map[string]any }
	}
	a.into(t, http.StatusOK, &document)
	if document.OpenAPI != "3.1.0" || len(document.Servers) != 1 || document.Servers[0].URL != issuer {
		t.Errorf("got OpenAPI %q, servers %v", document.OpenAPI, document.Servers)
	}
	if a.header.Get("Content-Type") != "application/openapi+json" {
		t.Errorf("got content type %q", a.header.Get("Content-Type"))
	}
	for path, methods := range document.Paths {
		for method, operation := range methods {
			if operation.Responses["default"].Content["application/problem+json"] == nil {
				t.Errorf("%s %s: no problem details in its responses", method, path)
			}
		}
	}
	if document.Components.Schemas["Problem"] == nil || document.Components.Schemas["ErrorModel"] != nil {
		t.Error("want the schema Problem and no other for refusals")
	}
}
