package samgateway_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/relay"
	"github.com/paywordhq/payword/samgateway/softcard"
)

// gatewayConfig makes this binary "samgateway serve" with that file of settings.
const gatewayConfig = "PAYWORD_TEST_GATEWAY"

// TestGatewayProcess is the gateway that TestKilledGateway kills.
func TestGatewayProcess(t *testing.T) {
	if config, found := os.LookupEnv(gatewayConfig); found {
		os.Exit(samgateway.Main(context.Background(), noReaders{}, []string{"serve", "--config", config, "--relay", "127.0.0.1:0", "--merchant-name", "A shop"},
			os.Stdin, os.Stdout, os.Stderr))
	}
}

// start starts the gateway as a process of its own.
func (h *house) start() (s *serving, kill func()) {
	h.t.Helper()
	process := exec.CommandContext(h.t.Context(), os.Args[0], "-test.run=^TestGatewayProcess$")
	process.Env = append(os.Environ(), gatewayConfig+"="+h.config)
	stdout, err := process.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	s = &serving{t: h.t, ports: make(map[string]string), log: &lockedBuffer{}}
	process.Stderr = s.log
	if err := process.Start(); err != nil {
		h.t.Fatal(err)
	}
	if !s.await(stdout) {
		h.t.Fatalf("it does not serve: %v\n%s", process.Wait(), s.log)
	}
	return s, func() {
		_ = process.Process.Kill() // SIGKILL; it may be dead already
		_ = process.Wait()
	}
}

// A gateway that is killed while it funds an account goes on with it when it is
// started again, and the account is credited once.
func TestKilledGateway(t *testing.T) {
	h := newHouse(t)
	sam := filepath.Join(h.folder, "gateway.sam")
	err := softcard.CreateSAM(sam, purse.SAMIssue{Keys: pursetest.Keys(t), KeyVersion: 1, Merchant: merchantID, Unit: testUnit, Limit: 1000_00})
	if err != nil {
		t.Fatal(err)
	}
	h.configure(map[string]any{"samFile": sam, "samReader": ""})
	anna, ben := h.account(1, 100*dollar), h.account(2, 0)
	h.issue(1, anna)
	h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
	places := []struct {
		door   *door
		path   string
		isSeen bool
	}{
		{h.clearingDoor, "/v1/payments", true}, {h.clearingDoor, "/v1/payments", false},
		{h.brokerDoor, "/v1/gateway/fundings", true}, {h.brokerDoor, "/v1/gateway/fundings", false},
	}
	s, kill := h.start()
	for k, place := range places {
		name := fmt.Sprintf("%s, before the work: %t", place.path, place.isSeen)
		place.door.kill(place.path, place.isSeen, kill)
		got := h.atHome(s, relay.Hello{Intent: relay.Fund, Amount: 3 * dollar, Currency: "usd-micro", Account: ben})
		if got.Outcome != relay.Undecided {
			t.Errorf("%s: got %+v, want it undecided", name, got)
		}
		s, kill = h.start() // it decides what is open before it serves
		h.wantAccount(ben, money.Amount(k+1)*3*dollar)
	}
	kill()
	if got := h.balance(); got != 8_00 {
		t.Errorf("there are %d cents on the card", got)
	}
	h.want("nothing is undecided", "status")
	h.want("there is nothing to turn in", "turnin") // that was done whenever it began
	h.wantSound()
}
