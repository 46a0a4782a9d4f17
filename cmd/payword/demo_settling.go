package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/money"
)

// demoRun is the id of the demo's settlement run.
const demoRun = "demo-1"

// redeem has the gate claim from the broker what was spent, twice: the second
// time nothing is due.
func (d *demo) redeem(ctx context.Context) error {
	want := money.Amount(d.pages) * demoPrice
	for round, due := range []money.Amount{want, 0} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.adminURL+"/payword/redeem", nil)
		if err != nil {
			return err
		}
		var done struct {
			Claims, Paid, Refused int
			Due                   money.Amount
		}
		if err := d.ask(request, &done); err != nil {
			return err
		}
		if round == 0 {
			d.expect(done.Due == due && done.Refused == 0, "%d claims, %s USD payable to the site: every page, none twice", done.Claims, done.Due.Decimal())
			d.row("redeemed", "%s USD for %d pages, on %d commitments", done.Due.Decimal(), d.pages, done.Claims)
		} else {
			d.expect(done.Due == due, "claiming again: nothing more is due")
		}
	}
	return nil
}

// demoDestinationTime is how long a broker that was started may take to look
// whose destination counts now.
const demoDestinationTime = 20 * time.Second

// nameDestination has the site say where it is paid to, with its gate's key.
// That counts after a while, in which an owner who has lost the key could object.
func (d *demo) nameDestination(ctx context.Context) error {
	const destination = "ach:231380104/1234567890/checking" // of no real account
	body, err := json.Marshal(map[string]string{"vendor": d.siteURL, "destination": destination})
	if err != nil {
		return err
	}
	asked, err := d.askAsVendor(ctx, http.MethodPut, "/v1/vendor/payout-destination", body)
	if err != nil {
		return err
	}
	d.expect(asked.Destination == "" && asked.NextDestination == destination, "%s counts in %s, and not at once", destination, demoDestinationDelay)
	if err := pause(ctx, time.Until(time.Unix(asked.NextFrom, 0))); err != nil {
		return err
	}
	// A broker looks once a minute, and when it starts, which it does beside the
	// first requests.
	d.broker.stop()
	if err := d.broker.start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, demoDestinationTime)
	defer cancel()
	for asked.Destination != destination {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
		if asked, err = d.askAsVendor(ctx, http.MethodGet, "/v1/vendor?vendor="+url.QueryEscape(d.siteURL), nil); err != nil {
			return err
		}
	}
	return nil
}

// vendorDetails is what a broker says of a vendor's destination.
type vendorDetails struct {
	Destination, NextDestination string
	NextFrom                     int64 // seconds since 1970
}

// askAsVendor asks the broker, signed with the gate's key.
func (d *demo) askAsVendor(ctx context.Context, method, path string, body []byte) (answer vendorDetails, err error) {
	seed, err := os.ReadFile(filepath.Join(d.path("gate"), "vendor-key"))
	if err != nil {
		return answer, err
	}
	request, err := http.NewRequestWithContext(ctx, method, d.brokerOrigin+path, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	var nonce payword.Nonce
	rand.Read(nonce[:])
	if err := payword.SignRequest(request, body, ed25519.NewKeyFromSeed(seed), nonce, time.Now().Unix()); err != nil {
		return answer, err
	}
	err = d.ask(request, &answer)
	return answer, err
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// demoPolicy is what the demo's operator has decided: a fee, and a bank in America
// that takes files.
const demoPolicy = `{"name":"Demo Broker","nacha":{"destination":"231380104","destinationName":"Demo Bank","origin":"121042882","companyId":"121042882"}}`

// settle plans the day's settlement, runs that plan twice, and checks the books.
func (d *demo) settle(ctx context.Context) error {
	files := d.path("settlement")
	if err := os.Mkdir(files, 0o700); err != nil {
		return err
	}
	if _, err := d.clearing(ctx, "key", "new", "--key", d.path("clearing.key")); err != nil {
		return err
	}
	hash, err := d.plan(ctx)
	if err != nil {
		return err
	}
	var before map[string]string
	for range 2 {
		if _, err := d.clearing(ctx, "run", "--db", d.path("broker.db"), "--out", files, "--plan", hash, "--key", d.path("clearing.key")); err != nil {
			return err
		}
		after, err := readFiles(files)
		if err != nil {
			return err
		}
		if before != nil {
			d.expect(len(after) > 0 && equalFiles(before, after), "running it again pays nobody again and writes the same files")
		}
		before = after
	}
	for _, line := range strings.Split(strings.TrimRight(before["statement-"+demoRun+".txt"], "\n"), "\n") {
		d.say("│ %s", line)
	}
	d.expect(strings.HasPrefix(before["ach-"+demoRun+".txt"], "101 "), "the payment is in a file that the bank takes")
	d.row("settled", "fee, payout and remainder in %d files; the same to the byte when made again", len(before))
	return nil
}

// clearing runs "payword clearing" and returns what it printed.
func (d *demo) clearing(ctx context.Context, arguments ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	if status := clearing.Main(ctx, arguments, &stdout, &stderr); status != 0 {
		return "", fmt.Errorf("payword clearing %s ended with status %d: %s%s", arguments[0], status, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// plan freezes what is to be paid, and returns the hash of it.
func (d *demo) plan(ctx context.Context) (hash string, err error) {
	if err := os.WriteFile(d.path("policy.json"), []byte(demoPolicy), 0o600); err != nil {
		return "", err
	}
	planned, err := d.clearing(ctx, "plan", "--db", d.path("broker.db"), "--config", d.path("policy.json"), "--run", demoRun, "--json")
	if err != nil {
		return "", err
	}
	var plan struct {
		PlanHash string
		Totals   struct{ Payments int }
	}
	if err := json.Unmarshal([]byte(planned), &plan); err != nil {
		return "", err
	}
	d.expect(plan.Totals.Payments == 2, "the plan pays the site and the till that took the card, and is frozen under the hash %.12s…", plan.PlanHash)
	return plan.PlanHash, nil
}

func readFiles(directory string) (map[string]string, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	files := make(map[string]string)
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(directory, entry.Name()))
		if err != nil {
			return nil, err
		}
		files[entry.Name()] = string(content)
	}
	return files, nil
}

func equalFiles(one, other map[string]string) bool {
	if len(one) != len(other) {
		return false
	}
	for name, content := range one {
		if other[name] != content {
			return false
		}
	}
	return true
}
