package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// run is a settlement run as it is stored.
type run struct {
	id, state, periodEnd, currency                         string
	cutoff, since                                          int64 // seq of transfers
	feeRule, policy, feesAccount, bankAccount              string
	planHash, plannedBy                                    string
	needs, planned, evidenceSeq                            int64
	lines, waiting, payments, collections                  int64
	paid, collected, fees, carried                         int64 // micros
	checkedTransfers                                       int64
	terms                                                  terms // that it was planned under
	hasTerms                                               bool
	lineCount, paymentCount, collectionCount               int64 // counted here
	paidSum, collectedSum, feesSum, carriedSum, largestOne sum   // added up here
}

// isStarted reports whether money may have moved for the run.
func (r *run) isStarted() bool {
	return r.state == "running" || r.state == "closed" || r.state == "final"
}

// runLine is a line of a plan.
type runLine struct {
	number                              int64
	kind, party, account, currency      string
	gross, fee, amount                  int64 // micros
	destination, method, reason, result string
}

// checkRuns recomputes the plan of every run from its lines: its hash, its
// totals, every fee; and checks that runs follow each other and were approved.
func (a *auditor) checkRuns(ctx context.Context) error {
	if err := a.loadRuns(ctx); err != nil {
		return err
	}
	a.checkCutoffs()
	for _, r := range a.runs {
		if err := a.checkPlan(ctx, r); err != nil {
			return err
		}
		if err := a.checkApproval(ctx, r); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{a.checkInstructions, a.checkSettled, a.checkPayoutLines, a.checkTrialBalances} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) loadRuns(ctx context.Context) error {
	err := a.snapshot.each(ctx, func(scan scanner) error {
		r := new(run)
		a.runs = append(a.runs, r)
		return scan(&r.id, &r.state, &r.periodEnd, &r.currency, &r.cutoff, &r.since, &r.feeRule, &r.policy, &r.feesAccount, &r.bankAccount,
			&r.planHash, &r.plannedBy, &r.needs, &r.planned, &r.evidenceSeq, &r.lines, &r.waiting, &r.payments, &r.paid, &r.collections,
			&r.collected, &r.fees, &r.carried, &r.checkedTransfers)
	}, `SELECT id, state, period_end, currency, cutoff, since, fee_rule, policy, fees_account, bank_account, plan_hash, planned_by, needs,
		planned, evidence_seq, lines, waiting, payments, paid, collections, collected, fees, carried, transfers
		FROM clearing_runs ORDER BY cutoff, planned, id`)
	a.looked.Runs = int64(len(a.runs))
	if err != nil {
		return err
	}
	for _, r := range a.runs {
		rule := ""
		err := a.snapshot.each(ctx, func(scan scanner) error { return scan(&rule) },
			`SELECT rule FROM clearing_fee_rules WHERE version = ?`, r.feeRule)
		if err != nil {
			return err
		}
		if r.terms, err = readTerms(r.policy, rule); err != nil {
			a.find(FeeRule, "run "+r.id, "its policy and the rule "+r.feeRule+" cannot be read as one: "+err.Error(), rule)
			continue
		}
		r.hasTerms = true
	}
	return nil
}

// checkCutoffs checks that each run begins where the one before it ended.
func (a *auditor) checkCutoffs() {
	last := make(map[string]int64)
	for _, r := range a.runs {
		if r.since != last[r.currency] || r.cutoff < r.since {
			a.find(RunCutoff, "run "+r.id, fmt.Sprintf("the run before it ended with transfer %d", last[r.currency]),
				fmt.Sprintf("it is of the transfers after %d up to %d", r.since, r.cutoff))
		}
		if r.isStarted() {
			last[r.currency] = r.cutoff
		}
	}
}

// checkPlan reads the lines of a run.
func (a *auditor) checkPlan(ctx context.Context, r *run) error {
	text := sha256.New()
	r.writeHead(text)
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var l runLine
		err := scan(&l.number, &l.kind, &l.party, &l.account, &l.currency, &l.gross, &l.fee, &l.amount, &l.destination, &l.method, &l.reason, &l.result)
		if err != nil {
			return err
		}
		l.write(text)
		r.add(&l)
		a.looked.Lines++
		if r.hasTerms {
			a.checkLine(r, &l)
		}
		a.checkResult(r, &l)
		return nil
	}, `SELECT number, kind, party, account, currency, gross, fee, amount, destination, method, reason, outcome
		FROM clearing_lines WHERE run_id = ? ORDER BY number`, r.id)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(text.Sum(nil)); got != r.planHash {
		a.find(RunHash, "run "+r.id, "the plan has the hash "+got, "it was approved under "+r.planHash)
	}
	a.checkTotals(r)
	return nil
}

// writeHead writes what the hash of a plan covers before its lines.
func (r *run) writeHead(w hash.Hash) {
	fmt.Fprintf(w, "payword settlement plan 2\nrun %s\nperiod-end %s\ncurrency %s\ncutoff %d since %d\nplanned %d by %s\n",
		r.id, r.periodEnd, r.currency, r.cutoff, r.since, r.planned, r.plannedBy)
	fmt.Fprintf(w, "accounts %s %s\npolicy %s\n", r.feesAccount, r.bankAccount, r.policy)
	fmt.Fprintf(w, "totals lines %d waiting %d payments %d %d collections %d %d fees %d carried %d approval %t\n",
		r.lines, r.waiting, r.payments, r.paid, r.collections, r.collected, r.fees, r.carried, r.needs != 0)
}

// write writes what it covers of a line.
func (l *runLine) write(w hash.Hash) {
	what := l.method
	if l.reason != "" {
		what = "carry:" + l.reason
	}
	fmt.Fprintf(w, "line %d %s %s %s %d %d %d %s %s %s\n", l.number, l.kind, l.account, l.currency, l.gross, l.fee, l.amount, what,
		strconv.QuoteToASCII(l.party), strconv.QuoteToASCII(l.destination))
}

// add adds a line to the sums of its run.
func (r *run) add(l *runLine) {
	r.lineCount++
	if l.currency != r.currency {
		return
	}
	if l.amount > 0 && r.largestOne.minus(l.amount).sign() < 0 {
		r.largestOne = sum{}.plus(l.amount)
	}
	r.feesSum = r.feesSum.plus(l.fee)
	moves := int64(0)
	if l.amount != 0 {
		moves = 1
	}
	if l.kind == "collection" {
		r.collectedSum, r.collectionCount = r.collectedSum.plus(l.amount), r.collectionCount+moves
		return
	}
	r.paidSum, r.paymentCount = r.paidSum.plus(l.amount), r.paymentCount+moves
	r.carriedSum = r.carriedSum.plus(l.gross).minus(l.fee).minus(l.amount)
}

func (a *auditor) checkTotals(r *run) {
	got := fmt.Sprintf("%d lines, %d payments of %s, %d collections of %s, fees %s, carried %s",
		r.lineCount, r.paymentCount, r.paidSum, r.collectionCount, r.collectedSum, r.feesSum, r.carriedSum)
	want := fmt.Sprintf("%d lines, %d payments of %d, %d collections of %d, fees %d, carried %d",
		r.lines, r.payments, r.paid, r.collections, r.collected, r.fees, r.carried)
	if got != want {
		a.find(RunTotals, "run "+r.id, "its lines are "+got, want)
	}
}

// checkResult checks how far a line is against its run.
func (a *auditor) checkResult(r *run, l *runLine) {
	wrong := !r.isStarted() && l.result != "" || (r.state == "closed" || r.state == "final") && l.result == "" || l.result == "sent" && l.reason != ""
	if wrong {
		a.find(LineResult, r.lineName(l.number), "the run is "+r.state+", and the plan carries it because of "+strconv.Quote(l.reason),
			"the line is "+strconv.Quote(l.result))
	}
}

func (r *run) lineName(number int64) string {
	return "run " + r.id + " line " + strconv.FormatInt(number, 10)
}

// needsApproval tells whether two operators must stand behind a run: it moves more
// than its policy lets pass, with what was moved on the same day without them, or
// the run before it had a lower limit.
func (a *auditor) needsApproval(r *run) bool {
	const day = 24 * 60 * 60 * 1_000_000
	above, moved := r.terms.approvalAbove, r.paidSum.add(r.collectedSum)
	var last *run
	for _, before := range a.runs {
		if before == r {
			break
		}
		if before.currency != r.currency || !before.isStarted() || !before.hasTerms {
			continue
		}
		last = before
		if before.needs == 0 && before.planned/day == r.planned/day {
			moved = moved.add(before.paidSum).add(before.collectedSum)
		}
	}
	if last != nil && last.terms.approvalAbove != nil && (above == nil || *above > *last.terms.approvalAbove) {
		return true
	}
	return above != nil && (moved.minus(*above).sign() > 0 || r.largestOne.minus(*above).sign() > 0)
}

// checkApproval checks that two operators stand behind a run where that is asked
// for.
func (a *auditor) checkApproval(ctx context.Context, r *run) error {
	if !r.hasTerms {
		return nil
	}
	needs := a.needsApproval(r)
	if needs != (r.needs != 0) {
		a.find(RunApproval, "run "+r.id, fmt.Sprintf("its policy and the runs before ask for approval: %t", needs), fmt.Sprintf("it says %t", r.needs != 0))
	}
	behind := make(map[string]bool)
	planner, isOperator := strings.CutPrefix(r.plannedBy, "operator:")
	if isOperator {
		behind[planner] = true
	}
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var operator string
		err := scan(&operator)
		behind[operator] = true
		if isOperator && operator == planner {
			a.find(RunApproval, "run "+r.id, planner+" has planned it", "it is approved by the same")
		}
		return err
	}, `SELECT operator FROM clearing_approvals WHERE run_id = ?`, r.id)
	if needs && r.isStarted() && len(behind) < 2 {
		a.find(RunApproval, "run "+r.id, "two operators must stand behind it", fmt.Sprintf("%d do", len(behind)))
	}
	return err
}

// endToEnd is the name under which the bank knows the order of a line.
func endToEnd(runID, kind, party string) string {
	hash := sha256.Sum256([]byte(runID + "\n" + kind + "\n" + party))
	return hex.EncodeToString(hash[:16])
}

// checkInstructions checks that each line that was sent has one order to the
// bank, and each order such a line.
func (a *auditor) checkInstructions(ctx context.Context) error {
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var run, id, direction string
		var number, isLike int64
		var kind, party, result string
		if err := scan(&id, &run, &number, &direction, &kind, &party, &result, &isLike); err != nil {
			return err
		}
		a.looked.Instructions++
		want := "out"
		if kind == "collection" {
			want = "in"
		}
		if result != "sent" || isLike != 1 || direction != want || id != endToEnd(run, kind, party) {
			a.find(InstructionDiffers, "instruction "+id, fmt.Sprintf("line %d of run %s, %s of %s, is %q", number, run, kind, party, result),
				"the order to the bank is another one")
		}
		return nil
	}, `SELECT i.end_to_end, i.run_id, i.number, i.direction, i.kind, i.party, COALESCE(l.outcome, 'missing'),
			CASE WHEN l.kind = i.kind AND l.party = i.party AND l.account = i.account AND l.currency = i.currency AND l.amount = i.amount
				AND l.fee = i.fee AND l.destination = i.destination AND l.method = i.method THEN 1 ELSE 0 END
		FROM clearing_instructions i LEFT JOIN clearing_lines l ON l.run_id = i.run_id AND l.number = i.number`)
	if err != nil {
		return err
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var run, party string
		var number int64
		err := scan(&run, &number, &party)
		a.find(InstructionDiffers, fmt.Sprintf("run %s line %d", run, number), "it was sent for "+party, "there is no order to the bank")
		return err
	}, `SELECT l.run_id, l.number, l.party FROM clearing_lines l LEFT JOIN clearing_instructions i ON i.run_id = l.run_id AND i.number = l.number
		WHERE l.outcome = 'sent' AND i.end_to_end IS NULL`)
}

// checkSettled checks the transfers of each order: pending while it is sent,
// posted once it is booked, void once it is rejected, and moved back once it is
// returned; the fee with it.
func (a *auditor) checkSettled(ctx context.Context) error {
	for _, part := range []struct{ name, suffix, column, credit string }{
		{"payout", "", "i.amount", "r.bank_account"}, {"fee", "/fee", "i.fee", "r.fees_account"},
	} {
		err := a.snapshot.each(ctx, func(scan scanner) error {
			var id, state, want string
			var amount int64
			var pending, ending, back string
			if err := scan(&id, &state, &amount, &pending, &ending, &back); err != nil {
				return err
			}
			switch state {
			case "sent":
				want = "like  "
			case "booked":
				want = "like post "
			case "rejected":
				want = "like void "
			case "returned":
				want = "like post like"
			}
			if amount == 0 {
				want = "  " // a rule may charge nothing
			}
			if got := pending + " " + ending + " " + back; got != want {
				a.find(InstructionState, "instruction "+id, fmt.Sprintf("its %s of %s is %s", part.name, micros(amount), state),
					fmt.Sprintf("its transfers say %q, not %q", got, want))
			}
			return nil
		}, `SELECT i.end_to_end, i.state, `+part.column+`,
				CASE WHEN p.id IS NULL THEN '' WHEN p.phase = 'pending' AND p.amount = `+part.column+` AND p.debit = i.account AND p.credit = `+part.credit+`
					AND p.kind = 'settlement-`+part.name+`' THEN 'like' ELSE 'unlike' END,
				COALESCE(CASE WHEN e.phase = 'post' AND e.amount <> p.amount THEN 'part' ELSE e.phase END, ''),
				CASE WHEN b.id IS NULL THEN '' WHEN b.phase = 'single' AND b.amount = p.amount AND b.debit = p.credit AND b.credit = p.debit THEN 'like' ELSE 'unlike' END
			FROM clearing_instructions i JOIN clearing_runs r ON r.id = i.run_id
			LEFT JOIN transfers p ON p.id = 'settle/' || i.end_to_end || '`+part.suffix+`'
			LEFT JOIN transfers e ON e.pending_id = p.id
			LEFT JOIN transfers b ON b.id = 'settle/' || i.end_to_end || '`+part.suffix+`/returned'
			WHERE i.kind IN ('vendor', 'merchant')`)
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPayoutLines checks that what the owner of an account asked to be paid out
// was pending at the cut-off, in that amount, and is paid in one run.
func (a *auditor) checkPayoutLines(ctx context.Context) error {
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var run, party string
		var number, gross, cutoff, amount, seq, ended int64
		if err := scan(&run, &number, &party, &gross, &cutoff, &amount, &seq, &ended); err != nil {
			return err
		}
		if amount != gross || seq > cutoff || ended != 0 && ended <= cutoff {
			a.find(LinePosition, fmt.Sprintf("run %s line %d", run, number),
				fmt.Sprintf("%s was pending for payout %s at transfer %d", micros(amount), party, cutoff), "the line is of "+micros(gross))
		}
		return nil
	}, `SELECT l.run_id, l.number, l.party, l.gross, r.cutoff, COALESCE(p.amount, 0), COALESCE(p.seq, 0), COALESCE(e.seq, 0)
		FROM clearing_lines l JOIN clearing_runs r ON r.id = l.run_id
		LEFT JOIN transfers p ON p.id = 'account-payout/' || l.party AND p.phase = 'pending'
		LEFT JOIN transfers e ON e.pending_id = p.id WHERE l.kind = 'account-payout'`)
	if err != nil {
		return err
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var party string
		var count int64
		err := scan(&party, &count)
		a.find(InstructionDiffers, "payout "+party, "it is paid once", fmt.Sprintf("there are %d orders to the bank", count))
		return err
	}, `SELECT party, COUNT(*) FROM clearing_instructions WHERE kind = 'account-payout' GROUP BY party HAVING COUNT(*) > 1`)
}

// checkTrialBalances checks that the balances taken when runs were closed sum to
// zero.
func (a *auditor) checkTrialBalances(ctx context.Context) error {
	sums := make(map[string]sum)
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var run, currency string
		var balance int64
		err := scan(&run, &currency, &balance)
		key := "run " + run + " in " + currency
		sums[key] = sums[key].plus(balance)
		return err
	}, `SELECT run_id, currency, balance FROM clearing_balances`)
	for key, total := range sums {
		if !total.isZero() {
			a.find(TrialBalance, key, "balances sum to 0", "they sum to "+total.String())
		}
	}
	return err
}
