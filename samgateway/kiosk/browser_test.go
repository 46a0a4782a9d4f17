package kiosk_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/browsertest"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/kiosk"
)

// leastBrowserChecks is the least that the browser must have looked at.
const leastBrowserChecks = 200

// TestKioskInABrowser has Chromium be a customer's eyes and fingers: with the
// keyboard alone, in each language, enlarged, dark, and with axe for what a
// machine can tell of accessibility.
func TestKioskInABrowser(t *testing.T) {
	slot, desk := newSlot(), newDesk()
	k, err := kiosk.New(kiosk.Config{Find: slot.find, Desk: desk, Location: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { defer close(ran); k.Run(ctx) }()
	defer func() { stop(); <-ran }()
	page := httptest.NewServer(k)
	defer page.Close()
	control := httptest.NewServer(hand(slot, desk, page))
	defer control.Close()
	browsertest.Run(t, "browser/kiosk.mjs", leastBrowserChecks, map[string]any{
		"origin": page.URL, "control": control.URL, "account": goodAccount,
	})
}

// hand is what the script asks to put cards in and to pull them out.
func hand(slot *slot, desk *fakeDesk, page *httptest.Server) http.Handler {
	var card *fakeCard
	mux := http.NewServeMux()
	do := func(path string, act func()) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, _ *http.Request) { act() })
	}
	fresh := func(change func(*fakeCard)) func() {
		return func() {
			card = newCard()
			card.payments = []kiosk.Payment{
				{Time: noon, Amount: 734, Unit: euro, Merchant: purse.ID{0x4D, 7: 9}},
				{Time: noon.Add(-40 * 24 * time.Hour), Amount: 12000, Unit: euro, Merchant: purse.ID{0x4D, 7: 17}},
			}
			change(card)
			slot.insert(card)
		}
	}
	do("/insert", fresh(func(*fakeCard) {}))
	do("/insert-white", fresh(func(c *fakeCard) { c.purse.HasAccount, c.purse.Tries = false, 0 }))
	do("/insert-foreign", fresh(func(c *fakeCard) { c.read = errForeign }))
	do("/insert-again", func() { slot.insert(card) })
	do("/pull", slot.pull)
	do("/hold", func() { desk.hold, desk.tornDid = make(chan struct{}), true })
	do("/go-on", func() { desk.hold = nil })
	do("/hang-up", page.CloseClientConnections)
	return mux
}
