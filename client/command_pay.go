package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"

	"github.com/paywordhq/payword/money"
)

// The limits of pay unless its flags say otherwise, in micros.
const (
	defaultMax    = money.Unit / 100
	defaultBudget = money.Unit
)

// payment is what pay tells of a page, as JSON.
type payment struct {
	URL      string         `json:"url"`
	Status   int            `json:"status"`
	Paid     money.Amount   `json:"paid"` // in micros, with every redirect on the way
	Currency money.Currency `json:"currency,omitempty"`
	Receipts []Receipt      `json:"receipts"`
}

func (c *command) pay(ctx context.Context, arguments []string) error {
	budget := Budget{PerRequest: defaultMax, PerSite: NoLimit, PerDay: NoLimit, Total: defaultBudget}
	deposit := DefaultDeposit
	c.flags.Var(limitFlag{&budget.PerRequest}, "max", "")
	c.flags.Var(limitFlag{&budget.Total}, "budget", "")
	c.flags.Var(limitFlag{&budget.PerSite}, "per-site", "")
	c.flags.Var(limitFlag{&budget.PerDay}, "per-day", "")
	c.flags.Var(limitFlag{&deposit}, "deposit", "")
	output := c.flags.String("o", "", "")
	others, err := c.parse(arguments, "a URL")
	if err != nil {
		return err
	}
	link, err := url.Parse(others[0])
	if err != nil || link.Host == "" || link.Scheme != "https" && link.Scheme != "http" {
		return usageError{fmt.Sprintf("%.80q: want a URL that begins with https://", others[0])}
	}
	return c.withWallet(func(wallet *Wallet) error {
		transport := &Transport{Wallet: wallet, Budget: budget, Deposit: deposit}
		return c.fetch(ctx, transport, link, *output)
	})
}

// fetch gets a page, writes it, and tells what it cost.
func (c *command) fetch(ctx context.Context, transport *Transport, link *url.URL, output string) error {
	var mu sync.Mutex
	report := payment{URL: receiptURL(link), Receipts: []Receipt{}}
	transport.Paid = func(r Receipt) {
		mu.Lock()
		defer mu.Unlock()
		report.Receipts = append(report.Receipts, r)
		report.Paid, report.Currency = addCapped(report.Paid, r.Amount)-min(r.Returned, report.Paid), r.Currency
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, link.String(), nil)
	if err != nil {
		return usageError{err.Error()}
	}
	request.Header.Set("User-Agent", "payword")
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	report.Status = answer.StatusCode
	err = c.writePage(answer.Body, output)
	mu.Lock()
	defer mu.Unlock()
	c.tellPayment(report)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("the answer is %s", answer.Status)
	}
	return err
}

// writePage copies a page to standard output or to a file.
func (c *command) writePage(content io.Reader, output string) error {
	to, closed := c.stdout, func() error { return nil }
	if output != "" {
		file, err := os.Create(output)
		if err != nil {
			return err
		}
		to, closed = file, file.Close
	}
	_, err := io.Copy(to, content)
	return errors.Join(err, closed())
}

func (c *command) tellPayment(report payment) {
	if c.asJSON {
		// Standard error is all there is to complain to.
		_ = json.NewEncoder(c.stderr).Encode(report)
		return
	}
	switch {
	case len(report.Receipts) > 0:
	case report.Status/100 == 2:
		fmt.Fprintln(c.stderr, "Paid nothing: the page is free.")
	default:
		fmt.Fprintln(c.stderr, "Paid nothing.")
	}
	// A stream is paid piece by piece: one line says what a vendor got in all.
	var vendors []string
	paid := make(map[string]money.Amount)
	for _, receipt := range report.Receipts {
		if _, seen := paid[receipt.Vendor]; !seen {
			vendors = append(vendors, receipt.Vendor)
		}
		paid[receipt.Vendor] = addCapped(paid[receipt.Vendor], receipt.Amount) - min(receipt.Returned, paid[receipt.Vendor])
	}
	for _, vendor := range vendors {
		if paid[vendor] == 0 {
			fmt.Fprintf(c.stderr, "Paid nothing to %s: the page is free, or was paid for before.\n", vendor)
			continue
		}
		fmt.Fprintf(c.stderr, "Paid %s %s to %s.\n", paid[vendor].Decimal(), report.Currency.Code(), vendor)
	}
}
