package broker_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// A gateway is registered by its public key, in each of the forms in which people
// have it, and changed and listed.
func TestGatewayCommand(t *testing.T) {
	b := newBank(t)
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	encoded, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(payword.NewPublicKey(public))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded}), "jwk": jwk,
		"printed": []byte(`{"file":"gateway.key","keyId":"x","key":` + string(jwk) + `}`), "none": []byte(`{"key":7}`),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"nothing yet", nil, 0, []string{"GATEWAY"}},
		{"registered", []string{"--name", "purse", "--key", "jwk", "--day-limit", "100.00", "--backed"}, 0, []string{"purse", "100.00", "yes", payword.Thumbprint(public)}},
		{"another limit, and as it was", []string{"--name", "purse", "--key", "printed", "--day-limit", "0"}, 0, []string{"0.00", "yes"}},
		{"not backed", []string{"--name", "purse", "--key", "pem", "--day-limit", "5", "--backed=false"}, 0, []string{"5.00", "no"}},
		{"a second one with the same key", []string{"--name", "other", "--key", "jwk", "--day-limit", "5"}, 1, []string{"Another gateway has that key"}},
		{"no name", []string{"--key", "jwk"}, 2, []string{"--name is missing"}},
		{"a name in capitals", []string{"--name", "Purse", "--key", "jwk", "--day-limit", "5"}, 2, []string{"lower-case"}},
		{"no limit", []string{"--name", "purse", "--key", "jwk"}, 2, []string{"--day-limit is missing"}},
		{"a limit below 0", []string{"--name", "purse", "--key", "jwk", "--day-limit", "-1"}, 2, []string{"100.00"}},
		{"no file", []string{"--name", "purse", "--key", "nowhere", "--day-limit", "5"}, 2, []string{"--key"}},
		{"no key in it", []string{"--name", "purse", "--key", "none", "--day-limit", "5"}, 2, []string{"--key"}},
		{"listed", nil, 0, []string{"purse", "5.00", "no"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"gateway", "--db", b.config.Database}
			for k, word := range c.args {
				if k > 0 && c.args[k-1] == "--key" {
					word = filepath.Join(folder, word)
				}
				args = append(args, word)
			}
			code, stdout, stderr := run(t, args...)
			for _, want := range c.want {
				if code != c.code || !strings.Contains(stdout+stderr, want) {
					t.Errorf("got exit %d, %q, %q; want %d and %q", code, stdout, stderr, c.code, want)
				}
			}
		})
	}
}

// What a gateway cannot say any more, because its journal is lost, is put on an
// account by hand: out of what clearing has booked to it, and once.
func TestFundForAGateway(t *testing.T) {
	b := newBank(t)
	u, key := b.newUser(0), newKey()
	b.admin("PUT", "/v1/admin/gateways/purse", map[string]any{
		"key": payword.NewPublicKey(publicKey(key)), "dayLimit": money.Amount(100 * money.Unit), "backed": true,
	})
	b.forward("purse", 5*money.Unit)
	cases := []struct {
		name, gateway, id, amount string
		code                      int
		want                      string
	}{
		{"another amount", "purse", "1-1", "4.00", 1, "Payment 1-1 is of 5.00 USD"},
		{"a payment to come", "purse", "1-2", "5.00", 1, "Clearing has booked no payment 1-2 to gateway purse"},
		{"no payment", "purse", "1", "5.00", 1, "a hyphen and the number"},
		{"another gateway's", "nobody", "1-1", "5.00", 1, "Clearing has booked no payment 1-1 to gateway nobody"},
		{"what waits", "purse", "1-1", "5.00", 0, "5.00"},
		{"that again", "purse", "1-1", "5.00", 0, "5.00"},
	}
	for _, c := range cases {
		code, stdout, stderr := run(t, "fund", "--db", b.config.Database, "--account", u.account, "--gateway", c.gateway, "--id", c.id, "--amount", c.amount)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%s: got exit %d, %q, %q; want %d and %q", c.name, code, stdout, stderr, c.code, c.want)
		}
	}
	want(t, b.call(key, "POST", "/v1/gateway/fundings", cardFunding("1-1", u.account, 5*money.Unit)), http.StatusOK, payword.Accepted)
	u.wantBalance(5*money.Unit, 0)
	b.wantSound()
}
