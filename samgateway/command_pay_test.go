package samgateway_test

import (
	"strings"
	"testing"
)

// Whoever takes a payment where accounts are funded, too, is told that it names
// none.
func TestPayNamesNoAccount(t *testing.T) {
	h := newHouse(t)
	h.issue(1, h.account(1, 100*dollar))
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	for _, c := range []struct {
		broker string
		isTold bool
	}{{h.brokerDoor.URL, true}, {"", false}} {
		h.configure(map[string]any{"broker": c.broker})
		got := h.say("pay", "1.00")
		if got.code != 0 || strings.Contains(got.stderr, "This names no account") != c.isTold {
			t.Errorf("with the broker %q: got %+v", c.broker, got)
		}
	}
}
