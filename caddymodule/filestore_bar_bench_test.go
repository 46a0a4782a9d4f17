package caddymodule

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
)

// barCommitments is how many commitments the store holds of which the bars speak.
const barCommitments = 1_000_000

// commitmentsOf is barCommitments, or a twentieth with -short.
func commitmentsOf(b *testing.B) uint64 {
	if testing.Short() {
		return barCommitments / 20
	}
	b.Helper()
	return barCommitments
}

// numberedToken returns a commitment's token with another jti. Its signature is
// wrong, which a store does not check.
func numberedToken(b *testing.B, claims string, parts []string, jti payword.Nonce, number uint64) string {
	binary.BigEndian.PutUint64(jti[:], number)
	text := fmt.Sprintf(claims, base64.RawURLEncoding.EncodeToString(jti[:]))
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(text)) + "." + parts[2]
}

// writeBarStore writes the files of a store with many commitments, each with a
// few hundred numbers used, a tenth of them charged since the snapshot. It
// returns how long their tokens and reservations are.
func writeBarStore(b *testing.B, directory string, count uint64) (tokenBytes int) {
	b.Helper()
	m := storeCommitment(b, 1, 1)
	parts := strings.Split(m.Token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		b.Fatal(err)
	}
	jti := base64.RawURLEncoding.EncodeToString(m.Nonce[:])
	before, after, found := strings.Cut(strings.ReplaceAll(string(payload), "%", "%%"), jti)
	if !found {
		b.Fatal("the commitment does not hold its jti")
	}
	s := openStore(b, directory, fileStoreOptions{})
	closeStore(b, s)
	file, err := os.Create(filepath.Join(directory, snapshotName(1)))
	if err != nil {
		b.Fatal(err)
	}
	w := snapshotWriter{file: &osFile{File: file}, generation: 1, frame: make([]byte, frameHeadBytes, 2*snapshotFrameBytes)}
	if _, err := file.Write(fileHeader(snapshotMark, 1)); err != nil {
		b.Fatal(err)
	}
	w.end = fileHeaderBytes
	journal := []byte(fileHeader(journalMark, 1))
	for number := range count {
		token := numberedToken(b, before+"%s"+after, parts, m.Nonce, number)
		e := newEntry(storeOpening(m, 1000, 1))
		e.commitment.Token, e.commitment.ID = token, payword.NewCommitmentID(token)
		for k := range uint64(3) {
			c := storeCharge(100 + k)
			e.state.Charge(e.commitment, &c)
		}
		e.state.Recent = nil
		tokenBytes += len(token) + len(e.reservation)
		w.add(e)
		if number%10 == 0 {
			journal = appendBarCharge(journal, e)
		}
		if len(w.frame) >= snapshotFrameBytes {
			if err := w.flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	last := record{kind: recordEnd, count: w.count}
	w.frame = last.append(w.frame)
	if err := w.flush(); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, journalName(1)), journal, 0o600); err != nil {
		b.Fatal(err)
	}
	return tokenBytes
}

// appendBarCharge appends a frame with one charge to a journal.
func appendBarCharge(journal []byte, e *entry) []byte {
	c, outcome := storeCharge(200), payword.Outcome{}
	r, err := chargeStep(c, &outcome)(e)
	if err != nil {
		return journal
	}
	r.id = e.commitment.ID
	frame := r.append(make([]byte, frameHeadBytes))
	sealFrame(frame, 1, int64(len(journal)))
	return append(journal, frame...)
}

// BenchmarkBarStart opens a store with 1,000,000 commitments, of which 100,000
// were charged since the last snapshot: in seconds.
func BenchmarkBarStart(b *testing.B) {
	directory, count := b.TempDir(), commitmentsOf(b)
	writeBarStore(b, directory, count)
	b.ResetTimer()
	seconds := 0.0
	for range b.N {
		began := time.Now()
		s := openStore(b, directory, fileStoreOptions{})
		seconds += time.Since(began).Seconds()
		b.StopTimer()
		if found := commitmentsIn(s); found != int(count) {
			b.Fatalf("%d commitments are open; want %d", found, count)
		}
		closeStore(b, s)
		runtime.GC()
		b.StartTimer()
	}
	b.ReportMetric(seconds/float64(b.N), "seconds")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBarMemory measures what a commitment takes that rests, besides its
// token and its reservation.
func BenchmarkBarMemory(b *testing.B) {
	directory, count := b.TempDir(), commitmentsOf(b)/10
	tokens := writeBarStore(b, directory, count)
	for range b.N {
		before := heapBytes()
		s := openStore(b, directory, fileStoreOptions{})
		// Time passes until nothing is remembered of requests.
		err := s.claimables(b.Context(), storeStart+payword.RefundSeconds, payword.RefundSeconds, func(claimable) bool { return true })
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric((float64(heapBytes())-float64(before)-float64(tokens))/float64(count), "B/commitment")
		closeStore(b, s)
	}
}

func commitmentsIn(s *fileStore) (count int) {
	for k := range s.shards {
		count += len(s.shards[k].entries) + len(s.shards[k].resting)
	}
	return count
}
