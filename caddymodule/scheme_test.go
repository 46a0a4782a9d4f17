package caddymodule_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
)

// What the draft of the Payment scheme (draft-httpauth-payment-01) asks of a
// server, and the test of each:
//
//	402 carries a Payment challenge, always        TestSchemeStatuses, TestRefusals
//	the status of each way to fail                 TestSchemeStatuses
//	two credentials are 400                        TestSchemeStatuses
//	a credential counts in its field alone         TestCredentialFieldIsTheChallenges
//	401 comes first, and survives beside ours      TestOtherAuthenticationComesFirst
//	several challenges, Accept-Payment             TestAcceptPayment
//	id is not empty and bound to every parameter   TestEveryParameterIsBound
//	request is canonical JSON without padding      TestChallengeIsCanonical
//	challenges under 8 KB, credentials of 4 KB     TestSizes
//	no challenge over plain HTTP                   TestNothingIsQuotedOverPlainHTTP
//	receipts on 2xx alone                          TestReceiptsOnSuccessAlone
//	no-store on 402, private with a receipt        TestCachingOfAnswers, TestSharedCache
//	an unpaid request changes nothing              TestRefusals, TestUnpaidRequestsReachNothing
//	a proof is used once, concurrently too         TestThirtyAtOnce, TestChargeIsAnsweredByOneCommitment
//	an unsafe request is not executed again        TestRetryIsFreeAndRepeatBuysNothing
//	open, topUp and close reach nothing            TestManagementNeverReachesTheUpstream
//	credentials are not logged                     TestPaywordsAreNotLogged
//	no accounts at the server                      TestFirstRequestOpensAndPays
//	attempts are limited, Retry-After              TestForgedPaywordsAreRateLimited

// quoted asks for a page and returns the challenges of the 402.
func (g *testGate) quoted(t *testing.T, method, target string, headers map[string]string) []payword.Challenge {
	t.Helper()
	response, body := g.do(t, method, target, headers)
	if response.StatusCode != http.StatusPaymentRequired {
		t.Fatalf("%s %s: %s, want 402: %s", method, target, response.Status, body)
	}
	challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) == 0 {
		t.Fatalf("%s %s: challenges %v, %v", method, target, challenges, err)
	}
	return challenges
}

// answering returns the credential that answers a challenge with an opening payment.
func (p *payer) answering(t *testing.T, challenge payword.Challenge, payment payword.Payment) string {
	t.Helper()
	payload := payword.NewPayload(payment)
	payload.Commitment, payload.Reservation = p.commitment.Token, p.reservation.Token
	value, err := payword.Credential{Challenge: challenge, Payload: payload}.Format()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func problemOf(t *testing.T, response *http.Response, body string) payword.Problem {
	t.Helper()
	var problem payword.Problem
	if err := json.Unmarshal([]byte(body), &problem); err != nil {
		t.Fatalf("%s: the body is no problem: %s", response.Status, body)
	}
	return problem
}

// TestSchemeStatuses sends credentials that fail in each of the ways that the
// draft gives a status and a type.
func TestSchemeStatuses(t *testing.T) {
	gate := startGate(t, site{payword: "intent session charge\nreread off"})
	p := newPayer(t, wish{name: "statuses", vendor: gate.vendor})
	secret, err := os.ReadFile(filepath.Join(gate.dir, "store", "challenge-secret"))
	if err != nil {
		t.Fatal(err)
	}
	expired := gate.quoted(t, "GET", "/page", nil)[0]
	expired.Expires = time.Now().Add(-time.Second).UTC().Format(time.RFC3339)
	if expired, err = expired.Bind(secret); err != nil {
		t.Fatal(err)
	}
	fresh := func() payword.Challenge { return gate.quoted(t, "GET", "/page", nil)[0] }
	used := gate.quoted(t, "GET", "/page", nil)[1]
	if used.Intent != payword.IntentCharge {
		t.Fatalf("the second challenge is for %s", used.Intent)
	}
	number := uint64(0)
	pay := func(challenge payword.Challenge, change func(*payword.Payment)) string {
		number++
		payment := p.payment(50, number)
		if change != nil {
			change(&payment)
		}
		return p.answering(t, challenge, payment)
	}
	altered := fresh()
	altered.Realm = "elsewhere.example"
	other := fresh()
	other.Method = "tempo"
	type try struct {
		name, kind string
		status     int
		headers    func() map[string]string
	}
	one := func(value func() string) func() map[string]string {
		return func() map[string]string { return map[string]string{"Authorization": value()} }
	}
	tests := []try{
		{"no credential", "payment-required", 402, func() map[string]string { return nil }},
		{"no base64url", "malformed-credential", 402, one(func() string { return "Payment ***" })},
		{"padding", "malformed-credential", 402, one(func() string { return "Payment e30=" })},
		{"no JSON", "malformed-credential", 402, one(func() string { return "Payment " + base64.RawURLEncoding.EncodeToString([]byte("{")) })},
		{"no credential after the scheme", "malformed-credential", 402, one(func() string { return "Payment" })},
		{"an unknown challenge", "invalid-challenge", 402, one(func() string { return pay(altered, nil) })},
		{"a challenge for another page", "invalid-challenge", 402, one(func() string { return pay(gate.quoted(t, "GET", "/elsewhere", nil)[0], nil) })},
		{"a challenge for another method", "invalid-challenge", 402, one(func() string { return pay(gate.quoted(t, "POST", "/page", nil)[0], nil) })},
		{"a proof that proves nothing", "verification-failed", 402, one(func() string { return pay(fresh(), func(q *payword.Payment) { q.Payword[3] ^= 1 }) })},
		{"too little", "payment-insufficient", 402, one(func() string { return pay(fresh(), func(q *payword.Payment) { q.Max = 1 }) })},
		{"another method", "method-unsupported", 400, one(func() string { return pay(other, nil) })},
		{"two credentials", "bad-request", 400, func() map[string]string {
			return map[string]string{"Authorization": pay(fresh(), nil), "Payment-Authorization": pay(fresh(), nil)}
		}},
		{"a credential and compact headers", "bad-request", 400, func() map[string]string {
			headers := p.header(p.payment(50, 900))
			headers["Authorization"] = pay(fresh(), nil)
			return headers
		}},
		{"an expired challenge", "payment-expired", 402, one(func() string { return pay(expired, nil) })},
		{"the control, a challenge that is used", "", 200, one(func() string { return pay(used, nil) })},
		{"a used challenge", "invalid-challenge", 402, one(func() string { return pay(used, nil) })},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			response, body := gate.do(t, "GET", "/page", test.headers())
			if response.StatusCode != test.status {
				t.Fatalf("%s, want %d: %s", response.Status, test.status, body)
			}
			if test.status == http.StatusOK {
				return
			}
			problem := problemOf(t, response, body)
			if problem.Type != payword.ProblemBase+test.kind || problem.Status != test.status || response.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("problem %+v, want %s", problem, test.kind)
			}
			if test.kind == "payment-expired" && problem.Reason != payword.ChallengeExpired {
				t.Errorf("it is the challenge that expired, not %s", problem.Reason)
			}
			challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
			if err != nil || (len(challenges) > 0) != (test.status == 402) {
				t.Errorf("%s with %d challenges, %v", response.Status, len(challenges), err)
			}
			if response.Header.Get(payword.HeaderPaymentReceipt) != "" {
				t.Error("a refusal with a receipt")
			}
		})
	}
}

// TestCredentialFieldIsTheChallenges sends each credential in the field that its
// challenge selected, and in the other.
func TestCredentialFieldIsTheChallenges(t *testing.T) {
	for _, selected := range []string{"Authorization", "Payment-Authorization"} {
		gate := startGate(t, site{payword: "credential_header " + selected})
		p := newPayer(t, wish{name: "field", vendor: gate.vendor})
		for number, field := range []string{"Payment-Authorization", "Authorization"} {
			challenge := gate.quoted(t, "GET", "/page", nil)[0]
			response, body := gate.do(t, "GET", "/page", map[string]string{field: p.answering(t, challenge, p.payment(5, uint64(number+1)))})
			if field == selected {
				if response.StatusCode != http.StatusOK {
					t.Errorf("in %s, which was selected: %s", field, response.Status)
				}
				continue
			}
			if problem := problemOf(t, response, body); problem.Reason != payword.MalformedCredential || response.StatusCode != 402 {
				t.Errorf("in %s where %s was selected: %s %s", field, selected, response.Status, problem.Reason)
			}
			// Nor does saying that another field was selected help.
			challenge.Header = ""
			if selected == "Authorization" {
				challenge.Header = "Payment-Authorization"
			}
			response, body = gate.do(t, "GET", "/page", map[string]string{field: p.answering(t, challenge, p.payment(5, uint64(number+1)))})
			if problem := problemOf(t, response, body); problem.Reason != payword.InvalidChallenge {
				t.Errorf("in %s with a changed challenge: %s %s", field, response.Status, problem.Reason)
			}
		}
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOtherAuthenticationComesFirst(t *testing.T) {
	// The hash is of "secret", at bcrypt's least cost.
	gate := startGate(t, site{
		payword: "credential_header Payment-Authorization",
		rest:    "basic_auth /private/* {\nreader $2a$04$LvrHXxwV3b6IPhdsDlL.ceYree/I15ec64fuda8Kgi4OTw2fN.QQC\n}\nheader WWW-Authenticate `Bearer realm=\"api\"`\nrespond content",
	})
	p := newPayer(t, wish{name: "other authentication", vendor: gate.vendor})
	response, _ := gate.do(t, "GET", "/private/page", p.opening(p.payment(1, 1)))
	if response.StatusCode != http.StatusUnauthorized || strings.Contains(strings.Join(response.Header.Values("WWW-Authenticate"), ","), "Payment") {
		t.Errorf("paid and not authenticated: %s %q", response.Status, response.Header.Values("WWW-Authenticate"))
	}
	basic := map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("reader:secret"))}
	response, _ = gate.do(t, "GET", "/private/page", basic)
	schemes := response.Header.Values("WWW-Authenticate")
	if response.StatusCode != http.StatusPaymentRequired || !slices.ContainsFunc(schemes, func(s string) bool { return strings.HasPrefix(s, "Bearer") }) {
		t.Errorf("authenticated and not paid: %s %q", response.Status, schemes)
	}
	challenges, err := payword.ParseChallenges(schemes)
	if err != nil || len(challenges) != 1 {
		t.Fatalf("challenges: %v, %v", challenges, err)
	}
	basic["Payment-Authorization"] = p.answering(t, challenges[0], p.payment(1, 1))
	gate.mustPay(t, "/private/page", basic)
}

func TestAcceptPayment(t *testing.T) {
	gate := startGate(t, site{payword: "intent session charge"})
	tests := []struct{ accept, want string }{
		{"", "session charge"},
		{"payword/*", "session charge"},
		{"payword/charge, payword/session;q=0.5", "charge session"},
		{"*/*;q=0.1, */charge", "charge session"},
		{"payword/charge, payword/session;q=0", "charge"},
		{"tempo/charge, payword/session;q=0.2", "session"},
		{"payword/*;q=0.3, */charge;q=0.9", "session charge"}, // the method's range is the more specific
		{"payword/*;q=0", "session charge"},                   // a 402 without a challenge says nothing
		{"tempo/charge", "session charge"},
		{"nonsense", "session charge"},
		{"payword/charge;q=2", "session charge"},
	}
	for _, test := range tests {
		var got []string
		for _, challenge := range gate.quoted(t, "GET", "/page", map[string]string{"Accept-Payment": test.accept}) {
			got = append(got, challenge.Intent)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("Accept-Payment %q: offered %q, want %s", test.accept, got, test.want)
		}
	}
}

// TestEveryParameterIsBound changes one parameter of a good challenge at a time.
func TestEveryParameterIsBound(t *testing.T) {
	gate := startGate(t, site{payword: "intent charge\ncredential_header Payment-Authorization"})
	p := newPayer(t, wish{name: "bound", vendor: gate.vendor})
	changes := map[string]func(*payword.Challenge){
		"id":      func(c *payword.Challenge) { c.ID = c.ID[1:] + c.ID[:1] },
		"realm":   func(c *payword.Challenge) { c.Realm += "x" },
		"intent":  func(c *payword.Challenge) { c.Intent = payword.IntentSession },
		"request": func(c *payword.Challenge) { c.Request = c.Request[:len(c.Request)-2] + "fQ" },
		"expires": func(c *payword.Challenge) { c.Expires = "2099-01-01T00:00:00Z" },
		"digest":  func(c *payword.Challenge) { c.Digest = "sha-256=:AA==:" },
		"opaque":  func(c *payword.Challenge) { c.Opaque = "" },
	}
	for name, change := range changes {
		challenge := gate.quoted(t, "GET", "/page", nil)[0]
		before := challenge
		change(&challenge)
		if challenge == before {
			challenge.Request += "A"
		}
		response, body := gate.do(t, "GET", "/page", map[string]string{"Payment-Authorization": p.answering(t, challenge, p.payment(1, 1))})
		if problem := problemOf(t, response, body); problem.Reason != payword.InvalidChallenge {
			t.Errorf("%s changed: %s %s", name, response.Status, problem.Reason)
		}
	}
	described := gate.quoted(t, "GET", "/page", nil)[0]
	described.Description = "for display alone"
	response, _ := gate.do(t, "GET", "/page", map[string]string{"Payment-Authorization": p.answering(t, described, p.payment(1, 1))})
	if response.StatusCode != http.StatusOK {
		t.Errorf("another description: %s", response.Status)
	}
}

func TestChallengeIsCanonical(t *testing.T) {
	gate := startGate(t, site{payword: "intent session charge"})
	for _, target := range []string{"/page", "/p%C3%A4ge?a=1&b=%22%3C", "/" + strings.Repeat("x", 1800)} {
		seen := make(map[string]bool)
		for _, challenge := range append(gate.quoted(t, "GET", target, nil), gate.quoted(t, "GET", target, nil)...) {
			if challenge.ID == "" || challenge.Realm == "" || challenge.Expires == "" || strings.Contains(challenge.Request, "=") {
				t.Errorf("%+v", challenge)
			}
			if challenge.Intent == payword.IntentCharge && seen[challenge.ID] {
				t.Error("two charge challenges with one id")
			}
			seen[challenge.ID] = true
			document, err := base64.RawURLEncoding.DecodeString(challenge.Request)
			if err != nil {
				t.Fatal(err)
			}
			// The encoder sorts the members of maps, as canonical JSON has them.
			var members map[string]any
			if err := json.Unmarshal(document, &members); err != nil {
				t.Fatal(err)
			}
			var again strings.Builder
			encoder := json.NewEncoder(&again)
			encoder.SetEscapeHTML(false)
			encoder.Encode(members)
			if strings.TrimSpace(again.String()) != string(document) {
				t.Errorf("the request is not canonical:\n%s\n%s", document, again.String())
			}
		}
	}
}

func TestSizes(t *testing.T) {
	gate := startGate(t, site{payword: "intent session charge\ndescription \"" + strings.Repeat("d", 200) + "\""})
	p := newPayer(t, wish{name: "sizes", vendor: gate.vendor})
	target := "/" + strings.Repeat("x", 2000-len(gate.vendor))
	for _, challenge := range gate.quoted(t, "GET", target, nil) {
		if size := len(challenge.Format()); size >= payword.MaxChallengeBytes {
			t.Errorf("a challenge of %d bytes", size)
		}
	}
	credential := p.answering(t, gate.quoted(t, "GET", target, nil)[0], p.payment(1, 1))
	if len(credential) < 4096 {
		t.Fatalf("the credential has %d bytes only", len(credential))
	}
	gate.mustPay(t, target, map[string]string{"Authorization": credential})
}

func TestNothingIsQuotedOverPlainHTTP(t *testing.T) {
	gate := startGate(t, site{options: "servers {\ntrusted_proxies static 127.0.0.0/8\n}", payword: "intent session charge"})
	for _, headers := range []map[string]string{
		{"X-Forwarded-Proto": "http"},
		{"X-Forwarded-Proto": "http", "Accept": "text/html"},
		{"X-Forwarded-Proto": "http", "Payword": "nonsense"},
	} {
		response, body := gate.do(t, "GET", "/page", headers)
		if response.StatusCode != http.StatusForbidden || response.Header.Get("WWW-Authenticate") != "" ||
			response.Header.Get("Crawler-Price") != "" || strings.Contains(body, `"request"`) || problemOf(t, response, body).Reason != payword.InsecureTransport {
			t.Errorf("%v: %s %v %s", headers, response.Status, response.Header, body)
		}
	}
}

func TestReceiptsOnSuccessAlone(t *testing.T) {
	gate := startGate(t, site{upstream: upstream(t), payword: "reread off"})
	p := newPayer(t, wish{name: "receipts", vendor: gate.vendor})
	for number, test := range []struct {
		target  string
		receipt bool
	}{
		{"/content", true}, {"/error", false}, {"/missing", false}, {"/moved", false}, {"/unchanged", false}, {"/stream", true},
	} {
		challenge := gate.quoted(t, "GET", test.target, nil)[0]
		response, _ := gate.do(t, "GET", test.target, map[string]string{"Authorization": p.answering(t, challenge, p.payment(50, uint64(number+1)))})
		value := response.Header.Get(payword.HeaderPaymentReceipt)
		if (value != "") != test.receipt {
			t.Errorf("%s: %s with receipt %q", test.target, response.Status, value)
		}
		if !test.receipt {
			continue
		}
		receipt, err := payword.ParseReceipt(value)
		if err != nil || receipt.Status != "success" || receipt.Method != payword.Method || receipt.Reference == "" {
			t.Errorf("%s: receipt %+v, %v", test.target, receipt, err)
		}
		if _, err := time.Parse(time.RFC3339, receipt.Timestamp); err != nil {
			t.Errorf("%s: %v", test.target, err)
		}
		if !strings.HasPrefix(response.Header.Get("Cache-Control"), "private") {
			t.Errorf("%s: a receipt with Cache-Control %q", test.target, response.Header.Get("Cache-Control"))
		}
	}
}

// TestUnpaidRequestsReachNothing counts what gets to the upstream.
func TestUnpaidRequestsReachNothing(t *testing.T) {
	var reached atomic.Int32
	gate := startGate(t, site{upstream: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })})
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"} {
		request, err := http.NewRequest(method, gate.vendor+"/page", strings.NewReader("a body"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Idempotency-Key", "one")
		response, err := gate.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusPaymentRequired {
			t.Errorf("%s: %s", method, response.Status)
		}
	}
	if reached.Load() != 0 {
		t.Errorf("%d requests reached the upstream", reached.Load())
	}
}

// TestChargeIsAnsweredByOneCommitment answers a challenge that can be used once
// with two commitments, and again after a restart.
func TestChargeIsAnsweredByOneCommitment(t *testing.T) {
	var served atomic.Int32
	s := site{
		dir: t.TempDir(), vendor: freeOrigin(t), payword: "intent charge\nreread off",
		upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { served.Add(1); io.WriteString(w, "content") }),
	}
	gate := startGate(t, s)
	p, q := newPayer(t, wish{name: "one of two", vendor: gate.vendor}), newPayer(t, wish{name: "two of two", vendor: gate.vendor})
	challenge := gate.quoted(t, "GET", "/page", nil)[0]
	send := func(p *payer, number uint64) payword.Status {
		response, _ := gate.do(t, "GET", "/page", map[string]string{"Authorization": p.answering(t, challenge, p.payment(9, number))})
		return statusOf(t, response)
	}
	if got := send(p, 1); got.Reason != payword.Accepted {
		t.Fatalf("the first: %s", got.Reason)
	}
	if got := send(q, 1); got.Reason != payword.ChallengeUsed || got.Spent != 0 || served.Load() != 1 {
		t.Errorf("the same challenge with another commitment: %s, spent %s, served %d times", got.Reason, got.Spent, served.Load())
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	gate = startGate(t, s)
	if got := send(q, 2); got.Reason != payword.ChallengeUsed || got.Spent != 0 || served.Load() != 1 {
		t.Errorf("after a restart: %s, spent %s, served %d times", got.Reason, got.Spent, served.Load())
	}
}

// TestManagementNeverReachesTheUpstream sends open, topUp and close as GET and as
// POST with a body.
func TestManagementNeverReachesTheUpstream(t *testing.T) {
	var reached atomic.Int32
	gate := startGate(t, site{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		io.Copy(io.Discard, r.Body)
	})})
	for k, method := range []string{"GET", "POST"} {
		p := newPayer(t, wish{name: fmt.Sprint("management ", method), vendor: gate.vendor})
		for _, action := range []string{payword.ActionOpen, payword.ActionTopUp, payword.ActionClose} {
			payload := payword.NewPayload(p.payment(1, 1))
			payload.Action, payload.Reservation = action, p.reservation.Token
			if action == payword.ActionOpen {
				payload.Commitment = p.commitment.Token
			}
			value, err := payword.Credential{Challenge: gate.quoted(t, method, "/order", nil)[0], Payload: payload}.Format()
			if err != nil {
				t.Fatal(err)
			}
			request, err := http.NewRequest(method, gate.vendor+"/order", strings.NewReader(strings.Repeat("an order ", 1000*k)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", value)
			response, err := gate.http.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusNoContent || response.Header.Get("Cache-Control") != "private, no-store" {
				t.Errorf("%s %s: %s %v", method, action, response.Status, response.Header)
			}
		}
	}
	if reached.Load() != 0 {
		t.Errorf("%d of them reached the upstream", reached.Load())
	}
}

func TestCrawlerPrice(t *testing.T) {
	gate := startGate(t, site{payword: "intent session charge"})
	for _, test := range []struct{ exact, most, want string }{
		{"", "", ""}, {"USD 0.001", "", ""}, {"USD 0.002", "", "InvalidCrawlerExactPrice"}, {"", "USD 0.0009", "InvalidCrawlerMaxPrice"},
		{"", "USD 5", ""}, {"USD 1", "USD 1", ""}, {"EUR 1", "", ""}, {"", "nonsense", ""},
	} {
		response, _ := gate.do(t, "GET", "/page", map[string]string{"Crawler-Exact-Price": test.exact, "Crawler-Max-Price": test.most})
		if got := response.Header.Values("Crawler-Price"); response.StatusCode != 402 || len(got) != 1 || got[0] != "USD 0.001" {
			t.Errorf("%+v: %s, crawler-price %q", test, response.Status, got)
		}
		if got := response.Header.Get("Crawler-Error"); got != test.want {
			t.Errorf("%+v: crawler-error %q", test, got)
		}
	}
	p := newPayer(t, wish{name: "crawler", vendor: gate.vendor})
	if response, _ := gate.mustPay(t, "/page", p.opening(p.payment(1, 1))); response.Header.Get("Crawler-Price") != "" {
		t.Error("a page that is paid for names a price")
	}
}

func TestCrawlerPriceOff(t *testing.T) {
	gate := startGate(t, site{payword: "crawler_price off"})
	if response, _ := gate.do(t, "GET", "/page", nil); response.StatusCode != 402 || response.Header.Get("Crawler-Price") != "" {
		t.Errorf("%s %v", response.Status, response.Header)
	}
}

// TestCrossOriginScriptsReadTheRefusal asks as a script of another origin does.
func TestCrossOriginScriptsReadTheRefusal(t *testing.T) {
	gate := startGate(t, site{rest: "header Access-Control-Allow-Origin *\nfile_server {\nroot " + filepath.Join(t.TempDir(), "none") + "\n}"})
	response, _ := gate.do(t, "GET", "/page", map[string]string{"Origin": "https://app.example"})
	exposed := strings.Join(response.Header.Values("Access-Control-Expose-Headers"), ", ")
	if response.StatusCode != 402 || response.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%s %v", response.Status, response.Header)
	}
	for _, name := range []string{"WWW-Authenticate", "Payment-Receipt", "Payword-State", "Crawler-Price", "Retry-After"} {
		if !strings.Contains(exposed, name) {
			t.Errorf("%s is not exposed: %s", name, exposed)
		}
	}
}
