package audit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing/audit"
	"github.com/paywordhq/payword/internal/dbtest"
)

// tampering is something that somebody does who can write to the database.
type tampering struct {
	name  string
	table string // that it changes
	sql   string
	want  []audit.Kind // exactly what is to be found
}

// kinds returns the kinds of findings, each once, sorted.
func kinds(report audit.Report) (found []audit.Kind) {
	for _, f := range report.Findings {
		found = append(found, f.Kind)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// wantFound does each of the tamperings by itself, and undoes it before the next
// one. On PostgreSQL it does as many as find something of each kind: it is the
// same code that looks.
func (b *bank) wantFound(t *testing.T, all []tampering) {
	saved, known, undo := make(map[string]bool), make(map[audit.Kind]bool), ""
	restore := "DELETE FROM %T; INSERT INTO %T SELECT * FROM saved_%T; "
	if dbtest.IsPostgreSQL() {
		restore = "DELETE FROM %T; INSERT INTO %T OVERRIDING SYSTEM VALUE SELECT * FROM saved_%T; "
	}
	for _, c := range all {
		isNew := slices.ContainsFunc(c.want, func(kind audit.Kind) bool { return !known[kind] })
		if dbtest.IsPostgreSQL() && !isNew {
			continue
		}
		for _, kind := range c.want {
			known[kind] = true
		}
		t.Run(c.name, func(t *testing.T) {
			of := func(sql string) string { return strings.ReplaceAll(sql, "%T", c.table) }
			save := ""
			if !saved[c.table] {
				save, saved[c.table] = of("CREATE TABLE saved_%T AS SELECT * FROM %T; "), true
			}
			dbtest.Tamper(t, b.database, undo+save+c.sql)
			undo = of(restore)
			report := b.audit()
			if got := kinds(report); !slices.Equal(got, c.want) {
				t.Errorf("%s: found %v, want %v", c.sql, got, c.want)
				for _, f := range report.Findings {
					t.Logf("%+v", f)
				}
			}
		})
	}
	dbtest.Tamper(t, b.database, undo)
	b.wantClean()
}

// Whatever somebody changes in the tables of the ledger and the broker is found,
// and nothing else.
func TestTamperedBooks(t *testing.T) {
	w := newTown(t)
	put := strings.NewReplacer(
		"@reserved", w.reserved.m.ID.String(), "@closed", w.closed.m.ID.String(), "@open", w.open.m.ID.String(), "@twice", w.twice.m.ID.String(),
		"@user", w.user.account, "@other", w.other.account, "@agent", w.agent.account, "@shop", w.shop.origin, "@second", w.second.origin).Replace
	var all []tampering
	for _, c := range slices.Concat(tamperedLedger, tamperedEvidence, tamperedRecords, tamperedRuns, tamperedStatements, tamperedBank) {
		c.sql = put(c.sql)
		all = append(all, c)
	}
	w.wantFound(t, all)
}

// What does not fit into memory is summed in several passes over the journal, and
// comes to the same: every finding once.
func TestSeveralPasses(t *testing.T) {
	w := newTown(t)
	whole := w.wantClean()
	undo := audit.SetEntriesPerPass(9)
	defer undo()
	if parts := w.wantClean(); parts.Looked != whole.Looked {
		t.Errorf("it looked at %+v, in one pass at %+v", parts.Looked, whole.Looked)
	}
	for _, change := range []string{
		`UPDATE accounts SET balance = balance + 1 WHERE id = 'user:` + w.user.account + `:available'`,
		`UPDATE transfers SET amount = amount - 1 WHERE kind = 'redeem' AND reference = '` + w.reserved.m.ID.String() + `' AND amount = 30000`,
		`UPDATE transfers SET debit = credit WHERE kind = 'payout-return'`,
	} {
		dbtest.Tamper(t, w.database, change)
		parts := w.audit()
		undo()
		whole := w.audit()
		undo = audit.SetEntriesPerPass(9)
		if whole.Clean() || !slices.Equal(parts.Findings, whole.Findings) {
			t.Errorf("%s: found %v, in one pass %v", change, parts.Findings, whole.Findings)
		}
	}
}

const (
	setCommitment = `UPDATE broker_commitments SET `
	ofReserved    = ` WHERE id = '@reserved'`
)

var tamperedLedger = []tampering{
	{"a balance raised", "accounts", `UPDATE accounts SET balance = balance + 1 WHERE id = 'user:@user:available'`,
		[]audit.Kind{audit.AccountBalance, audit.CurrencySum}},
	{"two balances swapped", "accounts", `UPDATE accounts SET balance = balance + CASE id WHEN 'vendor:@shop:payable' THEN 5 ELSE -5 END
		WHERE id IN ('vendor:@shop:payable', 'vendor:@second:payable')`, []audit.Kind{audit.AccountBalance}},
	{"a promise forgotten", "accounts", `UPDATE accounts SET pending = 0 WHERE id = 'user:@user:available'`, []audit.Kind{audit.AccountPending}},
	{"a floor raised", "accounts", `UPDATE accounts SET floor = 900000000 WHERE id = 'user:@user:available'`, []audit.Kind{audit.AccountFloor}},
	{"a floor for what is reserved", "accounts", `UPDATE accounts SET floor = -5 WHERE id = 'user:@user:reserved'`, []audit.Kind{audit.AccountFloor}},
	{"an account of another currency", "accounts", `UPDATE accounts SET currency = 'usd-micro' WHERE id = 'vendor:@shop:payable'`,
		[]audit.Kind{audit.CurrencySum, audit.TransferImpossible}},
	{"an account removed", "accounts", `DELETE FROM accounts WHERE id = 'vendor:@shop:payable'`,
		[]audit.Kind{audit.AccountUnknown, audit.CurrencySum, audit.TransferImpossible}},
	{"an account of nobody", "accounts", `INSERT INTO accounts (id, currency, floor, created) VALUES ('user:nobody:available', 'usd-micro', 0, 0)`,
		[]audit.Kind{audit.AccountUnknown}},
	{"an account of no use", "accounts", `INSERT INTO accounts (id, currency, floor, created) VALUES ('slush', 'usd-micro', 0, 0)`,
		[]audit.Kind{audit.AccountUnknown}},
	{"an account of no vendor", "accounts", `INSERT INTO accounts (id, currency, floor, created) VALUES ('vendor:https://x.example:payable', 'usd-micro', 0, 0)`,
		[]audit.Kind{audit.AccountUnknown}},
	{"a payment raised", "transfers", `UPDATE transfers SET amount = amount + 1 WHERE kind = 'redeem' AND reference = '@closed'`,
		[]audit.Kind{audit.AccountBalance, audit.AccountEvidence, audit.CommitmentTransfers, audit.DaySum, audit.EvidenceDiffers, audit.LinePosition}},
	{"a payment to another vendor", "transfers", `UPDATE transfers SET credit = 'vendor:@second:payable' WHERE kind = 'redeem' AND reference = '@closed'`,
		[]audit.Kind{audit.AccountBalance, audit.AccountEvidence, audit.CommitmentTransfers, audit.DaySum, audit.EvidenceDiffers, audit.LinePosition}},
	{"a payment by another user", "transfers", `UPDATE transfers SET debit = 'user:@other:reserved' WHERE kind = 'redeem' AND reference = '@closed'`,
		[]audit.Kind{audit.AccountBalance, audit.AccountEvidence, audit.AccountFloor, audit.CommitmentTransfers}},
	{"a payment for nothing", "transfers", `UPDATE transfers SET reference = 'nothing' WHERE kind = 'redeem' AND reference = '@closed'`,
		[]audit.Kind{audit.CommitmentTransfers, audit.EvidenceDiffers, audit.TransferUnexplained}},
	{"a payment deleted", "transfers", `DELETE FROM transfers WHERE kind = 'redeem' AND reference = '@closed'`,
		[]audit.Kind{audit.AccountBalance, audit.AccountEvidence, audit.CommitmentTransfers, audit.DaySum, audit.EvidenceDiffers, audit.LinePosition}},
	{"a payment of another kind", "transfers", `UPDATE transfers SET kind = 'gift' WHERE kind = 'redeem' AND reference = '@closed'`,
		[]audit.Kind{audit.CommitmentTransfers, audit.EvidenceDiffers, audit.TransferUnexplained}},
	{"a payment at another time", "transfers", `UPDATE transfers SET created = created - 86400000000 WHERE kind = 'redeem' AND reference = '@closed'`,
		[]audit.Kind{audit.DaySum}},
	{"money from nowhere", "transfers", `INSERT INTO transfers (id, phase, debit, credit, amount, currency, kind, reference, expires, created)
		VALUES ('fund/x', 'single', 'broker:bank:in', 'user:@user:available', 7, 'eur-micro', 'fund', '', 0, 1700000000000000)`,
		[]audit.Kind{audit.AccountBalance, audit.AccountEvidence, audit.TransferUnexplained}},
	{"money between strangers", "transfers", `INSERT INTO transfers (id, phase, debit, credit, amount, currency, kind, reference, expires, created)
		VALUES ('sub-account/x', 'single', 'user:@user:available', 'user:@other:available', 7, 'eur-micro', 'sub-account', '', 0, 1700000000000000)`,
		[]audit.Kind{audit.AccountBalance, audit.TransferUnexplained}},
	{"a payout to itself", "transfers", `UPDATE transfers SET credit = debit WHERE id = 'payout/week-47'`,
		[]audit.Kind{audit.AccountBalance, audit.DaySum, audit.LinePosition, audit.TransferDiffers, audit.TransferImpossible, audit.TransferUnexplained}},
	{"a payout ended twice", "transfers", `INSERT INTO transfers (id, phase, pending_id, debit, credit, amount, currency, kind, reference, expires, created)
		SELECT 'again', phase, 'payout/week-47', debit, credit, amount, currency, kind, reference, expires, created FROM transfers WHERE id = 'account-payout/@user/paid/paid'`,
		[]audit.Kind{audit.AccountBalance, audit.AccountEvidence, audit.TransferImpossible}},
	{"a payout never ended", "transfers", `DELETE FROM transfers WHERE id = 'account-payout/@user/refused/refused'`,
		[]audit.Kind{audit.AccountEvidence, audit.AccountPending, audit.TransferMissing}},
	{"a payout ended otherwise", "transfers", `UPDATE transfers SET phase = 'post' WHERE id = 'account-payout/@user/refused/refused'`,
		[]audit.Kind{audit.AccountBalance, audit.AccountEvidence, audit.DaySum, audit.TransferDiffers}},
	{"more ended than was pending", "transfers", `UPDATE transfers SET amount = amount + 1 WHERE id = 'account-payout/@user/refused/refused'`,
		[]audit.Kind{audit.TransferDiffers, audit.TransferImpossible}},
}

var tamperedEvidence = []tampering{
	{"more paid than claimed", "broker_commitments", setCommitment + `paid = paid + 1, held = held - 1` + ofReserved,
		[]audit.Kind{audit.AccountEvidence, audit.CommitmentTransfers, audit.PaidDiffers}},
	{"a commitment of another user", "broker_commitments", setCommitment + `token = (SELECT token FROM broker_commitments WHERE id = '@closed')` + ofReserved,
		[]audit.Kind{audit.ClaimUnproved, audit.CommitmentMalformed, audit.ReservationDiffers, audit.RootReused, audit.StatementDiffers, audit.TailForged}},
	{"a commitment with another signature", "broker_commitments", setCommitment + `token = SUBSTR(token, 1, LENGTH(token) - 20) || 'AAAAAAAAAAAAAAAAAAAA'` + ofReserved,
		[]audit.Kind{audit.CommitmentMalformed, audit.CommitmentUnsigned, audit.ReservationDiffers, audit.StatementDiffers}},
	{"a commitment that is none", "broker_commitments", setCommitment + `token = 'x'` + ofReserved, []audit.Kind{audit.CommitmentMalformed, audit.StatementDiffers}},
	{"a commitment paid by another", "broker_commitments", setCommitment + `account = '@other'` + ofReserved,
		[]audit.Kind{audit.AccountEvidence, audit.CommitmentOwner, audit.CommitmentTransfers, audit.EvidenceDiffers, audit.RootReused}},
	{"a commitment to another", "broker_commitments", setCommitment + `vendor = '@second'` + ofReserved,
		[]audit.Kind{audit.AccountEvidence, audit.CommitmentRow, audit.CommitmentTransfers}},
	{"a commitment removed", "broker_commitments", `DELETE FROM broker_commitments` + ofReserved,
		[]audit.Kind{audit.AccountEvidence, audit.EvidenceDiffers, audit.StatementDiffers, audit.TransferUnexplained}},
	{"a reservation raised", "broker_commitments", setCommitment + `reserved = reserved + 1, held = held + 1` + ofReserved,
		[]audit.Kind{audit.AccountEvidence, audit.CommitmentTransfers, audit.ReservationDiffers}},
	{"a reservation without the broker's word", "broker_commitments", setCommitment + `reservation = ''` + ofReserved,
		[]audit.Kind{audit.ReservationUnsigned}},
	{"a reservation of another", "broker_commitments", setCommitment + `reservation = (SELECT reservation FROM broker_commitments WHERE id = '@closed')` + ofReserved,
		[]audit.Kind{audit.ReservationDiffers}},
	{"a reservation that never was", "broker_commitments", setCommitment + `sequence = 0` + ofReserved,
		[]audit.Kind{audit.HeldDiffers, audit.ReservationDiffers}},
	{"claims paid for longer", "broker_commitments", setCommitment + `redeem_by = redeem_by + 1` + ofReserved, []audit.Kind{audit.ReservationDiffers}},
	{"a raise on another day", "broker_commitments", setCommitment + `day = day + 1` + ofReserved, []audit.Kind{audit.ReservationDiffers}},
	{"less set aside", "broker_commitments", setCommitment + `held = held - 1` + ofReserved,
		[]audit.Kind{audit.AccountEvidence, audit.CommitmentTransfers, audit.HeldDiffers}},
	{"closed and set aside", "broker_commitments", setCommitment + `closed = 1` + ofReserved, []audit.Kind{audit.HeldDiffers}},
	{"a tail swapped", "broker_commitments", setCommitment + `tails = (SELECT tails FROM broker_commitments WHERE id = '@closed')` + ofReserved,
		[]audit.Kind{audit.ClaimUnproved, audit.TailForged}},
	{"tails forgotten", "broker_commitments", setCommitment + `tails = SUBSTR(tails, 1, 36)` + ofReserved, []audit.Kind{audit.ClaimUnproved, audit.TailForged}},
	{"a claim on another", "broker_commitments", setCommitment + `claim = (SELECT claim FROM broker_commitments WHERE id = '@closed')` + ofReserved,
		[]audit.Kind{audit.AccountEvidence, audit.ClaimDiffers, audit.PaidDiffers, audit.TailForged}},
	{"a claim by another", "broker_commitments", setCommitment + `claim = (SELECT claim FROM broker_commitments WHERE id = '@open')` + ofReserved,
		[]audit.Kind{audit.AccountEvidence, audit.ClaimDiffers, audit.ClaimUnsigned, audit.PaidDiffers}},
	{"a claim with another signature", "broker_commitments", setCommitment + `claim = SUBSTR(claim, 1, LENGTH(claim) - 20) || 'AAAAAAAAAAAAAAAAAAAA'` + ofReserved,
		[]audit.Kind{audit.ClaimUnsigned}},
	{"a claim lost", "broker_commitments", setCommitment + `claim = ''` + ofReserved, []audit.Kind{audit.AccountEvidence, audit.PaidDiffers}},
	{"a claim that is none", "broker_commitments", setCommitment + `claim = 'x.y.z'` + ofReserved, []audit.Kind{audit.AccountEvidence, audit.ClaimUnsigned}},
	{"a fraud hidden", "broker_frauds", `DELETE FROM broker_frauds`, []audit.Kind{audit.RootReused}},
	{"a fraud that is none", "broker_frauds", `UPDATE broker_frauds SET earlier = '@closed'`, []audit.Kind{audit.FraudUnfounded, audit.RootReused}},
	{"a root forgotten", "broker_roots", `DELETE FROM broker_roots WHERE commitment = '@reserved'`, []audit.Kind{audit.RootReused}},
	{"a pseudonym of another", "broker_certificates", `UPDATE broker_certificates SET account = '@agent' WHERE account = '@other'`, []audit.Kind{audit.CommitmentOwner}},
	{"the broker's key gone", "broker_keys", `DELETE FROM broker_keys`, []audit.Kind{audit.CertificateUnsigned, audit.ReservationUnsigned}},
	{"a vendor's key gone", "broker_vendor_keys", `DELETE FROM broker_vendor_keys WHERE vendor = '@second'`, []audit.Kind{audit.ClaimUnsigned}},
}

var tamperedRecords = []tampering{
	{"a payment in raised", "broker_fundings", `UPDATE broker_fundings SET amount = amount + 1 WHERE seq = 1`,
		[]audit.Kind{audit.AccountEvidence, audit.TransferDiffers}},
	{"a payment in forgotten", "broker_fundings", `DELETE FROM broker_fundings WHERE seq = 1`,
		[]audit.Kind{audit.AccountEvidence, audit.TransferUnexplained}},
	{"a payment in of another", "broker_fundings", `UPDATE broker_fundings SET account = '@other' WHERE seq = 1`, []audit.Kind{audit.AccountEvidence}},
	{"a payment in made up", "broker_fundings", `INSERT INTO broker_fundings (source, id, payment, named, account, debit, amount, currency, reversed, version, created)
		VALUES ('bank', 'x', '', '@user', '@user', 'broker:bank:in', 5, 'eur-micro', 0, 1, 0)`, []audit.Kind{audit.AccountEvidence, audit.TransferMissing}},
	{"more sent back", "broker_fundings", `UPDATE broker_fundings SET reversed = reversed + 1 WHERE seq = 3`,
		[]audit.Kind{audit.AccountEvidence, audit.ReversedDiffers}},
	{"a voucher raised", "broker_vouchers", `UPDATE broker_vouchers SET amount = amount + 1 WHERE state = 'redeemed' AND batch = 'spring'`,
		[]audit.Kind{audit.AccountEvidence, audit.TransferDiffers}},
	{"a voucher open again", "broker_vouchers", `UPDATE broker_vouchers SET state = 'open' WHERE state = 'redeemed' AND batch = 'spring'`,
		[]audit.Kind{audit.AccountEvidence, audit.TransferUnexplained}},
	{"a voucher of another", "broker_vouchers", `UPDATE broker_vouchers SET account = '@user' WHERE state = 'redeemed' AND batch = 'spring'`,
		[]audit.Kind{audit.AccountEvidence, audit.TransferDiffers}},
	{"a batch of more", "broker_voucher_batches", `UPDATE broker_voucher_batches SET count = count + 1 WHERE id = 'spring'`,
		[]audit.Kind{audit.TransferDiffers}},
	{"a payout raised", "broker_payouts", `UPDATE broker_payouts SET amount = amount + 1 WHERE id = 'paid'`,
		[]audit.Kind{audit.AccountEvidence, audit.TransferDiffers}},
	{"a payout that waits again", "broker_payouts", `UPDATE broker_payouts SET state = 'pending' WHERE id = 'paid'`, []audit.Kind{audit.AccountEvidence}},
	{"a payout forgotten", "broker_payouts", `DELETE FROM broker_payouts WHERE id = 'waits'`, []audit.Kind{audit.AccountEvidence, audit.OutcomeDiffers, audit.TransferUnexplained}},
	{"a vendor's payout forgotten", "broker_vendor_payouts", `DELETE FROM broker_vendor_payouts`, []audit.Kind{audit.TransferUnexplained}},
	{"a debt forgiven", "broker_debts", `UPDATE broker_debts SET open = 0`, []audit.Kind{audit.AccountState}},
	{"an account closed", "broker_accounts", `UPDATE broker_accounts SET state = 'closed' WHERE id = '@user'`, []audit.Kind{audit.AccountState}},
	{"an account of another parent", "broker_accounts", `UPDATE broker_accounts SET parent = '@other' WHERE id = '@agent'`, []audit.Kind{audit.TransferUnexplained}},
	{"a vendor removed", "broker_vendors", `DELETE FROM broker_vendors WHERE vendor = '@second'`, []audit.Kind{audit.AccountUnknown}},
	{"a day's sum changed", "broker_sums", `UPDATE broker_sums SET amount = amount + 1 WHERE day = 0 AND debit = 'broker:bank:in'`, []audit.Kind{audit.DaySum}},
	{"a day's sum removed", "broker_sums", `DELETE FROM broker_sums WHERE day > 0`, []audit.Kind{audit.DaySum}},
	{"a vendor's day changed", "broker_vendor_sums", `UPDATE broker_vendor_sums SET paid_out = paid_out + 1 WHERE account = 'vendor:@shop:payable'`, []audit.Kind{audit.DaySum}},
	{"a vendor's day removed", "broker_vendor_sums", `DELETE FROM broker_vendor_sums`, []audit.Kind{audit.DaySum}},
}
