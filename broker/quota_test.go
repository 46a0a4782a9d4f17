package broker_test

import (
	"net/http"
	"testing"

	"github.com/paywordhq/payword"
)

// Discovery documents are fetched for strangers at a bounded rate, which does
// not keep out who is registered, and the next minute is free again.
func TestFetchesPerMinute(t *testing.T) {
	b := newBank(t)
	s := b.newShop() // takes the first of 60
	stranger := *s
	refusals := 0
	for range 60 {
		stranger.key = newKey()
		if a := stranger.register(); a.status != http.StatusForbidden {
			refusals++
			want(t, a, http.StatusTooManyRequests, payword.RateLimited)
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if refusals != 1 {
		t.Errorf("%d of 60 registrations in a minute were refused, want 1", refusals)
	}
	want(t, s.register(), http.StatusOK, payword.Accepted)
	newcomer := b.newSite()
	want(t, newcomer.register(), http.StatusTooManyRequests, payword.RateLimited)
	b.clock.advance(60)
	want(t, newcomer.register(), http.StatusOK, payword.Accepted)
}

// Strangers who open accounts do not keep vendors out, nor the other way
// round, and neither keeps out a key that is known already.
func TestOpeningsPerMinute(t *testing.T) {
	b := newBank(t)
	b.SetOpeningsPerMinute(2)
	u, s := b.newUser(0), b.newShop()
	stranger := func() *user { return &user{bank: b, key: newKey()} }
	want(t, stranger().openAccount(), http.StatusCreated, payword.Accepted)
	want(t, stranger().openAccount(), http.StatusTooManyRequests, payword.RateLimited)
	want(t, u.openAccount(), http.StatusOK, payword.Accepted)
	late := b.newSite()
	want(t, b.newSite().register(), http.StatusOK, payword.Accepted)
	want(t, late.register(), http.StatusTooManyRequests, payword.RateLimited)
	want(t, s.register(), http.StatusOK, payword.Accepted)
	b.clock.advance(60)
	want(t, stranger().openAccount(), http.StatusCreated, payword.Accepted)
	want(t, late.register(), http.StatusOK, payword.Accepted)
}
