package caddymodule

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/paywordhq/payword"
)

// listableStore is a store that can list what it knows.
type listableStore interface {
	store
	lister
}

// TestAccounts lists the same on every kind of store: each commitment once, with
// what was paid on it, until the caller has enough or gives up.
func TestAccounts(t *testing.T) {
	server := startRedis(t)
	files, err := openFileStore(t.TempDir(), fileStoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	for name, s := range map[string]listableStore{
		"file": files, "redis": openNode(t, testRedisOptions(freshPrefix()), server.address),
	} {
		t.Run(name, func(t *testing.T) {
			want := map[payword.CommitmentID]string{}
			for k := range 5 {
				m := storeCommitment(t, uint64(300+k), 1)
				if _, err := s.open(t.Context(), storeOpening(m, 200, 1)); err != nil {
					t.Fatal(err)
				}
				_, seen, err := s.charge(t.Context(), m.ID, payword.Charge{
					Tail: storeTail(uint32(k + 1)), Number: 1, Fingerprint: storeFingerprint(1), Price: storeUnit, Now: storeStart,
				})
				if err != nil {
					t.Fatal(err)
				}
				want[m.ID] = fmt.Sprint(seen.tails, seen.accepted, seen.spent)
			}
			got := map[payword.CommitmentID]string{}
			err := s.accounts(t.Context(), func(a account) bool {
				got[a.commitment.ID] = fmt.Sprint(a.state.Tails, a.state.Accepted(a.commitment), a.state.Spent())
				if a.reservation == "" || a.redeemBy == 0 || a.commitment.Token == "" {
					t.Errorf("listed without its evidence: %+v", a)
				}
				return true
			})
			if err != nil || !maps.Equal(got, want) {
				t.Errorf("listed %v, %v; want %v", got, err, want)
			}
			count := 0
			if err := s.accounts(t.Context(), func(account) bool { count++; return count < 2 }); err != nil || count != 2 {
				t.Errorf("asked for two: %d, %v", count, err)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.accounts(ended, func(account) bool { return true }); err == nil {
				t.Error("given up, and nothing says so")
			}
		})
	}
}

// TestSampleOfWhatIsLost counts as waiting what can still be claimed: what came
// too late is not urgent for ever.
func TestSampleOfWhatIsLost(t *testing.T) {
	s, err := openFileStore(t.TempDir(), fileStoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 310, 1)}
	c.open(1000, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	ends := storeOpening(c.m, 1000, 1).redeemBy + payword.SkewSeconds
	for _, each := range []struct {
		at      int64
		waiting bool
	}{{ends - 1, true}, {ends, false}} {
		taken, err := newSampler().take(t.Context(), s, time.Unix(each.at, 0), 0)
		if err != nil || taken.waiting != each.waiting {
			t.Errorf("%d seconds to the end: waiting is %v, %v; want %v", ends-each.at, taken.waiting, err, each.waiting)
		}
	}
}
