package broker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// examplesVariable names a file to write the examples of the OpenAPI document
// to, such as examples.json in this folder, after bodies have changed.
const examplesVariable = "PAYWORD_EXAMPLES"

// exchange is what was sent and answered. What is no JSON is a string.
type exchange struct {
	Request json.RawMessage `json:"request,omitempty"`
	Answer  json.RawMessage `json:"answer,omitempty"`
}

// record returns what a bank notes for the document: of each operation the first
// request that succeeded.
func (b *bank) record(into map[string]exchange) func(*http.Request, answer) {
	d, err := b.description()
	if err != nil {
		b.t.Fatal(err)
	}
	asJSON := func(body []byte) json.RawMessage {
		if json.Valid(body) || len(body) == 0 {
			return bytes.TrimSpace(body)
		}
		text, _ := json.Marshal(string(body))
		return text
	}
	return func(request *http.Request, a answer) {
		id, _ := d.operations[d.operationOf(request)]["operationId"].(string)
		if _, isKnown := into[id]; isKnown || id == "" || a.status >= 300 {
			return
		}
		var sent []byte
		if request.GetBody != nil {
			body, _ := request.GetBody()
			sent, _ = io.ReadAll(body)
		}
		into[id] = exchange{asJSON(sent), asJSON(a.body)}
	}
}

// The story calls every operation that is described; what it sends and gets are
// the examples.
func TestExamplesAreOfAStory(t *testing.T) {
	b := newBank(t)
	found := make(map[string]exchange)
	b.heard = b.record(found)
	names := b.tellEverything()
	d, err := b.description()
	if err != nil {
		t.Fatal(err)
	}
	for route, operation := range d.operations {
		id, _ := operation["operationId"].(string)
		if _, isFound := found[id]; !isFound {
			t.Errorf("%s: the story does not call %s, or without success", route, id)
		}
	}
	delete(found, "getOpenAPI") // the document itself
	path := os.Getenv(examplesVariable)
	if path == "" {
		return
	}
	text, err := json.MarshalIndent(found, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(names.Replace(string(text))+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tellEverything does everything that a broker is asked for, and returns what
// puts names into the place of the addresses of the test.
func (b *bank) tellEverything() *strings.Replacer {
	t := b.t
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json", payword.PathBrokerKeys} {
		want(t, b.plain("GET", path, nil), http.StatusOK, payword.Accepted)
	}
	u, s, ops := b.newUser(0), b.newShop(), b.newReceiver()
	put := func(path string, body any) { want(t, b.admin("PUT", path, body), http.StatusOK, payword.Accepted) }
	post := func(path string, body any) { want(t, b.admin("POST", path, body), http.StatusOK, payword.Accepted) }
	get := func(path string) { want(t, b.admin("GET", path, nil), http.StatusOK, payword.Accepted) }
	account := "/v1/admin/accounts/" + u.account
	post("/v1/admin/fundings", map[string]any{"id": "transfer-1", "account": u.account, "amount": 50 * money.Unit, "currency": usd})
	put(account+"/holder", map[string]string{"holder": "customer 4711"})
	put(account+"/credit", map[string]any{"credit": 5 * money.Unit})
	put(account+"/limits", payword.Limits{Day: micros(40 * money.Unit)})
	b.tellPayments(u)
	p := b.tellOwner(u, s)
	b.tellVendor(s, p, ops.URL)
	post(account+"/block", map[string]string{"reason": "a phone was stolen"})
	post(account+"/unblock", map[string]string{"reason": "it was found"})
	post("/v1/admin/revocations", map[string]string{"account": u.account})
	for _, path := range []string{"accounts", "accounts/" + u.account, "fundings", "reversals", "gateways", "account-payouts?state=paid", "vouchers"} {
		get("/v1/admin/" + path)
	}
	other := u.newDevice("tablet")
	want(t, b.admin("DELETE", account+"/devices/"+payword.Thumbprint(publicKey(other.key)), nil), http.StatusOK, payword.Accepted)
	want(t, u.close(ownIBAN), http.StatusOK, payword.Accepted)
	return strings.NewReplacer(s.origin, "https://news.example", url.QueryEscape(s.origin), url.QueryEscape("https://news.example"), ops.URL, "https://ops.example")
}

// tellPayments has money come in from a payment service, a gateway and a
// voucher.
func (b *bank) tellPayments(u *user) {
	t, gateway := b.t, newKey()
	b.stripe(paidSession("1", "aaaaaaaaaaaaaaaa", 500, "usd"))
	b.stripe(refunded("2", 100, "usd"))
	stray := b.fundings("unassigned=true")[0].Funding
	want(t, b.admin("POST", fmt.Sprintf("/v1/admin/fundings/%d/assignment", stray), map[string]string{"account": u.account}),
		http.StatusOK, payword.Accepted)
	want(t, b.setGateway("purse", gateway, 1000*money.Unit), http.StatusOK, payword.Accepted)
	want(t, b.call(gateway, "GET", "/v1/gateway/accounts/"+u.account, nil), http.StatusOK, payword.Accepted)
	want(t, b.call(gateway, "POST", "/v1/gateway/fundings", cardFunding("card-0001-17", u.account, 10*money.Unit)), http.StatusOK, payword.Accepted)
	codes := b.voucherCodes("2027-01", 2, 10*money.Unit, 3600)
	want(t, u.redeemVoucher(codes[0]), http.StatusOK, payword.Accepted)
}

// tellOwner does what the owner of an account does, and returns what is promised
// to the vendor.
func (b *bank) tellOwner(u *user, s *shop) *purse {
	t := b.t
	ask := func(method, path string, body any) answer {
		a := u.call(u.key, method, path, body)
		want(t, a, http.StatusOK, payword.Accepted)
		return a
	}
	want(t, u.setLimits(payword.Limits{VendorDay: micros(10 * money.Unit)}), http.StatusOK, payword.Accepted)
	other := u.newDevice("laptop")
	device := payword.PathDevices + "/" + payword.Thumbprint(publicKey(other.key))
	ask("PUT", device, map[string]string{"name": "old laptop"})
	p := u.commit(s.origin, 5*money.Unit)
	p.mustReserve(5 * money.Unit)
	subject := p.m.Certificate.Subject
	want(t, u.renew(subject), http.StatusOK, payword.Accepted)
	spare, _ := u.certificate()
	want(t, u.revoke(spare.Subject), http.StatusOK, payword.Accepted)
	b.plain("GET", "/v1/status-lists/1", nil)
	agent := u.newSub(5*money.Unit, payword.Limits{Day: micros(money.Unit)})
	ask("PUT", payword.PathSubAccounts+"/"+agent.account, payword.ChangeSubAccount{Limits: &payword.Limits{Day: micros(2 * money.Unit)}})
	agent.commit(s.origin, money.Unit).mustReserve(money.Unit)
	for _, id := range []string{"rent", "gift"} {
		want(t, u.payout(id, money.Unit), http.StatusOK, payword.Accepted)
	}
	for _, path := range []string{
		payword.PathAccount, payword.PathExport, payword.PathLimits, payword.PathDevices, payword.PathReservations, payword.PathCertificates, payword.PathPayouts,
		payword.PathSubAccounts, payword.PathSubAccounts + "/" + agent.account + "/vendors",
	} {
		ask("GET", path, nil)
	}
	ask("POST", payword.PathSubAccounts+"/"+agent.account+"/close", nil)
	ask("DELETE", device, nil)
	want(t, b.endPayout(u, "rent", "paid"), http.StatusOK, payword.Accepted)
	want(t, b.endPayout(u, "gift", "refused"), http.StatusOK, payword.Accepted)
	return p
}

// tellVendor does what a vendor does.
func (b *bank) tellVendor(s *shop, p *purse, ops string) {
	t := b.t
	ask := func(method, path string, body any) {
		t.Helper()
		want(t, s.call(s.key, method, path, body), http.StatusOK, payword.Accepted)
	}
	hook := s.addWebhook(ops+"/payword", "redemption.paid")
	s.wantResult(s.claim(p, 30, 30*cent), payword.Accepted, 30*cent, 30*cent)
	ask("PUT", "/v1/vendor/contact", map[string]string{"vendor": s.origin, "contact": "ops@news.example"})
	want(t, s.ask(iban), http.StatusOK, payword.Accepted)
	b.clock.advance(destinationDelay)
	s.settle()
	b.deliver()
	want(t, s.payOut("payout-1", 10*cent, cent), http.StatusOK, payword.Accepted)
	vendor, day := "?vendor="+s.origin, b.dayOf()
	from := "&from=" + b.clock.now().UTC().AddDate(0, 0, -7).Format("2006-01-02") + "&to=" + day
	for _, path := range []string{
		"/v1/vendor" + vendor, "/v1/vendor/webhooks" + vendor, "/v1/vendor/deliveries" + vendor, "/v1/vendor/statement" + vendor + from,
		"/v1/vendor/statement.csv" + vendor + from, "/v1/vendor/commitments/" + p.m.ID.String() + vendor,
	} {
		ask("GET", path, nil)
	}
	b.deliver()
	ask("POST", "/v1/vendor/deliveries/"+s.deliveries()[0].ID+"/retry"+vendor, nil)
	ask("DELETE", "/v1/vendor/webhooks/"+hook+vendor, nil)
	want(t, b.admin("POST", "/v1/admin/vendors", map[string]string{"vendor": s.origin}), http.StatusOK, payword.Accepted)
	s.setState("blocked")
}

// Every body in the document has an example, which its own schema accepts.
func TestEveryBodyHasAnExample(t *testing.T) {
	d, err := newBank(t).description()
	if err != nil {
		t.Fatal(err)
	}
	check := func(route string, pointer ...string) {
		media := object(d.document, pointer...)
		shown, isThere := media["example"]
		if !isThere {
			if !slices.Contains(pointer, "application/openapi+json") {
				t.Errorf("%s: no example at %q", route, pointer)
			}
			return
		}
		schema, err := d.schema(append(slices.Clone(pointer), "schema")...)
		if err == nil {
			err = schema.Validate(shown)
		}
		if err != nil {
			t.Errorf("%s: the example at %q: %v", route, pointer, err)
		}
	}
	for route, operation := range d.operations {
		method, path, _ := strings.Cut(route, " ")
		place := []string{"paths", path, strings.ToLower(method)}
		for media := range object(operation, "requestBody", "content") {
			check(route, append(slices.Clone(place), "requestBody", "content", media)...)
		}
		for status := range object(operation, "responses") {
			for media := range object(operation, "responses", status, "content") {
				check(route, append(slices.Clone(place), "responses", status, "content", media)...)
			}
			if code := object(operation, "responses", status, "content", "application/problem+json", "example")["status"]; code != nil && status != "default" && fmt.Sprint(code) != status {
				t.Errorf("%s: the example of status %s has %v", route, status, code)
			}
		}
	}
}

// The document has the structure that OpenAPI 3.1 asks for, by the schema that
// the OpenAPI Initiative publishes.
func TestOpenAPIHasItsStructure(t *testing.T) {
	d, err := newBank(t).description()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.Open("testdata/openapi-3.1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	parsed, err := jsonschema.UnmarshalJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	const name = "mem:///openapi-3.1.schema.json"
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(d.document); err != nil {
		t.Errorf("%v", err)
	}
	// It finds what is wrong.
	if schema.Validate(map[string]any{"openapi": "3.1.0", "info": map[string]any{"title": "x"}, "paths": map[string]any{}}) == nil {
		t.Error("a document without a version is said to be sound")
	}
}
