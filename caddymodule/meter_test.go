package caddymodule_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/money"
)

// paying returns a payment that agrees to pay up to max.
func (p *payer) paying(index uint32, number uint64, max money.Amount) payword.Payment {
	payment := p.payment(index, number)
	payment.Max = max
	return payment
}

// meteredRest is put behind the payword block of every metered site here, because who reads
// a stream must get it as it flows, whatever else handles it.
const meteredRest = "log\nencode gzip\n"

// metered answers as its path says.
func metered(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		switch r.URL.Path {
		case "/cost":
			w.Header().Set("X-Cost", r.URL.Query().Get("cost"))
			io.WriteString(w, "content")
		case "/twice":
			w.Header().Add("X-Cost", "0.001")
			w.Header().Add("X-Cost", "0.002")
			io.WriteString(w, "content")
		case "/json":
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"answer":"usage","usage":{"prompt_tokens":7,"completion_tokens":`)
			w.(http.Flusher).Flush()
			io.WriteString(w, r.URL.Query().Get("output")+`}}`)
		case "/chat":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: {\"choices\":[]}\n\ndata: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n")
			w.(http.Flusher).Flush()
			io.WriteString(w, "data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n")
		case "/messages":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n")
			io.WriteString(w, "event: message_delta\ndata: {\"usage\":{\"output_tokens\":4}}\n\n")
		case "/error":
			w.Header().Set("X-Cost", "0.002")
			http.Error(w, "broken", http.StatusInternalServerError)
		case "/file":
			http.ServeContent(w, r, "file.txt", time.Unix(1790000000, 0), strings.NewReader(strings.Repeat("0123456789", 550)))
		case "/flowing":
			for range 11 {
				io.WriteString(w, strings.Repeat("x", 500))
				w.(http.Flusher).Flush()
			}
		default:
			t.Errorf("the upstream sees %s", r.URL.Path)
		}
	})
}

// TestCostComesFromTheAnswer reserves a ceiling of 10 and wants the true cost.
func TestCostComesFromTheAnswer(t *testing.T) {
	const tokens = "meter {\nunit token\nceiling 0.01\nfrom usage usage.prompt_tokens|usage.input_tokens|message.usage.input_tokens\n" +
		"from usage usage.completion_tokens|usage.output_tokens|message.usage.output_tokens 1\n}"
	const cost = "meter {\nfrom header X-Cost\nceiling 0.01\n}"
	tests := []struct {
		name, meter, target string
		spent               money.Amount
	}{
		{"header", cost, "/cost?cost=0.0025", 2500},
		{"header of nothing", cost, "/cost?cost=0", 0},
		{"over the ceiling", cost, "/cost?cost=3", 10000},
		{"unreadable", cost, "/cost?cost=much", 10000},
		{"missing", cost, "/cost?cost=", 10000},
		{"twice", cost, "/twice", 10000},
		{"negative", cost, "/cost?cost=-1", 10000},
		{"unreadable is free", strings.Replace(cost, "\n}", "\nunreadable nothing\n}", 1), "/cost?cost=much", 0},
		{"error", cost, "/error", 0},
		{"units in a header", "meter {\nunit token\nfrom header X-Cost\nceiling 0.01\n}", "/cost?cost=4", 4000},
		{"weight", "meter {\nunit token\nfrom header X-Cost 2\nceiling 0.01\n}", "/cost?cost=4", 8000},
		{"started thousand", "meter {\nunit kilotoken\nfrom header X-Cost\nceiling 0.01\n}", "/cost?cost=4001", 5000},
		{"JSON", tokens, "/json?output=2", 9000},
		{"JSON over the ceiling", tokens, "/json?output=2000", 10000},
		{"JSON that is none", tokens, "/json?output=", 10000},
		{"JSON with a string for a number", tokens, `/json?output="2"`, 10000},
		{"OpenAI's stream", tokens, "/chat", 10000},
		{"stream over the ceiling", strings.Replace(tokens, "0.01", "0.02", 1), "/chat", 10000},
		{"Anthropic's stream", strings.Replace(tokens, "0.01", "0.02", 1), "/messages", 13000},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			gate := startGate(t, site{upstream: metered(t), payword: "reread off\n" + test.meter, rest: meteredRest})
			p := newPayer(t, wish{name: "cost " + test.name, vendor: gate.vendor})
			response, body := gate.do(t, http.MethodGet, test.target, p.opening(p.paying(30, 1, 20000)))
			if strings.HasPrefix(test.target, "/cost") && response.Header.Get("X-Cost") != "" {
				t.Error("the client sees the header")
			}
			if strings.HasPrefix(test.target, "/json") && statusOf(t, response).Price != test.spent {
				t.Errorf("the header says %s, want %s", statusOf(t, response).Price, test.spent)
			}
			if isStream := strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream"); isStream &&
				!strings.Contains(body, fmt.Sprintf(`"amount":"%s"`, test.spent)) {
				t.Errorf("the stream says %q", body)
			}
			after, _ := gate.do(t, http.MethodHead, test.target, p.header(p.paying(30, 2, 0)))
			if got := statusOf(t, after).Spent; got != test.spent {
				t.Errorf("spent is %s, want %s: %s %s", got, test.spent, response.Status, body)
			}
		})
	}
}

func TestCeilingIsQuotedAndBoundedByMax(t *testing.T) {
	gate := startGate(t, site{upstream: metered(t), payword: "meter {\nfrom header X-Cost\nceiling 0.01\n}"})
	p := newPayer(t, wish{name: "ceiling", vendor: gate.vendor})
	response, body := gate.do(t, http.MethodGet, "/cost?cost=0.001", nil)
	for _, want := range []string{`"price":"1000"`, `"unitType":"request"`, `"ceiling":"10000"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the problem details lack %s: %s", want, body)
		}
	}
	challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) != 1 {
		t.Fatalf("%v, %v", challenges, err)
	}
	quoted, err := payword.ParsePriceRequest(challenges[0].Request)
	if err != nil || quoted.Amount != testPrice || quoted.MethodDetails.Ceiling != 10*testPrice || quoted.UnitType != "request" {
		t.Errorf("the quote is %+v, %v", quoted, err)
	}
	response, _ = gate.do(t, http.MethodGet, "/cost?cost=0.001", p.opening(p.paying(10, 1, 9999)))
	if got := statusOf(t, response); got.Reason != payword.PriceOverMax || got.Price != 10*testPrice || got.Spent != 0 {
		t.Errorf("with a max below the ceiling: %+v", got)
	}
	response, _ = gate.do(t, http.MethodGet, "/cost?cost=0.001", p.header(p.paying(9, 1, 10000)))
	if got := statusOf(t, response); got.Reason != payword.Accepted {
		t.Errorf("the tail proves ten: %+v", got)
	}
}

// TestBytesOfKnownLength pays a file of 5500 bytes, and parts of it.
func TestBytesOfKnownLength(t *testing.T) {
	gate := startGate(t, site{upstream: metered(t), rest: meteredRest,
		payword: "meter {\nunit kilobyte\nslice 2\n}"})
	p := newPayer(t, wish{name: "bytes", vendor: gate.vendor})
	tests := []struct {
		name, method, byteRange string
		max                     money.Amount
		reason                  payword.Reason
		price, spent            money.Amount
	}{
		{"HEAD tells", http.MethodHead, "", 0, payword.Accepted, 6000, 0},
		{"over max", http.MethodGet, "", 5999, payword.PriceOverMax, 6000, 0},
		{"whole", http.MethodGet, "", 6000, payword.Accepted, 6000, 6000},
		{"range", http.MethodGet, "bytes=0-999", 6000, payword.Accepted, 1000, 1000},
		{"a started one", http.MethodGet, "bytes=100-1100", 6000, payword.Accepted, 2000, 2000},
		{"unsatisfiable", http.MethodGet, "bytes=9000-", 6000, payword.Accepted, 0, 0},
		{"three left of seven", http.MethodGet, "", 9000, payword.InsufficientCredit, 6000, 0},
		{"two ranges", http.MethodGet, "bytes=0-9,20-29", 6000, payword.Accepted, 1000, 1000},
	}
	headers := p.opening
	spent := money.Amount(0)
	for k, test := range tests {
		header := headers(p.paying(12, uint64(k+1), test.max))
		headers = p.header
		if test.byteRange != "" {
			header["Range"] = test.byteRange
		}
		response, body := gate.do(t, test.method, "/file", header)
		spent += test.spent
		got := statusOf(t, response)
		if got.Reason != test.reason || test.price > 0 && got.Price != test.price || got.Spent != spent {
			t.Errorf("%s: %s, %+v, want %s, price %s, spent %s", test.name, response.Status, got, test.reason, test.price, spent)
		}
		if response.StatusCode == http.StatusPaymentRequired && strings.Contains(body, "0123456789") {
			t.Errorf("%s: content came with the refusal", test.name)
		}
		if response.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: the content is compressed", test.name)
		}
	}
}

// TestRepeatOfAMeteredRequestIsFree asks for the same file under one number.
func TestRepeatOfAMeteredRequestIsFree(t *testing.T) {
	gate := startGate(t, site{upstream: metered(t), payword: "meter {\nunit kilobyte\n}"})
	p := newPayer(t, wish{name: "repeat of bytes", vendor: gate.vendor})
	gate.mustPay(t, "/file", p.opening(p.paying(70, 1, 70000)))
	response, body := gate.mustPay(t, "/file", p.header(p.paying(70, 1, 70000)))
	if got := statusOf(t, response); got.Spent != 6000 || len(body) != 5500 {
		t.Errorf("spent %s for %d bytes", got.Spent, len(body))
	}
	response, _ = gate.mustPay(t, "/file", p.header(p.paying(70, 2, 70000)))
	if got := statusOf(t, response); got.Spent != 12000 {
		t.Errorf("another number: spent %s: it was free to read again", got.Spent)
	}
}

// TestReceiptTellsTheTrueCost pays with credentials of the Payment scheme, under
// both intents.
func TestReceiptTellsTheTrueCost(t *testing.T) {
	for _, intent := range []string{"session", "charge"} {
		t.Run(intent, func(t *testing.T) {
			gate := startGate(t, site{upstream: metered(t), payword: "intent " + intent + "\nmeter {\nfrom header X-Cost\nceiling 0.01\n}"})
			p := newPayer(t, wish{name: "receipt " + intent, vendor: gate.vendor})
			gate.do(t, http.MethodHead, "/cost", p.opening(p.paying(10, 1, 0)))
			challenge := gate.challengeFor(t, "/cost?cost=0.0025", nil)
			header := p.credential(t, challenge, p.paying(10, 2, 10*testPrice))
			response, _ := gate.mustPay(t, "/cost?cost=0.0025", header)
			receipt, err := payword.ParseReceipt(response.Header.Get(payword.HeaderPaymentReceipt))
			if err != nil || receipt.Amount != 2500 || receipt.Spent != 2500 || receipt.Credit != 7500 {
				t.Errorf("the receipt is %+v, %v", receipt, err)
			}
		})
	}
}

// TestOrdersAreNotThrownAway posts for an answer that is longer than agreed to:
// it was executed, so what is paid of it is delivered.
func TestOrdersAreNotThrownAway(t *testing.T) {
	gate := startGate(t, site{upstream: metered(t), payword: "meter {\nunit kilobyte\nslice 2\ntimeout 1s\n}"})
	p := newPayer(t, wish{name: "orders", vendor: gate.vendor})
	request, err := http.NewRequest(http.MethodPost, gate.vendor+"/file", strings.NewReader("an order"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range p.opening(p.paying(9, 1, 3*testPrice)) {
		request.Header.Set(name, value)
	}
	response, err := gate.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil || len(content) != 3000 || response.StatusCode != http.StatusOK {
		t.Errorf("%s, %d bytes, %v: want the 3000 bytes that were paid", response.Status, len(content), err)
	}
	request, err = http.NewRequest(http.MethodPost, gate.vendor+"/file", strings.NewReader("an order"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(payword.HeaderPayword, payword.FormatPayment(p.paying(9, 1, 3*testPrice)))
	again, err := gate.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	again.Body.Close()
	if got := statusOf(t, again); got.Reason != payword.AlreadyExecuted {
		t.Errorf("the same order again: %+v", got)
	}
}

// TestStreamsAreTheirPayers lets another payer name a stream, and the payer name
// it for another URL.
func TestStreamsAreTheirPayers(t *testing.T) {
	events := newFeed("text/event-stream")
	gate := startGate(t, site{upstream: events, payword: perEvent, rest: meteredRest})
	p := newPayer(t, wish{name: "owner", vendor: gate.vendor})
	other := newPayer(t, wish{name: "other", vendor: gate.vendor})
	stream := gate.follow(t, "/events", p.opening(p.paying(9, 1, testPrice)))
	id := stream.Header.Get("Payword-Stream")
	events.parts <- "data: one\n\ndata: two\n\n"
	stream.mustEvent(t, "", "one")
	stream.need(t)
	header := other.opening(other.paying(9, 1, 9*testPrice))
	header["Payword-Stream"] = id
	if response, _ := gate.do(t, http.MethodHead, "/events", header); response.Header.Get("Payword-Stream") != "" {
		t.Error("a stranger raised what the stream may cost")
	}
	header = p.header(p.paying(9, 2, 9*testPrice))
	header["Payword-Stream"] = id
	if response, _ := gate.do(t, http.MethodHead, "/elsewhere", header); response.Header.Get("Payword-Stream") != "" {
		t.Error("another URL's HEAD raised what the stream may cost")
	}
	header = p.header(p.paying(9, 3, 9*testPrice))
	header["Payword-Stream"] = id
	if response, _ := gate.do(t, http.MethodHead, "/events", header); response.Header.Get("Payword-Stream") != id {
		t.Error("the answer does not name the stream")
	}
	stream.mustEvent(t, "", "two")
	close(events.parts)
	stream.receipt(t)
}

// TestOneCommitmentHasSoManyStreams opens one stream too many.
func TestOneCommitmentHasSoManyStreams(t *testing.T) {
	events := newFeed("text/event-stream")
	gate := startGate(t, site{upstream: events, payword: perEvent, rest: meteredRest})
	p := newPayer(t, wish{name: "many streams", vendor: gate.vendor})
	header := p.opening
	for k := range 64 {
		gate.follow(t, "/events", header(p.paying(100, uint64(k+1), testPrice)))
		header = p.header
	}
	response, _ := gate.do(t, http.MethodGet, "/events", p.header(p.paying(100, 65, testPrice)))
	if got := statusOf(t, response); response.StatusCode != http.StatusTooManyRequests || got.Reason != payword.RateLimited {
		t.Errorf("%s, %+v", response.Status, got)
	}
}

// TestMeterMistakes wants an error that says what would be right.
func TestMeterMistakes(t *testing.T) {
	for _, test := range []struct{ meter, want string }{
		{"unit token", "say with from what tells how many of"},
		{"unit token\nfrom usage usage.total", "the most that an answer may cost"},
		{"unit Byte", "a word in lower case"},
		{"unit byte\nslice 0", "a number of units"},
		{"unit byte\ntimeout 1ms", "1s to 15m"},
		{"unit token\nfrom json usage", "want header or usage"},
		{"unit token\nfrom usage a..b\nceiling 1", "names with dots between"},
		{"unit token\nfrom header X-Cost\nceiling 0.01\nwindow 0.01", "counted as they flow"},
		{"unit byte\nceiling 0.0001", "at least the price of one unit"},
		{"unit byte\nspeed 9", "there is no option"},
	} {
		text := fmt.Sprintf("{\nadmin off\npersist_config off\nlog {\nlevel ERROR\nformat payword\n}\npayword {\nstore %s\nbroker https://broker.example\n}\n}\n"+
			"%s {\nbind 127.0.0.1\npayword https://news.example 0.001 USD {\nmeter {\n%s\n}\n}\n}\n", t.TempDir(), freeOrigin(t), test.meter)
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
		if err == nil {
			err = caddy.Load(adapted, true)
			caddy.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v, want an error that says %q", test.meter, err, test.want)
		}
	}
}

// TestStoreThatCannotLowerAPriceKeepsNone wants nothing charged for an answer
// that was replaced by 503.
func TestStoreThatCannotLowerAPriceKeepsNone(t *testing.T) {
	for name, test := range map[string]struct{ meter, target string }{
		"header": {"meter {\nfrom header X-Cost\nceiling 0.01\n}", "/cost?cost=0.0025"},
		"JSON":   {"meter {\nunit token\nceiling 0.01\nfrom usage usage.prompt_tokens\n}", "/json?output=2"},
		"length": {"meter {\nunit kilobyte\n}", "/file"},
	} {
		t.Run(name, func(t *testing.T) {
			gate := startGate(t, site{upstream: metered(t), payword: test.meter, rest: meteredRest})
			p := newPayer(t, wish{name: "stubborn " + name, vendor: gate.vendor})
			if err := caddymodule.FailTrueUp(filepath.Join(gate.dir, "store")); err != nil {
				t.Fatal(err)
			}
			response, _ := gate.do(t, http.MethodGet, test.target, p.opening(p.paying(100, 1, 100*testPrice)))
			if response.StatusCode != http.StatusServiceUnavailable {
				t.Fatalf("%s, want 503", response.Status)
			}
			if got := gate.spentAt(t, test.target, p, 2); got != 0 {
				t.Errorf("spent is %s for nothing", got)
			}
		})
	}
}

// TestRangeDoesNotHideTheUsage asks for the part of an answer without its usage.
func TestRangeDoesNotHideTheUsage(t *testing.T) {
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		http.ServeContent(w, r, "a.json", time.Unix(1790000000, 0), strings.NewReader(`{"echo":{"usage":{"tokens":0}},"answer":"long","usage":{"tokens":9}}`))
	})
	gate := startGate(t, site{upstream: upstream, payword: "meter {\nunit token\nceiling 0.01\nfrom usage usage.tokens\nunreadable nothing\n}", rest: meteredRest})
	p := newPayer(t, wish{name: "range", vendor: gate.vendor})
	for k, part := range []string{"bytes=0-60", "bytes=8-"} {
		headers := p.opening(p.paying(30, uint64(2*k+1), 20*testPrice))
		headers["Range"] = part
		gate.mustPay(t, "/a.json", headers)
		if got, want := gate.spentAt(t, "/a.json", p, uint64(2*k+2)), 9*testPrice*money.Amount(k+1); got != want {
			t.Errorf("%s: spent is %s, want %s", part, got, want)
		}
	}
}

// spentAt asks with a HEAD what was spent on a commitment.
func (g *testGate) spentAt(t *testing.T, target string, p *payer, number uint64) money.Amount {
	t.Helper()
	response, _ := g.do(t, http.MethodHead, target, p.header(p.paying(30, number, 0)))
	return statusOf(t, response).Spent
}

// TestCeilingBoundsWhatWasQuoted answers a session challenge of a site whose
// price is above its ceiling.
func TestCeilingBoundsWhatWasQuoted(t *testing.T) {
	gate := startGate(t, site{upstream: metered(t), payword: "meter {\nfrom header X-Cost\nceiling 0.0004\n}"})
	p := newPayer(t, wish{name: "price above ceiling", vendor: gate.vendor})
	response, _ := gate.do(t, http.MethodGet, "/cost?cost=0.001", nil)
	challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) != 1 {
		t.Fatalf("%v, %v", challenges, err)
	}
	payload := payword.NewPayload(p.payment(1, 1))
	payload.Commitment, payload.Reservation = p.commitment.Token, p.reservation.Token
	credential, err := payword.Credential{Challenge: challenges[0], Payload: payload}.Format()
	if err != nil {
		t.Fatal(err)
	}
	response, _ = gate.mustPay(t, "/cost?cost=0.001", map[string]string{"Authorization": credential})
	if got := statusOf(t, response); got.Spent != 400 {
		t.Errorf("an answer with a ceiling of 400 cost %s", got.Spent)
	}
}
