package keyfile_test

import (
	"bytes"
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

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/paywordhq/payword/internal/keyfile"
)

// cheap is a work factor that tests open fast.
const cheap = 10

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broker.key")
	made, err := keyfile.Create(path, nil, 0)
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
	if _, err := keyfile.Create(path, nil, 0); !errors.Is(err, fs.ErrExist) {
		t.Errorf("making the key again: got %v, want fs.ErrExist", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the key was overwritten (%v)", err)
	}
	loaded, err := keyfile.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !made.Public().(ed25519.PublicKey).Equal(loaded.Public()) {
		t.Error("another key was loaded than was made")
	}
}

func TestLoadRefusals(t *testing.T) {
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
			_, err := keyfile.Load(path, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := keyfile.Load(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestSealedKeyFile(t *testing.T) {
	directory := t.TempDir()
	path, clear := filepath.Join(directory, "broker.key"), filepath.Join(directory, "clear.key")
	made, err := keyfile.Create(path, []byte("correct horse"), cheap)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(content), "-----BEGIN AGE ENCRYPTED FILE-----") {
		t.Fatalf("got %q (%v)", content, err)
	}
	loaded, err := keyfile.Load(path, []byte("correct horse"))
	if err != nil || !made.Public().(ed25519.PublicKey).Equal(loaded.Public()) {
		t.Errorf("got %v (%v)", loaded, err)
	}
	if _, err := keyfile.Load(path, nil); !errors.Is(err, keyfile.ErrSealed) {
		t.Errorf("without a passphrase: got %v", err)
	}
	_, err = keyfile.Load(path, []byte("battery staple"))
	if !errors.Is(err, keyfile.ErrPassphrase) || strings.Contains(err.Error(), "battery") || !strings.Contains(err.Error(), path) {
		t.Errorf("with a wrong passphrase: got %v", err)
	}
	if _, err := keyfile.Create(clear, nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Load(clear, []byte("any")); err != nil {
		t.Errorf("a key in clear, with a passphrase: %v", err)
	}
	for name, change := range map[string]func(string) string{
		"cut off":          func(text string) string { return text[:len(text)/2] },
		"a damaged letter": func(text string) string { return text[:len(text)-60] + "AAAA" + text[len(text)-56:] },
	} {
		if _, err := keyfile.Parse([]byte(change(string(content))), []byte("correct horse")); err == nil {
			t.Errorf("%s: it was read", name)
		}
	}
}

// A key that is encrypted to somebody's key, and not under a passphrase, is told
// apart from a wrong passphrase.
func TestKeyThatIsSealedToAKey(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	text := armor.NewWriter(&sealed)
	writer, err := age.Encrypt(text, identity.Recipient())
	if err == nil {
		_, err = writer.Write([]byte("key"))
	}
	if err = errors.Join(err, writer.Close(), text.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Parse(sealed.Bytes(), []byte("any")); err == nil || !strings.Contains(err.Error(), "encrypted to a key") {
		t.Errorf("got %v", err)
	}
}

func FuzzPrivateKeyFile(f *testing.F) {
	directory := f.TempDir()
	for name, passphrase := range map[string][]byte{"clear": nil, "sealed": []byte("p")} {
		path := filepath.Join(directory, name)
		if _, err := keyfile.Create(path, passphrase, cheap); err != nil {
			f.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if bytes.Contains(content, []byte("AGE ENCRYPTED")) && len(content) > 1000 {
			return // a work factor of 20 takes seconds; what is long is no key
		}
		key, err := keyfile.Parse(content, []byte("p"))
		if err == nil && len(key) != ed25519.PrivateKeySize {
			t.Errorf("got a key of %d bytes", len(key))
		}
	})
}
