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

// What was paid for no account is put on one later, once, while the gateway serves.
func TestFundEarlierPayment(t *testing.T) {
	h := newHouse(t)
	ben, carl := h.account(2, 0), h.account(3, 0)
	h.issue(1, h.account(1, 100*dollar))
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	h.want("Paid 5.00 USD by transaction 1.", "pay", "5.00")
	name := merchantID.String() + "-1"
	h.wantNo(1, "", "fund", ben, "5.00", "--payment", name) // clearing has not booked it
	h.want("Turned in batch 1", "turnin")
	for _, wrong := range []string{"1", name + "x", merchantID.String(), merchantID.String() + "-01", "x-1"} {
		h.wantNo(2, "want the merchant and the transaction", "fund", ben, "5.00", "--payment", wrong)
	}
	s := h.serve()
	for range 2 {
		h.want("Account "+ben+" has 5.00 USD of payment "+name, "fund", ben, "5.00", "--payment", name)
	}
	h.wantNo(1, "", "fund", carl, "5.00", "--payment", name)
	h.wantNo(1, "", "fund", carl, "1.00", "--payment", merchantID.String()+"-2") // there is no such payment, and no money for it
	s.end()
	h.wantAccount(ben, 5*dollar)
	h.wantAccount(carl, 0)
	h.wantSound()
}
