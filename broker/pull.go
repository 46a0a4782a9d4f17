package broker

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
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

const (
	// maxPullRound is how long a vendor that has just asked for it waits at most.
	maxPullRound = time.Minute

	// maxPullers is how many vendors are asked at once: with a full answer each,
	// some 24 MB.
	maxPullers = 8

	// pullBatches is how many batches of one vendor are fetched before it waits
	// for the next round, as others do.
	pullBatches = 100

	// pullLease keeps other brokers on the same database from asking the same
	// vendor: longer than its batches take, most often. Two that ask at once pay
	// nothing twice.
	pullLease = 10 * time.Minute

	// maxPullFailures stops the doubling of the wait at a day or so.
	maxPullFailures = 5
)

// setPull notes whether the vendor's discovery document asks that its claims be
// fetched.
func (s *store) setPull(ctx context.Context, tx *ledger.Tx, vendor string, pull bool) error {
	wanted := 0
	if pull {
		wanted = 1
	}
	isChanged, err := tx.ExecOne(ctx, `UPDATE broker_vendors SET pull = ?, pull_due = 0, pull_failures = 0
		WHERE vendor = ? AND pull <> ?`, wanted, vendor, wanted)
	if err != nil || !isChanged {
		return err
	}
	detail := "its claims are not fetched any more"
	if pull {
		detail = "its claims are fetched"
	}
	return audit(ctx, tx, auditEntry{action: "set-pull", subject: "vendor:" + vendor, detail: detail})
}

// Pull fetches the claims of the vendors that asked for it and whose turn it is,
// and pays them like claims that were sent. A gate that does not answer is asked
// later and later. Run calls it.
func (b *Broker) Pull(ctx context.Context) error {
	vendors, err := b.store.vendorsToPull(ctx)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(maxPullers)
	for _, vendor := range vendors {
		group.Go(func() error { return b.pullInTurn(ctx, vendor) })
	}
	return group.Wait()
}

// pullInTurn asks a vendor unless another broker does, and says when it is to be
// asked again.
func (b *Broker) pullInTurn(ctx context.Context, vendor string) error {
	failures, isOurs, err := b.store.takePull(ctx, vendor)
	if err != nil || !isOurs {
		return err
	}
	claims, failure := b.pullFrom(ctx, vendor)
	if ctx.Err() != nil {
		return nil // cut off: the lease runs out
	}
	wait := b.config.PullInterval
	if failure != nil {
		b.log.WarnContext(ctx, "claims not fetched", "vendor", vendor, "claims", claims, "error", failure)
		failures = min(failures+1, maxPullFailures)
		wait <<= failures
	} else {
		failures = 0
	}
	return b.store.endPull(ctx, vendor, failures, wait)
}

// vendorsToPull returns vendors whose turn it is.
func (s *store) vendorsToPull(ctx context.Context) (vendors []string, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		vendors, err = tx.Texts(ctx, `SELECT vendor FROM broker_vendors WHERE pull = 1 AND pull_due <= ? ORDER BY pull_due LIMIT ?`,
			tx.Now().UnixMicro(), perRound)
		return err
	})
	return vendors, err
}

// takePull moves the time of the vendor's next turn on by the lease, and reports
// whether nobody else did. It returns how often asking has failed in a row.
func (s *store) takePull(ctx context.Context, vendor string) (failures int, isOurs bool, err error) {
	_, err = s.update(ctx, "take pull", func(tx *ledger.Tx) error {
		now := tx.Now()
		var err error
		isOurs, err = tx.ExecOne(ctx, `UPDATE broker_vendors SET pull_due = ? WHERE vendor = ? AND pull = 1 AND pull_due <= ?`,
			now.Add(pullLease).UnixMicro(), vendor, now.UnixMicro())
		if err != nil || !isOurs {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT pull_failures FROM broker_vendors WHERE vendor = ?`, vendor).Scan(&failures)
	})
	return failures, isOurs && err == nil, err
}

func (s *store) endPull(ctx context.Context, vendor string, failures int, wait time.Duration) error {
	_, err := s.update(ctx, "end pull", func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE broker_vendors SET pull_due = ?, pull_failures = ? WHERE vendor = ?`,
			tx.Now().Add(wait).UnixMicro(), failures, vendor)
		return err
	})
	return err
}

// pullFrom fetches and pays the claims of a vendor until it has no more, and
// returns how many. The gate is told of the last ones, too. A batch in which
// nothing is newly paid is the last one of the round: whoever has a site could
// otherwise keep the processors busy with claims that it made up.
func (b *Broker) pullFrom(ctx context.Context, vendor string) (claims int, err error) {
	var results []payword.ClaimResult
	for batches, isPaid := 0, true; batches < pullBatches && isPaid; batches++ {
		handed, err := b.askForClaims(ctx, payword.ClaimsRequest{Vendor: vendor, Results: results})
		if err != nil {
			return claims, err
		}
		if len(handed.Redemptions) == 0 {
			return claims, nil
		}
		if results, err = b.payPulled(ctx, handed); err != nil {
			return claims, err
		}
		claims += len(results)
		isPaid = slices.ContainsFunc(results, func(result payword.ClaimResult) bool { return result.Due > 0 })
	}
	// Told, and not asked for more.
	_, err = b.askForClaims(ctx, payword.ClaimsRequest{Vendor: vendor, Results: results})
	return claims, err
}

// payPulled pays claims that were fetched, under the keys that the vendor has
// now.
func (b *Broker) payPulled(ctx context.Context, request payword.RedemptionRequest) ([]payword.ClaimResult, error) {
	ctx, cancel := context.WithTimeout(withActor(ctx, "vendor:"+request.Vendor), requestTimeout)
	defer cancel()
	var keys []ed25519.PublicKey
	err := b.store.db.View(ctx, func(tx *ledger.Tx) (err error) {
		keys, err = vendorKeys(ctx, tx, request.Vendor)
		return err
	})
	if err != nil {
		return nil, err
	}
	current, err := b.newBatchOf(ctx, request.Vendor, keys)
	if err != nil {
		return nil, err
	}
	answer, refusal, err := b.redeemBatch(ctx, current, request)
	if err == nil && refusal.Refused() {
		err = refused(refusal)
	}
	if err != nil {
		return nil, err
	}
	results := make([]payword.ClaimResult, len(answer.Results))
	for k, result := range answer.Results {
		results[k].RedemptionResult = result
		if result.Reason == payword.Accepted {
			claim, refusal := parseClaim(request.Redemptions[k].Claim, keys, (*payword.Verifier)(nil))
			results[k].Final = claim.Final && !refusal.Refused()
		}
	}
	return results, nil
}

// askForClaims sends one request to the gate at a vendor's origin, signed with
// the broker's key, through the client that looks at the address it connects to.
func (b *Broker) askForClaims(ctx context.Context, asked payword.ClaimsRequest) (handed payword.RedemptionRequest, err error) {
	body, err := json.Marshal(asked)
	if err != nil {
		return handed, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, asked.Vendor+payword.PathClaims, bytes.NewReader(body))
	if err != nil {
		return handed, err
	}
	request.Header.Set("Content-Type", "application/json")
	var nonce payword.Nonce
	_, _ = rand.Read(nonce[:]) // never fails
	signer, err := b.signer(ctx, b.now()+payword.RequestMaxAgeSeconds)
	if err != nil {
		return handed, err
	}
	if err := payword.SignRequest(request, body, signer, nonce, b.now()); err != nil {
		return handed, err
	}
	response, err := b.discovery.Do(request)
	if err != nil {
		return handed, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return handed, errors.New("it answered " + response.Status)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, redemptionBody+1))
	switch {
	case err != nil:
		return handed, err
	case len(document) > redemptionBody:
		return handed, errors.New("its answer is too large")
	}
	if err := json.Unmarshal(document, &handed); err != nil {
		return handed, fmt.Errorf("its answer: %w", err)
	}
	return handed, checkHanded(asked.Vendor, handed)
}

// checkHanded reports what is wrong with the form of what a gate handed out: the
// rules are those for claims that are sent.
func checkHanded(vendor string, handed payword.RedemptionRequest) error {
	if handed.Vendor != vendor || len(handed.Redemptions) > payword.MaxRedemptionsPerRequest {
		return fmt.Errorf("its answer has %d claims of %.270q", len(handed.Redemptions), handed.Vendor)
	}
	for _, r := range handed.Redemptions {
		if len(r.Commitment) > payword.MaxCommitmentBytes || len(r.Reservation) > payword.MaxReservationBytes || len(r.Claim) > payword.MaxClaimBytes {
			return errors.New("its answer has a claim that is too large")
		}
	}
	return nil
}
