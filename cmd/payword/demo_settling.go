package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
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

// nameDestination has the site say where it is paid to, with its gate's key.
// That counts after a while, in which an owner who has lost the key could object.
func (d *demo) nameDestination(ctx context.Context) error {
	seed, err := os.ReadFile(filepath.Join(d.path("gate"), "vendor-key"))
	if err != nil {
		return err
	}
	const destination = "ach:231380104/1234567890/checking" // of no real account
	body, err := json.Marshal(map[string]string{"vendor": d.siteURL, "destination": destination})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, d.brokerOrigin+"/v1/vendor/payout-destination", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	var nonce payword.Nonce
	rand.Read(nonce[:])
	if err := payword.SignRequest(request, body, ed25519.NewKeyFromSeed(seed), nonce, time.Now().Unix()); err != nil {
		return err
	}
	var asked struct {
		Destination, NextDestination string
		NextFrom                     int64
	}
	if err := d.ask(request, &asked); err != nil {
		return err
	}
	d.expect(asked.Destination == "" && asked.NextDestination == destination, "%s counts in %s, and not at once", destination, demoDestinationDelay)
	timer := time.NewTimer(time.Until(time.Unix(asked.NextFrom, 0)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	// A broker looks once a minute, and when it starts.
	d.broker.stop()
	return d.broker.start(ctx)
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
