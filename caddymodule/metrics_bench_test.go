package caddymodule

import (
	"context"
	"testing"

	"github.com/paywordhq/payword"
)

// quickStore answers at once, so that what is measured is the measuring.
type quickStore struct {
	store
	seen view
}

func (s quickStore) charge(context.Context, payword.CommitmentID, payword.Charge) (payword.Outcome, view, error) {
	return payword.Outcome{Price: 1000}, s.seen, nil
}

// BenchmarkMeasuring compares what a charge and its request cost with and
// without being measured: the decorator of the store, and the counters of the
// request.
func BenchmarkMeasuring(b *testing.B) {
	m := storeCommitment(b, 1, 1)
	quick := quickStore{seen: view{outline: outline{commitment: m}}}
	measured := newMetrics(&gate{})
	x := &exchange{Handler: &Handler{Vendor: m.Vendor}, gate: &gate{observation: observation{metrics: measured}}, price: 1000}
	x.sent.action = payword.ActionPay
	for name, s := range map[string]store{"without": quick, "with": newMeasuredStore(quick, measured, func(bool) {})} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.charge(context.Background(), m.ID, payword.Charge{}); err != nil {
					b.Fatal(err)
				}
				if name == "with" {
					measured.steps.Observe(1)
					x.count(payword.Refusal{})
				}
			}
		})
	}
}
