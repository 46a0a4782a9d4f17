package broker

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	// redemptionsPerTransaction is how many claims are paid in one transaction:
	// enough to share the cost of making it durable, few enough that others
	// wait for a few hundredths of a second.
	redemptionsPerTransaction = 500

	// maxSteps is how many hashes one request may cost, about two seconds of
	// one processor: twice what the largest commitment takes. What is beyond is
	// asked for again.
	maxSteps = 16 << 20
)

// redemption is one claim on its way through the broker.
type redemption struct {
	request payword.Redemption
	claim   payword.Claim // parsed when its Token is set

	due       money.Amount // in micros
	closes    bool         // the rest of the reservation is released
	after     record       // of the commitment, once this claim is paid
	isSettled bool         // the result is the last word
	result    payword.RedemptionResult
}

// changes reports whether the claim, as judged, changes anything in the books.
func (r *redemption) changes() bool { return r.due > 0 || r.closes }

// claimed is a commitment with the claims on it in one part of a request, in
// their order. They are judged one on top of the other.
type claimed struct {
	id     payword.CommitmentID
	claims []*redemption      // those that are not settled
	m      payword.Commitment // parsed when its Token is set
	before record             // as stored, or as it would be
	fault  error              // why what is stored cannot be read
}

// current returns the record of the commitment after the claims that were
// judged so far.
func (g *claimed) current(judged int) record {
	for k := judged - 1; k >= 0; k-- {
		if g.claims[k].changes() {
			return g.claims[k].after
		}
	}
	return g.before
}

// batch is a request for redemptions.
type batch struct {
	vendor string
	keys   []ed25519.PublicKey // of the vendor
	state  string              // of the vendor, when the request came
	// verifier knows those that sign most of what comes in: the vendor's keys and
	// the broker's.
	verifier *payword.Verifier
	// isUnproved says that the sender of the request is not proved yet, only
	// that of each claim.
	isUnproved bool

	mutex sync.Mutex
	steps int // hashes that are left, guarded by mutex
}

// redeem pays the claims of a vendor, each by itself. The result of a claim is
// what payword.JudgeClaim refuses with, and ClaimTooLate, UnknownAccount,
// InsufficientFunds (an unreserved commitment, and the user's balance does not
// suffice: nothing is lost, ask again later) and RateLimited (more hashing than
// one request gets, more new commitments of an account than a day stores, or
// books that do not agree on the commitment: ask for the rest again).
//
// The whole request is refused with UnknownVendor, or RateLimited if others of
// the same vendor take too long: the claims of one at a time are judged, so that
// no vendor takes all processors with claims that it made up. An error leaves
// open what was paid; asking again pays nothing twice.
func (b *Broker) redeem(ctx context.Context, by caller, request payword.RedemptionRequest) (payword.RedemptionAnswer, payword.Refusal, error) {
	var none payword.RedemptionAnswer
	// The schema says so, too, but of large bodies it may have seen another list.
	if len(request.Redemptions) > payword.MaxRedemptionsPerRequest {
		return none, payword.Refusal{}, newProblem(http.StatusUnprocessableEntity,
			fmt.Sprintf("%d redemptions: at most %d in a request.", len(request.Redemptions), payword.MaxRedemptionsPerRequest))
	}
	current, refusal, err := b.newBatch(ctx, by, request.Vendor)
	if err != nil || refusal.Refused() {
		return none, refusal, err
	}
	return b.redeemBatch(ctx, current, request)
}

// redeemBatch is redeem for claims of a vendor, whoever brought them.
func (b *Broker) redeemBatch(ctx context.Context, current *batch, request payword.RedemptionRequest) (payword.RedemptionAnswer, payword.Refusal, error) {
	var none payword.RedemptionAnswer
	answer := payword.RedemptionAnswer{Results: []payword.RedemptionResult{}}
	left := request.Redemptions
	next := func(context.Context) (part []*redemption, err error) {
		if len(left) == 0 {
			return nil, io.EOF
		}
		for _, one := range left[:min(len(left), b.redemptionsPerTransaction)] {
			part = append(part, &redemption{request: one})
		}
		left = left[len(part):]
		return part, nil
	}
	refusal, err := b.redeemParts(ctx, current, next, func(part []*redemption) error {
		for _, r := range part {
			answer.Results = append(answer.Results, r.result)
		}
		return nil
	})
	if err != nil || refusal.Refused() {
		return none, refusal, err
	}
	return answer, payword.Refusal{}, nil
}

// newBatch finds out whose a request is. It refuses with UnknownVendor.
func (b *Broker) newBatch(ctx context.Context, by caller, vendor string) (*batch, payword.Refusal, error) {
	keys, refusal, err := b.store.keysOf(ctx, by, vendor)
	if err != nil || refusal.Refused() {
		return nil, refusal, err
	}
	current, err := b.newBatchOf(ctx, vendor, keys)
	return current, payword.Refusal{}, err
}

// newBatchOf is a batch of a vendor that has those keys.
func (b *Broker) newBatchOf(ctx context.Context, vendor string, keys []ed25519.PublicKey) (*batch, error) {
	state, err := b.store.vendorState(ctx, vendor)
	frequent := slices.AppendSeq(slices.Clone(keys), maps.Values(b.trustedKeys()[b.config.Issuer]))
	return &batch{vendor: vendor, keys: keys, state: state, verifier: payword.NewVerifier(frequent...), steps: b.maxSteps}, err
}

// redeemParts takes a request part by part from next, which ends with io.EOF,
// and gives each to answer once all of its claims have their results. While one
// part is paid the next is read and judged, so that the processors and the disk
// work at the same time. What was read before next failed is paid and answered
// first.
func (b *Broker) redeemParts(ctx context.Context, current *batch, next func(context.Context) ([]*redemption, error), answer func([]*redemption) error) (payword.Refusal, error) {
	ctx, stop := context.WithCancel(ctx)
	judged := make(chan judgedPart)
	var ended error // of judging; written before judged is closed
	go func() {
		defer close(judged)
		ended = b.judgeParts(ctx, current, next, judged)
	}()
	err := b.settleParts(ctx, current, judged, answer)
	stop()
	for range judged { // until judging has ended, too
	}
	if err == nil && !errors.Is(ended, io.EOF) {
		err = ended
	}
	if refusal := (refused{}); errors.As(err, &refusal) {
		return payword.Refusal(refusal), nil
	}
	return payword.Refusal{}, err
}

// judgedPart is a part of a request whose claims are judged.
type judgedPart struct {
	part   []*redemption
	groups []*claimed
}

func (b *Broker) judgeParts(ctx context.Context, current *batch, next func(context.Context) ([]*redemption, error), judged chan<- judgedPart) error {
	for {
		part, err := next(ctx)
		if err != nil {
			return err
		}
		groups := group(part)
		if refusal, err := b.weigh(ctx, current, groups); err != nil || refusal.Refused() {
			return cmp.Or(err, error(refused(refusal)))
		}
		select {
		case judged <- judgedPart{part, groups}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *Broker) settleParts(ctx context.Context, current *batch, judged <-chan judgedPart, answer func([]*redemption) error) error {
	for j := range judged {
		refusal, err := b.settle(ctx, current, j.groups)
		if err == nil && refusal.Refused() {
			err = refused(refusal)
		}
		if err == nil {
			b.metrics.countResults(j.part)
			err = answer(j.part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// group sorts the claims of a part by commitment, in the order of the first
// claim on each.
func group(part []*redemption) (groups []*claimed) {
	byID := make(map[payword.CommitmentID]*claimed, len(part))
	for _, r := range part {
		if r.isSettled { // it could not be read
			continue
		}
		r.result.Commitment = payword.NewCommitmentID(r.request.Commitment)
		g := byID[r.result.Commitment]
		if g == nil {
			g = &claimed{id: r.result.Commitment}
			byID[g.id] = g
			groups = append(groups, g)
		}
		g.claims = append(g.claims, r)
	}
	return groups
}

// weigh loads what is known of the commitments and judges the claims on them,
// on all processors and one request of the vendor at a time. It refuses with
// RateLimited.
func (b *Broker) weigh(ctx context.Context, current *batch, groups []*claimed) (payword.Refusal, error) {
	leave, refusal := b.enterVendor(ctx, current.vendor)
	if refusal.Refused() {
		return refusal, nil
	}
	defer leave()
	b.keys(ctx) // those of now, for trustedKeys: a stream runs for minutes, and a stolen key is withdrawn at once
	if err := b.store.loadClaimed(ctx, groups); err != nil {
		return payword.Refusal{}, err
	}
	for _, g := range groups {
		if g.fault != nil {
			b.logUnsound(ctx, g.id.String(), g.fault)
		}
	}
	if err := b.judgeAll(ctx, current, groups); err != nil {
		return payword.Refusal{}, err
	}
	return payword.Refusal{}, b.store.fail(ctx, "judged redemption")
}

// settle pays what was judged, and weighs and pays again what somebody else
// changed meanwhile, until every claim has its result. It refuses with
// RateLimited.
func (b *Broker) settle(ctx context.Context, current *batch, waiting []*claimed) (refusal payword.Refusal, err error) {
	left := count(waiting)
	for stalled := 0; ; {
		if waiting, err = b.payAll(ctx, current, waiting); err != nil || len(waiting) == 0 {
			return payword.Refusal{}, err
		}
		if now := count(waiting); now < left {
			left, stalled = now, 0
		} else if stalled++; stalled == maxRounds {
			return payword.Refusal{}, errContended
		}
		if refusal, err = b.weigh(ctx, current, waiting); err != nil || refusal.Refused() {
			return refusal, err
		}
	}
}

func count(groups []*claimed) (claims int) {
	for _, g := range groups {
		claims += len(g.claims)
	}
	return claims
}

// judgeAll decides every claim and writes the results of those that change
// nothing; a commitment's turn comes as a whole.
func (b *Broker) judgeAll(ctx context.Context, current *batch, groups []*claimed) error {
	now, graceSeconds := b.now(), int64(b.config.Grace/time.Second)
	err := b.onAllProcessors(ctx, len(groups), groupsParsedTogether(payword.IsBatchFaster()), func(from, to int) { b.parseAll(current, groups[from:to]) })
	if err != nil {
		return err
	}
	// In the order of the request, so that which claims are left over does not
	// depend on the processors.
	for _, g := range groups {
		current.allot(g)
	}
	return b.onAllProcessors(ctx, len(groups), groupsJudgedTogether, func(from, to int) {
		judgeTogether(current, groups[from:to], now, graceSeconds)
	})
}

// groupsJudgedTogether is how many commitments a processor judges at a time: some
// milliseconds of work, so that the requests of several vendors share the
// processors, and enough to fill sixteen lanes of hashes twice.
const groupsJudgedTogether = 32

// groupsParsedTogether is how many it parses at a time: a part of a request, for
// which a batch of signatures is worth its fixed cost. Where signatures are checked
// one by one, it is a millisecond of them, so that all processors share the part.
func groupsParsedTogether(isBatchFaster bool) int {
	if isBatchFaster {
		return redemptionsPerTransaction
	}
	return 8
}

// onAllProcessors calls work for the numbers below count, some at a time, on as
// many processors as are free.
func (b *Broker) onAllProcessors(ctx context.Context, count, atATime int, work func(from, to int)) error {
	var next atomic.Int64
	workers, ctx := errgroup.WithContext(ctx)
	for range min(runtime.GOMAXPROCS(0), (count+atATime-1)/atATime) {
		workers.Go(func() error {
			for {
				to := int(next.Add(int64(atATime)))
				from := to - atATime
				if from >= count {
					return nil
				}
				select {
				case b.hashing <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				work(from, min(to, count))
				<-b.hashing
			}
		})
	}
	return workers.Wait()
}

// refuse settles a claim with a refusal.
func (r *redemption) refuse(current *batch, known record, refusal payword.Refusal) {
	r.due, r.closes = 0, false
	r.conclude(current, known, refusal)
}

// conclude writes the result of a claim that moves nothing. known is the record
// of its commitment.
func (r *redemption) conclude(current *batch, known record, refusal payword.Refusal) {
	r.result.Reason, r.result.Detail, r.result.Paid, r.result.Due = refusal.Reason, refusal.Detail, 0, 0
	isProved := !current.isUnproved || r.claim.Token != ""
	if known.vendor == current.vendor && isProved {
		r.result.Paid = known.redeemed.Paid
	}
	r.isSettled = true
}

// parser is a *payword.Verifier, which checks signatures at once, or a
// *payword.Batch, which checks them later.
type parser interface {
	ParseCommitment(token string, brokers payword.Brokers) (payword.Commitment, payword.Refusal)
	ParseClaim(token string, vendorKey ed25519.PublicKey) (payword.Claim, payword.Refusal)
}

// parseAll parses all, and checks their signatures together. What was read with
// a signature that turns out not to be valid is read again, one signature after
// the other, so that every claim has the result that it has by itself. Where
// nothing is proved together, nothing is read twice.
func (b *Broker) parseAll(current *batch, groups []*claimed) {
	if !payword.IsBatchFaster() {
		for _, g := range groups {
			b.parse(current, g, current.verifier)
		}
		return
	}
	together := current.verifier.NewBatch()
	ends := make([]int, len(groups)) // of each one's signatures
	for k, g := range groups {
		b.parse(current, g, together)
		ends[k] = together.Len()
	}
	areValid, from := together.Verify(), 0
	for k, g := range groups {
		if slices.Contains(areValid[from:ends[k]], false) {
			g.forget()
			b.parse(current, g, current.verifier)
		}
		from = ends[k]
	}
}

// forget undoes what parse did.
func (g *claimed) forget() {
	g.m = payword.Commitment{}
	for _, r := range g.claims {
		r.claim, r.isSettled, r.result = payword.Claim{}, false, payword.RedemptionResult{Commitment: g.id}
	}
}

// parse reads the commitment, the reservations and the claims, once, and checks
// their signatures. Those of a commitment that is stored were checked before.
func (b *Broker) parse(current *batch, g *claimed, by parser) {
	if g.fault != nil {
		for _, r := range g.claims {
			r.refuse(current, record{}, unsound(g.id))
		}
		return
	}
	var refusal payword.Refusal
	if g.m.Token == "" {
		g.m, refusal = b.parseStored(g.claims[0].request.Commitment, g.before, by)
	}
	for _, r := range g.claims {
		if r.isSettled = false; r.claim.Token != "" {
			continue
		}
		if refusal := b.parseClaimed(current, g, r, by, refusal); refusal.Refused() {
			r.refuse(current, g.before, refusal)
		}
	}
}

// parseClaimed reads a claim and the reservation with it. refusal is what is
// wrong with its commitment.
func (b *Broker) parseClaimed(current *batch, g *claimed, r *redemption, by parser, refusal payword.Refusal) payword.Refusal {
	switch {
	case refusal.Refused():
		return refusal
	case r.request.Commitment != g.m.Token:
		return refuse(payword.MalformedCommitment, "another commitment has the same id")
	}
	// The broker's own record decides, whichever word of it the vendor holds.
	// Without one, a word that is not the broker's is refused, and one that is
	// makes the commitment no more than unreserved.
	if token := r.request.Reservation; token != "" && g.before.sequence == 0 {
		if _, refusal := payword.ParseReservation(token, &g.m, b.trustedKeys()); refusal.Refused() {
			return refusal
		}
	}
	r.claim, refusal = parseClaim(r.request.Claim, current.keys, by)
	return refusal
}

func (b *Broker) parseStored(token string, stored record, by parser) (payword.Commitment, payword.Refusal) {
	if stored.version == 0 {
		return by.ParseCommitment(token, b.trustedKeys())
	}
	m, err := payword.StoredCommitment(stored.id, stored.token)
	if err != nil || token != stored.token {
		return payword.Commitment{}, refuse(payword.MalformedCommitment, "another commitment has the same id")
	}
	return m, payword.Refusal{}
}

// parseClaim reads a claim that one of the vendor's keys signed.
func parseClaim(token string, keys []ed25519.PublicKey, by parser) (claim payword.Claim, refusal payword.Refusal) {
	for _, key := range keys {
		if claim, refusal = by.ParseClaim(token, key); refusal.Reason != payword.BadClaim {
			return claim, refusal
		}
	}
	return claim, refusal
}

// allot takes the hashes of a commitment's claims from those of the request.
func (b *batch) allot(g *claimed) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	low, high := g.before.redeemed.Tails, g.before.redeemed.Tails
	for _, r := range g.claims {
		if r.isSettled {
			continue
		}
		steps := stepsOf(low, high, r.claim)
		if steps > b.steps {
			r.refuse(b, g.before, refuse(payword.RateLimited, "this takes %d hashes, more than are left for this request: ask for it again", steps))
			continue
		}
		b.steps -= steps
		for k, tail := range r.claim.Tails {
			high[k].Index = max(high[k].Index, tail.Index)
		}
	}
}

// stepsOf returns how many hashes checking the claim takes at most, if the
// known tails are somewhere between low and high.
func stepsOf(low, high [payword.MaxChains]payword.Tail, claim payword.Claim) int {
	steps := 0
	for k, tail := range claim.Tails {
		if tail.Index > 0 {
			steps += max(int(tail.Index)-int(low[k].Index), int(high[k].Index)-int(tail.Index))
		}
	}
	return steps
}

// judgeTogether decides what each claim adds to what the ones before it on the
// same commitment make of the record. The first claims of all commitments come
// first, then the second ones, so that their chains are hashed side by side. It
// changes the groups alone.
func judgeTogether(current *batch, groups []*claimed, now, graceSeconds int64) {
	for turn, isDone := 0, false; !isDone; turn++ {
		var questions []question
		var cases []payword.ClaimCase
		isDone = true
		for _, g := range groups {
			if turn >= len(g.claims) {
				continue
			}
			isDone = false
			if r := g.claims[turn]; !r.isSettled {
				known := g.known(current, turn, graceSeconds)
				if refusal := r.mayBeJudged(current, known, now); refusal.Refused() {
					r.refuse(current, known, refusal)
					continue
				}
				questions = append(questions, question{r, known})
				cases = append(cases, payword.ClaimCase{Commitment: &g.m, Before: known.redeemed, Claim: &r.claim, Ceiling: known.ceiling(&g.m)})
			}
		}
		payword.JudgeClaims(cases)
		for k, q := range questions {
			q.claim.take(current, q.known, &cases[k], now)
		}
	}
}

// question is a claim, and the record that it is judged by.
type question struct {
	claim *redemption
	known record
}

// known returns the record that the claim of a turn is judged by: the stored one
// or a new one, after the claims before it.
func (g *claimed) known(current *batch, turn int, graceSeconds int64) record {
	known := g.current(turn)
	if known.version == 0 && known.token == "" && current.state != vendorBlocked {
		known = record{
			id: g.id, token: g.m.Token, vendor: g.m.Vendor, redeemBy: g.m.Expires + graceSeconds,
			redeemed: payword.NewRedeemed(&g.m),
		}
	}
	return known
}

// mayBeJudged refuses what need not be hashed for.
func (r *redemption) mayBeJudged(current *batch, known record, now int64) payword.Refusal {
	switch {
	case known.version == 0 && known.token == "": // which a blocked vendor's stays
		return refuse(payword.VendorBlocked, "this broker has blocked the vendor, and nothing was reserved for this commitment before: ask for it again later")
	case r.claim.Vendor != current.vendor:
		return refuse(payword.WrongVendor, "the claim is by %s, the request by %s", r.claim.Vendor, current.vendor)
	case known.isLate(now) && r.claim.Amount > known.redeemed.Paid:
		return refuse(payword.ClaimTooLate, "claims on this commitment were paid until %s", time.Unix(known.redeemBy, 0).UTC().Format(time.RFC3339))
	}
	return payword.Refusal{}
}

func (r *record) isLate(now int64) bool { return now >= r.redeemBy }

// take writes down what was decided about the claim. It changes r alone.
func (r *redemption) take(current *batch, known record, decided *payword.ClaimCase, now int64) {
	if decided.Refusal.Refused() {
		r.refuse(current, known, decided.Refusal)
		return
	}
	r.due = decided.Due
	// Closing what is not stored would store it, and cost whoever asks nothing.
	isStored := known.version > 0 || decided.After.Paid > 0
	r.closes = r.claim.Final && !known.closed && !known.isLate(now) && isStored
	r.after = known.paid(decided.After, r)
	if !r.changes() {
		r.conclude(current, known, payword.Refusal{})
	}
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

// paid returns the record as it is once a claim is paid.
func (r record) paid(redeemed payword.Redeemed, by *redemption) record {
	r.redeemed = redeemed
	if by.due > 0 {
		r.claim = by.request.Claim
	}
	if r.sequence > 0 {
		r.held = max(0, r.held-by.due)
	}
	if by.closes {
		r.held, r.closed = 0, true
	}
	return r
}
