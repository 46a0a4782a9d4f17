package agent_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/browsertest"
	"github.com/paywordhq/payword/internal/purse"
)

// leastBrowserChecks is the least that the browser must have looked at.
const leastBrowserChecks = 50

// TestPagesInABrowser has Chromium use the example of a shop and the holder's
// page: pair, pay, load with a PIN, pull the card, and find out.
func TestPagesInABrowser(t *testing.T) {
	p := newPlace(t)
	card := newCard(t, p.office.keys, cardID, 90_00)
	h := newHome(t, card, "", nil)
	pages := http.NewServeMux()
	pages.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "../../docs/agent-example.html") })
	pages.HandleFunc("POST /tear", func(http.ResponseWriter, *http.Request) {
		card.mutex.Lock()
		defer card.mutex.Unlock()
		card.tear = func(asked purse.Instruction) (bool, bool) { return false, asked == purse.Debit }
	})
	pages.HandleFunc("POST /insert", func(http.ResponseWriter, *http.Request) {
		card.mutex.Lock()
		card.tear = nil
		card.mutex.Unlock()
		card.put(false)
	})
	shop, other := httptest.NewServer(pages), httptest.NewServer(pages)
	defer shop.Close()
	defer other.Close()
	browsertest.Run(t, "browser/holder.mjs", leastBrowserChecks, map[string]string{
		"page": h.page, "agent": h.origin, "pin": testPIN,
		"shop": strings.Replace(shop.URL, "127.0.0.1", "localhost", 1), "other": strings.Replace(other.URL, "127.0.0.1", "localhost", 1), "control": shop.URL,
		"gateway": strings.TrimSuffix(strings.TrimPrefix(p.address, "ws://"), "/relay"),
	})
	if data := card.data(t); data.Balance != 90_00-1_23+2_00-3_00 {
		t.Errorf("%d is on the card", data.Balance)
	}
}
