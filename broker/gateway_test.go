package broker_test

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// setGateway registers a gateway, or changes one.
func (b *bank) setGateway(name string, key ed25519.PrivateKey, dayLimit money.Amount) answer {
	return b.admin("PUT", "/v1/admin/gateways/"+name,
		map[string]any{"key": payword.NewPublicKey(publicKey(key)), "dayLimit": dayLimit})
}

func cardFunding(id, account string, amount money.Amount) map[string]any {
	return map[string]any{"id": id, "account": account, "amount": amount, "currency": usd}
}

// A gateway books what it took from cards, each transaction once, up to its
// limit of the day.
func TestGateway(t *testing.T) {
	b := newBank(t)
	u, key := b.newUser(0), newKey()
	want(t, b.setGateway("purse", key, 10*money.Unit), http.StatusOK, payword.Accepted)
	fund := func(id, account string, amount money.Amount) answer {
		return b.call(key, "POST", "/v1/gateway/fundings", cardFunding(id, account, amount))
	}
	for range 2 {
		a := fund("card-1", u.account, 6*money.Unit)
		want(t, a, http.StatusOK, payword.Accepted)
		if got, wanted := string(a.body), fmt.Sprintf(`{"id":"card-1","account":%q,"amount":"6000000","currency":"usd-micro"}`, u.account)+"\n"; got != wanted {
			t.Errorf("got %s, want %s", got, wanted)
		}
	}
	want(t, fund("card-1", u.account, 5*money.Unit), http.StatusConflict, payword.IdempotencyDiffers)
	want(t, fund("card-2", "aaaaaaaaaaaaaaaa", money.Unit), http.StatusNotFound, payword.UnknownAccount)
	want(t, fund("card-3", u.account, 4*money.Unit+1), http.StatusTooManyRequests, payword.RateLimited)
	want(t, fund("card-3", u.account, 4*money.Unit), http.StatusOK, payword.Accepted)
	want(t, fund("card-4", u.account, 1), http.StatusTooManyRequests, payword.RateLimited)
	want(t, fund("card-1", u.account, 6*money.Unit), http.StatusOK, payword.Accepted)
	want(t, fund("card 5", u.account, 1), 422, payword.Accepted)
	euro := cardFunding("card-6", u.account, 1)
	euro["currency"] = "eur-micro"
	want(t, b.call(key, "POST", "/v1/gateway/fundings", euro), 422, payword.WrongCurrency)
	u.wantBalance(10*money.Unit, 0)

	b.clock.advance(24 * 3600)
	want(t, fund("card-4", u.account, 10*money.Unit), http.StatusOK, payword.Accepted)
	u.wantBalance(20*money.Unit, 0)
	// The bank's payment of the same name is another one.
	u.fund("card-1", money.Unit)
	if got := b.fundings("source=gateway:purse&limit=2"); len(got) != 2 || got[0].ID != "card-1" || got[1].ID != "card-3" {
		t.Errorf("got %+v", got)
	}
	b.wantSound()
}

// Only the key that a gateway has now books, and none that is not registered.
func TestGatewayKeys(t *testing.T) {
	b := newBank(t)
	u, first, second := b.newUser(0), newKey(), newKey()
	want(t, b.setGateway("purse", first, money.Unit), http.StatusOK, payword.Accepted)
	want(t, b.setGateway("other", first, money.Unit), http.StatusConflict, payword.Accepted)
	want(t, b.setGateway("Purse", second, money.Unit), 422, payword.Accepted)
	want(t, b.setGateway("purse", second, money.Unit), http.StatusOK, payword.Accepted)
	body := cardFunding("card-1", u.account, 1)
	want(t, b.call(first, "POST", "/v1/gateway/fundings", body), http.StatusUnauthorized, payword.BadSignature)
	want(t, b.call(u.key, "POST", "/v1/gateway/fundings", body), http.StatusUnauthorized, payword.BadSignature)
	want(t, b.plain("POST", "/v1/gateway/fundings", body), http.StatusUnauthorized, payword.BadSignature)
	want(t, b.call(second, "GET", payword.PathAccount, nil), http.StatusNotFound, payword.UnknownAccount)
	want(t, b.call(second, "POST", "/v1/gateway/fundings", body), http.StatusOK, payword.Accepted)
	want(t, b.setGateway("purse", second, 0), http.StatusOK, payword.Accepted)
	want(t, b.call(second, "POST", "/v1/gateway/fundings", cardFunding("card-2", u.account, 1)), http.StatusTooManyRequests, payword.RateLimited)
	want(t, b.plain("PUT", "/v1/admin/gateways/purse", nil), http.StatusUnauthorized, payword.Accepted)
	var list struct {
		Gateways []struct {
			Gateway         string
			DayLimit, Today money.Amount
		}
	}
	b.admin("GET", "/v1/admin/gateways", nil).into(t, http.StatusOK, &list)
	if len(list.Gateways) != 1 || list.Gateways[0].Gateway != "purse" || list.Gateways[0].DayLimit != 0 || list.Gateways[0].Today != 1 {
		t.Errorf("got %+v", list)
	}
}
