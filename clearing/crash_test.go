package clearing_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// crash is what a step panics with when the process is to die there.
type crash struct{ step string }

// runUntil carries out a plan and lets it die after the given number of steps.
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
	run(t, db, config.WithStep(func(name string) {
		if steps--; steps == 0 {
			panic(crash{name})
		}
	}))
	return ""
}

// A run that dies after any of its steps goes on when it is called again, with
// the database opened anew: the files are those of a run that never died, and
// everything is sent once.
func TestCrashAtEveryStep(t *testing.T) {
	reference := t.TempDir()
	db, _ := openWithUsers(t)
	plan := propose(t, db, clearing.Config{Policy: collecting(t)})
	run(t, db, clearing.Config{Directory: reference, PlanHash: plan.PlanHash})
	want := readFiles(t, reference)
	wantCount, wantSum := instructions(t, db)
	var names []string
	for steps := 1; ; steps++ {
		location := newDatabase(t)
		db, c := openAt(t, location)
		oweUsers(t, db)
		if again := propose(t, db, clearing.Config{Policy: collecting(t)}); again.PlanHash != plan.PlanHash {
			t.Fatalf("the same books gave another plan: %+v, then %+v", plan, again)
		}
		config := clearing.Config{Directory: t.TempDir(), PlanHash: plan.PlanHash}
		died := runUntil(t, db, config, steps)
		if died == "" {
			break
		}
		names = append(names, died)
		if dbtest.IsPostgreSQL() && strings.Contains(died, "-run-") {
			continue // what is about files is the same with SQLite
		}
		db = openWith(t, location, c)
		// Whoever comes too early is told to wait.
		var held *clearing.HeldError
		if _, err := clearing.Run(t.Context(), db, config, clearing.Operator{}); !errors.As(err, &held) {
			t.Errorf("after %q: got %v, want *HeldError", died, err)
		}
		waitForLease(t, db, c)
		run(t, db, config)
		wantSameFiles(t, readFiles(t, config.Directory), want)
		wantPending(t, db, vendorsSent)
		if count, sum := instructions(t, db); count != wantCount || sum != wantSum {
			t.Errorf("got %d orders of %s, want %d of %s", count, sum, wantCount, wantSum)
		}
		if t.Failed() {
			t.Fatalf("the run had died after %q", died)
		}
	}
	files := func(name string) string { return "before " + name + "|beside " + name + "|after " + name + "|" }
	wantNames := "leased|checked|started|lines to 9|closed|statements up to 7|day|published|" + files("statement-run-2026-11-22-1.txt") +
		files("statement-run-2026-11-22-1.json") + files("payments-run-2026-11-22-1.csv") +
		files("pain.001-run-2026-11-22-1.xml") + files("pain.008-run-2026-11-22-1.xml") + "final"
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
	config := clearing.Config{PlanHash: propose(t, db, clearing.Config{}).PlanHash, Directory: t.TempDir()}
	move(t, db, payable(vendorA), "broker:bank:in", 10*money.Unit)
	if died := runUntil(t, db, config, 4); died != "lines to 6" {
		t.Fatalf("died after %q, want the lines", died)
	}
	waitForLease(t, db, c)
	move(t, db, "broker:bank:in", payable(vendorA), 10*money.Unit)
	// Without a hash the call goes on with the run that is not finished.
	s := run(t, db, clearing.Config{Directory: config.Directory})
	if line := linesOf(t, db, s)[vendorA]; line.Outcome != clearing.OutcomeCarried || line.Note != clearing.ReasonBalanceFell {
		t.Errorf("got %+v, want that the line is carried", line)
	}
	wantPending(t, db, map[string]money.Amount{payable(vendorA): 0, payable(vendorC): 20_000})
}

// A run that dies again and again, once after each step, still ends right.
func TestCrashAgainAndAgain(t *testing.T) {
	db, c := openWithVendors(t)
	config := clearing.Config{PlanHash: propose(t, db, clearing.Config{}).PlanHash, Directory: t.TempDir()}
	deaths := 0
	for steps := 1; runUntil(t, db, config, steps) != ""; steps++ {
		waitForLease(t, db, c)
		deaths++
		if s, err := clearing.LoadPlan(t.Context(), db, config.PlanHash); err != nil || s.State == clearing.StateFinal {
			break
		}
	}
	if deaths < 10 {
		t.Errorf("died %d times, want 10 or more", deaths)
	}
	wantPending(t, db, vendorsSent)
}

// A run that was started goes first: nothing else is planned or run until it is
// finished.
func TestUnfinishedRunGoesFirst(t *testing.T) {
	db, c := openWithVendors(t)
	first := propose(t, db, clearing.Config{RunID: "first"})
	if died := runUntil(t, db, clearing.Config{Directory: t.TempDir(), PlanHash: first.PlanHash}, 3); died != "started" {
		t.Fatalf("died after %q, want started", died)
	}
	c.Advance(time.Hour)
	_, err := clearing.Propose(t.Context(), db, clearing.Config{}, clearing.Operator{})
	if !errors.Is(err, clearing.ErrUnfinished) || !strings.Contains(err.Error(), "first") {
		t.Errorf("another plan: got %v, want ErrUnfinished that names the first", err)
	}
	// --now means to go on with it, too.
	if s := settle(t, db, clearing.Config{}); s.RunID != "first" {
		t.Errorf("got run %s, want first", s.RunID)
	}
	wantPending(t, db, vendorsSent)
}

// Of two runs at once, one is told who holds the settlement and until when.
func TestTwoRunsAtOnce(t *testing.T) {
	db, c := openWithVendors(t)
	config := clearing.Config{Holder: "the night job", PlanHash: propose(t, db, clearing.Config{}).PlanHash}
	var second error
	run(t, db, config.WithStep(func(name string) {
		if name == "lines to 6" {
			c.Advance(19 * time.Second)
			_, second = clearing.Run(t.Context(), db, clearing.Config{Directory: t.TempDir(), Holder: "a person", PlanHash: config.PlanHash}, clearing.Operator{})
		}
	}))
	var held *clearing.HeldError
	if !errors.As(second, &held) {
		t.Fatalf("got %v, want *HeldError", second)
	}
	if want := epoch.Add(20 * time.Second); held.Holder != "the night job" || !held.Until.Equal(want) {
		t.Errorf("got %s until %s, want the night job until %s", held.Holder, held.Until, want)
	}
	if want := "the settlement is being run by the night job, until 2026-11-22 22:30:20 UTC"; held.Error() != want {
		t.Errorf("got %q, want %q", held.Error(), want)
	}
	wantPending(t, db, vendorsSent)
}

// Many who start the same plan at once send everything once.
func TestManyRunsAtOnce(t *testing.T) {
	location := newDatabase(t)
	db, c := openAt(t, location)
	oweVendors(t, db)
	plan := propose(t, db, clearing.Config{})
	const runners = 4
	ended := make(chan error)
	for range runners {
		other, directory := openWith(t, location, c), t.TempDir()
		go func() {
			_, err := clearing.Run(t.Context(), other, clearing.Config{Directory: directory, PlanHash: plan.PlanHash}, clearing.Operator{})
			ended <- err
		}()
	}
	done := 0
	for range runners {
		err := <-ended
		var held *clearing.HeldError
		switch {
		case err == nil:
			done++
		case !errors.As(err, &held):
			t.Errorf("got %v, want nil or *HeldError", err)
		}
	}
	if done == 0 {
		t.Error("nobody ran")
	}
	wantPending(t, db, vendorsSent)
	if count, _ := instructions(t, db); count != 3 {
		t.Errorf("got %d orders, want 3", count)
	}
}

// A process that slept longer than its lease, while another one went on, sends
// nothing more and writes no file.
func TestLostLease(t *testing.T) {
	db, c := openWithVendors(t)
	config := clearing.Config{Directory: t.TempDir(), Holder: "the sleeper", PlanHash: propose(t, db, clearing.Config{}).PlanHash}
	other := t.TempDir()
	_, err := clearing.Run(t.Context(), db, config.WithRenewals(time.Hour).WithStep(func(name string) {
		if name == "started" {
			c.Advance(time.Minute)
			run(t, db, clearing.Config{Directory: other, PlanHash: config.PlanHash})
		}
	}), clearing.Operator{})
	wantError(t, err, "taken over")
	wantPending(t, db, vendorsSent)
	if got := len(readFiles(t, other)); got != 3 {
		t.Errorf("the other one wrote %d files, want 3", got)
	}
	if got := len(readFiles(t, config.Directory)); got != 0 {
		t.Errorf("the sleeper wrote %d files, want none", got)
	}
}

// Whoever works keeps the lease, however long one step takes.
func TestLeaseIsRenewed(t *testing.T) {
	db, c := openWithVendors(t)
	config := clearing.Config{PlanHash: propose(t, db, clearing.Config{}).PlanHash}
	run(t, db, config.WithRenewals(time.Millisecond).WithStep(func(name string) {
		if name != "started" {
			return
		}
		c.Advance(15 * time.Second)
		renewed, deadline := int64(0), time.Now().Add(20*time.Second)
		for renewed < c.Now().Add(20*time.Second).UnixMicro() && time.Now().Before(deadline) {
			scan(t, db, `SELECT until FROM settlement_leases`, &renewed)
		}
		if want := c.Now().Add(20 * time.Second).UnixMicro(); renewed != want {
			t.Errorf("the lease ends at %d, want that it is renewed until %d", renewed, want)
		}
	}))
}

// A run that is told to stop gives its lease back and can go on at once.
func TestCancelledRunGoesOn(t *testing.T) {
	db, _ := openWithVendors(t)
	ctx, cancel := context.WithCancel(t.Context())
	config := clearing.Config{Directory: t.TempDir(), PlanHash: propose(t, db, clearing.Config{}).PlanHash}
	_, err := clearing.Run(ctx, db, config.WithStep(func(name string) {
		if name == "started" {
			cancel()
		}
	}), clearing.Operator{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	wantPending(t, db, map[string]money.Amount{payable(vendorA): 0})
	run(t, db, config)
	wantPending(t, db, vendorsSent)
}

// No money leaves books that disagree, and no plan that was changed is carried
// out, whatever was changed of it.
func TestTamperingStopsTheRun(t *testing.T) {
	const changeRun, changeLine = `UPDATE clearing_runs SET %s WHERE id = '%s'`, `UPDATE clearing_lines SET %s AND run_id = '%s'`
	cases := []struct{ name, statement, change string }{
		{"cut-off", changeRun, `cutoff = cutoff + 1`},
		{"since", changeRun, `since = since + 1`},
		{"period", changeRun, `period_end = '2026-11-23'`},
		{"policy", changeRun, `policy = REPLACE(policy, '"refundDays":56', '"refundDays":5')`},
		{"approval", changeRun, `needs = 1 - needs`},
		{"planner", changeRun, `planned_by = 'operator:anna'`},
		{"bank", changeRun, `bank_account = 'broker:fees'`},
		{"fees", changeRun, `fees_account = 'broker:bank:out'`},
		{"totals", changeRun, `paid = paid + 1`},
		{"a line less", changeLine, `run_id = 'other' WHERE number = 2`},
		{"amount", changeLine, `amount = amount + 1000000, gross = gross + 1000000 WHERE number = 3`},
		{"fee", changeLine, `fee = fee - 1 WHERE number = 1`},
		{"destination", changeLine, `destination = 'ref:thief' WHERE number = 1`},
		{"party", changeLine, `party = 'https://z.example' WHERE number = 1`},
		{"account", changeLine, `account = 'vendor:https://d.example:payable' WHERE number = 1`},
		{"method", changeLine, `method = 'credit-transfer' WHERE number = 1`},
		{"reason", changeLine, `reason = 'blocked' WHERE number = 2`},
		{"the books", `UPDATE accounts SET %s AND '%s' <> ''`, `balance = balance + 1000000 WHERE id = 'vendor:https://c.example:8443:payable'`},
	}
	location := newDatabase(t)
	db, _ := openAt(t, location)
	oweVendors(t, db)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			plan := propose(t, db, clearing.Config{})
			dbtest.Tamper(t, location, fmt.Sprintf(c.statement, c.change, plan.RunID))
			_, err := clearing.Run(t.Context(), db, clearing.Config{Directory: t.TempDir(), PlanHash: plan.PlanHash}, clearing.Operator{})
			var books *clearing.BooksError
			if err == nil || !errors.As(err, &books) && !strings.Contains(err.Error(), "it was changed") {
				t.Errorf("got %v, want that it was changed", err)
			}
			var pending int64
			if scan(t, db, `SELECT CAST(SUM(pending) AS BIGINT) FROM accounts`, &pending); pending != 0 {
				t.Errorf("%d micros were sent", pending)
			}
		})
	}
}

// killAt makes this binary the process that TestKill kills: it carries out a
// plan and kills itself after that step.
const killAt = "PAYWORD_CLEARING_CRASH_AT"

// runAndDie is that process. Its arguments are database, plan and folder.
func runAndDie(step string, arguments []string) int {
	ctx := context.Background()
	db, err := ledger.Open(ctx, arguments[0], ledger.Options{Now: func() time.Time { return epoch }})
	if err == nil {
		config := clearing.Config{PlanHash: arguments[1], Directory: arguments[2]}
		_, err = clearing.Run(ctx, db, config.WithStep(func(name string) {
			if name == step {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}), clearing.Operator{})
	}
	fmt.Fprintln(os.Stderr, "the process came to its end:", err)
	return 1
}

// A process that is really killed leaves what can be gone on with: the files are
// those of a run that never died.
func TestKill(t *testing.T) {
	reference := t.TempDir()
	db, _ := openWithVendors(t)
	settle(t, db, clearing.Config{Directory: reference})
	for _, step := range []string{"started", "lines to 6", "closed", "beside statement-run-2026-11-22-1.json"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			location, directory := newDatabase(t), t.TempDir()
			db, c := openAt(t, location)
			oweVendors(t, db)
			plan := propose(t, db, clearing.Config{})
			child := exec.CommandContext(t.Context(), os.Args[0], location, plan.PlanHash, directory)
			child.Env = append(os.Environ(), killAt+"="+step)
			output, err := child.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != -1 {
				t.Fatalf("got %v, want that it was killed: %s", err, output)
			}
			waitForLease(t, db, c)
			run(t, db, clearing.Config{Directory: directory})
			wantSameFiles(t, readFiles(t, directory), readFiles(t, reference))
			wantPending(t, db, vendorsSent)
		})
	}
}

// The records of a run cannot be changed or removed by a statement.
func TestRunsAreAppendOnly(t *testing.T) {
	statements := []string{
		`DELETE FROM clearing_lines`, `DELETE FROM clearing_runs`, `DELETE FROM clearing_instructions`, `DELETE FROM clearing_fee_rules`,
		`UPDATE clearing_runs SET plan_hash = ''`, `UPDATE clearing_runs SET paid = 1`, `UPDATE clearing_runs SET state = 'paid'`,
		`UPDATE clearing_lines SET amount = 1`, `UPDATE clearing_fee_rules SET rule = ''`,
		`UPDATE clearing_instructions SET destination = 'ref:thief'`,
	}
	db, _ := openWithVendors(t)
	settle(t, db, clearing.Config{})
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
