package client_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

const week = 7 * 24 * 3600

// heldBy returns the certificate that the vendor knows the wallet by, from its
// file.
func (w *world) heldBy() payword.Certificate {
	w.t.Helper()
	w.reopen()
	content, err := os.ReadFile(w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	var file struct {
		Wallet struct {
			Vendors map[string]struct{ Certificate string }
		}
	}
	if err := json.Unmarshal(content, &file); err != nil {
		w.t.Fatal(err)
	}
	for _, v := range file.Wallet.Vendors {
		certificate, err := payword.UnverifiedCertificate(v.Certificate)
		if err != nil {
			w.t.Fatal(err)
		}
		return certificate
	}
	w.t.Fatal("no vendor knows the wallet")
	return payword.Certificate{}
}

// A wallet that pays once a day renews its certificate in time, under the same
// pseudonym, and always makes commitments that live for a day.
func TestCertificatesAreRenewedInTime(t *testing.T) {
	w := newWorld(t, 1000)
	w.broker.set(func() { w.broker.lifeSeconds = week })
	w.mustGet("/first")
	first := w.heldBy()
	for day := range 30 {
		w.clock.add(25 * time.Hour)
		w.mustGet("/" + strings.Repeat("x", day+1))
		held := w.heldBy()
		if held.Subject != first.Subject {
			t.Fatalf("day %d: the vendor knows %s, and knew %s", day, held.Subject, first.Subject)
		}
		if site := w.wallet.Summary().Sites[0]; site.Expires < w.clock.now().Unix()+24*3600 {
			t.Fatalf("day %d: the commitment lives until %d", day, site.Expires)
		}
	}
	if renewed := w.broker.count(payword.PathRenewals); renewed < 5 || renewed > 25 { // the spares twice as often
		t.Errorf("it renewed %d times in a month", renewed)
	}
	w.wantSpent(31_000)
}

// While the broker is away a certificate that is not to be renewed any more does
// for as long as it is good.
func TestCertificatesWhileTheBrokerIsAway(t *testing.T) {
	w := newWorld(t, 1000)
	w.broker.set(func() { w.broker.lifeSeconds = week })
	w.gate.set(func() {
		w.gate.editChallenge = func(_ *http.Request, quoted *payword.PriceRequest, _ *payword.Challenge) {
			quoted.MethodDetails.Unreserved = true
		}
	})
	w.mustGet("/first")
	w.broker.set(func() { w.broker.down = true })
	w.clock.add(6*24*time.Hour + 12*time.Hour)
	w.mustGet("/later")
	w.wantSpent(2000)
}

// A pseudonym that the broker renews no more, or that was revoked by somebody
// else, is replaced by another one.
func TestRevokedCertificateIsReplaced(t *testing.T) {
	for name, after := range map[string]time.Duration{"renewing": 6*24*time.Hour + 12*time.Hour, "reserving": 25 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1000)
			w.broker.set(func() { w.broker.lifeSeconds = week })
			w.mustGet("/first")
			first := w.heldBy()
			w.broker.set(func() { w.broker.subjects[0].Revoked = true })
			w.clock.add(after)
			w.mustGet("/later")
			if held := w.heldBy(); held.Subject == first.Subject || held.Key.Equal(first.Key) {
				t.Errorf("it goes on as %s", held.Subject)
			}
			w.wantSpent(2000)
		})
	}
}

// A broker that is away costs no numbers of keys: a wallet that is restored looks
// for them in order, and not for ever.
func TestKeysAreNumberedWithoutGaps(t *testing.T) {
	w := newWorld(t, 1000)
	w.broker.set(func() { w.broker.down = true })
	for range 80 {
		refusedBy[*client.BrokerError](t, w.wallet.Certificates(t.Context(), payword.MaxCertificatesPerRequest))
	}
	w.broker.set(func() { w.broker.down = false })
	w.mustGet("/a")
	before := w.heldBy()
	w.restored()
	w.mustGet("/b")
	if after := w.heldBy(); after.Subject != before.Subject {
		t.Errorf("the restored wallet is %s to the vendor, and was %s", after.Subject, before.Subject)
	}
}

// A certificate that was not used for a vendor after all is there for the next.
func TestUnusedSpareIsKept(t *testing.T) {
	w := newWorld(t, 1000)
	w.broker.set(func() { w.broker.limit = 999 })
	if err := w.wallet.Certificates(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if refused := refusedBy[*client.RefusedError](t, w.get("/a")); refused.Reason != payword.OverCertificateLimit {
			t.Errorf("got %v, want %v", refused.Reason, payword.OverCertificateLimit)
		}
	}
	if spares := w.wallet.Summary().Spares; spares != 3 {
		t.Errorf("%d spares are left, want 3", spares)
	}
}

// Spares are renewed when half of their life is over, so that they are there when
// the broker is not.
func TestSparesAreTended(t *testing.T) {
	w := newWorld(t, 1000)
	w.broker.set(func() { w.broker.lifeSeconds = week })
	w.mustGet("/first") // which leaves three
	w.clock.add(4 * 24 * time.Hour)
	w.mustGet("/second")
	w.reopen() // at once, as a command does
	w.broker.set(func() { w.broker.down = true })
	w.clock.add(6 * 24 * time.Hour) // ten days after they were issued
	if err := w.wallet.Certificates(t.Context(), 3); err != nil {
		t.Errorf("the spares have expired: %v", err)
	}
}

func TestRevoke(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/first")
	first := w.heldBy()
	if count, err := w.wallet.Revoke(t.Context(), w.gate.origin()); count != 1 || err != nil {
		t.Errorf("revoked %d: %v", count, err)
	}
	if _, err := w.wallet.Revoke(t.Context(), w.gate.origin()); err == nil {
		t.Error("what no site knows was revoked")
	}
	w.mustGet("/second")
	if held := w.heldBy(); held.Subject == first.Subject {
		t.Error("it goes on under the pseudonym that was revoked")
	}
	if count, err := w.wallet.Revoke(t.Context()); count != 3 || err != nil {
		t.Errorf("revoked %d of the three that were left: %v", count, err)
	}
	if spares := w.wallet.Summary().Spares; spares != 0 {
		t.Errorf("%d spares are kept that are revoked", spares)
	}
	w.mustGet("/third")
	w.broker.set(func() { w.broker.down = true })
	var refusal *client.BrokerError
	if _, err := w.wallet.Revoke(t.Context()); !errors.As(err, &refusal) {
		t.Errorf("while the broker is away: %v", err)
	}
	w.mustGet("/fourth") // nothing was given up
}

// restored restores the wallet from its seed alone, in another file, and makes w
// pay with it.
func (w *world) restored() {
	w.t.Helper()
	seed := w.wallet.Seed()
	if err := w.wallet.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.path += ".restored"
	wallet, err := client.RestoreWallet(w.t.Context(), client.WalletConfig{Path: w.path, Now: w.clock.now}, seed, w.broker.origin())
	if err != nil {
		w.t.Fatal(err)
	}
	budget := w.Budget
	w.use(wallet)
	w.Budget = budget
}

// A wallet that was lost goes on from its seed: with the same account, under the
// same pseudonym, and with the commitment that is open, wherever it is.
func TestWalletRestoredFromItsSeed(t *testing.T) {
	for _, between := range []int{0, 1, 3, 40, 200} {
		w := newWorld(t, 1000)
		for page := range between {
			w.mustGet("/" + strings.Repeat("x", page+1))
		}
		var before payword.Certificate
		if between > 0 {
			before = w.heldBy()
		}
		balance := w.broker.balance
		w.clock.add(2 * time.Minute)
		w.restored()
		for page := range 20 {
			if err := w.get("/after/" + strings.Repeat("y", page+1)); err != nil {
				t.Fatalf("after %d pages: page %d: %v", between, page, err)
			}
		}
		w.gate.wantChargedOnce()
		if between > 0 && w.heldBy().Subject != before.Subject {
			t.Errorf("after %d pages the vendor knows another pseudonym", between)
		}
		if between == 3 && w.broker.balance != balance {
			t.Errorf("it reserved %s more though a commitment is open", balance-w.broker.balance)
		}
		if account := w.wallet.Summary().Account; account != "account-1" {
			t.Errorf("got account %s", account)
		}
		// New keys are new: nothing that was certified is asked for again.
		if err := w.wallet.Certificates(t.Context(), 16); err != nil {
			t.Error(err)
		}
		seen := make(map[string]bool)
		for _, p := range w.broker.subjects {
			if seen[p.KeyID] {
				t.Errorf("after %d pages key %s has two pseudonyms", between, p.KeyID)
			}
			seen[p.KeyID] = true
		}
	}
}

func TestRestoreRefusals(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	directory := t.TempDir()
	path := filepath.Join(directory, "wallet.json")
	restore := func(seed payword.Seed) error {
		_, err := client.RestoreWallet(t.Context(), client.WalletConfig{Path: path, Now: w.clock.now}, seed, w.broker.origin())
		return err
	}
	var refusal *client.BrokerError
	if err := restore(payword.Seed{1}); !errors.As(err, &refusal) || refusal.Reason != payword.UnknownAccount {
		t.Errorf("of nobody's seed: %v", err)
	}
	w.broker.set(func() { w.broker.listed[0]["commitment"] = "no commitment" })
	if err := restore(w.wallet.Seed()); !errors.As(err, &refusal) {
		t.Errorf("from a broker that lies: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was left behind: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore(w.wallet.Seed()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
}

// What the broker says was paid counts against the budgets again.
func TestRestoredWalletCountsWhatWasPaid(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	w.broker.set(func() { w.broker.listed[0]["paid"], w.broker.listed[0]["closed"] = money.Amount(1000), true })
	w.restored()
	if s := w.wallet.Summary(); s.Released != 1000 || s.Spent != 1000 || len(s.Sites) != 1 || s.Sites[0].Limit != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestRestoreCommands(t *testing.T) {
	broker := newFakeBroker(t, time.Now)
	gate := newFakeGate(t, broker, 1000)
	directory := t.TempDir()
	wallet, restored, written := filepath.Join(directory, "wallet"), filepath.Join(directory, "restored"), filepath.Join(directory, "seed")
	command(t, "wallet", "create", "--wallet", wallet)
	command(t, "wallet", "open-account", "--wallet", wallet, "--broker", broker.origin())
	command(t, "pay", gate.origin()+"/a", "--wallet", wallet)
	status, seed, stderr := command(t, "wallet", "seed", "--wallet", wallet)
	if status != 0 || !strings.Contains(stderr, "like money") {
		t.Fatalf("got %d, %s", status, stderr)
	}
	if err := os.WriteFile(written, []byte(strings.ToLower(strings.ReplaceAll(seed, "-", " "))), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(directory, "other")
	if err := os.WriteFile(other, []byte("ABCD"), 0o600); err != nil {
		t.Fatal(err)
	}
	restore := []string{"wallet", "restore", "--wallet", restored, "--broker", broker.origin()}
	for _, s := range []struct {
		arguments []string
		status    int
		says      string
	}{
		{restore, 1, "a terminal"},
		{append(restore, "--seed-file", written+"x"), 1, "no such file"},
		{append(restore, "--seed-file", wallet), 1, "in its first line"},
		{append(restore, "--seed-file", other), 1, "14 groups"},
		{append(restore, "--seed-file", written, "--broker", "b.example"), 2, "--broker"},
		{append(restore, "--seed-file", written), 0, "account-1 and 1 sites"},
		{append(restore, "--seed-file", written), 1, "file already exists"},
		{[]string{"pay", gate.origin() + "/b", "--wallet", restored}, 0, "content of /b"},
		{[]string{"wallet", "revoke", "--wallet", restored}, 2, "either --site"},
		{[]string{"wallet", "revoke", "--wallet", restored, "--all", "--site", gate.origin()}, 2, "either --site"},
		{[]string{"wallet", "revoke", "--wallet", restored, "--site", "https://other.example"}, 1, "no certificate"},
		{[]string{"wallet", "revoke", "--wallet", restored, "--site", gate.origin()}, 0, "1 pseudonyms"},
		{[]string{"wallet", "revoke", "--wallet", restored, "--all"}, 0, "3 pseudonyms"},
	} {
		status, stdout, stderr := command(t, s.arguments...)
		if status != s.status || !strings.Contains(stdout+stderr, s.says) {
			t.Errorf("%v: got %d, %q, %q; want %d and %q", s.arguments, status, stdout, stderr, s.status, s.says)
		}
	}
}

func TestBindRefusals(t *testing.T) {
	wallet := filepath.Join(t.TempDir(), "wallet")
	command(t, "wallet", "create", "--wallet", wallet)
	for bind, says := range map[string]string{
		"192.0.2.1":                "want prefixes such as",
		"192.0.2.1/24":             "bits set past its length",
		"::/0,::/1,::/2,::/3,::/4": "at most 4",
	} {
		if status, _, stderr := command(t, "wallet", "certificates", "--wallet", wallet, "--bind", bind); status == 0 || !strings.Contains(stderr, says) {
			t.Errorf("%s: got %d, %s", bind, status, stderr)
		}
	}
}

func TestSeedIsWrittenDown(t *testing.T) {
	var seed payword.Seed
	for k := range seed {
		seed[k] = byte(k * 7)
	}
	text := client.FormatSeed(seed)
	if len(text) != 14*4+13 {
		t.Errorf("got %q", text)
	}
	if got, err := client.ParseSeed(" " + strings.ToLower(strings.ReplaceAll(text, "-", "\n")) + "\r\n"); err != nil || got != seed {
		t.Errorf("got %x, %v", got, err)
	}
	letters := []byte(text)
	for k := range letters {
		changed := []byte(text)
		if changed[k]++; changed[k] == '.' || changed[k] > 'Z' {
			continue
		}
		if _, err := client.ParseSeed(string(changed)); err == nil {
			t.Errorf("a mistake in letter %d was not noticed", k)
		}
	}
}

func FuzzParseSeed(f *testing.F) {
	f.Add(client.FormatSeed(payword.Seed{1, 2, 3}))
	f.Add("")
	f.Add(strings.Repeat("A", 56))
	f.Fuzz(func(t *testing.T, text string) {
		seed, err := client.ParseSeed(text)
		if err != nil {
			return
		}
		if again, err := client.ParseSeed(client.FormatSeed(seed)); err != nil || again != seed {
			t.Errorf("%q was read as %x and then as %x (%v)", text, seed, again, err)
		}
	})
}
