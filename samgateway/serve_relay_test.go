package samgateway_test

import (
	"strings"
	"testing"

	"github.com/paywordhq/payword/samgateway/relay"
)

// Somebody elsewhere hears that it cannot be done, and not which machines of this
// house did not answer; the log has that.
func TestReadersAtHomeLearnNothingOfTheHouse(t *testing.T) {
	h := newHouse(t)
	h.issue(1, h.account(1, 100*dollar))
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	s := h.serve()
	h.clearingDoor.isShut.Store(true)
	h.brokerDoor.isShut.Store(true)
	for _, hello := range []relay.Hello{
		{Intent: relay.Fund, Amount: dollar, Currency: "usd-micro", Account: "anna"},
		{Intent: relay.Unload, Amount: 20 * dollar, Currency: "usd-micro"},
		{Intent: relay.Load, Amount: dollar, Currency: "usd-micro"},
	} {
		got := h.atHome(s, hello)
		if got.Outcome == relay.Done || !strings.Contains(got.Sentence, "try again later") && hello.Intent != relay.Load {
			t.Errorf("%s: got %+v", hello.Intent, got)
		}
		for _, inner := range []string{"127.0.0.1", "http", "/v1/", "dial"} {
			if strings.Contains(got.Sentence, inner) {
				t.Errorf("%s: the holder is told %q", hello.Intent, got.Sentence)
			}
		}
	}
	s.end()
	if !strings.Contains(s.log.String(), "a reader at home was not served") {
		t.Errorf("the log does not say why: %s", s.log)
	}
}
