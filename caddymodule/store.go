package caddymodule

import (
	"context"
	"errors"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// errUnknownCommitment means that the store has never seen a commitment, or has
// forgotten it after its redeem_by. This and errCreditLimit are the errors of a
// store that are answers; every other means that we could not tell.
var errUnknownCommitment = errors.New("the commitment is not known")

// opening is a commitment to be remembered, with all that redeeming it takes.
type opening struct {
	commitment  *payword.Commitment // verified; never changed afterwards
	reservation string              // JWS; "" if it is unreserved
	amount      money.Amount        // the most to accept, in micros: reserved, or the limit
	sequence    uint32              // of the reservation; 0 if it is unreserved
	redeemBy    int64               // seconds since 1970; until then it is kept
	credit      creditTerms         // if it is unreserved; redeemBy is after the day
}

// view is what one step of a store saw of a commitment, after the step.
type view struct {
	outline
	tails [payword.MaxChains]payword.Tail
}

// outline is a view without the tails.
type outline struct {
	commitment  *payword.Commitment
	accepted    money.Amount // in micros
	spent       money.Amount // in micros
	closed      bool
	reservation string // JWS, the newest
}

// chainView is a view with the tail of one chain alone. A request pays with one,
// and each takes the memory for what it saw.
type chainView struct {
	outline
	chain uint8
	tail  payword.Tail // zero if the commitment has no such chain
}

// of returns what a view says of one chain.
func (v *view) of(chain uint8) chainView {
	seen := chainView{outline: v.outline, chain: chain}
	if int(chain) < len(v.tails) {
		seen.tail = v.tails[chain]
	}
	return seen
}

// claimable is a commitment on which something new can be claimed.
type claimable struct {
	commitment  *payword.Commitment
	reservation string
	tails       []payword.Tail // one per chain of the commitment
	amount      money.Amount   // cumulative, in micros; more than was acknowledged, or final
	final       bool           // closed or expired, and nothing can be given back: the last claim
}

// store keeps the commitments that were opened at a gate and what was paid on
// them. Every method that changes something is one atomic step: no other step
// on the same commitment comes between reading and writing, the step is what
// the method of payword.State with the same name does, and it is durable before
// the method returns. A step that failed with an error may have been done or
// not; doing it again is safe, because request numbers tell. All methods may be
// called concurrently.
type store interface {
	// open remembers a commitment. If it is known already, its reservation is
	// topped up where the new one has a higher sequence number, and nothing
	// else changes.
	//
	// An unreserved one takes a share of the day's credit, its limit, from two
	// sums: of its user (issuer, subject, currency) and of all users (currency).
	// Where either would exceed its cap nothing is remembered and nothing taken:
	// errCreditLimit. One that is known already takes nothing, whatever the sums
	// are, so asking twice, or again because the answer was lost, takes one
	// share; a step that failed may have taken it and not remembered the
	// commitment, and gives it back no later than at the end of the day. What is
	// remembered never exceeds a cap, however many open at once.
	//
	// A reservation of its whole limit makes an unreserved commitment a reserved
	// one and gives its share back, once, to the day that it was opened on. A
	// lower one is passed over: with it the broker would answer for less than
	// what may have been accepted already.
	open(ctx context.Context, o opening) (view, error)

	// find returns what is known of a commitment, or errUnknownCommitment. A
	// store that several processes share may answer with what this one saw last:
	// the tails may stand lower, and a charge still decides on the newest.
	find(ctx context.Context, id payword.CommitmentID) (view, error)

	// recall is find where that needs no disk, no network and no waiting: it fills
	// seen in, for a chain, and reports true, or reports false for find to be asked.
	// It shows nothing that find would wait for.
	recall(id payword.CommitmentID, chain uint8, seen *chainView) bool

	// findNewest is find, but never answers with less than what stands in the
	// store. It is asked before somebody is refused for what find said.
	findNewest(ctx context.Context, id payword.CommitmentID) (view, error)

	// charge is payword.State.Charge. A charge that is Single is also refused with
	// payword.ChallengeUsed if its fingerprint was granted on another commitment
	// in the last payword.RefundSeconds; its tail is raised all the same.
	// errUnknownCommitment.
	charge(ctx context.Context, id payword.CommitmentID, c payword.Charge) (payword.Outcome, view, error)

	// advance is payword.State.Advance: a genuine payword of a request that was
	// refused, or that pays for nothing. errUnknownCommitment.
	advance(ctx context.Context, id payword.CommitmentID, chain uint8, tail payword.Tail) (view, error)

	// giveBack is payword.State.GiveBack and returns the amount given back, in
	// micros. errUnknownCommitment.
	giveBack(ctx context.Context, id payword.CommitmentID, number uint64, now int64) (money.Amount, view, error)

	// trueUp is payword.State.TrueUp: the true cost of a request is known, in
	// micros, and is less than was charged. It returns what was given back.
	// errUnknownCommitment.
	trueUp(ctx context.Context, id payword.CommitmentID, number uint64, price money.Amount, now int64) (money.Amount, view, error)

	// flow is payword.State.Flow: another amount, in micros, for an answer that
	// is being delivered. Unlike the other steps it is not safe to do again after
	// an error, because no number tells: the stream ends instead.
	// errUnknownCommitment.
	flow(ctx context.Context, id payword.CommitmentID, amount money.Amount) (payword.Outcome, view, error)

	// finish closes a commitment for its owner. errUnknownCommitment.
	finish(ctx context.Context, id payword.CommitmentID) (view, error)

	// claimables calls yield for every commitment on which more can be claimed
	// at now than was acknowledged, or whose last claim is due, and stops when
	// it returns false. refundSeconds is as in payword.State.Claimable. Nothing
	// can be claimed any more SkewSeconds after redeem_by. The store may change
	// while yield runs, by yield too. now is the clock by which a store forgets.
	claimables(ctx context.Context, now, refundSeconds int64, yield func(claimable) bool) error

	// acknowledge records that the broker paid up to a cumulative amount, in
	// micros, and whether that was the last claim. errUnknownCommitment.
	acknowledge(ctx context.Context, id payword.CommitmentID, amount money.Amount, final bool) error
}
