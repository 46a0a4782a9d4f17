package broker_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/money"
)

// stripeSigned makes a request as Stripe does, signed at the clock's time.
func (b *bank) stripeSigned(secret, body string) *http.Request {
	request, _ := b.request("POST", "/v1/payments/stripe", body)
	request.Header.Set("Stripe-Signature", stripeSignature(b.clock.seconds.Load(), secret, body))
	return request
}

func stripeSignature(at int64, secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at, body)
	return fmt.Sprintf("t=%d,v1=%s,v0=ignored", at, hex.EncodeToString(mac.Sum(nil)))
}

// event writes an event of Stripe with some of the members that it has.
func event(kind string, object map[string]any) string {
	text, err := json.Marshal(map[string]any{
		"id": "evt_1", "object": "event", "api_version": "2025-09-30.clover", "created": start, "livemode": false,
		"pending_webhooks": 1, "request": map[string]any{"id": nil, "idempotency_key": nil},
		"type": kind, "data": map[string]any{"object": object},
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// paidSession is a checkout session that was paid for: amount in the currency's
// smallest unit.
func paidSession(id, account string, amount int64, currency string, change ...func(map[string]any)) string {
	session := map[string]any{
		"id": "cs_" + id, "object": "checkout.session", "amount_total": amount, "currency": currency, "mode": "payment",
		"client_reference_id": account, "metadata": map[string]string{}, "payment_intent": "pi_" + id,
		"payment_status": "paid", "status": "complete",
	}
	for _, apply := range change {
		apply(session)
	}
	return event("checkout.session.completed", session)
}

func refunded(id string, amount int64, currency string) string {
	return event("charge.refunded", map[string]any{
		"id": "ch_" + id, "object": "charge", "amount": 10_000, "amount_refunded": amount, "currency": currency,
		"payment_intent": "pi_" + id, "metadata": map[string]string{}, "status": "succeeded",
	})
}

func disputed(kind, id string, amount int64, status string) string {
	return event("charge.dispute."+kind, map[string]any{
		"id": "dp_" + id, "object": "dispute", "amount": amount, "charge": "ch_" + id, "currency": "usd",
		"payment_intent": "pi_" + id, "status": status, "metadata": map[string]string{},
	})
}

// stripe sends a signed event, which must be taken.
func (b *bank) stripe(body string) {
	b.t.Helper()
	if a := b.do(b.stripeSigned(stripeSecret, body)); a.status != http.StatusOK {
		b.t.Errorf("got %d %s for %s", a.status, a.body, body)
	}
}

// view is a payment as the administration sees it.
type view struct {
	Funding                    int64
	Source, ID, Named, Account string
	Amount, Reversed           money.Amount
	Currency                   money.Currency
}

// fundings returns what came in, of the query.
func (b *bank) fundings(query string) []view {
	b.t.Helper()
	var list struct{ Fundings []view }
	b.admin("GET", "/v1/admin/fundings?"+query, nil).into(b.t, http.StatusOK, &list)
	return list.Fundings
}

func TestStripeSignature(t *testing.T) {
	b := newBank(t)
	second, err := broker.NewStripe(stripeSecret, "whsec_the_next_one_0123456789")
	if err != nil {
		t.Fatal(err)
	}
	b.config.PaymentServices = []broker.PaymentService{second}
	b.open()
	u := b.newUser(0)
	number := 0
	send := func(change func(r *http.Request, body string)) answer {
		number++
		body := paidSession(fmt.Sprint(number), u.account, 100, "usd")
		request := b.stripeSigned(stripeSecret, body)
		change(request, body)
		return b.do(request)
	}
	signature := func(value func(body string) string) func(*http.Request, string) {
		return func(r *http.Request, body string) { r.Header.Set("Stripe-Signature", value(body)) }
	}
	at := func(seconds int64, secret string) func(*http.Request, string) {
		return signature(func(body string) string { return stripeSignature(start+seconds, secret, body) })
	}
	good := map[string]func(*http.Request, string){
		"the first secret":  func(*http.Request, string) {},
		"the second secret": at(0, "whsec_the_next_one_0123456789"),
		"late by less":      at(-300, stripeSecret),
		"early by less":     at(300, stripeSecret),
		"one of several": signature(func(body string) string {
			return "v1=" + strings.Repeat("00", 32) + ", " + stripeSignature(start, stripeSecret, body)
		}),
	}
	bad := map[string]func(*http.Request, string){
		"another secret": at(0, "whsec_of_somebody_else_0123456789"),
		"too late":       at(-301, stripeSecret),
		"too early":      at(301, stripeSecret),
		"none":           func(r *http.Request, _ string) { r.Header.Del("Stripe-Signature") },
		"two fields":     func(r *http.Request, body string) { r.Header.Add("Stripe-Signature", r.Header.Get("Stripe-Signature")) },
		"another body":   signature(func(body string) string { return stripeSignature(start, stripeSecret, body+" ") }),
		"only v0": signature(func(body string) string {
			return strings.Replace(stripeSignature(start, stripeSecret, body), "v1=", "v0=", 1)
		}),
		"no time": signature(func(body string) string {
			_, rest, _ := strings.Cut(stripeSignature(start, stripeSecret, body), ",")
			return rest
		}),
		"a time of two":  signature(func(body string) string { return "t=+" + stripeSignature(start, stripeSecret, body)[2:] }),
		"no hexadecimal": signature(func(string) string { return fmt.Sprintf("t=%d,v1=%s", start, strings.Repeat("zz", 32)) }),
		"too long": signature(func(body string) string {
			return stripeSignature(start, stripeSecret, body) + strings.Repeat(",v0=1", 500)
		}),
	}
	for name, change := range good {
		if a := send(change); a.status != http.StatusOK {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	for name, change := range bad {
		t.Run(name, func(t *testing.T) { want(t, send(change), http.StatusUnauthorized, payword.BadSignature) })
	}
	u.wantBalance(money.Amount(len(good))*100*cent, 0)
	b.wantSound()
}

func TestNewStripe(t *testing.T) {
	for _, secrets := range [][]string{nil, {"short"}, {stripeSecret, ""}, {stripeSecret, stripeSecret, stripeSecret, stripeSecret, stripeSecret}} {
		if _, err := broker.NewStripe(secrets...); err == nil {
			t.Errorf("%q were taken", secrets)
		}
	}
}

// A payment is booked once, however often and in whatever order its events
// come, and only when it is paid.
func TestPaymentOnce(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	unpaid := paidSession("1", u.account, 500, "usd", func(s map[string]any) { s["payment_status"] = "unpaid" })
	paid := paidSession("1", u.account, 500, "usd")
	later := strings.Replace(paid, "checkout.session.completed", "checkout.session.async_payment_succeeded", 1)
	for _, body := range []string{unpaid, later, paid, unpaid, later} {
		b.stripe(body)
	}
	u.wantBalance(500*cent, 0)
	want(t, b.do(b.stripeSigned(stripeSecret, paidSession("1", u.account, 501, "usd"))), http.StatusConflict, payword.IdempotencyDiffers)
	b.stripe(paidSession("2", "", 100, "usd", func(s map[string]any) {
		s["client_reference_id"], s["metadata"] = nil, map[string]string{"payword_account": u.account}
	}))
	b.stripe(paidSession("3", u.account, 100, "usd", func(s map[string]any) {
		s["payment_intent"] = map[string]any{"id": "pi_3", "object": "payment_intent"}
	}))
	u.wantBalance(700*cent, 0)
	b.wantSound()
}

// What moves no money is answered and changes nothing.
func TestPaymentsThatAreNone(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	for _, body := range []string{
		paidSession("1", u.account, 0, "usd"),
		paidSession("2", u.account, 0, "usd", func(s map[string]any) { s["payment_status"] = "no_payment_required" }),
		event("checkout.session.expired", map[string]any{"id": "cs_3", "amount_total": 100, "currency": "usd"}),
		event("customer.created", map[string]any{"id": "cus_1", "metadata": []string{}, "status": 1}),
		disputed("created", "4", 100, "warning_needs_response"),
	} {
		b.stripe(body)
	}
	if got := b.fundings(""); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	for _, body := range []string{
		`{"type":`, `[]`, `{"type":"charge.refunded"}`,
		event("checkout.session.completed", map[string]any{"id": 1}),
		paidSession("5", u.account, -1, "usd"),
		paidSession("6", u.account, 1<<60, "usd"),
		paidSession("7", u.account, 1_000_000_000_000, "usd"),
		paidSession("8 ", u.account, 100, "usd"),
		paidSession(strings.Repeat("9", 100), u.account, 100, "usd"),
		paidSession("10", u.account, 100, "dollars"),
		paidSession("11", u.account, 100, "ugx"),
		strings.Replace(refunded("12", 100, "usd"), `"pi_12"`, "null", 1),
	} {
		want(t, b.do(b.stripeSigned(stripeSecret, body)), 422, payword.Accepted)
	}
	want(t, b.do(b.stripeSigned(stripeSecret, strings.Repeat(" ", 64<<10+1))), http.StatusRequestEntityTooLarge, payword.Accepted)
	u.wantBalance(0, 0)
	b.wantSound()
}

// Stripe counts in the smallest unit of a currency, which is not always a
// hundredth, nor what ISO 4217 says.
func TestStripeUnits(t *testing.T) {
	cases := []struct {
		currency money.Currency
		want     money.Amount // of 1000
	}{
		{"usd-micro", 10 * money.Unit}, {"eur-micro", 10 * money.Unit}, {"jpy-micro", 1000 * money.Unit}, {"krw-micro", 1000 * money.Unit},
		{"kwd-micro", money.Unit}, {"isk-micro", 10 * money.Unit}, {"mga-micro", 1000 * money.Unit}, {"huf-micro", 10 * money.Unit},
	}
	for _, c := range cases {
		t.Run(c.currency.Code(), func(t *testing.T) {
			b := newBankWith(t, func(config *broker.Config) { config.Currency = c.currency })
			u := b.newUser(0)
			b.stripe(paidSession("1", u.account, 1000, strings.ToLower(c.currency.Code())))
			u.wantBalance(c.want, 0)
		})
	}
}

// Money of nobody, and in another currency, is in the books all the same; the
// administration gives the former to whom it belongs.
func TestPaymentOfNobody(t *testing.T) {
	b := newBank(t)
	u, other := b.newUser(0), b.newUser(0)
	b.stripe(paidSession("1", "aaaaaaaaaaaaaaaa", 500, "usd"))
	b.stripe(paidSession("2", strings.Repeat("x", 200), 300, "usd"))
	b.stripe(paidSession("3", u.account, 700, "eur"))
	b.stripe(paidSession("4", u.account, 100, "usd"))
	u.wantBalance(100*cent, 0)
	b.wantSound()
	list := b.fundings("unassigned=true")
	if len(list) != 3 || list[0].Named != "aaaaaaaaaaaaaaaa" || len(list[1].Named) != 100 || list[2].Currency != "eur-micro" || list[2].Amount != 7*money.Unit {
		t.Fatalf("got %+v", list)
	}
	assign := func(funding int64, account string) answer {
		return b.admin("POST", fmt.Sprintf("/v1/admin/fundings/%d/assignment", funding), map[string]string{"account": account})
	}
	want(t, assign(99, u.account), http.StatusNotFound, payword.Accepted)
	want(t, assign(list[0].Funding, "aaaaaaaaaaaaaaaa"), http.StatusNotFound, payword.UnknownAccount)
	want(t, assign(list[2].Funding, u.account), 422, payword.WrongCurrency)
	want(t, assign(list[0].Funding, u.account), http.StatusOK, payword.Accepted)
	want(t, assign(list[0].Funding, u.account), http.StatusOK, payword.Accepted)
	want(t, assign(list[0].Funding, other.account), http.StatusConflict, payword.IdempotencyDiffers)
	u.wantBalance(600*cent, 0)
	other.wantBalance(0, 0)
	// A part of it is refunded before it is given to anybody.
	b.stripe(refunded("2", 100, "usd"))
	want(t, assign(list[1].Funding, other.account), http.StatusOK, payword.Accepted)
	other.wantBalance(200*cent, 0)
	b.stripe(refunded("2", 300, "usd"))
	other.wantBalance(0, 0)
	b.stripe(refunded("3", 700, "eur"))
	if list := b.fundings("unassigned=true"); len(list) != 0 {
		t.Errorf("got %+v", list)
	}
	b.wantSound()
}

// What is taken back comes from what is there; the rest is owed and paid by
// what comes in next.
func TestReversals(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(0), b.newShop()
	b.stripe(paidSession("1", u.account, 1000, "usd"))
	p := u.commit(s.origin, 600*cent)
	p.mustReserve(60 * cent)
	// In any order and twice: the sum of a refund is what counts.
	for _, sum := range []int64{300, 100, 300} {
		b.stripe(refunded("1", sum, "usd"))
	}
	u.wantBalance(640*cent, 60*cent)
	b.stripe(disputed("created", "1", 1000, "needs_response"))
	b.stripe(disputed("funds_withdrawn", "1", 1000, "needs_response"))
	u.wantBalance(0, 60*cent) // 60 are owed, and what is reserved stays the vendor's
	b.wantSound()
	s.wantResult(s.claim(p, 50, 50*cent, final), payword.Accepted, 50*cent, 50*cent)
	runRound(b)
	u.wantBalance(0, 0)
	b.stripe(paidSession("2", u.account, 100, "usd"))
	u.wantBalance(50*cent, 0)
	b.wantSound()
	// The dispute is won: all but what was refunded comes back.
	b.stripe(disputed("funds_reinstated", "1", 1000, "won"))
	b.stripe(disputed("created", "1", 1000, "needs_response"))
	u.wantBalance(750*cent, 0)
	b.wantSound()
}

// A payment that is booked under two names is taken back once.
func TestReversalOfAPaymentWithTwoNames(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u := b.newUser(0)
	second := paidSession("2", u.account, 100, "usd", func(session map[string]any) { session["payment_intent"] = "pi_1" })
	b.stripe(paidSession("1", u.account, 100, "usd"))
	b.stripe(refunded("1", 100, "usd"))
	u.wantBalance(0, 0)
	b.stripe(second)
	u.wantBalance(100*cent, 0)
	b.wantSound()
	b.stripe(refunded("1", 150, "usd"))
	u.wantBalance(50*cent, 0)
	b.wantSound()
}

// An account whose books do not agree does not keep others from paying what they
// owe.
func TestOneDebtDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	s := b.newShop()
	var users []*user
	for k := range 3 {
		u, id := b.newUser(0), fmt.Sprint("d", k)
		b.stripe(paidSession(id, u.account, 100, "usd"))
		p := u.commit(s.origin, 100*cent)
		p.mustReserve(100 * cent)
		b.stripe(disputed("created", id, 30, "needs_response"))
		s.wantResult(s.claim(p, 10, 10*cent, final), payword.Accepted, 10*cent, 10*cent)
		users = append(users, u)
	}
	first := slices.MinFunc(users, func(a, b *user) int { return strings.Compare(a.account, b.account) })
	dbtest.Tamper(t, b.config.Database, `UPDATE accounts SET currency = 'eur-micro' WHERE id = 'user:`+first.account+`:owed'`)
	if err := b.CollectDue(t.Context()); err == nil || !strings.Contains(err.Error(), first.account) {
		t.Errorf("got %v, want an error that names %s", err, first.account)
	}
	for _, u := range users {
		if u != first {
			u.wantBalance(60*cent, 0)
		}
	}
}

// Who owes reserves nothing, whatever the credit line, until it is paid.
func TestDebtsComeFirst(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(0), b.newShop()
	u.tie("customer 1")
	if _, refusal, err := b.SetCredit(t.Context(), u.account, 500*cent); err != nil || refusal.Refused() {
		t.Fatal(refusal, err)
	}
	b.stripe(paidSession("1", u.account, 100, "usd"))
	u.commit(s.origin, 100*cent).mustReserve(100 * cent)
	b.stripe(refunded("1", 40, "usd"))
	p := u.commit(s.origin, 100*cent)
	a := p.reserve(cent)
	want(t, a, http.StatusConflict, payword.InsufficientFunds)
	if !strings.Contains(string(a.body), "owes 0.40 USD") {
		t.Errorf("got %s", a.body)
	}
	owed := func() money.Amount {
		var account payword.Account
		u.call(u.key, "GET", payword.PathAccount, nil).into(t, http.StatusOK, &account)
		return account.Owed
	}
	if got := owed(); got != 40*cent {
		t.Errorf("the account owes %s, want 0.40", got.Decimal())
	}
	u.fund("pays", 40*cent)
	if got := owed(); got != 0 {
		t.Errorf("the account owes %s, want nothing", got.Decimal())
	}
	p.mustReserve(cent)
	b.wantSound()
}

// runRound does the background work once.
func runRound(b *bank) {
	b.t.Helper()
	if err := b.CollectDue(b.t.Context()); err != nil {
		b.t.Error(err)
	}
}

// wantUnmatched checks which reversals wait for their payment.
func (b *bank) wantUnmatched(want ...string) {
	b.t.Helper()
	var list struct {
		Reversals []struct {
			ID, Currency, Cause string
			Funding             int64
		}
	}
	b.admin("GET", "/v1/admin/reversals?unmatched=true", nil).into(b.t, http.StatusOK, &list)
	var got []string
	for _, r := range list.Reversals {
		got = append(got, fmt.Sprint(r.ID, " ", r.Currency, " ", r.Cause, " ", r.Funding))
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("got unmatched %q, want %q", got, want)
	}
}

// A refund may arrive before its payment, and a credit line is not drawn for it.
func TestReversalBeforePayment(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	u.tie("customer 1")
	if _, refusal, err := b.SetCredit(t.Context(), u.account, 500*cent); err != nil || refusal.Refused() {
		t.Fatal(refusal, err)
	}
	b.stripe(refunded("1", 400, "usd"))
	b.stripe(refunded("1", 400, "eur"))
	u.wantBalance(500*cent, 0)
	b.wantUnmatched("ch_1 usd-micro refund 0") // the first that was said of the charge counts
	b.stripe(paidSession("1", u.account, 1000, "usd"))
	b.wantUnmatched()
	u.wantBalance(1100*cent, 0)
	b.stripe(disputed("created", "9", 1000, "needs_response"))
	b.wantUnmatched("dp_9 usd-micro dispute 0")
	b.stripe(disputed("funds_reinstated", "9", 1000, "won"))
	b.wantUnmatched()
	b.stripe(paidSession("2", u.account, 100, "usd"))
	b.stripe(refunded("1", 5000, "usd"))
	u.wantBalance(600*cent, 0)
	if got := b.fundings("source=stripe"); len(got) != 2 || got[0].Reversed != 10*money.Unit || got[1].Reversed != 0 {
		t.Errorf("got %+v", got)
	}
	b.wantSound()
}

// An answer that is lost after the work was done changes nothing when the event
// comes again.
func TestPaymentWhoseAnswerIsLost(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	for _, point := range []string{"before receive payment", "after receive payment"} {
		body := paidSession(strings.Fields(point)[0], u.account, 100, "usd")
		b.SetFault(func(at string) error {
			if at == point {
				return errDisk
			}
			return nil
		})
		want(t, b.do(b.stripeSigned(stripeSecret, body)), http.StatusServiceUnavailable, payword.Accepted)
		b.SetFault(nil)
		b.stripe(body)
		b.stripe(body)
	}
	u.wantBalance(200*cent, 0)
	b.wantSound()
}
