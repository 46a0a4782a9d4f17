package broker

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// redemptionsPerTransaction is how many claims are paid in one transaction:
	// enough to share the cost of making it durable, few enough that others do
	// not wait for long.
	redemptionsPerTransaction = 100

	// maxSteps is how many hashes one request may cost, about two seconds of
	// one processor: twice what the largest commitment takes. What is beyond is
	// asked for again.
	maxSteps = 16 << 20
)

// redemption is one claim on its way through the broker.
type redemption struct {
	request payword.Redemption
	id      payword.CommitmentID
	m       payword.Commitment // parsed when Token is set, as is claim
	claim   payword.Claim

	before record           // as loaded
	after  payword.Redeemed // as judged
	due    money.Amount     // in micros
	closes bool             // the rest of the reservation is released

	result payword.RedemptionResult
}

// batch is a request for redemptions.
type batch struct {
	vendor string
	keys   []ed25519.PublicKey // of the vendor
	steps  int                 // hashes that are left
	state  string              // of the vendor, when the request came
}

// redeem pays the claims of a vendor, each by itself. The result of a claim is
// what payword.JudgeClaim refuses with, and ClaimTooLate, UnknownAccount,
// InsufficientFunds (an unreserved commitment, and the user's balance does not
// suffice: nothing is lost, ask again later) and RateLimited (more hashing than
// one request gets, or more new commitments of an account than a day stores:
// ask for the rest again).
//
// The whole request is refused with UnknownVendor, or RateLimited if others of
// the same vendor are worked on for too long: one at a time, so that no vendor
// takes all processors with claims that it made up. An error leaves open what
// was paid; asking again pays nothing twice.
func (b *Broker) redeem(ctx context.Context, by caller, request payword.RedemptionRequest) (payword.RedemptionAnswer, payword.Refusal, error) {
	b.keys(ctx)
	keys, refusal, err := b.store.keysOf(ctx, by, request.Vendor)
	if err != nil || refusal.Refused() {
		return payword.RedemptionAnswer{}, refusal, err
	}
	leave, refusal := b.enterVendor(ctx, request.Vendor)
	if refusal.Refused() {
		return payword.RedemptionAnswer{}, refusal, nil
	}
	defer leave()
	current := &batch{vendor: request.Vendor, keys: keys, steps: b.maxSteps}
	if current.state, err = b.store.vendorState(ctx, request.Vendor); err != nil {
		return payword.RedemptionAnswer{}, payword.Refusal{}, err
	}
	answer := payword.RedemptionAnswer{Results: []payword.RedemptionResult{}}
	for start := 0; start < len(request.Redemptions); start += b.redemptionsPerTransaction {
		end := min(start+b.redemptionsPerTransaction, len(request.Redemptions))
		results, err := b.redeemTogether(ctx, current, request.Redemptions[start:end])
		if err != nil {
			return payword.RedemptionAnswer{}, payword.Refusal{}, err
		}
		answer.Results = append(answer.Results, results...)
	}
	return answer, payword.Refusal{}, nil
}

// redeemTogether pays claims in one transaction, and those again that somebody
// else changed meanwhile.
func (b *Broker) redeemTogether(ctx context.Context, current *batch, requests []payword.Redemption) ([]payword.RedemptionResult, error) {
	all := make([]*redemption, len(requests))
	for k, request := range requests {
		all[k] = &redemption{request: request, id: payword.NewCommitmentID(request.Commitment)}
	}
	waiting := all
	for round := 0; len(waiting) > 0; round++ {
		if round == maxRounds {
			return nil, errContended
		}
		if err := b.store.loadRedemptions(ctx, waiting); err != nil {
			return nil, err
		}
		payable, err := b.judgeRedemptions(ctx, current, waiting)
		if err == nil {
			err = b.store.fail("judged redemption")
		}
		if err != nil {
			return nil, err
		}
		if waiting, err = b.payRedemptions(ctx, current.vendor, payable); err != nil {
			return nil, err
		}
	}
	results := make([]payword.RedemptionResult, len(all))
	for k, r := range all {
		results[k] = r.result
	}
	return results, nil
}

func (s *store) loadRedemptions(ctx context.Context, waiting []*redemption) error {
	return s.db.View(ctx, func(tx *ledger.Tx) error {
		for _, r := range waiting {
			var err error
			if r.before, err = loadRecord(ctx, tx, r.id); err != nil {
				return err
			}
		}
		return nil
	})
}

// judgeRedemptions decides every claim, writes the results, and returns those
// that change something. Hashing takes a processor, so there is a slot for
// each.
func (b *Broker) judgeRedemptions(ctx context.Context, current *batch, waiting []*redemption) ([]*redemption, error) {
	select {
	case b.hashing <- struct{}{}:
		defer func() { <-b.hashing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := b.now()
	var payable []*redemption
	for _, r := range waiting {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		refusal := b.parseRedemption(current, r)
		if !refusal.Refused() {
			refusal = r.judge(current, now, int64(b.config.Grace/time.Second))
		}
		r.conclude(current.vendor, refusal)
		if !refusal.Refused() && (r.due > 0 || r.closes) {
			payable = append(payable, r)
		}
	}
	return payable, nil
}

// conclude writes the result of a claim that is not paid, or not yet.
func (r *redemption) conclude(vendor string, refusal payword.Refusal) {
	r.result = payword.RedemptionResult{Commitment: r.id, Reason: refusal.Reason, Detail: refusal.Detail}
	if r.before.vendor == vendor {
		r.result.Paid = r.before.redeemed.Paid
	}
}

// parseRedemption reads the commitment, its reservation and the claim, once,
// and checks their signatures. Those of a commitment that is stored were
// checked before.
func (b *Broker) parseRedemption(current *batch, r *redemption) payword.Refusal {
	if r.m.Token != "" {
		return payword.Refusal{}
	}
	m, refusal := b.parseStored(r.request.Commitment, r.before)
	if refusal.Refused() {
		return refusal
	}
	// The broker's own record decides, whichever word of it the vendor holds.
	// Without one, a word that is not the broker's is refused, and one that is
	// makes the commitment no more than unreserved.
	if token := r.request.Reservation; token != "" && r.before.sequence == 0 {
		if _, refusal := payword.ParseReservation(token, &m, b.trustedKeys()); refusal.Refused() {
			return refusal
		}
	}
	if r.claim, refusal = parseClaim(r.request.Claim, current.keys); refusal.Refused() {
		return refusal
	}
	r.m = m
	return payword.Refusal{}
}

func (b *Broker) parseStored(token string, stored record) (payword.Commitment, payword.Refusal) {
	if stored.version == 0 {
		return payword.ParseCommitment(token, b.trustedKeys())
	}
	m, err := payword.UnverifiedCommitment(token)
	if err != nil || token != stored.token {
		return payword.Commitment{}, refuse(payword.MalformedCommitment, "another commitment has the same id")
	}
	return m, payword.Refusal{}
}

// parseClaim reads a claim that one of the vendor's keys signed.
func parseClaim(token string, keys []ed25519.PublicKey) (claim payword.Claim, refusal payword.Refusal) {
	for _, key := range keys {
		if claim, refusal = payword.ParseClaim(token, key); refusal.Reason != payword.BadClaim {
			return claim, refusal
		}
	}
	return claim, refusal
}

// judge decides what the claim adds to the record. It changes r alone.
func (r *redemption) judge(current *batch, now, graceSeconds int64) payword.Refusal {
	if r.claim.Vendor != current.vendor {
		return refuse(payword.WrongVendor, "the claim is by %s, the request by %s", r.claim.Vendor, current.vendor)
	}
	if r.before.version == 0 {
		if current.state == vendorBlocked {
			return refuse(payword.VendorBlocked, "this broker has blocked the vendor, and nothing was reserved for this commitment before: ask for it again later")
		}
		r.before = record{
			id: r.id, token: r.m.Token, vendor: r.m.Vendor, redeemBy: r.m.Expires + graceSeconds,
			redeemed: payword.NewRedeemed(&r.m),
		}
	}
	steps := stepsOf(r.before.redeemed, r.claim)
	if steps > current.steps {
		return refuse(payword.RateLimited, "this takes %d hashes, more than are left for this request: ask for it again", steps)
	}
	current.steps -= steps
	ceiling := r.before.ceiling(&r.m)
	isLate := now >= r.before.redeemBy
	if isLate && r.claim.Amount > r.before.redeemed.Paid {
		return refuse(payword.ClaimTooLate, "claims on this commitment were paid until %s", time.Unix(r.before.redeemBy, 0).UTC().Format(time.RFC3339))
	}
	var refusal payword.Refusal
	r.after, r.due, refusal = payword.JudgeClaim(&r.m, r.before.redeemed, &r.claim, ceiling)
	// Closing what is not stored would store it, and cost whoever asks nothing.
	r.closes = r.claim.Final && !r.before.closed && !isLate && (r.before.version > 0 || r.due > 0)
	return refusal
}

// stepsOf returns how many hashes checking the claim takes at most.
func stepsOf(known payword.Redeemed, claim payword.Claim) int {
	steps := 0
	for k, tail := range claim.Tails {
		if tail.Index > 0 {
			steps += max(int(tail.Index)-int(known.Tails[k].Index), int(known.Tails[k].Index)-int(tail.Index))
		}
	}
	return steps
}

// ceiling returns the most that may ever be paid on the commitment, in micros.
func (r *record) ceiling(m *payword.Commitment) money.Amount {
	switch {
	case r.closed:
		return r.redeemed.Paid
	case r.sequence > 0:
		return max(r.reserved, r.redeemed.Paid)
	}
	return m.Limit
}

// fraud is a root that was paid on in two commitments.
type fraud struct {
	commitment payword.CommitmentID
	earlier    string
	account    string
}

// payRedemptions pays the claims in one transaction, writes their results, and
// returns those whose records were changed by others since they were loaded:
// of them nothing was done.
func (b *Broker) payRedemptions(ctx context.Context, vendor string, payable []*redemption) (changed []*redemption, err error) {
	if len(payable) == 0 {
		return nil, nil
	}
	var frauds []fraud
	refusals := make([]payword.Refusal, len(payable))
	isPaid := make([]bool, len(payable))
	_, err = b.store.update(ctx, "redeem", func(tx *ledger.Tx) error {
		frauds = nil // those of an earlier try of this transaction come again
		for k, r := range payable {
			var found []fraud
			var err error
			if isPaid[k], found, refusals[k], err = b.store.pay(ctx, tx, r); err == nil {
				err = b.store.fail("within redeem")
			}
			if err != nil {
				return err
			}
			frauds = append(frauds, found...)
		}
		return b.store.emitPayments(ctx, tx, vendor, payable, isPaid, frauds)
	})
	if err != nil {
		return nil, err
	}
	for k, r := range payable {
		switch {
		case refusals[k].Refused():
			r.conclude(vendor, refusals[k])
		case isPaid[k]:
			r.result = payword.RedemptionResult{Commitment: r.id, Paid: r.after.Paid, Due: r.due}
		default:
			changed = append(changed, r)
		}
	}
	for _, f := range frauds {
		b.log.WarnContext(ctx, "root reused", "commitment", f.commitment.String(), "earlier", f.earlier, "account", f.account, "vendor", vendor)
	}
	return changed, nil
}

// pay moves what is due and swaps the record. It reports whether it did; if
// not, the stored record is no longer r.before. It refuses with UnknownAccount,
// RateLimited or InsufficientFunds. In both cases nothing was changed.
func (s *store) pay(ctx context.Context, tx *ledger.Tx, r *redemption) (isPaid bool, frauds []fraud, refusal payword.Refusal, err error) {
	stored, err := loadRecord(ctx, tx, r.id)
	if err != nil || stored.version != r.before.version {
		return false, nil, payword.Refusal{}, err
	}
	after := r.next()
	if after.version == 0 {
		if after.account, err = certificateOwner(ctx, tx, r.m.Certificate.Subject); err != nil {
			return false, nil, payword.Refusal{}, err
		}
		if after.account == "" {
			return false, nil, refuse(payword.UnknownAccount, "the certificate's subject is not known here"), nil
		}
		if refusal, err = s.checkCommitmentsOfDay(ctx, tx, after.account); err != nil || refusal.Refused() {
			return false, nil, refusal, err
		}
	}
	err = s.movePayment(ctx, tx, r, after)
	if errors.Is(err, ledger.ErrInsufficient) && after.sequence == 0 {
		return false, nil, refuse(payword.InsufficientFunds, "nothing was reserved and the user's balance does not suffice: ask again later"), nil
	}
	if err == nil && after.version == 0 {
		frauds, err = s.findFraud(ctx, tx, r, after)
	}
	if err != nil {
		return false, nil, payword.Refusal{}, err
	}
	isPaid, err = saveRecord(ctx, tx, after)
	if err == nil && !isPaid {
		err = fmt.Errorf("commitment %s changed within a transaction", r.id)
	}
	return isPaid, frauds, payword.Refusal{}, err
}

// next returns the record as it is after the payment.
func (r *redemption) next() record {
	after := r.before
	after.redeemed = r.after
	if r.due > 0 {
		after.claim = r.request.Claim
	}
	if after.sequence > 0 {
		after.held = max(0, after.held-r.due)
	}
	if r.closes {
		after.held, after.closed = 0, true
	}
	return after
}

// movePayment moves what is due to the vendor, and what a last claim releases
// back to the user. The amount ever paid is part of the transfer's id, so that
// no sum is moved twice, whatever happens.
func (s *store) movePayment(ctx context.Context, tx *ledger.Tx, r *redemption, after record) error {
	source := availableAccount(after.account)
	if after.sequence > 0 {
		source = reservedAccount(after.account)
	}
	if r.due > 0 {
		err := tx.Post(ctx, ledger.Transfer{
			ID: fmt.Sprintf("redeem/%s/%d", r.id, after.redeemed.Paid), Debit: source, Credit: payableAccount(after.vendor),
			Amount: r.due, Currency: s.currency, Kind: "redeem", Reference: r.id.String(),
		})
		if err != nil {
			return err
		}
	}
	return s.release(ctx, tx, after, r.before.held-r.due-after.held)
}

// release gives amount, in micros, of what was set aside for a commitment back
// to the user. It happens once for each commitment, when it is closed.
func (s *store) release(ctx context.Context, tx *ledger.Tx, after record, amount money.Amount) error {
	if amount <= 0 {
		return nil // nothing was left, or nothing was reserved
	}
	return tx.Post(ctx, ledger.Transfer{
		ID:    "release/" + after.id.String(),
		Debit: reservedAccount(after.account), Credit: availableAccount(after.account),
		Amount: amount, Currency: s.currency, Kind: "release", Reference: after.id.String(),
	})
}

// findFraud records the roots that an earlier commitment had before. The vendor
// is paid all the same: the signer owes both.
func (s *store) findFraud(ctx context.Context, tx *ledger.Tx, r *redemption, after record) (frauds []fraud, err error) {
	reused, err := registerRoots(ctx, tx, after.account, &r.m)
	if err != nil {
		return nil, err
	}
	for _, reuse := range reused {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_frauds (root, commitment, earlier, account, vendor, created)
			VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			reuse.root[:], r.id.String(), reuse.earlier, after.account, after.vendor, tx.Now().UnixMicro())
		if err != nil {
			return nil, err
		}
		frauds = append(frauds, fraud{commitment: r.id, earlier: reuse.earlier, account: after.account})
	}
	return frauds, nil
}
