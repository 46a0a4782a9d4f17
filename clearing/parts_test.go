package clearing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	eur = money.Currency("eur-micro")
	usd = money.Currency("usd-micro")
)

var epoch = time.Date(2026, 11, 22, 22, 30, 0, 0, time.UTC)

// clock is a clock that only a test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time          { return epoch.Add(time.Duration(c.offset.Load())) }
func (c *clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// startBroker makes the tables of a broker at location, and those of clearing.
func startBroker(location string, currency money.Currency) error {
	b, err := broker.New(context.Background(), broker.Config{
		Issuer: "https://broker.example", Currency: currency, Database: location,
		Signer: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)),
		Now:    func() time.Time { return epoch },
	})
	if err != nil {
		return err
	}
	if err := b.Close(); err != nil {
		return err
	}
	db, err := ledger.Open(context.Background(), location, ledger.Options{})
	if err != nil {
		return err
	}
	return errors.Join(clearing.Migrate(context.Background(), db), db.Close())
}

// usedFile returns the SQLite file of a broker in EUR that did nothing yet: each
// test works on a copy.
var usedFile = sync.OnceValues(func() ([]byte, error) {
	folder, err := os.MkdirTemp("", "payword-clearing")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "broker.db")
	if err := startBroker(path, eur); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// newDatabase returns the location of a database that a broker in EUR has used.
func newDatabase(t testing.TB) string {
	t.Helper()
	location := dbtest.New(t)
	if dbtest.IsPostgreSQL() {
		return location // made by TestMain
	}
	content, err := usedFile()
	if err == nil {
		err = os.WriteFile(location, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// open makes a broker's database and opens it.
func open(t testing.TB) (*ledger.DB, *clock) {
	t.Helper()
	return openAt(t, newDatabase(t))
}

func openAt(t testing.TB, location string) (*ledger.DB, *clock) {
	t.Helper()
	c := new(clock)
	return openWith(t, location, c), c
}

// openWith opens a database in which every Update runs twice.
func openWith(t testing.TB, location string, c *clock) *ledger.DB {
	t.Helper()
	return openIn(t, location, ledger.Options{Now: c.Now, RunTwice: func() bool { return true }})
}

// openOnce makes a broker's database and opens it as programs do.
func openOnce(t testing.TB) (*ledger.DB, *clock) {
	t.Helper()
	c := new(clock)
	return openIn(t, newDatabase(t), ledger.Options{Now: c.Now}), c
}

func openIn(t testing.TB, location string, options ledger.Options) *ledger.DB {
	t.Helper()
	db, err := ledger.Open(t.Context(), location, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func update(t testing.TB, db *ledger.DB, work func(ctx context.Context, tx *ledger.Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *ledger.Tx) error { return work(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// execute runs statements.
func execute(t testing.TB, db *ledger.DB, statements ...string) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		for _, statement := range statements {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return nil
	})
}

// scan reads one row.
func scan(t testing.TB, db *ledger.DB, query string, targets ...any) {
	t.Helper()
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		return tx.QueryRowContext(t.Context(), query).Scan(targets...)
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// payable is the account of what is owed to a vendor.
func payable(origin string) string { return "vendor:" + origin + ":payable" }

var moves atomic.Int64

// move makes a transfer of any kind.
func move(t testing.TB, db *ledger.DB, from, to string, amount money.Amount) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		account, err := tx.Account(ctx, to)
		if err != nil {
			return err
		}
		return tx.Post(ctx, ledger.Transfer{ID: fmt.Sprintf("move-%d", moves.Add(1)), Debit: from, Credit: to,
			Amount: amount, Currency: account.Currency, Kind: "redeem"})
	})
}

// register makes a vendor with a destination, or none.
func register(t testing.TB, db *ledger.DB, origin, destination string) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_vendors (vendor, created, destination) VALUES (?, 0, ?)`, origin, destination)
		return errors.Join(err, tx.CreateAccount(ctx, ledger.Account{ID: payable(origin), Currency: eur}))
	})
}

// owe makes an amount payable to a vendor.
func owe(t testing.TB, db *ledger.DB, origin string, amount money.Amount) {
	t.Helper()
	move(t, db, "broker:bank:in", payable(origin), amount)
}

// user makes an account with a credit line, and a mandate for it where it is
// named.
func user(t testing.TB, db *ledger.DB, id, mandate string) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_accounts (id, key_id, key, created) VALUES (?, ?, ?, 0)`, id, "key of "+id, []byte(id))
		if err == nil && mandate != "" {
			_, err = tx.ExecContext(ctx, `INSERT INTO clearing_mandates (id, account, name, iban, bic, signed, scheme, state, created)
				VALUES (?, ?, 'A. Debtor', 'DE89370400440532013000', '', '2026-01-02', 'core', 'active', 0)`, mandate, id)
		}
		return errors.Join(err,
			tx.CreateAccount(ctx, ledger.Account{ID: "user:" + id + ":available", Currency: eur, Floor: -1000 * money.Unit}),
			tx.CreateAccount(ctx, ledger.Account{ID: "user:" + id + ":reserved", Currency: eur}))
	})
}

// merchant makes a merchant who takes cards.
func merchant(t testing.TB, db *ledger.DB, mid, destination string) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		account := "merchant:" + mid + ":payable"
		_, err := tx.ExecContext(ctx, `INSERT INTO cards_merchants (mid, key_version, name, destination, currency, state, account, created)
			VALUES (?, 1, 'A Kiosk', ?, ?, 'open', ?, 0)`, mid, destination, string(eur), account)
		return errors.Join(err, tx.CreateAccount(ctx, ledger.Account{ID: account, Currency: eur}))
	})
}

// askPayout sets money of an account aside, as the broker does when its owner
// asks for a payout.
func askPayout(t testing.TB, db *ledger.DB, account, id, kind, destination string, amount money.Amount) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_payouts (account, id, amount, kind, destination, closing, state, created)
			VALUES (?, ?, ?, ?, ?, 0, 'pending', ?)`, account, id, int64(amount), kind, destination, tx.Now().UnixMicro())
		return errors.Join(err, tx.Pend(ctx, ledger.Transfer{ID: "account-payout/" + account + "/" + id, Debit: "user:" + account + ":available",
			Credit: "broker:bank:out", Amount: amount, Currency: eur, Kind: "payout", Reference: id}))
	})
}

// openWithVendors makes a broker's database that owes something to a few vendors.
func openWithVendors(t testing.TB) (*ledger.DB, *clock) {
	t.Helper()
	db, c := open(t)
	oweVendors(t, db)
	return db, c
}

const (
	vendorA = "https://a.example"
	vendorB = "https://b.example"
	vendorC = "https://c.example:8443"
	vendorD = "https://d.example"
	vendorE = "https://e.example"
	vendorF = "https://long-name.of-a-vendor.example"
	vendorG = "https://users.example"
)

func oweVendors(t testing.TB, db *ledger.DB) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error { // all at once: many tests begin with it
		for k, v := range []struct {
			origin, destination, state string
			owed                       money.Amount
		}{
			{vendorA, "iban:DE89370400440532013000", "open", 12_345_678},
			{vendorB, "iban:DE89370400440532013000", "open", 4_000},
			{vendorC, "ref:customer-17", "open", 20_000},
			{vendorD, "", "open", 7 * money.Unit},
			{vendorE, "ref:customer-18", "blocked", 3 * money.Unit},
			{vendorF, "ref:customer-19", "open", 1_234_567_890_000},
		} {
			_, err := tx.ExecContext(ctx, `INSERT INTO broker_vendors (vendor, created, destination, state) VALUES (?, 0, ?, ?)`, v.origin, v.destination, v.state)
			err = errors.Join(err, tx.CreateAccount(ctx, ledger.Account{ID: payable(v.origin), Currency: eur}))
			if err == nil {
				err = tx.Post(ctx, ledger.Transfer{ID: fmt.Sprintf("first-%d", k), Debit: "broker:bank:in", Credit: payable(v.origin),
					Amount: v.owed, Currency: eur, Kind: "redeem"})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// vendorsSent is what is pending after the vendors of oweVendors were settled.
var vendorsSent = map[string]money.Amount{
	payable(vendorA): 37_037 + 12_300_000,
	payable(vendorB): 0,
	payable(vendorC): 20_000,
	payable(vendorD): 0,
	payable(vendorE): 0,
	payable(vendorF): 3_703_703_670 + 1_230_864_180_000,
}

// wantPending checks what is pending in accounts, and the books.
func wantPending(t testing.TB, db *ledger.DB, want map[string]money.Amount) {
	t.Helper()
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		for id, pending := range want {
			account, err := tx.Account(t.Context(), id)
			if err != nil {
				return err
			}
			if account.Pending != pending {
				t.Errorf("pending in %s: got %s, want %s", id, account.Pending, pending)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantSound(t, db)
}

// wantSound checks the books.
func wantSound(t testing.TB, db *ledger.DB) {
	t.Helper()
	report, err := db.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Disagreements {
		t.Errorf("check: %s: %s", d.Subject, d.What)
	}
}

// propose plans a run, which must succeed.
func propose(t testing.TB, db *ledger.DB, config clearing.Config) clearing.Settlement {
	t.Helper()
	s, err := clearing.Propose(t.Context(), db, config, clearing.Operator{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run carries out a plan, which must succeed.
func run(t testing.TB, db *ledger.DB, config clearing.Config) clearing.Settlement {
	t.Helper()
	if config.Directory == "" {
		config.Directory = t.TempDir()
	}
	s, err := clearing.Run(t.Context(), db, config, clearing.Operator{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// settle plans and runs in one step.
func settle(t testing.TB, db *ledger.DB, config clearing.Config) clearing.Settlement {
	t.Helper()
	config.Now = true
	return run(t, db, config)
}

// linesOf returns all lines of a run by their parties.
func linesOf(t testing.TB, db *ledger.DB, s clearing.Settlement) map[string]clearing.Line {
	t.Helper()
	lines := map[string]clearing.Line{}
	for after := 0; ; {
		page, err := clearing.Lines(t.Context(), db, s.RunID, after, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range page {
			lines[line.Party] = line
			after = line.Number
		}
		if len(page) < 7 {
			return lines
		}
	}
}

// readFiles returns the files of a folder by name.
func readFiles(t testing.TB, directory string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(directory, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(content)
	}
	return files
}

func wantSameFiles(t testing.TB, got, want map[string]string) {
	t.Helper()
	if len(want) < 3 {
		t.Errorf("there are %d files to compare with, want 3 or more", len(want))
	}
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got[name], content)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("there is a file %s too many", name)
		}
	}
}

// instructions returns how many orders to the bank there are, and their sum.
func instructions(t testing.TB, db *ledger.DB) (count int64, sum money.Amount) {
	t.Helper()
	scan(t, db, `SELECT COUNT(*), CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM clearing_instructions`, &count, (*int64)(&sum))
	return count, sum
}

// wantError checks that an error says what it should.
func wantError(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
}
