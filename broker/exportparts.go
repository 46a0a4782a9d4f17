package broker

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

// exportPage is how many rows a page of an export has: a commitment with what
// was signed for it takes about 7 KB.
const exportPage = 100

// exportedAccount returns the head of an account's export. It refuses with
// UnknownAccount.
func (s *store) exportedAccount(ctx context.Context, id string) (head exportedAccount, refusal payword.Refusal, err error) {
	refusal, err = s.view(ctx, func(tx *ledger.Tx) error {
		if err := requireDevice(ctx, tx); err != nil {
			return err
		}
		row, err := requireAccount(ctx, tx, id)
		if err != nil {
			return err
		}
		head = exportedAccount{AsOf: tx.Now().Unix(), Parent: row.parent, Name: row.name, Holder: row.holder, Age: row.age,
			Created: row.created / microsPerSecond}
		if head.Account, err = s.accountIn(ctx, tx, id); err != nil {
			return err
		}
		if head.Limits, err = loadLimits(ctx, tx, id); err != nil {
			return err
		}
		head.Closing, err = exportedClosingOf(ctx, tx, id)
		return err
	})
	return head, refusal, err
}

func exportedClosingOf(ctx context.Context, tx *ledger.Tx, account string) (*exportedClosing, error) {
	c, found, err := loadClosing(ctx, tx, account)
	if err != nil || !found {
		return nil, err
	}
	shown := &exportedClosing{Destination: c.destination.shown()}
	err = tx.QueryRowContext(ctx, `SELECT created FROM broker_closings WHERE account = ?`, account).Scan(&shown.Created)
	shown.Created /= microsPerSecond
	return shown, err
}

// exportParts returns the lists of an accountExport in their order.
func (s *store) exportParts(account string) []exportPart {
	balances := &exportedBalances{account: account}
	return []exportPart{
		{"devices", exportDevices(account)},
		{"subAccounts", s.exportSubAccounts(account)},
		{"subAccountSpending", s.exportSpending(account)},
		{"certificates", s.exportPseudonyms(account)},
		{"commitments", s.exportCommitments(account)},
		{"balances", balances.read},
		{"entries", balances.entries(s.exportPage)},
		{"fundings", s.exportFundings(account)},
		{"vouchers", s.exportVouchers(account)},
		{"payouts", s.exportPayouts(account)},
		{"frauds", s.exportFrauds(account)},
		{"auditLog", s.exportLog(account)},
	}
}

// exportReader returns the next page of a part, and whether it is the last one.
// It remembers how far it has come.
type exportReader func(ctx context.Context, tx *ledger.Tx) (items []any, isLast bool, err error)

// selectItems makes an item of each row of a query.
func selectItems(ctx context.Context, tx *ledger.Tx, item func(scan func(target ...any) error) (any, error), query string, arguments ...any) (items []any, err error) {
	rows, err := tx.QueryContext(ctx, query, arguments...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		one, err := item(rows.Scan)
		if err != nil {
			return nil, err
		}
		items = append(items, one)
	}
	return items, rows.Err()
}

func exportDevices(account string) exportReader {
	return func(ctx context.Context, tx *ledger.Tx) (items []any, _ bool, err error) {
		all, err := loadDevices(ctx, tx, account) // at most maxDevicesEver
		for _, d := range all {
			items = append(items, exportedDevice{Device: d.keyID, Key: payword.NewPublicKey(d.key), Name: d.name,
				Created: d.created / microsPerSecond, Removed: d.removed / microsPerSecond})
		}
		return items, true, err
	}
}

func (s *store) exportSubAccounts(parent string) exportReader {
	after := ""
	return func(ctx context.Context, tx *ledger.Tx) (items []any, isLast bool, err error) {
		ids, err := tx.Texts(ctx, `SELECT id FROM broker_accounts WHERE parent = ? AND parent <> '' AND id > ? ORDER BY id LIMIT ?`, parent, after, s.exportPage)
		if err != nil {
			return nil, false, err
		}
		for _, id := range ids {
			row, err := loadAccountRow(ctx, tx, id)
			if err != nil {
				return nil, false, err
			}
			sub, err := s.subAccountIn(ctx, tx, id)
			if err != nil {
				return nil, false, err
			}
			items = append(items, exportedSubAccount{sub, row.created / microsPerSecond})
			after = id
		}
		return items, len(ids) < s.exportPage, nil
	}
}

// exportSpending reads a page of one sub-account at a time. What one bought is
// not its parent's to see.
func (s *store) exportSpending(parent string) exportReader {
	account, after := "", ""
	return func(ctx context.Context, tx *ledger.Tx) (items []any, isLast bool, err error) {
		if after == "" {
			next, err := tx.Texts(ctx, `SELECT id FROM broker_accounts WHERE parent = ? AND parent <> '' AND id > ? ORDER BY id LIMIT 1`, parent, account)
			if err != nil || len(next) == 0 {
				return nil, true, err
			}
			account = next[0]
		}
		l := Listing{After: after, Limit: s.exportPage}
		page, err := vendorSpending(ctx, tx, account, l)
		page, after = cut(page, l, func(v payword.VendorSpending) string { return v.Vendor })
		for _, one := range page {
			items = append(items, exportedSpending{account, one})
		}
		return items, false, err
	}
}

// exportPseudonyms reads pseudonyms and then the certificates of each.
func (s *store) exportPseudonyms(account string) exportReader {
	after := int64(0)
	return func(ctx context.Context, tx *ledger.Tx) ([]any, bool, error) {
		items, err := selectItems(ctx, tx, func(scan func(target ...any) error) (any, error) {
			one := &exportedPseudonym{Certificates: []exportedCertificate{}}
			var prefixes string
			err := scan(&after, &one.Subject, &one.KeyID, &prefixes, &one.Created, &one.Expires, &one.Revoked)
			one.Created /= microsPerSecond
			one.Prefixes = append([]string{}, strings.Fields(prefixes)...)
			return one, err
		}, `SELECT seq, subject, key_id, prefixes, created, expires, revoked FROM broker_certificates
			WHERE account = ? AND seq > ? ORDER BY seq LIMIT ?`, account, after, s.exportPage)
		for _, item := range items {
			if err == nil {
				err = loadCertificatesOf(ctx, tx, item.(*exportedPseudonym))
			}
		}
		return items, len(items) < s.exportPage, err
	}
}

// statusNames are the words of the statuses in hot lists.
var statusNames = []string{"valid", "invalid", "suspended"}

func loadCertificatesOf(ctx context.Context, tx *ledger.Tx, p *exportedPseudonym) error {
	rows, err := tx.QueryContext(ctx, `SELECT certificate, list, place, status, expires FROM broker_statuses
		WHERE subject = ? ORDER BY expires, certificate`, p.Subject)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var one exportedCertificate
		var status int
		if err := rows.Scan(&one.ID, &one.List, &one.Place, &status, &one.Expires); err != nil {
			return err
		}
		one.Status = statusNames[status]
		p.Certificates = append(p.Certificates, one)
	}
	return rows.Err()
}

func (s *store) exportCommitments(account string) exportReader {
	after := int64(0)
	return func(ctx context.Context, tx *ledger.Tx) ([]any, bool, error) {
		items, err := selectItems(ctx, tx, func(scan func(target ...any) error) (any, error) {
			var created int64
			r, err := scanRecord(func(target ...any) error { return scan(append([]any{&after, &created}, target...)...) })
			return exportedCommitmentOf(r, created), err
		}, `SELECT seq, created, `+recordColumns+` FROM broker_commitments WHERE account = ? AND seq > ? ORDER BY seq LIMIT ?`,
			account, after, s.exportPage)
		return items, len(items) < s.exportPage, err
	}
}

func exportedCommitmentOf(r record, created int64) exportedCommitment {
	shown := exportedCommitment{
		ID: r.id.String(), Vendor: r.vendor, Created: created / microsPerSecond, Commitment: r.token, Reservation: r.reservation,
		Claim: r.claim, Reserved: r.reserved, Held: r.held, Paid: r.redeemed.Paid, Sequence: r.sequence, RedeemBy: r.redeemBy,
		RaisedDay: r.day, Tails: []exportedTail{}, Closed: r.closed,
	}
	for k, tail := range r.redeemed.Tails {
		if tail.Index > 0 {
			shown.Tails = append(shown.Tails, exportedTail{k, tail.Index, encodeWord(tail.Payword)})
		}
	}
	return shown
}

// exportedBalances reads the accounts of an account in the ledger, and then
// their entries up to those that were there when the balances were read. Every
// transfer changes its accounts, so that later ones have higher numbers.
type exportedBalances struct {
	account string
	found   []ledgerHistory
}

// ledgerHistory is a ledger account and the number of the last transfer in its
// balance.
type ledgerHistory struct {
	id   string
	last int64
}

func (e *exportedBalances) read(ctx context.Context, tx *ledger.Tx) (items []any, _ bool, err error) {
	accounts, err := tx.Accounts(ctx, "user:"+e.account+":", "", ledger.MaxPage) // available, reserved, owed
	if err != nil {
		return nil, false, err
	}
	for _, a := range accounts {
		history := ledgerHistory{id: a.ID}
		for _, side := range []string{"debit", "credit"} {
			var last int64
			err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) FROM transfers WHERE `+side+` = ?`, a.ID).Scan(&last)
			if err != nil {
				return nil, false, err
			}
			history.last = max(history.last, last)
		}
		e.found = append(e.found, history)
		items = append(items, exportedBalance{a.ID, a.Balance, a.Pending, a.Created.Unix()})
	}
	return items, true, nil
}

func (e *exportedBalances) entries(limit int) exportReader {
	after := int64(0)
	return func(ctx context.Context, tx *ledger.Tx) (items []any, isLast bool, err error) {
		if len(e.found) == 0 {
			return nil, true, nil
		}
		history := e.found[0]
		page, err := tx.Entries(ctx, history.id, after, limit)
		for _, t := range page {
			if t.Seq <= history.last {
				items = append(items, exportedEntryOf(t, history.id))
			}
			after = t.Seq
		}
		if len(page) < limit || after >= history.last {
			e.found, after = e.found[1:], 0
		}
		return items, false, err
	}
}

// exportedEntryOf returns a transfer as one of its two accounts sees it.
func exportedEntryOf(t ledger.Transfer, account string) exportedEntry {
	shown := exportedEntry{
		LedgerAccount: account, Number: t.Seq, Time: t.Created.Unix(), Transfer: t.ID, Phase: string(t.Phase), Ends: t.PendingID,
		Kind: t.Kind, Reference: t.Reference, Other: t.Debit, Credit: t.Amount,
	}
	if t.Debit == account {
		shown.Other, shown.Credit, shown.Debit = t.Credit, 0, t.Amount
	}
	if !t.Expires.IsZero() {
		shown.Expires = t.Expires.Unix()
	}
	return shown
}

func (s *store) exportFundings(account string) exportReader {
	after := int64(0)
	return func(ctx context.Context, tx *ledger.Tx) (items []any, isLast bool, err error) {
		page, err := selectFundings(ctx, tx, `WHERE account = ? AND seq > ? ORDER BY seq LIMIT ?`, account, after, s.exportPage)
		if err != nil {
			return nil, false, err
		}
		for _, f := range page {
			shown := exportedFunding{
				Funding: f.seq, Source: f.source, ID: f.id, Payment: f.payment, Named: f.named, Amount: f.amount, Currency: f.currency,
				Reversed: f.reversed, Reversals: []exportedReversal{}, Created: f.created / microsPerSecond,
			}
			if f.payment != "" {
				if shown.Reversals, err = loadReversalsOf(ctx, tx, f); err != nil {
					return nil, false, err
				}
			}
			items = append(items, shown)
			after = f.seq
		}
		return items, len(page) < s.exportPage, nil
	}
}

func loadReversalsOf(ctx context.Context, tx *ledger.Tx, f fundingRecord) (all []exportedReversal, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, cause, amount, currency, ended, created FROM broker_reversals
		WHERE source = ? AND payment = ? ORDER BY seq`, f.source, f.payment)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all = []exportedReversal{}
	for rows.Next() {
		var one exportedReversal
		if err := rows.Scan(&one.ID, &one.Cause, &one.Amount, &one.Currency, &one.Ended, &one.Created); err != nil {
			return nil, err
		}
		one.Created /= microsPerSecond
		all = append(all, one)
	}
	return all, rows.Err()
}

func (s *store) exportVouchers(account string) exportReader {
	ended, after := int64(0), ""
	return func(ctx context.Context, tx *ledger.Tx) ([]any, bool, error) {
		items, err := selectItems(ctx, tx, func(scan func(target ...any) error) (any, error) {
			var one exportedVoucher
			err := scan(&one.Voucher, &one.Batch, &one.Amount, &one.Expires, &ended)
			after, one.Redeemed = one.Voucher, ended/microsPerSecond
			return one, err
		}, `SELECT id, batch, amount, expires, ended FROM broker_vouchers
			WHERE account = ? AND account <> '' AND (ended > ? OR ended = ? AND id > ?) ORDER BY ended, id LIMIT ?`,
			account, ended, ended, after, s.exportPage)
		return items, len(items) < s.exportPage, err
	}
}

func (s *store) exportPayouts(account string) exportReader {
	after := int64(0)
	return func(ctx context.Context, tx *ledger.Tx) (items []any, isLast bool, err error) {
		page, err := selectPayouts(ctx, tx, `WHERE account = ? AND seq > ? ORDER BY seq LIMIT ?`, account, after, s.exportPage)
		for _, p := range page {
			items = append(items, p.shown(s.currency))
			after = p.seq
		}
		return items, len(page) < s.exportPage, err
	}
}

func (s *store) exportFrauds(account string) exportReader {
	commitment, root := "", []byte{}
	return func(ctx context.Context, tx *ledger.Tx) ([]any, bool, error) {
		items, err := selectItems(ctx, tx, func(scan func(target ...any) error) (any, error) {
			var one exportedFraud
			err := scan(&root, &commitment, &one.Earlier, &one.Vendor, &one.Created)
			one.Root, one.Commitment = base64.RawURLEncoding.EncodeToString(root), commitment
			one.Created /= microsPerSecond
			return one, err
		}, `SELECT root, commitment, earlier, vendor, created FROM broker_frauds
			WHERE account = ? AND (commitment > ? OR commitment = ? AND root > ?) ORDER BY commitment, root LIMIT ?`,
			account, commitment, commitment, root, s.exportPage)
		return items, len(items) < s.exportPage, err
	}
}

func (s *store) exportLog(account string) exportReader {
	const of = `SELECT * FROM (SELECT seq, created, actor, action, subject, detail FROM broker_audit WHERE `
	const page = ` = ? AND seq > ? ORDER BY seq LIMIT ?) AS `
	after, name := int64(0), "account:"+account
	return func(ctx context.Context, tx *ledger.Tx) ([]any, bool, error) {
		items, err := selectItems(ctx, tx, func(scan func(target ...any) error) (any, error) {
			var one exportedLogEntry
			err := scan(&after, &one.Time, &one.Actor, &one.Action, &one.Subject, &one.Detail)
			one.Time /= microsPerSecond
			one.withhold()
			return one, err
		}, of+`subject`+page+`subjects UNION `+of+`actor`+page+`actors ORDER BY seq LIMIT ?`,
			name, after, s.exportPage, name, after, s.exportPage, s.exportPage)
		return items, len(items) < s.exportPage, err
	}
}

// withhold takes out what is not the owner's: which operator it was, and why an
// account was blocked, which laws may forbid to tell.
func (e *exportedLogEntry) withhold() {
	if operator, _, isNamed := strings.Cut(e.Actor, ":"); isNamed && operator == "admin" {
		e.Actor = operator
	}
	if e.Action == "block-account" || e.Action == "unblock-account" {
		e.Detail = ""
	}
}
