package caddymodule

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"go.uber.org/zap/zapcore"

	"github.com/paywordhq/payword"
)

// observation is what lets people see a gate work, and the memory of its
// redemptions. It belongs to the gate and survives reloads.
type observation struct {
	metrics *metrics
	sampler *sampler
	events  *eventQueue
	turns   *turns
	urgent  chan struct{} // holds one token while claiming must not wait
}

// observe begins to measure a gate that was just opened.
func (g *gate) observe(now func() int64) {
	m := newMetrics(g)
	events := newEventQueue(m.eventsDropped.Inc)
	g.observation = observation{
		metrics: m, sampler: newSampler(), events: events, turns: newTurns(), urgent: make(chan struct{}, 1),
	}
	g.store = newMeasuredStore(g.store, m, func(up bool) {
		name := EventStoreDown
		if up {
			name = EventStoreUp
		}
		events.add(now(), name, map[string]any{})
	})
}

// startObserving begins the jobs that need no broker.
func (a *App) startObserving(ctx context.Context) {
	a.jobs.Go(func() { a.samplePeriodically(ctx) })
	a.jobs.Go(func() { a.emitEvents(ctx) })
}

// emit puts an event in the gate's queue.
func (a *App) emit(name string, data map[string]any) {
	a.gate.events.add(a.now().Unix(), name, data)
}

// pseudonymBytes is enough that two commitments of one gate do not share one.
const pseudonymBytes = 8

// pseudonym names a commitment where others may read it: in logs, events and
// admin answers. Only who holds the vendor's key can make it from the
// commitment's id.
func (g *gate) pseudonym(id payword.CommitmentID) string { return pseudonymUnder(g.key, id) }

func pseudonymUnder(vendor ed25519.PrivateKey, id payword.CommitmentID) string {
	mac := hmac.New(sha256.New, vendor.Seed()) // it stays when the challenge secret is rotated
	mac.Write([]byte("payword-pseudonym"))
	mac.Write(id[:])
	return hex.EncodeToString(mac.Sum(nil)[:pseudonymBytes])
}

// logPayment adds what helps somebody who is asked about a payment: which
// commitment, under the name that the admin routes know it by, and which request
// of it. Nothing of that can be spent.
func (x *exchange) logPayment(encoder zapcore.ObjectEncoder) {
	if x.sent.action == "" {
		return
	}
	encoder.AddString("commitment", x.gate.pseudonym(x.sent.payment.Commitment))
	encoder.AddUint64("number", x.sent.payment.Number)
	encoder.AddUint8("chain", x.sent.payment.Chain)
	encoder.AddUint32("index", x.sent.payment.Index)
	encoder.AddUint32("hashes", x.steps)
}

// noteOpened counts a commitment that was opened or topped up.
func (x *exchange) noteOpened(wasKnown bool, o *opening) {
	v := x.gate.metrics.vendor(x.Vendor)
	if wasKnown {
		v.toppedUp.Inc()
		return
	}
	v.opened.Inc()
	x.app.emit(EventOpened, map[string]any{
		"vendor": x.Vendor, "broker": o.commitment.Certificate.Issuer, "currency": x.currency.Code(),
		"pseudonym": x.gate.pseudonym(o.commitment.ID), "reserved_micros": int64(o.amount),
	})
}

// noteRefused tells of a refusal that may be an attack. Others are counted.
func (x *exchange) noteRefused(refusal payword.Refusal) {
	switch refusal.Reason {
	case payword.ForgedPayword, payword.AlreadyUsed, payword.ChallengeUsed:
		x.app.emit(EventReplay, map[string]any{
			"vendor": x.Vendor, "reason": refusal.Reason.String(), "pseudonym": x.gate.pseudonym(x.sent.payment.Commitment),
		})
	}
}
