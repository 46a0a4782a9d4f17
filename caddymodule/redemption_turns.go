package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	// firstRetry is how long a broker that failed is left alone the first time;
	// each further failure doubles that, up to maxRetry.
	firstRetry = 30 * time.Second
	maxRetry   = time.Hour

	// maxRetryAfter bounds what a broker may ask for: longer, and a broker that
	// is wrong about the time would never be asked again.
	maxRetryAfter = 24 * time.Hour

	// refusedRetry and maxRefusedRetry are the same for a claim that a broker
	// refused for a reason that may pass.
	refusedRetry    = time.Hour
	maxRefusedRetry = 24 * time.Hour

	// maxRefusedClaims bounds the memory of refused claims, at 100 bytes each.
	// Past it more are tried again with every round.
	maxRefusedClaims = 100_000

	// refusedKept is how long a refused claim is remembered that no round comes
	// across any more, because the store has forgotten its commitment.
	refusedKept = 7 * 24 * time.Hour

	// defaultRedeemMargin leaves a day to notice that a broker does not pay.
	defaultRedeemMargin = 24 * time.Hour
	maxRedeemMargin     = 90 * 24 * time.Hour
)

// brokerError means that we do not know what a broker did, or that it refused
// everything that was asked.
type brokerError struct {
	cause      error
	retryAfter time.Duration // what the broker asked for; 0: nothing
}

// Error implements error.
func (e *brokerError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *brokerError) Unwrap() error { return e.cause }

// readRetryAfter reads a Retry-After header: seconds, or a date. It returns 0
// if there is none that makes sense.
func readRetryAfter(value string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(0, wait), maxRetryAfter)
}

// isFinalRefusal reports whether a broker will say the same of the same claim
// for ever. Such a claim is sent again only when it has changed: when more was
// spent, or a newer reservation came. What is left over may pass by itself, as
// when keys were changed or the vendor's origin was away.
func isFinalRefusal(reason payword.Reason) bool {
	switch reason {
	case payword.ClaimTooLate, payword.ClaimOverTails, payword.ClaimOverLimit,
		payword.MalformedCommitment, payword.MalformedCertificate, payword.MalformedReservation, payword.MalformedClaim,
		payword.BadCommitment, payword.BadReservation, payword.ReservationMismatch, payword.ReservationRequired,
		payword.OverCertificateLimit, payword.WrongVendor, payword.WrongCurrency, payword.UnknownAccount, payword.RootReused:
		return true
	}
	return false
}

// turns says when which broker may be asked again, and which claims not. It
// survives reloads; after a restart everything is tried once more.
type turns struct {
	random func() float64 // 0 to 1, for the jitter

	mutex   sync.Mutex
	brokers map[string]brokerTurn
	claims  map[payword.CommitmentID]refusedClaim
	sweptAt time.Time // of the refused claims
}

// brokerTurn is a broker that failed.
type brokerTurn struct {
	failures  int
	notBefore time.Time
}

// refusedClaim is a claim that its broker refused.
type refusedClaim struct {
	amount      money.Amount // in micros
	final       bool         // the claim was the last of its commitment
	reservation [8]byte      // the end of the reservation's signature, to tell a newer one
	reason      payword.Reason
	times       int
	notBefore   time.Time
	lookedAt    time.Time // when a round came across it last
}

func newTurns() *turns {
	return &turns{
		random: rand.Float64, brokers: make(map[string]brokerTurn), claims: make(map[payword.CommitmentID]refusedClaim),
	}
}

// backoff doubles a time with every failure, up to a most, and takes up to half
// of it off at random, so that many gates do not come back at once.
func (t *turns) backoff(first, most time.Duration, failures int) time.Duration {
	wait := most
	if failures < 16 {
		wait = min(most, first<<(failures-1))
	}
	return wait - time.Duration(t.random()*float64(wait/2))
}

// failed notes that a broker did not answer, or refused everything.
func (t *turns) failed(broker string, now time.Time, retryAfter time.Duration) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	turn := t.brokers[broker]
	turn.failures++
	wait := max(retryAfter, t.backoff(firstRetry, maxRetry, turn.failures))
	turn.notBefore = now.Add(wait)
	t.brokers[broker] = turn
}

// answered notes that a broker did its work.
func (t *turns) answered(broker string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	delete(t.brokers, broker)
}

// rests reports whether a broker is to be left alone.
func (t *turns) rests(broker string, now time.Time) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return now.Before(t.brokers[broker].notBefore)
}

// next returns when the first broker that failed is due again.
func (t *turns) next() (next time.Time, waits bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	for _, turn := range t.brokers {
		if !waits || turn.notBefore.Before(next) {
			next, waits = turn.notBefore, true
		}
	}
	return next, waits
}

// forgetDue forgets the brokers whose turn a round that began at a time was, and
// who did not fail in it again: they answered, or there was nothing to ask them.
func (t *turns) forgetDue(began time.Time) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	maps.DeleteFunc(t.brokers, func(_ string, turn brokerTurn) bool { return !turn.notBefore.After(began) })
}

// refused notes a refused claim and reports whether that is news.
func (t *turns) refused(c *claimable, reason payword.Reason, now time.Time) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	known, isKnown := t.claims[c.commitment.ID]
	if !isKnown && len(t.claims) >= maxRefusedClaims && !t.sweep(now) {
		return true
	}
	refused := refusedClaim{
		amount: c.amount, final: c.final, reservation: endOf(c.reservation), reason: reason, times: known.times + 1,
		lookedAt: now,
	}
	refused.notBefore = now.Add(t.backoff(refusedRetry, maxRefusedRetry, refused.times))
	t.claims[c.commitment.ID] = refused
	return !isKnown || known.reason != reason
}

// sweep makes room for refused claims, at most once an hour, and reports whether
// there is some. The caller holds mutex.
func (t *turns) sweep(now time.Time) bool {
	if now.Before(t.sweptAt.Add(time.Hour)) {
		return false
	}
	t.sweptAt = now
	maps.DeleteFunc(t.claims, func(_ payword.CommitmentID, refused refusedClaim) bool {
		return now.After(refused.lookedAt.Add(refusedKept))
	})
	return len(t.claims) < maxRefusedClaims
}

// paid forgets that a claim was refused.
func (t *turns) paid(id payword.CommitmentID) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	delete(t.claims, id)
}

// holds reports whether a claim is not to be sent now. What was refused for good
// stays so until the claim changes, even where everything is to be tried at
// once.
func (t *turns) holds(c *claimable, now time.Time, atOnce bool) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	known, isKnown := t.claims[c.commitment.ID]
	if isKnown {
		known.lookedAt = now
		t.claims[c.commitment.ID] = known
	}
	if !isKnown || known.amount != c.amount || known.final != c.final || known.reservation != endOf(c.reservation) {
		return false
	}
	return isFinalRefusal(known.reason) || !atOnce && now.Before(known.notBefore)
}

// endOf returns the end of a signed object, where its signature stands.
func endOf(token string) (end [8]byte) {
	copy(end[:], token[max(0, len(token)-len(end)):])
	return end
}

// validateRedemption checks what says when to claim.
func (a *App) validateRedemption() error {
	if a.RedeemAbove != "" {
		amount, currency, err := parsePrice(a.RedeemAbove)
		if err != nil {
			return fmt.Errorf("payword: redeem_above: %w", err)
		}
		if amount < 1 {
			return errors.New("payword: redeem_above: want more than 0")
		}
		a.redeemAbove, a.redeemAboveCurrency = amount, currency
	}
	if a.RedeemMargin == 0 {
		a.RedeemMargin = caddy.Duration(defaultRedeemMargin)
	}
	if a.RedeemMargin < caddy.Duration(time.Second) || a.RedeemMargin > caddy.Duration(maxRedeemMargin) {
		return errors.New("payword: redeem_margin: want 1s to 90d")
	}
	return nil
}

// isRedemptionUrgent reports whether claiming must not wait for the interval.
func (a *App) isRedemptionUrgent(taken *sample) bool {
	if a.redeemAbove > 0 && taken.byCurrency[a.redeemAboveCurrency].claimable >= a.redeemAbove {
		return true
	}
	return taken.waiting && taken.margin < time.Duration(a.RedeemMargin)
}

// wakeRedemption makes the job claim now, if one runs.
func (g *gate) wakeRedemption() {
	select {
	case g.urgent <- struct{}{}:
	default: // it is awake already
	}
}

func readRedeemAbove(a *App, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) != 2 {
		return d.Err("want redeem_above <amount> <currency>, such as: redeem_above 100 USD")
	}
	a.RedeemAbove = strings.Join(arguments, " ")
	return nil
}
