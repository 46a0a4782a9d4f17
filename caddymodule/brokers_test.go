package caddymodule_test

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
)

// TestSeveralBrokers pays with certificates of two brokers over a rotation of
// keys, a restart and days without one of them.
func TestSeveralBrokers(t *testing.T) {
	first, second := startPublisher(t, "first broker"), startPublisher(t, "second broker")
	admin := freeAddress(t)
	s := site{global: "broker " + first.URL + "\nbroker " + second.URL, admin: admin}
	g := startGate(t, s)
	s.dir, s.vendor = g.dir, g.vendor
	refresh(t, admin)
	of := func(name string, issuer string, key ed25519.PrivateKey) *payer {
		return newPayer(t, wish{name: name, vendor: g.vendor, issuer: issuer, broker: key})
	}
	pays := func(name, issuer string, key ed25519.PrivateKey) {
		t.Helper()
		p := of(name, issuer, key)
		g.mustPay(t, "/", p.opening(p.payment(1, 1)))
	}
	refused := func(name, issuer string, key ed25519.PrivateKey, reason payword.Reason) {
		t.Helper()
		p := of(name, issuer, key)
		g.wantRefusal(t, p.opening(p.payment(1, 1)), http.StatusPaymentRequired, reason)
	}
	pays("a", first.URL, first.key)
	pays("b", second.URL, second.key)
	pays("c", testIssuer, testBroker)
	refused("d", first.URL, second.key, payword.UnknownBroker) // a key speaks for its own broker
	refused("e", "https://stranger.example", first.key, payword.UnknownBroker)

	// The next key is published beside the old one, then signs, then the old one
	// goes.
	next := ed25519.NewKeyFromSeed(seedOf("next key"))
	refused("f", first.URL, next, payword.UnknownBroker)
	first.change(func() { first.keys = append(first.keys, next.Public().(ed25519.PublicKey)) })
	refresh(t, admin)
	pays("g", first.URL, first.key)
	pays("h", first.URL, next)
	first.change(func() { first.keys = first.keys[1:] })
	refresh(t, admin)
	pays("i", first.URL, next)
	refused("j", first.URL, first.key, payword.UnknownBroker)

	// One goes away; a restart does not matter.
	first.Close()
	if report := refresh(t, admin); !strings.Contains(report, first.URL+`","keys":1`) || !strings.Contains(report, `"error"`) {
		t.Errorf("the report of a broker that is away: %s", report)
	}
	pays("k", first.URL, next)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	g = startGate(t, s)
	pays("l", first.URL, next)
	pays("m", second.URL, second.key)
}

// TestKeysThatAreNoKeys answers with what must not replace the last good set.
func TestKeysThatAreNoKeys(t *testing.T) {
	p := startPublisher(t, "taken over")
	admin := freeAddress(t)
	g := startGate(t, site{global: "broker " + p.URL, admin: admin})
	refresh(t, admin)
	thief := ed25519.NewKeyFromSeed(seedOf("thief"))
	stolen, err := payword.FormatJWKS(thief.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	serve := func(status int, mediaType string, body []byte) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", mediaType)
			w.WriteHeader(status)
			w.Write(body)
			return true
		}
	}
	elsewhere := startPublisher(t, "elsewhere")
	elsewhere.keys = []ed25519.PublicKey{thief.Public().(ed25519.PublicKey)}
	for k, each := range []struct {
		name, want string
		answer     func(http.ResponseWriter, *http.Request) bool
	}{
		{"an error", "500", serve(http.StatusInternalServerError, "application/json", stolen)},
		{"a success that is none", "203", serve(http.StatusNonAuthoritativeInfo, "application/json", stolen)},
		{"a page", "text/html", serve(http.StatusOK, "text/html", stolen)},
		{"no media type that counts", "text/plain", serve(http.StatusOK, "text/plain", stolen)},
		{"a page that says it is JSON", "key set", serve(http.StatusOK, "application/json", []byte("<html>down</html>"))},
		{"an empty set", "no Ed25519 key", serve(http.StatusOK, "application/json", []byte(`{"keys":[]}`))},
		{"a set of other keys", "no Ed25519 key", serve(http.StatusOK, "application/json", []byte(`{"keys":[{"kty":"RSA","kid":"1"}]}`))},
		{"nothing", "key set", serve(http.StatusOK, "application/json", nil)},
		{"too much", "more than 65536 bytes", serve(http.StatusOK, "application/json", append(stolen, make([]byte, 65536)...))},
		{"a set that is cut off", "key set", serve(http.StatusOK, "application/json", stolen[:len(stolen)/2])},
		{"a redirect", "must not redirect", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, elsewhere.URL+payword.PathBrokerKeys, http.StatusFound)
			return true
		}},
		{"not modified, though nothing was asked", "304", serve(http.StatusNotModified, "", nil)},
		{"a connection that breaks off", "EOF", func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }},
	} {
		t.Run(each.name, func(t *testing.T) {
			p.change(func() { p.answer = each.answer })
			if report := refresh(t, admin); !strings.Contains(report, each.want) || !strings.Contains(report, `"keys":1`) {
				t.Errorf("the report says %s; want %q and one key", report, each.want)
			}
			payer := newPayer(t, wish{name: fmt.Sprint("honest ", k), vendor: g.vendor, issuer: p.URL, broker: p.key})
			g.mustPay(t, "/", payer.opening(payer.payment(1, 1)))
			forger := newPayer(t, wish{name: fmt.Sprint("forger ", k), vendor: g.vendor, issuer: p.URL, broker: thief})
			g.wantRefusal(t, forger.opening(forger.payment(1, 1)), http.StatusPaymentRequired, payword.UnknownBroker)
		})
	}
}

// TestKeysFromAFile wants a file that changes to be read again, by itself.
func TestKeysFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	const issuer = "https://file.example"
	key, next := ed25519.NewKeyFromSeed(seedOf("in a file")), ed25519.NewKeyFromSeed(seedOf("next in a file"))
	write := func(keys ...ed25519.PublicKey) {
		document, err := payword.FormatJWKS(keys...)
		if err != nil {
			t.Fatal(err)
		}
		// As an editor does: whole, under another name first.
		writeTestFile(t, path+".new", string(document))
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(key.Public().(ed25519.PublicKey))
	admin := freeAddress(t)
	g := startGate(t, site{global: "broker " + issuer + " " + path, admin: admin})
	first := newPayer(t, wish{name: "first", vendor: g.vendor, issuer: issuer, broker: key})
	g.mustPay(t, "/", first.opening(first.payment(1, 1)))
	write(key.Public().(ed25519.PublicKey), next.Public().(ed25519.PublicKey))
	refresh(t, admin)
	second := newPayer(t, wish{name: "second", vendor: g.vendor, issuer: issuer, broker: next})
	g.mustPay(t, "/", second.opening(second.payment(1, 1)))
	writeTestFile(t, path, "{}")
	if report := refresh(t, admin); !strings.Contains(report, "no Ed25519 key") {
		t.Errorf("the report says %s", report)
	}
	third := newPayer(t, wish{name: "third", vendor: g.vendor, issuer: issuer, broker: next})
	g.mustPay(t, "/", third.opening(third.payment(1, 1)))
}

// TestListThatIsNoList answers with what must not replace the last good list.
func TestListThatIsNoList(t *testing.T) {
	p := startPublisher(t, "bad lists")
	admin := freeAddress(t)
	g := startGate(t, site{global: "broker " + p.URL, admin: admin})
	refresh(t, admin)
	p.revoke(t, 7)
	opener := newPayer(t, p.wish("opener", g.vendor, 1))
	g.mustPay(t, "/", opener.opening(opener.payment(1, 1)))
	older, err := payword.NewStatusList(p.listURI(), 1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	older.IssuedAt, older.Expires = time.Now().Unix()-3600, time.Now().Unix()+3600
	expired, future, other := *older, *older, *older
	expired.IssuedAt, expired.Expires = time.Now().Unix()-5, time.Now().Unix()-1
	future.IssuedAt, future.Expires = time.Now().Unix()+3600, time.Now().Unix()+7200
	other.URI = p.URL + "/v1/status/2"
	other.IssuedAt = time.Now().Unix()
	serve := func(list *payword.StatusList, key ed25519.PrivateKey, mediaType string) func(http.ResponseWriter, *http.Request) bool {
		token, err := payword.SignStatusList(list, key)
		if err != nil {
			t.Fatal(err)
		}
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == payword.PathBrokerKeys {
				return false
			}
			w.Header().Set("Content-Type", mediaType)
			w.Write([]byte(token))
			return true
		}
	}
	fresh := *older
	fresh.IssuedAt = time.Now().Unix()
	const right = "application/statuslist+jwt"
	for k, each := range []struct {
		name, want string
		answer     func(http.ResponseWriter, *http.Request) bool
	}{
		{"an older one", "older than the one known", serve(older, p.key, right)},
		{"an expired one", "expired", serve(&expired, p.key, right)},
		{"one of the future", "in the future", serve(&future, p.key, right)},
		{"one of another address", "another address", serve(&other, p.key, right)},
		{"one of another broker", "no key of broker", serve(&fresh, testBroker, right)},
		{"another media type", "application/jwt", serve(&fresh, p.key, "application/jwt")},
	} {
		t.Run(each.name, func(t *testing.T) {
			p.change(func() { p.answer = each.answer })
			if report := refresh(t, admin); !strings.Contains(report, each.want) {
				t.Errorf("the report says %s; want %q", report, each.want)
			}
			revoked := newPayer(t, p.wish(fmt.Sprint("revoked ", k), g.vendor, 7))
			g.wantRefusal(t, revoked.opening(revoked.payment(1, 1)), http.StatusPaymentRequired, payword.CertificateRevoked)
			honest := newPayer(t, p.wish(fmt.Sprint("honest ", k), g.vendor, 8))
			g.mustPay(t, "/", honest.opening(honest.payment(1, 1)))
		})
	}
	// A later one is taken, with an ETag that is asked for the next time.
	p.change(func() { p.answer = nil })
	refresh(t, admin)
	refresh(t, admin)
	p.change(func() {
		if p.unchanged == 0 {
			t.Error("the list was never asked for with its ETag")
		}
	})
}
