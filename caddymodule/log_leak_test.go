package caddymodule_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
)

// panicker is a handler that panics where the path says so.
type panicker struct{}

func init() {
	caddy.RegisterModule(panicker{})
	httpcaddyfile.RegisterHandlerDirective("payword_test_panic", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return panicker{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("payword_test_panic", httpcaddyfile.Before, "respond")
}

// CaddyModule returns the module's description.
func (panicker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payword_test_panic", New: func() caddy.Module { return panicker{} }}
}

// ServeHTTP panics, or passes the request on.
func (panicker) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if strings.HasPrefix(r.URL.Path, "/panic") {
		panic(fmt.Sprintf("on purpose, with %v", r.Header))
	}
	return next.ServeHTTP(w, r)
}

// day is a whole day in small, and everything that was seen of it from outside.
type day struct {
	t       *testing.T
	gate    *testGate
	admin   string
	outside strings.Builder // bodies, headers, scrapes and admin answers
	payers  []*payer
	cookies []string
}

// send sends a request and keeps what came back. A connection that the server
// breaks off is part of the day.
func (d *day) send(method, target string, headers map[string]string) {
	d.t.Helper()
	response, err := d.gate.send(method, target, headers)
	if err != nil {
		fmt.Fprintln(&d.outside, err)
		return
	}
	defer response.Body.Close()
	fmt.Fprintln(&d.outside, response.Status)
	if _, err := fmt.Fprint(&d.outside, response.Header.Get(payword.HeaderState), response.Header.Get(payword.HeaderPaymentReceipt)); err != nil {
		d.t.Fatal(err)
	}
	if strings.HasPrefix(target, "/") {
		body := make([]byte, 1<<16)
		n, _ := response.Body.Read(body)
		d.outside.Write(body[:n])
	}
}

// credential returns the header of a payment in the Payment scheme.
func (d *day) credential(p *payer, target, action string, payment payword.Payment) map[string]string {
	d.t.Helper()
	response, _ := d.gate.do(d.t, http.MethodGet, target, nil)
	challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) == 0 {
		d.t.Fatalf("challenges: %v, %v", challenges, err)
	}
	payload := payword.NewPayload(payment)
	payload.Action = action
	payload.Commitment, payload.Reservation = p.commitment.Token, p.reservation.Token
	value, err := payword.Credential{Challenge: challenges[0], Payload: payload}.Format()
	if err != nil {
		d.t.Fatal(err)
	}
	return map[string]string{"Authorization": value}
}

// newcomer is one more payer of the day.
func (d *day) newcomer(w wish) *payer {
	w.name, w.vendor = fmt.Sprintf("day %d", len(d.payers)), d.gate.vendor
	p := newPayer(d.t, w)
	d.payers = append(d.payers, p)
	return p
}

// live lets all kinds of requests happen, good ones and bad ones.
func (d *day) live(issuer string) {
	p := d.newcomer(wish{issuer: issuer})
	d.send("GET", "/1", p.opening(p.payment(2, 1)))
	d.send("GET", "/2", p.header(p.payment(3, 2)))
	d.send("GET", "/2", p.header(p.payment(3, 2)))          // again
	d.send("GET", "/3", p.header(p.payment(3, 2)))          // already-used
	d.send("HEAD", "/3", p.header(p.payment(4, 3)))         // free
	d.send("POST", "/3", p.header(p.payment(4, 4)))         // unsafe
	d.send("GET", "/panic", p.header(p.payment(5, 5)))      // the next handler panics
	d.send("GET", "/gone", p.header(p.payment(6, 6)))       // 404
	d.send("GET", "/broken", p.header(p.payment(7, 7)))     // 500
	d.send("GET", "/far", p.header(p.payment(1900, 8)))     // credit
	d.send("GET", "/robots.txt", p.header(p.payment(8, 9))) // free of charge
	d.send("GET", "/x", map[string]string{"Sec-Purpose": "prefetch", payword.HeaderPayword: payword.FormatPayment(p.payment(9, 9))})
	d.send("GET", "/y", map[string]string{payword.HeaderPaymentAuthorization: d.credential(p, "/y", payword.ActionPay, p.payment(10, 10))["Authorization"]})
	d.send("GET", "/z", d.credential(p, "/z", payword.ActionPay, p.payment(11, 11)))
	d.send("GET", "/"+strings.Repeat("u", 3000), p.header(p.payment(12, 12))) // 414
	cut := p.header(p.payment(12, 12))
	cut[payword.HeaderPayword] = cut[payword.HeaderPayword][:len(cut[payword.HeaderPayword])-1]
	d.send("GET", "/4", cut)
	forged := p.payment(20, 20)
	forged.Payword = p.words[19]
	d.send("GET", "/5", p.header(forged))
	for _, w := range []wish{
		{issuer: "https://stranger.example"},
		{issuer: issuer, broker: ed25519.NewKeyFromSeed(seedOf("not the broker"))},
		{issuer: issuer, commitment: func(m *payword.Commitment) { m.Expires = m.IssuedAt + 1 }},
		{issuer: issuer, reservation: func(r *payword.Reservation) { r.Commitment[0] ^= 1 }},
	} {
		bad := d.newcomer(w)
		d.send("GET", "/6", bad.opening(bad.payment(1, 1)))
		d.send("GET", "/6", bad.header(bad.payment(1, 1)))
	}
	d.payByCookie(d.newcomer(wish{issuer: issuer}), "/9")
	closing := d.newcomer(wish{issuer: issuer})
	d.send("GET", "/7", d.credential(closing, "/7", payword.ActionOpen, closing.payment(1, 1)))
	d.send("GET", "/7", closing.header(closing.payment(1, 1)))
	d.send("GET", "/7", d.credential(closing, "/7", payword.ActionClose, closing.payment(1, 2)))
}

// payByCookie has a payment put into a cookie and pays with that.
func (d *day) payByCookie(p *payer, target string) {
	d.t.Helper()
	cookie := d.gate.cookie(d.t, target, p.opening(p.payment(1, 1)))
	_, value, _ := strings.Cut(cookie, "=")
	d.cookies = append(d.cookies, value)
	headers := map[string]string{"Cookie": "first=1; " + cookie + "; last=2"}
	maps.Copy(headers, navigation)
	d.send("GET", target, headers)
	d.send("GET", "/panic", headers)
}

// look asks the admin endpoint for all that it tells.
func (d *day) look() {
	for _, path := range []string{"/metrics", "/payword/", "/payword/commitments", "/payword/export", "/payword/export?format=jsonl"} {
		_, body := adminGet(d.t, d.admin, path)
		d.outside.WriteString(body)
	}
	for _, path := range []string{"/payword/verify", "/payword/redeem"} {
		response, err := http.Post("http://"+d.admin+path, "", nil)
		if err != nil {
			d.t.Fatal(err)
		}
		response.Body.Close()
	}
}

// TestNoSecretIsLogged lives a whole day in small, with every log at its most
// talkative, and looks in all that was logged, answered and counted for anything
// that could be spent or signed with.
func TestNoSecretIsLogged(t *testing.T) {
	broker := newFakeBroker(t)
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	d := &day{t: t, admin: adminAddress(t)}
	s := site{dir: dir, vendor: freeOrigin(t), admin: d.admin, issuer: broker.URL, global: "claim_delay 0s", payword: "reread off",
		options: fmt.Sprintf("%s\nlog everything {\noutput file %s\nlevel DEBUG\nformat payword json\n}\nservers {\nlog_credentials\n}", subscribeAll(), log),
		rest:    fmt.Sprintf("log {\noutput file %s-site\nlevel DEBUG\nformat payword console\n}\ntracing\npayword_test_panic\n@gone path /gone\nerror @gone 404\n@broken path /broken\nerror @broken 500\nrespond \"content of {uri}\"", log)}
	d.gate = startGate(t, s)
	d.live(broker.URL)
	d.look()
	broker.refuse(payword.BadClaim)
	s.payword = "reread 1 60s"
	if status := loadByAdmin(t, d.admin, configOf(t, s)); status != http.StatusOK {
		t.Fatalf("reload: %d", status)
	}
	d.live(broker.URL)
	d.look()
	broker.set(true, false)
	d.look()
	last := d.newcomer(wish{issuer: broker.URL})
	if err := caddymodule.BreakStore(filepath.Join(dir, "store")); err != nil {
		t.Fatal(err)
	}
	d.send("GET", "/8", last.opening(last.payment(1, 1)))
	for len(sunk) > 0 {
		encoded, err := json.Marshal((<-sunk).Data)
		if err != nil {
			t.Fatal(err)
		}
		d.outside.Write(encoded)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	d.search(log)
}

// search looks for secrets in everything that the day left behind.
func (d *day) search(log string) {
	everything := map[string]string{"answers": d.outside.String()}
	for name, least := range map[string]int{log: 50_000, log + "-site": 20_000} {
		content, err := os.ReadFile(name)
		if err != nil {
			d.t.Fatal(err)
		}
		if len(content) < least {
			d.t.Errorf("%s holds only %d bytes: not everything was logged", filepath.Base(name), len(content))
		}
		everything[filepath.Base(name)] = string(content)
	}
	for _, seen := range []string{"on purpose", "already-used", "store_down", "first=1; last=2", "a broker refused a claim", `"payword":{`} {
		if !strings.Contains(everything["log"], seen) {
			d.t.Errorf("the log does not hold %q, so it is not the whole day", seen)
		}
	}
	secrets := make(map[string][]string) // by how they begin
	for _, secret := range slices.Concat(secretsOf(d.payers...), d.keys(), d.cookies) {
		secrets[secret[:windowBytes]] = append(secrets[secret[:windowBytes]], secret)
	}
	for name, text := range everything {
		if at := findAny(text, secrets); at >= 0 {
			line := text[strings.LastIndexByte(text[:at], '\n')+1:]
			line, _, _ = strings.Cut(line, "\n")
			d.t.Fatalf("%s holds a secret: %.1500s", name, line)
		}
		if planted := text + d.payers[0].commitment.Token; findAny(planted, secrets) != len(text) {
			d.t.Fatal("a secret that was put there is not found")
		}
	}
}

// windowBytes is how much of a secret is looked for first.
const windowBytes = 12

// findAny returns where the first of many secrets stands, or -1.
func findAny(text string, secrets map[string][]string) int {
	for at := 0; at+windowBytes <= len(text); at++ {
		for _, secret := range secrets[text[at:at+windowBytes]] {
			if strings.HasPrefix(text[at:], secret) {
				return at
			}
		}
	}
	return -1
}

// keys returns the keys and seeds of the day in every spelling. Of the raw bytes
// of longer keys the first half is the secret one.
func (d *day) keys() (secrets []string) {
	raw := [][]byte{testBroker.Seed()}
	for _, name := range []string{"vendor-key", "challenge-secret"} {
		content, err := os.ReadFile(filepath.Join(d.gate.dir, "store", name))
		if err != nil {
			d.t.Fatal(err)
		}
		raw = append(raw, content)
	}
	for k := range d.payers {
		sum := sha256.Sum256([]byte("caddymodule test user " + fmt.Sprintf("day %d", k)))
		raw = append(raw, sum[:])
	}
	for _, secret := range raw {
		secrets = append(secrets, hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret),
			base64.RawStdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret))
	}
	return secrets
}
