package broker_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// exported is an export of an account, as far as it is looked into here; that it
// is what the OpenAPI document says is checked of every answer.
type exported struct {
	Account struct {
		Account payword.Account
		Parent  string
		Holder  string
		Age     int
		Limits  payword.AccountLimits
		Closing *struct {
			Destination payword.PayoutDestination
		}
	}
	Devices struct {
		Items []struct {
			Device, Name string
			Removed      int64
		}
	}
	SubAccounts        struct{ Items []payword.SubAccount }
	SubAccountSpending struct {
		Items []struct {
			Account string
			payword.VendorSpending
		}
	}
	Certificates struct {
		Items []struct {
			Subject          string
			Expires, Revoked int64
			Certificates     []struct {
				List, Place int64
				Status      string
			}
		}
	}
	Commitments struct {
		AsOf, Until int64
		Items       []struct {
			ID, Vendor, Commitment, Reservation, Claim string
			Reserved, Held, Paid                       money.Amount
			Tails                                      []struct {
				Chain, Index int
				Payword      string
			}
		}
	}
	Balances struct {
		Items []struct {
			LedgerAccount string
			Balance       json.Number // has a minus where something is owed
			Pending       money.Amount
		}
	}
	Entries struct {
		Items []struct {
			LedgerAccount, Transfer, Phase, Ends string
			Credit, Debit                        money.Amount
		}
	}
	Fundings struct {
		Items []struct {
			Source, ID       string
			Amount, Reversed money.Amount
			Reversals        []struct {
				Cause  string
				Amount money.Amount
			}
		}
	}
	Vouchers struct {
		Items []struct {
			Voucher, Batch string
			Amount         money.Amount
		}
	}
	Payouts struct{ Items []payword.Payout }
	Frauds  struct {
		Items []struct{ Commitment, Earlier, Vendor, Root string }
	}
	AuditLog struct {
		Items []struct{ Actor, Action, Subject, Detail string }
	}
}

// export asks for an account's own data.
func (u *user) export() (all exported, text string) {
	u.t.Helper()
	a := u.call(u.key, "GET", payword.PathExport, nil)
	a.into(u.t, http.StatusOK, &all)
	u.clock.advance(60) // past the limit of a minute
	all.wantSums(u.t)
	return all, string(a.body)
}

// wantSums checks that the entries add up to the balances.
func (e *exported) wantSums(t *testing.T) {
	t.Helper()
	if len(e.Balances.Items) < 2 {
		t.Errorf("got %d accounts of the ledger", len(e.Balances.Items))
	}
	for _, b := range e.Balances.Items {
		var balance, pending money.Amount
		waiting := make(map[string]money.Amount)
		for _, entry := range e.Entries.Items {
			if entry.LedgerAccount != b.LedgerAccount {
				continue
			}
			switch entry.Phase {
			case "pending":
				waiting[entry.Transfer] = entry.Debit
			case "single", "post":
				balance += entry.Credit - entry.Debit
			}
			delete(waiting, entry.Ends)
		}
		for _, amount := range waiting {
			pending += amount
		}
		if balance.String() != b.Balance.String() || pending != b.Pending {
			t.Errorf("the entries of %s sum to %s, and %s pending; its balance is %s, and %s pending",
				b.LedgerAccount, balance, pending, b.Balance, b.Pending)
		}
	}
}

// life is an account to which everything has happened.
type life struct {
	*user
	shop           *shop
	agent, laptop  *user
	paid, twice    *purse // the second one has the root of the first one
	agents         *purse
	revoked        payword.Certificate
	voucher        string
	entries, audit int // of its ledger accounts, a transfer between two of them counting twice
}

func newLife(t *testing.T) *life {
	b := newBank(t)
	s := &life{user: b.newUser(1000 * cent), shop: b.newShop()}
	s.tie("customer 1")
	s.laptop = s.newDevice("laptop")
	want(t, s.removeDevice(s.laptop.key), http.StatusOK, payword.Accepted)
	want(t, s.setLimits(payword.Limits{Day: micros(900 * cent)}), http.StatusOK, payword.Accepted)
	s.agent = s.newSub(30*cent, payword.Limits{})
	s.agents = s.agent.commit(s.shop.origin, 50*cent)
	s.agents.mustReserve(20 * cent)
	s.shop.wantResult(s.shop.claim(s.agents, 12, 12*cent), payword.Accepted, 12*cent, 12*cent)
	s.revoked, _ = s.certificate()
	want(t, s.revoke(s.revoked.Subject), http.StatusOK, payword.Accepted)
	s.paid = s.commit(s.shop.origin, 50*cent)
	s.paid.mustReserve(20 * cent)
	s.shop.wantResult(s.shop.claim(s.paid, 15, 15*cent), payword.Accepted, 15*cent, 15*cent)
	s.twice = s.reuse(s.paid, s.shop.origin)
	s.shop.wantResult(s.shop.claim(s.twice, 10, 10*cent, func(c *payword.Claim) { c.Tails[0] = s.paid.tail(10) }), payword.Accepted, 10*cent, 10*cent)
	s.voucher = b.voucherCodes("batch-1", 1, 7*cent, 3600)[0]
	want(t, s.redeemVoucher(s.voucher), http.StatusOK, payword.Accepted)
	for id, state := range map[string]string{"one": "paid", "two": "refused", "three": ""} {
		want(t, s.payout(id, 5*cent), http.StatusOK, payword.Accepted)
		if state != "" {
			path := "/v1/admin/account-payouts/" + s.account + "/" + id + "/" + state
			want(t, s.admin("POST", path, map[string]string{"note": "a note"}), http.StatusOK, payword.Accepted)
		}
	}
	for _, word := range []string{"block", "unblock"} {
		path := "/v1/admin/accounts/" + s.account + "/" + word
		want(t, s.admin("POST", path, map[string]string{"reason": "suspicion"}), http.StatusOK, payword.Accepted)
	}
	// More than is there is taken back: the rest is owed.
	s.stripe(paidSession("1", s.account, 500, "usd"))
	var account payword.Account
	s.call(s.key, "GET", payword.PathAccount, nil).into(t, http.StatusOK, &account)
	want(t, s.payout("four", account.Available-100*cent), http.StatusOK, payword.Accepted)
	s.stripe(disputed("funds_withdrawn", "1", 500, "lost"))
	s.count(t)
	return s
}

// count counts what the books have of the account.
func (s *life) count(t *testing.T) {
	journal, err := s.Journal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, transfer := range journal {
		for _, side := range []string{transfer.Debit, transfer.Credit} {
			if strings.HasPrefix(side, "user:"+s.account+":") {
				s.entries++
			}
		}
	}
	for _, action := range []string{
		"add-device", "remove-device", "set-limits", "set-holder", "open-sub-account", "transfer", "issue-certificates", "revoke-certificates",
		"fund", "redeem-voucher", "request-payout", "payout-paid", "payout-refused", "block-account", "unblock-account", "owe",
	} {
		found, err := s.Audited(t.Context(), action, "account:"+s.account)
		if err != nil || found == 0 {
			t.Fatalf("%d entries of %s, %v", found, action, err)
		}
		s.audit += found
	}
}

// Everything that has happened to an account stands in its export, however its
// pages are cut.
func TestExport(t *testing.T) {
	t.Parallel()
	s := newLife(t)
	var texts []string
	for _, rows := range []int{1, 2, 100} {
		s.SetExportPage(rows)
		all, text := s.export()
		s.wantWhole(t, all)
		texts = append(texts, text)
		if strings.Contains(text, "suspicion") {
			t.Error("the reason of a block is told")
		}
		if holds, isOne := strings.Contains(text, s.agents.m.ID.String()), strings.Contains(text, s.agents.m.Certificate.Subject); holds || isOne {
			t.Error("the parent is told what its agent bought, or as whom")
		}
	}
	// Only the moments differ.
	for _, text := range texts[1:] {
		if len(text) != len(texts[0]) {
			t.Errorf("got %d bytes and %d, by the size of a page", len(texts[0]), len(text))
		}
	}
	s.wantSound()
}

// wantWhole looks for everything that newLife made.
func (s *life) wantWhole(t *testing.T, all exported) {
	t.Helper()
	account := all.Account
	if account.Account.Account != s.account || account.Holder != "customer 1" || account.Limits.Own.Day == nil || account.Parent != "" {
		t.Errorf("got account %+v", account)
	}
	lengths := map[string][2]int{
		"devices": {len(all.Devices.Items), 2}, "sub-accounts": {len(all.SubAccounts.Items), 1}, "spending": {len(all.SubAccountSpending.Items), 1},
		"certificates": {len(all.Certificates.Items), 3}, "commitments": {len(all.Commitments.Items), 2}, "balances": {len(all.Balances.Items), 3},
		"entries": {len(all.Entries.Items), s.entries}, "fundings": {len(all.Fundings.Items), 2}, "vouchers": {len(all.Vouchers.Items), 1},
		"payouts": {len(all.Payouts.Items), 4}, "frauds": {len(all.Frauds.Items), 1},
	}
	for name, length := range lengths {
		if length[0] != length[1] {
			t.Fatalf("got %d %s, want %d", length[0], name, length[1])
		}
	}
	laptop := slices.IndexFunc(all.Devices.Items, func(d struct {
		Device, Name string
		Removed      int64
	}) bool {
		return d.Device == payword.Thumbprint(publicKey(s.laptop.key)) && d.Name == "laptop" && d.Removed == start
	})
	if laptop < 0 {
		t.Errorf("the removed device is not in %+v", all.Devices.Items)
	}
	if spent := all.SubAccountSpending.Items[0]; spent.Account != s.agent.account || spent.VendorSpending != (payword.VendorSpending{Vendor: s.shop.origin, Paid: 12 * cent, Reserved: 8 * cent}) {
		t.Errorf("the sub-account spent %+v", spent)
	}
	if c := all.Certificates.Items[0]; c.Subject != s.revoked.Subject || c.Revoked != start || len(c.Certificates) != 1 ||
		c.Certificates[0].Status != "invalid" || c.Certificates[0].Place != int64(s.revoked.Status.Index) {
		t.Errorf("the revoked certificate is %+v", c)
	}
	paid := all.Commitments.Items[0]
	if paid.ID != s.paid.m.ID.String() || paid.Vendor != s.shop.origin || paid.Commitment != s.paid.m.Token || paid.Reservation == "" || paid.Claim == "" ||
		paid.Reserved != 20*cent || paid.Held != 5*cent || paid.Paid != 15*cent {
		t.Errorf("the commitment is %+v", paid)
	}
	word := s.paid.tail(15).Payword
	if len(paid.Tails) != 1 || paid.Tails[0].Chain != 0 || paid.Tails[0].Index != 15 || paid.Tails[0].Payword != base64.RawURLEncoding.EncodeToString(word[:]) {
		t.Errorf("its tails are %+v", paid.Tails)
	}
	if f := all.Fundings.Items[1]; f.Source != "stripe" || f.Amount != 500*cent || f.Reversed != 500*cent || len(f.Reversals) != 1 || f.Reversals[0].Cause != "dispute" {
		t.Errorf("the payment that was taken back is %+v", f)
	}
	if v := all.Vouchers.Items[0]; v.Amount != 7*cent || v.Batch != "batch-1" || len(v.Voucher) != hex.EncodedLen(sha256.Size) {
		t.Errorf("the voucher is %+v", v)
	}
	if f := all.Frauds.Items[0]; f.Commitment != s.twice.m.ID.String() || f.Earlier != s.paid.m.ID.String() || f.Vendor != s.shop.origin {
		t.Errorf("the fraud is %+v", f)
	}
	s.wantLog(t, all)
}

func (s *life) wantLog(t *testing.T, all exported) {
	t.Helper()
	count := 0
	for _, entry := range all.AuditLog.Items {
		if entry.Subject == "account:"+s.account {
			count++
		} else if entry.Actor != "account:"+s.account {
			t.Errorf("an entry of somebody else's: %+v", entry)
		}
	}
	if count != s.audit {
		t.Errorf("got %d entries of the audit log about the account, want %d", count, s.audit)
	}
}

// An account is told of itself alone: a stranger of nothing, an agent of neither
// its parent nor its sibling.
func TestExportIsOnesOwn(t *testing.T) {
	t.Parallel()
	s := newLife(t)
	stranger, sibling := s.newUser(cent), s.newSub(0, payword.Limits{})
	all, text := stranger.export()
	if len(all.Entries.Items) != 1 || len(all.Commitments.Items)+len(all.Certificates.Items)+len(all.SubAccounts.Items)+len(all.Payouts.Items) != 0 {
		t.Errorf("a stranger is told %s", text)
	}
	for _, secret := range []string{s.account, s.agent.account, s.shop.origin, "customer 1", s.paid.m.ID.String()} {
		if strings.Contains(text, secret) {
			t.Errorf("a stranger is told of %s", secret)
		}
	}
	all, text = s.agent.export()
	if all.Account.Parent != s.account || len(all.Commitments.Items) != 1 || all.Commitments.Items[0].ID != s.agents.m.ID.String() || len(all.SubAccounts.Items) != 0 {
		t.Errorf("an agent is told %s", text)
	}
	for _, secret := range []string{sibling.account, "customer 1", s.paid.m.ID.String(), s.revoked.Subject, payword.Thumbprint(publicKey(s.key)), "iban"} {
		if strings.Contains(text, secret) {
			t.Errorf("an agent is told of %s", secret)
		}
	}
	want(t, stranger.close(ownIBAN), http.StatusOK, payword.Accepted)
	if all, _ = stranger.export(); all.Account.Closing == nil || all.Account.Closing.Destination.IBAN == "" || len(all.Payouts.Items) != 1 {
		t.Errorf("after closing: %+v", all)
	}
	want(t, s.call(s.laptop.key, "GET", payword.PathExport, nil), http.StatusNotFound, payword.UnknownAccount)
	want(t, s.call(s.shop.key, "GET", payword.PathExport, nil), http.StatusNotFound, payword.UnknownAccount)
	want(t, s.plain("GET", payword.PathExport, nil), http.StatusUnauthorized, payword.BadSignature)
}

// An export is dear: an account gets two in a minute.
func TestExportsAreLimited(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u, other := b.newUser(cent), b.newUser(cent)
	for range 2 {
		want(t, u.call(u.key, "GET", payword.PathExport, nil), http.StatusOK, payword.Accepted)
	}
	want(t, u.call(u.key, "GET", payword.PathExport, nil), http.StatusTooManyRequests, payword.RateLimited)
	want(t, other.call(other.key, "GET", payword.PathExport, nil), http.StatusOK, payword.Accepted)
	b.clock.advance(60)
	u.export()
}

// reader takes an answer and does something at every part that it is given.
type reader struct {
	*httptest.ResponseRecorder
	take  func(r *reader) error
	part  int
	wrote string // the last part
}

func (r *reader) Write(content []byte) (int, error) {
	r.part++
	r.wrote = string(content)
	if err := r.take(r); err != nil {
		return 0, err
	}
	return r.ResponseRecorder.Write(content)
}

// exportTo writes an export to a reader and reports whether it is whole.
func (u *user) exportTo(take func(r *reader) error) (r *reader, isWhole bool) {
	request := u.signed(u.key, "GET", payword.PathExport, nil)
	served := httptest.NewRequestWithContext(u.t.Context(), "GET", payword.PathExport, http.NoBody)
	served.Header = request.Header
	r = &reader{ResponseRecorder: httptest.NewRecorder(), take: take}
	defer func() {
		if cause := recover(); cause != nil {
			if err, isError := cause.(error); !isError || !errors.Is(err, http.ErrAbortHandler) {
				panic(cause)
			}
		}
	}()
	u.Handler().ServeHTTP(r, served)
	return r, true
}

// A client that goes away, or whose device is removed, gets no more, is not
// told that this was all, and holds up nobody.
func TestExportBreaksOff(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	b.SetTurnTimeout(time.Millisecond)
	u := b.newUser(100 * cent)
	laptop := u.newDevice("laptop")
	for name, take := range map[string]func(r *reader) error{
		"gone": func(r *reader) error {
			if r.part > 2 {
				return context.Canceled
			}
			return nil
		},
		"removed": func(r *reader) error {
			if r.part != 2 {
				return nil
			}
			refusal, err := b.RemoveDevice(t.Context(), u.account, payword.Thumbprint(publicKey(laptop.key)))
			if refusal.Refused() {
				t.Error(refusal)
			}
			return err
		},
	} {
		r, isWhole := laptop.exportTo(take)
		if isWhole || json.Valid(r.Body.Bytes()) || r.Body.Len() == 0 {
			t.Errorf("%s: whole %t, %s", name, isWhole, r.Body)
		}
		u.export()
		laptop = u.newDevice("another")
	}
	if !strings.Contains(b.journal.String(), "export broken off") {
		t.Error("nobody is told that exports broke off")
	}
}

// While an export is read things go on. Its entries are those of its balances
// all the same, and a second export of the account waits.
func TestExportOfAMovingAccount(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	b.SetTurnTimeout(time.Millisecond)
	b.SetExportPage(3)
	u, s := b.newUser(1000*cent), b.newShop()
	refused, isMoving := false, true
	r, isWhole := u.exportTo(func(r *reader) error {
		// What is read by its state goes on for as long as more of it comes.
		isMoving = isMoving && !strings.Contains(r.wrote, `"fundings"`)
		if isMoving {
			u.fund(fmt.Sprintf("while-%d", r.part), cent)
		}
		if r.part < 10 {
			u.commit(s.origin, 50*cent).mustReserve(cent)
		}
		if r.part == 3 {
			a := u.call(u.key, "GET", payword.PathExport, nil)
			refused = a.status == http.StatusTooManyRequests && strings.Contains(a.detail(), "being written")
		}
		return nil
	})
	var all exported
	if err := json.Unmarshal(r.Body.Bytes(), &all); err != nil || !isWhole {
		t.Fatalf("%v, whole %t: %s", err, isWhole, r.Body)
	}
	all.wantSums(t)
	if !refused {
		t.Error("two exports of one account were written at once")
	}
	if all.Commitments.AsOf != start || all.Commitments.Until != start || len(all.Entries.Items) < 5 {
		t.Errorf("got %+v", all)
	}
}
