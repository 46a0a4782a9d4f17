//go:build pcsc && cgo

package pcsc_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/pcsctest"
	"github.com/paywordhq/payword/internal/purse/geldkarte"
	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/pcsc"
)

// run is the command samgateway with the readers of this machine.
func run(t *testing.T, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	var output, complaints bytes.Buffer
	code = samgateway.Main(withPatience(t), pcsc.Readers{}, arguments, strings.NewReader(""), &output, &complaints)
	return code, output.String(), complaints.String()
}

// The command readers looks into every reader, so that no other test runs beside.
func TestReadersAndCards(t *testing.T) {
	customer, merchant := pcsctest.New(t)
	ofCustomer, ofMerchant := newChips(t)
	customer.Insert(t, ofCustomer.inserted(pcsctest.Tear{}))
	merchant.Insert(t, ofMerchant.inserted(pcsctest.Tear{}))
	wait(t, find(t, customer), true)
	wait(t, find(t, merchant), true)
	code, stdout, stderr := run(t, "readers")
	for _, want := range []string{
		customer.Name() + ": PWP1 card C100000000000001 with 0.00 USD\n", merchant.Name() + ": SAM of merchant 4D00000000000009\n", ": empty\n",
	} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("readers: got exit code %d, %s%s; want %q", code, stdout, stderr, want)
		}
	}
	pin := filepath.Join(t.TempDir(), "pin")
	for _, c := range []struct {
		pin, want string
		code      int
	}{
		{"2222", "2 tries are left", 1}, {"1111", `"triesLeft": 3`, 0}, {"2222", "2 tries are left", 1}, {"2222", "1 try is left", 1},
		{"2222", "the issuer has to set a new one", 1}, {"1111", "the issuer has to set a new one", 1},
	} {
		if err := os.WriteFile(pin, []byte(c.pin+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := run(t, "card", "show", "--json", "--card-reader", customer.Name(), "--pin-file", pin)
		if code != c.code || !strings.Contains(stdout, c.want) || strings.Contains(stdout+stderr, c.pin) {
			t.Errorf("card show with PIN %s: got exit code %d, %s%s; want %d and %q", c.pin, code, stdout, stderr, c.code, c.want)
		}
	}
	if code, _, stderr := run(t, "card", "show", "--card-reader", merchant.Name()); code != 1 || !strings.Contains(stderr, "no purse card") {
		t.Errorf("card show of a SAM: got exit code %d, %s", code, stderr)
	}
	if code, _, stderr := run(t, "card", "show", "--card-reader", "nowhere"); code != 2 || !strings.Contains(stderr, customer.Name()) {
		t.Errorf("card show at no reader: got exit code %d, %s; want the readers there are", code, stderr)
	}
}

func TestGeldKarteInAReader(t *testing.T) {
	t.Parallel()
	customer, _ := pcsctest.New(t)
	inside, err := geldkarte.NewVirtual(geldkarte.ID{Number: "1234567890", ExpiryYear: 2028, ExpiryMonth: 12}, 4321, nil)
	if err != nil {
		t.Fatal(err)
	}
	customer.Insert(t, (&chip{inside: inside}).inserted(pcsctest.Tear{}))
	wait(t, find(t, customer), true)
	if code, stdout, stderr := run(t, "card", "show", "--log", "--card-reader", customer.Name()); code != 0 || stdout != "GeldKarte card 1234567890\nBalance  43.21 EUR\n" {
		t.Errorf("got exit code %d, %s%s", code, stdout, stderr)
	}
}

// What is watched goes on when the service is started again.
func TestWatchAcrossARestart(t *testing.T) {
	customer, _ := pcsctest.New(t)
	ofCustomer, _ := newChips(t)
	ctx, interrupt := context.WithTimeout(t.Context(), 2*patience)
	defer interrupt()
	lines, stdout := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		ended <- samgateway.Main(ctx, pcsc.Readers{}, []string{"watch", "--json"}, strings.NewReader(""), stdout, &stderr)
		_ = stdout.Close()
	}()
	events := bufio.NewScanner(lines)
	await := func(want, at string) {
		t.Helper()
		for events.Scan() {
			var event struct{ Event, Reader string }
			if err := json.Unmarshal(events.Bytes(), &event); err != nil {
				t.Fatal(err)
			}
			if event.Event == want && event.Reader == at {
				return
			}
		}
		t.Fatalf("no %s at %q came", want, at)
	}
	await("reader", customer.Name())
	customer.Insert(t, ofCustomer.inserted(pcsctest.Tear{}))
	await("card", customer.Name())
	pcsctest.Stop(t)
	await("no service", "")
	pcsctest.Start(t)
	await("card", customer.Name())
	customer.Remove()
	await("removed", customer.Name())
	interrupt()
	for events.Scan() {
	}
	if code := <-ended; code != 0 || stderr.Len() > 0 {
		t.Errorf("got exit code %d, %q", code, stderr.String())
	}
}
