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
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/money"
)

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
	const destination = "ref:demo-site"
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

// settle plans the day's settlement, runs that plan twice, and checks the books.
func (d *demo) settle(ctx context.Context) error {
	files := d.path("settlement")
	if err := os.Mkdir(files, 0o700); err != nil {
		return err
	}
	hash, err := d.plan(ctx)
	if err != nil {
		return err
	}
	arguments := []string{"run", "--db", d.path("broker.db"), "--out", files, "--plan", hash}
	var before map[string]string
	for range 2 {
		var stdout, stderr bytes.Buffer
		if status := clearing.Main(ctx, arguments, &stdout, &stderr); status != 0 {
			return fmt.Errorf("clearing ended with status %d: %s", status, stderr.String())
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
	for name, content := range before {
		if strings.HasPrefix(name, "statement") && strings.HasSuffix(name, ".txt") {
			for _, line := range strings.Split(strings.TrimRight(content, "\n"), "\n") {
				d.say("│ %s", line)
			}
		}
	}
	var stdout, stderr bytes.Buffer
	status := clearing.Main(ctx, []string{"check", "--db", d.path("broker.db")}, &stdout, &stderr)
	d.expect(status == 0, "every balance follows from the transfers, and they sum to zero")
	stdout.Reset()
	status = broker.Main(ctx, []string{"check", "--db", d.path("broker.db")}, nil, &stdout, &stderr)
	d.expect(status == 0, "what is reserved and redeemed agrees with the signed evidence")
	d.row("settled", "fee, payout and remainder in %d files; the books sum to zero", len(before))
	return nil
}

// plan freezes what is to be paid, and returns the hash of it.
func (d *demo) plan(ctx context.Context) (hash string, err error) {
	var stdout, stderr bytes.Buffer
	if status := clearing.Main(ctx, []string{"plan", "--db", d.path("broker.db"), "--run", "demo-1", "--json"}, &stdout, &stderr); status != 0 {
		return "", fmt.Errorf("planning the settlement ended with status %d: %s", status, stderr.String())
	}
	var plan struct {
		PlanHash string
		Totals   struct{ Payments int }
	}
	if err := json.Unmarshal(stdout.Bytes(), &plan); err != nil {
		return "", err
	}
	d.expect(plan.Totals.Payments == 1, "the plan pays the site, and is frozen under the hash %.12s…", plan.PlanHash)
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
