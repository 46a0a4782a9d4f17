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
			if err == nil && len(lines) > 0 {
				err = r.executeLines(ctx, tx, lines)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("run %s, lines after %d: %w", r.settlement.RunID, after, err)
		}
		if len(lines) == 0 {
			return nil
		}
		r.done += int64(len(lines))
		after = lines[len(lines)-1].Number
		r.config.step(fmt.Sprintf("lines to %d", after))
	}
}

// executeLines does lines and records them, all or none.
func (r *run) executeLines(ctx context.Context, tx *ledger.Tx, lines []Line) error {
	facts, err := loadFacts(ctx, tx, lines)
	if err != nil {
		return err
	}
	var sending []Line
	numbers := map[done][]any{}
	for _, line := range lines {
		as := done{outcome: OutcomeCarried}
		if line.Reason == "" {
			if as.note, err = facts.obstacle(ctx, tx, line); err != nil {
				return fmt.Errorf("line %d (%s): %w", line.Number, line.Party, err)
			}
			if as.note == "" {
				as.outcome = OutcomeSent
				sending = append(sending, line)
			}
		}
		numbers[as] = append(numbers[as], line.Number)
	}
	if err := r.send(ctx, tx, sending); err != nil {
		return err
	}
	for as, numbers := range numbers {
		if err := r.record(ctx, tx, as, numbers); err != nil {
			return err
		}
	}
	return nil
}

// done is what came of a line.
type done struct {
	outcome string
	note    Reason
}

// record writes what came of lines.
func (r *run) record(ctx context.Context, tx *ledger.Tx, as done, numbers []any) error {
	for from, to := range ledger.Spans(len(numbers)) {
		arguments := append([]any{as.outcome, string(as.note), tx.Now().UnixMicro(), r.settlement.RunID}, numbers[from:to]...)
		result, err := tx.ExecContext(ctx, `UPDATE clearing_lines SET outcome = ?, note = ?, done = ?
			WHERE run_id = ? AND outcome = '' AND number IN (`+ledger.List(to-from)+`)`, arguments...)
		if err != nil {
			return err
		}
		changed, err := result.RowsAffected()
		if err == nil && changed != int64(to-from) {
			err = errors.New("a line was done by somebody else")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// facts are what lines to vendors and merchants rest on, as it is now.
type facts struct {
	registered map[string]registration // by kind and party
	free       map[string]money.Amount // by account: what is not pending, in micros
}

// registration is where somebody wants to be paid, and whether they may be.
type registration struct{ destination, state string }

// loadFacts reads what the lines rest on in a few queries.
func loadFacts(ctx context.Context, tx *ledger.Tx, lines []Line) (facts, error) {
	f := facts{map[string]registration{}, map[string]money.Amount{}}
	parties, accounts := map[string][]any{}, []any{}
	for _, line := range lines {
		if line.Reason == "" && (line.Kind == KindVendor || line.Kind == KindMerchant) {
			parties[line.Kind] = append(parties[line.Kind], line.Party)
			accounts = append(accounts, line.Account)
		}
	}
	for kind, query := range map[string]string{
		KindVendor:   `SELECT vendor, destination, state FROM broker_vendors WHERE vendor IN `,
		KindMerchant: `SELECT mid, destination, state FROM cards_merchants WHERE mid IN `,
	} {
		err := eachOf(ctx, tx, query, parties[kind], func(scan func(...any) error) error {
			var party string
			var r registration
			err := scan(&party, &r.destination, &r.state)
			f.registered[kind+" "+party] = r
			return err
		})
		if err != nil {
			return facts{}, err
		}
	}
	err := eachOf(ctx, tx, `SELECT id, balance - pending FROM accounts WHERE id IN `, accounts, func(scan func(...any) error) error {
		var account string
		var free money.Amount
		err := scan(&account, (*int64)(&free))
		f.free[account] = free
		return err
	})
	return f, err
}

// eachOf calls read with the rows of a query that ends in IN, for the arguments.
func eachOf(ctx context.Context, tx *ledger.Tx, query string, arguments []any, read func(scan func(...any) error) error) error {
	for from, to := range ledger.Spans(len(arguments)) {
		if err := tx.Each(ctx, read, query+`(`+ledger.List(to-from)+`)`, arguments[from:to]...); err != nil {
			return err
		}
	}
	return nil
}

// obstacle returns why the line is not to be done as it was planned, or "": who
// approved the plan saw other facts.
func (f facts) obstacle(ctx context.Context, tx *ledger.Tx, line Line) (Reason, error) {
	switch line.Kind {
	case KindAccountPayout:
		return payoutObstacle(ctx, tx, line)
	case KindCollection:
		return collectionObstacle(ctx, tx, line)
	}
	registered, isRegistered := f.registered[line.Kind+" "+line.Party]
	free, exists := f.free[line.Account]
	switch {
	case !isRegistered || !exists:
		return "", errors.New("the one who is to be paid has gone from the tables")
	case registered.state == "blocked":
		return ReasonBlocked, nil
	case registered.destination != line.Destination:
		return ReasonDestinationChanged, nil
	case free < line.Fee+line.Amount:
		return ReasonBalanceFell, nil
	}
	return "", nil
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
	held, err := tx.ExecOne(ctx, `UPDATE broker_payouts SET instruction = ? WHERE account = ? AND id = ? AND state = 'pending' AND instruction = ''`,
		line.EndToEnd, account, id)
	if err == nil && !held {
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
		UNION ALL SELECT amount FROM broker_outcomes WHERE kind = 'debit-collected' AND account = ? AND state <> 'applied'
		UNION ALL SELECT amount - reversed FROM broker_fundings WHERE account = '' AND source = 'direct-debit' AND named = ?) AS flying`,
		line.Party, line.Party, line.Party).Scan((*int64)(&inFlight))
	if err == nil && owed-inFlight < line.Amount {
		return ReasonBalanceFell, nil
	}
	return "", err
}

// send sets the money of lines aside and keeps the orders to the bank.
func (r *run) send(ctx context.Context, tx *ledger.Tx, lines []Line) error {
	var lists [][]ledger.Transfer
	for _, line := range lines {
		var err error
		switch line.Kind {
		case KindAccountPayout:
			err = holdPayout(ctx, tx, line)
		case KindCollection:
			_, err = tx.ExecContext(ctx, `UPDATE clearing_mandates SET used = used + 1 WHERE id = ?`,
				strings.TrimPrefix(line.Destination, destinationMandate))
		default:
			lists = append(lists, r.transfers(line))
		}
		if err != nil {
			return fmt.Errorf("line %d (%s): %w", line.Number, line.Party, err)
		}
	}
	outcomes, err := tx.PendLists(ctx, lists)
	if err != nil {
		return err
	}
	for _, outcome := range outcomes {
		if outcome.Refused != nil { // and obstacle has seen that the money is there
			return outcome.Refused
		}
	}
	return r.saveInstructions(ctx, tx, lines)
}

// transfers are what sets aside what is paid, and the fee. Their ids come from
// the run and the party alone, so that the ledger itself refuses to do it twice.
func (r *run) transfers(line Line) (list []ledger.Transfer) {
	for _, t := range []struct {
		id, kind, credit string
		amount           money.Amount
	}{
		{"settle/" + line.EndToEnd, kindPayout, r.settlement.BankAccount, line.Amount},
		{"settle/" + line.EndToEnd + "/fee", kindFee, r.settlement.FeesAccount, line.Fee},
	} {
		if t.amount == 0 {
			continue // a rule may charge nothing
		}
		list = append(list, ledger.Transfer{
			ID: t.id, Debit: line.Account, Credit: t.credit, Amount: t.amount, Currency: line.Currency, Kind: t.kind,
			Reference: fmt.Sprintf("run %s line %d plan %s fee %s", r.settlement.RunID, line.Number, r.settlement.PlanHash, r.settlement.FeeRule),
		})
	}
	return list
}

// saveInstructions keeps the orders to the bank.
func (r *run) saveInstructions(ctx context.Context, tx *ledger.Tx, lines []Line) error {
	const columns = 14
	for from, to := range ledger.Spans(len(lines)) {
		arguments := make([]any, 0, (to-from)*columns)
		for _, line := range lines[from:to] {
			direction := "in"
			if line.IsOut() {
				direction = "out"
			}
			arguments = append(arguments, line.EndToEnd, r.settlement.RunID, line.Number, direction, line.Kind, line.Party, line.Account,
				string(line.Currency), int64(line.Amount), int64(line.Fee), line.Destination, line.Method, "sent", tx.Now().UnixMicro())
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO clearing_instructions (end_to_end, run_id, number, direction, kind, party, account, currency,
			amount, fee, destination, method, state, sent) VALUES `+ledger.Rows(to-from, columns), arguments...)
		if err != nil {
			return err
		}
	}
	return nil
}
