// Package clearing is the back office of a broker: it settles what vendors are
// owed, what accounts are paid out and what is collected from them, once and
// only once, and writes the files that a person, a bank and a program read.
//
// A settlement run begins as a plan: Propose freezes a cut-off in the journal of
// the ledger, what everybody was owed there, where it goes and the fee of it,
// under a hash. Approve is a second pair of eyes, where the operator's policy
// asks for it. Run carries out exactly the plan of a hash: it sets the money of
// every line aside and keeps an order to the bank for it, closes with a trial
// balance, publishes, and writes its files. What came after the cut-off waits
// for the next run.
//
// A run that was broken off anywhere goes on where it stopped; nobody is paid
// twice, and the files are the same to the byte however often they are written.
// What the bank then says of each order is for Match: the money leaves the books
// when the bank has booked it, and is back where it was when the bank refuses.
package clearing

import (
	"crypto"
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
)

// Config says what to settle and how. Its zero value plans with the default
// policy; Directory must be set for Run.
type Config struct {
	// Policy is what the operator decides, for Propose. Nil means DefaultPolicy.
	// A run on record keeps its own.
	Policy *Policy
	// RunID names the run that Propose makes: 1 to 28 of a-z, 0-9 and "-", so
	// that it fits bank formats and file names, never used before. Empty means
	// "run-<period end>-<counter>".
	RunID string
	// PeriodEnd is the last day that is settled, as 2026-11-22; it names the
	// run and stands in its files, and what is payable now is settled whatever
	// it says. Empty means today, in UTC.
	PeriodEnd string
	// FeesAccount and BankAccount take the fees and the payouts. Their
	// currency is the run's. Empty means "broker:fees" and "broker:bank:out".
	FeesAccount, BankAccount string

	// PlanHash is the hash of the plan that Run carries out. Empty means to go on
	// with the run that was started and not finished.
	PlanHash string
	// Now lets Run plan by itself where PlanHash is empty and no run is to be
	// gone on with. It does nothing for a plan that needs approval.
	Now bool
	// Directory is the folder that the files are written to. It must exist.
	Directory string
	// Signer signs the day that the run's statements are in, with an Ed25519 key.
	// Nil leaves it unsigned, which only a broker does that never signed one.
	Signer crypto.Signer
	// Holder tells others who runs the settlement: up to 100 printable ASCII
	// characters. Empty means the host's name and the process number.
	Holder string
	// Progress, where it is set, is told how far Run is, from its goroutine.
	Progress func(Progress)

	// step, where it is set, is called after every step that a crash can
	// follow.
	step func(name string)
	// renewEvery is the time between two renewals of the lease, and 0 the usual.
	renewEvery time.Duration
	// maxLines is the most lines of a plan, and 0 MaxLines.
	maxLines int
}

var (
	// ErrUnfinished means that another run must be finished first.
	ErrUnfinished = errors.New("another run is not finished")
	// ErrNoPlan means that there is no plan of that hash, or nothing to go on with.
	ErrNoPlan = errors.New("there is no such plan")
	// ErrDiscarded means that a later plan has taken the place of this one.
	ErrDiscarded = errors.New("the plan was discarded")
	// ErrNotApproved means that the plan needs the approval of another operator.
	ErrNotApproved = errors.New("the plan is not approved")
	// ErrNoBroker means that the database is not one that a broker works on.
	ErrNoBroker = errors.New("no broker of this version has worked on this database")
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
	if c.Policy == nil {
		policy := DefaultPolicy()
		c.Policy = &policy
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
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.step == nil {
		c.step = func(string) {}
	}
	if c.renewEvery == 0 {
		c.renewEvery = renewInterval
	}
	if c.maxLines == 0 {
		c.maxLines = MaxLines
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
	if c.PlanHash != "" {
		if err := checkHash(c.PlanHash); err != nil {
			return err
		}
	}
	if len(c.Holder) > 100 || !isPrintable(c.Holder) {
		return fmt.Errorf("holder %.120q: want at most 100 printable ASCII characters", c.Holder)
	}
	return c.Policy.check()
}

func checkHash(hash string) error {
	if !hashText.MatchString(hash) {
		return fmt.Errorf("plan hash %.80q: want the 64 hexadecimal digits that \"payword clearing plan\" prints", hash)
	}
	return nil
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
