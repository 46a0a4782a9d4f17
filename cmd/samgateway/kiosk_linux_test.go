//go:build pcsc && cgo

package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/paywordhq/payword/internal/browsertest"
	"github.com/paywordhq/payword/internal/pcsctest"
	"github.com/paywordhq/payword/internal/purse"
)

// leastKioskChecks is the least that the browser must have looked at.
const leastKioskChecks = 12

// A customer at the kiosk: Chromium shows the page of "samgateway serve", and the
// card is in a reader of a real pcscd, from which it is pulled while it is loaded.
func TestKioskWithARealReader(t *testing.T) {
	s := newSecretShop(t)
	s.open()
	customer, merchant := pcsctest.New(t)
	card, sam := newChip(t, s.path("card")), newChip(t, s.path("sam"))
	merchant.Insert(t, sam.inserted(0))
	awaitCards(t, merchant)
	address := s.address()
	s.serve("http://"+address+"/", "samgateway", "serve", "--kiosk", address, "--card-reader", customer.Name(), "--sam-reader", merchant.Name(),
		"--journal", s.path("till.journal"), "--currency", "USD", "--clearing", s.clearing, "--broker", s.broker, "--key", s.path("gateway.key"),
		"--load-terminal", "4C00000000000001")
	hands := http.NewServeMux()
	hands.HandleFunc("POST /insert", func(http.ResponseWriter, *http.Request) {
		inserted := card.inserted(purse.Credit)
		inserted.Tear.At = 2 // the second load
		customer.Insert(t, inserted)
	})
	hands.HandleFunc("POST /insert-again", func(http.ResponseWriter, *http.Request) { customer.Replace(t, card.inserted(0)) })
	hands.HandleFunc("POST /pull", func(http.ResponseWriter, *http.Request) { customer.Remove() })
	control := httptest.NewServer(hands)
	defer control.Close()
	browsertest.Run(t, "browser/kiosk.mjs", leastKioskChecks, map[string]any{
		"origin": "http://" + address, "control": control.URL, "account": s.account, "pin": secretPIN, "wrongPIN": wrongPIN,
	})
	if names := s.secrets.found([]byte(s.text())); len(names) > 0 {
		t.Errorf("what was printed has %q in it", names)
	}
}
