package caddymodule_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// leastBrowserChecks is the least that the browser must have looked at.
const leastBrowserChecks = 150

// browserTimeout bounds all of it; on two busy cores it takes half a minute.
const browserTimeout = 5 * time.Minute

// storks is an article as a publisher might write it.
const storks = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>The storks are back</title><link rel="icon" href="data:,">
<style>:root { color-scheme: light dark; background: light-dark(#fff, #111); color: light-dark(#111, #eee) } body { font: 1.125rem/1.6 Georgia, serif; max-width: 38rem; margin: 2rem auto; padding: 0 1rem }</style>
<script>document.title = "a script ran"</script></head>
<body><main><h1>The storks are back, three weeks early</h1>
<p>On Tuesday morning the first pair stood on the chimney of the old brewery, as if they had never been away.</p>
<p>Nobody at the station had expected them before the middle of March.</p>
<!-- payword:paid --><p class="body">SECRET</p><!-- payword:end -->
</main></body></html>`

// TestPagesInABrowser has Chromium look at the pages: with axe for
// accessibility, and for what the page asks for, complains of, and does to
// readers who enlarge, print, or use the keyboard.
func TestPagesInABrowser(t *testing.T) {
	chromium := findProgram(t, "chromium", "On Debian: apt-get install chromium")
	node := findProgram(t, "node", "On Debian: apt-get install nodejs npm")
	installBrowserScript(t)
	news := &newsroom{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, storks)
	}}
	vendor := freeOrigin(t)
	gate := startGate(t, site{vendor: vendor, upstream: news, payword: `description "The article “The storks are back”"`, rest: `
	payword /teaser/* ` + vendor + ` 0.001 USD {
		teaser
	}
	payword /news/* https://news.example 0.001 USD {
		description "The article “The storks are back, three weeks early”"
	}
	payword /metered/* ` + vendor + ` 0.01 USD {
		description "The news agency’s feed"
		meter {
			unit kilobyte
		}
	}
	payword /long/* ` + vendor + ` 0.001 USD {
		description "The article {path}"
	}`})

	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, node, "page.mjs", gate.vendor, chromium)
	command.Dir = "browser"
	var output, complaints bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaints
	if err := command.Run(); err != nil {
		t.Fatalf("the browser script: %v\n%s", err, complaints.String())
	}
	var report struct{ Checked, Wrong []string }
	if err := json.Unmarshal(output.Bytes(), &report); err != nil {
		t.Fatalf("the browser script wrote %q: %v", output.String(), err)
	}
	for _, wrong := range report.Wrong {
		t.Error(wrong)
	}
	news.mu.Lock()
	defer news.mu.Unlock()
	for _, asked := range news.asked { // an icon is free, and so would come through
		if !strings.HasPrefix(asked.URL.Path, "/teaser/") {
			t.Errorf("a page made the browser ask for %s", asked.URL)
		}
	}
	if len(report.Checked) < leastBrowserChecks {
		t.Errorf("the browser looked at %d things, want at least %d", len(report.Checked), leastBrowserChecks)
	}
}

func findProgram(t *testing.T, name, advice string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("missing: %s. %s; make tools installs it there", name, advice)
	}
	return path
}

// installBrowserScript installs what the script needs, as its lock file says,
// unless that is there.
func installBrowserScript(t *testing.T) {
	t.Helper()
	lock, err := os.Stat(filepath.Join("browser", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	installed, err := os.Stat(filepath.Join("browser", "node_modules", ".package-lock.json"))
	if err == nil && !installed.ModTime().Before(lock.ModTime()) {
		return
	}
	npm := findProgram(t, "npm", "On Debian: apt-get install npm")
	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	command.Dir = "browser"
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in caddymodule/browser: %v\n%s", err, output)
	}
}
