package faults

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/bench/process"
	"github.com/paywordhq/payword/money"
)

// price is what a page costs, in micros.
const price = money.Amount(1000)

// adminToken opens the administration of the broker, which lives as long as a run.
const adminToken = "not-a-secret-of-anybody-0123456789"

// stage is the processes of one scenario.
type stage struct {
	setup    Setup
	what     scenario
	folder   string
	vendor   string // the origin: of the balancer before the gates
	balancer *balancer
	broker   *process.Child
	origin   string // of the broker
	gates    []*gate
	redis    []*redisServer
	shared   string // of the gates' option redis
	children []*process.Child
	faults   int
}

// gate is a Caddy with the gate in it.
type gate struct {
	name, folder   string
	address, admin string
	config         string
	child          *process.Child
}

// open starts everything.
func (s Setup) open(ctx context.Context, what scenario, folder string) (*stage, error) {
	st := &stage{setup: s, what: what, folder: folder}
	var err error
	if st.balancer, err = newBalancer(); err != nil {
		return st, err
	}
	st.vendor = "http://" + st.balancer.address()
	if err := st.startBroker(ctx); err != nil {
		return st, err
	}
	if what.redis != nil {
		if err := what.redis(ctx, st); err != nil {
			return st, err
		}
	}
	for k := range what.nodes {
		if err := st.addGate(ctx, k); err != nil {
			return st, err
		}
	}
	return st, st.administer(ctx, "/v1/admin/vendors", map[string]any{"vendor": st.vendor}, nil)
}

// close ends everything, the last first.
func (st *stage) close() {
	for k := len(st.gates) - 1; k >= 0; k-- {
		if st.gates[k].child != nil {
			st.gates[k].child.Stop()
		}
	}
	for k := len(st.children) - 1; k >= 0; k-- {
		st.children[k].Stop()
	}
	for _, server := range st.redis {
		server.child.Kill()
	}
	if st.balancer != nil {
		st.balancer.close()
	}
}

// start runs the payword program.
func (st *stage) start(ctx context.Context, name string, arguments ...string) (*process.Child, error) {
	return process.Start(ctx, name, st.setup.Processors, nil, st.setup.Program, arguments...)
}

// startBroker runs the broker at which the wallets have their accounts.
func (st *stage) startBroker(ctx context.Context) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	key, token := filepath.Join(st.folder, "broker.key"), filepath.Join(st.folder, "admin-token")
	if err := os.WriteFile(token, []byte(adminToken), 0o600); err != nil {
		return err
	}
	making, err := st.start(ctx, "broker key", "broker", "key", "--out", key)
	if err != nil {
		return err
	}
	making.Wait()
	st.origin = "http://" + address
	st.broker, err = st.start(ctx, "broker", "broker", "serve", "--db", filepath.Join(st.folder, "broker.db"),
		"--origin", st.origin, "--listen", address, "--key", key, "--admin-token", token, "--currency", "USD", "--allow-loopback-vendors")
	if err != nil {
		return err
	}
	st.children = append(st.children, st.broker)
	return st.broker.Listens(ctx, address)
}

// administer asks the broker for something as its administrator.
func (st *stage) administer(ctx context.Context, path string, question, answer any) error {
	text, err := json.Marshal(question)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, st.origin+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+adminToken)
	request.Header.Set("Content-Type", "application/json")
	return askJSON(request, answer)
}

// askJSON sends a request whose answer must be good, and reads it unless answer
// is nil.
func askJSON(request *http.Request, answer any) error {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", request.Method, request.URL, err)
	}
	return nil
}

// addGate starts another node.
func (st *stage) addGate(ctx context.Context, k int) error {
	g := &gate{name: fmt.Sprint("gate ", k), folder: filepath.Join(st.folder, fmt.Sprint("gate-", k))}
	var err error
	if g.address, err = freeAddress(); err != nil {
		return err
	}
	if g.admin, err = freeAddress(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(g.folder, "store"), 0o700); err != nil {
		return err
	}
	if k > 0 {
		for _, name := range []string{"vendor-key", "challenge-secret"} {
			secret, err := os.ReadFile(filepath.Join(st.gates[0].folder, "store", name))
			if err == nil {
				err = os.WriteFile(filepath.Join(g.folder, "store", name), secret, 0o600)
			}
			if err != nil {
				return err
			}
		}
	}
	keys, err := payword.FormatJWKS(issuing.Public().(ed25519.PublicKey))
	if err == nil {
		err = os.WriteFile(filepath.Join(g.folder, "keys.json"), keys, 0o600)
	}
	g.config = filepath.Join(g.folder, "Caddyfile")
	if err == nil {
		err = os.WriteFile(g.config, []byte(st.caddyfile(g, "")), 0o600)
	}
	if err != nil {
		return err
	}
	st.gates = append(st.gates, g)
	return st.startGate(ctx, g)
}

// startGate runs a gate, and lets the balancer know it.
func (st *stage) startGate(ctx context.Context, g *gate) (err error) {
	if g.child, err = st.start(ctx, g.name, "run", "--adapter", "caddyfile", "--config", g.config); err != nil {
		return err
	}
	if err := g.child.Listens(ctx, g.address); err != nil {
		return err
	}
	st.balancer.add(g.address)
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	// Sites may listen before the gate has started.
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.admin+"/payword/", nil)
		if err != nil {
			return err
		}
		if err = askJSON(request, nil); err == nil {
			return nil
		}
		if pause(ctx, 5*time.Millisecond) {
			return fmt.Errorf("%s does not start: %w\n%s", g.name, err, g.child.Output())
		}
	}
}

// caddyfile is the configuration of a gate; extra stands in its site.
func (st *stage) caddyfile(g *gate, extra string) string {
	options := st.what.options
	if st.shared != "" {
		options += "\n\t\tredis " + st.shared
	}
	return fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	grace_period 1s
	storage file_system %s
	log {
		level ERROR
		format payword
	}
	payword {
		broker %s %s
		broker %s
		store %s
		redeem_interval 0
		rate_limit openings off
		rate_limit refusals off
		%s
	}
}
http://%s {
	%s
	payword %s 0.001 USD
	respond "content of {uri}"
}
`, g.admin, g.folder, issuer, filepath.Join(g.folder, "keys.json"), st.origin, filepath.Join(g.folder, "store"),
		options, g.address, extra, st.vendor)
}

// held is what the gates hold on one commitment.
type held struct {
	Commitments []struct {
		Accepted money.Amount `json:"accepted_micros"`
		Spent    money.Amount `json:"spent_micros"`
	}
	Next string
}

// spent is what the gates charged for, on all commitments, and how much paywords
// are worth that were released to them.
func (st *stage) spent(ctx context.Context) (spent, accepted money.Amount, err error) {
	for after := ""; ; {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet,
			fmt.Sprintf("http://%s/payword/commitments?limit=1000&after=%s", st.gates[0].admin, after), nil)
		if err != nil {
			return 0, 0, err
		}
		var page held
		if err := askJSON(request, &page); err != nil {
			return 0, 0, err
		}
		for _, one := range page.Commitments {
			spent, accepted = spent+one.Spent, accepted+one.Accepted
		}
		if after = page.Next; after == "" {
			return spent, accepted, nil
		}
	}
}

// audit holds what was charged to what was served: the same, unless the gate may
// lose charges; and no number buys a second page.
func (st *stage) audit(ctx context.Context, c *crowd, result Result) (Result, error) {
	spent, accepted, err := st.spent(ctx)
	if err != nil {
		return result, err
	}
	served := money.Amount(result.Paid) * price
	result.LostMicros = int64(served - spent)
	switch {
	case spent > served:
		return result, fmt.Errorf("%w: charged %s for pages worth %s", ErrUnsound, spent.Decimal(), served.Decimal())
	case spent < served && !st.what.mayLose:
		return result, fmt.Errorf("%w: served pages worth %s for %s", ErrUnsound, served.Decimal(), spent.Decimal())
	case accepted > c.released():
		return result, fmt.Errorf("%w: took %s of the %s that were released", ErrUnsound, accepted.Decimal(), c.released().Decimal())
	}
	if st.what.mayLose {
		return result, nil
	}
	return result, c.sellTwice(ctx)
}

// pause waits, and reports whether the context ended first.
func pause(ctx context.Context, length time.Duration) (isOver bool) {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(length):
		return false
	}
}

// killNodes kills a gate at random moments and starts it again.
func killNodes(ctx context.Context, st *stage) error {
	for k := 0; !pause(ctx, 300*time.Millisecond+rand.N(400*time.Millisecond)); k++ {
		g := st.gates[k%len(st.gates)]
		g.child.Kill()
		st.faults++
		// Not the context that is about to end: the gate goes on after it.
		if err := st.startGate(context.WithoutCancel(ctx), g); err != nil {
			return err
		}
	}
	return nil
}

// reload gives Caddy one configuration after the other.
func reload(ctx context.Context, st *stage) error {
	g := st.gates[0]
	for k := 0; !pause(ctx, 100*time.Millisecond); k++ {
		config := st.caddyfile(g, fmt.Sprintf("header Configuration %d", k))
		request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, "http://"+g.admin+"/load", strings.NewReader(config))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "text/caddyfile")
		request.Close = true // the endpoint is replaced
		if err := askJSON(request, nil); err != nil {
			return err
		}
		st.faults++
	}
	return nil
}

// freeAddress returns an address that nobody listens on, below the ports that
// systems give to outgoing connections: one of these could take it while what
// listens there is dead.
func freeAddress() (string, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(20_000))
		if listener, err := net.Listen("tcp", address); err == nil {
			return address, listener.Close()
		}
	}
	return "", errors.New("no port is free")
}
