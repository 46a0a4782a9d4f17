package clearing

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// file is one file of a run, complete in memory.
type file struct {
	name    string
	content []byte
}

// FileNames returns the names of the files of a run: the statement for a person,
// the same for a program, and the payouts for the bank's program.
func FileNames(runID string) []string {
	return []string{"statement-" + runID + ".txt", "statement-" + runID + ".json", "payout-" + runID + ".csv"}
}

// files makes the files of a statement. They hold nothing but what is on record.
func files(s Statement) ([]file, error) {
	encoded, err := FormatJSON(s)
	if err != nil {
		return nil, err
	}
	payouts, err := formatPayouts(s)
	if err != nil {
		return nil, err
	}
	names := FileNames(s.RunID)
	return []file{{names[0], []byte(FormatStatement(s))}, {names[1], encoded}, {names[2], payouts}}, nil
}

// FormatJSON writes a statement or a plan as indented JSON. Amounts are strings
// of digits, in micros.
func FormatJSON(value any) ([]byte, error) {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return append(encoded, '\n'), nil
}

// formatPayouts writes the payments as CSV (RFC 4180): one row for each, with
// exact decimal amounts in major units.
func formatPayouts(s Statement) ([]byte, error) {
	var buffer bytes.Buffer
	writer := csv.NewWriter(&buffer)
	writer.UseCRLF = true
	rows := [][]string{{"payment_id", "run_id", "period_end", "vendor", "currency", "amount", "fee", "fee_rule"}}
	for _, line := range s.Lines {
		if line.Reason == "" {
			rows = append(rows, []string{line.PaymentID, s.RunID, s.PeriodEnd, line.Vendor,
				line.Currency.Code(), line.Paid.Decimal(), line.Fee.Decimal(), s.FeeRule})
		}
	}
	for _, row := range rows {
		for i := range row {
			row[i] = neutral(row[i])
		}
	}
	if err := writer.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("encoding payouts: %w", err)
	}
	return buffer.Bytes(), nil
}

// neutral keeps a spreadsheet from taking a cell for a formula.
func neutral(cell string) string {
	if cell != "" {
		switch cell[0] {
		case '=', '+', '-', '@', '\t', '\r':
			return "'" + cell
		}
	}
	return cell
}

// writeFiles writes the files of the statement, each whole or not at all.
func (r *run) writeFiles(s Statement) error {
	all, err := files(s)
	if err != nil {
		return err
	}
	for _, f := range all {
		r.config.step("before " + f.name)
		if err := r.writeFile(f); err != nil {
			return fmt.Errorf("writing %s: %w", f.name, err)
		}
		r.config.step("after " + f.name)
	}
	return nil
}

// writeFile writes beside the file and renames, so that whoever opens it sees
// all of it. The name beside is the process's own: one that lost its lease in
// its sleep does not write into the file of another.
func (r *run) writeFile(f file) error {
	if err := removeLeftovers(r.config.Directory, f.name); err != nil {
		return err
	}
	beside := filepath.Join(r.config.Directory, besidePrefix(f.name)+r.lease.token+besideSuffix)
	if err := writeDurably(beside, f.content); err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	r.config.step("beside " + f.name)
	if err := os.Rename(beside, filepath.Join(r.config.Directory, f.name)); err != nil {
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

func writeDurably(path string, content []byte) error {
	// Statements are nobody's business but the operator's.
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(content)
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
