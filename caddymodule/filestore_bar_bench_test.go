package caddymodule

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
func numberedToken(claims string, parts []string, jti payword.Nonce) string {
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
		e := newEntry(storeOpening(m, 1000, 1))
		binary.BigEndian.PutUint64(e.commitment.Nonce[:], number)
		token := numberedToken(before+"%s"+after, parts, e.commitment.Nonce)
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
	// As writeSnapshot does, or the start would wait for it.
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
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

// BenchmarkCompactionPause compares how long steps take while nothing else goes
// on and while the journal of 200,000 commitments is rewritten: the longest of
// each 1,000, in milliseconds, and how many times as long it is.
func BenchmarkCompactionPause(b *testing.B) {
	directory := b.TempDir()
	writeBarStore(b, directory, commitmentsOf(b)/5)
	s := openStore(b, directory, fileStoreOptions{compactBytes: 1 << 50})
	m := storeCommitment(b, 1, 1)
	if _, err := s.open(b.Context(), storeOpening(m, 1000, 1)); err != nil {
		b.Fatal(err)
	}
	number := uint64(0)
	waits := func(until func() bool) []time.Duration {
		var all []time.Duration
		for !until() {
			number++
			c := payword.Charge{Tail: storeTail(1), Number: number, Now: storeStart + int64(number)}
			began := time.Now()
			if _, _, err := s.charge(b.Context(), m.ID, c); err != nil {
				b.Fatal(err)
			}
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		return all
	}
	for range b.N {
		compacted := make(chan error, 1)
		began := time.Now()
		go func() {
			_, err := s.compact()
			compacted <- err
		}()
		during := waits(func() bool { return len(compacted) > 0 })
		if err := <-compacted; err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		began = time.Now()
		alone := waits(func() bool { return time.Since(began) >= took })
		for _, each := range []struct {
			name  string
			share float64
		}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}} {
			at := func(waits []time.Duration) float64 {
				return float64(waits[int(each.share*float64(len(waits)-1))].Microseconds()) / 1000
			}
			b.ReportMetric(at(during), each.name+"-ms")
			b.ReportMetric(at(during)/at(alone), each.name+"-x-alone")
		}
		b.ReportMetric(took.Seconds(), "compaction-s")
	}
	b.ReportMetric(0, "ns/op")
}
