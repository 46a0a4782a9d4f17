package clearing

import (
	"context"
	"strconv"
	"strings"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// expand replaces entries that are of a whole file of ours, whose payments the
// bank does not name, by one for each of its instructions, where number and sum
// leave no doubt which they are. Others stay as they are, for people.
//
// What it finds does not depend on what was matched before, so that an import
// that goes on counts the same entries.
func expand(ctx context.Context, db *ledger.DB, entries []BankEntry) (expanded []BankEntry, err error) {
	err = db.View(ctx, func(tx *ledger.Tx) error {
		expanded = nil
		for _, e := range entries {
			of, err := e.instructions(ctx, tx)
			if err != nil {
				return err
			}
			if len(of) == 0 {
				expanded = append(expanded, e)
			}
			for _, i := range of {
				one := e
				one.EndToEnd, one.count = i.EndToEnd, 1
				if e.Amount != 0 {
					one.Amount = i.Amount
				}
				expanded = append(expanded, one)
			}
			if len(expanded) > bankfile.MaxEntries {
				return errTooManyEntries
			}
		}
		for k := range expanded {
			expanded[k].Number = k + 1
		}
		return nil
	})
	return expanded, err
}

// instructions returns those that an entry of a whole file is of, none if that
// is not certain.
func (e *BankEntry) instructions(ctx context.Context, tx *ledger.Tx) ([]Instruction, error) {
	if e.EndToEnd != "" || e.count == 1 || e.Says != bankfile.Accepted && e.Says != bankfile.Rejected && e.Says != bankfile.Booked {
		return nil, nil
	}
	runID, method, ok := parseMessageID(e.message)
	if !ok {
		return nil, nil
	}
	all, err := selectInstructions(ctx, tx, `WHERE run_id = ? AND method = ? ORDER BY number LIMIT ?`, runID, method, bankfile.MaxTransactions+1)
	if err != nil || !e.isOf(all) {
		return nil, err
	}
	return all, nil
}

// isOf reports whether an entry is of exactly these instructions.
func (e *BankEntry) isOf(all []Instruction) bool {
	if len(all) == 0 || len(all) > bankfile.MaxTransactions { // more are in several files
		return false
	}
	if e.Says != bankfile.Booked {
		return e.count == len(all) || e.count == 0 && e.paymentID == ""
	}
	var sum money.Amount
	for _, i := range all {
		if i.Currency != e.Currency || i.Direction != e.Direction {
			return false
		}
		var err error
		if sum, err = sum.Add(i.Amount); err != nil {
			return false
		}
	}
	return sum == e.Amount && (e.count == len(all) || e.count == 0)
}

// parseMessageID returns the run and the method that a bank means by the message
// id of one of our files.
func parseMessageID(id string) (runID, method string, ok bool) {
	for _, kind := range bankFiles {
		at := strings.LastIndex(id, kind.mark)
		if at < 0 {
			continue
		}
		number, err := strconv.Atoi(id[at+len(kind.mark):])
		if err == nil && number > 0 && runName.MatchString(id[:at]) {
			return id[:at], kind.method, true
		}
	}
	return "", "", false
}
