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
	seconds map[string]prometheus.Observer // by step
}

var _ store = (*measuredStore)(nil)

// storeSteps are the values of the label step.
var storeSteps = []string{
	"open", "find", "find_newest", "charge", "advance", "give_back", "true_up", "flow", "finish", "acknowledge",
}

func newMeasuredStore(s store, m *metrics, notify func(up bool)) *measuredStore {
	m.storeUp.Set(1)
	measured := &measuredStore{store: s, metrics: m, notify: notify, seconds: make(map[string]prometheus.Observer)}
	for _, step := range storeSteps {
		measured.seconds[step] = m.storeSeconds.WithLabelValues(step)
	}
	return measured
}

// measure begins a step; the function that it returns ends it.
func (s *measuredStore) measure(ctx context.Context, step string) (context.Context, func(error)) {
	began := time.Now()
	parent := trace.SpanFromContext(ctx)
	var span trace.Span
	if parent.IsRecording() {
		ctx, span = startSpan(ctx, parent, "payword.store", attribute.String("payword.store.step", step))
	}
	return ctx, func(err error) {
		s.seconds[step].Observe(time.Since(began).Seconds())
		failed := err != nil && !errors.Is(err, errUnknownCommitment) && !errors.Is(err, errCreditLimit)
		if span != nil {
			if failed {
				span.SetStatus(codes.Error, "the store failed")
			}
			span.End()
		}
		s.note(ctx, step, failed)
	}
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
	ctx, end := s.measure(ctx, "open")
	seen, err := s.store.open(ctx, o)
	end(err)
	return seen, err
}

func (s *measuredStore) find(ctx context.Context, id payword.CommitmentID) (view, error) {
	ctx, end := s.measure(ctx, "find")
	seen, err := s.store.find(ctx, id)
	end(err)
	return seen, err
}

func (s *measuredStore) findNewest(ctx context.Context, id payword.CommitmentID) (view, error) {
	ctx, end := s.measure(ctx, "find_newest")
	seen, err := s.store.findNewest(ctx, id)
	end(err)
	return seen, err
}

func (s *measuredStore) charge(ctx context.Context, id payword.CommitmentID, c payword.Charge) (payword.Outcome, view, error) {
	ctx, end := s.measure(ctx, "charge")
	outcome, seen, err := s.store.charge(ctx, id, c)
	end(err)
	if err == nil && outcome.Reason == payword.Accepted && !outcome.Repeat {
		s.metrics.charge(seen.commitment, outcome.Price)
	}
	return outcome, seen, err
}

func (s *measuredStore) advance(ctx context.Context, id payword.CommitmentID, chain uint8, tail payword.Tail) (view, error) {
	ctx, end := s.measure(ctx, "advance")
	seen, err := s.store.advance(ctx, id, chain, tail)
	end(err)
	return seen, err
}

func (s *measuredStore) giveBack(ctx context.Context, id payword.CommitmentID, number uint64, now int64) (money.Amount, view, error) {
	ctx, end := s.measure(ctx, "give_back")
	amount, seen, err := s.store.giveBack(ctx, id, number, now)
	end(err)
	if err == nil {
		s.metrics.giveBack(seen.commitment, amount)
	}
	return amount, seen, err
}

func (s *measuredStore) trueUp(ctx context.Context, id payword.CommitmentID, number uint64, price money.Amount, now int64) (money.Amount, view, error) {
	ctx, end := s.measure(ctx, "true_up")
	amount, seen, err := s.store.trueUp(ctx, id, number, price, now)
	end(err)
	if err == nil {
		s.metrics.giveBack(seen.commitment, amount)
	}
	return amount, seen, err
}

func (s *measuredStore) flow(ctx context.Context, id payword.CommitmentID, amount money.Amount) (payword.Outcome, view, error) {
	ctx, end := s.measure(ctx, "flow")
	outcome, seen, err := s.store.flow(ctx, id, amount)
	end(err)
	if err == nil && outcome.Reason == payword.Accepted {
		s.metrics.charge(seen.commitment, outcome.Price)
	}
	return outcome, seen, err
}

func (s *measuredStore) finish(ctx context.Context, id payword.CommitmentID) (view, error) {
	ctx, end := s.measure(ctx, "finish")
	seen, err := s.store.finish(ctx, id)
	end(err)
	return seen, err
}

func (s *measuredStore) acknowledge(ctx context.Context, id payword.CommitmentID, amount money.Amount, final bool) error {
	ctx, end := s.measure(ctx, "acknowledge")
	err := s.store.acknowledge(ctx, id, amount, final)
	end(err)
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
