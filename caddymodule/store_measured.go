package caddymodule

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// measuredStore is a store whose steps are timed, counted and traced. What was
// charged and given back is counted here, where it happened, whoever asked.
type measuredStore struct {
	store
	metrics *metrics
	notify  func(up bool) // called when the store begins to fail, and when it works again
	down    atomic.Bool
	seconds [len(measuredSteps)]prometheus.Observer // by step
}

var _ store = (*measuredStore)(nil)

// measuredStep is a kind of step that is measured.
type measuredStep int

// The steps, and the values of the label step in the same order.
const (
	stepOpen measuredStep = iota
	stepFind
	stepFindNewest
	stepCharge
	stepAdvance
	stepGiveBack
	stepTrueUp
	stepFlow
	stepFinish
	stepAcknowledge
)

var measuredSteps = [...]string{
	"open", "find", "find_newest", "charge", "advance", "give_back", "true_up", "flow", "finish", "acknowledge",
}

func newMeasuredStore(s store, m *metrics, notify func(up bool)) *measuredStore {
	m.storeUp.Set(1)
	measured := &measuredStore{store: s, metrics: m, notify: notify}
	for step, name := range measuredSteps {
		measured.seconds[step] = m.storeSeconds.WithLabelValues(name)
	}
	return measured
}

// started is when the process began.
var started = time.Now()

// sinceStart reads one clock, where time.Now reads two.
func sinceStart() time.Duration { return time.Since(started) }

// measurement is a step that is being measured.
type measurement struct {
	step  measuredStep
	began time.Duration // see sinceStart
	span  trace.Span    // nil if nothing is traced
}

// begin begins a step and returns its context.
func (s *measuredStore) begin(ctx context.Context, step measuredStep) (context.Context, measurement) {
	m := measurement{step: step, began: sinceStart()}
	if parent, isRecorded := spanOf(ctx); isRecorded {
		ctx, m.span = startSpan(ctx, parent, "payword.store", attribute.String("payword.store.step", measuredSteps[step]))
	}
	return ctx, m
}

// end ends it.
func (s *measuredStore) end(ctx context.Context, m measurement, err error) {
	s.seconds[m.step].Observe((sinceStart() - m.began).Seconds())
	failed := err != nil && !errors.Is(err, errUnknownCommitment) && !errors.Is(err, errCreditLimit)
	if m.span != nil {
		if failed {
			m.span.SetStatus(codes.Error, "the store failed")
		}
		m.span.End()
	}
	s.note(ctx, measuredSteps[m.step], failed)
}

// note counts a failure and tells when the store goes down or comes up. A step
// that its caller gave up says nothing of the store.
func (s *measuredStore) note(ctx context.Context, step string, failed bool) {
	if failed {
		s.metrics.storeErrors.WithLabelValues(step).Inc()
		if ctx.Err() != nil {
			return
		}
	}
	if s.down.Load() == failed || !s.down.CompareAndSwap(!failed, failed) {
		return
	}
	if failed {
		s.metrics.storeUp.Set(0)
	} else {
		s.metrics.storeUp.Set(1)
	}
	s.notify(!failed)
}

func (s *measuredStore) open(ctx context.Context, o opening) (view, error) {
	ctx, m := s.begin(ctx, stepOpen)
	seen, err := s.store.open(ctx, o)
	s.end(ctx, m, err)
	return seen, err
}

func (s *measuredStore) find(ctx context.Context, id payword.CommitmentID) (view, error) {
	ctx, m := s.begin(ctx, stepFind)
	seen, err := s.store.find(ctx, id)
	s.end(ctx, m, err)
	return seen, err
}

func (s *measuredStore) findNewest(ctx context.Context, id payword.CommitmentID) (view, error) {
	ctx, m := s.begin(ctx, stepFindNewest)
	seen, err := s.store.findNewest(ctx, id)
	s.end(ctx, m, err)
	return seen, err
}

func (s *measuredStore) charge(ctx context.Context, id payword.CommitmentID, c payword.Charge) (payword.Outcome, view, error) {
	ctx, m := s.begin(ctx, stepCharge)
	outcome, seen, err := s.store.charge(ctx, id, c)
	s.end(ctx, m, err)
	if err == nil && outcome.Reason == payword.Accepted && !outcome.Repeat {
		s.metrics.charge(seen.commitment, outcome.Price)
	}
	return outcome, seen, err
}

func (s *measuredStore) advance(ctx context.Context, id payword.CommitmentID, chain uint8, tail payword.Tail) (view, error) {
	ctx, m := s.begin(ctx, stepAdvance)
	seen, err := s.store.advance(ctx, id, chain, tail)
	s.end(ctx, m, err)
	return seen, err
}

func (s *measuredStore) giveBack(ctx context.Context, id payword.CommitmentID, number uint64, now int64) (money.Amount, view, error) {
	ctx, m := s.begin(ctx, stepGiveBack)
	amount, seen, err := s.store.giveBack(ctx, id, number, now)
	s.end(ctx, m, err)
	if err == nil {
		s.metrics.giveBack(seen.commitment, amount)
	}
	return amount, seen, err
}

func (s *measuredStore) trueUp(ctx context.Context, id payword.CommitmentID, number uint64, price money.Amount, now int64) (money.Amount, view, error) {
	ctx, m := s.begin(ctx, stepTrueUp)
	amount, seen, err := s.store.trueUp(ctx, id, number, price, now)
	s.end(ctx, m, err)
	if err == nil {
		s.metrics.giveBack(seen.commitment, amount)
	}
	return amount, seen, err
}

func (s *measuredStore) flow(ctx context.Context, id payword.CommitmentID, amount money.Amount) (payword.Outcome, view, error) {
	ctx, m := s.begin(ctx, stepFlow)
	outcome, seen, err := s.store.flow(ctx, id, amount)
	s.end(ctx, m, err)
	if err == nil && outcome.Reason == payword.Accepted {
		s.metrics.charge(seen.commitment, outcome.Price)
	}
	return outcome, seen, err
}

func (s *measuredStore) finish(ctx context.Context, id payword.CommitmentID) (view, error) {
	ctx, m := s.begin(ctx, stepFinish)
	seen, err := s.store.finish(ctx, id)
	s.end(ctx, m, err)
	return seen, err
}

func (s *measuredStore) acknowledge(ctx context.Context, id payword.CommitmentID, amount money.Amount, final bool) error {
	ctx, m := s.begin(ctx, stepAcknowledge)
	err := s.store.acknowledge(ctx, id, amount, final)
	s.end(ctx, m, err)
	return err
}

// asStore returns a store, or the one that it measures, as another interface
// that only some stores have.
func asStore[T any](s store) (T, bool) {
	if measured, isMeasured := s.(*measuredStore); isMeasured {
		s = measured.store
	}
	wanted, found := s.(T)
	return wanted, found
}
