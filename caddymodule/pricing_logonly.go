package caddymodule

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/paywordhq/payword/money"
)

// The values of Handler.Mode.
const (
	modeEnforce = "enforce"
	modeLogOnly = "log_only"
)

// maxUnearnedRules bounds the counters; the rules of all directives of a usual
// configuration are far fewer. Past it they share one.
const maxUnearnedRules = 1000

// unearned is what a price rule would have earned while nothing was charged.
type unearned struct {
	Requests uint64       // that would have been charged
	Amount   money.Amount // of them all, in micros
}

// unearnedKey is a rule of a site.
type unearnedKey struct{ Vendor, Rule string }

// unearnedSums counts what would have been earned, by rule. It survives
// reloads.
type unearnedSums struct {
	mu   sync.Mutex
	sums map[unearnedKey]unearned
}

func newUnearnedSums() *unearnedSums { return &unearnedSums{sums: make(map[unearnedKey]unearned)} }

// add counts a request that was served and would have cost an amount, in
// micros.
func (u *unearnedSums) add(key unearnedKey, amount money.Amount) {
	u.mu.Lock()
	defer u.mu.Unlock()
	sum, known := u.sums[key]
	if !known && len(u.sums) >= maxUnearnedRules {
		key = unearnedKey{Rule: "other"}
		sum = u.sums[key]
	}
	sum.Requests++
	sum.Amount = sum.Amount + amount
	u.sums[key] = sum
}

// all returns a copy of the sums.
func (u *unearnedSums) all() map[unearnedKey]unearned {
	u.mu.Lock()
	defer u.mu.Unlock()
	copied := make(map[unearnedKey]unearned, len(u.sums))
	for key, sum := range u.sums {
		copied[key] = sum
	}
	return copied
}

func (h *Handler) isLogOnly() bool { return h.Mode == modeLogOnly }

func (h *Handler) validateMode() error {
	if h.Mode != "" && h.Mode != modeEnforce && h.Mode != modeLogOnly {
		return fmt.Errorf("payword: mode %q: want enforce or log_only", h.Mode)
	}
	return nil
}

// serveLogOnly serves a request free and counts what it would have earned, once
// it is known whether anything was delivered.
func (h *Handler) serveLogOnly(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q quote) error {
	tellFree(r, quote{free: freeByLogOnly})
	caddyhttp.SetVar(r.Context(), grantedVariable, true)
	charged := r.Method != http.MethodHead && !isPrefetch(r)
	watched := &freeWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	err := next.ServeHTTP(watched, r)
	if !charged || err != nil || !watched.delivers() {
		return err
	}
	if fields, found := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); found {
		fields.Add(zap.Object("payword_unearned", zapcore.ObjectMarshalerFunc(func(encoder zapcore.ObjectEncoder) error {
			encoder.AddString("rule", q.rule)
			encoder.AddInt64("price_micros", int64(q.amount))
			return nil
		})))
	}
	if openError := h.app.open(); openError != nil {
		h.logger.Error("counting what would have been earned", zap.Error(openError))
		return nil
	}
	h.app.gate.unearned.add(unearnedKey{Vendor: h.Vendor, Rule: q.rule}, q.amount)
	return nil
}
