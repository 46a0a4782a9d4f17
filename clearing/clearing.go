// Package clearing is the back office of a broker: it settles what vendors are
// owed, once and only once, and writes the files that a person, a bank and a
// program read.
//
// A settlement run goes through three states. It is planned: what every vendor
// is paid is frozen under a hash. It is carried out line by line, each vendor
// in one transaction of the ledger, and closed with a trial balance. It is
// final when its files are written. A run that was broken off anywhere goes on
// where it stopped; no vendor is paid twice, and the files are the same to the
// byte however often they are written.
package clearing

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
)

//go:embed migrations
var embedded embed.FS

// migrations holds one folder for each database.
var migrations = func() fs.FS {
	folder, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the embed directive above names it
	}
	return folder
}()

// namespace is under which the ledger keeps the migrations.
const namespace = "clearing"

const (
	// defaultFeesAccount and defaultBankAccount are the broker's own.
	defaultFeesAccount = "broker:fees"
	defaultBankAccount = "broker:bank:out"

	// leaseDuration is how long a run that died keeps others out. Every line
	// renews it, and a line takes milliseconds.
	leaseDuration = time.Minute
)

// Config says what to settle. Only Directory must be set, and only for Run.
type Config struct {
	// RunID names the run: 1 to 28 of a-z, 0-9 and "-", so that it fits bank
	// formats and file names. Empty means: go on with the run that is not
	// finished, or else begin "run-<period end>-<counter>".
	RunID string
	// PeriodEnd is the last day that is settled, as 2026-11-22; it names the
	// run and stands in its files, and what is payable now is settled whatever
	// it says. Empty means today, in UTC. A run on record keeps its own.
	PeriodEnd string
	// Directory is the folder that the files are written to. It must exist.
	Directory string
	// ExpectPlan is the hash of the plan that somebody approved. When it is
	// set, Run carries out that plan or none.
	ExpectPlan string
	// Schedule is the fee rule; its zero value means StandardSchedule. A run
	// on record keeps its own.
	Schedule Schedule
	// FeesAccount and BankAccount take the fees and the payouts. Their
	// currency is the run's. Empty means "broker:fees" and "broker:bank:out".
	FeesAccount, BankAccount string
	// Holder tells others who runs the settlement: up to 100 printable ASCII
	// characters. Empty means the host's name and the process number.
	Holder string

	// step, where it is set, is called after every step that a crash can
	// follow.
	step func(name string)
}

var (
	// ErrUnfinished means that another run must be finished first.
	ErrUnfinished = errors.New("another run is not finished")
	// ErrPlanDiffers means that the plan is not the one that was approved.
	ErrPlanDiffers = errors.New("the plan is not the one that was approved")
)

// HeldError means that somebody else runs the settlement now.
type HeldError struct {
	// Holder is who runs it.
	Holder string
	// Until is when others may go on, if the holder does not renew.
	Until time.Time
}

// Error says who and until when.
func (e *HeldError) Error() string {
	return fmt.Sprintf("the settlement is being run by %s, until %s", e.Holder, formatTime(e.Until))
}

// BooksError means that the ledger's check found what cannot be right, so that
// nothing is paid out.
type BooksError struct {
	// Report is what the check found.
	Report ledger.Report
}

// Error names the first thing that was found.
func (e *BooksError) Error() string {
	first := e.Report.Disagreements[0]
	return fmt.Sprintf("the books disagree in %d places, first %s: %s", len(e.Report.Disagreements), first.Subject, first.What)
}

var (
	runName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,26}[a-z0-9])?$`)
	hashText = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// complete fills in what is empty and checks the rest.
func (c Config) complete() (Config, error) {
	if c.Schedule == (Schedule{}) {
		c.Schedule = StandardSchedule()
	}
	if c.FeesAccount == "" {
		c.FeesAccount = defaultFeesAccount
	}
	if c.BankAccount == "" {
		c.BankAccount = defaultBankAccount
	}
	if c.Holder == "" {
		c.Holder = thisProcess()
	}
	if c.step == nil {
		c.step = func(string) {}
	}
	return c, c.check()
}

func (c Config) check() error {
	if c.RunID != "" && !runName.MatchString(c.RunID) {
		return fmt.Errorf("run id %.40q: want 1 to 28 of a-z, 0-9 and -, such as run-2026-11-22-1", c.RunID)
	}
	if c.PeriodEnd != "" {
		if _, err := time.Parse(time.DateOnly, c.PeriodEnd); err != nil {
			return fmt.Errorf("period end %.40q: want a day such as 2026-11-22", c.PeriodEnd)
		}
	}
	if c.ExpectPlan != "" && !hashText.MatchString(c.ExpectPlan) {
		return fmt.Errorf("plan hash %.80q: want 64 hexadecimal digits", c.ExpectPlan)
	}
	if len(c.Holder) > 100 || !isPrintable(c.Holder) {
		return fmt.Errorf("holder %.120q: want at most 100 printable ASCII characters", c.Holder)
	}
	return c.Schedule.check()
}

func isPrintable(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// thisProcess describes the process for people.
func thisProcess() string {
	host, err := os.Hostname()
	if err != nil || len(host) > 64 || !isPrintable(host) {
		host = "this host"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}

// formatTime writes a time for people, in UTC and whole seconds.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
