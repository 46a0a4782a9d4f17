package broker_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
)

// A member that stands twice is refused, in whatever letters: the one that is
// checked need not be the one that is taken.
func TestMembersStandOnce(t *testing.T) {
	b := newBank(t)
	u := b.newUser(100 * cent)
	payout := func(members string) string {
		return `{"id":"a","amount":"10000","destination":{"reference":"r"}` + members + `}`
	}
	bodies := map[string]string{
		"twice":                 payout(`,"id":"b"`),
		"capitals":              payout(`,"ID":"a/paid"`),
		"capitals of an amount": payout(`,"Amount":"0"`),
		"beyond ASCII":          payout(`,"de\u017ftination":{"reference":"x"}`),
		"escaped":               payout(`,"\u0069d":"b"`),
		"a part of it before":   strings.Replace(payout(""), `"destination"`, `"destination":{"iban":"GB82WEST12345698765432"},"destination"`, 1),
		"inside":                strings.Replace(payout(""), `"reference":"r"`, `"reference":"r","reference":"`+strings.Repeat("r", 1000)+`"`, 1),
		"after a list":          payout(`,"x":[1,{"y":[]},{"y":{}}],"id":"b"`),
	}
	for name, body := range bodies {
		a := u.call(u.key, "POST", payword.PathPayouts, body)
		if a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "twice") {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	u.wantBalance(100*cent, 0)
	want(t, u.call(u.key, "POST", payword.PathPayouts, payout("")), http.StatusOK, payword.Accepted)
	want(t, b.endPayout(u, "a", "paid"), http.StatusOK, payword.Accepted)
}

// A batch has no more claims than a batch may have, in whatever letters they are
// called.
func TestBatchIsBounded(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	one := `{"commitment":"a","claim":"b"}`
	many := strings.TrimSuffix(strings.Repeat(one+",", payword.MaxRedemptionsPerRequest+1), ",")
	for _, body := range []string{
		`{"vendor":"` + s.origin + `","redemptions":[` + many + `]}`,
		`{"vendor":"` + s.origin + `","redemptions":[` + one + `],"Redemptions":[` + many + `]}`,
	} {
		if a := b.call(s.key, "POST", payword.PathRedemptions, body); a.status != http.StatusUnprocessableEntity {
			t.Errorf("got %d %.200s", a.status, a.body)
		}
	}
}
