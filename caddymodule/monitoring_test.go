package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
)

var (
	metricName = regexp.MustCompile(`\bcaddy_payword_[a-z_]+`)
	labelled   = regexp.MustCompile(`^(caddy_payword_[a-z_]+)\{(.*)\} `)
	labelName  = regexp.MustCompile(`([a-z]+)="`)
)

// fullScrape runs a gate until every metric has a value, and returns the help,
// the type and the labels of each by its name, as Prometheus reads them.
func fullScrape(t *testing.T) (help, types, labels map[string]string) {
	t.Helper()
	broker := newFakeBroker(t)
	admin := adminAddress(t)
	gate := startGate(t, site{admin: admin, issuer: broker.URL, payword: "reread off", global: "claim_delay 0s",
		rest: "@gone path /gone\nerror @gone 404\nrespond ok"})
	p := newPayer(t, wish{name: "monitored", vendor: gate.vendor, issuer: broker.URL, reserved: 5 * testPrice})
	gate.mustPay(t, "/1", p.opening(p.payment(2, 1)))
	gate.do(t, http.MethodGet, "/robots.txt", nil)
	gate.do(t, http.MethodGet, "/gone", p.header(p.payment(2, 9)))
	redeemNow(t, admin)
	broker.refuse(payword.BadClaim)
	gate.mustPay(t, "/2", p.header(p.payment(2, 2)))
	redeemNow(t, admin)
	store := filepath.Join(gate.dir, "store")
	if err := caddymodule.TakeSample(store); err != nil {
		t.Fatal(err)
	}
	caddymodule.FillGateMetrics(store, gate.vendor)
	if err := caddymodule.BreakStore(store); err != nil {
		t.Fatal(err)
	}
	gate.do(t, http.MethodGet, "/3", p.header(p.payment(2, 3)))
	status, body := adminGet(t, admin, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("GET /metrics: %d", status)
	}
	help, types, labels = make(map[string]string), make(map[string]string), make(map[string]string)
	for line := range strings.Lines(body) {
		if series := labelled.FindStringSubmatch(line); series != nil {
			var names []string
			for _, label := range labelName.FindAllStringSubmatch(series[2], -1) {
				if label[1] != "le" {
					names = append(names, label[1])
				}
			}
			name := series[1]
			for _, part := range []string{"_bucket", "_count", "_sum"} {
				name = strings.TrimSuffix(name, part)
			}
			labels[name] = strings.Join(names, ", ")
		}
		fields := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(fields) == 4 && strings.HasPrefix(fields[2], "caddy_payword_") {
			switch fields[1] {
			case "HELP":
				help[fields[2]] = fields[3]
			case "TYPE":
				types[fields[2]] = fields[3]
			}
		}
	}
	return help, types, labels
}

// TestMonitoringFiles wants every metric that the dashboard and the alerts ask
// for to exist, and the table of docs/operations.md to be what a scrape says.
func TestMonitoringFiles(t *testing.T) {
	help, types, labels := fullScrape(t)
	for _, name := range []string{"grafana.json", "alerts.yml"} {
		content, err := os.ReadFile(filepath.Join("..", "docs", "monitoring", name))
		if err != nil {
			t.Fatal(err)
		}
		asked := metricName.FindAllString(string(content), -1)
		if len(asked) < 10 {
			t.Errorf("%s asks for %d metrics only", name, len(asked))
		}
		for _, metric := range asked {
			if !isScraped(metric, types) {
				t.Errorf("%s asks for %s, which no scrape has", name, metric)
			}
		}
	}
	operations, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, name := range slices.Sorted(maps.Keys(help)) {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", name, types[name], labels[name], help[name])
	}
	if !strings.Contains(string(operations), table.String()) {
		t.Errorf("docs/operations.md does not hold the table of metrics as it is:\n%s", table.String())
	}
	for name, kind := range types {
		if isCounter := strings.HasSuffix(name, "_total"); isCounter != (kind == "counter") {
			t.Errorf("%s is a %s", name, kind)
		}
	}
}

// isScraped reports whether a series that a query names is there: histograms are
// asked for by the names of their parts.
func isScraped(metric string, types map[string]string) bool {
	if _, found := types[metric]; found {
		return true
	}
	for _, part := range []string{"_bucket", "_count", "_sum"} {
		if name, cut := strings.CutSuffix(metric, part); cut && types[name] == "histogram" {
			return true
		}
	}
	return false
}

// TestDashboard wants a file that Grafana takes: panels with a title and a
// query, each in a place of its own.
func TestDashboard(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "docs", "monitoring", "grafana.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title         string
		SchemaVersion int
		Panels        []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.Title == "" || dashboard.SchemaVersion < 30 || len(dashboard.Panels) < 10 {
		t.Errorf("the dashboard is %+v", dashboard)
	}
	ids, places := make(map[int]bool), make(map[[2]int]bool)
	for _, panel := range dashboard.Panels {
		place := [2]int{panel.GridPos.X, panel.GridPos.Y}
		if panel.Title == "" || len(panel.Targets) == 0 || ids[panel.ID] || places[place] || panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("the panel %+v", panel)
		}
		ids[panel.ID], places[place] = true, true
		for _, target := range panel.Targets {
			if strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") || target.Expr == "" {
				t.Errorf("%s: the query %q", panel.Title, target.Expr)
			}
		}
	}
}
