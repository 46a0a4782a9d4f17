package broker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

// unsound refuses what cannot be done because the books do not agree on one
// commitment. Others are not held up by it, and its operator is told by the
// log.
func unsound(id payword.CommitmentID) payword.Refusal {
	return refuse(payword.RateLimited, "the books of this broker do not agree on commitment %s, and its operator was told: ask again tomorrow", id)
}

// logUnsound tells the operator what does not agree.
func (b *Broker) logUnsound(ctx context.Context, id string, cause error) {
	b.log.ErrorContext(ctx, "the books disagree on a commitment, which was left out; run \"payword broker check\"",
		"commitment", id, "error", cause)
}

// loadClaimed reads the records of the commitments. One that cannot be read is
// at fault by itself.
func (s *store) loadClaimed(ctx context.Context, groups []*claimed) error {
	byID := make(map[string]*claimed, len(groups))
	ids := make([]any, len(groups))
	for k, g := range groups {
		g.before, g.fault = record{id: g.id}, nil
		ids[k] = g.id.String()
		byID[g.id.String()] = g
	}
	return s.db.View(ctx, func(tx *ledger.Tx) error {
		return selectAmong(ctx, tx, `SELECT `+recordColumns+` FROM broker_commitments WHERE id IN`, ids, func(scan func(target ...any) error) error {
			r, err := scanRecord(scan)
			if flawed := (*flawedRecord)(nil); errors.As(err, &flawed) {
				byID[flawed.id].fault = err
				return nil
			}
			if err == nil {
				byID[r.id.String()].before = r
			}
			return err
		})
	})
}

// selectAmong runs a query that ends in IN for some of the ids after the other
// and gives each row to take.
func selectAmong(ctx context.Context, tx *ledger.Tx, query string, ids []any, take func(scan func(target ...any) error) error, more ...any) error {
	for from, to := range ledger.Spans(len(ids)) {
		list := query + ` (` + ledger.List(to-from) + `)`
		if err := tx.Each(ctx, take, list, append(slices.Clone(more), ids[from:to]...)...); err != nil {
			return err
		}
	}
	return nil
}

// fraud is a root that was paid on in two commitments.
type fraud struct {
	commitment payword.CommitmentID
	earlier    string
	account    string
}

// payment is what one transaction does with the claims on a commitment.
type payment struct {
	*claimed
	changing  []*redemption // the claims that change something, in their order
	list      []ledger.Transfer
	account   string
	isChanged bool            // somebody else has changed the record since; nothing was done
	done      int             // how many of changing are paid, the first ones
	refusal   payword.Refusal // of the next one
	fault     error           // why the books do not agree
	after     record          // once the first ones are paid
}

// isReserved reports whether something was reserved for the commitment.
func (p *payment) isReserved() bool { return p.before.sequence > 0 }

// payAll pays the claims in one transaction, writes their results, and returns
// what is to be judged again: on commitments that others have changed since
// they were loaded, and claims that came after one that was refused.
func (b *Broker) payAll(ctx context.Context, current *batch, groups []*claimed) (again []*claimed, err error) {
	var payments []*payment
	for _, g := range groups {
		p := &payment{claimed: g}
		for _, r := range g.claims {
			if !r.isSettled {
				p.changing = append(p.changing, r)
			}
		}
		if len(p.changing) > 0 {
			payments = append(payments, p)
		}
	}
	frauds, err := b.payApart(ctx, current.vendor, payments)
	if err != nil {
		return nil, err
	}
	for _, p := range payments {
		if p.fault != nil {
			b.logUnsound(ctx, p.id.String(), p.fault)
		}
		if p.conclude(current); len(p.claims) > 0 {
			again = append(again, p.claimed)
		}
	}
	for _, f := range frauds {
		b.log.WarnContext(ctx, "root reused", "commitment", f.commitment.String(), "earlier", f.earlier, "account", f.account, "vendor", current.vendor)
	}
	return again, nil
}

// conclude writes the results of the claims and leaves those that are to be
// judged again.
func (p *payment) conclude(current *batch) {
	for _, r := range p.changing[:p.done] {
		r.result = payword.RedemptionResult{Commitment: p.id, Paid: r.after.redeemed.Paid, Due: r.due}
		r.isSettled = true
	}
	rest := p.claims
	switch left := p.changing[p.done:]; {
	case p.isChanged:
	case len(left) == 0:
		rest = nil
	default:
		// What was judged after this one rests on it.
		left[0].refuse(current, p.after, p.refusal)
		rest = rest[slices.Index(rest, left[0])+1:]
	}
	p.claims = slices.DeleteFunc(rest, func(r *redemption) bool { return r.claim.Token == "" }) // refused for good
}

// payApart pays in one transaction. Where a row breaks a rule of the tables,
// each half is paid by itself, down to the one that is at fault.
func (b *Broker) payApart(ctx context.Context, vendor string, payments []*payment) (frauds []fraud, err error) {
	if len(payments) == 0 {
		return nil, nil
	}
	frauds, err = b.payTogether(ctx, vendor, payments, false)
	if errors.Is(err, errChanged) {
		frauds, err = b.payTogether(ctx, vendor, payments, true)
	}
	switch {
	case !ledger.IsConstraint(err):
		return frauds, err
	case len(payments) == 1:
		payments[0].fail(err)
		return nil, nil
	}
	half := len(payments) / 2
	first, err := b.payApart(ctx, vendor, payments[:half])
	if err != nil {
		return nil, err
	}
	second, err := b.payApart(ctx, vendor, payments[half:])
	return append(first, second...), err
}

// errChanged means that nothing was paid, because of what others have changed, or
// may have.
var errChanged = errors.New("changed since it was loaded")

// payTogether pays in one transaction. Unless it looks first whether others have
// changed the records of reserved commitments since they were loaded, it pays all
// claims on those or fails with errChanged.
func (b *Broker) payTogether(ctx context.Context, vendor string, payments []*payment, looksFirst bool) (frauds []fraud, err error) {
	_, err = b.store.update(ctx, "redeem", func(tx *ledger.Tx) error {
		if frauds, err = b.store.pay(ctx, tx, payments, looksFirst); err != nil {
			return err
		}
		return b.store.emitPayments(ctx, tx, vendor, payments, frauds)
	})
	return frauds, err
}

// fail undoes what was noted and refuses the first of the claims.
func (p *payment) fail(fault error) {
	p.isChanged, p.done, p.after, p.fault, p.refusal = false, 0, p.before, fault, unsound(p.id)
}

// pay moves what is due and swaps the records, and notes in each payment how
// far it went. It refuses claims with UnknownAccount, RateLimited or
// InsufficientFunds.
func (s *store) pay(ctx context.Context, tx *ledger.Tx, payments []*payment, looksFirst bool) (frauds []fraud, err error) {
	for _, p := range payments { // this may be a second attempt
		p.isChanged, p.done, p.refusal, p.fault, p.after, p.account, p.list = false, 0, payword.Refusal{}, nil, p.before, p.before.account, nil
	}
	// What was reserved is there, and the swap of its record finds out by itself.
	unsure := payments
	if !looksFirst {
		unsure = slices.DeleteFunc(slices.Clone(payments), (*payment).isReserved)
	}
	if err := checkVersions(ctx, tx, unsure); err != nil {
		return nil, err
	}
	if err := s.checkOwners(ctx, tx, payments); err != nil {
		return nil, err
	}
	if err := s.move(ctx, tx, payments); err != nil {
		return nil, err
	}
	if !looksFirst && slices.ContainsFunc(payments, func(p *payment) bool { return p.isReserved() && p.done < len(p.changing) }) {
		return nil, errChanged // or the books do not agree
	}
	if err := saveRecords(ctx, tx, paidOf(payments)); err != nil {
		return nil, err
	}
	return s.findFrauds(ctx, tx, payments)
}

// going yields the payments that nothing stands in the way of yet.
func going(payments []*payment) iter.Seq[*payment] {
	return func(yield func(*payment) bool) {
		for _, p := range payments {
			if !p.isChanged && !p.refusal.Refused() && !yield(p) {
				return
			}
		}
	}
}

// paidOf returns the records of the payments that paid something.
func paidOf(payments []*payment) (records []record) {
	for _, p := range payments {
		if p.done > 0 {
			records = append(records, p.after)
		}
	}
	return records
}

func checkVersions(ctx context.Context, tx *ledger.Tx, payments []*payment) error {
	ids := make([]any, len(payments))
	for k, p := range payments {
		ids[k] = p.id.String()
	}
	versions := make(map[string]int64, len(payments))
	err := selectAmong(ctx, tx, `SELECT id, version FROM broker_commitments WHERE id IN`, ids, func(scan func(target ...any) error) error {
		var id string
		var version int64
		err := scan(&id, &version)
		versions[id] = version
		return err
	})
	for _, p := range payments {
		p.isChanged = versions[p.id.String()] != p.before.version
	}
	return err
}

// checkOwners finds the accounts of commitments that are not stored yet, and
// whether they may have more of them today.
func (s *store) checkOwners(ctx context.Context, tx *ledger.Tx, payments []*payment) error {
	subjects := make(map[string]string) // and their accounts
	for p := range going(payments) {
		if p.before.version == 0 {
			subjects[p.m.Certificate.Subject] = ""
		}
	}
	if err := selectAmong(ctx, tx, `SELECT subject, account FROM broker_certificates WHERE subject IN`, anys(maps.Keys(subjects)), func(scan func(target ...any) error) error {
		var subject, account string
		err := scan(&subject, &account)
		subjects[subject] = account
		return err
	}); err != nil {
		return err
	}
	today, err := commitmentsOfDay(ctx, tx, subjects)
	if err != nil {
		return err
	}
	for p := range going(payments) {
		if p.before.version > 0 {
			continue
		}
		switch p.account = subjects[p.m.Certificate.Subject]; {
		case p.account == "":
			p.refusal = refuse(payword.UnknownAccount, "the certificate's subject is not known here")
		case today[p.account] >= s.commitmentsPerDay:
			p.refusal = tooManyCommitments(today[p.account])
		default:
			today[p.account]++
		}
	}
	return nil
}

// anys returns the texts as arguments, sorted, so that transactions meet rows
// in the same order.
func anys(texts iter.Seq[string]) (arguments []any) {
	for _, text := range slices.Sorted(texts) {
		arguments = append(arguments, text)
	}
	return arguments
}

// commitmentsOfDay counts for each account among the values how many
// commitments of it were stored today, in UTC.
func commitmentsOfDay(ctx context.Context, tx *ledger.Tx, subjects map[string]string) (map[string]int64, error) {
	today := make(map[string]int64)
	for _, account := range subjects {
		if account != "" {
			today[account] = 0
		}
	}
	midnight := tx.Now().Truncate(secondsPerDay * time.Second)
	accounts := anys(maps.Keys(today))
	for from, to := range ledger.Spans(len(accounts)) {
		query := `SELECT account, COUNT(*) FROM broker_commitments WHERE created >= ? AND account IN (` +
			ledger.List(to-from) + `) GROUP BY account`
		err := tx.Each(ctx, func(scan func(target ...any) error) error {
			var account string
			var stored int64
			err := scan(&account, &stored)
			today[account] = stored
			return err
		}, query, append([]any{midnight.UnixMicro()}, accounts[from:to]...)...)
		if err != nil {
			return nil, err
		}
	}
	return today, nil
}

// move makes the transfers of all payments, those of each up to the first that
// is refused. Each claim has its own, under an id that holds the amount ever
// paid, so that no sum is moved twice, whatever happens.
func (s *store) move(ctx context.Context, tx *ledger.Tx, payments []*payment) error {
	moving := slices.Collect(going(payments))
	lists := make([][]ledger.Transfer, len(moving))
	for k, p := range moving {
		lists[k] = s.transfers(p)
	}
	outcomes, err := tx.PostLists(ctx, lists)
	if err != nil {
		return err
	}
	for k, p := range moving {
		p.note(outcomes[k])
		if err := s.fail(ctx, "within redeem"); err != nil {
			return err
		}
	}
	return nil
}

// transfers returns what the claims of a payment move, in their order: what is
// due to the vendor, and what a last claim gives back to the user.
func (s *store) transfers(p *payment) (list []ledger.Transfer) {
	source := availableAccount(p.account)
	if p.before.sequence > 0 {
		source = reservedAccount(p.account)
	}
	known := p.before
	for _, r := range p.changing {
		if r.due > 0 {
			list = append(list, ledger.Transfer{
				ID: fmt.Sprintf("redeem/%s/%d", p.id, r.after.redeemed.Paid), Debit: source, Credit: payableAccount(r.after.vendor),
				Amount: r.due, Currency: s.currency, Kind: "redeem", Reference: p.id.String(),
			})
		}
		if left := known.held - r.due - r.after.held; left > 0 {
			list = append(list, s.releaseTransfer(p.id, p.account, left))
		}
		known = r.after
	}
	return list
}

// note reads off the outcome which of the claims are paid.
func (p *payment) note(outcome ledger.ListOutcome) {
	left, known := outcome.Made, p.before
	for _, r := range p.changing {
		pays, gives := r.due > 0, known.held-r.due-r.after.held > 0
		if pays {
			left--
		}
		if left < 0 {
			break
		}
		if gives {
			left--
		}
		if left < 0 {
			// The vendor has its money, and what was left to the user stays set
			// aside until somebody has looked at the books.
			if pays {
				p.after, p.done = r.after, p.done+1
				p.after.closed, p.after.held = false, known.held-r.due
			}
			break
		}
		p.after, p.done = r.after, p.done+1
		known = r.after
	}
	p.after.account = p.account
	switch {
	case outcome.Refused == nil:
	case errors.Is(outcome.Refused, ledger.ErrInsufficient) && p.before.sequence == 0:
		p.refusal = refuse(payword.InsufficientFunds, "nothing was reserved and the user's balance does not suffice: ask again later")
	default:
		p.fault, p.refusal = outcome.Refused, unsound(p.id)
	}
}

// findFrauds records the roots of commitments that were stored just now and
// that an earlier commitment of the account had before. The vendor is paid all
// the same: the signer owes both.
func (s *store) findFrauds(ctx context.Context, tx *ledger.Tx, payments []*payment) (frauds []fraud, err error) {
	var fresh []ownedCommitment
	byID := make(map[payword.CommitmentID]*payment)
	for _, p := range payments {
		if p.done > 0 && p.before.version == 0 {
			fresh = append(fresh, ownedCommitment{p.account, &p.m})
			byID[p.id] = p
		}
	}
	reused, err := registerRoots(ctx, tx, fresh)
	if err != nil {
		return nil, err
	}
	for _, reuse := range reused {
		p := byID[reuse.commitment]
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_frauds (root, commitment, earlier, account, vendor, created)
			VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			reuse.root[:], p.id.String(), reuse.earlier, p.account, p.after.vendor, tx.Now().UnixMicro())
		if err != nil {
			return nil, err
		}
		frauds = append(frauds, fraud{commitment: p.id, earlier: reuse.earlier, account: p.account})
	}
	return frauds, nil
}
