package statement_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/money"
)

func TestVerify(t *testing.T) {
	for _, c := range tamperings {
		t.Run(c.name, func(t *testing.T) {
			text := c.text(t)
			got, report, err := check(text, c.optionsOf())
			if got != c.expect {
				t.Errorf("%s: got %s (%v), want %s", c.comment, got, err, c.expect)
			}
			if err == nil && report.Day == nil && c.optionsOf().DayKeys != nil {
				t.Error("accepted without a day")
			}
		})
	}
}

// A report says what was proved.
func TestReport(t *testing.T) {
	text := newBook(t, honest()...).text(t)
	_, report, err := check(text, options())
	if err != nil {
		t.Fatal(err)
	}
	if report.Paid != 349_980 || report.Cumulative != 351_980 || report.Hashes != 42+7+3+299 || report.Commitments != 3 {
		t.Errorf("got %+v", report)
	}
	if got, want := report.ClaimKeys[vendor], payword.Thumbprint(public(keyOf("vendor "+vendor))); len(got) != 1 || got[0] != want {
		t.Errorf("claim keys: got %v, want %s", report.ClaimKeys, want)
	}
	lines := strings.SplitAfter(text, "\n")
	leaf := sha256.Sum256([]byte(strings.Join(lines[:4], "")))
	if report.Leaf != encode(leaf[:]) || report.Day.Leaves != 303 || report.DayKey != payword.Thumbprint(public(keyOf("clearing"))) {
		t.Errorf("got leaf %s, day %+v by %s", report.Leaf, report.Day, report.DayKey)
	}
}

// Whatever is changed anywhere, something disagrees.
func TestEveryByteCounts(t *testing.T) {
	text := newBook(t, honest()[1:]...).text(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	for range 400 {
		at := random.IntN(len(text))
		b := byte(' ' + random.IntN(95))
		if b == text[at] {
			continue
		}
		if got, _, _ := check(text[:at]+string(b)+text[at+1:], options()); got == "accepted" {
			t.Errorf("seed %d: accepted with %q for %q at %d: …%s…", seed, b, text[at], at, text[max(0, at-40):min(len(text), at+40)])
		}
	}
}

// Every member of every line counts by itself.
func TestEveryMemberCounts(t *testing.T) {
	text := newBook(t, honest()...).text(t)
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	looked := 0
	for number, line := range lines {
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &members); err != nil {
			t.Fatal(err)
		}
		for name, value := range members {
			for _, other := range []string{"null", `""`, `"1"`, "1", `"x"`, "[]", "{}"} {
				changed := strings.Replace(line, fmt.Sprintf("%q:%s", name, value), fmt.Sprintf("%q:%s", name, other), 1)
				if changed == line {
					continue
				}
				looked++
				if got, _, _ := check(strings.Join(lines[:number], "")+changed+strings.Join(lines[number+1:], "")+"\n", options()); got == "accepted" {
					t.Errorf("line %d: accepted with %s: %s", number+1, name, other)
				}
			}
		}
	}
	if looked < 150 {
		t.Errorf("looked at %d changes only", looked)
	}
}

// What keeps the reader from reading is no disagreement.
func TestReaderFails(t *testing.T) {
	text := newBook(t, honest()...).text(t)
	for _, upTo := range []int{10, 700, len(text) - 10} {
		reader := io.MultiReader(strings.NewReader(text[:upTo]), iotest.ErrReader(io.ErrClosedPipe))
		if _, err := statement.Verify(reader, options()); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after %d bytes: got %v, want the reader's error", upTo, err)
		}
	}
}

// The shares of a fee sum to it, and each is within a micro of its part.
func TestFeeShares(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 2))
	for range 300 {
		count := 1 + random.IntN(40)
		paid, fee := make([]money.Amount, count), random.Int64N(1+random.Int64N(1<<50))
		whole := int64(0)
		for k := range paid {
			paid[k] = money.Amount(1 + random.Int64N(1+random.Int64N(1<<44)))
			whole += int64(paid[k])
		}
		shares := statement.NewFeeShares(statement.Total(fee), statement.Total(whole))
		sum := int64(0)
		for _, p := range paid {
			share := int64(shares(p))
			sum += share
			part := new(big.Int).Mul(big.NewInt(fee), big.NewInt(int64(p)))
			part.Div(part, big.NewInt(whole))
			if off := share - part.Int64(); off < 0 || off > 1 {
				t.Fatalf("seed %d: of a fee of %d for %d of %d got %d", seed, fee, p, whole, share)
			}
		}
		if sum != fee {
			t.Fatalf("seed %d: shares of %d sum to %d", seed, fee, sum)
		}
	}
}

// The tree is that of RFC 6962, whatever its size.
func TestTree(t *testing.T) {
	for _, count := range []int{0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1000, 1024, 1300} {
		leaves := make([]statement.Digest, count)
		var stored []tlog.Hash
		reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
			var list []tlog.Hash
			for _, index := range indexes {
				list = append(list, stored[index])
			}
			return list, nil
		})
		for k := range leaves {
			leaves[k] = sha256.Sum256([]byte{byte(k), byte(k >> 8)})
			more, err := tlog.StoredHashes(int64(k), leaves[k][:], reader)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, more...)
		}
		want := tlog.Hash(sha256.Sum256(nil))
		if count > 0 {
			var err error
			if want, err = tlog.TreeHash(int64(count), reader); err != nil {
				t.Fatal(err)
			}
		}
		tree := treeOf(t, leaves)
		root, err := tree.Root()
		if err != nil || root != statement.Digest(want) {
			t.Errorf("%d leaves: got root %x (%v), want %x", count, root, err, want)
		}
		for index := 0; index < count; index += 1 + count/50 {
			proof, err := tree.Prove(int64(index))
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.Check(leaves[index], root); err != nil {
				t.Errorf("%d leaves, leaf %d: %v", count, index, err)
			}
			if err := proof.Check(sha256.Sum256([]byte("another")), root); err == nil {
				t.Errorf("%d leaves, leaf %d: another leaf has the same proof", count, index)
			}
		}
	}
}

// Days that do not follow each other are told.
func TestCheckDays(t *testing.T) {
	key := keyOf("clearing")
	var tokens []string
	for number := range int64(4) {
		day := statement.Day{Issuer: issuer, Number: number + 1, Run: fmt.Sprintf("run-%d", number), PeriodEnd: "2026-11-22", Currency: usd,
			Leaves: 1, Root: encode(make([]byte, 32)), IssuedAt: start}
		if number > 0 {
			day.Previous = statement.HashDay(tokens[number-1])
		}
		token, err := statement.SignDay(day, key)
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	keys := set(key)
	if days, err := statement.CheckDays(tokens, keys); err != nil || len(days) != 4 {
		t.Errorf("got %d days, %v", len(days), err)
	}
	if _, err := statement.CheckDays(tokens[1:], keys); err != nil {
		t.Errorf("days from the second on: %v", err)
	}
	second := statement.Day{Issuer: issuer, Number: 2, Run: "run-1", PeriodEnd: "2026-11-22", Currency: usd, Leaves: 2,
		Root: encode(make([]byte, 32)), Previous: statement.HashDay(tokens[0]), IssuedAt: start}
	another, err := statement.SignDay(second, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string][]string{
		"a day left out":   {tokens[0], tokens[2]},
		"a day twice":      {tokens[0], tokens[1], tokens[1]},
		"another day":      {tokens[0], another, tokens[2]},
		"out of order":     {tokens[1], tokens[0]},
		"a forged day":     {resign(tokens[0], keyOf("forger"))},
		"no day":           {"x"},
		"a day cut off":    {tokens[0][:len(tokens[0])-4]},
		"with a line feed": {tokens[0] + "\n"},
	} {
		if _, err := statement.CheckDays(list, keys); err == nil {
			t.Errorf("%s: nothing disagrees", name)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	entry := honest()[0].entry(t)
	b := newBook(t, honest()[:1]...)
	for name, use := range map[string]func(*statement.Writer) error{
		"the same twice":    func(w *statement.Writer) error { return errors.Join(w.Add(entry), w.Add(entry)) },
		"nothing paid":      func(w *statement.Writer) error { e := entry; e.Paid = 0; return w.Add(e) },
		"too few entries":   func(w *statement.Writer) error { _, err := w.Digest(); return err },
		"a token too large": func(w *statement.Writer) error { e := entry; e.Token = strings.Repeat("x", 9000); return w.Add(e) },
	} {
		w, err := statement.NewWriter(io.Discard, b.header)
		if err != nil {
			t.Fatal(err)
		}
		if err := use(w); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	b.header.PeriodEnd = "yesterday"
	if _, err := statement.NewWriter(io.Discard, b.header); err == nil {
		t.Error("a period that ends yesterday: no error")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte(newBook(f, honest()...).text(f)))
	f.Add([]byte(userBook(f).text(f)))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 100_000 {
			return
		}
		report, err := statement.Verify(bytes.NewReader(text), options())
		if err == nil && report.Day == nil {
			t.Error("accepted without a day")
		}
		if disagreement := (*statement.Disagreement)(nil); err != nil && !errors.As(err, &disagreement) {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzParseDay(f *testing.F) {
	text := newBook(f, honest()...).text(f)
	_, report, _ := check(text, options())
	f.Add(report.DayToken)
	f.Fuzz(func(t *testing.T, token string) {
		day, _, err := statement.ParseDay(token, nil)
		if err != nil {
			return
		}
		again, err := statement.SignDay(day, keyOf("x"))
		if err != nil || strings.Split(again, ".")[1] != strings.Split(token, ".")[1] {
			t.Errorf("%s is written again as %s (%v)", token, again, err)
		}
	})
}

// BenchmarkVerify takes a commitment of one chain with 100 steps each.
func BenchmarkVerify(b *testing.B) {
	text := newBook(b, honest()[:1]...)
	for k := range 200 {
		s := honest()[0]
		s.name = fmt.Sprintf("anna-%d", k)
		text.entries = append(text.entries, s.entry(b))
	}
	text.sort()
	written := text.text(b)
	b.SetBytes(int64(len(written)) / 201)
	for b.Loop() {
		if _, err := statement.Verify(strings.NewReader(written), options()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/201, "ns/commitment")
	b.ReportMetric(float64(len(written))/201, "B/commitment")
}
