package broker_test

import (
	"net/http"
	"testing"

	"github.com/paywordhq/payword"
)

// Discovery documents are fetched at a bounded rate, and the next minute is
// free again.
func TestFetchesPerMinute(t *testing.T) {
	b := newBank(t)
	s := b.newSite()
	refusals := 0
	for range 61 {
		if a := s.register(); a.status != http.StatusOK {
			refusals++
			want(t, a, http.StatusTooManyRequests, payword.RateLimited)
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if refusals != 1 {
		t.Errorf("%d of 61 registrations in a minute were refused, want 1", refusals)
	}
	b.clock.advance(60)
	want(t, s.register(), http.StatusOK, payword.Accepted)
}
