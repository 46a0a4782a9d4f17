package audit

import (
	"context"
	"strconv"
)

// pair is a table whose rows each record one transfer of a kind.
type pair struct {
	what string // a row, in words
	kind string // of the transfers
	// rows is a query for id, phase, debit, credit ('' is not known) and amount
	// (-1 is not known) of the transfer that each row records.
	rows string
	// isOptional says that a row may be without a transfer.
	isOptional bool
	// table is one that need not be there, or "".
	table string
}

var pairs = []pair{
	{"the payment that came in", "fund", `SELECT CASE source WHEN 'bank' THEN 'fund/' || id ELSE 'fund/' || source || '/' || id END AS id,
		'single' AS phase, debit, '' AS credit, amount FROM broker_fundings`, false, ""},
	{"the payment that was assigned", "assign", `SELECT 'assign/' || CAST(seq AS TEXT) AS id, 'single' AS phase, '' AS debit,
		'user:' || account || ':available' AS credit, -1 AS amount FROM broker_fundings WHERE account <> ''`, true, ""},
	{"the batch of vouchers", "voucher", `SELECT 'vouchers/' || id AS id, 'single' AS phase, 'broker:vouchers:in' AS debit,
			'broker:vouchers:open' AS credit, amount * count AS amount FROM broker_voucher_batches
		UNION ALL SELECT 'vouchers/' || batch || '/cancelled', 'single', 'broker:vouchers:open', 'broker:vouchers:in', CAST(SUM(amount) AS BIGINT)
			FROM broker_vouchers WHERE state = 'cancelled' GROUP BY batch
		UNION ALL SELECT 'voucher/' || id, 'single', 'broker:vouchers:open', 'user:' || account || ':available', amount
			FROM broker_vouchers WHERE state = 'redeemed'
		UNION ALL SELECT 'voucher/' || id || '/expired', 'single', 'broker:vouchers:open', 'broker:vouchers:expired', amount
			FROM broker_vouchers WHERE state = 'expired'`, false, ""},
	{"the payout that was asked for", "payout", `SELECT 'account-payout/' || account || '/' || id AS id, 'pending' AS phase,
		'user:' || account || ':available' AS debit, 'broker:bank:out' AS credit, amount FROM broker_payouts`, false, ""},
	{"the payout that has ended", "", `SELECT 'account-payout/' || account || '/' || id || '/' || state AS id,
		CASE state WHEN 'paid' THEN 'post' ELSE 'void' END AS phase, 'user:' || account || ':available' AS debit,
		'broker:bank:out' AS credit, amount FROM broker_payouts WHERE state IN ('paid', 'refused')`, false, ""},
	{"the payout that came back", "payout-return", `SELECT 'account-payout/' || account || '/' || id || '/returned' AS id, 'single' AS phase,
		'broker:bank:out' AS debit, 'user:' || account || ':available' AS credit, amount
		FROM broker_outcomes WHERE kind = 'payout-returned' AND state = 'applied'`, false, "broker_outcomes"},
	{"the payout to a vendor", "vendor-payout", `SELECT 'payout/' || id AS id, 'single' AS phase, 'vendor:' || vendor || ':payable' AS debit,
		'broker:bank:out' AS credit, -1 AS amount FROM broker_vendor_payouts`, false, ""},
	{"the fee of a payout to a vendor", "vendor-fee", `SELECT 'payout/' || id || '/fee' AS id, 'single' AS phase,
		'vendor:' || vendor || ':payable' AS debit, 'broker:fees' AS credit, -1 AS amount FROM broker_vendor_payouts`, true, ""},
	{"what the run pays", "settlement-payout", settled("", "amount", "bank_account", false), false, "clearing_instructions"},
	{"the fee of what the run pays", "settlement-fee", settled("/fee", "fee", "fees_account", false), false, "clearing_instructions"},
	{"what came back", "settlement-return", settled("", "amount", "bank_account", true), false, "clearing_instructions"},
	{"the fee of what came back", "settlement-fee-return", settled("/fee", "fee", "fees_account", true), false, "clearing_instructions"},
	{"what is kept for refunds", "refund-reserve", `SELECT 'reserve/' || end_to_end AS id, 'single' AS phase, 'broker:provisions' AS debit,
			'broker:reserve:refunds' AS credit, amount FROM clearing_reserves
		UNION ALL SELECT 'reserve/' || end_to_end || '/released', 'single', 'broker:reserve:refunds', 'broker:provisions', amount
			FROM clearing_reserves WHERE state = 'released'
		UNION ALL SELECT 'reserve/' || end_to_end || '/used', 'single', 'broker:reserve:refunds', 'broker:reserve:used', amount
			FROM clearing_reserves WHERE state = 'used'`, false, "clearing_reserves"},
}

// settled is SQL for the transfers of a run: what is set aside for an order to the
// bank, or what came back of it.
func settled(suffix, amount, account string, isBack bool) string {
	columns, state := `'settle/' || i.end_to_end || '`+suffix+`' AS id, 'pending' AS phase, i.account AS debit, r.`+account+` AS credit`, ``
	if isBack {
		columns = `'settle/' || i.end_to_end || '` + suffix + `/returned' AS id, 'single' AS phase, r.` + account + ` AS debit, i.account AS credit`
		state = ` AND i.state = 'returned'`
	}
	return `SELECT ` + columns + `, i.` + amount + ` AS amount FROM clearing_instructions i JOIN clearing_runs r ON r.id = i.run_id
		WHERE i.kind IN ('vendor', 'merchant') AND i.` + amount + ` > 0` + state
}

// checkPayments compares what came in and went out with the transfers that
// booked it, one by one and both ways.
func (a *auditor) checkPayments(ctx context.Context) error {
	for _, p := range pairs {
		if p.table != "" && !a.snapshot.tables[p.table] {
			continue
		}
		if err := a.checkPair(ctx, p); err != nil {
			return err
		}
	}
	if err := a.checkReversed(ctx); err != nil || !a.snapshot.tables["broker_outcomes"] {
		return err
	}
	return a.checkOutcomes(ctx)
}

// checkOutcomes checks that what the bank said of an account was done, where it
// is marked so.
func (a *auditor) checkOutcomes(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var seq, amount, payoutAmount, funded int64
		var kind, account, id, payoutState, fundedAccount, named string
		if err := scan(&seq, &kind, &account, &id, &amount, &payoutState, &payoutAmount, &fundedAccount, &named, &funded); err != nil {
			return err
		}
		a.looked.Payments++
		isDone := true
		switch kind {
		case "payout-paid", "payout-returned":
			isDone = payoutState == "paid" && payoutAmount == amount
		case "payout-refused":
			isDone = payoutState == "refused" && payoutAmount == amount
		case "debit-collected":
			isDone = funded == amount && named == account && (fundedAccount == account || fundedAccount == "")
		}
		if !isDone {
			a.find(OutcomeDiffers, "outcome "+strconv.FormatInt(seq, 10), kind+" of "+micros(amount)+" for account "+account+", "+id,
				"it is marked as done, and nothing like it is")
		}
		return nil
	}, `SELECT o.seq, o.kind, o.account, o.id, o.amount, COALESCE(p.state, ''), COALESCE(p.amount, 0),
			COALESCE(f.account, '?'), COALESCE(f.named, '?'), COALESCE(f.amount, 0)
		FROM broker_outcomes o LEFT JOIN broker_payouts p ON p.account = o.account AND p.id = o.id
		LEFT JOIN broker_fundings f ON f.source = 'direct-debit' AND f.id = o.id WHERE o.state = 'applied' AND o.kind <> 'debit-returned'`)
}

func (a *auditor) checkPair(ctx context.Context, p pair) error {
	matched := int64(0)
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var want, got transferRow
		if err := scan(&want.id, &want.phase, &want.debit, &want.credit, &want.amount,
			&got.phase, &got.debit, &got.credit, &got.amount, &got.kind); err != nil {
			return err
		}
		a.looked.Payments++
		if got.phase == "" {
			if !p.isOptional {
				a.find(TransferMissing, want.id, p.what+" is of "+micros(want.amount), "there is no such transfer")
			}
			return nil
		}
		if p.kind == got.kind {
			matched++
		}
		isLike := want.phase == got.phase && (want.amount == got.amount || want.amount < 0) && (p.kind == got.kind || p.kind == "") &&
			(want.debit == got.debit || want.debit == "") && (want.credit == got.credit || want.credit == "")
		if !isLike {
			a.find(TransferDiffers, want.id, p.what+": "+transferText(&want), transferText(&got))
		}
		return nil
	}, `SELECT e.id, e.phase, e.debit, e.credit, e.amount, COALESCE(t.phase, ''), COALESCE(t.debit, ''), COALESCE(t.credit, ''), COALESCE(t.amount, 0),
		COALESCE(t.kind, '') FROM (`+p.rows+`) e LEFT JOIN transfers t ON t.id = e.id`)
	if err != nil || p.kind == "" || matched == a.journal.kinds[p.kind] {
		return err
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var id string
		err := scan(&id)
		a.find(TransferUnexplained, id, "nothing is recorded that it is for", "it is there")
		return err
	}, `SELECT id FROM transfers WHERE kind = ? AND phase IN ('single', 'pending') EXCEPT SELECT id FROM (`+p.rows+`) e`, p.kind)
}

// checkReversed compares what went back of each payment with the transfers.
func (a *auditor) checkReversed(ctx context.Context) error {
	left := a.journal.reversed
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var id string
		var seq, amount, reversed int64
		if err := scan(&id, &seq, &amount, &reversed); err != nil {
			return err
		}
		got := left[id]
		delete(left, id)
		if !got.is(reversed) || reversed < 0 || reversed > amount {
			a.find(ReversedDiffers, "funding "+strconv.FormatInt(seq, 10), "of "+micros(amount)+", "+micros(reversed)+" went back",
				"its transfers took "+got.String()+" micros back")
		}
		return nil
	}, `SELECT CASE source WHEN 'bank' THEN 'fund/' || id ELSE 'fund/' || source || '/' || id END, seq, amount, reversed FROM broker_fundings`)
	for reference, got := range left {
		a.find(ReversedDiffers, reference, "there is no such payment", got.String()+" micros were taken back from it")
	}
	return err
}

// userIn is SQL for the user that the id of an account names.
func userIn(column string) string {
	return "REPLACE(REPLACE(REPLACE(SUBSTR(" + column + ", 6), ':available', ''), ':reserved', ''), ':owed', '')"
}

// checkParties checks whose the accounts are, who belongs to whom, and who is
// marked as owing.
func (a *auditor) checkParties(ctx context.Context) error {
	for _, look := range []struct {
		kind            Kind
		evidence, books string
		query           string
	}{
		{AccountUnknown, "nobody has such an account", "the ledger does", `SELECT l.id FROM accounts l
			LEFT JOIN broker_accounts a ON a.id = ` + userIn("l.id") + `
			WHERE l.id LIKE 'user:%' AND (a.id IS NULL
				OR l.id NOT IN ('user:' || a.id || ':available', 'user:' || a.id || ':reserved', 'user:' || a.id || ':owed'))`},
		{AccountUnknown, "there is no such vendor", "the ledger has an account of it", `SELECT l.id FROM accounts l
			LEFT JOIN broker_vendors v ON l.id = 'vendor:' || v.vendor || ':payable' AND v.vendor = REPLACE(SUBSTR(l.id, 8), ':payable', '')
			WHERE l.id LIKE 'vendor:%' AND v.vendor IS NULL`},
		{AccountUnknown, "the vendor has it", "the ledger does not", `SELECT v.vendor FROM broker_vendors v
			LEFT JOIN accounts l ON l.id = 'vendor:' || v.vendor || ':payable' WHERE l.id IS NULL`},
		{AccountState, "it is marked as owing, or not", "the ledger says otherwise", `SELECT l.id FROM accounts l
			LEFT JOIN broker_debts d ON d.account = ` + userIn("l.id") + `
			WHERE l.id LIKE 'user:%:owed' AND COALESCE(d.open, 0) <> CASE l.balance WHEN 0 THEN 0 ELSE 1 END`},
		{TransferUnexplained, "neither account belongs to the other", "it moved money between them", `SELECT t.id FROM transfers t
			LEFT JOIN broker_accounts d ON d.id = ` + userIn("t.debit") + `
			LEFT JOIN broker_accounts c ON c.id = ` + userIn("t.credit") + `
			WHERE t.kind = 'sub-account' AND COALESCE(d.parent, '') <> COALESCE(c.id, '?') AND COALESCE(c.parent, '') <> COALESCE(d.id, '?')`},
	} {
		err := a.snapshot.each(ctx, func(scan scanner) error {
			var id string
			err := scan(&id)
			a.find(look.kind, id, look.evidence, look.books)
			return err
		}, look.query)
		if err != nil {
			return err
		}
	}
	return a.checkClasses(ctx)
}

// checkClasses looks for accounts that are of no class at all.
func (a *auditor) checkClasses(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var id string
		err := scan(&id)
		if classOf(id) == "" {
			a.find(AccountUnknown, id, "no evidence is about such an account", "the ledger has it")
		}
		return err
	}, `SELECT id FROM accounts WHERE id NOT LIKE 'user:%' AND id NOT LIKE 'vendor:%'`)
}
