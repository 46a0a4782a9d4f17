package caddymodule_test

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
)

// startAdmin runs a gate with an admin endpoint and a few payers, of whom payer
// k bought k+1 pages.
func startAdmin(t *testing.T, payers int) (gate *testGate, admin string, paid []*payer) {
	t.Helper()
	admin = adminAddress(t)
	gate = startGate(t, site{admin: admin, payword: "reread off"})
	for k := range payers {
		p := newPayer(t, wish{name: fmt.Sprintf("admin %d", k), vendor: gate.vendor})
		gate.mustPay(t, "/1", p.opening(p.payment(uint32(k+2), 1)))
		for number := range k {
			gate.mustPay(t, "/1", p.header(p.payment(uint32(k+2), uint64(number+2))))
		}
		paid = append(paid, p)
	}
	return gate, admin, paid
}

// mustGet asks the admin endpoint for JSON.
func mustGet(t *testing.T, admin, path string, answer any) string {
	t.Helper()
	status, body := adminGet(t, admin, path)
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, status, body)
	}
	if err := json.Unmarshal([]byte(body), answer); err != nil {
		t.Fatalf("GET %s: %v in %s", path, err, body)
	}
	return body
}

// listedAnswer is what GET /payword/commitments answers.
type listedAnswer struct {
	Commitments []struct {
		Commitment string
		Vendor     string
		Accepted   string `json:"accepted_micros"`
		Spent      string `json:"spent_micros"`
		Tails      []struct {
			Index    uint32
			TailHash string `json:"tail_hash"`
		}
	}
	Next string
}

// The overview says where commitments are, which with Redis is not the directory.
func TestAdminOverviewOfRedis(t *testing.T) {
	admin, address := adminAddress(t), caddymodule.StartRedis(t).Address
	startGate(t, site{admin: admin, global: "redis " + address})
	var seen struct {
		Store struct{ Kind, Location string }
	}
	mustGet(t, admin, "/payword/", &seen)
	if seen.Store.Kind != "redis" || seen.Store.Location != address {
		t.Errorf("the overview says %+v, want redis at %s", seen.Store, address)
	}
}

func TestAdminOverview(t *testing.T) {
	gate, admin, _ := startAdmin(t, 2)
	if err := caddymodule.TakeSample(filepath.Join(gate.dir, "store")); err != nil {
		t.Fatal(err)
	}
	var seen struct {
		Store struct {
			Kind string
			Up   bool
		}
		Sites   []struct{ Vendor, Price string }
		Brokers []struct {
			Issuer string
			Keys   int
		}
		Commitments int
		Totals      []struct {
			Currency string
			Spent    string `json:"spent_micros"`
			Credit   string `json:"credit_outstanding_micros"`
		}
	}
	mustGet(t, admin, "/payword/", &seen)
	if seen.Store.Kind != "file" || !seen.Store.Up || seen.Commitments != 2 {
		t.Errorf("the overview says %+v", seen)
	}
	if len(seen.Sites) != 1 || seen.Sites[0].Vendor != gate.vendor || seen.Sites[0].Price != "0.001 USD" {
		t.Errorf("sites: %+v", seen.Sites)
	}
	if len(seen.Brokers) != 1 || seen.Brokers[0].Issuer != testIssuer || seen.Brokers[0].Keys != 1 {
		t.Errorf("brokers: %+v", seen.Brokers)
	}
	if len(seen.Totals) != 1 || seen.Totals[0].Currency != "USD" || seen.Totals[0].Spent != "3000" || seen.Totals[0].Credit != "2000" {
		t.Errorf("totals: %+v", seen.Totals)
	}
}

// TestAdminCommitments pages through the commitments: each is there once, in
// order, with the hash of its tail and nothing that can be spent.
func TestAdminCommitments(t *testing.T) {
	gate, admin, payers := startAdmin(t, 5)
	var names []string
	hashes := make(map[string]uint32)
	after := ""
	for range 3 {
		var page listedAnswer
		body := mustGet(t, admin, "/payword/commitments?limit=2&after="+after, &page)
		for _, secret := range secretsOf(payers...) {
			if strings.Contains(body, secret) {
				t.Fatalf("the answer holds a secret: %s", body)
			}
		}
		for _, c := range page.Commitments {
			names = append(names, c.Commitment)
			hashes[c.Tails[0].TailHash] = c.Tails[0].Index
			if c.Vendor != gate.vendor {
				t.Errorf("vendor %s", c.Vendor)
			}
		}
		after = page.Next
	}
	if after != "" || len(names) != 5 || !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != 5 {
		t.Errorf("the pages list %v and go on after %q", names, after)
	}
	for k, p := range payers {
		hash := p.words[k+2].TailHash()
		if index, found := hashes[hex.EncodeToString(hash[:])]; !found || index != uint32(k+2) {
			t.Errorf("the tail of payer %d is listed with %d, %v", k, index, found)
		}
	}
	var one listedAnswer
	mustGet(t, admin, "/payword/commitments?commitment="+names[3], &one)
	if len(one.Commitments) != 1 || one.Commitments[0].Commitment != names[3] {
		t.Errorf("looked for one, found %+v", one)
	}
	var none listedAnswer
	mustGet(t, admin, "/payword/commitments?vendor=https://other.example", &none)
	if len(none.Commitments) != 0 {
		t.Errorf("another vendor has %+v", none)
	}
	for _, limit := range []string{"0", "-1", "1001", "many"} {
		if status, _ := adminGet(t, admin, "/payword/commitments?limit="+limit); status != http.StatusBadRequest {
			t.Errorf("limit %s: %d", limit, status)
		}
	}
}

// TestAdminExport sums what was earned in every way.
func TestAdminExport(t *testing.T) {
	gate, admin, _ := startAdmin(t, 3)
	for _, test := range []struct {
		by            string
		rows          int
		spent, opened string // of the first row
	}{{"commitment", 3, "", "1"}, {"day", 1, "6000", "3"}, {"vendor", 1, "6000", "3"}} {
		status, body := adminGet(t, admin, "/payword/export?by="+test.by)
		rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		if status != http.StatusOK || err != nil || len(rows) != test.rows+1 {
			t.Fatalf("by %s: %d %v %s", test.by, status, err, body)
		}
		column := func(name string) string { return rows[1][slices.Index(rows[0], name)] }
		if column("vendor") != gate.vendor || column("commitments") != test.opened || test.spent != "" && column("spent_micros") != test.spent {
			t.Errorf("by %s: %s", test.by, body)
		}
		if isDay := column("day") != ""; isDay != (test.by != "vendor") {
			t.Errorf("by %s the day is %q", test.by, column("day"))
		}
	}
	_, body := adminGet(t, admin, "/payword/export?format=jsonl")
	total := 0
	for line := range strings.Lines(body) {
		var row struct {
			Spent string `json:"spent_micros"`
		}
		var spent int
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(row.Spent, &spent); err != nil {
			t.Fatal(err)
		}
		total += spent
	}
	if total != 6000 {
		t.Errorf("the lines add up to %d: %s", total, body)
	}
	for _, query := range []string{"by=user", "format=xls"} {
		if status, _ := adminGet(t, admin, "/payword/export?"+query); status != http.StatusBadRequest {
			t.Errorf("%s: %d", query, status)
		}
	}
}

// TestAdminIsProtected wants Caddy's own protection on our routes: no other
// site's script, and no name that was made to point here, may use them.
func TestAdminIsProtected(t *testing.T) {
	_, admin, _ := startAdmin(t, 1)
	for _, route := range []struct{ method, path string }{
		{http.MethodGet, "/payword/"}, {http.MethodGet, "/payword/commitments"}, {http.MethodGet, "/payword/export"},
		{http.MethodPost, "/payword/verify"}, {http.MethodPost, "/payword/redeem"},
	} {
		for name, change := range map[string]func(*http.Request){
			"another host":   func(r *http.Request) { r.Host = "evil.example" },
			"another origin": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		} {
			request, err := http.NewRequest(route.method, "http://"+admin+route.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			change(request)
			if status := statusOfRequest(t, request); status != http.StatusForbidden {
				t.Errorf("%s %s from %s: %d", route.method, route.path, name, status)
			}
		}
		wrong, err := http.NewRequest(http.MethodPut, "http://"+admin+route.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status := statusOfRequest(t, wrong); status != http.StatusMethodNotAllowed {
			t.Errorf("PUT %s: %d", route.path, status)
		}
	}
	if status, _ := adminGet(t, admin, "/payword/nothing"); status != http.StatusNotFound {
		t.Errorf("a route that is not there: %d", status)
	}
}

func statusOfRequest(t *testing.T, request *http.Request) int {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// TestAdminVerify finds everything good, and then what was changed behind the
// gate's back.
func TestAdminVerify(t *testing.T) {
	gate, admin, payers := startAdmin(t, 3)
	verify := func() (done caddymodule.Verification) {
		t.Helper()
		response, err := http.Post("http://"+admin+"/payword/verify", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(&done); err != nil {
			t.Fatal(err)
		}
		return done
	}
	done := verify()
	if done.Commitments != 3 || done.Signatures != 9 || done.Tails != 6 || done.Hashes != 2+3+4 || done.Wrong != 0 {
		t.Errorf("a good store: %+v", done)
	}
	if len(done.Sums) != 1 || done.Sums[0].Spent != 6*testPrice || done.Sums[0].Accepted != 9*testPrice {
		t.Errorf("sums: %+v", done.Sums)
	}
	store := filepath.Join(gate.dir, "store")
	for _, test := range []struct {
		what   string
		change func(*payword.State)
		want   string
	}{
		{"a tail that nobody released", func(s *payword.State) { s.Tails[0].Index++ }, "does not lead to its root"},
		{"more spent than was accepted", func(s *payword.State) { s.Charged += 1000 * testPrice }, "was spent of"},
		{"more given back than was charged", func(s *payword.State) { s.Returned = s.Charged + 1 }, "was given back of"},
		{"more redeemed than was charged", func(s *payword.State) { s.Claimed = s.Charged + 1 }, "was redeemed of"},
		{"a cap over the limit", func(s *payword.State) { s.Cap = 1000 * testPrice * testPrice }, "over the limit"},
		{"a reservation of another number", func(s *payword.State) { s.Sequence = 9 }, "has number 1, the state 9"},
	} {
		restore := caddymodule.Tamper(store, payers[1].commitment.ID, test.change)
		done := verify()
		restore()
		if done.Wrong != 1 || len(done.Problems) != 1 || !strings.Contains(strings.Join(done.Problems[0].Problems, " "), test.want) {
			t.Errorf("%s: %+v, want %q", test.what, done.Problems, test.want)
		}
	}
	if done := verify(); done.Wrong != 0 {
		t.Errorf("after all was put back: %+v", done)
	}
}

// secretsOf returns everything of payers that must stand in no log, in every
// spelling.
func secretsOf(payers ...*payer) (secrets []string) {
	spell := func(secret []byte) {
		secrets = append(secrets, hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret),
			base64.RawStdEncoding.EncodeToString(secret), base64.URLEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret))
	}
	for _, p := range payers {
		secrets = append(secrets, p.commitment.Token, p.reservation.Token)
		for _, chain := range [][]payword.Payword{p.words, p.second} {
			for _, word := range chain {
				spell(word[:])
			}
		}
	}
	return secrets
}
