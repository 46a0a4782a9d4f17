package caddymodule_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/browsertest"
)

// leastBrowserChecks is the least that the browser must have looked at.
const leastBrowserChecks = 150

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

	browsertest.Run(t, "browser/page.mjs", leastBrowserChecks, map[string]string{"origin": gate.vendor})
	news.mu.Lock()
	defer news.mu.Unlock()
	for _, asked := range news.asked { // an icon is free, and so would come through
		if !strings.HasPrefix(asked.URL.Path, "/teaser/") {
			t.Errorf("a page made the browser ask for %s", asked.URL)
		}
	}
}
