package clearing

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// evidencePage is how many transfers are looked at in one transaction: some
	// hundredths of a second, and two megabytes of signatures.
	evidencePage = 500

	// kindRedeem is the kind of the broker's transfers for what vendors redeem.
	kindRedeem = "redeem"

	// tailBytes is how the broker stores the tail of a chain: its index, four bytes
	// big endian, and its payword.
	tailBytes = 4 + payword.PaywordBytes
)

// publication makes the evidence, the statements and the day of a run that is
// closed. Each of its steps is safe to repeat and goes on where it stopped.
type publication struct {
	db     *ledger.DB
	update func(ctx context.Context, change func(tx *ledger.Tx) error) error
	step   func(name string) // called after every step that a crash can follow
	page   int
	signer crypto.Signer // of the day; nil: it stays unsigned
	report func(step, steps int64)
	run    publishedRun
}

// publishedRun is what statements say of a run.
type publishedRun struct {
	id, periodEnd, feeRule, issuer string
	currency                       money.Currency
	since, cutoff                  int64 // numbers of transfers: after the first, up to the second
}

// loadPublishedRun reads a run. isBroker is false where the database never was a
// broker's, so that there is nothing to state.
func loadPublishedRun(ctx context.Context, db *ledger.DB, id string) (r publishedRun, isBroker bool, err error) {
	err = db.View(ctx, func(tx *ledger.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT id, period_end, fee_rule, currency, since, cutoff FROM clearing_runs WHERE id = ?`, id).
			Scan(&r.id, &r.periodEnd, &r.feeRule, (*string)(&r.currency), &r.since, &r.cutoff)
		if err != nil {
			return err
		}
		var migrations int64
		err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM payword_migrations WHERE namespace = 'broker'`).Scan(&migrations)
		if err != nil || migrations == 0 {
			return err
		}
		isBroker = true
		return tx.QueryRowContext(ctx, `SELECT issuer FROM broker_settings WHERE one = 1`).Scan(&r.issuer)
	})
	if err != nil {
		return r, false, fmt.Errorf("reading run %s: %w", id, err)
	}
	return r, isBroker, nil
}

// publish does all of it.
func (p *publication) publish(ctx context.Context) error {
	if err := p.collect(ctx); err != nil {
		return fmt.Errorf("collecting the evidence of run %s: %w", p.run.id, err)
	}
	if err := p.state(ctx); err != nil {
		return fmt.Errorf("making the statements of run %s: %w", p.run.id, err)
	}
	if err := p.signDay(ctx); err != nil {
		return fmt.Errorf("signing the day of run %s: %w", p.run.id, err)
	}
	return nil
}

// collect keeps what was redeemed in the period, page by page.
func (p *publication) collect(ctx context.Context) error {
	for {
		var upTo int64
		err := p.update(ctx, func(tx *ledger.Tx) (err error) {
			upTo, err = p.collectPage(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
		span := p.run.cutoff - p.run.since
		p.report(upTo-p.run.since, 2*span)
		if upTo >= p.run.cutoff {
			return nil
		}
		p.step(fmt.Sprintf("evidence up to %d", upTo))
	}
}

// collectPage keeps the next transfers and returns how far the evidence goes.
func (p *publication) collectPage(ctx context.Context, tx *ledger.Tx) (int64, error) {
	var done int64
	err := tx.QueryRowContext(ctx, `SELECT evidence_seq FROM clearing_runs WHERE id = ?`, p.run.id).Scan(&done)
	from := max(done, p.run.since)
	if err != nil || from >= p.run.cutoff {
		return from, err
	}
	payments, last, err := p.payments(ctx, tx, from)
	if err != nil {
		return 0, err
	}
	if len(payments) < p.page {
		last = p.run.cutoff
	}
	if err := p.keep(ctx, tx, sumPayments(payments)); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE clearing_runs SET evidence_seq = ? WHERE id = ? AND evidence_seq = ?`, last, p.run.id, done)
	return last, err
}

// redeemed is what the ledger says of one payment on a commitment, or of some of
// them together.
type redeemed struct {
	commitment, credit string
	amount             money.Amount // in micros
	paid               money.Amount // ever, as of then
}

// payments returns the next page of redemptions after a transfer, and the number
// of the last one.
func (p *publication) payments(ctx context.Context, tx *ledger.Tx, from int64) (list []redeemed, last int64, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, id, credit, amount, reference FROM transfers
		WHERE seq > ? AND seq <= ? AND kind = ? ORDER BY seq LIMIT ?`, from, p.run.cutoff, kindRedeem, p.page)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var r redeemed
		var id string
		if err := rows.Scan(&last, &id, &r.credit, (*int64)(&r.amount), &r.commitment); err != nil {
			return nil, 0, err
		}
		// redeem/COMMITMENT/AMOUNT, where the amount is all that was ever paid.
		paid, found := strings.CutPrefix(id, kindRedeem+"/"+r.commitment+"/")
		if value, err := strconv.ParseInt(paid, 10, 64); err == nil && found {
			r.paid = money.Amount(value)
		}
		list = append(list, r)
	}
	return list, last, rows.Err()
}

// sumPayments puts the payments on each commitment together.
func sumPayments(list []redeemed) map[string]redeemed {
	sums := make(map[string]redeemed)
	for _, r := range list {
		sum := sums[r.commitment]
		r.amount += sum.amount // of one commitment, whose limit bounds it
		sums[r.commitment] = r
	}
	return sums
}

// evidence is a row of clearing_evidence.
type evidence struct {
	redeemed
	vendor, account, claim string
	tails, claimKey        []byte
}

// keep adds to the evidence what the broker has for the payments now.
func (p *publication) keep(ctx context.Context, tx *ledger.Tx, sums map[string]redeemed) error {
	list, err := loadEvidence(ctx, tx, sums)
	if err != nil {
		return err
	}
	// Money that moved for a commitment that the broker does not have, or to another
	// vendor than its own: "payword broker check" says more, and no statement does.
	if missing := len(sums) - len(list); missing > 0 {
		detail := fmt.Sprintf("%d commitments were paid on, and the broker has no evidence of them that fits", missing)
		if err := audit(ctx, tx, "evidence-missing", "run:"+p.run.id, detail); err != nil {
			return err
		}
	}
	if err := loadClaimKeys(ctx, tx, list); err != nil {
		return err
	}
	for from, to := range ledger.Spans(len(list)) {
		var arguments []any
		for _, e := range list[from:to] {
			arguments = append(arguments, p.run.id, e.vendor, e.commitment, e.account, int64(e.amount), int64(e.paid), e.tails, e.claim, e.claimKey)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO clearing_evidence
			(run_id, vendor, commitment, account, amount, paid, tails, claim, claim_key) VALUES `+ledger.Rows(to-from, 9)+`
			ON CONFLICT (run_id, vendor, commitment) DO UPDATE SET amount = clearing_evidence.amount + excluded.amount,
				paid = excluded.paid, tails = excluded.tails, claim = excluded.claim, claim_key = excluded.claim_key`, arguments...)
		if err != nil {
			return err
		}
	}
	return nil
}

// loadEvidence returns what the broker has, in the order of its table.
func loadEvidence(ctx context.Context, tx *ledger.Tx, sums map[string]redeemed) (list []evidence, err error) {
	ids := slices.Sorted(maps.Keys(sums))
	for from, to := range ledger.Spans(len(ids)) {
		err := tx.Each(ctx, func(scan func(target ...any) error) error {
			var e evidence
			var id string
			if err := scan(&id, &e.vendor, &e.account, &e.tails, &e.claim); err != nil {
				return err
			}
			e.redeemed, e.tails, e.claimKey = sums[id], trimTails(e.tails), []byte{}
			if e.credit == payableAccount(e.vendor) && e.paid >= e.amount {
				list = append(list, e)
			}
			return nil
		}, `SELECT id, vendor, account, tails, claim FROM broker_commitments WHERE id IN (`+ledger.List(to-from)+`)`, anys(ids[from:to])...)
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b evidence) int {
		return strings.Compare(a.vendor+" "+a.commitment, b.vendor+" "+b.commitment)
	})
	return list, nil
}

func payableAccount(vendor string) string { return "vendor:" + vendor + ":payable" }

// trimTails leaves out the places of chains that the commitment does not have.
// Those that it has hold their root at least.
func trimTails(tails []byte) []byte {
	var none [tailBytes]byte
	for len(tails) >= tailBytes && string(tails[len(tails)-tailBytes:]) == string(none[:]) {
		tails = tails[:len(tails)-tailBytes]
	}
	return tails
}

// loadClaimKeys finds the vendor's key that signed each claim. The broker forgets
// keys that vendors withdraw.
func loadClaimKeys(ctx context.Context, tx *ledger.Tx, list []evidence) error {
	signers := make(map[string][]*evidence) // by vendor and kid
	kids := make(map[string]bool)
	for k := range list {
		kid := keyIDOf(list[k].claim)
		kids[kid] = true
		signers[list[k].vendor+" "+kid] = append(signers[list[k].vendor+" "+kid], &list[k])
	}
	ids := slices.Sorted(maps.Keys(kids))
	for from, to := range ledger.Spans(len(ids)) {
		err := tx.Each(ctx, func(scan func(target ...any) error) error {
			var vendor, kid string
			var key []byte
			err := scan(&vendor, &kid, &key)
			for _, e := range signers[vendor+" "+kid] {
				e.claimKey = key
			}
			return err
		}, `SELECT vendor, key_id, key FROM broker_vendor_keys WHERE key_id IN (`+ledger.List(to-from)+`)`, anys(ids[from:to])...)
		if err != nil {
			return err
		}
	}
	return nil
}

// keyIDOf returns the kid of a JWS, or "". Whether it signed is for those to check
// who read the statement.
func keyIDOf(token string) string {
	first, _, _ := strings.Cut(token, ".")
	var header struct {
		KeyID string `json:"kid"`
	}
	decoded, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil || json.Unmarshal(decoded, &header) != nil {
		return ""
	}
	return header.KeyID
}

// anys returns texts as arguments.
func anys(texts []string) []any {
	arguments := make([]any, len(texts))
	for k, text := range texts {
		arguments[k] = text
	}
	return arguments
}
