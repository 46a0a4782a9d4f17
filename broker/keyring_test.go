package broker_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/dbtest"
)

// remoteSigner is a key behind something that can fail, as a security module
// does.
type remoteSigner struct {
	key    ed25519.PrivateKey
	signed atomic.Int64
	fault  atomic.Pointer[func() ([]byte, error)] // what it does in place of signing; nil: it signs
}

func newRemoteSigner() *remoteSigner { return &remoteSigner{key: newKey()} }

func (s *remoteSigner) Public() crypto.PublicKey { return s.key.Public() }

func (s *remoteSigner) Sign(random io.Reader, message []byte, options crypto.SignerOpts) ([]byte, error) {
	s.signed.Add(1)
	if fault := s.fault.Load(); fault != nil {
		return (*fault)()
	}
	return s.key.Sign(random, message, options)
}

// Whatever a signer does, no money is set aside without a word, nothing is
// issued, and who asked is told to ask again.
func TestSignerThatFails(t *testing.T) {
	hanging := make(chan struct{})
	defer close(hanging)
	faults := map[string]func() ([]byte, error){
		"fails":             func() ([]byte, error) { return nil, errors.New("the module is locked") },
		"hangs":             func() ([]byte, error) { <-hanging; return nil, nil },
		"gives nothing":     func() ([]byte, error) { return nil, nil },
		"gives another":     func() ([]byte, error) { return make([]byte, ed25519.SignatureSize), nil },
		"gives what is cut": func() ([]byte, error) { return []byte("short"), nil },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			signer := newRemoteSigner()
			b := newBank(t)
			if err := b.SetKeys(t.Context(), []crypto.Signer{signer}, nil); err != nil {
				t.Fatal(err)
			}
			b.SetSignTimeout(100 * time.Millisecond)
			u, s := b.newUser(100*cent), b.newShop()
			p := u.commit(s.origin, 10*cent, func(m *payword.Commitment) { m.Expires += 3600 })
			first := p.reserve(cent)
			want(t, first, http.StatusOK, payword.Accepted)
			b.wantStatus(p.m.Certificate, payword.StatusValid)
			before := signer.signed.Load()
			if before != 3 {
				t.Errorf("the signer was asked %d times for a certificate, a reservation and a list", before)
			}

			signer.fault.Store(&fault)
			key := payword.NewPublicKey(publicKey(newKey()))
			for _, a := range []answer{
				p.reserve(2 * cent), u.renew(p.m.Certificate.Subject),
				u.call(u.key, "POST", payword.PathCertificates, payword.CertificateRequest{Keys: []payword.PublicKey{key}}),
			} {
				want(t, a, http.StatusServiceUnavailable, payword.Accepted)
				if a.header.Get("Retry-After") == "" {
					t.Error("nobody says when to ask again")
				}
			}
			u.wantBalance(99*cent, cent)
			var listed struct{ Certificates []struct{ Subject string } }
			u.call(u.key, "GET", payword.PathCertificates, nil).into(t, http.StatusOK, &listed)
			if len(listed.Certificates) != 1 {
				t.Errorf("%d pseudonyms are stored, want the one that was issued", len(listed.Certificates))
			}
			b.clock.advance(3600) // the list would be signed anew; the last one is served
			b.wantStatus(p.m.Certificate, payword.StatusValid)

			signer.fault.Store(nil)
			p.mustReserve(2 * cent)
			b.wantSound()
		})
	}
}

// mustKid returns which key a new certificate of the user is signed with.
func (u *user) mustKid(candidates ...ed25519.PublicKey) int {
	u.t.Helper()
	key := payword.NewPublicKey(publicKey(newKey()))
	var issued payword.CertificateAnswer
	u.call(u.key, "POST", payword.PathCertificates, payword.CertificateRequest{Keys: []payword.PublicKey{key}}).into(u.t, http.StatusOK, &issued)
	for k, candidate := range candidates {
		keys := payword.Brokers{issuer: {payword.Thumbprint(candidate): candidate}}
		if _, refusal := payword.ParseCertificate(issued.Certificates[0], keys); !refusal.Refused() {
			return k
		}
	}
	u.t.Error("no key of those signed the certificate")
	return -1
}

// A new key is published at once and signs a day later; the old one stays
// published until everything that it signed has expired, whoever names it, and
// goes by itself then. Nothing breaks on the way.
func TestKeysTakeTurns(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	old, next := b.config.Signer, newKey()
	early := u.commit(s.origin, 10*cent)
	early.mustReserve(cent)
	late := u.commit(s.origin, 10*cent, func(m *payword.Commitment) { m.Expires = m.Certificate.Expires })

	set := func(signers ...crypto.Signer) {
		t.Helper()
		if err := b.SetKeys(t.Context(), signers, nil); err != nil {
			t.Fatal(err)
		}
	}
	set(old, next)
	b.wantPublished(publicKey(old), publicKey(next))
	b.clock.advance(24*3600 - 1)
	if got := u.mustKid(publicKey(old), publicKey(next)); got != 0 {
		t.Errorf("key %d signs before its day is over", got)
	}
	b.clock.advance(10) // the table is read again within ten seconds
	if got := u.mustKid(publicKey(old), publicKey(next)); got != 1 {
		t.Errorf("key %d signs after a day, want the new one", got)
	}
	late.mustReserve(cent)
	s.wantResult(s.claim(early, 1, cent), payword.Accepted, cent, cent)

	set(next) // the old file was removed
	b.wantPublished(publicKey(old), publicKey(next))
	if !strings.Contains(b.journal.String(), "stays published") {
		t.Error("nobody was told that the old key is still published")
	}
	// Certificates of the old key live for a week and an hour, and are paid on
	// for another week.
	b.clock.advance(15 * 24 * 3600)
	u.mustKid(publicKey(next))
	b.wantPublished(publicKey(next))
}

// Two brokers on one database publish each other's keys, and take what the other
// one signed.
func TestBrokersPublishEachOthersKeys(t *testing.T) {
	b := newBank(t)
	second := *b
	second.config.Signer = newKey()
	second.open()
	b.clock.advance(10)
	u := b.newUser(100 * cent)
	other := *u
	other.bank = &second
	c, _ := other.certificate()
	b.clock.advance(10)
	b.wantPublished(publicKey(b.config.Signer), publicKey(second.config.Signer))
	if b.trusted()[issuer][payword.Thumbprint(publicKey(second.config.Signer))] == nil {
		t.Errorf("%s was signed with a key that the first broker does not publish", c.Subject)
	}
	b.wantStatus(c, payword.StatusValid)
}

func TestSetKeysRefusals(t *testing.T) {
	b := newBank(t)
	old := publicKey(b.config.Signer)
	for name, c := range map[string]struct {
		signers   []crypto.Signer
		published []ed25519.PublicKey
	}{
		"none":           {nil, nil},
		"of small order": {[]crypto.Signer{newKey()}, []ed25519.PublicKey{make([]byte, 32)}},
		"too many":       {[]crypto.Signer{newKey()}, keysFor(64)},
	} {
		if err := b.SetKeys(t.Context(), c.signers, c.published); err == nil {
			t.Errorf("%s: they were taken", name)
		}
	}
	b.wantPublished(old)
}

// A key that was withdrawn signs nothing any more, and another one takes over;
// without another, who asks is told to ask again.
func TestWithdrawnKeySignsNothing(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	stolen, spare := b.config.Signer, newKey()
	u.mustKid(publicKey(stolen))
	if code, out, stderr := run(t, "key", "--db", b.config.Database, "--withdraw", payword.Thumbprint(publicKey(stolen))); code != 0 {
		t.Fatal(out, stderr)
	}
	b.clock.advance(10)
	key := payword.NewPublicKey(publicKey(newKey()))
	want(t, u.call(u.key, "POST", payword.PathCertificates, payword.CertificateRequest{Keys: []payword.PublicKey{key}}),
		http.StatusServiceUnavailable, payword.Accepted)
	if err := b.SetKeys(t.Context(), []crypto.Signer{stolen, spare}, nil); err != nil {
		t.Fatal(err)
	}
	u.mustKid(publicKey(spare))
	b.wantPublished(publicKey(spare))
	code, out, _ := run(t, "key", "--db", b.config.Database)
	if code != 0 || !strings.Contains(out, "withdrawn") || strings.Count(out, "\n") != 3 {
		t.Errorf("got %d: %s", code, out)
	}
}

// The command serves from a directory of keys under a passphrase, and takes up a
// key that is put there, without a restart.
func TestServeFromADirectoryOfKeys(t *testing.T) {
	directory := t.TempDir()
	secret := filepath.Join(directory, "passphrase")
	if err := os.WriteFile(secret, []byte("correct horse\nsecond line"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(directory, "keys")
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	create := func(name string) ed25519.PublicKey {
		t.Helper()
		made, err := broker.CreateCheapKey(filepath.Join(directory, name), []byte("correct horse"))
		if err == nil { // whole at once, as an operator does who copies carefully
			err = os.Rename(filepath.Join(directory, name), filepath.Join(keys, name))
		}
		if err != nil {
			t.Fatal(err)
		}
		return made.Public().(ed25519.PublicKey)
	}
	first := create("1.key")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader, writer := io.Pipe()
	stderr := &journal{}
	ended := make(chan int)
	go func() {
		code := broker.Main(ctx, []string{"serve", "--db", dbtest.New(t), "--origin", issuer, "--key", keys,
			"--passphrase-file", secret, "--listen", "127.0.0.1:0"}, strings.NewReader(""), writer, stderr)
		_ = writer.Close()
		ended <- code
	}()
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatalf("it ended with %d: %s", <-ended, stderr)
	}
	b := &bank{t: t, url: "http://" + strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:])}
	b.wantPublished(first)
	if err := os.WriteFile(filepath.Join(keys, "README"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := create("2.key")
	for deadline := time.Now().Add(30 * time.Second); len(b.trusted()[issuer]) < 2 && time.Now().Before(deadline); {
		<-time.After(50 * time.Millisecond)
	}
	b.wantPublished(first, second)
	// What is no key changes nothing, and is told.
	if err := os.WriteFile(filepath.Join(keys, "3.key"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(stderr.String(), "holds no key in PEM") && time.Now().Before(deadline); {
		<-time.After(50 * time.Millisecond)
	}
	b.wantPublished(first, second)
	stop()
	if code := <-ended; code != 0 || !strings.Contains(stderr.String(), "holds no key in PEM") {
		t.Errorf("it ended with %d: %s", code, stderr)
	}
}

// Keys that were put there while the database was away count once it is back,
// though the files stay as they are from then on.
func TestKeyFilesWhileTheDatabaseIsAway(t *testing.T) {
	b := newBank(t)
	path := filepath.Join(t.TempDir(), "broker.key")
	made, err := broker.CreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	takeUp := broker.TakeUpKeys(path)
	b.SetFault(func(point string) error {
		if point == "before register keys" {
			return errors.New("the database is away")
		}
		return nil
	})
	takeUp(t.Context(), b.Broker)
	b.wantPublished(publicKey(b.config.Signer.(ed25519.PrivateKey)))
	b.SetFault(nil)
	for range 2 {
		takeUp(t.Context(), b.Broker)
		b.wantPublished(made.Public().(ed25519.PublicKey))
	}
	if got := strings.Count(b.journal.String(), "the key files were read"); got != 1 {
		t.Errorf("the keys were taken up %d times, want once", got)
	}
}

func TestKeyCommands(t *testing.T) {
	directory := t.TempDir()
	key, secret, open := filepath.Join(directory, "broker.key"), filepath.Join(directory, "secret"), filepath.Join(directory, "open")
	err := errors.Join(os.WriteFile(secret, []byte("correct horse"), 0o600), os.WriteFile(open, []byte("x"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	b := newBank(t)
	u := b.newUser(0)
	u.certificate()
	database := b.config.Database
	steps := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"key"}, 2, "want --out FILE"},
		{[]string{"key", "--out", key, "--db", database}, 2, "want --out FILE"},
		{[]string{"key", "--out", key, "--withdraw", "x"}, 2, "goes with --db"},
		{[]string{"key", "--out", key, "--encrypt"}, 2, "from a terminal"},
		{[]string{"key", "--out", key, "--passphrase-file", open}, 2, "0600"},
		{[]string{"key", "--out", key, "--passphrase-file", secret + "x"}, 2, "--passphrase-file"},
		{[]string{"key", "--out", key, "--passphrase-file", secret}, 0, "encrypted"},
		{[]string{"key", "--out", key, "--passphrase-file", secret}, 2, "never overwritten"},
		{[]string{"serve", "--db", database, "--origin", issuer, "--key", key}, 2, "from a terminal"},
		{[]string{"key", "--db", database}, 0, fmt.Sprintf("%s  2023-11-14 22:13:20", payword.Thumbprint(publicKey(b.config.Signer)))},
		{[]string{"key", "--db", database}, 0, "all that it signed has expired"}, // by the wall's clock
		{[]string{"key", "--db", database, "--withdraw", "nobody"}, 2, "there is no key"},
		{[]string{"revoke", "--db", database}, 2, "--account is missing"},
		{[]string{"revoke", "--db", database, "--account", "nobody"}, 1, "no such account"},
		{[]string{"revoke", "--db", database, "--account", u.account}, 0, "1 pseudonyms"},
		{[]string{"revoke", "--db", database, "--account", u.account}, 0, "0 pseudonyms"},
	}
	for _, s := range steps {
		code, stdout, stderr := run(t, s.args...)
		if code != s.code || !strings.Contains(stdout+stderr, s.want) {
			t.Errorf("%v: got exit %d, %q, %q; want %d and %q", s.args, code, stdout, stderr, s.code, s.want)
		}
	}
}
