package client

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	// DefaultDeposit is the limit of a new commitment unless Transport says
	// otherwise, in micros: 0.50.
	DefaultDeposit = money.Unit / 2
	// commitmentSeconds is how long a commitment lives. What is reserved for it
	// and not redeemed comes back after that and the broker's grace, or when the
	// vendor closes it.
	commitmentSeconds = 24 * 60 * 60
	// certificateMarginSeconds is how long a certificate must still be good for
	// to open a commitment with it.
	certificateMarginSeconds = 10 * 60
	// spareCount is how many certificates are fetched when there is none left.
	spareCount = 4
	// maxOpenedLength is the most steps of a chain that the wallet makes: 2^16,
	// some milliseconds of hashing.
	maxOpenedLength = 1 << 16
	// fewPages is how many pages a commitment is made for when the budget is
	// reserved for other vendors: not one, or each page would ask the broker.
	fewPages = 16
	// openingTimeout bounds one opening, with every question to the broker.
	openingTimeout = 60 * time.Second
)

// opening is a commitment being opened for all requests that wait for it.
type opening struct {
	done chan struct{}
	err  error // set before done is closed
}

// offer is what a vendor asks for, as far as it was checked.
type offer struct {
	origin     string       // that was asked
	vendor     string       // V
	price      money.Amount // what has to be agreed to: of one request, or the ceiling of what is metered
	meter      meter        // zero: the price is known beforehand
	currency   money.Currency
	maxStep    uint32
	unreserved bool
}

// terms are what a new commitment has to keep to.
type terms struct {
	offer     offer
	budget    Budget
	deposit   money.Amount
	forfeited money.Amount // of the budget per request
}

// ensureOpen opens a commitment to the vendor unless one is open. One opening
// at a time is under way for a vendor and serves all who wait; it goes on if
// the one who began it gives up.
func (w *Wallet) ensureOpen(ctx context.Context, t terms) error {
	w.mu.Lock()
	if v := w.doc.Vendors[t.offer.vendor]; v != nil && v.Open.usable(w.now().Unix()) {
		w.mu.Unlock()
		return nil
	}
	current := w.openings[t.offer.vendor]
	if current == nil {
		current = &opening{done: make(chan struct{})}
		w.openings[t.offer.vendor] = current
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openingTimeout)
			defer cancel()
			current.err = w.open(ctx, t)
			w.mu.Lock()
			delete(w.openings, t.offer.vendor)
			w.mu.Unlock()
			tend := w.beginTending(current.err == nil)
			close(current.done)
			tend(ctx)
		}()
	}
	w.mu.Unlock()
	select {
	case <-current.done:
		return current.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// open makes a commitment, saves it, and reserves for it. One that was saved
// before a crash and not reserved is reserved now. If the broker says that the
// certificate was revoked, another one takes its place, once.
func (w *Wallet) open(ctx context.Context, t terms) error {
	broker, _ := w.account()
	if broker == "" {
		return ErrNoAccount
	}
	err := w.openOnce(ctx, t, broker)
	var refusal *BrokerError
	if errors.As(err, &refusal) && refusal.Reason == payword.CertificateRevoked {
		w.mu.Lock()
		if v := w.doc.Vendors[t.offer.vendor]; v != nil {
			v.heldCertificate = heldCertificate{}
			w.retire(v)
		}
		w.mu.Unlock()
		err = w.openOnce(ctx, t, broker)
	}
	return err
}

func (w *Wallet) openOnce(ctx context.Context, t terms, broker string) error {
	c := w.unfinished(t)
	if c == nil {
		limit, err := w.depositFor(t)
		if err != nil {
			return err
		}
		held, err := w.certificateFor(ctx, t.offer.vendor)
		if err != nil {
			return err
		}
		if c, err = w.newCommitment(t, held, limit); err != nil {
			w.giveSpare(t.offer.vendor, held)
			return err
		}
		if err := w.keep(t.offer.vendor, c, held); err != nil {
			return err
		}
	}
	reservation, amount, err := w.reserve(ctx, broker, c.Token, c.terms.Limit, t.offer.price)
	var refusal *BrokerError
	if errors.As(err, &refusal) && refusal.unavailable() && t.offer.unreserved {
		reservation, amount, err = "", c.terms.Limit, nil
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	c.Reservation, c.Cap, c.Unreserved = reservation, amount, reservation == ""
	w.unsaved = true
	w.mu.Unlock()
	return w.save()
}

// unfinished returns the vendor's commitment that was saved and not reserved,
// if it can pay the price, or nil. Whatever else was open is put aside.
func (w *Wallet) unfinished(t terms) *commitment {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.doc.Vendors[t.offer.vendor]
	if v == nil || v.Open == nil {
		return nil
	}
	soon := w.now().Unix() + expiryMarginSeconds
	if v.Open.Reservation == "" && !v.Open.Unreserved && v.Open.terms.Limit >= t.offer.price && soon < v.Open.terms.Expires {
		return v.Open
	}
	w.retire(v)
	return nil
}

// depositFor returns the limit of a new commitment, in micros: the deposit,
// less if the budget has less left or if the vendor has thrown commitments away,
// and a few pages' worth if what others have reserved is all that the budget has,
// but at least the price. It returns a *BudgetError if the price is too much,
// and a *StalledError.
func (w *Wallet) depositFor(t terms) (money.Amount, error) {
	price := max(1, t.offer.price)
	if err := t.budget.checkPrice(price, t.forfeited, t.offer.currency, t.offer.vendor); err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turnDay(dayOf(w.now()))
	v := w.doc.Vendors[t.offer.vendor]
	if v == nil {
		v = &vendor{}
	}
	if err := v.checkServes(price, w.now().Unix(), t.offer.vendor, t.offer.currency); err != nil {
		return 0, err
	}
	used := w.usage(v)
	if err := t.budget.checkRelease(price, used, t.offer.currency, t.offer.vendor); err != nil {
		return 0, err
	}
	left, _ := t.budget.left(used)
	// A vendor that refuses one commitment after another could otherwise tie up
	// the whole balance in reservations.
	deposit := min(t.deposit>>len(v.Old), left)
	// Nor can many vendors together tie up more than may ever be paid, but for
	// a few pages each.
	free := max(0, t.budget.Total-used.total-w.doc.tiedUp(w.now().Unix()))
	deposit = min(deposit, max(free, price.MulCapped(fewPages, left)))
	return max(price, deposit-deposit%price), nil
}

// tiedUp returns what is reserved and not released on commitments that have not
// expired at now, in micros.
func (d *document) tiedUp(now int64) money.Amount {
	sum := money.Amount(0)
	for _, v := range d.Vendors {
		for _, c := range v.commitments() {
			if c.Reservation != "" && now < c.terms.Expires {
				sum = addCapped(sum, c.Cap-c.value())
			}
		}
	}
	return sum
}

// dropOldSpares forgets spares that are about to expire. mu is held.
func (w *Wallet) dropOldSpares() {
	w.doc.Spares = slices.DeleteFunc(w.doc.Spares, func(held heldCertificate) bool { return !w.isGood(held) })
}

// isGood reports whether a certificate can open a commitment.
func (w *Wallet) isGood(held heldCertificate) bool {
	if held.Certificate == "" {
		return false
	}
	certificate, err := payword.UnverifiedCertificate(held.Certificate)
	return err == nil && w.now().Unix()+certificateMarginSeconds < certificate.Expires
}

// units returns the units of a new commitment's chains, in micros: the price,
// 16 and 256 times that, and a finer one for prices between.
func units(price, limit money.Amount) []money.Amount {
	price = max(1, price)
	list := []money.Amount{price}
	fine := money.Amount(1)
	for fine*100 <= price {
		fine *= 10
	}
	if fine < price {
		list = append(list, fine)
	}
	for _, factor := range []money.Amount{16, 256} {
		if unit := price.MulCapped(uint64(factor), money.MaxAmount); unit <= limit {
			list = append(list, unit)
		}
	}
	return list
}

// newCommitment makes and signs a commitment with fresh chains.
func (w *Wallet) newCommitment(t terms, held heldCertificate, limit money.Amount) (*commitment, error) {
	certificate, err := payword.UnverifiedCertificate(held.Certificate)
	if err != nil {
		return nil, fmt.Errorf("opening a commitment: %w", err)
	}
	if t.offer.price > certificate.Limit {
		return nil, &RefusedError{
			Origin: t.offer.origin, Reason: payword.OverCertificateLimit, Price: t.offer.price, Currency: t.offer.currency,
			Detail: fmt.Sprintf("the broker's certificate allows %s for one vendor", certificate.Limit.Decimal()),
		}
	}
	now := w.now().Unix()
	m := payword.Commitment{
		Vendor: t.offer.vendor, Certificate: certificate, IssuedAt: now, Expires: min(now+commitmentSeconds, certificate.Expires),
		Currency: certificate.Currency, Limit: min(limit, certificate.Limit),
	}
	if _, err := rand.Read(m.Nonce[:]); err != nil {
		return nil, fmt.Errorf("opening a commitment: %w", err)
	}
	c := &commitment{Key: held.Key, Cap: m.Limit, NextNumber: 1, MaxStep: t.offer.maxStep}
	for k, unit := range units(t.offer.price, m.Limit) {
		length := uint32(min(m.Limit/unit, maxOpenedLength))
		tip, err := w.seed.Tip(m.Vendor, m.Nonce, k, length)
		if err != nil {
			return nil, err
		}
		chain, err := payword.NewChain(tip, length, 0)
		if err != nil {
			return nil, err
		}
		c.chains = append(c.chains, chain)
		m.Chains = append(m.Chains, payword.ChainTerms{Root: chain.Root(), Unit: unit, Length: length})
	}
	key, err := w.certificateKey(held.Key)
	if err != nil {
		return nil, err
	}
	if c.terms, err = payword.SignCommitment(m, key); err != nil {
		return nil, fmt.Errorf("opening a commitment: %w", err)
	}
	c.Token = c.terms.Token
	c.Released = make([]uint32, len(m.Chains))
	c.Proved = make([]uint32, len(m.Chains))
	c.Surplus = make([]money.Amount, len(m.Chains))
	return c, nil
}

// keep makes a new commitment the vendor's open one and saves it.
func (w *Wallet) keep(origin string, c *commitment, held heldCertificate) error {
	w.mu.Lock()
	v := w.doc.Vendors[origin]
	if v == nil {
		v = &vendor{LastPaid: w.now().Unix()}
		w.doc.forgetOneSite()
		w.doc.Vendors[origin] = v
	}
	v.heldCertificate, v.Open = held, c
	w.unsaved = true
	w.mu.Unlock()
	return w.save()
}

// forgetOneSite makes room for one more vendor, if there are too many: the one
// that was paid longest ago goes, and with it what it counted for a budget per
// site.
func (d *document) forgetOneSite() {
	if len(d.Vendors) < maxSites {
		return
	}
	oldest := ""
	for origin, v := range d.Vendors {
		if oldest == "" || v.LastPaid < d.Vendors[oldest].LastPaid {
			oldest = origin
		}
	}
	delete(d.Vendors, oldest)
}

// origins returns the vendors in order.
func (d *document) origins() []string { return slices.Sorted(maps.Keys(d.Vendors)) }

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }
