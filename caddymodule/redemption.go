package caddymodule

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	// redeemTimeout bounds one request to a broker: a batch of hundreds of
	// signatures and a million hashes takes it a second.
	redeemTimeout = time.Minute

	// maxAnswerBytes bounds what a broker answers: 300 bytes a claim, with room.
	maxAnswerBytes = 1 << 20
)

// Redemption is what one round of claiming from the brokers came to.
type Redemption struct {
	Claims  int          `json:"claims"`  // sent
	Paid    int          `json:"paid"`    // accepted
	Refused int          `json:"refused"` // refused, and logged with the reason
	Due     money.Amount `json:"due"`     // newly payable to the vendor, in micros
}

// redeemPeriodically claims until ctx ends: when the interval is over, when a
// broker that failed is due again, and when the sampler says that it is urgent.
func (a *App) redeemPeriodically(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.gate.urgent:
		case <-time.After(a.untilRedemption()):
		}
		if _, err := a.redeem(ctx, false); err != nil && ctx.Err() == nil {
			a.logger.Warn("claiming from the brokers; it is tried again", zap.Error(err))
		}
	}
}

// firstRedemption is how long after it opened a gate first claims: soon, so that
// one that is restarted often claims at all.
const firstRedemption = time.Minute

// untilRedemption returns the time to the next round. It goes on over reloads
// of the configuration.
func (a *App) untilRedemption() time.Duration {
	interval := time.Duration(*a.RedeemInterval)
	due := a.gate.openedAt.Add(min(interval, firstRedemption))
	if last := a.gate.redeemedAt.Load(); last != nil {
		due = last.Add(interval)
	}
	if retry, waits := a.gate.turns.next(); waits && retry.Before(due) {
		due = retry
	}
	return max(0, due.Sub(a.now()))
}

// batchKey is what can go to a broker in one request.
type batchKey struct{ broker, vendor string }

// redeem claims everything that can be claimed, once. What a broker does not
// answer is claimed again the next time: claims are cumulative, so nothing is
// paid twice, and a crash at any point costs nothing but asking again. Each
// broker is asked by itself, so one that is slow or away delays its own claims
// alone. Unless at once is set, brokers that failed and claims that were refused
// are left alone until their time has come.
func (a *App) redeem(ctx context.Context, atOnce bool) (Redemption, error) {
	select {
	case a.gate.redeeming <- struct{}{}:
	case <-ctx.Done():
		return Redemption{}, ctx.Err()
	}
	began := a.now()
	defer func() {
		a.gate.turns.forgetDue(began)
		ended := a.now()
		a.gate.redeemedAt.Store(&ended)
		<-a.gate.redeeming
	}()
	var total Redemption
	for {
		done, more, err := a.redeemRound(ctx, atOnce)
		total.add(done)
		// A round in which nobody paid is no reason for another one at once: what
		// was refused may be sent again in it, and so on for ever.
		if err != nil || !more || done.Paid == 0 {
			return total, errors.Join(err, a.takeSample(ctx))
		}
	}
}

// add adds what another round came to.
func (r *Redemption) add(other Redemption) {
	r.Claims += other.Claims
	r.Paid += other.Paid
	r.Refused += other.Refused
	r.Due += other.Due
}

// claimDelaySeconds is ClaimDelay as the store takes it.
func (a *App) claimDelaySeconds() int64 { return int64(time.Duration(*a.ClaimDelay) / time.Second) }

// redeemRound walks once through what can be claimed, while each broker is sent
// its claims. It reports whether some were left for another round.
func (a *App) redeemRound(ctx context.Context, atOnce bool) (done Redemption, more bool, err error) {
	rounds := make(map[string]*redemptionRound)
	var group sync.WaitGroup
	err = a.gate.store.claimables(ctx, a.now().Unix(), a.claimDelaySeconds(), func(c claimable) bool {
		broker := c.commitment.Certificate.Issuer
		round := rounds[broker]
		if round == nil {
			round = a.newRedemptionRound(broker, atOnce)
			rounds[broker] = round
			group.Go(func() { round.run(ctx) })
		}
		if !round.rests && !a.gate.turns.holds(&c, a.now(), atOnce) {
			more = !round.add(c) || more
		}
		return ctx.Err() == nil
	})
	failures := []error{err}
	for _, round := range rounds {
		close(round.queue)
	}
	group.Wait()
	for _, round := range rounds {
		done.add(round.done)
		failures = append(failures, round.failure)
	}
	return done, more, errors.Join(failures...)
}

// maxWaitingBatches bounds what waits for a slow broker, at some 150 kB each;
// what is beyond it is left for another round, so that nobody else waits.
const maxWaitingBatches = 64

// redemptionRound is one round of claiming from one broker.
type redemptionRound struct {
	*App
	broker  string
	rests   bool // it failed, and is left alone
	queue   chan []claimable
	batches map[string][]claimable // not yet full, by vendor
	done    Redemption
	failure error
}

func (a *App) newRedemptionRound(broker string, atOnce bool) *redemptionRound {
	return &redemptionRound{
		App: a, broker: broker, rests: !atOnce && a.gate.turns.rests(broker, a.now()),
		queue: make(chan []claimable, maxWaitingBatches), batches: make(map[string][]claimable),
	}
}

// add puts a claim in a batch, and reports whether there was room for it.
func (r *redemptionRound) add(c claimable) bool {
	vendor := c.commitment.Vendor
	if len(r.batches[vendor]) < payword.MaxRedemptionsPerRequest {
		r.batches[vendor] = append(r.batches[vendor], c)
		return true
	}
	select {
	case r.queue <- r.batches[vendor]:
		r.batches[vendor] = []claimable{c}
		return true
	default:
		return false
	}
}

// run claims until everything was sent or the broker failed. The batches that
// did not get full are its own when the queue is closed.
func (r *redemptionRound) run(ctx context.Context) {
	for batch := range r.queue {
		r.send(ctx, batch)
	}
	for _, batch := range r.batches {
		r.send(ctx, batch)
	}
}

// send claims one batch and notes how the broker answered.
func (r *redemptionRound) send(ctx context.Context, batch []claimable) {
	if r.failure != nil {
		return
	}
	vendor := batch[0].commitment.Vendor
	done, err := r.redeemBatch(ctx, batchKey{broker: r.broker, vendor: vendor}, batch)
	r.done.add(done)
	var failed *brokerError
	switch {
	case errors.As(err, &failed):
		if ctx.Err() == nil { // else it is we who broke off
			r.gate.turns.failed(r.broker, r.now(), failed.retryAfter)
		}
		r.gate.metrics.claims.WithLabelValues(r.broker, "failed").Add(float64(len(batch)))
	case err == nil:
		r.gate.turns.answered(r.broker)
		r.emit(EventRedeemed, map[string]any{
			"broker": r.broker, "vendor": vendor, "claims": done.Claims, "paid": done.Paid,
			"refused": done.Refused, "due_micros": int64(done.Due),
		})
	}
	r.failure = err
}

func (a *App) redeemBatch(ctx context.Context, key batchKey, batch []claimable) (Redemption, error) {
	request, err := a.signClaims(key, batch)
	if err != nil {
		return Redemption{}, err
	}
	var answer payword.RedemptionAnswer
	problem, err := a.ask(ctx, key.broker, payword.PathRedemptions, request, &answer)
	if err == nil && problem.Reason == payword.UnknownVendor {
		// The broker does not know us yet. It will look at our origin.
		registration := payword.VendorRequest{
			Vendor: key.vendor, Key: payword.NewPublicKey(a.gate.key.Public().(ed25519.PublicKey)),
		}
		if problem, err = a.ask(ctx, key.broker, payword.PathVendors, registration, &payword.Vendor{}); err == nil && problem.Reason == payword.Accepted {
			problem, err = a.ask(ctx, key.broker, payword.PathRedemptions, request, &answer)
		}
	}
	done := Redemption{Claims: len(batch)}
	switch {
	case err != nil:
	case problem.Reason != payword.Accepted:
		err = &brokerError{cause: fmt.Errorf("%s: %s", problem.Reason, problem.Detail)}
	case len(answer.Results) != len(batch):
		err = &brokerError{cause: fmt.Errorf("%d results for %d claims", len(answer.Results), len(batch))}
	default:
		return a.record(ctx, key, batch, answer)
	}
	return done, fmt.Errorf("claiming from %s: %w", key.broker, err)
}

// signClaims makes the request that claims a batch.
func (a *App) signClaims(key batchKey, batch []claimable) (payword.RedemptionRequest, error) {
	request := payword.RedemptionRequest{Vendor: key.vendor, Redemptions: []payword.Redemption{}}
	for _, c := range batch {
		claim, err := payword.SignClaim(payword.Claim{
			Vendor: key.vendor, Broker: key.broker, Commitment: c.commitment.ID, Tails: c.tails,
			Amount: c.amount, Final: c.final, IssuedAt: a.now().Unix(),
		}, a.gate.key)
		if err != nil {
			return request, err
		}
		request.Redemptions = append(request.Redemptions, payword.Redemption{
			Commitment: c.commitment.Token, Reservation: c.reservation, Claim: claim.Token,
		})
	}
	return request, nil
}

// record notes what the broker paid.
func (a *App) record(ctx context.Context, key batchKey, batch []claimable, answer payword.RedemptionAnswer) (Redemption, error) {
	done := Redemption{Claims: len(batch)}
	for i, result := range answer.Results {
		c := batch[i]
		if result.Reason != payword.Accepted || result.Commitment != c.commitment.ID || result.Paid < c.amount {
			done.Refused++
			a.refused(key, &c, result)
			continue
		}
		if err := a.gate.store.acknowledge(ctx, c.commitment.ID, c.amount, c.final); err != nil {
			return done, err
		}
		done.Paid++
		done.Due += result.Due
		a.gate.turns.paid(c.commitment.ID)
		a.gate.metrics.claims.WithLabelValues(key.broker, "paid").Inc()
		a.gate.metrics.due.WithLabelValues(key.broker, c.commitment.Currency.Code()).Add(float64(max(0, result.Due)))
	}
	return done, nil
}

// refused notes a claim that the broker refused. It is logged when it is new,
// not every time that it is tried again.
func (a *App) refused(key batchKey, c *claimable, result payword.RedemptionResult) {
	final := isFinalRefusal(result.Reason)
	a.gate.metrics.claims.WithLabelValues(key.broker, resultRefused).Inc()
	a.gate.metrics.claimRefusals.WithLabelValues(key.broker, result.Reason.String()).Inc()
	if !a.gate.turns.refused(c, result.Reason, a.now()) {
		return
	}
	pseudonym := a.gate.pseudonym(c.commitment.ID)
	a.logger.Error("a broker refused a claim", zap.String("broker", key.broker), zap.String("vendor", key.vendor),
		zap.String("commitment", pseudonym), zap.Stringer("reason", result.Reason), zap.Bool("final", final),
		zap.String("detail", result.Detail))
	a.emit(EventClaimRefused, map[string]any{
		"broker": key.broker, "vendor": key.vendor, "reason": result.Reason.String(), "pseudonym": pseudonym, "final": final,
	})
}

// ask sends one signed request to a broker. A refusal comes back as a problem;
// an error means that we do not know what the broker did.
func (a *App) ask(ctx context.Context, broker, path string, body, answer any) (payword.Problem, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return payword.Problem{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, redeemTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, broker+path, bytes.NewReader(encoded))
	if err != nil {
		return payword.Problem{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	var nonce payword.Nonce
	rand.Read(nonce[:])
	if err := payword.SignRequest(request, encoded, a.gate.key, nonce, a.now().Unix()); err != nil {
		return payword.Problem{}, err
	}
	response, err := redeemClient.Do(request)
	if err != nil {
		return payword.Problem{}, &brokerError{cause: err}
	}
	defer response.Body.Close()
	document, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return payword.Problem{}, &brokerError{cause: err}
	}
	if response.StatusCode/100 == 2 {
		if err := json.Unmarshal(document, answer); err != nil {
			return payword.Problem{}, &brokerError{cause: err}
		}
		return payword.Problem{}, nil
	}
	var problem payword.Problem
	retryAfter := readRetryAfter(response.Header.Get("Retry-After"), a.now())
	err = json.Unmarshal(document, &problem)
	if err != nil || problem.Reason == payword.Accepted || retryAfter > 0 {
		return payword.Problem{}, &brokerError{cause: fmt.Errorf("the broker answered %s", response.Status), retryAfter: retryAfter}
	}
	return problem, nil
}

var redeemClient = &http.Client{Timeout: redeemTimeout, CheckRedirect: refuseRedirect}
