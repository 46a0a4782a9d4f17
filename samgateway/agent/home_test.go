package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/samgateway/agent"
)

const shop = "https://shop.example"

// home is an agent with a card, a holder at its page, and a site in the browser.
type home struct {
	t      *testing.T
	card   *slot
	page   string // address of the holder's page
	origin string // of the agent
	state  string
	token  string
	clock  *clock
	log    *bytes.Buffer
	stop   func()
}

// clock is one that a test moves.
type clock struct {
	mutex sync.Mutex // guards now
	now   time.Time
}

func (c *clock) Now() time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.now
}

func (c *clock) advance(by time.Duration) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.now = c.now.Add(by)
}

// newHome runs an agent. client calls gateways; nil is the usual one.
func newHome(t *testing.T, card *slot, state string, client *http.Client) *home {
	t.Helper()
	if state == "" {
		state = filepath.Join(t.TempDir(), "agent.json")
	}
	h := &home{t: t, card: card, state: state, clock: &clock{now: time.Unix(1_790_000_000, 0)}, log: &bytes.Buffer{}}
	made, err := agent.New(agent.Config{
		Reader: card, State: state, Client: client, Now: h.clock.Now, Log: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := made.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	h.page = made.Address(listener)
	h.origin = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- made.Run(ctx, listener) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := made.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	t.Cleanup(h.stop)
	return h
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request with what it says besides.
func (h *home) send(method, address, body string, headers map[string]string) answer {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for name, value := range headers {
		if name == "Host" {
			request.Host = value
			continue
		}
		request.Header.Set(name, value)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	got, err := client.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{got.StatusCode, got.Header, string(text)}
}

// asSite is what the browser sends for a page of the shop.
func (h *home) asSite(changes map[string]string) map[string]string {
	headers := map[string]string{"Origin": shop, "Authorization": "Bearer " + h.token, "Content-Type": "application/json"}
	for name, value := range changes {
		headers[name] = value
		if value == "" {
			delete(headers, name)
		}
	}
	return headers
}

func (h *home) look() string {
	h.t.Helper()
	got := h.send(http.MethodGet, h.page, "", nil)
	if got.status != http.StatusOK {
		h.t.Fatalf("the page answers with %d: %s", got.status, got.body)
	}
	return html.UnescapeString(got.body)
}

// press sends a form of the page, as the holder does.
func (h *home) press(action string, form url.Values) {
	h.t.Helper()
	got := h.send(http.MethodPost, h.page+action, form.Encode(), map[string]string{"Origin": h.origin, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"})
	if got.status != http.StatusSeeOther {
		h.t.Fatalf("%s: got %d: %s", action, got.status, got.body)
	}
}

var (
	codePattern  = regexp.MustCompile(`class="code">([0-9 ]+)<`)
	shownPattern = regexp.MustCompile(`name="shown" value="([^"]+)"`)
)

// code has the agent show a code.
func (h *home) code() string {
	h.t.Helper()
	h.press("pair", nil)
	found := codePattern.FindStringSubmatch(h.look())
	if found == nil {
		h.t.Fatal("the page shows no code")
	}
	return strings.ReplaceAll(found[1], " ", "")
}

// pair pairs the shop.
func (h *home) pair() {
	h.t.Helper()
	got := h.send(http.MethodPost, h.origin+"/v1/pairings", `{"code":"`+h.code()+`"}`, h.asSite(map[string]string{"Authorization": ""}))
	var body struct{ Token string }
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != http.StatusCreated {
		h.t.Fatalf("pairing: got %d %s", got.status, got.body)
	}
	h.token = body.Token
}

// payment is a request of the shop's for 1.23 EUR.
func payment(gateway string) agent.RequestBody {
	return agent.RequestBody{Intent: "pay", Gateway: gateway, Merchant: merchant.String(), Payee: "A shop", Amount: 1_230_000, Currency: "eur-micro", Reference: "order 7"}
}

// ask has the site ask for something.
func (h *home) ask(body agent.RequestBody) agent.Answer {
	h.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	got := h.send(http.MethodPost, h.origin+"/v1/requests", string(text), h.asSite(nil))
	if got.status != http.StatusCreated {
		h.t.Fatalf("asking: got %d %s", got.status, got.body)
	}
	return h.read(got)
}

func (h *home) read(got answer) agent.Answer {
	h.t.Helper()
	var read agent.Answer
	if err := json.Unmarshal([]byte(got.body), &read); err != nil {
		h.t.Fatalf("got %d %q: %v", got.status, got.body, err)
	}
	return read
}

// state asks what became of a request.
func (h *home) stateOf(id string) agent.Answer {
	h.t.Helper()
	return h.read(h.send(http.MethodGet, h.origin+"/v1/requests/"+id, "", h.asSite(nil)))
}

// yes says yes to what the page shows.
func (h *home) yes(pin string) {
	h.t.Helper()
	text := h.look()
	found := shownPattern.FindStringSubmatch(text)
	if found == nil {
		h.t.Fatalf("there is nothing to say yes to:\n%s", text)
	}
	h.press("yes", url.Values{"shown": {found[1]}, "agreed": {"yes"}, "pin": {pin}})
}

// settle waits until a request is no longer worked on.
func (h *home) settle(id string) agent.Answer {
	h.t.Helper()
	for {
		if got := h.stateOf(id); got.Phase != agent.Working {
			return got
		}
	}
}

// calm waits until the page shows no session that goes on.
func (h *home) calm() string {
	h.t.Helper()
	for {
		if text := h.look(); !strings.Contains(text, "Leave the card in") {
			return text
		}
	}
}

// pay has the site ask, the holder say yes, and waits for the end.
func (h *home) pay(body agent.RequestBody, pin string) agent.Answer {
	h.t.Helper()
	asked := h.ask(body)
	h.yes(pin)
	return h.settle(asked.Request)
}
