package caddymodule

import (
	"crypto/ed25519"
	"maps"
	"math/rand"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// termsCommitments are commitments with few and with many things to say, without
// the token of their certificate, as a store keeps them.
func termsCommitments(t *testing.T) (all []*payword.Commitment) {
	for _, chains := range []int{1, payword.MaxChains} {
		m := *storeCommitment(t, 1, chains)
		m.Certificate.Token = ""
		full := m
		full.Certificate.Age = 150
		full.Certificate.Prefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
		full.Certificate.Status = &payword.StatusEntry{Index: 1<<32 - 1, URI: "https://broker.example/list"}
		all = append(all, &m, &full)
	}
	return all
}

// An opening that says what its commitment says is read as it was written; one
// that ends early anywhere, or goes on, is refused.
func TestTermsRecords(t *testing.T) {
	t.Parallel()
	for k, m := range termsCommitments(t) {
		for _, written := range []record{
			record{token: m.Token, reservation: "reservation.1", amount: 7, sequence: 1, redeemBy: storeRedeemBy}.withTerms(m),
			record{token: m.Token, redeemBy: storeRedeemBy, day: 9}.withTerms(m),
		} {
			payload := written.append(nil)[recordHeadBytes:]
			read, err := parseRecord(written.kind, payload)
			if err != nil || !reflect.DeepEqual(read, written) {
				t.Errorf("%d, kind %d: wrote %+v, read %+v, %v", k, written.kind, written, read, err)
			}
			for length := range payload {
				if _, err := parseRecord(written.kind, payload[:length]); err == nil {
					t.Errorf("%d, kind %d: %d of %d bytes were read", k, written.kind, length, len(payload))
				}
			}
			if _, err := parseRecord(written.kind, append(payload, 0)); err == nil {
				t.Errorf("%d, kind %d: one byte too many was read", k, written.kind)
			}
		}
	}
}

// FuzzTermsRecord reads no record otherwise than it would be written.
func FuzzTermsRecord(f *testing.F) {
	m := *storeCommitment(f, 1, 2)
	m.Certificate.Prefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	seed := record{token: m.Token, redeemBy: storeRedeemBy, day: 9}.withTerms(&m)
	f.Add(seed.append(nil)[recordHeadBytes:])
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, err := parseRecord(recordOpenedOnCreditTerms, payload)
		if err != nil {
			return
		}
		again, err := parseRecord(recordOpenedOnCreditTerms, r.append(nil)[recordHeadBytes:])
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%+v is read again as %+v, %v", r, again, err)
		}
	})
}

// asFormer returns a disk whose openings are as former versions wrote them, and
// how many there are.
func asFormer(t *testing.T, d *fakeDisk) (former *fakeDisk, openings int) {
	t.Helper()
	former = d.afterKill()
	for name, file := range former.names {
		generation := parseGeneration(name, journalPrefix) + parseGeneration(name, snapshotPrefix)
		if generation == 0 {
			continue
		}
		scan, err := newFrameScanner(file, name, generation)
		if err != nil {
			t.Fatal(err)
		}
		content := slices.Clone(file.content[:fileHeaderBytes])
		scan.offset = fileHeaderBytes
		err = scan.eachFrame(func(body []byte, _ int64) error {
			frame := make([]byte, frameHeadBytes)
			err := eachRecord(body, func(r *record) error {
				switch r.kind {
				case recordOpenedTerms:
					r.kind = recordOpened
					openings++
				case recordOpenedOnCreditTerms:
					r.kind = recordOpenedOnCredit
					openings++
				}
				frame = r.append(frame)
				return nil
			})
			sealFrame(frame, generation, int64(len(content)))
			content = append(content, frame...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		file.content, file.durable = content, slices.Clone(content)
	}
	return former, openings
}

// TestFileStoreFormerKinds opens files of former versions, of which what the
// commitments say is read from their tokens, and goes on from them.
func TestFileStoreFormerKinds(t *testing.T) {
	t.Parallel()
	const seed = 4713
	t.Logf("seed %d", seed)
	d, walk := newFakeDisk(), newStoreWalk(t, rand.New(rand.NewSource(seed)))
	s := openStore(t, "fake", onDisk(d))
	for k := range 200 {
		walk.next()(s)
		if k == 100 { // the rest stands in a journal, and one opening too
			if _, err := s.compact(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.open(t.Context(), storeOpening(storeCommitment(t, 7, 2), 3, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeStore(t, s)
	former, openings := asFormer(t, d)
	if openings != 4 {
		t.Fatalf("the files hold %d openings; want 4", openings)
	}
	known := func(s *fileStore) map[payword.CommitmentID]payword.Commitment {
		all := map[payword.CommitmentID]payword.Commitment{}
		for k := range s.shards {
			for e := range s.shards[k].all() {
				all[e.commitment.ID] = *e.commitment
			}
		}
		return all
	}
	want, wanted := s.digest(walk.now), known(s)
	for name, from := range map[string]*fakeDisk{"as written": d, "as formerly written": former} {
		for range 2 {
			opened := openStore(t, "fake", onDisk(from))
			if got := opened.digest(walk.now); got != want {
				t.Errorf("%s: the store holds\n%s\nwant\n%s", name, got, want)
			}
			if got := known(opened); !reflect.DeepEqual(got, wanted) {
				t.Errorf("%s: the commitments say\n%+v\nwant\n%+v", name, got, wanted)
			}
			if got := opened.creditTaken(); !maps.Equal(got, s.creditTaken()) {
				t.Errorf("%s: the shares of the credit are %v; want %v", name, got, s.creditTaken())
			}
			if _, err := opened.compact(); err != nil {
				t.Fatal(err)
			}
			closeStore(t, opened)
		}
	}
}

// creditTaken returns the shares of the day's credit that are not given back.
func (s *fileStore) creditTaken() map[creditHolder]money.Amount {
	taken := maps.Clone(s.credit.taken)
	maps.DeleteFunc(taken, func(_ creditHolder, amount money.Amount) bool { return amount == 0 })
	return taken
}

// TestVerifyTerms finds a commitment of which something else is recorded than its
// token says.
func TestVerifyTerms(t *testing.T) {
	t.Parallel()
	m := storeCommitment(t, 1, 2)
	key := storeBroker().Public().(ed25519.PublicKey)
	keys := func(string) (payword.Brokers, bool) {
		return payword.Brokers{m.Certificate.Issuer: {payword.Thumbprint(key): key}}, true
	}
	for name, change := range map[string]func(*payword.Commitment){
		"":              func(*payword.Commitment) {},
		"limit":         func(m *payword.Commitment) { m.Limit++ },
		"unit":          func(m *payword.Commitment) { m.Chains[1].Unit++ },
		"expiry":        func(m *payword.Commitment) { m.Expires++ },
		"subject":       func(m *payword.Commitment) { m.Certificate.Subject += "x" },
		"where it goes": func(m *payword.Commitment) { m.Certificate.Prefixes = make([]netip.Prefix, 1) },
	} {
		recorded := *m
		recorded.Certificate.Token = ""
		recorded.Certificate.Prefixes = []netip.Prefix{}
		recorded.Chains = slices.Clone(m.Chains)
		change(&recorded)
		a := account{commitment: &recorded, state: payword.NewState(&recorded, storeUnit, 0)}
		found := strings.Join(new(Verification).verify(&a, keys), " ")
		if isFound := strings.Contains(found, "is not what it says"); isFound != (name != "") || !isFound && found != "" {
			t.Errorf("%q changed: found %q", name, found)
		}
	}
}
