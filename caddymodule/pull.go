package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

const (
	// maxClaimsRequestBytes bounds what a broker asks with: the results of a full
	// batch, at 300 bytes each, with room.
	maxClaimsRequestBytes = 512 << 10

	// pullTimeout is how long a broker waits for the gate's own claiming, which
	// goes first, and may take to send its results: less than it waits for an
	// answer.
	pullTimeout = 5 * time.Second
)

// serveClaims hands claims to a broker that asks for them, and notes what it
// paid of those that it got before. Whoever asks signs with a key of a broker
// that is trusted here (RFC 9421, as requests to a broker are signed); a broker
// gets the claims on its own commitments alone. A request that is sent again
// changes nothing: what was paid is counted up and never down.
func (h *Handler) serveClaims(w http.ResponseWriter, r *http.Request) error {
	h = h.app.vendors.of(r.Host, h)
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case !h.app.Pull:
		return answerProblem(w, http.StatusNotFound, "this gate sends its claims, and hands them to nobody")
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		return answerProblem(w, http.StatusMethodNotAllowed, "want POST")
	}
	if err := h.app.open(); err != nil {
		return h.unavailable(w, err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), pullTimeout)
	defer cancel()
	broker, refusal := h.app.askingBroker(r, h.Vendor)
	if refusal.Refused() {
		return answerProblem(w, http.StatusUnauthorized, refusal.Detail)
	}
	body, err := readSigned(w, r)
	if err != nil {
		return answerProblem(w, http.StatusBadRequest, err.Error())
	}
	var asked payword.ClaimsRequest
	if err := json.Unmarshal(body, &asked); err != nil || len(asked.Results) > payword.MaxRedemptionsPerRequest {
		return answerProblem(w, http.StatusBadRequest, "want a JSON object with the vendor, and the results of at most 500 claims")
	}
	if asked.Vendor != h.Vendor {
		return answerProblem(w, http.StatusNotFound, "the vendor here is "+h.Vendor)
	}
	answer, err := h.app.handClaims(ctx, batchKey{broker: broker, vendor: h.Vendor}, asked.Results)
	if err != nil {
		return h.unavailable(w, err)
	}
	encoded, err := json.Marshal(answer)
	if err != nil {
		return h.unavailable(w, err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(encoded)
	return err
}

// answerProblem answers with problem details whose sentence says what is wrong.
func answerProblem(w http.ResponseWriter, status int, detail string) error {
	encoded, err := json.Marshal(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, err = w.Write(encoded)
	return err
}

// askingBroker returns the broker whose key signed the head of a request, which
// covers a digest of the body. It refuses with BadSignature.
func (a *App) askingBroker(r *http.Request, vendor string) (string, payword.Refusal) {
	refuse := func(detail string) (string, payword.Refusal) {
		return "", payword.Refusal{Reason: payword.BadSignature, Detail: detail}
	}
	for _, name := range []string{payword.HeaderSignatureInput, payword.HeaderSignature, payword.HeaderContentDigest} {
		if len(r.Header.Values(name)) != 1 {
			return refuse("want one field " + name + ": brokers sign what they ask")
		}
	}
	signed, refusal := payword.ParseSignatureInput(r.Header.Get(payword.HeaderSignatureInput))
	if refusal.Refused() {
		return "", refusal
	}
	signed.Digest = r.Header.Get(payword.HeaderContentDigest)
	if len(signed.Digest) != len(payword.ContentDigest(nil)) {
		return refuse("Content-Digest: want sha-256=:…: with 32 bytes in base64")
	}
	signed.Method, signed.TargetURI = http.MethodPost, vendor+payword.PathClaims
	for _, broker := range a.Brokers {
		if key := a.gate.keys.of(broker.Issuer)[signed.KeyID]; key != nil {
			return broker.Issuer, signed.Verify(key, r.Header.Get(payword.HeaderSignature), a.now().Unix())
		}
	}
	return refuse("no broker that is trusted here has published that key")
}

// readSigned reads the body and compares it with its digest in the head, which
// is signed.
func readSigned(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// A writer without deadlines has none to set.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(pullTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxClaimsRequestBytes))
	if err != nil {
		return nil, errors.New("the body broke off, or is too large")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if payword.ContentDigest(body) != r.Header.Get(payword.HeaderContentDigest) {
		return nil, errors.New("Content-Digest is not the SHA-256 of the body")
	}
	return body, nil
}

// handClaims notes what came of earlier claims and returns the next ones. It
// takes turns with claiming, so that no claim is on two ways at once.
func (a *App) handClaims(ctx context.Context, key batchKey, results []payword.ClaimResult) (payword.RedemptionRequest, error) {
	select {
	case a.gate.redeeming <- struct{}{}:
		defer func() { <-a.gate.redeeming }()
	case <-ctx.Done():
		return payword.RedemptionRequest{}, ctx.Err()
	}
	if err := a.noteResults(ctx, key, results); err != nil {
		return payword.RedemptionRequest{}, err
	}
	var batch []claimable
	err := a.claimablesOf(ctx, key, func(c claimable) bool {
		if !a.gate.turns.holds(&c, a.now(), false) {
			batch = append(batch, c)
		}
		return len(batch) < payword.MaxRedemptionsPerRequest
	})
	if err != nil {
		return payword.RedemptionRequest{}, err
	}
	return a.signClaims(key, batch)
}

// noteResults records what a broker says that it paid, as if it had answered a
// claim that was sent. What was spent since the claim was handed out stays to be
// claimed.
func (a *App) noteResults(ctx context.Context, key batchKey, results []payword.ClaimResult) error {
	if len(results) == 0 {
		return nil
	}
	byID := make(map[payword.CommitmentID]payword.ClaimResult, len(results))
	for _, result := range results {
		byID[result.Commitment] = result
	}
	var batch []claimable
	var answer payword.RedemptionAnswer
	err := a.claimablesOf(ctx, key, func(c claimable) bool {
		result, isKnown := byID[c.commitment.ID]
		if !isKnown {
			return true
		}
		if result.Reason == payword.Accepted {
			c.final = c.final && result.Final && result.Paid >= c.amount
			c.amount = min(c.amount, result.Paid)
		}
		batch = append(batch, c)
		answer.Results = append(answer.Results, result.RedemptionResult)
		return true
	})
	if err != nil || len(batch) == 0 {
		return err
	}
	done, err := a.record(ctx, key, batch, answer)
	a.logger.Info("a broker has fetched claims", zap.String("broker", key.broker), zap.Int("claims", done.Claims),
		zap.Int("paid", done.Paid), zap.Int("refused", done.Refused))
	a.emit(EventRedeemed, map[string]any{
		"broker": key.broker, "vendor": key.vendor, "claims": done.Claims, "paid": done.Paid,
		"refused": done.Refused, "due_micros": int64(done.Due),
	})
	return err
}

// claimablesOf calls yield for what can be claimed from a broker for a vendor.
func (a *App) claimablesOf(ctx context.Context, key batchKey, yield func(claimable) bool) error {
	return a.gate.store.claimables(ctx, a.now().Unix(), a.claimDelaySeconds(), func(c claimable) bool {
		if c.commitment.Certificate.Issuer != key.broker || c.commitment.Vendor != key.vendor {
			return ctx.Err() == nil
		}
		return yield(c) && ctx.Err() == nil
	})
}
