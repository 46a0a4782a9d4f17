package broker_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
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

// By hand nothing is taken from a gateway where clearing has no cards.
func TestFundForAGatewayWithoutCards(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	code, _, stderr := run(t, "fund", "--db", b.config.Database, "--account", u.account, "--gateway", "purse", "--id", "1-1", "--amount", "5.00")
	if code != 1 || !strings.Contains(stderr, "Clearing has booked no payment 1-1 to gateway purse: want") {
		t.Errorf("got exit %d, %q", code, stderr)
	}
	u.wantBalance(0, 0)
}
