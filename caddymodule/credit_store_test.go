package caddymodule

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const storeDay = storeStart / secondsPerDay

// creditCommitment returns a commitment worth a number of units, of a user that
// may have several.
func creditCommitment(tb testing.TB, user string, number int, units int64) *payword.Commitment {
	tb.Helper()
	var seed [ed25519.SeedSize]byte
	copy(seed[:], user)
	key := ed25519.NewKeyFromSeed(seed[:])
	certificate, err := payword.SignCertificate(payword.Certificate{
		Issuer: "https://broker.example", Subject: user, Key: key.Public().(ed25519.PublicKey),
		IssuedAt: storeStart - 60, Expires: storeExpires + 3600, ID: payword.Nonce(seed[:]), Currency: "usd-micro", Limit: storeLimit,
	}, key)
	if err != nil {
		tb.Fatal(err)
	}
	binary.BigEndian.PutUint64(seed[16:], uint64(number))
	commitment, err := payword.SignCommitment(payword.Commitment{
		Vendor: "https://vendor.example", Certificate: certificate, IssuedAt: storeStart, Expires: storeExpires,
		Nonce: payword.Nonce(seed[16:]), Currency: "usd-micro", Limit: storeUnit * money.Amount(units),
		Chains: []payword.ChainTerms{{Root: payword.Payword(seed), Unit: storeUnit, Length: 1000}},
	}, key)
	if err != nil {
		tb.Fatal(err)
	}
	return &commitment
}

// creditOpening opens m unreserved under caps of 10 units a user and 25 in all.
func creditOpening(m *payword.Commitment, day int64) opening {
	return opening{
		commitment: m, amount: m.Limit, redeemBy: m.Expires + unreservedGraceSeconds,
		credit: creditTerms{day: day, perUser: 10 * storeUnit, inAll: 25 * storeUnit},
	}
}

// openCredit opens m unreserved and checks whether that was within the caps.
func openCredit(t *testing.T, s store, m *payword.Commitment, day int64, want error) {
	t.Helper()
	seen, err := s.open(t.Context(), creditOpening(m, day))
	if !errors.Is(err, want) || err == nil && (seen.reservation != "" || seen.commitment.ID != m.ID) {
		t.Fatalf("opening %d units of %s on day %d: got reservation %q, error %v; want error %v",
			m.Limit/storeUnit, m.Certificate.Subject, day-storeDay, seen.reservation, err, want)
	}
	if _, err := s.find(t.Context(), m.ID); errors.Is(err, errUnknownCommitment) != (want != nil) {
		t.Fatalf("find: got %v where opening gave %v", err, want)
	}
}

// reserveUnits opens m with a reservation of some units and returns the newest
// reservation that the store holds.
func reserveUnits(t *testing.T, s store, m *payword.Commitment, units int64) string {
	t.Helper()
	seen, err := s.open(t.Context(), storeOpening(m, units, 1))
	if err != nil {
		t.Fatal(err)
	}
	return seen.reservation
}

// testStoreCredit is what every store must do with unreserved commitments.
func testStoreCredit(t *testing.T, make func(t *testing.T) store) {
	t.Run("credit of one user", func(t *testing.T) {
		s := make(t)
		openCredit(t, s, creditCommitment(t, "a", 1, 6), storeDay, nil)
		openCredit(t, s, creditCommitment(t, "a", 2, 5), storeDay, errCreditLimit)
		openCredit(t, s, creditCommitment(t, "a", 3, 4), storeDay, nil)
		openCredit(t, s, creditCommitment(t, "a", 4, 1), storeDay, errCreditLimit)
		openCredit(t, s, creditCommitment(t, "b", 1, 10), storeDay, nil)
		openCredit(t, s, creditCommitment(t, "a", 5, 10), storeDay+1, nil)
	})
	t.Run("credit after a clock that was ahead", func(t *testing.T) {
		s := make(t)
		openCredit(t, s, creditCommitment(t, "a", 1, 10), storeDay+9, nil)
		openCredit(t, s, creditCommitment(t, "a", 2, 10), storeDay, nil)
		openCredit(t, s, creditCommitment(t, "a", 3, 1), storeDay, errCreditLimit)
	})
	t.Run("credit in all", func(t *testing.T) {
		s := make(t)
		openCredit(t, s, creditCommitment(t, "a", 1, 10), storeDay, nil)
		openCredit(t, s, creditCommitment(t, "b", 1, 10), storeDay, nil)
		openCredit(t, s, creditCommitment(t, "c", 1, 6), storeDay, errCreditLimit)
		openCredit(t, s, creditCommitment(t, "c", 2, 5), storeDay, nil)
		// Asking again for what is open takes nothing and is not refused.
		openCredit(t, s, creditCommitment(t, "b", 1, 10), storeDay, nil)
		openCredit(t, s, creditCommitment(t, "b", 1, 10), storeDay+1, nil)
		openCredit(t, s, creditCommitment(t, "d", 1, 10), storeDay+1, nil)
	})
	t.Run("a reservation gives the share back", func(t *testing.T) {
		s := make(t)
		m, next := creditCommitment(t, "a", 1, 10), creditCommitment(t, "a", 2, 10)
		openCredit(t, s, m, storeDay, nil)
		if got := reserveUnits(t, s, m, 9); got != "" {
			t.Fatalf("a reservation below the limit: got %q; want it passed over", got)
		}
		openCredit(t, s, next, storeDay, errCreditLimit)
		for range 2 {
			if got := reserveUnits(t, s, m, 10); got != "reservation.1" {
				t.Fatalf("a reservation of the limit: got %q", got)
			}
		}
		openCredit(t, s, next, storeDay, nil)
		openCredit(t, s, creditCommitment(t, "a", 3, 1), storeDay, errCreditLimit)
		// A reserved one takes none, and stays reserved.
		if seen, err := s.open(t.Context(), creditOpening(m, storeDay)); err != nil || seen.reservation != "reservation.1" {
			t.Fatalf("opening a reserved one without: got %q, error %v", seen.reservation, err)
		}
	})
	t.Run("credit that is asked for in parallel", func(t *testing.T) { testParallelCredit(t, make(t)) })
}

// testParallelCredit has many users open more than the caps allow, each
// commitment from two sides.
func testParallelCredit(t *testing.T, s store) {
	commitments := []*payword.Commitment{}
	for k := range 32 {
		commitments = append(commitments, creditCommitment(t, fmt.Sprint("user", k%4), k, 3))
	}
	var opened [32]atomic.Bool
	inParallel(t, 16, 2*len(commitments), func(k int) error {
		k /= 2
		switch _, err := s.open(t.Context(), creditOpening(commitments[k], storeDay)); {
		case err == nil:
			opened[k].Store(true)
		case !errors.Is(err, errCreditLimit):
			return err
		}
		return nil
	})
	inAll, ofUser := 0, [4]int{}
	for k := range opened {
		if opened[k].Load() {
			inAll++
			ofUser[k%4]++
		}
	}
	// 8 of 3 units fit into 25, at most 3 of one user into 10.
	if inAll != 8 || max(ofUser[0], ofUser[1], ofUser[2], ofUser[3]) > 3 {
		t.Fatalf("got %d in all, of the users %v; want 8, and at most 3 of one", inAll, ofUser)
	}
}

// TestFileStoreCreditSurvives checks that shares are counted again after a
// restart, from the journal and from a snapshot.
func TestFileStoreCreditSurvives(t *testing.T) {
	for _, compacts := range []bool{false, true} {
		t.Run(fmt.Sprint("compacted ", compacts), func(t *testing.T) {
			directory := t.TempDir()
			s, err := openFileStore(directory, fileStoreOptions{})
			if err != nil {
				t.Fatal(err)
			}
			reserved := creditCommitment(t, "b", 1, 10)
			openCredit(t, s, creditCommitment(t, "a", 1, 6), storeDay, nil)
			openCredit(t, s, reserved, storeDay, nil)
			reserveUnits(t, s, reserved, 10)
			before := s.digest(storeStart)
			if compacts {
				if _, err := s.compact(); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = openFileStore(directory, fileStoreOptions{}); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if after := s.digest(storeStart); after != before {
				t.Fatalf("got\n%s\nwant\n%s", after, before)
			}
			openCredit(t, s, creditCommitment(t, "a", 2, 5), storeDay, errCreditLimit)
			openCredit(t, s, creditCommitment(t, "a", 3, 4), storeDay, nil)
			openCredit(t, s, creditCommitment(t, "b", 2, 10), storeDay, nil)
			openCredit(t, s, creditCommitment(t, "c", 1, 6), storeDay, errCreditLimit)
		})
	}
}

// TestCreditAnswerLost checks that a share is taken once if the first answer was
// lost.
func TestCreditAnswerLost(t *testing.T) {
	s := newMemoryStore()
	s.fault = func(string) fault { return faultAnswerLost }
	m := creditCommitment(t, "a", 1, 6)
	if _, err := s.open(t.Context(), creditOpening(m, storeDay)); !errors.Is(err, errFault) {
		t.Fatalf("got %v; want errFault", err)
	}
	s.fault = nil
	openCredit(t, s, m, storeDay, nil)
	openCredit(t, s, creditCommitment(t, "a", 2, 4), storeDay, nil)
}
