package broker_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// numbers are different for each commitment of commitWith.
var numbers atomic.Int64

func contextThatEnds(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	return ctx, stop
}

// together runs count calls at once and waits for them.
func together(count int, call func(k int)) {
	var group sync.WaitGroup
	begin := make(chan struct{})
	for k := range count {
		group.Go(func() {
			<-begin
			call(k)
		})
	}
	close(begin)
	group.Wait()
}

// Thirty reservations at once never take more than the balance.
func TestConcurrentReservations(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	purses := make([]*purse, 30)
	for k := range purses {
		purses[k] = u.commit(s.origin, 7*cent)
	}
	answers := make([]answer, len(purses))
	together(len(purses), func(k int) { answers[k] = purses[k].reserve(7 * cent) })
	granted := 0
	for _, a := range answers {
		if a.status == http.StatusOK {
			granted++
		} else {
			want(t, a, http.StatusConflict, payword.InsufficientFunds)
		}
	}
	if granted != 14 {
		t.Errorf("%d reservations of 0.07 were granted out of 1.00, want 14", granted)
	}
	u.wantBalance(2*cent, 98*cent)
	b.wantSound()
}

// The same commitment reserved by many at once is reserved once; the highest
// amount stays.
func TestConcurrentTopUps(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 50*cent)
	together(30, func(k int) {
		if a := p.reserve(money.Amount(k+1) * cent); a.status != http.StatusOK {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
	if r := p.mustReserve(cent); r.Amount != 30*cent {
		t.Errorf("got %s reserved, want 0.30", r.Amount.Decimal())
	}
	u.wantBalance(70*cent, 30*cent)
	b.wantSound()
}

// The same batch sent by many nodes at once is paid once.
func TestConcurrentRedemptions(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(1000*cent), b.newShop()
	var claims []payword.Redemption
	for k := range 12 {
		p := u.commit(s.origin, 10*cent)
		if k%2 == 0 {
			p.mustReserve(10 * cent)
		}
		claims = append(claims, s.claim(p, 10, 3*cent), s.claim(p, 10, 5*cent))
	}
	var due atomic.Int64
	together(8, func(k int) {
		mine := slices.Clone(claims)
		if k%2 == 1 {
			slices.Reverse(mine)
		}
		for _, result := range s.send(mine...) {
			if result.Reason != payword.Accepted || result.Paid < 3*cent {
				t.Errorf("got %+v", result)
			}
			due.Add(int64(result.Due))
		}
	})
	if got := money.Amount(due.Load()); got != 60*cent {
		t.Errorf("%s were paid in all, want 0.60", got.Decimal())
	}
	s.wantPayable(60 * cent)
	b.wantSound()
}

// A nonce is taken once, however many send it at once.
func TestConcurrentNonces(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	request := b.signed(u.key, "GET", payword.PathAccount, nil)
	var granted atomic.Int64
	together(20, func(int) {
		if b.do(request.Clone(t.Context())).status == http.StatusOK {
			granted.Add(1)
		}
	})
	if granted.Load() != 1 {
		t.Errorf("a request that was sent 20 times at once was answered %d times", granted.Load())
	}
}

// errDisk stands for a database that fails.
var errDisk = errors.New("the secret path /dev/disk is on fire")

// A commit that fails has done nothing, one whose answer is lost has done all;
// asking again makes both right, and the client learns nothing of the inside.
func TestFaults(t *testing.T) {
	for _, point := range []string{
		"before open account", "after open account", "before certify", "after certify", "before reserve", "after reserve",
		"before register vendor", "after register vendor", "before redeem", "after redeem", "before fund", "after fund",
		"before release", "after release", "before forget", "after forget",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			b := newBank(t)
			b.config.ReleaseInterval = time.Millisecond
			b.open()
			ctx, stop := contextThatEnds(t)
			failed, rounds := 0, 0
			b.SetFault(func(at string) error {
				if at == "before forget" {
					if rounds++; rounds == 2 {
						stop()
					}
				}
				if at == point && failed == 0 {
					failed++
					return errDisk
				}
				return nil
			})
			wholeStory(b)
			if err := b.Run(ctx); err != nil {
				t.Error(err)
			}
			if failed != 1 {
				t.Fatalf("%s was never reached", point)
			}
			b.wantSound()
		})
	}
}

// wholeStory does everything once, asks again what was answered with 503, and
// checks what must be there in the end.
func wholeStory(b *bank) {
	b.t.Helper()
	u := &user{bank: b, key: newKey()}
	var account payword.Account
	again(b, u.openAccount).intoAny(b.t, &account)
	u.account = account.Account
	again(b, func() answer {
		return b.admin("POST", "/v1/admin/fundings",
			map[string]string{"id": "f", "account": u.account, "amount": "1000000", "currency": "usd-micro"})
	})
	s := b.newSite()
	again(b, s.register)
	key := newKey()
	var issued payword.CertificateAnswer
	again(b, func() answer {
		return u.call(u.key, "POST", payword.PathCertificates,
			payword.CertificateRequest{Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(key))}})
	}).intoAny(b.t, &issued)
	certificate, err := payword.UnverifiedCertificate(issued.Certificates[0])
	if err != nil {
		b.t.Fatal(err)
	}
	p, rest := u.commitWith(certificate, key, s.origin, 10*cent), u.commitWith(certificate, key, s.origin, 10*cent)
	again(b, func() answer { return p.reserve(10 * cent) })
	again(b, func() answer { return rest.reserve(10 * cent) })
	claims := payword.RedemptionRequest{Vendor: s.origin, Redemptions: []payword.Redemption{
		s.claim(p, 5, 5*cent, final), s.claim(u.commitWith(certificate, key, s.origin, 10*cent), 2, 2*cent),
	}}
	again(b, func() answer { return s.call(s.key, "POST", payword.PathRedemptions, claims) })
	u.wantBalance(83*cent, 10*cent)
	s.wantPayable(7 * cent)
	b.clock.seconds.Store(rest.m.Expires + 7*24*3600)
	for range 2 {
		if _, err := b.Release(b.t.Context()); err != nil && !errors.Is(err, errDisk) {
			b.t.Error(err)
		}
	}
	u.wantBalance(93*cent, 0)
}

// again asks, and once more if the broker could not tell.
func again(b *bank, ask func() answer) answer {
	b.t.Helper()
	a := ask()
	if a.status == http.StatusServiceUnavailable {
		if a.header.Get("Retry-After") == "" || strings.Contains(string(a.body), "fire") || a.reason() != "" {
			b.t.Errorf("got %v %s", a.header, a.body)
		}
		a = ask()
	}
	if a.status/100 != 2 {
		b.t.Fatalf("got %d %s", a.status, a.body)
	}
	return a
}

func (a answer) intoAny(t *testing.T, target any) {
	t.Helper()
	a.into(t, a.status, target)
}
