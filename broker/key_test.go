package broker_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/broker"
)

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broker.key")
	made, err := broker.CreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %04o, want 0600", info.Mode().Perm())
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := broker.CreateKey(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("making the key again: got %v, want fs.ErrExist", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the key was overwritten (%v)", err)
	}
	loaded, err := broker.LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if !made.Public().(ed25519.PublicKey).Equal(loaded.Public()) {
		t.Error("another key was loaded than was made")
	}
}

func TestLoadKeyRefusals(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	other := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
	cases := []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"no PEM", "secret", 0o600, "no key in PEM"},
		{"another kind of key", other, 0o600, "want Ed25519"},
		{"another block", strings.ReplaceAll(other, "PRIVATE", "PUBLIC"), 0o600, "want a"},
		{"a damaged block", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0o600, "no PKCS#8 key"},
		{"readable for others", other, 0o640, "0600"},
		{"too large", other + strings.Repeat("#", 16<<10), 0o600, "more than 16384 bytes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(c.content), c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := broker.LoadKey(path)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := broker.LoadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}
