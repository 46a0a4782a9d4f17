package cards_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// gateway registers a backed gateway with the broker, which may take so much cash
// in a day, and returns its key.
func (o *office) gateway(name string, dayLimit money.Amount) ed25519.PrivateKey {
	o.t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{name[0]}, ed25519.SeedSize))
	public := key.Public().(ed25519.PublicKey)
	err := o.db.Update(o.t.Context(), func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(o.t.Context(), `INSERT INTO broker_gateways (name, key_id, key, day_limit, backed, created) VALUES (?, ?, ?, ?, 1, ?)`,
			name, payword.Thumbprint(public), []byte(public), int64(dayLimit), tx.Now().UnixMicro())
		if err != nil {
			return err
		}
		return tx.CreateAccount(o.t.Context(), ledger.Account{ID: "gateway:" + name + ":in", Currency: eur})
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return key
}

// forwarding registers a merchant whose payments go on to a gateway, and returns
// its SAM.
func (o *office) forwarding(number int, gateway string) *purse.SoftSAM {
	o.t.Helper()
	id := merchantID(number)
	err := o.RegisterMerchant(o.t.Context(), cards.Merchant{ID: id, KeyVersion: 1, Name: fmt.Sprintf("Kiosk %d", number), Destination: "gateway:" + gateway})
	if err != nil {
		o.t.Fatal(err)
	}
	sam, err := purse.NewSoftSAM(o.keys, 1, id)
	if err != nil {
		o.t.Fatal(err)
	}
	return sam
}

// What a merchant of a gateway takes goes on to the gateway, whole and once,
// whichever way it comes.
func TestForwardedPayments(t *testing.T) {
	o := newOffice(t)
	o.gateway("purse", 0)
	sam := o.forwarding(1, "purse")
	card := o.card(1, o.account(1, 100*money.Unit))
	o.load(card, 50_00)
	record, previous := o.pay(sam, card, 5_00)
	for k := range 2 {
		receipt, refusal, err := o.PayOnline(t.Context(), record, previous)
		if err != nil || refusal != nil || receipt.Amount != 5*money.Unit || receipt.Fee != 0 || receipt.Repeated != (k == 1) {
			t.Fatalf("%+v %v (%v)", receipt, refusal, err)
		}
		o.wantBalance("gateway:purse:in", 5*money.Unit)
	}
	late, before := o.pay(sam, card, 2_00)
	batch := closed(sam)
	receipt := o.submit(sam)
	if receipt.Booked != 2*money.Unit || receipt.Fee != 0 {
		t.Errorf("batch: %+v", receipt)
	}
	o.wantBalance("gateway:purse:in", 7*money.Unit)
	// The batch was first; the payment and the batch come again.
	if receipt, refusal, err := o.PayOnline(t.Context(), late, before); err != nil || refusal != nil || !receipt.Repeated {
		t.Errorf("%+v %v (%v)", receipt, refusal, err)
	}
	if receipt, refusals, err := o.SubmitBatch(t.Context(), batch); err != nil || len(refusals) > 0 || !receipt.Repeated {
		t.Errorf("%+v %v (%v)", receipt, refusals, err)
	}
	// A claim that nobody contradicts goes on as well; one that the SAM's void
	// answers is the holder's.
	proof, macz, err := card.Pay(sam.Merchant, sam.Next(), 3_00, start)
	if err != nil {
		t.Fatal(err)
	}
	if _, refusal, err := o.Claim(t.Context(), proof.Append(nil), macz, "x"); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	o.wantBalance("gateway:purse:in", 7*money.Unit)
	if _, _, err := sam.Commit(proof, macz); err != nil {
		t.Fatal(err)
	}
	o.submit(sam)
	o.wantBalance("gateway:purse:in", 10*money.Unit)
	o.wantBalance("merchant:"+sam.Merchant.String()+":payable", 0)
	o.wantBalance("broker:fees", 0)
	_, refusal, err := o.Object(t.Context(), sam.Merchant, 1, "not me")
	wantRefusal(t, refusal, err, cards.Forwarded)
	o.wantSound()
}

// Payments go on only to a gateway that is there, and only once the merchant is
// owed nothing from before.
func TestForwardingIsChecked(t *testing.T) {
	o := newOffice(t)
	sam, card := o.sam(1), o.card(1, "")
	change := func(destination string) error {
		return o.RegisterMerchant(t.Context(), cards.Merchant{ID: sam.Merchant, KeyVersion: 1, Name: "Kiosk", Destination: destination})
	}
	if err := change("gateway:purse"); !errors.Is(err, cards.ErrUnknown) {
		t.Errorf("a gateway that is not there: %v", err)
	}
	o.gateway("purse", 0)
	o.load(card, 50_00)
	record, previous := o.pay(sam, card, 5_00)
	if _, refusal, err := o.PayOnline(t.Context(), record, previous); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	if err := change("gateway:purse"); !errors.Is(err, cards.ErrOwed) {
		t.Errorf("with money of the merchant's: %v", err)
	}
	fresh := o.forwarding(2, "purse")
	if err := o.RegisterMerchant(t.Context(), cards.Merchant{ID: fresh.Merchant, KeyVersion: 1, Name: "Shop", Destination: "ref:shop"}); err != nil {
		t.Errorf("back to a bank: %v", err)
	}
	o.wantSound()
}

// A gateway takes cash for white cards up to its limit of the day, and pays out
// what white cards have paid it.
func TestGatewayCash(t *testing.T) {
	o := newOffice(t)
	o.gateway("purse", 60*money.Unit)
	sam, other := o.forwarding(1, "purse"), o.sam(2)
	white, owned := o.card(1, ""), o.card(2, o.account(1, 50*money.Unit))
	loadAt := func(gateway string, card *purse.SoftCard, amount uint32) *purse.Refusal {
		t.Helper()
		request, answer := ask(card, amount)
		a, refusal, err := o.AuthoriseLoadAt(t.Context(), gateway, request, answer)
		if err != nil {
			t.Fatal(err)
		}
		if refusal != nil {
			return refusal
		}
		receipt, err := card.Credit(a.Credit)
		if err != nil {
			t.Fatal(err)
		}
		if refusal, err := o.ConfirmLoad(t.Context(), a.Reference, receipt.Append(nil)); err != nil || refusal != nil {
			t.Fatalf("%v (%v)", refusal, err)
		}
		return nil
	}
	wantRefusal(t, loadAt("", white, 10_00), nil, cards.Unsigned)
	wantRefusal(t, loadAt("nobody", white, 10_00), nil, cards.Unsigned)
	wantRefusal(t, loadAt("purse", white, 60_01), nil, cards.OverLimit)
	if refusal := loadAt("purse", white, 40_00); refusal != nil {
		t.Fatal(refusal)
	}
	wantRefusal(t, loadAt("purse", white, 20_01), nil, cards.OverLimit)
	if refusal := loadAt("", owned, 30_00); refusal != nil {
		t.Fatal(refusal)
	}
	o.wantBalance("broker:cards:cash:purse", -40*money.Unit)
	o.wantBalance("broker:cards:cash", 0)
	o.now.Add(86400)
	if refusal := loadAt("purse", white, 60_00); refusal != nil {
		t.Errorf("a day later: %v", refusal)
	}

	paid := func(sam *purse.SoftSAM, card *purse.SoftCard, amount uint32) uint32 {
		t.Helper()
		record, previous := o.pay(sam, card, amount)
		if _, refusal, err := o.PayOnline(t.Context(), record, previous); err != nil || refusal != nil {
			t.Fatalf("%v (%v)", refusal, err)
		}
		return sam.TNo
	}
	tno := paid(sam, white, 15_00)
	for range 2 {
		if refusal, err := o.CashOut(t.Context(), "purse", sam.Merchant, tno); err != nil || refusal != nil {
			t.Fatalf("%v (%v)", refusal, err)
		}
		o.wantBalance("broker:cards:cash:purse", -85*money.Unit)
		o.wantBalance("gateway:purse:in", 0)
	}
	o.gateway("kiosk", 1)
	for _, c := range []struct {
		name, gateway string
		sam           *purse.SoftSAM
		tno           uint32
		want          purse.Reason
	}{
		{"nobody paid", "purse", sam, tno + 9, cards.UnknownPayment},
		{"the card has an account", "purse", sam, paid(sam, owned, 1_00), cards.HasAccount},
		{"a merchant of its own", "purse", other, paid(other, white, 1_00), cards.NotForwarded},
		{"another gateway", "kiosk", sam, tno, cards.NotForwarded},
	} {
		refusal, err := o.CashOut(t.Context(), c.gateway, c.sam.Merchant, c.tno)
		if wantRefusal(t, refusal, err, c.want); t.Failed() {
			t.Fatal(c.name)
		}
	}
	// What is on an account already is not paid out, too.
	spent := paid(sam, white, 2_00)
	o.fundByGateway("purse", "x", 3*money.Unit)
	refusal, err := o.CashOut(t.Context(), "purse", sam.Merchant, spent)
	wantRefusal(t, refusal, err, cards.Insufficient)
	if _, err := o.db.ExecOne(t.Context(), `UPDATE broker_gateways SET day_limit = 0 WHERE name = 'purse'`); err != nil {
		t.Fatal(err)
	}
	refusal, err = o.CashOut(t.Context(), "purse", sam.Merchant, spent)
	wantRefusal(t, refusal, err, cards.OverLimit)
	o.wantSound()
}

// fundByGateway puts money of a gateway on the first account, as the broker does.
func (o *office) fundByGateway(gateway, id string, amount money.Amount) {
	o.t.Helper()
	ctx, account, in := o.t.Context(), "accountaaaaaaaab", "gateway:"+gateway+":in"
	err := o.db.Update(ctx, func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_fundings (source, id, payment, named, account, debit, amount, currency, reversed, version, created)
			VALUES (?, ?, '', ?, ?, ?, ?, ?, 0, 1, ?)`, "gateway:"+gateway, id, account, account, in, int64(amount), string(eur), tx.Now().UnixMicro())
		if err != nil {
			return err
		}
		return tx.Post(ctx, ledger.Transfer{ID: "fund/gateway:" + gateway + "/" + id, Debit: in, Credit: "user:" + account + ":available",
			Amount: amount, Currency: eur, Kind: "fund"})
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// signedAnswer sends a request that a gateway signs, and returns status and body.
func (o *office) signedAnswer(h http.Handler, key ed25519.PrivateKey, method, target string, body []byte, change ...func(*http.Request)) (int, map[string]any) {
	o.t.Helper()
	absolute, err := http.NewRequestWithContext(o.t.Context(), method, cardsOrigin+target, bytes.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	if err := payword.SignRequest(absolute, body, key, payword.Nonce{1}, o.now.Load()); err != nil {
		o.t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(o.t.Context(), method, target, bytes.NewReader(body))
	r.Header, r.RemoteAddr = absolute.Header, "192.0.2.1:1"
	for _, apply := range change {
		apply(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		o.t.Fatalf("%s %s: %s", method, target, w.Body)
	}
	return w.Code, answer
}

// What a terminal does with clearing over HTTP, once and once more.
func TestHandlerForTerminals(t *testing.T) {
	o := newOffice(t)
	h, key := o.handler(), o.gateway("purse", 100*money.Unit)
	sam := o.forwarding(1, "purse")
	account := o.account(1, 100*money.Unit)
	card, white := o.card(1, account), o.card(2, "")
	const from = "192.0.2.1:1234"
	expect := func(wantStatus int, member string, want any) func(int, map[string]any) string {
		return func(status int, answer map[string]any) string {
			t.Helper()
			if status != wantStatus || answer[member] != want {
				t.Errorf("got %d %v, want %d with %s %v", status, answer, wantStatus, member, want)
			}
			text, _ := answer["load"].(string)
			return text
		}
	}
	request, initial := ask(card, 20_00)
	var load, credit string
	for range 2 {
		status, answer := answered(t, h, "POST", "/v1/loads", from, append(slices.Clone(request), initial...))
		load, _ = answer["load"].(string)
		credit, _ = answer["credit"].(string)
		if status != 200 || len(load) != 16 || len(credit) != 64 {
			t.Fatalf("load: %d %v", status, answer)
		}
	}
	raw, err := hex.DecodeString(credit)
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := card.Credit(raw)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := answered(t, h, "POST", "/v1/loads/"+load+"/challenge", from, nil)
	challenge, err := hex.DecodeString(fmt.Sprint(answer["challenge"]))
	if status != 200 || err != nil || len(challenge) != 16 {
		t.Fatalf("challenge: %d %v", status, answer)
	}
	taken := card.LoadStatus(purse.Random(challenge)).Append(nil)
	for range 2 {
		expect(200, "isTaken", true)(answered(t, h, "POST", "/v1/loads/"+load+"/status", from, taken))
		expect(200, "isTaken", true)(answered(t, h, "POST", "/v1/loads/"+load+"/receipt", from, receipt.Append(nil)))
	}
	expect(409, "reason", string(cards.LoadEnded))(answered(t, h, "POST", "/v1/loads/"+load+"/challenge", from, nil))
	expect(404, "reason", string(cards.UnknownLoad))(answered(t, h, "POST", "/v1/loads/0000000000000001/challenge", from, nil))
	expect(404, "reason", string(cards.UnknownLoad))(answered(t, h, "POST", "/v1/loads/0000000000000001/receipt", from, receipt.Append(nil)))
	expect(422, "reason", string(purse.Malformed))(answered(t, h, "POST", "/v1/loads/nothing/receipt", from, receipt.Append(nil)))
	expect(422, "reason", string(purse.Malformed))(answered(t, h, "POST", "/v1/loads", from, request))

	// A white card is loaded where a gateway signs that it took the cash.
	request, initial = ask(white, 10_00)
	whole := append(slices.Clone(request), initial...)
	expect(401, "reason", string(cards.Unsigned))(answered(t, h, "POST", "/v1/loads", from, whole))
	status, answer = o.signedAnswer(h, key, "POST", "/v1/loads", whole)
	if raw, err = hex.DecodeString(fmt.Sprint(answer["credit"])); status != 200 || err != nil {
		t.Fatalf("white load: %d %v", status, answer)
	}
	if _, err = white.Credit(raw); err != nil {
		t.Fatal(err)
	}
	record, previous := o.pay(sam, white, 4_00)
	expect(200, "feeMicros", "0")(answered(t, h, "POST", "/v1/payments", from, append(record, previous[:]...)))
	cash := "/v1/payments/" + sam.Merchant.String() + "/1/cash"
	expect(401, "reason", string(cards.Unsigned))(answered(t, h, "POST", cash, from, nil))
	for range 2 {
		expect(200, "isPaid", true)(o.signedAnswer(h, key, "POST", cash, nil))
	}
	expect(422, "reason", string(purse.Malformed))(o.signedAnswer(h, key, "POST", "/v1/payments/"+sam.Merchant.String()+"/x/cash", nil))

	expect(200, "account", account)(o.signedAnswer(h, key, "GET", "/v1/cards/"+card.ID.String()+"/account", nil))
	expect(200, "account", "")(o.signedAnswer(h, key, "GET", "/v1/cards/"+white.ID.String()+"/account", nil))
	expect(404, "reason", string(cards.UnknownCard))(o.signedAnswer(h, key, "GET", "/v1/cards/"+cardID(9).String()+"/account", nil))

	proof, macz, err := card.Pay(sam.Merchant, sam.Next(), 3_00, start)
	if err != nil {
		t.Fatal(err)
	}
	claim := append(proof.Append(nil), macz[:]...)
	for range 2 {
		expect(200, "state", "open")(answered(t, h, "POST", "/v1/claims", from, claim))
	}
	sam.Void(card.ID, proof.SNo, 3_00, start, purse.Unproved)
	o.submit(sam)
	expect(200, "state", "holder")(answered(t, h, "POST", "/v1/claims", from, claim))
	o.wantBalance("user:"+account+":available", 83*money.Unit)
	claim[20] ^= 1
	expect(422, "reason", string(purse.WrongProof))(answered(t, h, "POST", "/v1/claims", from, claim))
	o.wantSound()
}

// Whoever brings a gateway cards that are none keeps nobody else from it; whoever
// has no key of a gateway is kept out as before.
func TestHandlerDoesNotCountWhatGatewaysSign(t *testing.T) {
	o := newOffice(t)
	h, key := o.handler(), o.gateway("purse", 100*money.Unit)
	request, initial := ask(o.card(1, o.account(1, 100*money.Unit)), 1_00)
	forged := append(request, initial...)
	forged[len(forged)-1] ^= 1
	claim := make([]byte, purse.ProofLength+16)
	for _, c := range []struct {
		method, target string
		body           []byte
	}{
		{"GET", "/v1/cards/" + cardID(9).String() + "/scripts", nil},
		{"GET", "/v1/cards/" + cardID(9).String() + "/account", nil},
		{"POST", "/v1/loads", forged},
		{"POST", "/v1/loads/0000000000000001/status", make([]byte, purse.StatusLength)},
		{"POST", "/v1/claims", claim},
	} {
		for range 31 {
			if status, answer := o.signedAnswer(h, key, c.method, c.target, c.body); status < 400 || status == 429 {
				t.Fatalf("%s: got %d %v, want a refusal", c.target, status, answer)
			}
		}
	}
	stranger := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	for range 30 {
		if status, answer := o.signedAnswer(h, stranger, "POST", "/v1/claims", claim); status == 429 {
			t.Fatalf("got %v", answer)
		}
	}
	if status, answer := o.signedAnswer(h, stranger, "POST", "/v1/claims", claim); status != 429 {
		t.Errorf("a stranger after 30 refusals: got %d %v, want 429", status, answer)
	}
}

// The key of a gateway that was stopped tells nobody whose a card is.
func TestHandlerTellsStoppedGatewaysNoAccounts(t *testing.T) {
	o := newOffice(t)
	h, key := o.handler(), o.gateway("purse", 0)
	card := o.card(1, o.account(1, money.Unit))
	status, answer := o.signedAnswer(h, key, "GET", "/v1/cards/"+card.ID.String()+"/account", nil)
	if status != 422 || answer["reason"] != string(cards.OverLimit) || answer["account"] != nil {
		t.Errorf("got %d %v", status, answer)
	}
}

// What is signed by nobody, by somebody else, for something else or long ago is
// refused.
func TestHandlerChecksSignatures(t *testing.T) {
	o := newOffice(t)
	h, key := o.handler(), o.gateway("purse", 100*money.Unit)
	card := o.card(1, o.account(1, money.Unit))
	target := "/v1/cards/" + card.ID.String() + "/account"
	if status, answer := o.signedAnswer(h, key, "GET", target, nil); status != 200 {
		t.Fatalf("got %d %v", status, answer)
	}
	stranger := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	for _, c := range []struct {
		name   string
		key    ed25519.PrivateKey
		change func(r *http.Request)
	}{
		{"a stranger", stranger, func(*http.Request) {}},
		{"another card", key, func(r *http.Request) { r.RequestURI = target + "?x=1" }},
		{"another method", key, func(r *http.Request) { r.Header.Set(payword.HeaderSignatureInput, "sig=()") }},
		{"no digest", key, func(r *http.Request) {
			r.Header.Set(payword.HeaderContentDigest, payword.ContentDigest([]byte("x")))
			r.Header.Del(payword.HeaderSignature)
		}},
		{"two signatures", key, func(r *http.Request) { r.Header.Add(payword.HeaderSignature, "sig=:x:") }},
		{"long ago", key, func(*http.Request) { o.now.Add(payword.RequestMaxAgeSeconds + 1) }},
	} {
		status, answer := o.signedAnswer(h, c.key, "GET", target, nil, c.change)
		if status != 401 || answer["reason"] != string(cards.Unsigned) {
			t.Errorf("%s: got %d %v", c.name, status, answer)
		}
	}
	silent := o.Handler(cards.HandlerConfig{})
	if status, answer := o.signedAnswer(silent, key, "GET", target, nil); status != 401 {
		t.Errorf("without an origin: %d %v", status, answer)
	}
	// The body that arrived counts, not the one that a field names.
	request, initial := ask(o.card(2, ""), 1_00)
	status, answer := o.signedAnswer(h, key, "POST", "/v1/loads", append(request, initial...), func(r *http.Request) {
		other, answered := ask(o.card(3, ""), 1_00)
		swapped, err := http.NewRequestWithContext(t.Context(), "POST", "/v1/loads", bytes.NewReader(append(other, answered...)))
		if err != nil {
			t.Fatal(err)
		}
		r.Body = swapped.Body
	})
	if status != 401 {
		t.Errorf("another body under the signature: %d %v", status, answer)
	}
}
