package broker_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/ledger"
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

// A backed gateway puts on accounts what clearing has booked to it and not a
// micro more, whoever has its key.
func TestBackedGateway(t *testing.T) {
	b := newBank(t)
	u, key := b.newUser(0), newKey()
	set := func(name string, key ed25519.PrivateKey, backed any) answer {
		body := map[string]any{"key": payword.NewPublicKey(publicKey(key)), "dayLimit": money.Amount(100 * money.Unit)}
		if backed != nil {
			body["backed"] = backed
		}
		return b.admin("PUT", "/v1/admin/gateways/"+name, body)
	}
	backed := func(a answer) bool {
		t.Helper()
		var got struct{ Backed bool }
		a.into(t, http.StatusOK, &got)
		return got.Backed
	}
	if backed(set("old", newKey(), nil)) || !backed(set("purse", key, true)) || !backed(set("purse", key, nil)) {
		t.Error("a gateway is backed if that was said, and stays as it was")
	}
	fund := func(id string, amount money.Amount) answer {
		return b.call(key, "POST", "/v1/gateway/fundings", cardFunding(id, u.account, amount))
	}
	want(t, fund("card-1", 1), http.StatusConflict, payword.InsufficientFunds)
	b.forward("purse", 5*money.Unit)
	want(t, fund("card-1", 3*money.Unit), http.StatusOK, payword.Accepted)
	want(t, fund("card-2", 2*money.Unit+1), http.StatusConflict, payword.InsufficientFunds)
	want(t, fund("card-2", 2*money.Unit), http.StatusOK, payword.Accepted)
	want(t, fund("card-1", 3*money.Unit), http.StatusOK, payword.Accepted)
	want(t, fund("card-3", 1), http.StatusConflict, payword.InsufficientFunds)
	u.wantBalance(5*money.Unit, 0)
	b.wantSound()
	b.write(`UPDATE accounts SET floor = ? WHERE id = 'gateway:purse:in'`, ledger.NoFloor)
	if wrong, err := b.Check(t.Context()); err != nil || len(wrong) != 1 || !strings.Contains(wrong[0], "backed") {
		t.Errorf("a floor that was taken away: %v (%v)", wrong, err)
	}
	if backed(set("purse", key, false)) {
		t.Error("it is backed still")
	}
	want(t, fund("card-3", 1), http.StatusOK, payword.Accepted)
	want(t, set("purse", key, true), http.StatusConflict, payword.Accepted)
	b.wantSound()
}

// forward books something to a gateway, as clearing does for payments of cards.
func (b *bank) forward(name string, amount money.Amount) {
	b.t.Helper()
	db, err := ledger.Open(b.t.Context(), b.config.Database, ledger.Options{Mode: ledger.Existing, Now: b.clock.now})
	if err != nil {
		b.t.Fatal(err)
	}
	err = db.Update(b.t.Context(), func(tx *ledger.Tx) error {
		if err := tx.CreateAccount(b.t.Context(), ledger.Account{ID: "merchant:1:payable", Currency: usd, Floor: ledger.NoFloor}); err != nil {
			return err
		}
		return tx.Post(b.t.Context(), ledger.Transfer{ID: "cards/payment/1/1/forward", Kind: "card-forward", Debit: "merchant:1:payable",
			Credit: "gateway:" + name + ":in", Amount: amount, Currency: usd})
	})
	if err = errors.Join(err, db.Close()); err != nil {
		b.t.Fatal(err)
	}
}

// A gateway asks how much an account may get before a card pays.
func TestGatewayAccount(t *testing.T) {
	b := newBankWith(t, func(c *broker.Config) { c.WhiteCeiling = 150 * money.Unit })
	u, key := b.newUser(0), newKey()
	want(t, b.setGateway("purse", key, 100*money.Unit), http.StatusOK, payword.Accepted)
	fundable := func(account string) answer { return b.call(key, "GET", "/v1/gateway/accounts/"+account, nil) }
	wantFundable := func(most money.Amount) {
		t.Helper()
		a := fundable(u.account)
		want(t, a, http.StatusOK, payword.Accepted)
		if got, wanted := string(a.body), fmt.Sprintf(`{"account":%q,"currency":"usd-micro","fundable":"%s"}`, u.account, most)+"\n"; got != wanted {
			t.Errorf("got %s, want %s", got, wanted)
		}
	}
	wantFundable(100 * money.Unit)
	want(t, b.call(key, "POST", "/v1/gateway/fundings", cardFunding("card-1", u.account, 30*money.Unit)), http.StatusOK, payword.Accepted)
	wantFundable(70 * money.Unit)
	u.fund("bank-1", 100*money.Unit)
	wantFundable(20 * money.Unit)
	u.fund("bank-2", 20*money.Unit)
	wantFundable(0)
	want(t, fundable("aaaaaaaaaaaaaaaa"), http.StatusNotFound, payword.UnknownAccount)
	want(t, b.call(u.key, "GET", "/v1/gateway/accounts/"+u.account, nil), http.StatusUnauthorized, payword.BadSignature)
	want(t, b.plain("GET", "/v1/gateway/accounts/"+u.account, nil), http.StatusUnauthorized, payword.BadSignature)
}
