package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
)

// quote asks for a price and returns the challenge that names it.
func (g *testGate) quote(t *testing.T) payword.Challenge {
	t.Helper()
	response, _ := g.do(t, http.MethodGet, "/", nil)
	challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) == 0 {
		t.Fatalf("%s: %d challenges, %v", response.Status, len(challenges), err)
	}
	return challenges[0]
}

// answer answers a challenge with a payment on a commitment that the gate knows.
func (g *testGate) answer(t *testing.T, challenge payword.Challenge, p *payer, number uint64) (*http.Response, string) {
	t.Helper()
	value, err := payword.Credential{Challenge: challenge, Payload: payword.NewPayload(p.payment(uint32(number), number))}.Format()
	if err != nil {
		t.Fatal(err)
	}
	return g.do(t, http.MethodGet, "/", map[string]string{"Authorization": value})
}

func rotate(t *testing.T, admin, query string) (int, string) {
	t.Helper()
	response := postAdmin(t, admin, "/payword/rotate-secret"+query)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// TestSecretRotation wants quotes to be honoured over a rotation and a restart,
// and after a theft not.
func TestSecretRotation(t *testing.T) {
	admin := freeAddress(t)
	s := site{admin: admin}
	g := startGate(t, s)
	s.dir, s.vendor = g.dir, g.vendor
	p := newPayer(t, wish{name: "quoted", vendor: g.vendor})
	g.mustPay(t, "/", p.opening(p.payment(1, 1)))
	number := uint64(1)
	want := func(what string, challenge payword.Challenge, honoured bool) {
		t.Helper()
		number++
		response, body := g.answer(t, challenge, p, number)
		if got := response.StatusCode == http.StatusOK; got != honoured {
			t.Fatalf("%s: %s, want it honoured: %v: %s", what, response.Status, honoured, body)
		}
		var problem payword.Problem
		if !honoured && (json.Unmarshal([]byte(body), &problem) != nil || problem.Reason != payword.InvalidChallenge) {
			t.Fatalf("%s: got %v", what, problem.Reason)
		}
	}
	secret := filepath.Join(g.dir, "store", "challenge-secret")
	before, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	old := g.quote(t)
	want("a quote", old, true)
	status, body := rotate(t, admin, "")
	var answer struct{ PreviousUntil string }
	if err := json.Unmarshal([]byte(body), &answer); status != http.StatusOK || err != nil || answer.PreviousUntil == "" {
		t.Fatalf("rotating: %d: %s", status, body)
	}
	if after, err := os.ReadFile(secret); err != nil || bytes.Equal(after, before) || len(after) != 32 {
		t.Fatalf("the secret has %d bytes, %v, and is the one before: %v", len(after), err, bytes.Equal(after, before))
	}
	next := g.quote(t)
	want("an old quote", old, true)
	want("a new quote", next, true)
	if status, body := rotate(t, admin, ""); status != http.StatusConflict {
		t.Fatalf("rotating again at once: %d: %s", status, body)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	admin = freeAddress(t) // Caddy may end the admin server of before a little later
	s.admin = admin
	g = startGate(t, s)
	want("an old quote after a restart", old, true)
	want("a new quote after a restart", next, true)
	if status, body := rotate(t, admin, "?previous=drop"); status != http.StatusOK {
		t.Fatalf("rotating after a theft: %d: %s", status, body)
	}
	want("a quote of the thief's", old, false)
	want("a quote under the stolen secret", next, false)
	want("a quote after that", g.quote(t), true)
	for _, name := range []string{"challenge-secret", "vendor-key"} {
		info, err := os.Stat(filepath.Join(g.dir, "store", name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestNextSecretIsRecognised has two gates rotate one after the other.
func TestNextSecretIsRecognised(t *testing.T) {
	s := site{}
	g := startGate(t, s)
	admin := freeAddress(t) // while the site holds its own
	s.dir, s.vendor, s.admin = g.dir, g.vendor, admin
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	next := seedOf("the next secret")
	writeTestFile(t, filepath.Join(g.dir, "store", "challenge-secret-next"), string(next))
	g = startGate(t, s)
	p := newPayer(t, wish{name: "asks another gate", vendor: g.vendor})
	g.mustPay(t, "/", p.opening(p.payment(1, 1)))
	here := g.quote(t)
	there, err := payword.Challenge{
		Realm: here.Realm, Method: here.Method, Intent: here.Intent, Request: here.Request, Expires: here.Expires, Opaque: here.Opaque,
	}.Bind(next)
	if err != nil {
		t.Fatal(err)
	}
	for k, each := range []payword.Challenge{here, there} {
		if response, body := g.answer(t, each, p, uint64(k+2)); response.StatusCode != http.StatusOK {
			t.Fatalf("challenge %d before: %s: %s", k, response.Status, body)
		}
	}
	if status, body := rotate(t, admin, ""); status != http.StatusOK {
		t.Fatalf("rotating: %d: %s", status, body)
	}
	made, err := os.ReadFile(filepath.Join(g.dir, "store", "challenge-secret"))
	if err != nil || !bytes.Equal(made, next) {
		t.Fatalf("the next secret was not taken: %v", err)
	}
	for k, each := range []payword.Challenge{here, there, g.quote(t)} {
		if response, body := g.answer(t, each, p, uint64(k+4)); response.StatusCode != http.StatusOK {
			t.Fatalf("challenge %d after: %s: %s", k, response.Status, body)
		}
	}
	if _, err := os.Stat(filepath.Join(g.dir, "store", "challenge-secret-next")); !os.IsNotExist(err) {
		t.Error(fmt.Sprint("the next secret is still there: ", err))
	}
}
