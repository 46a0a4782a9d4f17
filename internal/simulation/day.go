package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/money"
)

// What a user does in a day. Three sites are visited, each by a commitment of
// its own; half of them turn out to need more than was reserved at first. The
// gates of the sites claim once while it is spent and once at the end.
const (
	visitsPerUser       = 3
	certificatesPerUser = 4 // asked for at once: for those visits, and a spare

	chainLength = 100
	firstSpent  = 30 // units, of one cent
	lastSpent   = 60
	firstAmount = 40 * unit
	raised      = 80 * unit

	// claimsPerBatch is what a gate has gathered when it claims: with 10,000
	// vendors and a claim each hour, 25 on average.
	claimsPerBatch = 25

	// zipfExponent says how uneven vendors are: the most visited of 10,000 gets
	// about a tenth.
	zipfExponent = 1.1
)

// day is the part of a day that is done.
type day struct {
	settings settings
	brokers  []*broker.Broker
	servers  []*http.Server
	urls     []string
	client   *http.Client
	turn     atomic.Int64 // which broker is asked next

	counts   measurements
	queues   []queue // of each vendor
	took     time.Duration
	checking time.Duration
	refused  atomic.Int64
}

// queue holds what a vendor has not yet claimed.
type queue struct {
	mutex  sync.Mutex
	claims []payword.Redemption
}

func newBroker(ctx context.Context, s settings) (*broker.Broker, error) {
	return broker.New(ctx, broker.Config{
		Issuer: issuer, Currency: currency, Database: s.database, Signer: keyOf("broker", 0),
		CertificateLimit: 100 * money.Unit,
	})
}

func newDay(ctx context.Context, s settings) (*day, error) {
	d := &day{settings: s, queues: make([]queue, s.vendors), client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: s.concurrency, MaxConnsPerHost: s.concurrency},
	}}
	for range s.brokers {
		b, err := newBroker(ctx, s)
		if err != nil {
			return nil, errors.Join(err, d.close())
		}
		d.brokers = append(d.brokers, b)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, d.close())
		}
		server := &http.Server{Handler: b.Handler(), ReadHeaderTimeout: time.Minute}
		d.servers = append(d.servers, server)
		d.urls = append(d.urls, "http://"+listener.Addr().String())
		go func() { _ = server.Serve(listener) }() // it ends by Close, with an error that says so
	}
	return d, nil
}

func (d *day) close() (err error) {
	d.client.CloseIdleConnections()
	for _, server := range d.servers {
		err = errors.Join(err, server.Close())
	}
	for _, b := range d.brokers {
		err = errors.Join(err, b.Close())
	}
	d.servers, d.brokers = nil, nil
	return err
}

// live lets a part of the users have their day, some at once.
func (d *day) live(ctx context.Context) error {
	count := max(1, int(float64(d.settings.users)*d.settings.part))
	order := mathrand.New(mathrand.NewPCG(d.settings.seed, 0)).Perm(d.settings.users)[:count]
	began := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(d.settings.concurrency)
	for _, number := range order {
		group.Go(func() error { return d.liveOne(groupCtx, number) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	err := d.redeemRest(ctx)
	d.took = time.Since(began)
	return err
}

// liveOne is the day of one user.
func (d *day) liveOne(ctx context.Context, number int) error {
	random := mathrand.New(mathrand.NewPCG(d.settings.seed, uint64(number)+1))
	zipf := mathrand.NewZipf(random, zipfExponent, 1, uint64(d.settings.vendors-1))
	key := keyOf("user", number)
	if err := d.call(ctx, "account", key, http.MethodGet, payword.PathAccount, nil, new(payword.Account)); err != nil {
		return err
	}
	certified, err := d.certify(ctx, key)
	if err != nil {
		return err
	}
	for visit := range visitsPerUser {
		if err := d.visit(ctx, key, certified[visit], int(zipf.Uint64()), random.IntN(2) == 0); err != nil {
			return fmt.Errorf("user %d, visit %d: %w", number, visit, err)
		}
	}
	return nil
}

// call asks one of the brokers and measures how long it takes.
func (d *day) call(ctx context.Context, what string, key signer, method, path string, body, answer any) error {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return err
		}
	}
	url := d.urls[int(d.turn.Add(1))%len(d.urls)]
	request, err := signedRequest(ctx, key, method, url, path, content)
	if err != nil {
		return err
	}
	began := time.Now()
	response, err := d.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var problem struct{ Reason, Detail string }
		_ = json.NewDecoder(response.Body).Decode(&problem) // the status says enough
		return fmt.Errorf("%s: %s %s %s", what, response.Status, problem.Reason, problem.Detail)
	}
	err = json.NewDecoder(response.Body).Decode(answer)
	d.counts.add(what, time.Since(began))
	return err
}

func newNonce() (nonce payword.Nonce) {
	_, _ = rand.Read(nonce[:]) // never fails
	return nonce
}
