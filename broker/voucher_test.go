package broker_test

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/money"
)

// A voucher is worth its amount once, to whoever comes first, and the books say
// at every moment who is owed it.
func TestVouchers(t *testing.T) {
	b := newBank(t)
	u, other := b.newUser(0), b.newUser(0)
	codes := b.voucherCodes("shop-1", 4, 10*money.Unit, 3600)
	b.wantSound()
	typed := strings.ToLower(strings.ReplaceAll(codes[0], "-", " "))
	var got payword.RedeemedVoucher
	u.redeemVoucher(typed).into(t, http.StatusOK, &got)
	if got.Amount != 10*money.Unit || got.Account.Available != 10*money.Unit {
		t.Errorf("got %+v", got)
	}
	u.redeemVoucher(codes[0]).into(t, http.StatusOK, &got) // the answer was lost
	u.wantBalance(10*money.Unit, 0)
	want(t, other.redeemVoucher(codes[0]), 422, payword.BadVoucher)
	other.wantBalance(0, 0)

	if cancelled, refusal, err := b.CancelVouchers(t.Context(), "shop-1"); err != nil || refusal.Refused() || cancelled != 3 {
		t.Errorf("cancelled %d, %v, %v; want 3", cancelled, refusal, err)
	}
	want(t, other.redeemVoucher(codes[1]), 422, payword.BadVoucher)
	b.wantSound()
	if _, refusal, err := b.CancelVouchers(t.Context(), "shop-2"); err != nil || refusal.Reason != payword.BadVoucher {
		t.Errorf("got %v, %v", refusal, err)
	}
	if _, refusal, err := b.MakeVouchers(t.Context(), newBatch(b, "shop-1", 1, 1, 60)); err != nil || refusal.Reason != payword.IdempotencyDiffers {
		t.Errorf("got %v, %v", refusal, err)
	}

	late := b.voucherCodes("shop-3", 3, money.Unit, 60)
	b.clock.advance(60)
	want(t, other.redeemVoucher(late[0]), 422, payword.BadVoucher)
	if expired, err := b.ExpireVouchers(t.Context()); err != nil || expired != 3 {
		t.Errorf("%d vouchers expired, %v; want 3", expired, err)
	}
	want(t, other.redeemVoucher(late[0]), 422, payword.BadVoucher)
	var list struct {
		Batches []struct {
			Batch                              string
			Open, Redeemed, Expired, Cancelled int
		}
	}
	b.admin("GET", "/v1/admin/vouchers", nil).into(t, http.StatusOK, &list)
	if len(list.Batches) != 2 || list.Batches[0].Redeemed != 1 || list.Batches[0].Cancelled != 3 || list.Batches[1].Expired != 3 {
		t.Errorf("got %+v", list)
	}
	b.wantSound()
}

// Many who redeem the same voucher at once: one gets it.
func TestConcurrentVoucher(t *testing.T) {
	b := newBank(t)
	code := b.voucherCodes("one", 1, money.Unit, 60)[0]
	users := make([]*user, 10)
	for k := range users {
		users[k] = b.newUser(0)
	}
	var granted atomic.Int64
	together(len(users), func(k int) {
		if a := users[k].redeemVoucher(code); a.status == http.StatusOK {
			granted.Add(1)
		} else {
			want(t, a, 422, payword.BadVoucher)
		}
	})
	if granted.Load() != 1 {
		t.Errorf("a voucher was redeemed %d times", granted.Load())
	}
	b.wantSound()
}

// One wrong character, and two swapped ones wherever they stand, are told before
// anything else; what is easily confused is read as what it stands for.
func TestMistypedVouchers(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	code := strings.ReplaceAll(b.voucherCodes("one", 1, money.Unit, 60)[0], "-", "")
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	for k := range code {
		for _, c := range alphabet {
			if wrong := code[:k] + string(c) + code[k+1:]; wrong != code && broker.IsVoucherCode(wrong) {
				t.Errorf("%s passes for %s", wrong, code)
			}
		}
		for j := range k {
			swapped := []byte(code)
			swapped[k], swapped[j] = swapped[j], swapped[k]
			if code[k] != code[j] && broker.IsVoucherCode(string(swapped)) {
				t.Errorf("%s passes for %s", swapped, code)
			}
		}
	}
	for _, wrong := range []string{"", code[:19], code + "0", "U" + code[1:], "é" + code[1:], code[:10] + "\n" + code[10:]} {
		a := u.redeemVoucher(wrong)
		want(t, a, 422, payword.BadVoucher)
	}
	lookalike := strings.NewReplacer("0", "o", "1", "L").Replace(code)
	want(t, u.redeemVoucher(" "+lookalike[:7]+"- "+lookalike[7:]), http.StatusOK, payword.Accepted)
}

// Guessing is slowed down, for each account by itself; typing mistakes are free.
func TestGuessingVouchers(t *testing.T) {
	b := newBank(t)
	u, other := b.newUser(0), b.newUser(0)
	good := b.voucherCodes("one", 2, money.Unit, 3600)
	for range 12 {
		want(t, u.redeemVoucher(good[0][:23]+"0000"), 422, payword.BadVoucher) // mistyped: 27 characters
	}
	for range 10 {
		want(t, u.redeemVoucher(broker.NewVoucherCode()), 422, payword.BadVoucher)
	}
	want(t, u.redeemVoucher(broker.NewVoucherCode()), http.StatusTooManyRequests, payword.RateLimited)
	want(t, u.redeemVoucher(good[0]), http.StatusTooManyRequests, payword.RateLimited)
	want(t, other.redeemVoucher(good[1]), http.StatusOK, payword.Accepted)
	b.clock.advance(60)
	want(t, u.redeemVoucher(good[0]), http.StatusOK, payword.Accepted)
}

// The codes are nowhere but where they were printed.
func TestVoucherCodesAreNotKept(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	codes := b.voucherCodes("one", 2, money.Unit, 60)
	want(t, u.redeemVoucher(codes[0]), http.StatusOK, payword.Accepted)
	files, err := filepath.Glob(b.config.Database + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v, %v", files, err)
	}
	everything := []byte(b.journal.String())
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		everything = append(everything, content...)
	}
	for _, code := range codes {
		if bytes.Contains(everything, []byte(code)) || bytes.Contains(everything, []byte(strings.ReplaceAll(code, "-", ""))) {
			t.Errorf("the code %s is kept", code)
		}
	}
}

// An account tied to nobody holds up to its ceiling, with what it reserved, gave
// to sub-accounts and has on its way out.
func TestWhiteAccounts(t *testing.T) {
	b := newBank(t)
	b.config.WhiteCeiling = 100 * money.Unit
	b.open()
	u, s := b.newUser(90*money.Unit), b.newShop()
	u.commit(s.origin, 20*money.Unit, chainOf(20*money.Unit)).mustReserve(20 * money.Unit)
	u.newSub(20*money.Unit, payword.Limits{})
	want(t, u.payout("out", 10*money.Unit), http.StatusOK, payword.Accepted)
	fund := func(id, amount string) answer {
		return b.admin("POST", "/v1/admin/fundings", map[string]string{"id": id, "account": u.account, "amount": amount, "currency": "usd-micro"})
	}
	code := b.voucherCodes("one", 1, 11*money.Unit, 60)[0]
	want(t, fund("a", "10000001"), http.StatusConflict, payword.OverAccountLimit)
	want(t, u.redeemVoucher(code), http.StatusConflict, payword.OverAccountLimit)
	want(t, fund("b", "10000000"), http.StatusOK, payword.Accepted)
	want(t, fund("b", "10000000"), http.StatusOK, payword.Accepted) // was booked
	want(t, fund("c", "1"), http.StatusConflict, payword.OverAccountLimit)
	u.tie("customer 17")
	want(t, u.redeemVoucher(code), http.StatusOK, payword.Accepted)
	want(t, b.admin("PUT", "/v1/admin/accounts/"+u.account+"/holder", map[string]string{"holder": ""}), http.StatusConflict, payword.OverAccountLimit)
	b.wantSound()
}

func FuzzVoucherCode(f *testing.F) {
	f.Add(broker.NewVoucherCode())
	f.Add("0000-0000-0000-0000-0000")
	f.Add("")
	f.Fuzz(func(t *testing.T, typed string) {
		code, err := broker.ParseVoucherCode(typed)
		if err != nil {
			return
		}
		if again, err := broker.ParseVoucherCode(code); err != nil || again != code || len(code) != 24 {
			t.Errorf("%q is read as %q, and that as %q, %v", typed, code, again, err)
		}
	})
}

// Codes are made of all their characters and never twice.
func TestVoucherCodesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		code := broker.NewVoucherCode()
		if seen[code] || !broker.IsVoucherCode(code) {
			t.Fatalf("got %s twice, or it is none", code)
		}
		seen[code] = true
	}
	k := rand.IntN(20)
	symbols := map[byte]bool{}
	for code := range seen {
		symbols[strings.ReplaceAll(code, "-", "")[k]] = true
	}
	if len(symbols) != 32 {
		t.Errorf("character %d takes %d values, want 32", k, len(symbols))
	}
}
