package clearing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// kinds of the transfers that a run makes.
const (
	kindFee    = "settlement-fee"
	kindPayout = "settlement-payout"
)

// linesPerUpdate is how many lines are done in one transaction: their part of
// its commit is small then, and others wait some tens of milliseconds.
const linesPerUpdate = 100

// execute does the lines that are not done yet, some at a time.
func (r *run) execute(ctx context.Context) error {
	progress, err := LoadProgress(ctx, r.db, r.settlement.RunID)
	if err != nil {
		return err
	}
	r.done = progress.Done
	for after := 0; ; {
		r.report(PhaseLines)
		var lines []Line
		err := r.update(ctx, func(tx *ledger.Tx) (err error) {
			lines, err = selectLines(ctx, tx, `WHERE run_id = ? AND number > ? AND outcome = '' ORDER BY number LIMIT ?`,
				r.settlement.RunID, after, linesPerUpdate)
			for k := 0; err == nil && k < len(lines); k++ {
				if err = r.executeLine(ctx, tx, lines[k]); err != nil {
					err = fmt.Errorf("run %s, line %d (%s): %w", r.settlement.RunID, lines[k].Number, lines[k].Party, err)
				}
			}
			return err
		})
		if err != nil || len(lines) == 0 {
			return err
		}
		r.done += int64(len(lines))
		after = lines[len(lines)-1].Number
		r.config.step(fmt.Sprintf("lines to %d", after))
	}
}

// executeLine does one line and records it, both or neither.
func (r *run) executeLine(ctx context.Context, tx *ledger.Tx, line Line) error {
	outcome, note := OutcomeCarried, Reason("")
	if line.Reason == "" {
		var err error
		if note, err = r.obstacle(ctx, tx, line); err != nil {
			return err
		}
		if note == "" {
			outcome = OutcomeSent
			if err := r.send(ctx, tx, line); err != nil {
				return err
			}
		}
	}
	result, err := tx.ExecContext(ctx, `UPDATE clearing_lines SET outcome = ?, note = ?, done = ?
		WHERE run_id = ? AND number = ? AND outcome = ''`, outcome, string(note), tx.Now().UnixMicro(), r.settlement.RunID, line.Number)
	if err != nil {
		return err
	}
	changed, err := result.RowsAffected()
	if err == nil && changed != 1 {
		err = errors.New("the line was done by somebody else")
	}
	return err
}

// obstacle returns why the line is not to be done as it was planned, or "": who
// approved the plan saw other facts.
func (r *run) obstacle(ctx context.Context, tx *ledger.Tx, line Line) (Reason, error) {
	switch line.Kind {
	case KindAccountPayout:
		return payoutObstacle(ctx, tx, line)
	case KindCollection:
		return collectionObstacle(ctx, tx, line)
	default:
		registered := `SELECT destination, state FROM broker_vendors WHERE vendor = ?`
		if line.Kind == KindMerchant {
			registered = `SELECT destination, state FROM cards_merchants WHERE mid = ?`
		}
		var destination, state string
		err := tx.QueryRowContext(ctx, registered, line.Party).Scan(&destination, &state)
		switch {
		case err != nil:
			return "", err
		case state == "blocked":
			return ReasonBlocked, nil
		case destination != line.Destination:
			return ReasonDestinationChanged, nil
		}
	}
	account, err := tx.Account(ctx, line.Account)
	if err == nil && account.Balance-account.Pending < line.Fee+line.Amount {
		return ReasonBalanceFell, nil
	}
	return "", err
}

// payoutObstacle: a payout that the operator has ended by hand is not paid again.
func payoutObstacle(ctx context.Context, tx *ledger.Tx, line Line) (Reason, error) {
	account, id, _ := strings.Cut(line.Party, "/")
	var state, instruction, accountState string
	var amount money.Amount
	err := tx.QueryRowContext(ctx, `SELECT p.state, p.instruction, p.amount, a.state FROM broker_payouts p JOIN broker_accounts a ON a.id = p.account
		WHERE p.account = ? AND p.id = ?`, account, id).Scan(&state, &instruction, (*int64)(&amount), &accountState)
	switch {
	case err != nil:
		return "", err
	case state != "pending" || instruction != "" || amount != line.Amount:
		return ReasonPayoutEnded, nil
	case accountState == "blocked":
		return ReasonBlocked, nil
	}
	return "", nil
}

// holdPayout tells the broker that a payout is on its way, so that nobody ends it
// by hand: it would be paid twice.
func holdPayout(ctx context.Context, tx *ledger.Tx, line Line) error {
	account, id, _ := strings.Cut(line.Party, "/")
	result, err := tx.ExecContext(ctx, `UPDATE broker_payouts SET instruction = ? WHERE account = ? AND id = ? AND state = 'pending' AND instruction = ''`,
		line.EndToEnd, account, id)
	if err != nil {
		return err
	}
	held, err := result.RowsAffected()
	if err == nil && held != 1 {
		err = errors.New("the payout was ended or sent by somebody else")
	}
	return err
}

// collectionObstacle: what the account has paid meanwhile is not collected, and
// nothing without the mandate.
func collectionObstacle(ctx context.Context, tx *ledger.Tx, line Line) (Reason, error) {
	var isActive int
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM clearing_mandates WHERE id = ? AND account = ? AND state = 'active'`,
		strings.TrimPrefix(line.Destination, destinationMandate), line.Party).Scan(&isActive)
	if err != nil || isActive == 0 {
		return ReasonNoMandate, err
	}
	var owed money.Amount
	err = tx.QueryRowContext(ctx, `SELECT -CAST(COALESCE(SUM(balance), 0) AS BIGINT) FROM accounts WHERE id IN (?, ?, ?)`,
		"user:"+line.Party+":available", "user:"+line.Party+":reserved", "user:"+line.Party+":owed").Scan((*int64)(&owed))
	if err != nil {
		return "", err
	}
	var inFlight money.Amount
	err = tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM (
		SELECT amount FROM clearing_instructions WHERE kind = 'collection' AND party = ? AND state = 'sent'
		UNION ALL SELECT amount FROM broker_outcomes WHERE kind = 'debit-collected' AND account = ? AND state <> 'applied') AS flying`,
		line.Party, line.Party).Scan((*int64)(&inFlight))
	if err == nil && owed-inFlight < line.Amount {
		return ReasonBalanceFell, nil
	}
	return "", err
}

// send sets the money of a line aside and keeps the order to the bank.
func (r *run) send(ctx context.Context, tx *ledger.Tx, line Line) error {
	direction := "out"
	switch line.Kind {
	case KindVendor, KindMerchant:
		if err := r.pend(ctx, tx, line); err != nil {
			return err
		}
	case KindAccountPayout:
		if err := holdPayout(ctx, tx, line); err != nil {
			return err
		}
	case KindCollection:
		direction = "in"
		_, err := tx.ExecContext(ctx, `UPDATE clearing_mandates SET used = used + 1 WHERE id = ?`,
			strings.TrimPrefix(line.Destination, destinationMandate))
		if err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO clearing_instructions (end_to_end, run_id, number, direction, kind, party, account, currency,
		amount, fee, destination, method, state, sent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'sent', ?)`,
		line.EndToEnd, r.settlement.RunID, line.Number, direction, line.Kind, line.Party, line.Account, string(line.Currency),
		int64(line.Amount), int64(line.Fee), line.Destination, line.Method, tx.Now().UnixMicro())
	return err
}

// pend sets aside what is paid and the fee. The ids of the transfers come from
// the run and the party alone, so that the ledger itself refuses to do it twice.
func (r *run) pend(ctx context.Context, tx *ledger.Tx, line Line) error {
	transfers := []struct {
		id, kind, credit string
		amount           money.Amount
	}{
		{"settle/" + line.EndToEnd, kindPayout, r.settlement.BankAccount, line.Amount},
		{"settle/" + line.EndToEnd + "/fee", kindFee, r.settlement.FeesAccount, line.Fee},
	}
	for _, t := range transfers {
		if t.amount == 0 {
			continue // a rule may charge nothing
		}
		err := tx.Pend(ctx, ledger.Transfer{
			ID: t.id, Debit: line.Account, Credit: t.credit, Amount: t.amount, Currency: line.Currency, Kind: t.kind,
			Reference: fmt.Sprintf("run %s line %d plan %s fee %s", r.settlement.RunID, line.Number, r.settlement.PlanHash, r.settlement.FeeRule),
		})
		if err != nil {
			return err
		}
	}
	return nil
}
