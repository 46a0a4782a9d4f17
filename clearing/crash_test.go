package clearing_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// crash is what a step panics with when the process is to die there.
type crash struct{ step string }

// runUntil runs the settlement and lets it die after the given number of steps.
// It returns the name of that step, or "" where the run came to its end first.
func runUntil(t *testing.T, db *ledger.DB, config clearing.Config, steps int) (died string) {
	t.Helper()
	defer func() {
		if recovered := recover(); recovered != nil {
			c, ok := recovered.(crash)
			if !ok {
				panic(recovered)
			}
			died = c.step
		}
	}()
	settle(t, db, config.WithStep(func(name string) {
		if steps--; steps == 0 {
			panic(crash{name})
		}
	}))
	return ""
}

// A run that dies after any of its steps goes on when it is called again: the
// files are those of a run that never died, and everybody is paid once.
func TestCrashAtEveryStep(t *testing.T) {
	db, _ := openWithVendors(t)
	reference := t.TempDir()
	settle(t, db, clearing.Config{Directory: reference})
	want := readFiles(t, reference)
	if len(want) != 3 {
		t.Fatalf("got %d files, want 3", len(want))
	}
	var names []string
	for steps := 1; ; steps++ {
		db, c := openWithVendors(t)
		directory := t.TempDir()
		died := runUntil(t, db, clearing.Config{Directory: directory}, steps)
		if died == "" {
			break
		}
		names = append(names, died)
		// Whoever comes too early is told to wait.
		var held *clearing.HeldError
		if _, err := clearing.Run(t.Context(), db, clearing.Config{Directory: directory}); !errors.As(err, &held) {
			t.Errorf("after %q: got %v, want *HeldError", died, err)
		}
		waitForLease(t, db, c)
		// Without an id the call goes on with the run that is not finished.
		// After the last step that is none, and the run must be named.
		again := clearing.Config{Directory: directory}
		if died == "final" {
			again.RunID = "run-2026-11-22-1"
		}
		settle(t, db, again)
		wantSameFiles(t, readFiles(t, directory), want)
		wantBalances(t, db, vendorBalances)
		if t.Failed() {
			t.Fatalf("the run had died after %q", died)
		}
	}
	const wantNames = "planned|line 1|line 2|line 3|line 4|closed|" +
		"before statement-run-2026-11-22-1.txt|beside statement-run-2026-11-22-1.txt|after statement-run-2026-11-22-1.txt|" +
		"before statement-run-2026-11-22-1.json|beside statement-run-2026-11-22-1.json|after statement-run-2026-11-22-1.json|" +
		"before payout-run-2026-11-22-1.csv|beside payout-run-2026-11-22-1.csv|after payout-run-2026-11-22-1.csv|final"
	if got := strings.Join(names, "|"); got != wantNames {
		t.Errorf("steps: got %s, want %s", got, wantNames)
	}
}

// waitForLease lets the time of a lease pass without moving the clock: files
// hold the times of a run, and those are compared to the byte.
func waitForLease(t *testing.T, db *ledger.DB, c *clock) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE settlement_leases SET until = ?`, c.Now().UnixMicro())
		return err
	})
}

// A line that was carried stays so when the run goes on, though the vendor's
// money came back meanwhile: what is recorded of a line is what happened.
func TestCarriedLineStaysCarried(t *testing.T) {
	db, c := openWithVendors(t)
	take := func(id string, from, to string) {
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
			return tx.Post(ctx, ledger.Transfer{ID: id, Debit: from, Credit: to, Amount: 10_000_000, Currency: usd, Kind: "dispute"})
		})
	}
	config := clearing.Config{Directory: t.TempDir()}
	if died := runUntil(t, db, config, 1); died != "planned" {
		t.Fatalf("died after %q, want planned", died)
	}
	waitForLease(t, db, c)
	take("out", payable("https://a.example"), "broker:bank:in")
	if died := runUntil(t, db, config, 3); died != "line 2" {
		t.Fatalf("died after %q, want line 2", died)
	}
	waitForLease(t, db, c)
	take("back", "broker:bank:in", payable("https://a.example"))
	s := settle(t, db, config)
	if line := s.Lines[0]; line.Reason != clearing.ReasonBalanceFell || line.Paid != 0 {
		t.Errorf("got %+v, want that the line is carried", line)
	}
	wantBalances(t, db, map[string]money.Amount{payable("https://a.example"): 12_345_678,
		"broker:bank:out": vendorBalances["broker:bank:out"] - 12_300_000})
}

// A run that dies again and again, once after each step, still ends right.
func TestCrashAgainAndAgain(t *testing.T) {
	db, c := openWithVendors(t)
	config := clearing.Config{Directory: t.TempDir()}
	deaths := 0
	for steps := 1; runUntil(t, db, config, steps) != ""; steps++ {
		waitForLease(t, db, c)
		deaths++
		if state := stateOf(t, db, "run-2026-11-22-1"); state == "final" {
			break
		}
	}
	if deaths < 10 {
		t.Errorf("died %d times, want 10 or more", deaths)
	}
	wantBalances(t, db, vendorBalances)
}

func stateOf(t *testing.T, db *ledger.DB, id string) string {
	t.Helper()
	plan, err := clearing.PlanRun(t.Context(), db, clearing.Config{RunID: id})
	if err != nil {
		t.Fatal(err)
	}
	return plan.State
}

// Without an id the unfinished run goes first, and another one is refused.
func TestUnfinishedRunGoesFirst(t *testing.T) {
	db, c := openWithVendors(t)
	config := clearing.Config{Directory: t.TempDir(), RunID: "first"}
	if died := runUntil(t, db, config, 2); died != "line 1" {
		t.Fatalf("died after %q, want line 1", died)
	}
	c.Advance(time.Hour)
	_, err := clearing.Run(t.Context(), db, clearing.Config{Directory: t.TempDir(), RunID: "second"})
	if !errors.Is(err, clearing.ErrUnfinished) || !strings.Contains(err.Error(), "first") {
		t.Errorf("another run: got %v, want ErrUnfinished that names the first", err)
	}
	if state := stateOf(t, db, "first"); state != "planned" {
		t.Errorf("state: got %q, want planned", state)
	}
	if s := settle(t, db, clearing.Config{Directory: t.TempDir()}); s.RunID != "first" {
		t.Errorf("got run %s, want first", s.RunID)
	}
	wantBalances(t, db, vendorBalances)
}

// Of two runs at once, one is told who holds the settlement and until when.
func TestTwoRunsAtOnce(t *testing.T) {
	db, c := openWithVendors(t)
	config := clearing.Config{Directory: t.TempDir(), Holder: "the night job"}
	var second error
	settle(t, db, config.WithStep(func(name string) {
		if name == "line 2" {
			c.Advance(30 * time.Second)
			_, second = clearing.Run(t.Context(), db, clearing.Config{Directory: t.TempDir(), Holder: "a person"})
		}
	}))
	var held *clearing.HeldError
	if !errors.As(second, &held) {
		t.Fatalf("got %v, want *HeldError", second)
	}
	if want := epoch.Add(time.Minute); held.Holder != "the night job" || !held.Until.Equal(want) {
		t.Errorf("got %s until %s, want the night job until %s", held.Holder, held.Until, want)
	}
	if want := "the settlement is being run by the night job, until 2026-11-22 22:31:00 UTC"; held.Error() != want {
		t.Errorf("got %q, want %q", held.Error(), want)
	}
	wantBalances(t, db, vendorBalances)
}

// A process that slept longer than its lease, while another one went on, pays
// nothing more.
func TestLostLease(t *testing.T) {
	db, c := openWithVendors(t)
	config := clearing.Config{Directory: t.TempDir(), Holder: "the sleeper"}
	other := t.TempDir()
	_, err := clearing.Run(t.Context(), db, config.WithStep(func(name string) {
		if name == "line 1" {
			c.Advance(2 * time.Minute)
			settle(t, db, clearing.Config{Directory: other})
		}
	}))
	if err == nil || !strings.Contains(err.Error(), "taken over") {
		t.Errorf("got %v, want that the run was taken over", err)
	}
	wantBalances(t, db, vendorBalances)
	if got := len(readFiles(t, other)); got != 3 {
		t.Errorf("the other one wrote %d files, want 3", got)
	}
	if got := len(readFiles(t, config.Directory)); got != 0 {
		t.Errorf("the sleeper wrote %d files, want none", got)
	}
}

// A run that is told to stop gives its lease back and can go on at once.
func TestCancelledRunGoesOn(t *testing.T) {
	db, _ := openWithVendors(t)
	ctx, cancel := context.WithCancel(t.Context())
	config := clearing.Config{Directory: t.TempDir()}
	_, err := clearing.Run(ctx, db, config.WithStep(func(name string) {
		if name == "line 2" {
			cancel()
		}
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	wantBalances(t, db, map[string]money.Amount{payable("https://a.example"): 8_640, payable("https://c.example:8443"): 20_000})
	settle(t, db, config)
	wantBalances(t, db, vendorBalances)
}

// No money leaves books that disagree, and no plan that was changed is paid.
func TestTamperingStopsTheRun(t *testing.T) {
	cases := []struct {
		name, statements, want string
		books                  bool
	}{
		{"balance", `UPDATE accounts SET balance = balance + 1000000 WHERE id = 'vendor:https://c.example:8443:payable'`,
			"the books disagree in 2 places, first vendor:https://c.example:8443:payable", true},
		{"payout", `UPDATE settlement_lines SET payout = payout + 1000000, gross = gross + 1000000 WHERE number = 3`, "it was changed", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := dbtest.New(t)
			db, clock := openAt(t, path)
			oweVendors(t, db)
			if died := runUntil(t, db, clearing.Config{Directory: t.TempDir()}, 2); died != "line 1" {
				t.Fatalf("died after %q, want line 1", died)
			}
			waitForLease(t, db, clock)
			dbtest.Tamper(t, path, c.statements)
			_, err := clearing.Run(t.Context(), db, clearing.Config{Directory: t.TempDir()})
			var books *clearing.BooksError
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &books) != c.books {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			err = db.View(t.Context(), func(tx *ledger.Tx) error {
				bank, err := tx.Account(t.Context(), "broker:bank:out")
				if bank.Balance != 12_300_000 {
					t.Errorf("paid out: got %s, want the first line alone", bank.Balance)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The records of a run cannot be changed or removed by a statement.
func TestRunsAreAppendOnly(t *testing.T) {
	statements := []string{
		`DELETE FROM settlement_lines`, `DELETE FROM settlement_runs`,
		`UPDATE settlement_runs SET plan_hash = ''`, `UPDATE settlement_lines SET payout = 1`,
		`UPDATE settlement_runs SET state = 'paid'`,
	}
	db, _ := openWithVendors(t)
	settle(t, db, clearing.Config{Directory: t.TempDir()})
	for _, statement := range statements {
		err := db.Update(t.Context(), func(tx *ledger.Tx) error {
			_, err := tx.ExecContext(t.Context(), statement)
			return err
		})
		if err == nil {
			t.Errorf("%s: got no error", statement)
		}
	}
}
