package broker_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/paywordhq/payword"
)

// under sends a request with an Idempotency-Key.
func (b *bank) under(key string, request *http.Request) answer {
	request.Header.Set("Idempotency-Key", key)
	return b.do(request)
}

// adminRequest makes a request with the administration token.
func (b *bank) adminRequest(method, path string, body any) *http.Request {
	request, _ := b.request(method, path, body)
	request.Header.Set("Authorization", "Bearer "+b.config.AdminToken)
	return request
}

// An answer is kept with its status, for whom it was, for a week.
func TestReplay(t *testing.T) {
	b := newBank(t)
	u, other := b.newUser(0), b.newUser(0)
	u.tie("customer 1")
	other.tie("customer 2")
	credit := func(key, account, micros string) answer {
		return b.under(key, b.adminRequest("PUT", "/v1/admin/accounts/"+account+"/credit", map[string]string{"credit": micros}))
	}
	first := credit("a", u.account, "100")
	want(t, first, http.StatusOK, payword.Accepted)
	want(t, credit("b", u.account, "200"), http.StatusOK, payword.Accepted)
	again := credit("a", u.account, "100") // late: it must not undo b
	if string(again.body) != string(first.body) || again.header.Get("Idempotency-Replayed") != "true" || first.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("got %s with %v, then %s with %v", first.body, first.header, again.body, again.header)
	}
	u.wantBalance(200, 0)
	want(t, credit("a", u.account, "101"), http.StatusConflict, payword.IdempotencyDiffers)
	want(t, credit("a", other.account, "100"), http.StatusConflict, payword.IdempotencyDiffers)

	// An answer of 201 stays one, and a key belongs to whoever used it.
	stranger := &user{bank: b, key: newKey()}
	var challenge payword.AccountChallenge
	b.plain("POST", payword.PathChallenges, nil).into(t, http.StatusOK, &challenge)
	open := func(of *user) answer {
		return b.under("a", b.signed(of.key, "POST", payword.PathAccounts,
			payword.OpenAccount{Key: payword.NewPublicKey(publicKey(of.key)), Challenge: challenge.Challenge}))
	}
	for range 2 {
		want(t, open(stranger), http.StatusCreated, payword.Accepted)
	}
	want(t, open(&user{bank: b, key: newKey()}), http.StatusCreated, payword.Accepted)

	for _, key := range []string{"tab\tinside", strings.Repeat("k", 129)} {
		want(t, credit(key, u.account, "1"), http.StatusBadRequest, payword.Accepted)
	}
	twice := b.adminRequest("PUT", "/v1/admin/accounts/"+u.account+"/credit", map[string]string{"credit": "1"})
	twice.Header["Idempotency-Key"] = []string{"c", "d"}
	want(t, b.do(twice), http.StatusBadRequest, payword.Accepted)
}

// What was refused changed nothing, and is judged anew.
func TestRefusalsAreNotKept(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(0), b.newShop()
	p := u.commit(s.origin, 10*cent)
	reserve := func() answer {
		return b.under("r", b.signed(u.key, "POST", payword.PathReservations,
			payword.ReservationRequest{Commitment: p.m.Token, Amount: 5 * cent}))
	}
	want(t, reserve(), http.StatusConflict, payword.InsufficientFunds)
	u.fund("f", 10*cent)
	want(t, reserve(), http.StatusOK, payword.Accepted)
	want(t, reserve(), http.StatusOK, payword.Accepted)
	u.wantBalance(5*cent, 5*cent)
}

// Reservations come in pages of the size that was asked for.
func TestPagesOfReservations(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	var all []string
	for range 5 {
		p := u.commit(s.origin, 10*cent)
		p.mustReserve(cent)
		all = append(all, p.m.Token)
	}
	var got []string
	for query := "?limit=2"; query != ""; {
		var page struct {
			Reservations []struct{ Commitment string }
			Next         string
		}
		u.call(u.key, "GET", payword.PathReservations+query, nil).into(t, http.StatusOK, &page)
		if len(page.Reservations) > 2 {
			t.Fatalf("got %d on a page", len(page.Reservations))
		}
		for _, one := range page.Reservations {
			got = append(got, one.Commitment)
		}
		query = ""
		if page.Next != "" {
			query = "?limit=2&after=" + page.Next
		}
	}
	if !slices.Equal(got, all) {
		t.Errorf("got %d reservations on all pages, want the %d in their order", len(got), len(all))
	}
	for _, limit := range []string{"0", "101", "x"} {
		want(t, u.call(u.key, "GET", payword.PathReservations+"?limit="+limit, nil), 422, payword.Accepted)
	}
}

// Of many with the same key one does the work.
func TestConcurrentKeys(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	key := payword.NewPublicKey(publicKey(newKey()))
	bodies := make([]string, 8)
	var group sync.WaitGroup
	for k := range bodies {
		group.Go(func() {
			a := b.under("k", b.signed(u.key, "POST", payword.PathCertificates, payword.CertificateRequest{Keys: []payword.PublicKey{key}}))
			bodies[k] = fmt.Sprint(a.status, string(a.body))
		})
	}
	group.Wait()
	for _, body := range bodies {
		if body != bodies[0] || !strings.HasPrefix(body, "200") {
			t.Errorf("got %s and %s", bodies[0], body)
		}
	}
}

// If the answer cannot be kept after the work was done, asking again is safe.
func TestAnswerThatIsNotKept(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	for _, point := range []string{"before keep answer", "after keep answer"} {
		send := func() answer {
			return b.under(point[:5], b.adminRequest("POST", "/v1/admin/fundings",
				map[string]string{"id": point[:5], "account": u.account, "amount": "10", "currency": "usd-micro"}))
		}
		b.SetFault(func(at string) error {
			if at == point {
				return errDisk
			}
			return nil
		})
		want(t, send(), http.StatusServiceUnavailable, payword.Accepted)
		b.SetFault(nil)
		want(t, send(), http.StatusOK, payword.Accepted)
	}
	u.wantBalance(20, 0)
	b.wantSound()
}
