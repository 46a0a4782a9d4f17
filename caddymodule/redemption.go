package caddymodule

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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

// redeemPeriodically claims until ctx ends.
func (a *App) redeemPeriodically(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(a.untilRedemption()):
		}
		if _, err := a.redeem(ctx); err != nil && ctx.Err() == nil {
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
	return max(0, due.Sub(a.now()))
}

// batchKey is what can go to a broker in one request.
type batchKey struct{ broker, vendor string }

// redeem claims everything that can be claimed, once. What a broker does not
// answer is claimed again the next time: claims are cumulative, so nothing is
// paid twice.
func (a *App) redeem(ctx context.Context) (Redemption, error) {
	select {
	case a.gate.redeeming <- struct{}{}:
	case <-ctx.Done():
		return Redemption{}, ctx.Err()
	}
	defer func() {
		ended := a.now()
		a.gate.redeemedAt.Store(&ended)
		<-a.gate.redeeming
	}()
	var total Redemption
	var failure error
	batches := make(map[batchKey][]claimable)
	send := func(key batchKey) {
		done, err := a.redeemBatch(ctx, key, batches[key])
		delete(batches, key)
		total.Claims += done.Claims
		total.Paid += done.Paid
		total.Refused += done.Refused
		total.Due += done.Due
		if err != nil && failure == nil {
			failure = err
		}
	}
	delay := int64(time.Duration(*a.ClaimDelay) / time.Second)
	err := a.gate.store.claimables(ctx, a.now().Unix(), delay, func(c claimable) bool {
		key := batchKey{broker: c.commitment.Certificate.Issuer, vendor: c.commitment.Vendor}
		batches[key] = append(batches[key], c)
		if len(batches[key]) == payword.MaxRedemptionsPerRequest {
			send(key)
		}
		return ctx.Err() == nil
	})
	if err != nil {
		return total, err
	}
	for key := range batches {
		send(key)
	}
	return total, failure
}

func (a *App) redeemBatch(ctx context.Context, key batchKey, batch []claimable) (Redemption, error) {
	request := payword.RedemptionRequest{Vendor: key.vendor}
	for _, c := range batch {
		claim, err := payword.SignClaim(payword.Claim{
			Vendor: key.vendor, Broker: key.broker, Commitment: c.commitment.ID, Tails: c.tails,
			Amount: c.amount, Final: c.final, IssuedAt: a.now().Unix(),
		}, a.gate.key)
		if err != nil {
			return Redemption{}, err
		}
		request.Redemptions = append(request.Redemptions, payword.Redemption{
			Commitment: c.commitment.Token, Reservation: c.reservation, Claim: claim.Token,
		})
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
	switch {
	case err != nil:
		return Redemption{Claims: len(batch)}, fmt.Errorf("claiming from %s: %w", key.broker, err)
	case problem.Reason != payword.Accepted:
		return Redemption{Claims: len(batch)}, fmt.Errorf("claiming from %s: %s: %s", key.broker, problem.Reason, problem.Detail)
	case len(answer.Results) != len(batch):
		return Redemption{Claims: len(batch)}, fmt.Errorf("claiming from %s: %d results for %d claims", key.broker, len(answer.Results), len(batch))
	}
	return a.record(ctx, key, batch, answer)
}

// record notes what the broker paid.
func (a *App) record(ctx context.Context, key batchKey, batch []claimable, answer payword.RedemptionAnswer) (Redemption, error) {
	done := Redemption{Claims: len(batch)}
	for i, result := range answer.Results {
		c := batch[i]
		if result.Reason != payword.Accepted || result.Commitment != c.commitment.ID || result.Paid < c.amount {
			done.Refused++
			a.logger.Error("a broker refused a claim", zap.String("broker", key.broker),
				zap.Stringer("commitment", c.commitment.ID), zap.Stringer("reason", result.Reason), zap.String("detail", result.Detail))
			continue
		}
		if err := a.gate.store.acknowledge(ctx, c.commitment.ID, c.amount, c.final); err != nil {
			return done, err
		}
		done.Paid++
		done.Due += result.Due
	}
	return done, nil
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
		return payword.Problem{}, err
	}
	defer response.Body.Close()
	document, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return payword.Problem{}, err
	}
	if response.StatusCode/100 == 2 {
		return payword.Problem{}, json.Unmarshal(document, answer)
	}
	var problem payword.Problem
	if err := json.Unmarshal(document, &problem); err != nil || problem.Reason == payword.Accepted {
		return payword.Problem{}, fmt.Errorf("the broker answered %s", response.Status)
	}
	return problem, nil
}

var redeemClient = &http.Client{Timeout: redeemTimeout, CheckRedirect: refuseRedirect}
