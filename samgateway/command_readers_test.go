package samgateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// foreign is a card of somebody else's: it knows no application.
type foreign struct{}

func (foreign) Transmit([]byte) ([]byte, error) { return []byte{0x6A, 0x82}, nil }
func (foreign) Reset()                          {}

// chips returns a card and a SAM that are in no reader.
func chips(t *testing.T) (card, sam chip) {
	t.Helper()
	keys, cents := pursetest.Keys(t), purse.Unit{Currency: 0x0840, Exponent: -2}
	card = pursetest.NewCard(t, purse.CardIssue{Keys: keys, KeyVersion: 1, Card: purse.ID{0xC1, 7: 1}, Unit: cents, MaxBalance: 200_00, MaxPayment: 200_00})
	sam = pursetest.NewSAM(t, purse.SAMIssue{Keys: keys, KeyVersion: 1, Merchant: purse.ID{0x4D, 7: 9}, Unit: cents, Limit: 1000_00})
	return card, sam
}

func TestReaders(t *testing.T) {
	m := newMachine("Empty", "Customer", "Merchant", "Other", "Used")
	card, sam := chips(t)
	m.slots[1].put(card)
	m.slots[2].put(sam)
	m.slots[3].put(foreign{})
	m.slots[4].put(foreign{})
	if _, err := m.slots[4].Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	run := func(readers smartcard.Readers, arguments ...string) said {
		var stdout, stderr bytes.Buffer
		code := samgateway.Main(t.Context(), readers, arguments, strings.NewReader(""), &stdout, &stderr)
		return said{code, stdout.String(), stderr.String()}
	}
	want := `Empty: empty
Customer: PWP1 card C100000000000001 with 0.00 USD
Merchant: SAM of merchant 4D00000000000009
Other: this is no purse card: it answers 6A82 to PWP1 (F05057505552534501), 6A82 to GeldKarte (D27600002545500200)
Used: another program is using the card
`
	if got := run(m, "readers"); got.code != 0 || got.stdout != want {
		t.Errorf("got %+v, want\n%s", got, want)
	}
	var results []struct {
		Reader, Problem string
		Card            *struct{ Kind, Number, BalanceMicros string }
	}
	got := run(m, "readers", "--json")
	if err := json.Unmarshal([]byte(got.stdout), &results); err != nil || len(results) != 5 || results[0].Card != nil ||
		results[1].Card.Kind != "purse" || results[1].Card.BalanceMicros != "0" || results[2].Card.Kind != "sam" || results[3].Problem == "" {
		t.Errorf("got %+v, %+v (%v)", got, results, err)
	}
	if got := run(newMachine(), "readers"); got.code != 0 || !strings.Contains(got.stdout, "plug one in") {
		t.Errorf("without a reader: got %+v", got)
	}
	for _, word := range []string{"readers", "watch"} {
		if got := run(noReaders{}, word); got.code != 1 || !strings.Contains(got.stderr, "built without PC/SC") {
			t.Errorf("%s without PC/SC: got %+v", word, got)
		}
	}
}

func TestWatch(t *testing.T) {
	m := newMachine("Customer")
	card, _ := chips(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	lines, stdout := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		ended <- samgateway.Main(ctx, m, []string{"watch", "--json"}, strings.NewReader(""), stdout, &stderr)
		_ = stdout.Close()
	}()
	events := bufio.NewScanner(lines)
	next := func(want, number string) {
		t.Helper()
		var event struct {
			Time          time.Time
			Event, Reader string
			Card          *struct{ Number string }
		}
		if !events.Scan() {
			t.Fatalf("no more events, want %s", want)
		}
		err := json.Unmarshal(events.Bytes(), &event)
		if err != nil || event.Event != want || event.Reader != "Customer" || event.Time.IsZero() ||
			(number == "") != (event.Card == nil) || number != "" && event.Card.Number != number {
			t.Fatalf("got %s (%v), want %s of %q", events.Text(), err, want, number)
		}
	}
	next("reader", "")
	m.slots[0].put(card)
	next("card", "C100000000000001")
	m.slots[0].put(nil)
	next("removed", "")
	interrupt()
	if events.Scan() {
		t.Errorf("got %s after the end", events.Text())
	}
	if code := <-ended; code != 0 || stderr.Len() > 0 {
		t.Errorf("got exit code %d, %q", code, stderr.String())
	}
}
