package caddymodule_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// gateProcessVariable names the configuration that a child process runs.
const gateProcessVariable = "PAYWORD_TEST_GATE_CONFIG"

// TestGateProcess is no test: TestKillNine runs it in a process of its own, as
// a gate that can be killed.
func TestGateProcess(t *testing.T) {
	path := os.Getenv(gateProcessVariable)
	if path == "" {
		return
	}
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	select {} // until killed
}

// gateProcess is a gate in a process of its own.
type gateProcess struct {
	*testGate
	config  string
	command *exec.Cmd
}

func (g *gateProcess) start(t *testing.T) {
	t.Helper()
	g.command = exec.Command(os.Args[0], "-test.run=^TestGateProcess$")
	g.command.Env = append(os.Environ(), gateProcessVariable+"="+g.config)
	g.command.Stderr = os.Stderr
	if err := g.command.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		response, err := g.http.Get(g.vendor + payword.PathDiscovery)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			g.kill()
			t.Fatalf("the gate does not answer: %v", err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (g *gateProcess) kill() {
	g.command.Process.Kill()
	g.command.Wait()
	g.http.CloseIdleConnections()
}

// ledgerOfTest is what the payer of TestKillNine knows: which numbers were
// answered, and which were sent and may have been charged.
type ledgerOfTest struct {
	mu       sync.Mutex
	answered map[uint64]bool // a 200 arrived, with content
	sent     map[uint64]bool
	accepted money.Amount // the most that an answer said
}

// TestKillNine kills the gate with SIGKILL at random moments under load, 50
// times: no number is served for a second page, and no accepted payword is
// lost.
func TestKillNine(t *testing.T) {
	const rounds = 50
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))

	s := site{dir: t.TempDir(), vendor: freeOrigin(t), payword: "reread off"}
	config := filepath.Join(s.dir, "config.json")
	if err := os.WriteFile(config, configOf(t, s), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := &gateProcess{config: config, testGate: &testGate{
		vendor: s.vendor, dir: s.dir,
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 20 * time.Second},
	}}
	p := newPayer(t, wish{name: "kill", vendor: s.vendor, length: 200_000, commitment: func(m *payword.Commitment) {
		m.Limit = 100 * money.Unit
		m.Chains = m.Chains[:1]
		m.Chains[0].Unit = testPrice / 2
	}})
	known := &ledgerOfTest{answered: map[uint64]bool{}, sent: map[uint64]bool{}}
	var number atomic.Uint64
	for range rounds {
		gate.start(t)
		load(t, gate, p, known, &number, time.Duration(10+random.IntN(60))*time.Millisecond)
	}
	gate.start(t)
	defer gate.kill()
	if len(known.answered) < rounds {
		t.Fatalf("only %d pages were served in %d rounds", len(known.answered), rounds)
	}
	checkAfterCrashes(t, gate, p, known, number.Load())
}

// load sends payments from eight goroutines and kills the gate after a while.
func load(t *testing.T, gate *gateProcess, p *payer, known *ledgerOfTest, number *atomic.Uint64, after time.Duration) {
	t.Helper()
	var group sync.WaitGroup
	killed := make(chan struct{})
	time.AfterFunc(after, func() { gate.kill(); close(killed) })
	for range 8 {
		group.Go(func() {
			for {
				n := number.Add(1)
				known.mu.Lock()
				known.sent[n] = true
				known.mu.Unlock()
				if !payOnce(t, gate, p, known, n) {
					return // the gate is gone
				}
			}
		})
	}
	group.Wait()
	<-killed
}

// payOnce pays for page n under number n and reports whether an answer came.
func payOnce(t *testing.T, gate *gateProcess, p *payer, known *ledgerOfTest, n uint64) bool {
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/page/%d", gate.vendor, n), nil)
	if err != nil {
		return false
	}
	for name, value := range p.opening(p.payment(uint32(n*2+16), n)) {
		request.Header.Set(name, value)
	}
	response, err := gate.http.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	status, refusal := payword.ParseStatus(response.Header.Get(payword.HeaderState))
	if refusal.Refused() || response.StatusCode != http.StatusOK {
		t.Errorf("an honest payment got %s, %q", response.Status, response.Header.Get(payword.HeaderState))
		return false
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	known.answered[n] = true
	known.accepted = max(known.accepted, status.Accepted)
	return true
}

// checkAfterCrashes compares what the gate remembers with what the payer knows.
func checkAfterCrashes(t *testing.T, gate *gateProcess, p *payer, known *ledgerOfTest, highest uint64) {
	t.Helper()
	probe := func(method string, payment payword.Payment) payword.Status {
		response, _ := gate.do(t, method, "/another-page", p.header(payment))
		return statusOf(t, response)
	}
	lastIndex := uint32(highest*2 + 16)
	status := probe(http.MethodHead, p.payment(lastIndex, highest+1))
	if status.Accepted < known.accepted {
		t.Errorf("an answer said that %s were accepted; after the crashes it is %s", known.accepted, status.Accepted)
	}
	least, most := money.Amount(len(known.answered))*testPrice, money.Amount(len(known.sent))*testPrice
	if status.Spent < least || status.Spent > most {
		t.Errorf("spent is %s; %d pages were answered and %d sent", status.Spent, len(known.answered), len(known.sent))
	}
	t.Logf("%d pages answered of %d sent, spent %s", len(known.answered), len(known.sent), status.Spent)
	checked := 0
	for n := range known.answered {
		if n+payword.WindowSize <= highest+1 {
			continue // too old to be told from a repeat: stale-number, tested elsewhere
		}
		checked++
		if got := probe(http.MethodGet, p.payment(lastIndex, n)); got.Reason != payword.AlreadyUsed {
			t.Errorf("number %d was served, and bought another page: %s", n, got.Reason)
		}
	}
	if checked == 0 {
		t.Error("no number was near enough to be checked")
	}
	if got := probe(http.MethodHead, p.payment(lastIndex, highest+2)); got.Spent != status.Spent {
		t.Errorf("spent went from %s to %s while only repeats were asked for", status.Spent, got.Spent)
	}
}
