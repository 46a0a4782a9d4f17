package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
)

// answerTable is testdata/answers.json, which the JavaScript client is tested
// with too.
type answerTable struct {
	Statuses []int
	States   []string
	Rows     []struct {
		State, Outcome string
		From, To       int // status
	}
}

func readAnswerTable(t *testing.T) answerTable {
	t.Helper()
	content, err := os.ReadFile("../testdata/answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var table answerTable
	if err := json.Unmarshal(content, &table); err != nil {
		t.Fatal(err)
	}
	return table
}

// outcome returns the only row that is for a status and a state.
func (a answerTable) outcome(t *testing.T, state string, status int) string {
	t.Helper()
	var found []string
	for _, row := range a.Rows {
		if row.State == state && row.From <= status && status <= row.To {
			found = append(found, row.Outcome)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d rows for %d, %s: want 1", len(found), status, state)
	}
	return found[0]
}

// paidAnswer is what a site or a proxy answers when it is paid.
type paidAnswer struct {
	status  int
	state   string
	numbers []uint64 // of the payments that came
}

func (a *paidAnswer) serve(rw http.ResponseWriter, r *http.Request) {
	payment, refusal := payword.ParsePayment(r.Header.Get(payword.HeaderPayword))
	if refusal.Refused() {
		panic(refusal)
	}
	a.numbers = append(a.numbers, payment.Number)
	said := payword.Status{Price: 1000, Number: payment.Number}
	switch a.state {
	case "refused":
		said.Reason = payword.Blocked
	case "of another number":
		said.Number += 1000
	case "unreadable":
		rw.Header().Set(payword.HeaderState, "reason=fine")
	}
	if a.state != "none" && a.state != "unreadable" {
		rw.Header().Set(payword.HeaderState, payword.FormatStatus(said))
	}
	rw.WriteHeader(a.status)
}

// Whatever is answered, nothing is paid twice that may have been charged, and
// nothing is counted that was not.
func TestWhatAnAnswerMeans(t *testing.T) {
	table := readAnswerTable(t)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, state := range table.States {
			t.Run(method+" "+state, func(t *testing.T) {
				w := newWorld(t, 1000)
				for _, status := range table.Statuses {
					answer := &paidAnswer{status: status, state: state}
					w.gate.set(func() { onlyPaid(w, answer.serve) })
					got := w.outcome(method, fmt.Sprintf("/%d", status), answer)
					if want := table.outcome(t, state, status); got != want {
						t.Errorf("%d: %s, want %s", status, got, want)
					}
				}
			})
		}
	}
}

// outcome asks for a path twice, the second time of a site that is well, and
// returns what the first answer was taken for.
func (w *world) outcome(method, path string, answer *paidAnswer) string {
	w.t.Helper()
	before := w.wallet.Summary()
	status := answer.status
	got, err := w.ask(method, path)
	between := w.wallet.Summary()
	w.gate.set(func() { answer.status, answer.state = http.StatusOK, "accepted" })
	if again, err := w.ask(method, path); err != nil || again != http.StatusOK {
		w.t.Errorf("%d: asked again: %d, %v", status, again, err)
	}
	counted := between.Spent - before.Spent
	isSameNumber := answer.numbers[0] == answer.numbers[len(answer.numbers)-1]
	isCredit := w.wallet.Summary().Released == between.Released
	var refused *client.RefusedError
	switch {
	case errors.As(err, &refused):
		return "refused"
	case err != nil || got != status:
		return fmt.Sprintf("%d, %v", got, err)
	case counted == 1000 && !isSameNumber:
		return "paid"
	case counted == 0 && isSameNumber && method == http.MethodGet, counted == 0 && !isSameNumber && !isCredit && method == http.MethodPost:
		return "lost"
	case counted == 0 && !isSameNumber && isCredit:
		return "free"
	}
	return fmt.Sprintf("%s counted, the same number again: %t, credit: %t", counted.Decimal(), isSameNumber, isCredit)
}

// ask returns the status of an answer, whatever it is.
func (w *world) ask(method, path string) (int, error) {
	request, err := http.NewRequest(method, w.gate.origin()+path, strings.NewReader(""))
	if err != nil {
		return 0, err
	}
	answer, err := w.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}
