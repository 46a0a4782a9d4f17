package samgateway_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/relay"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// serving is "samgateway serve" while it runs.
type serving struct {
	t       testing.TB
	ports   map[string]string // what listens: its address
	log     *lockedBuffer
	stop    context.CancelFunc
	stopped chan int // its exit code
}

// lockedBuffer is what several goroutines may write to.
type lockedBuffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(text []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(text)
}

func (b *lockedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}

var listens = regexp.MustCompile(`^samgateway listens for ([a-z ]+) on (\S+)$`)

// serve starts the gateway and waits until it serves.
func (h *house) serve() *serving {
	h.t.Helper()
	ctx, stop := context.WithCancel(h.t.Context())
	s := &serving{t: h.t, ports: make(map[string]string), log: &lockedBuffer{}, stop: stop, stopped: make(chan int, 1)}
	reader, writer := io.Pipe()
	go func() {
		code := samgateway.Main(ctx, h.machine, []string{"serve", "--config", h.config, "--relay", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
			"--merchant-name", "A shop"}, strings.NewReader(""), writer, s.log)
		_ = writer.Close()
		s.stopped <- code
	}()
	h.t.Cleanup(stop)
	if !s.await(reader) {
		h.t.Fatalf("it does not serve: exit code %d\n%s", <-s.stopped, s.log)
	}
	return s
}

// await reads what a gateway prints until it serves.
func (s *serving) await(stdout io.Reader) (isServing bool) {
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if match := listens.FindStringSubmatch(lines.Text()); match != nil {
			s.ports[match[1]] = match[2]
		}
		if strings.Contains(lines.Text(), " serves") {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return true
		}
	}
	return false
}

// end stops the gateway, which must end well.
func (s *serving) end() {
	s.t.Helper()
	s.stop()
	if code := <-s.stopped; code != 0 {
		s.t.Errorf("it ended with exit code %d\n%s", code, s.log)
	}
}

// get reads a page for monitors.
func (s *serving) get(path string) (status int, text string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.ports["metrics"]+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(content)
}

// atHome is a holder whose reader is at home, and who agrees to what is offered.
func (h *house) atHome(s *serving, hello relay.Hello) relay.Result {
	h.t.Helper()
	call, err := relay.Dial(h.t.Context(), relay.NewClient(nil), "ws://"+s.ports["readers at home"]+"/", hello, relay.Limits{})
	if err != nil {
		return relay.Result{Outcome: relay.Failed, Sentence: err.Error()}
	}
	defer call.Close()
	if call.Offer.Name != "A shop" {
		h.t.Errorf("the offer is %+v", call.Offer)
	}
	session, err := h.customer.Connect(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	defer session.Close()
	client := smartcard.Purse{Card: session}
	if err := client.Select(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	if hello.Intent == relay.Load {
		if err := client.Verify(h.t.Context(), []byte(testPIN)); err != nil && !strings.Contains(h.t.Name(), "White") {
			h.t.Fatal(err)
		}
	}
	data, err := client.Data(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	agreed := relay.Agreement{Intent: hello.Intent, Merchant: call.Merchant(), Unit: data.Unit, Card: data.Card}
	if agreed.Amount, err = data.Unit.Count(hello.Amount); err != nil {
		h.t.Fatal(err)
	}
	return call.Run(h.t.Context(), session, agreed)
}

// balance is what a card says that is on it.
func (h *house) balance() uint32 {
	h.t.Helper()
	session, err := h.customer.Connect(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	defer session.Close()
	client := smartcard.Purse{Card: session}
	if err := client.Select(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	data, err := client.Data(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return data.Balance
}

func TestServeReadersAtHome(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.account(1, 100*dollar), h.account(2, 0)
	h.issue(1, anna)
	s := h.serve()
	do := func(intent relay.Intent, amount money.Amount, account string, want relay.Outcome, sentence string) {
		t.Helper()
		got := h.atHome(s, relay.Hello{Intent: intent, Amount: amount, Currency: "usd-micro", Account: account})
		if got.Outcome != want || !strings.Contains(got.Sentence, sentence) {
			t.Errorf("%s: got %+v, want %s and %q", intent, got, want, sentence)
		}
	}
	do(relay.Load, 20*dollar, "", relay.Done, "Loaded 20.00 USD")
	do(relay.Pay, 5*dollar, "", relay.Done, "Paid 5.00 USD by transaction 1")
	do(relay.Fund, 6*dollar, ben, relay.Done, "account "+ben+" has it")
	do(relay.Fund, dollar, "nobody", relay.Failed, "account")
	do(relay.Pay, 50*dollar, "", relay.Failed, "too little")
	do(relay.Pay, dollar/1000, "", relay.Failed, "count in 0.01 USD")
	do(relay.Unload, 9*dollar, "", relay.Done, "account "+anna+" has it")
	h.wantAccount(anna, 89*dollar)
	h.wantAccount(ben, 6*dollar)
	if got := h.balance(); got != 0 {
		t.Errorf("there are %d cents on the card", got)
	}
	for _, got := range []string{`samgateway_served_total{what="relay-pay",ended="done"} 1`, `samgateway_served_total{what="relay-pay",ended="failed"} 1`, "samgateway_up 1\n"} {
		if _, text := s.get("/metrics"); !strings.Contains(text, got) {
			t.Errorf("no %s in\n%s", got, text)
		}
	}
	h.wantNo(1, `is "samgateway serve" running?`, "status")
	s.end()
	h.want("Turned in batch 1", "turnin")
	h.wantSound()
}

// Clearing need not be there when the gateway begins, nor the SAM all the time;
// a monitor is told.
func TestServeWithoutClearing(t *testing.T) {
	h := newHouse(t)
	h.issue(1, h.account(1, 100*dollar))
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	h.want("Paid 5.00 USD", "pay", "5.00")
	h.clearingDoor.isShut.Store(true)
	s := h.serve()
	if status, text := s.get("/healthz"); status != http.StatusOK || text != "OK\n" {
		t.Errorf("healthz: %d %s", status, text)
	}
	if _, text := s.get("/metrics"); !strings.Contains(text, "samgateway_batch_micros 5000000\n") || !strings.Contains(text, "samgateway_turned_in_seconds 0\n") {
		t.Errorf("metrics:\n%s", text)
	}
	if !strings.Contains(s.log.String(), `"the batch was not turned in"`) {
		t.Errorf("the log says\n%s", s.log)
	}
	got := h.atHome(s, relay.Hello{Intent: relay.Pay, Amount: dollar, Currency: "usd-micro"})
	if got.Outcome != relay.Done {
		t.Errorf("paying without clearing: %+v", got)
	}
	sam := h.slots[1]
	sam.put(nil)
	if got := h.atHome(s, relay.Hello{Intent: relay.Pay, Amount: dollar, Currency: "usd-micro"}); got.Outcome != relay.Undecided && got.Outcome != relay.Failed {
		t.Errorf("paying without the SAM: %+v", got)
	}
	sam.put(h.sam)
	if got := h.atHome(s, relay.Hello{Intent: relay.Pay, Amount: dollar, Currency: "usd-micro"}); got.Outcome != relay.Done {
		t.Errorf("paying with the SAM again: %+v", got)
	}
	s.end()
	h.clearingDoor.isShut.Store(false)
	h.serve().end() // it turns in what is there when it begins
	h.want("there is nothing to turn in", "turnin")
	if got := h.balance(); got != 13_00 {
		t.Errorf("there are %d cents on the card", got)
	}
	h.wantSound()
}

func TestServeRefusesWrongSettings(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		code      int
		sentence  string
		arguments []string
	}{
		{2, `--relay "0.0.0.0:8405": readers come in by TLS alone`, []string{"--relay", "0.0.0.0:8405"}},
		{2, `--kiosk "192.0.2.1:80"`, []string{"--kiosk", "192.0.2.1:80"}},
		{2, `--metrics "8405": want an address and a port`, []string{"--metrics", "8405"}},
		{2, "--closing-time: \"24:00\": want a time of the day", []string{"--closing-time", "24:00"}},
		{2, "--merchant-name: name: want 1 to 64 letters", []string{"--merchant-name", strings.Repeat("a", 65)}},
		{1, "want an address and a free port", []string{"--relay", strings.TrimPrefix(h.brokerDoor.URL, "http://")}},
	} {
		h.wantNo(c.code, c.sentence, append([]string{"serve"}, c.arguments...)...)
	}
	h.slots[1].put(newCard(t, 1, false))
	h.wantNo(1, "it is no SAM", "serve")
	h.slots[1].put(nil)
	h.wantNo(1, "no card is in the reader", "serve")
}

func TestWhenBatchesAreTurnedIn(t *testing.T) {
	day := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	at := func(hour, minute int) time.Time {
		return day.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
	}
	open := purse.SAMData{State: purse.SAMIdle, Payments: 1, Sum: 5_00, Limit: 1000_00}
	with := func(change func(*purse.SAMData)) purse.SAMData {
		batch := open
		change(&batch)
		return batch
	}
	cases := []struct {
		name                 string
		batch                purse.SAMData
		emptied, failed, now time.Time
		want                 bool
	}{
		{"before the closing time", open, at(9, 0), time.Time{}, at(21, 59), false},
		{"at the closing time", open, at(9, 0), time.Time{}, at(22, 0), true},
		{"after it was turned in at the closing time", open, at(22, 1), time.Time{}, at(23, 0), false},
		{"in the night, of the day before", open, at(9, 0), time.Time{}, at(25, 0), true},
		{"in the night, of this day", open, at(23, 0), time.Time{}, at(25, 0), false},
		{"when the gateway begins", open, time.Time{}, time.Time{}, at(9, 0), true},
		{"when there is nothing in it", with(func(b *purse.SAMData) { b.Payments, b.Sum = 0, 0 }), time.Time{}, time.Time{}, at(9, 0), false},
		{"when there are voids in it alone", with(func(b *purse.SAMData) { b.Payments, b.Voids = 0, 1 }), time.Time{}, time.Time{}, at(9, 0), true},
		{"when it is nearly full", with(func(b *purse.SAMData) { b.Sum = 800_00 }), at(9, 0), time.Time{}, at(10, 0), true},
		{"when it is not nearly full", with(func(b *purse.SAMData) { b.Sum = 799_99 }), at(9, 0), time.Time{}, at(10, 0), false},
		{"when it has nearly too many records", with(func(b *purse.SAMData) { b.Payments = purse.MaxRecords * 8 / 10 }), at(9, 0), time.Time{}, at(10, 0), true},
		{"while a payment is open", with(func(b *purse.SAMData) { b.State = purse.SAMOrdered }), time.Time{}, time.Time{}, at(22, 0), false},
		{"when it is closed", with(func(b *purse.SAMData) { b.State = purse.SAMClosed }), at(9, 0), time.Time{}, at(10, 0), true},
		{"soon after clearing did not take it", open, time.Time{}, at(22, 0), at(22, 9), false},
		{"some time after clearing did not take it", open, time.Time{}, at(22, 0), at(22, 10), true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got, err := samgateway.IsTurnInDue(c.batch, c.emptied, c.failed, c.now, "22:00"); err != nil || got != c.want {
				t.Errorf("got %t (%v), want %t", got, err, c.want)
			}
		})
	}
}
