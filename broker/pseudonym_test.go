package broker_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
)

// viewOf collects every value in everything that a vendor sees: tokens are taken
// apart, and so is what is in them.
func viewOf(t *testing.T, values map[string]bool, text string) {
	t.Helper()
	values[text] = true
	if parts := strings.Split(text, "."); len(parts) == 3 {
		for _, part := range parts[:2] {
			raw, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil {
				return // three words with dots between them, and no token
			}
			viewOf(t, values, string(raw))
		}
		return
	}
	if !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") {
		return
	}
	var parsed any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&parsed) == nil {
		leavesOf(t, values, parsed)
	}
}

func leavesOf(t *testing.T, values map[string]bool, parsed any) {
	switch parsed := parsed.(type) {
	case map[string]any:
		for _, value := range parsed {
			leavesOf(t, values, value)
		}
	case []any:
		for _, value := range parsed {
			leavesOf(t, values, value)
		}
	case string:
		if !values[parsed] {
			viewOf(t, values, parsed)
		}
	case json.Number:
		values[parsed.String()] = true
	}
}

// Whatever two vendors see of one user, and get told by the broker, holds nothing
// in common but what everybody's has.
func TestVendorsCannotJoin(t *testing.T) {
	b := newBank(t)
	u, stranger := b.newUser(1000*cent), b.newUser(1000*cent)
	see := func(u *user, s *shop, index uint32) map[string]bool {
		p := u.commit(s.origin, 50*cent)
		reservation := p.mustReserve(40 * cent)
		claim := s.claim(p, index, cent)
		claim.Reservation = reservation.Token
		values := map[string]bool{}
		for _, text := range []string{p.m.Token, reservation.Token, claim.Claim} {
			viewOf(t, values, text)
		}
		for _, path := range []string{
			payword.PathRedemptions, "/v1/vendor?vendor=" + s.origin, "/v1/vendor/statement?from=2023-11-01&to=2023-11-30&vendor=" + s.origin,
			"/v1/vendor/commitments/" + p.m.ID.String() + "?vendor=" + s.origin, payword.PathBrokerKeys,
		} {
			var a answer
			switch path {
			case payword.PathRedemptions:
				a = s.call(s.key, "POST", path, payword.RedemptionRequest{Vendor: s.origin, Redemptions: []payword.Redemption{claim}})
			default:
				a = s.call(s.key, "GET", path, nil)
			}
			if a.status != http.StatusOK {
				t.Fatalf("%s: got %d %s", path, a.status, a.body)
			}
			viewOf(t, values, string(a.body))
		}
		return values
	}
	first, second := see(u, b.newShop(), 3), see(u, b.newShop(), 3)
	everybody := see(stranger, b.newShop(), 3)
	common := 0
	for value := range first {
		switch {
		case second[value] && everybody[value]:
			common++ // such as the currency
		case second[value]:
			t.Errorf("two vendors see %.80q of one user, and of nobody else", value)
		}
	}
	if len(first) < 30 || common < 5 {
		t.Errorf("the views hold %d values, %d of them in everybody's: they are not whole", len(first), common)
	}
	for _, secret := range []string{u.account, payword.Thumbprint(publicKey(u.key))} {
		if strings.Contains(fmt.Sprint(first), secret) {
			t.Errorf("a vendor sees %s", secret)
		}
	}
}
