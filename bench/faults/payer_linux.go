package faults

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	payers = 6 // with a commitment each
	lanes  = 4 // requests of one payer at once

	// words is how long a chain is: more than one lane of a fast gate pays for.
	words = 1 << 16

	// patience is how long a payer asks for the same again. No fault lasts as long.
	patience = 30 * time.Second
)

// crowd is all who pay at one stage, and what they saw.
type crowd struct {
	stage  *stage
	http   *http.Client
	payers []*payer
	buyers []*buyer
	group  sync.WaitGroup

	mutex       sync.Mutex
	result      Result // guarded by mutex
	interrupted atomic.Int64
	failed      error // guarded by mutex: to begin
}

// startPaying has everybody pay until paying ends; ctx ends what is under way then.
func (st *stage) startPaying(ctx, paying context.Context) *crowd {
	c := &crowd{stage: st, result: Result{Reasons: map[string]int{}}, http: &http.Client{
		Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: payers * lanes},
	}}
	for k := range payers {
		p, err := newPayer(st.vendor, k)
		if err != nil {
			c.fail(err)
			return c
		}
		c.payers = append(c.payers, p)
		for range lanes {
			c.group.Go(func() {
				for paying.Err() == nil && ctx.Err() == nil && c.payOnce(ctx, p) {
				}
			})
		}
	}
	for k := range wallets {
		b, err := st.newBuyer(ctx, k)
		if err != nil {
			c.fail(err)
			return c
		}
		c.buyers = append(c.buyers, b)
		for lane := range lanes {
			c.group.Go(func() { c.buy(ctx, paying, b, lane) })
		}
	}
	return c
}

func (c *crowd) fail(err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.failed = errors.Join(c.failed, err)
}

// wait waits until all have their last answer.
func (c *crowd) wait() Result {
	c.group.Wait()
	for _, b := range c.buyers {
		b.close()
	}
	c.http.CloseIdleConnections()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.result.Interrupted = int(c.interrupted.Load())
	return c.result
}

// served counts a page that was paid for.
func (c *crowd) served() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.result.Paid++
}

// refused counts a payment that was refused for good.
func (c *crowd) refused(reason string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.result.Refused++
	c.result.Reasons[reason]++
}

// released is what the paywords are worth that all have sent.
func (c *crowd) released() (sum money.Amount) {
	for _, p := range c.payers {
		sum += money.Amount(min(p.next.Load(), words)) * price
	}
	for _, b := range c.buyers {
		sum += b.released()
	}
	return sum
}

// payer has one commitment and pays for each page with the next word of its chain,
// whose index is the number of the request, too.
type payer struct {
	commitment  payword.Commitment
	reservation payword.Reservation
	words       []payword.Payword
	next        atomic.Uint64
}

func seedOf(name string) []byte {
	sum := sha256.Sum256([]byte("payword faults " + name))
	return sum[:]
}

// issuer signs for the payers that are no wallets. It exists in no other place.
const issuer = "https://broker.example"

var issuing = ed25519.NewKeyFromSeed(seedOf("broker"))

func newPayer(vendor string, k int) (*payer, error) {
	name, now := fmt.Sprintf("payer %d of %s", k, vendor), time.Now().Unix()
	p := &payer{words: make([]payword.Payword, words+1)}
	p.words[words] = payword.Payword(seedOf(name))
	for i := words; i > 0; i-- {
		p.words[i-1] = p.words[i].Walk(1)
	}
	user, limit := ed25519.NewKeyFromSeed(seedOf("key of "+name)), words*price
	certificate, err := payword.SignCertificate(payword.Certificate{
		Issuer: issuer, Subject: fmt.Sprint("user-", k), Key: user.Public().(ed25519.PublicKey),
		IssuedAt: now - 60, Expires: now + 86400, Currency: "usd-micro", Limit: limit,
	}, issuing)
	if err != nil {
		return nil, err
	}
	p.commitment, err = payword.SignCommitment(payword.Commitment{
		Vendor: vendor, Certificate: certificate, IssuedAt: now - 30, Expires: now + 43200,
		Nonce: payword.Nonce(seedOf("nonce of " + name)[:payword.NonceBytes]), Currency: "usd-micro", Limit: limit,
		Chains: []payword.ChainTerms{{Root: p.words[0], Unit: price, Length: words}},
	}, user)
	if err != nil {
		return nil, err
	}
	p.reservation, err = payword.SignReservation(payword.Reservation{
		Issuer: issuer, Commitment: p.commitment.ID, Amount: limit, Currency: "usd-micro",
		Sequence: 1, IssuedAt: now - 20, RedeemBy: p.commitment.Expires + 3600,
	}, issuing)
	return p, err
}

// payOnce pays for one page, and asks again until it is served or refused. It
// reports whether the payer goes on.
func (c *crowd) payOnce(ctx context.Context, p *payer) (goesOn bool) {
	number := p.next.Add(1)
	if number > words {
		return false
	}
	opens := number == 1
	deadline := time.Now().Add(patience)
	for {
		answer, err := c.ask(ctx, p, number, fmt.Sprintf("/page/%d", number), opens)
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil && answer.status == http.StatusOK && answer.body == fmt.Sprintf("content of /page/%d", number):
			c.served()
			return true
		case err == nil && answer.reason == payword.UnknownCommitment && !opens:
			opens = true
			continue
		case err == nil && answer.status < 500:
			c.refused(fmt.Sprintf("%d %s", answer.status, answer.reason))
			return true
		case time.Now().After(deadline):
			c.refused("no answer")
			return false
		}
		c.interrupted.Add(1)
		pause(ctx, 5*time.Millisecond+rand.N(20*time.Millisecond))
	}
}

// answer is what a gate said.
type answer struct {
	status int
	reason payword.Reason
	body   string
}

// ask sends one request that pays, to any of the gates.
func (c *crowd) ask(ctx context.Context, p *payer, number uint64, path string, opens bool) (answer, error) {
	g := c.stage.gates[rand.IntN(len(c.stage.gates))]
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.address+path, nil)
	if err != nil {
		return answer{}, err
	}
	request.Host = strings.TrimPrefix(c.stage.vendor, "http://")
	request.Header.Set(payword.HeaderPayword, payword.FormatPayment(payword.Payment{
		Commitment: p.commitment.ID, Index: uint32(number), Payword: p.words[number], Number: number, Max: price,
	}))
	if opens {
		request.Header.Set(payword.HeaderCommitment, p.commitment.Token)
		request.Header.Set(payword.HeaderReservation, p.reservation.Token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	status, _ := payword.ParseStatus(response.Header.Get(payword.HeaderState))
	return answer{response.StatusCode, status.Reason, string(body)}, err
}

// sellTwice asks for another page under numbers that have bought one: no gate may
// serve it.
func (c *crowd) sellTwice(ctx context.Context) error {
	for _, p := range c.payers {
		for range 10 {
			number := 1 + rand.Uint64N(min(p.next.Load(), words))
			answer, err := c.ask(ctx, p, number, "/elsewhere", true)
			switch {
			case err != nil:
				return err
			case answer.status != http.StatusPaymentRequired:
				return fmt.Errorf("%w: number %d, used for another page, was answered with %d", ErrUnsound, number, answer.status)
			}
		}
	}
	return nil
}
