package clearing_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/internal/ledger"
)

var publishedCommitments = flag.Int("commitments", 20_000, "how many commitments BenchmarkPublish publishes")

// fill writes redeemed commitments as the broker would, but for what is signed:
// tokens and claims are as long as real ones with one chain.
func fill(b *testing.B, db *ledger.DB, commitments, vendors, accounts int) {
	b.Helper()
	signed := func() string { // as long as a claim's payload, and no shorter when packed
		noise := make([]byte, 330)
		_, _ = rand.Read(noise)
		return "eyJhbGciOiJFZERTQSIsImtpZCI6InAifQ." + base64.RawURLEncoding.EncodeToString(noise)
	}
	insert := func(query string, columns int, rows [][]any) {
		update(b, db, func(ctx context.Context, tx *ledger.Tx) error {
			for from, to := range ledger.Spans(len(rows)) {
				var arguments []any
				for _, row := range rows[from:to] {
					arguments = append(arguments, row...)
				}
				if _, err := tx.ExecContext(ctx, query+ledger.Rows(to-from, columns), arguments...); err != nil {
					return err
				}
			}
			return nil
		})
	}
	const newAccount = `INSERT INTO accounts (id, currency, floor, created) VALUES `
	vendor := func(k int) string { return fmt.Sprintf("https://vendor-%05d.example", k%vendors) }
	var rows, owners [][]any
	for k := range max(vendors, accounts) {
		if k < vendors {
			rows = append(rows, []any{"vendor:" + vendor(k) + ":payable", "usd-micro", 0, 1})
		}
		if k < accounts {
			owners = append(owners, []any{fmt.Sprintf("account%09d", k), fmt.Sprintf("kid%d", k), []byte("k"), 1})
		}
	}
	insert(newAccount, 4, rows)
	insert(`INSERT INTO broker_accounts (id, key_id, key, created) VALUES `, 4, owners)
	const page = 5000
	for from := 0; from < commitments; from += page {
		var stored, moved [][]any
		for k := from; k < min(from+page, commitments); k++ {
			raw := make([]byte, 16)
			_, _ = rand.Read(raw)
			id, tails := base64.RawURLEncoding.EncodeToString(raw), make([]byte, 8*36)
			_, _ = rand.Read(tails[:36])
			copy(tails, "\x00\x00\x00\x07")
			stored = append(stored, []any{id, strings.Repeat("x", 1400), fmt.Sprintf("account%09d", k%accounts), vendor(k), 0, 0, 7000, 0, 1, 0, "", tails, signed(), 0, 1, 1})
			moved = append(moved, []any{fmt.Sprintf("redeem/%s/7000", id), "single", "broker:bank:in", "vendor:" + vendor(k) + ":payable", 7000, "usd-micro", "redeem", id, 0, 1})
		}
		insert(`INSERT INTO broker_commitments (id, token, account, vendor, reserved, held, paid, sequence, redeem_by, day, reservation, tails, claim, closed, version, created) VALUES `, 16, stored)
		insert(`INSERT INTO transfers (id, phase, debit, credit, amount, currency, kind, reference, expires, created) VALUES `, 10, moved)
	}
}

// BenchmarkPublish makes evidence, statements and the day of many commitments, and
// then the statement of one vendor again.
func BenchmarkPublish(b *testing.B) {
	count := *publishedCommitments
	bank := newBank(b)
	fill(b, bank.db, count, max(1, count/100), max(1, count/10))
	(&day{bank: bank}).insertRun("run-1")
	var most uint64
	start := time.Now()
	for b.Loop() {
		var phases [3]time.Duration
		last := time.Now()
		err := clearing.Publish(b.Context(), bank.db, "run-1", newKey(), 500, func(name string) {
			phase := map[byte]int{'e': 0, 's': 1, 'd': 2}[name[0]]
			phases[phase] += time.Since(last)
			last = time.Now()
			var memory runtime.MemStats
			if phase > 0 || strings.HasSuffix(name, "0") {
				runtime.ReadMemStats(&memory)
				most = max(most, memory.HeapInuse)
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		if phases[0] > 0 {
			b.Logf("evidence %v, statements %v, day %v", phases[0], phases[1], phases[2])
		}
	}
	b.ReportMetric(float64(time.Since(start).Microseconds())/float64(count), "µs/commitment-first")
	b.ReportMetric(float64(most)/(1<<20), "MB-heap")
	s, err := clearing.OpenStatements(b.Context(), bank.db, "run-1")
	if err == nil {
		err = s.Write(b.Context(), io.Discard, statement.Vendor, "https://vendor-00000.example")
	}
	if err != nil {
		b.Fatal(err)
	}
}
