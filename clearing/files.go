package clearing

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/ledger"
)

// record is what the files of a run are made of: what is on record and does not
// change any more once the run is closed, so that a file made again is the same
// to the byte.
type record struct {
	db *ledger.DB
	Settlement
	sent     Totals         // what came of the lines
	methods  map[string]int // how many orders there are of each method
	day      string         // token of the signed day, or ""
	balances []ClassBalance
}

// eachLine calls do with the lines of the run in their order. One whose Outcome
// is OutcomeSent is an order to the bank, with its EndToEnd and Destination.
func (r *record) eachLine(ctx context.Context, do func(Line) error) error {
	return eachLine(ctx, r.db, r.RunID, do)
}

// file is a file that runs have.
type file struct {
	// name returns the name of the file for a run.
	name func(runID string) string
	// write writes the file.
	write func(ctx context.Context, w io.Writer, r *record) error
}

// fileKinds are the files of every run, in the order in which they are written: the
// statement for a person, the same for a program, and the payments.
var fileKinds = []file{
	{func(id string) string { return "statement-" + id + ".txt" }, writeStatement},
	{func(id string) string { return "statement-" + id + ".json" }, writeStatementJSON},
	{func(id string) string { return "payments-" + id + ".csv" }, writePayments},
}

// dayFile is the file of a run whose day is signed.
var dayFile = file{func(id string) string { return "day-" + id + ".jwt" }, func(_ context.Context, w io.Writer, r *record) error {
	_, err := fmt.Fprintln(w, r.day)
	return err
}}

// loadRecord reads what the files of a run are made of.
func loadRecord(ctx context.Context, db *ledger.DB, runID string) (*record, error) {
	r := &record{db: db, methods: map[string]int{}}
	err := db.View(ctx, func(tx *ledger.Tx) (err error) {
		if r.Settlement, err = findSettlement(ctx, tx, `WHERE id = ?`, runID); err != nil {
			return err
		}
		if r.sent, err = sentTotals(ctx, tx, runID); err != nil {
			return err
		}
		if r.balances, err = loadTrialBalance(ctx, tx, runID); err != nil {
			return err
		}
		if r.day, err = dayOf(ctx, tx, runID); err != nil {
			return err
		}
		return r.countMethods(ctx, tx)
	})
	if err != nil {
		return nil, fmt.Errorf("reading run %s: %w", runID, err)
	}
	return r, nil
}

func (r *record) countMethods(ctx context.Context, tx *ledger.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT method, COUNT(*) FROM clearing_lines WHERE run_id = ? AND outcome = 'sent' GROUP BY method`, r.RunID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var method string
		var count int
		if err := rows.Scan(&method, &count); err != nil {
			return err
		}
		r.methods[method] = count
	}
	return rows.Err()
}

// files returns the files that the run has: those of every run, and those for
// the banks that it has orders to.
func (r *record) files() []file {
	files := slices.Clone(fileKinds)
	for _, part := range r.bankParts(bankfile.MaxTransactions) {
		files = append(files, file{part.fileName, func(ctx context.Context, w io.Writer, r *record) error { return part.write(ctx, w, r, part) }})
	}
	if r.day != "" {
		files = append(files, dayFile)
	}
	return files
}

// FileNames returns the names of the files of a run that is closed, in the order
// in which Run writes them.
func FileNames(ctx context.Context, db *ledger.DB, runID string) (names []string, err error) {
	r, err := loadRecord(ctx, db, runID)
	if err != nil {
		return nil, err
	}
	for _, f := range r.files() {
		names = append(names, f.name(runID))
	}
	return names, nil
}

// WriteFile writes one of the files of a run that is closed, by its name. It is
// the same to the byte as the one that Run has written. An error that is
// fs.ErrNotExist means that the run has no such file.
func WriteFile(ctx context.Context, db *ledger.DB, runID, name string, w io.Writer) error {
	r, err := loadRecord(ctx, db, runID)
	if err != nil {
		return err
	}
	if r.State != StateClosed && r.State != StateFinal {
		return fmt.Errorf("run %s is %s: its files are made when it is closed", runID, r.State)
	}
	for _, f := range r.files() {
		if f.name(runID) == name {
			return f.write(ctx, w, r)
		}
	}
	return fmt.Errorf("run %s has no file %.80q: %w", runID, name, fs.ErrNotExist)
}

// writeFiles writes the files of the run, each whole or not at all.
func (r *run) writeFiles(ctx context.Context) error {
	record, err := loadRecord(ctx, r.db, r.settlement.RunID)
	if err != nil {
		return err
	}
	for _, f := range record.files() {
		name := f.name(record.RunID)
		r.config.step("before " + name)
		err := r.writeFile(name, func(w io.Writer) error { return f.write(ctx, w, record) })
		if err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
		r.config.step("after " + name)
	}
	return nil
}

// writeFile writes beside the file and renames, so that whoever opens it sees
// all of it. The name beside is the process's own: one that lost its lease in
// its sleep does not write into the file of another.
func (r *run) writeFile(name string, write func(w io.Writer) error) error {
	if err := removeLeftovers(r.config.Directory, name); err != nil {
		return err
	}
	beside := filepath.Join(r.config.Directory, besidePrefix(name)+r.lease.token+besideSuffix)
	if err := writeDurably(beside, write); err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	r.config.step("beside " + name)
	if err := os.Rename(beside, filepath.Join(r.config.Directory, name)); err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	return syncDirectory(r.config.Directory)
}

func besidePrefix(name string) string { return "." + name + "." }

const besideSuffix = ".part"

// removeLeftovers removes what a run that died left beside the file.
func removeLeftovers(directory, name string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), besidePrefix(name)) && strings.HasSuffix(entry.Name(), besideSuffix) {
			if err := os.Remove(filepath.Join(directory, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeDurably(path string, write func(w io.Writer) error) error {
	// Statements are nobody's business but the operator's.
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(out, 64<<10)
	err = write(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// ErrNoDirectory means that the folder for the files is missing, is no folder,
// or cannot be written to.
var ErrNoDirectory = errors.New("files cannot be written there")

// checkDirectory makes sure that a file can be made in the folder.
func checkDirectory(path string) error {
	if path == "" {
		return fmt.Errorf("no folder given: %w", ErrNoDirectory)
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("folder %s does not exist: %w", path, ErrNoDirectory)
	}
	if err != nil {
		return fmt.Errorf("folder %s: %w: %w", path, ErrNoDirectory, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder: %w", path, ErrNoDirectory)
	}
	trial, err := os.CreateTemp(path, ".trial-*"+besideSuffix)
	if err != nil {
		return fmt.Errorf("folder %s: %w: %w", path, ErrNoDirectory, err)
	}
	return errors.Join(trial.Close(), os.Remove(trial.Name()))
}
