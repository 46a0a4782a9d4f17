package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// meteredStream is a stream on a store in memory, of a commitment whose chain is
// worth one micro a step.
type meteredStream struct {
	*stream
	store *memoryStore
	entry *entry
}

// newMeteredStream charges what was reserved for request 1 out of a first credit
// of the same amount.
func newMeteredStream(meter *Meter, price, reserved money.Amount) *meteredStream {
	commitment := &payword.Commitment{
		ID: payword.CommitmentID{1}, Expires: 1 << 40, Currency: "usd-micro", Limit: money.MaxAmount,
		Chains: []payword.ChainTerms{{Unit: 1, Length: payword.MaxChainLength}},
	}
	store := newMemoryStore()
	o := opening{commitment: commitment, amount: money.MaxAmount, sequence: 1}
	e := newEntry(o)
	e.topUp("", money.MaxAmount, 1, 0)
	store.entries[commitment.ID] = e
	now := time.Unix(1_790_000_000, 0)
	app := &App{now: func() time.Time { return now }, ctx: caddy.Context{Context: context.Background()}}
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{
		Meter: meter, id: "s", gate: &gate{store: store, streams: newStreams()}, app: app, logger: zap.NewNop(),
		commitment: commitment, number: 1, price: price, ctx: ctx, cancel: cancel, say: func(notice) {},
		limit: money.MaxAmount, reserved: reserved, began: now, wake: make(chan struct{}),
	}
	e.state.Charge(commitment, &payword.Charge{Tail: payword.Tail{Index: uint32(reserved)}, Number: 1, Price: reserved, Now: now.Unix()})
	seen := e.view()
	s.view = seen.of(0)
	return &meteredStream{stream: s, store: store, entry: e}
}

// TestNothingIsDeliveredThatWasNotCharged writes and credits at random and wants
// delivered x price <= charged <= accepted after each step, with less than a
// slice between the first two, and nothing between them in the end if a slice was
// reserved.
func TestNothingIsDeliveredThatWasNotCharged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		meter := &Meter{
			Unit: rapid.SampledFrom([]string{unitByte, unitKilobyte, unitEvent}).Draw(t, "unit"), Slice: rapid.Int64Range(1, 20).Draw(t, "slice"),
			window: money.Amount(rapid.Int64Range(0, 50).Draw(t, "window")),
		}
		price := money.Amount(rapid.Int64Range(1, 7).Draw(t, "price"))
		s := newMeteredStream(meter, price, price*money.Amount(rapid.Int64Range(1, meter.Slice).Draw(t, "reserved")))
		s.limit = money.Amount(rapid.Int64Range(int64(s.reserved), 2000).Draw(t, "max"))
		tail, whole := s.entry.state.Tails[0].Index, meter.Unit == unitEvent
		check := func(when string, slack money.Amount) {
			cost := price * money.Amount(s.units(s.delivered))
			spent, accepted := s.entry.state.Spent(), s.entry.state.Accepted(s.commitment)
			debt := s.gate.streams.debt(s.commitment.ID)
			if cost > spent+debt || spent > accepted || s.charged() > s.limit || debt > meter.window {
				t.Fatalf("%s: delivered for %d, spent %d, debt %d, accepted %d, charged %d of %d", when, cost, spent, debt, accepted, s.charged(), s.limit)
			}
			if spent+debt-cost >= slack {
				t.Fatalf("%s: delivered for %d, spent %d and debt %d: more than a slice apart", when, cost, spent, debt)
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "credit") {
				tail += uint32(rapid.IntRange(1, 100).Draw(t, "steps released"))
				s.entry.state.Advance(0, payword.Tail{Index: tail})
				continue
			}
			s.takeNow(t, rapid.Int64Range(1, 3000/10).Draw(t, "count"), whole)
			check("in between", price*money.Amount(meter.Slice)+1)
		}
		rest := money.Amount(1) // of a slice nothing is left, unless less than one was reserved
		if s.reserved < price*money.Amount(meter.Slice) {
			rest = price * money.Amount(meter.Slice)
		}
		s.settle()
		check("in the end", rest)
	})
}

// takeNow takes what can be had without waiting: the meter's timeout is 0.
func (s *meteredStream) takeNow(t *rapid.T, count int64, whole bool) {
	if _, err := s.take(count, whole); err != nil && !errors.Is(err, errStreamTimeout) {
		t.Fatalf("taking: %v", err)
	}
	s.ctx, s.ended, s.told = context.Background(), nil, notice{}
}

// TestWindowIsHalfOfWhatWasPaid delivers ahead of payment and collects that
// first.
func TestWindowIsHalfOfWhatWasPaid(t *testing.T) {
	meter := &Meter{Unit: unitEvent, Slice: 1, window: 8, Timeout: caddy.Duration(time.Minute)}
	s := newMeteredStream(meter, 1, 10)
	sibling := &stream{
		Meter: meter, id: "t", gate: s.gate, app: s.app, logger: s.logger, commitment: s.commitment, number: 2, price: 1,
		ctx: s.ctx, cancel: s.cancel, say: s.say, limit: s.limit, began: s.began, view: s.view, wake: make(chan struct{}),
	}
	for range 10 {
		if _, err := s.take(1, true); err != nil {
			t.Fatal(err)
		}
	}
	for k := range 5 { // half of ten, by both streams together
		stream := s.stream
		if k%2 == 1 {
			stream = sibling
		}
		if _, err := stream.take(1, true); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.gate.streams.debt(s.commitment.ID); got != 5 || s.entry.state.Spent() != 10 {
		t.Fatalf("the debt is %d, spent is %d", got, s.entry.state.Spent())
	}
	told := make(chan notice, 1)
	s.say = func(n notice) { told <- n }
	done := make(chan error, 1)
	go func() {
		_, err := s.take(1, true)
		done <- err
	}()
	if n := <-told; n.Required != 16 || n.Accepted != 10 || n.Spent != 10 {
		t.Errorf("the client is told %+v", n)
	}
	s.store.mutex.Lock()
	s.entry.state.Advance(0, payword.Tail{Index: 16})
	s.store.mutex.Unlock()
	s.gate.streams.byCommitment[s.commitment.ID] = map[*stream]bool{s.stream: true}
	s.gate.streams.credited(s.commitment.ID)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := s.gate.streams.debt(s.commitment.ID); got != 0 || s.entry.state.Spent() != 16 {
		t.Errorf("the debt is %d, spent is %d", got, s.entry.state.Spent())
	}
}

// TestStreamEndsWithItsCommitment lets the commitment expire, and close, while
// there is credit.
func TestStreamEndsWithItsCommitment(t *testing.T) {
	tests := []struct {
		name   string
		happen func(*meteredStream)
		want   error
	}{
		{"expired", func(s *meteredStream) {
			s.app.now = func() time.Time { return time.Unix(s.commitment.Expires, 0) }
		}, errStreamExpired},
		{"closed", func(s *meteredStream) { s.entry.state.Closed = true }, errStreamClosed},
		{"the client left", func(s *meteredStream) { s.cancel() }, errStreamClient},
		{"the store cannot tell", func(s *meteredStream) {
			s.store.fault = func(string) fault { return faultAnswerLost }
		}, errStreamStore},
	}
	for _, test := range tests {
		s := newMeteredStream(&Meter{Unit: unitEvent, Slice: 1, Timeout: caddy.Duration(time.Minute)}, 1, 1)
		s.entry.state.Advance(0, payword.Tail{Index: 9})
		if _, err := s.take(1, true); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		test.happen(s)
		for range 2 { // for good
			if _, err := s.take(1, true); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
			}
		}
		if s.ctx.Err() == nil || s.delivered != 1 {
			t.Errorf("%s: the upstream goes on, or more than was paid was delivered: %d", test.name, s.delivered)
		}
	}
}

// FuzzUsageDocument reads the usage of a JSON answer, and of the same document
// as another writes it, in a longer one and as an event: the counts are the same,
// and in range.
func FuzzUsageDocument(f *testing.F) {
	for _, seed := range []string{
		`{"usage":{"in":3,"out":4}}`, `{"usage":{"in":3,"out":4},"usage":{"in":1}}`, `{"usage":[{"in":1}]}`, `{"usage":{"in":-1,"out":1e3}}`,
		`{"usage":{"in":1000000000001,"out":18446744073709551616}}`, `{"usage":{"in":"3","out":null}} {"usage":{"in":9}}`,
		`{"choices":[{"text":"\ud800 {\"usage\":{\"in\":9}}"}],"usage":{"in":0.0,"out":00}}`, "\ufeff{}", `[`, ``,
	} {
		f.Add([]byte(seed))
	}
	sources := []MeterSource{
		{Usage: "usage.in", Weight: 1, paths: [][]string{{"usage", "in"}}},
		{Usage: "usage.out", Weight: maxWeight, paths: [][]string{{"usage", "out"}}},
	}
	read := func(document []byte) []int64 {
		u := newUsage(&Meter{From: sources})
		u.readDocument(document)
		for k, count := range u.counts {
			if count < -1 || count > maxCount {
				panic(fmt.Sprintf("source %d counts %d", k, count))
			}
		}
		if total, err := u.total(); (err == nil) != (u.counts[0] >= 0 && u.counts[1] >= 0) || total < 0 {
			panic(fmt.Sprintf("a total of %d, %v, of %v", total, err, u.counts))
		}
		return u.counts
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		got := read(document)
		decoder := json.NewDecoder(bytes.NewReader(document))
		decoder.UseNumber()
		var content map[string]any
		if decoder.Decode(&content) != nil || content == nil {
			if got[0] >= 0 || got[1] >= 0 {
				t.Fatalf("%q, which is no object, counts %v", document, got)
			}
			return
		}
		content["more"] = strings.Repeat("x", 100)
		again, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if counts := read(again); !slices.Equal(counts, got) {
			t.Fatalf("%q counts %v, and %q %v", document, got, again, counts)
		}
		event := newUsage(&Meter{From: sources})
		event.readEvent(slices.Concat([]byte("event: x\ndata: "), again, []byte("\n\n")))
		if !slices.Equal(event.counts, got) {
			t.Fatalf("%q counts %v, and as an event %v", document, got, event.counts)
		}
	})
}

// FuzzEvents cuts a stream into events in two ways and compares.
func FuzzEvents(f *testing.F) {
	for _, seed := range []string{"data: a\n\n", "data: a\r\n\r\ndata", ": c\r\rdata:x\rdata\r\r\r", "\n\n", "event: x\ndata: {\"usage\":{\"n\":1}}\n\n"} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, content []byte, cut int) {
		whole, rest := cutEvents(content)
		cut = int(uint(cut) % uint(len(content)+1))
		pieces, left := cutEvents(content[:cut])
		later, left := cutEvents(append(bytes.Clone(left), content[cut:]...))
		if got := append(pieces, later...); !bytes.Equal(bytes.Join(got, []byte("|")), bytes.Join(whole, []byte("|"))) || !bytes.Equal(left, rest) {
			t.Fatalf("cut at %d: %q, want %q", cut, got, whole)
		}
		u := newUsage(&Meter{From: []MeterSource{{Usage: "usage.n", Weight: maxWeight, paths: [][]string{{"usage", "n"}}}}})
		for _, event := range whole {
			u.readEvent(event)
		}
		if total, err := u.total(); err == nil && total < 0 {
			t.Fatalf("a total of %d", total)
		}
	})
}

func cutEvents(content []byte) (events [][]byte, rest []byte) {
	for {
		end := eventEnd(content)
		if end == 0 {
			return events, content
		}
		events, content = append(events, content[:end]), content[end:]
	}
}

// FuzzFrames counts frames in two ways and compares.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x81\x02hi\x88\x02\x03\xe8"), 3)
	f.Add([]byte("\x01\x81maskx\x89\x00\x80\x01y"), 1)
	f.Add([]byte("\x82\x7e\x00\x03abc\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01z"), 9)
	f.Fuzz(func(t *testing.T, content []byte, cut int) {
		var once, twice frameReader
		messages, payload, err := once.count(content)
		cut = int(uint(cut) % uint(len(content)+1))
		firstMessages, firstPayload, firstErr := twice.count(content[:cut])
		if firstErr == nil {
			var secondMessages, secondPayload int64
			secondMessages, secondPayload, firstErr = twice.count(content[cut:])
			firstMessages, firstPayload = firstMessages+secondMessages, firstPayload+secondPayload
		}
		if firstMessages != messages || firstPayload != payload || (firstErr == nil) != (err == nil) {
			t.Fatalf("cut at %d: %d messages of %d bytes, %v; want %d of %d, %v", cut, firstMessages, firstPayload, firstErr, messages, payload, err)
		}
		if payload > int64(len(content)) || messages*2 > int64(len(content)) {
			t.Fatalf("%d messages of %d bytes in %d bytes", messages, payload, len(content))
		}
	})
}

// TestFramesThatAreNone wants an error.
func TestFramesThatAreNone(t *testing.T) {
	for name, content := range map[string]string{
		"reserved opcode":                "\x83\x00",
		"reserved control opcode":        "\x8b\x00",
		"long control frame":             "\x89\x7e\x00\x7e",
		"control frame in pieces":        "\x09\x00",
		"continuation of nothing":        "\x80\x00",
		"message inside of a message":    "\x01\x00\x81\x00",
		"a length that is negative":      "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00",
		"continuation after the message": "\x81\x01x\x80\x00",
	} {
		var f frameReader
		if _, _, err := f.count([]byte(content)); !errors.Is(err, errStreamFrames) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDebtIsCollectedFromWhatComesBack lets one stream run ahead on what others
// have only reserved: when they give that back, it pays the debt first.
func TestDebtIsCollectedFromWhatComesBack(t *testing.T) {
	meter := &Meter{Unit: unitEvent, Slice: 1, window: 50}
	s := newMeteredStream(meter, 1, 100) // has sent nothing of its hundred
	s.entry.state.Charge(s.commitment, &payword.Charge{
		Tail: payword.Tail{Index: 101}, Number: 2, Price: 1, Now: s.began.Unix(), Fingerprint: payword.Fingerprint{2},
	})
	seen := s.entry.view()
	ahead := &stream{
		Meter: meter, id: "t", gate: s.gate, app: s.app, logger: s.logger, commitment: s.commitment, number: 2, price: 1, reserved: 1,
		ctx: s.ctx, cancel: s.cancel, say: s.say, limit: s.limit, began: s.began, view: seen.of(0), wake: make(chan struct{}),
	}
	for range 51 {
		if _, err := ahead.take(1, true); err != nil {
			t.Fatal(err)
		}
	}
	ahead.settle()
	if got := s.gate.streams.debt(s.commitment.ID); got != 50 {
		t.Fatalf("the debt is %d, want 50", got)
	}
	s.settle()
	if got := s.gate.streams.debt(s.commitment.ID); got != 0 || s.entry.state.Spent() != 51 {
		t.Errorf("after all have ended the debt is %d, spent is %d of %d", got, s.entry.state.Spent(), s.entry.state.Accepted(s.commitment))
	}
	if charged, seen := s.state(); charged != 0 || seen.spent != 51 {
		t.Errorf("the stream that sent nothing cost %d, and says that %d were spent", charged, seen.spent)
	}
}
