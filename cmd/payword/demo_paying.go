package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// articles are the pages that cost something.
var articles = []string{
	"tally-sticks", "penny-post", "telephone-token", "coin-in-the-slot",
	"card-purse", "hash-chain", "tenth-of-a-cent", "without-signing-up",
}

// article returns the URL of a page view. The query makes each view a page of
// its own, since reading the same again within a minute is free.
func (d *demo) article(view int) string {
	return fmt.Sprintf("%s/articles/%s.html?view=%d", d.siteURL, articles[view%len(articles)], view)
}

// get fetches a page whole and returns its status and length.
func get(ctx context.Context, c *http.Client, url string) (status, length int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, 0, err
	}
	response, err := c.Do(request)
	if err != nil {
		return 0, 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, len(body), err
}

func (d *demo) payFirstPage(ctx context.Context) error {
	status, _, err := get(ctx, d.http, d.article(0))
	if err != nil {
		return err
	}
	d.expect(status == http.StatusPaymentRequired, "without a payment the answer is 402")
	began := time.Now()
	status, length, err := get(ctx, d.payer, d.article(0))
	if err != nil {
		return err
	}
	took := time.Since(began)
	d.pages++
	d.expect(status == http.StatusOK && length > 1000, "with one the page comes: %d bytes", length)
	d.say("first page of a site, with 402, certificate, commitment and reservation: %s", took.Round(10*time.Microsecond))
	d.row("first page of a site", "%s, with everything that is needed once", took.Round(10*time.Microsecond))
	if _, _, err := get(ctx, d.payer, d.article(0)); err != nil {
		return err
	}
	return d.expectSpent(ctx, "reading it again was free")
}

func (d *demo) paySequentially(ctx context.Context) error {
	for i := range demoSequential {
		began := time.Now()
		status, _, err := get(ctx, d.payer, d.article(d.pages))
		if err != nil {
			return err
		}
		d.paidTimes = append(d.paidTimes, time.Since(began))
		if status != http.StatusOK {
			d.expect(false, "page %d came: %d", d.pages, status)
		}
		d.pages++
		d.progress(i+1, demoSequential, "pages")
	}
	for range demoSequential {
		began := time.Now()
		if _, _, err := get(ctx, d.http, d.siteURL+"/"); err != nil {
			return err
		}
		d.freeTimes = append(d.freeTimes, time.Since(began))
	}
	paid, free := median(d.paidTimes), median(d.freeTimes)
	d.say("median time of a paid page %s, of a free one %s", paid.Round(time.Microsecond), free.Round(time.Microsecond))
	d.row("one paid request", "%s in the middle; a free page of the same server: %s", paid.Round(time.Microsecond), free.Round(time.Microsecond))
	return d.expectSpent(ctx, "each was charged once")
}

func (d *demo) payInParallel(ctx context.Context) error {
	began := time.Now()
	failed := d.payMany(ctx, d.newViews(demoParallel), nil)
	took := time.Since(began)
	d.expect(len(failed) == 0, "all %d pages came, in %s", demoParallel, took.Round(time.Millisecond))
	d.row("pages thirty at a time", "%d in %s, none refused", demoParallel-len(failed), took.Round(time.Millisecond))
	return d.expectSpent(ctx, "each was charged once, whatever order they arrived in")
}

// newViews returns the numbers of page views that nobody has had yet, and
// counts them as paid for.
func (d *demo) newViews(count int) []int {
	views := make([]int, count)
	for i := range views {
		views[i] = d.pages + i
	}
	d.pages += count
	return views
}

// payMany pays for page views, thirty at a time, and returns those that did not
// come. during is called once, when a third of them have been asked for.
func (d *demo) payMany(ctx context.Context, views []int, during func()) (failed []int) {
	var mu sync.Mutex
	next, done := 0, 0
	take := func() (view, position int, found bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == len(views) {
			return 0, 0, false
		}
		next++
		return views[next-1], next - 1, true
	}
	settle := func(view int, came bool) {
		mu.Lock()
		defer mu.Unlock()
		done++
		if !came {
			failed = append(failed, view)
		}
		d.progress(done, len(views), "pages")
	}
	var group sync.WaitGroup
	for range demoAtOnce {
		group.Go(func() {
			for {
				view, position, found := take()
				if !found {
					return
				}
				if during != nil && position == len(views)/3 {
					during()
				}
				status, _, err := get(ctx, d.payer, d.article(view))
				settle(view, err == nil && status == http.StatusOK)
			}
		})
	}
	group.Wait()
	return failed
}

// expectSpent asks the gate, with a payword that was released before, what was
// spent, and compares it with the pages that came.
func (d *demo) expectSpent(ctx context.Context, text string) error {
	status, err := d.gateStatus(ctx)
	if err != nil {
		return err
	}
	want := money.Amount(d.pages) * demoPrice
	d.expect(status.Spent == want, "%s: %d pages, %s USD spent", text, d.pages, status.Spent.Decimal())
	return nil
}

// gateStatus pays for nothing and reads what the gate says of the commitment.
func (d *demo) gateStatus(ctx context.Context) (payword.Status, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, d.article(0), nil)
	if err != nil {
		return payword.Status{}, err
	}
	response, err := d.payer.Do(request)
	if err != nil {
		return payword.Status{}, err
	}
	response.Body.Close()
	status, refusal := payword.ParseStatus(response.Header.Get(payword.HeaderState))
	if refusal.Refused() || !status.Known {
		return payword.Status{}, fmt.Errorf("the gate does not tell the state: %s", response.Status)
	}
	return status, nil
}

func (d *demo) goOnWithoutBroker(ctx context.Context) error {
	d.broker.stop()
	_, _, err := get(ctx, d.http, d.brokerOrigin+"/healthz")
	d.expect(err != nil, "the broker is away")
	failed := d.payMany(ctx, d.newViews(demoWithout), nil)
	d.expect(len(failed) == 0, "%d more pages came", demoWithout)
	d.row("pages with the broker away", "%d of %d", demoWithout-len(failed), demoWithout)
	return d.expectSpent(ctx, "and were paid for")
}

// killGate kills the gate (SIGKILL) while thirty requests are in flight, starts
// it again, and asks again for what did not come. Some of that was charged
// before the gate died: asking again for it is free.
func (d *demo) killGate(ctx context.Context) error {
	before, err := d.gateStatus(ctx)
	if err != nil {
		return err
	}
	failed := d.payMany(ctx, d.newViews(demoAroundKill), d.gate.kill)
	came := demoAroundKill - len(failed)
	d.expect(len(failed) > 0, "the gate was killed: %d of %d pages came, %d did not", came, demoAroundKill, len(failed))
	began := time.Now()
	if err := d.gate.start(ctx); err != nil {
		return err
	}
	d.say("started again in %s", time.Since(began).Round(time.Millisecond))
	after, err := d.gateStatus(ctx)
	if err != nil {
		return err
	}
	charged := int((after.Spent - before.Spent) / demoPrice)
	d.expect(after.Accepted >= before.Accepted, "what was accepted still is: %s USD before, %s after", before.Accepted.Decimal(), after.Accepted.Decimal())
	d.expect(charged >= came, "every page that came is still paid for: %d came, %d were charged", came, charged)
	still := d.payMany(ctx, failed, nil)
	d.expect(len(still) == 0, "asked again, the other %d came", len(failed))
	d.row("gate killed under load", "%d pages came and %d were charged; the other %d came when asked for again", came, charged, len(failed)-len(still))
	return d.expectSpent(ctx, "and all were charged once")
}

// expectBudget asks for a page that costs more than the wallet may pay.
func (d *demo) expectBudget(ctx context.Context) error {
	careful := &http.Client{Timeout: demoRequestTime, Transport: &client.Transport{
		Wallet: d.wallet, Budget: client.Budget{PerRequest: demoPrice - 1, PerSite: money.Unit, PerDay: money.Unit, Total: money.Unit},
	}}
	_, _, err := get(ctx, careful, d.article(d.pages))
	var over *client.BudgetError
	d.expect(errors.As(err, &over), "a wallet that may pay less refuses by itself: %v", over)
	return nil
}
