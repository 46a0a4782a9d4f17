package main

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/bench/load"
	"github.com/paywordhq/payword/bench/report"
	"github.com/paywordhq/payword/bench/stats"
)

func TestDuelsAreBetweenSites(t *testing.T) {
	all, err := sites("127.0.0.1:6379")
	if err != nil {
		t.Fatal(err)
	}
	isSite := func(name string) bool { return slices.ContainsFunc(all, func(s site) bool { return s.name == name }) }
	for _, d := range duels {
		if !isSite(d.contender) || !isSite(d.baseline) || d.contender == d.baseline {
			t.Errorf("%s compares %q with %q", d.id, d.contender, d.baseline)
		}
	}
}

// Names are what -only picks, what plots are called after, and what people look
// for in report.json.
func TestNamesAreDistinct(t *testing.T) {
	seen := map[string]bool{browserID: true}
	groups := map[string]string{"browser": groupBrowser}
	add := func(id, group string) {
		if seen[id] {
			t.Errorf("%s stands twice", id)
		}
		seen[id] = true
		slug, _, _ := strings.Cut(id, "/")
		if groups[slug] == "" {
			groups[slug] = group
		}
		if groups[slug] != group {
			t.Errorf("%s is in %q, others that begin so in %q", id, group, groups[slug])
		}
	}
	for _, d := range duels {
		for _, f := range d.figures {
			add(d.id+f.id, f.group)
		}
	}
	for _, one := range benchmarks {
		add(one.id, one.group)
		if len(one.needs) > 0 && one.bar == nil {
			t.Errorf("%s needs %v for a bar that it has not", one.id, one.needs)
		}
	}
}

func TestBasicHeaderIsOfTheUser(t *testing.T) {
	encoded := strings.TrimSuffix(strings.TrimPrefix(basicHeader, "Authorization: Basic "), "\r\n")
	if got, err := base64.StdEncoding.DecodeString(encoded); err != nil || string(got) != basicUser+":"+basicPassword {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBodyIsAKilobyte(t *testing.T) {
	if len(body) != 1024 || strings.ContainsAny(body, "`{}") {
		t.Errorf("%d bytes, want 1024 that mean nothing in a Caddyfile", len(body))
	}
}

func TestChainsLastForThePlan(t *testing.T) {
	for _, p := range []plan{quick, full} {
		if _, err := load.NewChains(1, p.payments(duels)); err != nil {
			t.Errorf("%s: %v", p.mode, err)
		}
	}
	// The one that is asked most is in every duel, with some seconds to warm up.
	p := plan{rounds: 10, length: time.Second}
	if got, least := p.payments(duels[:1]), 10*fastest/(load.Connections*payersEach); got < least {
		t.Errorf("%d payments each, want at least %d", got, least)
	}
}

func TestReadBrowser(t *testing.T) {
	const good = `chromium, a chain of 1000000 steps
{"name":"client-js/node/chain","unit":"ns/hash","median":300,"spread":20,"ratio":9,"rounds":5}
{"name":"client-js/chromium/chain","unit":"ns/hash","median":400,"spread":200,"ratio":8,"rounds":5}
`
	got, err := readBrowser(good)
	if want := (stats.Summary{Count: 5, Median: 8, Low: 6.4, High: 10}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "{}", `{"name":"client-js/chromium/chain"}`} {
		if _, err := readBrowser(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestBarsThatNeedAFeatureAreSkippedWithoutIt(t *testing.T) {
	b := bench{}
	b.report.Machine.Flags = []string{"sha_ni"}
	bar := report.AtLeast(5)
	for _, test := range []struct {
		needs []string
		want  string
	}{{nil, "met"}, {[]string{"sha_ni"}, "met"}, {[]string{"sha_ni", "avx512f"}, "skipped"}} {
		row := report.Row{Ratio: stats.Of([]float64{6}), Bar: bar}
		b.skip(&row, test.needs)
		if got := row.Verdict(); got != test.want {
			t.Errorf("needs %v: %s, want %s", test.needs, got, test.want)
		}
	}
	if bar.Skipped != "" {
		t.Error("the bar of all rows was changed")
	}
}

func TestQuickSaysWhatItLeavesOut(t *testing.T) {
	for _, test := range []struct {
		mode, only string
		isFull     bool
		isLeftOut  bool
	}{
		{"quick", "", true, true}, {"quick", "", false, false}, {"quick", "store/start", true, false}, {"full", "", true, false},
	} {
		b := bench{plan: plan{mode: test.mode}, chosen: regexp.MustCompile(test.only)}
		why := b.leavesOut(benchmark{id: "store/start", isFull: test.isFull})
		if strings.Contains(why, "-only store/start") != test.isLeftOut || (why != "") != test.isLeftOut {
			t.Errorf("%+v: %q", test, why)
		}
	}
}

func TestShortVersion(t *testing.T) {
	for text, want := range map[string]string{
		"v2.11.9 h1:abc=": "2.11.9", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0": "7.0.15", "none": "",
	} {
		if got := shortVersion(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
