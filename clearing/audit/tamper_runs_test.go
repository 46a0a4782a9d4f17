package audit_test

import "github.com/paywordhq/payword/clearing/audit"

// The second of the runs that were carried out, and a line of it.
const (
	ofSecond = ` WHERE fee_rule = 'tiers/1' AND state = 'final'`
	lineSent = ` WHERE outcome = 'sent' AND kind = 'vendor' AND run_id = (SELECT id FROM clearing_runs` + ofSecond + `)`
	sent     = ` WHERE kind = 'vendor' AND run_id = (SELECT id FROM clearing_runs` + ofSecond + `)`
)

var tamperedRuns = []tampering{
	{"another plan", "clearing_runs", `UPDATE clearing_runs SET plan_hash = '0' || SUBSTR(plan_hash, 2, 62) || 'x'` + ofSecond, []audit.Kind{audit.RunHash}},
	{"another planner", "clearing_runs", `UPDATE clearing_runs SET planned_by = 'operator:carl'` + ofSecond, []audit.Kind{audit.RunHash}},
	{"another total", "clearing_runs", `UPDATE clearing_runs SET paid = paid + 1` + ofSecond, []audit.Kind{audit.RunHash, audit.RunTotals}},
	{"a later cut-off", "clearing_runs", `UPDATE clearing_runs SET cutoff = cutoff + 1` + ofSecond, []audit.Kind{audit.LinePosition, audit.RunCutoff, audit.RunHash}},
	{"a gap between runs", "clearing_runs", `UPDATE clearing_runs SET since = since + 1` + ofSecond, []audit.Kind{audit.RunCutoff, audit.RunHash}},
	{"a policy without approval", "clearing_runs", `UPDATE clearing_runs SET policy = REPLACE(policy, '"approvalAboveMicros":"100000",', '')` + ofSecond,
		[]audit.Kind{audit.RunApproval, audit.RunHash}},
	{"no approval asked for", "clearing_runs", `UPDATE clearing_runs SET needs = 0` + ofSecond, []audit.Kind{audit.RunApproval, audit.RunHash}},
	{"a policy with another minimum", "clearing_runs", `UPDATE clearing_runs SET policy = REPLACE(policy, '"300000"', '"3000000"')` + ofSecond,
		[]audit.Kind{audit.LineFee, audit.RunHash}},
	{"another account for fees", "clearing_runs", `UPDATE clearing_runs SET fees_account = 'broker:unassigned'` + ofSecond,
		[]audit.Kind{audit.InstructionState, audit.RunHash, audit.TransferDiffers}},
	{"a run undone", "clearing_runs", `UPDATE clearing_runs SET state = 'discarded'` + ofSecond, []audit.Kind{audit.LineResult, audit.RunCutoff}},
	{"another rule", "clearing_fee_rules", `UPDATE clearing_fee_rules SET rule = REPLACE(rule, '777', '77')`, []audit.Kind{audit.FeeRule}},
	{"a rule removed", "clearing_fee_rules", `DELETE FROM clearing_fee_rules WHERE version = 'tiers/1'`, []audit.Kind{audit.FeeRule}},
	{"an approval removed", "clearing_approvals", `DELETE FROM clearing_approvals`, []audit.Kind{audit.RunApproval}},
	{"an approval by the same", "clearing_approvals", `UPDATE clearing_approvals SET operator = 'anna'`, []audit.Kind{audit.RunApproval}},
	{"a fee lowered", "clearing_lines", `UPDATE clearing_lines SET fee = fee - 1` + lineSent,
		[]audit.Kind{audit.InstructionDiffers, audit.LineFee, audit.RunHash, audit.RunTotals, audit.StatementDiffers}},
	{"a position raised", "clearing_lines", `UPDATE clearing_lines SET gross = gross + 1` + lineSent,
		[]audit.Kind{audit.LinePosition, audit.RunHash, audit.RunTotals, audit.StatementDiffers}},
	{"a line to another", "clearing_lines", `UPDATE clearing_lines SET destination = 'iban:DE02120300000000202051'` + lineSent,
		[]audit.Kind{audit.InstructionDiffers, audit.RunHash}},
	{"a line of another party", "clearing_lines", `UPDATE clearing_lines SET party = 'https://x.example'` + lineSent,
		[]audit.Kind{audit.InstructionDiffers, audit.LinePosition, audit.RunHash, audit.StatementDiffers}},
	{"a line removed", "clearing_lines", `DELETE FROM clearing_lines WHERE outcome = 'carried' AND run_id = (SELECT id FROM clearing_runs` + ofSecond + `)`,
		[]audit.Kind{audit.LineMissing, audit.RunHash, audit.RunTotals, audit.StatementDiffers}},
	{"a line not done", "clearing_lines", `UPDATE clearing_lines SET outcome = ''` + lineSent, []audit.Kind{audit.InstructionDiffers, audit.LineResult, audit.StatementDiffers}},
	{"a line carried after all", "clearing_lines", `UPDATE clearing_lines SET outcome = 'carried'` + lineSent, []audit.Kind{audit.InstructionDiffers, audit.StatementDiffers}},
	{"an order raised", "clearing_instructions", `UPDATE clearing_instructions SET amount = amount + 1` + sent,
		[]audit.Kind{audit.AccountEvidence, audit.InstructionDiffers, audit.InstructionState, audit.TransferDiffers}},
	{"an order removed", "clearing_instructions", `DELETE FROM clearing_instructions` + sent,
		[]audit.Kind{audit.AccountEvidence, audit.InstructionDiffers, audit.TransferUnexplained}},
	{"an order doubled", "clearing_instructions", `INSERT INTO clearing_instructions (end_to_end, run_id, number, direction, kind, party, account, currency, amount, fee,
		destination, method, state, sent) SELECT 'f' || SUBSTR(end_to_end, 2, 30) || 'x', run_id, number + 1000, direction, kind, party, account, currency, amount, fee,
		destination, method, state, sent FROM clearing_instructions` + sent,
		[]audit.Kind{audit.AccountEvidence, audit.InstructionDiffers, audit.InstructionState, audit.TransferMissing}},
	{"an order booked without the bank", "clearing_instructions", `UPDATE clearing_instructions SET state = 'booked'` + sent,
		[]audit.Kind{audit.AccountEvidence, audit.InstructionState}},
	{"a payout of more", "clearing_lines", `UPDATE clearing_lines SET gross = gross + 1 WHERE kind = 'account-payout' AND run_id = (SELECT id FROM clearing_runs` + ofSecond + `)`,
		[]audit.Kind{audit.LineFee, audit.LinePosition, audit.RunHash, audit.RunTotals}},
	{"a trial balance", "clearing_balances", `UPDATE clearing_balances SET balance = balance + 1 WHERE class = 'broker:fees'`, []audit.Kind{audit.TrialBalance}},
	{"what is set aside", "transfers", `UPDATE transfers SET amount = amount + 1 WHERE kind = 'settlement-payout' AND debit = 'vendor:@shop:payable'`,
		[]audit.Kind{audit.AccountEvidence, audit.AccountPending, audit.InstructionState, audit.LinePosition, audit.TransferDiffers}},
	{"what was set aside before", "transfers", `UPDATE transfers SET amount = amount - 1 WHERE kind = 'redeem' AND reference = '@reserved' AND seq = (SELECT MIN(seq) FROM transfers WHERE kind = 'redeem')`,
		[]audit.Kind{audit.AccountBalance, audit.AccountEvidence, audit.CommitmentTransfers, audit.DaySum, audit.EvidenceDiffers, audit.LinePosition}},
}

var tamperedStatements = []tampering{
	{"evidence of more", "clearing_evidence", `UPDATE clearing_evidence SET amount = amount + 1 WHERE commitment = '@closed'`,
		[]audit.Kind{audit.EvidenceDiffers, audit.StatementDiffers}},
	{"evidence of less in all", "clearing_evidence", `UPDATE clearing_evidence SET paid = paid - 1 WHERE commitment = '@closed'`,
		[]audit.Kind{audit.EvidenceDiffers, audit.StatementDiffers}},
	{"evidence of another user", "clearing_evidence", `UPDATE clearing_evidence SET account = '@other' WHERE commitment = '@closed'`,
		[]audit.Kind{audit.EvidenceDiffers, audit.StatementDiffers}},
	{"evidence that proves nothing", "clearing_evidence", `UPDATE clearing_evidence SET tails = (SELECT SUBSTR(tails, 1, 36) FROM broker_commitments
		WHERE id = '@reserved') WHERE commitment = '@closed'`, []audit.Kind{audit.ClaimUnproved, audit.StatementDiffers, audit.TailForged}},
	{"evidence with another claim", "clearing_evidence", `UPDATE clearing_evidence SET claim = (SELECT claim FROM broker_commitments
		WHERE id = '@open') WHERE commitment = '@closed'`, []audit.Kind{audit.ClaimDiffers, audit.ClaimUnsigned, audit.StatementDiffers}},
	{"evidence removed", "clearing_evidence", `DELETE FROM clearing_evidence WHERE commitment = '@closed'`,
		[]audit.Kind{audit.EvidenceDiffers, audit.StatementDiffers}},
	{"another statement", "clearing_statements", `UPDATE clearing_statements SET digest = (SELECT root FROM clearing_days WHERE number = 1) WHERE number = 0`,
		[]audit.Kind{audit.DayDiffers, audit.StatementDiffers}},
	{"a statement of another", "clearing_statements", `UPDATE clearing_statements SET party = 'x' WHERE number = 0`, []audit.Kind{audit.StatementDiffers}},
	{"a statement removed", "clearing_statements", `DELETE FROM clearing_statements WHERE number = 0`, []audit.Kind{audit.DayDiffers, audit.StatementDiffers}},
	{"another root", "clearing_days", `UPDATE clearing_days SET root = (SELECT digest FROM clearing_statements s JOIN clearing_runs r ON r.id = s.run_id WHERE s.number = 1 AND r.fee_rule = 'tiers/1') WHERE number = 1`, []audit.Kind{audit.DayDiffers}},
	{"fewer leaves", "clearing_days", `UPDATE clearing_days SET leaves = leaves - 1 WHERE number = 1`, []audit.Kind{audit.DayDiffers}},
	{"the first day removed", "clearing_days", `DELETE FROM clearing_days WHERE number = 1`, []audit.Kind{audit.DayDiffers}},
	{"another chain of days", "clearing_days", `UPDATE clearing_days SET previous = '' WHERE number = 2`, []audit.Kind{audit.DayDiffers}},
	{"a day with another signature", "clearing_days", `UPDATE clearing_days SET token = SUBSTR(token, 1, LENGTH(token) - 20) || 'AAAAAAAAAAAAAAAAAAAA' WHERE number = 2`,
		[]audit.Kind{audit.DayUnsigned}},
	{"a day that is none", "clearing_days", `UPDATE clearing_days SET token = 'x' WHERE number = 2`, []audit.Kind{audit.DayDiffers}},
}
