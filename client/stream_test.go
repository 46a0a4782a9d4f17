package client_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

const testStream = "Vm9yIGRlciBHYXJ0ZW50w7xy"

// meteredAnswer is an event stream that a gate charges for.
type meteredAnswer struct {
	stream   string         // "": charged before it begins
	begin    money.Amount   // what Payword-State says that it costs
	cost     money.Amount   // what it cost in the end
	receipts []money.Amount // that it ends with
}

// meter makes the gate quote a ceiling, in micros, and answer with an event stream.
func (w *world) meter(ceiling money.Amount, a meteredAnswer) {
	w.gate.set(func() {
		w.gate.price = a.begin
		w.gate.editChallenge = func(_ *http.Request, quoted *payword.PriceRequest, _ *payword.Challenge) {
			quoted.Amount, quoted.UnitType, quoted.MethodDetails.Ceiling = 10, "token", ceiling
		}
		w.gate.upstream = func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			if a.stream != "" {
				rw.Header().Set("Payword-Stream", a.stream)
			}
			io.WriteString(rw, "data: word\n\n")
			for _, amount := range a.receipts {
				fmt.Fprintf(rw, "event: payment-receipt\ndata: {\"amount\":\"%d\"}\n\n", amount)
			}
			for _, c := range w.gate.opened {
				c.state.Charged += a.cost - a.begin
			}
		}
	})
}

// plain makes the gate sell pages at a price again.
func (w *world) plain(price money.Amount) {
	w.gate.set(func() {
		w.gate.price, w.gate.editChallenge = price, nil
		w.gate.upstream = func(rw http.ResponseWriter, r *http.Request) { fmt.Fprintf(rw, "content of %s", r.URL.Path) }
	})
}

func (w *world) read(path string) (string, error) {
	answer, err := w.http.Get(w.gate.origin() + path)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return string(content), err
}

// What a stream did not cost is credit once, however little the gate said that it
// begins with, and what it took beyond that is none.
func TestStreamLeavesTheCreditThatTheGateHas(t *testing.T) {
	cases := []struct {
		name   string
		answer meteredAnswer
	}{
		{"the ceiling is charged", meteredAnswer{"", 1000, 700, []money.Amount{700}}},
		{"less than was agreed to is charged", meteredAnswer{"", 400, 250, []money.Amount{250}}},
		{"it costs what was charged", meteredAnswer{"", 400, 400, []money.Amount{400}}},
		{"a stream that begins with all", meteredAnswer{testStream, 1000, 700, []money.Amount{700}}},
		{"a stream that begins with less", meteredAnswer{testStream, 400, 250, []money.Amount{250}}},
		{"a stream that takes more later", meteredAnswer{testStream, 400, 900, []money.Amount{900}}},
		{"a stream that takes all", meteredAnswer{testStream, 400, 1000, []money.Amount{1000}}},
		{"a receipt of more than was agreed to", meteredAnswer{testStream, 400, 1000, []money.Amount{5000}}},
		{"two receipts", meteredAnswer{testStream, 400, 600, []money.Amount{800, 600}}},
		{"the same receipt twice", meteredAnswer{testStream, 400, 600, []money.Amount{600, 600}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1000)
			var told money.Amount
			w.Paid = func(r client.Receipt) { told += r.Amount - r.Returned }
			for _, answer := range []meteredAnswer{{"", 1000, 1000, []money.Amount{1000}}, c.answer} {
				w.meter(1000, answer)
				if _, err := w.read("/chat"); err != nil {
					t.Fatal(err)
				}
			}
			w.wantSpent(1000 + c.answer.cost)
			w.plain(100)
			w.mustGet("/page") // tells its price
			before, _, _ := w.gate.counted()
			for range 12 {
				w.mustGet("/page")
			}
			if after, _, _ := w.gate.counted(); after != before+12 {
				t.Errorf("%d requests for 12 pages", after-before)
			}
			w.wantSpent(1000 + c.answer.cost + 1300)
			if told != 1000+c.answer.cost+1300 {
				t.Errorf("the receipts add up to %s", told.Decimal())
			}
		})
	}
}
