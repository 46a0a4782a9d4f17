package host_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/host"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// server is clearing or a broker that answers everything alike, and keeps what it
// was asked.
type server struct {
	*httptest.Server
	key           ed25519.PrivateKey
	status        int
	media, answer string
	header        http.Header
	asked         []string // method, path and query, and the body in hexadecimal digits
	unsigned      error
	drop          bool // break off instead of an answer
}

const at = 1_800_000_000

func newServer(t *testing.T) *server {
	s := &server{status: 200, media: "application/json", header: http.Header{},
		key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{0x11}, 32))}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.asked = append(s.asked, fmt.Sprintf("%s %s %X", r.Method, r.URL.RequestURI(), body))
	signed, refusal := payword.ParseSignatureInput(r.Header.Get(payword.HeaderSignatureInput))
	if !refusal.Refused() {
		signed.Method, signed.TargetURI, signed.Digest = r.Method, s.URL+r.URL.RequestURI(), payword.ContentDigest(body)
		refusal = signed.Verify(s.key.Public().(ed25519.PublicKey), r.Header.Get(payword.HeaderSignature), at)
	}
	if err != nil || refusal.Refused() {
		s.unsigned = errors.Join(s.unsigned, fmt.Errorf("%s %s: %s (%w)", r.Method, r.URL, refusal.Detail, err))
	}
	if s.drop {
		panic(http.ErrAbortHandler)
	}
	for name, values := range s.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", s.media)
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.answer)
}

func (s *server) config() host.Config {
	return host.Config{Origin: s.URL, Key: s.key, Now: func() time.Time { return time.Unix(at, 0) }}
}

func (s *server) clearing(t *testing.T) *host.Clearing {
	t.Helper()
	c, err := host.NewClearing(s.config())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *server) broker(t *testing.T) *host.Broker {
	t.Helper()
	b, err := host.NewBroker(s.config(), "usd-micro")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	card      = purse.ID{0xC1, 7: 1}
	reference = purse.ID{0xAB, 7: 2}
	merchant  = purse.ID{0x4D, 7: 9}
)

// record is a payment's, and proof the one in it: transaction 12 of the merchant.
func record() []byte {
	return purse.Record{Batch: 1, Proof: proofOf12()}.Append(nil)
}

func proof() []byte { return proofOf12().Append(nil) }

// back is what a card says of a cancellation: by transaction 12, of transaction 11.
func back() []byte {
	proof := proofOf12()
	proof.SNo = 2
	return purse.Cancellation{Proof: proof, PaidTNo: 11, PaidSNo: 1}.Append(nil)
}

func proofOf12() purse.Proof {
	return purse.Proof{Amount: 5_00, Unit: purse.Unit{Currency: 0x0840, Exponent: -2}, Merchant: merchant, TNo: 12, Card: card, SNo: 1}
}

// questions are all that can be asked, each with what a server may answer.
var questions = []struct {
	name, asked, answer string
	ask                 func(ctx context.Context, c *host.Clearing, b *host.Broker) (any, error)
	want                any
}{
	{"authorise a load", "POST /v1/loads 0102", `{"load": "AB00000000000002", "credit": "` + strings.Repeat("0A", 32) + `"}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			reference, credit, err := c.AuthoriseLoad(ctx, []byte{1}, []byte{2})
			return fmt.Sprintf("%s %X", reference, credit), err
		}, "AB00000000000002 " + strings.Repeat("0A", 32)},
	{"confirm a load", "POST /v1/loads/AB00000000000002/receipt 03", `{"load": "AB00000000000002", "isTaken": true}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			return nil, c.ConfirmLoad(ctx, reference, []byte{3})
		}, nil},
	{"ask for a challenge", "POST /v1/loads/AB00000000000002/challenge ", `{"load": "AB00000000000002", "challenge": "` + strings.Repeat("0B", 16) + `"}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			return c.ChallengeLoad(ctx, reference)
		}, purse.Random(bytes.Repeat([]byte{0x0B}, 16))},
	{"resolve a load", "POST /v1/loads/AB00000000000002/status 04", `{"load": "AB00000000000002", "isTaken": true}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			return c.ResolveLoad(ctx, reference, []byte{4})
		}, true},
	{"pay online", fmt.Sprintf("POST /v1/payments %X%032X", record(), 0), `{"merchant": "4D00000000000009", "transaction": 12}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			return nil, c.PayOnline(ctx, record(), purse.MAC{})
		}, nil},
	{"submit a batch", "POST /v1/batches 06", `{"acknowledgement": "` + strings.Repeat("0c", 16) + `"}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			return c.SubmitBatch(ctx, []byte{6})
		}, purse.MAC(bytes.Repeat([]byte{0x0C}, 16))},
	{"claim", fmt.Sprintf("POST /v1/claims %X%032X", proof(), 0), `{"merchant": "4D00000000000009", "transaction": 12, "state": "open"}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			return nil, c.Claim(ctx, proof(), purse.MAC{})
		}, nil},
	{"claim what was taken back", fmt.Sprintf("POST /v1/claims %X%032X", back(), 0), `{"merchant": "4D00000000000009", "transaction": 11, "state": "open"}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			return nil, c.Claim(ctx, back(), purse.MAC{})
		}, nil},
	{"ask for scripts", "GET /v1/cards/C100000000000001/scripts ", `{"card": "C100000000000001", "scripts": ["8070010000", "8070020000"]}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			commands, err := c.Scripts(ctx, card)
			return fmt.Sprintf("%X", commands), err
		}, "[8070010000 8070020000]"},
	{"tell of a script", "POST /v1/cards/C100000000000001/scripts 08", `{"card": "C100000000000001", "isDone": true}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			return nil, c.ScriptDone(ctx, card, []byte{8})
		}, nil},
	{"ask for the hot list", "GET /v1/hotlist ", `{"cards": ["C100000000000001"]}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			cards, err := c.HotList(ctx)
			return fmt.Sprint(cards), err
		}, "[C100000000000001]"},
	{"ask for a card's account", "GET /v1/cards/C100000000000001/account ", `{"card": "C100000000000001", "account": "abc"}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			return c.CardAccount(ctx, card)
		}, "abc"},
	{"pay out in cash", "POST /v1/payments/4D00000000000009/12/cash ", `{"merchant": "4D00000000000009", "transaction": 12, "isPaid": true}`,
		func(ctx context.Context, c *host.Clearing, _ *host.Broker) (any, error) {
			return nil, c.CashOut(ctx, merchant, 12)
		}, nil},
	{"ask whether an account can be funded", "GET /v1/gateway/accounts/abc ", `{"account": "abc", "fundable": "5000000", "currency": "usd-micro"}`,
		func(ctx context.Context, _ *host.Clearing, b *host.Broker) (any, error) {
			return nil, b.Check(ctx, "abc", 5*money.Unit)
		}, nil},
	{"fund an account", fmt.Sprintf("POST /v1/gateway/fundings %X", `{"id":"m-1","account":"abc","amount":"5000000","currency":"usd-micro"}`), `{"id": "m-1", "account": "abc", "amount": "5000000", "currency": "usd-micro"}`,
		func(ctx context.Context, _ *host.Clearing, b *host.Broker) (any, error) {
			return nil, b.Fund(ctx, "abc", "m-1", 5*money.Unit)
		}, nil},
}

func TestQuestions(t *testing.T) {
	for _, q := range questions {
		t.Run(q.name, func(t *testing.T) {
			s := newServer(t)
			s.answer = q.answer
			got, err := q.ask(t.Context(), s.clearing(t), s.broker(t))
			if err != nil || s.unsigned != nil || got != q.want {
				t.Errorf("got %v (%v), want %v; %v", got, err, q.want, s.unsigned)
			}
			if len(s.asked) != 1 || s.asked[0] != q.asked {
				t.Errorf("asked %q, want %q", s.asked, q.asked)
			}
		})
	}
}

// A refusal is a no for good; whatever else comes back leaves it unknown.
func TestAnswersThatAreNoSuccess(t *testing.T) {
	const problem = "application/problem+json"
	cases := []struct {
		name          string
		status        int
		media, answer string
		isRefused     bool
		want          string
	}{
		{"refused", 422, problem, `{"reason": "unknown-account", "record": 2, "detail": "there is no\u0007 account"}`, true, "there is no  account"},
		{"refused as a contradiction", 409, problem, `{"reason": "differs", "detail": "another one"}`, true, "another one"},
		{"refused in plain JSON", 422, "application/json", `{"reason": "unknown-account"}`, false, "its address"},
		{"failed", 500, problem, `{"title": "It could not be told."}`, false, "(It could not be told)"},
		{"failed with a reason", 502, problem, `{"reason": "unknown-account"}`, false, "502"},
		{"to come later", 429, problem, `{"reason": "rate-limited", "detail": "too many"}`, false, "asked again in 7s (too many)"},
		{"ending", 503, "text/plain", "gone", false, "asked again in 7s"},
		{"a wrong signature", 402, problem, `{"reason": "bad-signature", "detail": "no gateway is registered with that key"}`, false, "no gateway is registered"},
		{"not let in", 403, "text/html", "<html>", false, "signature"},
		{"another server", 404, "text/html", "<html>", false, "its address"},
		{"elsewhere", 302, "text/html", "", false, "302"},
		{"a page", 200, "text/html", "<html>", false, "not what was asked for"},
		{"nothing", 200, "application/json", "", false, "not what was asked for"},
		{"too much", 200, "application/json", strings.Repeat("[", 1<<20+1), false, "more than"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.status, s.media, s.answer = c.status, c.media, c.answer
			s.header.Set("Retry-After", "7")
			s.header.Set("Location", s.URL+"/elsewhere")
			_, err := s.clearing(t).CardAccount(t.Context(), card)
			errBroker := s.broker(t).Check(t.Context(), "abc", 1)
			var refusal *purse.Refusal
			var refused *terminal.Refused
			if errors.As(err, &refusal) != c.isRefused || errors.As(errBroker, &refused) != c.isRefused {
				t.Fatalf("got %v and %v, want a refusal: %t", err, errBroker, c.isRefused)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(errBroker.Error(), c.want) {
				t.Errorf("got %q and %q, want %q", err, errBroker, c.want)
			}
			var unknown *host.UnknownError
			if c.isRefused {
				return
			}
			if !errors.As(err, &unknown) || unknown.Status != c.status {
				t.Errorf("got %#v, want status %d", err, c.status)
			}
			if len(s.asked) != 2 {
				t.Errorf("asked %q: nothing may be asked twice, or elsewhere", s.asked)
			}
		})
	}
}

// Answers of the right form can still be of no use.
func TestStrangeAnswers(t *testing.T) {
	strange := map[string][]string{
		"authorise a load":         {`{"load": "AB00000000000002", "credit": "00"}`, `{"load": "x", "credit": "` + strings.Repeat("0A", 32) + `"}`},
		"confirm a load":           {`{"load": "AB00000000000003", "isTaken": true}`, `{"load": "AB00000000000002", "isTaken": false}`},
		"ask for a challenge":      {`{"load": "AB00000000000002", "challenge": "zz"}`, `{"load": "AB00000000000003", "challenge": "` + strings.Repeat("0B", 16) + `"}`},
		"resolve a load":           {`{"load": "AB00000000000002", "isTaken": null}`, `{"load": "AB00000000000003", "isTaken": true}`},
		"pay online":               {`{"merchant": "4D00000000000009", "transaction": 13}`},
		"submit a batch":           {`{"acknowledgement": "0c"}`},
		"claim":                    {`{"merchant": "4D00000000000008", "transaction": 12}`},
		"ask for scripts":          {`{"card": "C100000000000001", "scripts": ["00"]}`, `{"card": "C100000000000001", "scripts": ["0020008004313131"]}`, `{"card": "C100000000000001", "scripts": [` + strings.Repeat(`"8070010000",`, 16) + `"8070010000"]}`, `{"card": "C100000000000002", "scripts": []}`},
		"tell of a script":         {`{"card": "C100000000000002"}`},
		"ask for the hot list":     {`{"cards": ["x"]}`, `{"cards": [], "after": "x"}`},
		"ask for a card's account": {`{"card": "C100000000000002", "account": "abc"}`, `{"card": "C100000000000001", "account": "` + strings.Repeat("a", 65) + `"}`},
		"pay out in cash":          {`{"merchant": "4D00000000000009", "transaction": 12, "isPaid": false}`},
		"fund an account":          {`{"id": "m-2", "amount": "5000000"}`, `{"id": "m-1", "amount": "50000"}`},
		"ask whether an account can be funded": {`{"account": "abc", "fundable": "5000000", "currency": "eur-micro"}`, `{"account": "abc", "fundable": "4999999", "currency": "usd-micro"}`,
			`{"account": "abd", "fundable": "5000000", "currency": "usd-micro"}`},
	}
	for _, q := range questions { // a proxy that answers 200 to whatever it does not know
		strange[q.name] = append(strange[q.name], `{}`, `{"status": "ok"}`, ``)
	}
	for _, q := range questions {
		for _, answer := range strange[q.name] {
			t.Run(q.name+" "+answer, func(t *testing.T) {
				s := newServer(t)
				s.answer = answer
				if got, err := q.ask(t.Context(), s.clearing(t), s.broker(t)); err == nil {
					t.Errorf("took %v", got)
				}
			})
		}
	}
}

func TestHotListOfSeveralPages(t *testing.T) {
	s := newServer(t)
	s.answer = `{"cards": ["C100000000000001"], "after": "C100000000000001"}`
	_, err := s.clearing(t).HotList(t.Context())
	if err == nil || len(s.asked) != 2 || s.asked[1] != "GET /v1/hotlist?after=C100000000000001 " {
		t.Errorf("asked %q (%v), want two pages, and an error since the second is the first", s.asked, err)
	}
}

// Whoever has paid is not told no because the money is still on its way.
func TestFundBeforeItIsBacked(t *testing.T) {
	s := newServer(t)
	s.status, s.media, s.answer = 402, "application/problem+json", `{"reason": "insufficient-funds", "detail": "bring it the card's payment first"}`
	var unknown *host.UnknownError
	if err := s.broker(t).Fund(t.Context(), "abc", "m-1", 1); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "bring it") {
		t.Errorf("got %v", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	s := newServer(t)
	s.drop = true
	var unknown *host.UnknownError
	err := s.broker(t).Fund(t.Context(), "abc", "m-1", 1)
	s.Close() // what it served is over then
	if !errors.As(err, &unknown) || len(s.asked) != 1 {
		t.Errorf("broken off: got %v, asked %q", err, s.asked)
	}
	if err := s.broker(t).Fund(t.Context(), "abc", "m-1", 1); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody is there: got %v", err)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if err := s.broker(t).Fund(ctx, "abc", "m-1", 1); !errors.As(err, &unknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too late: got %v", err)
	}
}

func TestConfigs(t *testing.T) {
	good := newServer(t).config()
	for _, origin := range []string{"clearing.example", "http://clearing.example", "https://clearing.example/"} {
		wrong := good
		wrong.Origin = origin
		if _, err := host.NewClearing(wrong); err == nil || !strings.Contains(err.Error(), "origin") {
			t.Errorf("origin %q: got %v", origin, err)
		}
	}
	if _, err := host.NewBroker(good, ""); err == nil {
		t.Error("took no currency")
	}
	nowhere, err := host.NewClearing(host.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var unknown *host.UnknownError
	if err := nowhere.ConfirmLoad(t.Context(), reference, nil); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "--clearing") {
		t.Errorf("nowhere: got %v", err)
	}
	good.Key = nil
	if _, err := host.NewBroker(good, "usd-micro"); err == nil {
		t.Error("took no key")
	}
}
