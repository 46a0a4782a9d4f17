package broker_test

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
)

// world is a broker with something of everything in it.
type world struct {
	*bank
	user, other *user
	shop, rival *shop
	purse       *purse // reserved
	fresh       *purse // not known to the broker yet
	certificate payword.Certificate
	spare       payword.Certificate // to be revoked
	gateway     ed25519.PrivateKey
	webhook     string // of the shop
	delivery    string // to it, which has ended

	laptop, phone *user // further devices of user
	agent, robot  *user // sub-accounts of user
	leaver        *user // that closes its account
	voucher       string
}

// example is a request that a route takes.
type example struct {
	path string // with its parameters; "" is that of the document
	key  ed25519.PrivateKey
	body any
	// free lists the members whose text may be another one: what is asked for
	// then is another thing, and not a mistake.
	free []string
	// optional lists all members of a body that is good without any of them.
	optional []string
	// sign is for routes with signatures of their own, whose bodies are others'
	// to define.
	sign func(request *http.Request, content []byte)
	// isRefused looks into an answer of status 200.
	isRefused func(a answer) bool
}

// content returns the body in JSON, nil if there is none.
func (e example) content() []byte {
	if e.body == nil {
		return nil
	}
	content, _ := json.Marshal(e.body) // of strings and lists
	return content
}

func newWorld(t *testing.T) *world {
	w := &world{bank: newBankWith(t, func(c *broker.Config) {
		stripe, err := broker.NewStripe(stripeSecret)
		if err != nil {
			t.Fatal(err)
		}
		c.PaymentServices = []broker.PaymentService{stripe}
	})}
	w.user, w.other, w.shop, w.rival = w.newUser(1000*cent), w.newUser(1000*cent), w.newShop(), w.newShop()
	w.user.tie("customer 1")
	w.shop.mustAsk("ref:shop-7")
	w.clock.advance(4 * 24 * 3600)
	w.shop.settle()
	w.webhook = w.shop.addWebhook(w.newReceiver().URL, "payout.paid")
	w.deliver()
	w.delivery = w.shop.deliveries()[0].ID
	w.purse, w.fresh = w.user.commit(w.shop.origin, 50*cent), w.user.commit(w.shop.origin, 50*cent)
	w.purse.mustReserve(20 * cent)
	w.shop.wantResult(w.shop.claim(w.purse, 4, 4*cent), payword.Accepted, 4*cent, 4*cent)
	w.certificate, _ = w.user.certificate()
	w.spare, _ = w.user.certificate()
	w.gateway = newKey()
	a := w.admin("PUT", "/v1/admin/gateways/purse", map[string]any{"key": payword.NewPublicKey(publicKey(w.gateway)), "dayLimit": "100000000"})
	if a.status != http.StatusOK {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	w.stripe(strings.ReplaceAll(stripeEvent, "_2", "_1"))
	w.laptop, w.phone = w.user.newDevice("laptop"), w.user.newDevice("phone")
	w.agent, w.robot = w.user.newSub(10*cent, payword.Limits{}), w.user.newSub(10*cent, payword.Limits{})
	w.leaver = w.newUser(10 * cent)
	w.voucher = w.voucherCodes("batch", 1, 10*cent, 3600*24)[0]
	for _, id := range []string{"one", "two"} {
		want(t, w.user.payout(id, 10*cent), http.StatusOK, payword.Accepted)
	}
	return w
}

// stripeEvent is a payment for nobody.
const stripeEvent = `{"id":"evt_2","type":"checkout.session.completed","data":{"object":{"id":"cs_2","client_reference_id":"nobody",` +
	`"amount_total":500,"currency":"usd","payment_intent":"pi_2","payment_status":"paid"}}}`

// examples returns a request for each operation of the OpenAPI document.
func (w *world) examples() map[string]example {
	newcomer, site := newKey(), w.newSite()
	all := map[string]example{
		"openAccount": {key: newcomer, body: map[string]any{
			"key": payword.NewPublicKey(publicKey(newcomer)), "challenge": w.challenge()}},
		"createCertificates": {key: w.user.key, body: map[string]any{
			"keys": []any{payword.NewPublicKey(publicKey(newKey()))}, "prefixes": []any{"192.0.2.0/24"}}, free: []string{"keys", "prefixes"}},
		"renewCertificates":  {key: w.user.key, body: map[string]any{"subjects": []any{w.certificate.Subject}}},
		"revokeCertificates": {key: w.user.key, body: map[string]any{"subjects": []any{w.spare.Subject}}, free: []string{"subjects"}},
		"revokeAccountCertificates": {body: map[string]any{"account": w.user.account, "subject": w.spare.Subject},
			free: []string{"subject"}},
		"reserve": {key: w.user.key, body: map[string]any{"commitment": w.fresh.m.Token, "amount": "10000"}},
		"registerVendor": {key: site.key, body: map[string]any{
			"vendor": site.origin, "key": payword.NewPublicKey(publicKey(site.key))}},
		"redeem": {key: w.shop.key, body: map[string]any{"vendor": w.shop.origin, "redemptions": []any{
			map[string]any{"commitment": w.purse.m.Token, "claim": w.shop.claim(w.purse, 5, 5*cent).Claim}}},
			isRefused: func(a answer) bool {
				got, err := inJSON[payword.RedemptionAnswer](a)
				return err == nil && len(got.Results) == 1 && got.Results[0].Reason != payword.Accepted && got.Results[0].Due == 0
			}},
		"fund":          {body: map[string]any{"id": "bank-7", "account": w.user.account, "amount": "10000", "currency": usd}, free: []string{"id"}},
		"setCredit":     {path: "/v1/admin/accounts/" + w.user.account + "/credit", body: map[string]any{"credit": "10000"}},
		"assignFunding": {path: "/v1/admin/fundings/3/assignment", body: map[string]any{"account": w.user.account}},
		"fundByGateway": {key: w.gateway, body: map[string]any{
			"id": "card-7", "account": w.user.account, "amount": "10000", "currency": usd}, free: []string{"id"}},
		"setGateway": {path: "/v1/admin/gateways/other", free: []string{"key"}, body: map[string]any{
			"key": payword.NewPublicKey(publicKey(newKey())), "dayLimit": "10000"}},
		"checkAccountForGateway": {key: w.gateway, path: "/v1/gateway/accounts/" + w.user.account},
		"createChallenge":        {},
		"blockAccount": {path: "/v1/admin/accounts/" + w.other.account + "/block", free: []string{"reason"},
			body: map[string]any{"reason": "because"}},
		"unblockAccount": {path: "/v1/admin/accounts/" + w.other.account + "/unblock", free: []string{"reason"},
			body: map[string]any{"reason": "because"}},
		"setHolder": {path: "/v1/admin/accounts/" + w.other.account + "/holder", free: []string{"holder"},
			body: map[string]any{"holder": "ann"}},
		"addVendor":  {body: map[string]any{"vendor": w.newGate().origin}},
		"setContact": {key: w.shop.key, free: []string{"contact"}, body: map[string]any{"vendor": w.shop.origin, "contact": "ann@news.example"}},
		"setPayoutDestination": {key: w.shop.key, free: []string{"destination"},
			body: map[string]any{"vendor": w.shop.origin, "destination": "iban:DE89370400440532013000"}},
		"addWebhook": {key: w.shop.key, free: []string{"url", "events"},
			body: map[string]any{"vendor": w.shop.origin, "url": "https://news.example/hook", "events": []any{"payout.paid"}}},
		"removeWebhook":  {key: w.shop.key, path: "/v1/vendor/webhooks/" + w.webhook + "?vendor=" + w.shop.origin},
		"retryDelivery":  {key: w.shop.key, path: "/v1/vendor/deliveries/" + w.delivery + "/retry?vendor=" + w.shop.origin},
		"setVendorState": {free: []string{"reason"}, body: map[string]any{"vendor": w.rival.origin, "state": "blocked", "reason": "because"}},
		"payOut":         {free: []string{"id", "fee"}, body: map[string]any{"id": "pay-7", "vendor": w.shop.origin, "amount": "10000", "fee": "10"}},
		"getVendor":      {key: w.shop.key, path: "/v1/vendor?vendor=" + w.shop.origin},
		"receivePaymentOf_stripe": {body: json.RawMessage(stripeEvent), sign: func(request *http.Request, content []byte) {
			request.Header.Set("Stripe-Signature", stripeSignature(w.clock.seconds.Load(), stripeSecret, string(content)))
		}},
	}
	maps.Copy(all, w.ownersExamples())
	return all
}

// ownersExamples are those of what owners do with their accounts, and of what
// operators do about it.
func (w *world) ownersExamples() map[string]example {
	possession := func(purpose string, more map[string]any) map[string]any {
		key, challenge := newKey(), w.challenge()
		more["key"], more["challenge"] = payword.NewPublicKey(publicKey(key)), challenge
		more["proof"] = w.proof(purpose, w.user.account, challenge, key)
		return more
	}
	device := func(u *user) string { return "/devices/" + payword.Thumbprint(publicKey(u.key)) }
	limits := []string{"vendorDay", "day", "reserved"}
	iban := map[string]any{"iban": strings.ReplaceAll(ownIBAN, " ", "")}
	payouts := "/v1/admin/account-payouts/" + w.user.account
	return map[string]example{
		"addDevice":    {free: []string{"name"}, body: possession(payword.PossessionDevice, map[string]any{"name": "another"})},
		"renameDevice": {path: "/v1/account" + device(w.phone), free: []string{"name"}, body: map[string]any{"name": "other"}},
		"removeDevice": {path: "/v1/account" + device(w.laptop)},
		"removeDeviceOfAccount": {
			path: "/v1/admin/accounts/" + w.user.account + device(w.phone)},
		"setLimits": {optional: limits, body: map[string]any{"vendorDay": "10000000", "day": "20000000", "reserved": "30000000"}},
		"setCeiling": {path: "/v1/admin/accounts/" + w.user.account + "/limits", optional: limits,
			body: map[string]any{"vendorDay": "10000000", "day": "20000000", "reserved": "30000000"}},
		"openSubAccount": {free: []string{"name", "limits"}, body: possession(payword.PossessionSubAccount,
			map[string]any{"name": "another", "limits": map[string]any{"day": "10000"}})},
		"changeSubAccount": {path: "/v1/account/sub-accounts/" + w.agent.account, free: []string{"name"}, optional: []string{"name", "paused", "limits"},
			body: map[string]any{"name": "other", "paused": false, "limits": map[string]any{"day": "10000"}}},
		"closeSubAccount": {path: "/v1/account/sub-accounts/" + w.robot.account + "/close"},
		"transfer":        {free: []string{"id"}, body: map[string]any{"id": "move-7", "account": w.agent.account, "amount": "10000"}},
		"redeemVoucher":   {body: map[string]any{"code": w.voucher}},
		"requestPayout":   {free: []string{"id"}, body: map[string]any{"id": "pay-7", "amount": "10000", "destination": iban}},
		"closeAccount":    {key: w.leaver.key, body: map[string]any{"destination": iban}},
		"confirmPayout":   {path: payouts + "/one/paid", free: []string{"note"}, body: map[string]any{"note": "a transfer"}},
		"refusePayout":    {path: payouts + "/two/refused", free: []string{"note"}, body: map[string]any{"note": "the bank says no"}},
	}
}

func (w *world) challenge() string {
	var challenge payword.AccountChallenge
	w.plain("POST", payword.PathChallenges, nil).into(w.t, http.StatusOK, &challenge)
	return challenge.Challenge
}

// operation of the OpenAPI document, as far as it is read here.
type documented struct {
	ID          string                `json:"operationId"`
	Security    []map[string][]string `json:"security"`
	RequestBody *struct{}             `json:"requestBody"`
	method      string
	path        string
}

// documentedOperations returns what the broker says that it serves.
func (b *bank) documentedOperations() (all []documented) {
	b.t.Helper()
	var document struct {
		Paths map[string]map[string]documented
	}
	b.plain("GET", "/openapi.json", nil).into(b.t, http.StatusOK, &document)
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(document.Paths[path])) {
			one := document.Paths[path][method]
			one.method, one.path = strings.ToUpper(method), path
			all = append(all, one)
		}
	}
	return all
}

func (d documented) scheme() string {
	for _, one := range d.Security {
		for name := range one {
			return name
		}
	}
	return ""
}

// attack is a request that must be refused.
type attack struct {
	name string
	make func() *http.Request
}

// What is wrong, forged, foreign, truncated, too large or sent again is refused
// with a typed error, by every route, and changes no row of any table but that of
// the nonces.
func TestHostileRequestsChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	count := 0
	for _, d := range w.documentedOperations() {
		t.Run(d.ID, func(t *testing.T) {
			e, found := w.examples()[d.ID]
			if !found && d.method != http.MethodGet {
				t.Errorf("%s %s has no example in this test: add one", d.method, d.path)
			}
			before := w.rows(t)
			for _, one := range w.attacks(d, e) {
				w.clock.advance(1) // so that no limit of a minute hides what is tested
				a, err := attempt(one.make())
				if err != nil {
					t.Errorf("%s: %v", one.name, err)
				} else if e.isRefused == nil || a.status != http.StatusOK || !e.isRefused(a) {
					checkRefusal(t, one.name, a)
				}
				count++
			}
			wantSameRows(t, before, w.rows(t))
			if found && d.method != http.MethodGet {
				w.replay(t, d, e)
			}
		})
	}
	w.wantSound()
	t.Logf("%d attacks", count)
	if count < 500 {
		t.Errorf("only %d attacks: the document was not read", count)
	}
}

// replay sends the example itself, which must be taken, and then the same bytes
// again.
func (w *world) replay(t *testing.T, d documented, e example) {
	t.Helper()
	content := e.content()
	request := w.authorized(d, e, content)
	again := request.Clone(t.Context())
	again.Body = io.NopCloser(bytes.NewReader(content))
	if a := w.do(request); a.status/100 != 2 {
		t.Fatalf("the example itself was refused, so that the attacks show nothing: %d %s", a.status, a.body)
	}
	before := w.rows(t)
	a := w.do(again)
	if d.scheme() == "requestSignature" {
		checkRefusal(t, "sent again", a)
		wantSameRows(t, before, w.rows(t))
	}
}

func wantSameRows(t *testing.T, before, after map[string]string) {
	t.Helper()
	for table, digest := range after {
		if before[table] != digest {
			t.Errorf("table %s changed from %s to %s", table, before[table], digest)
		}
	}
}

// authorized makes a request with a body, by whoever may.
func (w *world) authorized(d documented, e example, content []byte) *http.Request {
	path := cmp.Or(e.path, unnamed.ReplaceAllString(d.path, "1"))
	var text any
	if content != nil {
		text = string(content)
	}
	if d.scheme() == "requestSignature" {
		return w.signed(w.signer(e), d.method, path, text)
	}
	request, _ := w.request(d.method, path, text)
	if d.scheme() != "" {
		request.Header.Set("Authorization", "Bearer "+adminToken)
	}
	if e.sign != nil {
		e.sign(request, content)
	}
	return request
}

func (w *world) signer(e example) ed25519.PrivateKey {
	if e.key == nil {
		return w.user.key
	}
	return e.key
}

var unnamed = regexp.MustCompile(`\{[^}]*\}`)

func (w *world) attacks(d documented, e example) (all []attack) {
	content := e.content()
	good := func() *http.Request { return w.authorized(d, e, content) }
	changed := func(name string, change func(r *http.Request)) {
		all = append(all, attack{name, func() *http.Request {
			r := good()
			change(r)
			return r
		}})
	}
	switch d.scheme() {
	case "requestSignature":
		all = append(all, w.forgeries(d, e, content)...)
		for _, name := range []string{payword.HeaderSignature, payword.HeaderSignatureInput, payword.HeaderContentDigest} {
			changed("no "+name, func(r *http.Request) { r.Header.Del(name) })
			changed("two of "+name, func(r *http.Request) { r.Header.Add(name, r.Header.Get(name)) })
			changed("a bit of "+name, func(r *http.Request) { r.Header.Set(name, flipMiddle(r.Header.Get(name))) })
			changed("a part of "+name, func(r *http.Request) { r.Header.Set(name, r.Header.Get(name)[:20]) })
		}
	case "":
		if e.sign != nil {
			changed("a body that was not signed", func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(flipMiddle(string(content)))) })
		}
	default:
		for _, token := range []string{"", "Bearer", "Bearer ", "Bearer x", "Bearer " + adminToken + "x", "Bearer " + adminToken[1:], "Basic " + adminToken, adminToken} {
			changed("Authorization: "+token, func(r *http.Request) { r.Header.Set("Authorization", token) })
		}
	}
	for name, query := range map[string]string{
		"a parameter that there is not": "nothing=1", "NUL in the query": "after=%00", "no UTF-8 in the query": "vendor=%ff", "no escape in the query": "vendor=%zz",
	} {
		other := e
		other.path = cmp.Or(e.path, unnamed.ReplaceAllString(d.path, "1"))
		separator := "?"
		if strings.Contains(other.path, "?") {
			separator = "&"
		}
		other.path += separator + query
		all = append(all, attack{name, func() *http.Request { return w.authorized(d, other, content) }})
	}
	if e.body == nil || e.sign != nil {
		return all
	}
	changed("a form", func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") })
	for _, one := range bodies(content, e.free) {
		if e.isGood(one) {
			continue
		}
		all = append(all, attack{one.name, func() *http.Request { return w.authorized(d, e, one.content) }})
	}
	return all
}

// isGood reports whether what was changed of a body is no mistake, because what
// was left out, or is null, need not be there.
func (e example) isGood(changed mutation) bool {
	if string(changed.content) == "{}" {
		return e.optional != nil
	}
	name, isMissing := strings.CutSuffix(changed.name, " missing")
	name, isNull := strings.CutSuffix(name, " null")
	member, _, _ := strings.Cut(strings.TrimPrefix(name, "body."), ".")
	return (isMissing || isNull) && slices.Contains(e.optional, member)
}

// forgeries are requests that somebody else signed, or for something else.
func (w *world) forgeries(d documented, e example, content []byte) []attack {
	path := cmp.Or(e.path, unnamed.ReplaceAllString(d.path, "1"))
	key := w.signer(e)
	var text any
	if content != nil {
		text = string(content)
	}
	sign := func(name string, apart int64, change func(r *http.Request)) attack {
		return attack{name, func() *http.Request {
			w.clock.advance(apart)
			defer w.clock.advance(-apart)
			r := w.signed(key, d.method, path, text)
			change(r)
			return r
		}}
	}
	nothing := func(*http.Request) {}
	return []attack{
		{"no signature", func() *http.Request { r, _ := w.request(d.method, path, text); return r }},
		{"an unknown key", func() *http.Request { return w.signed(newKey(), d.method, path, text) }},
		{"the administration's token", func() *http.Request {
			r, _ := w.request(d.method, path, text)
			r.Header.Set("Authorization", "Bearer "+adminToken)
			return r
		}},
		{"for another path", func() *http.Request {
			r := w.signed(key, d.method, path+"/x", text)
			r.URL.Path = path
			return r
		}},
		{"for another method", func() *http.Request {
			r := w.signed(key, "PATCH", path, text)
			r.Method = d.method
			return r
		}},
		sign("too old", -payword.RequestMaxAgeSeconds-1, nothing),
		sign("too early", payword.RequestMaxAgeSeconds+1, nothing),
		sign("with another body", 0, func(r *http.Request) {
			other := flipMiddle(string(content) + "{}")
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(other)), int64(len(other))
		}),
	}
}

// flipMiddle changes a character in the middle of a text.
func flipMiddle(text string) string {
	changed := []byte(text)
	at := len(changed) / 2
	if changed[at] == 'A' {
		changed[at] = 'B'
	} else {
		changed[at] = 'A'
	}
	return string(changed)
}

// mutation is a body that is no good.
type mutation struct {
	name    string
	content []byte
}

// bodies returns bodies that are no JSON, no object, or have one value or member
// changed. Members that are free keep their text.
func bodies(content []byte, free []string) (all []mutation) {
	for _, text := range []string{
		"", "null", "[]", "0", `"x"`, "{", "{}", "{}{}", "\xff", string(content[:len(content)/2]), string(content[:len(content)-1]),
		string(content) + "x", string(content[:len(content)-1]) + `,"unknown":1}`,
		`{"a":` + strings.Repeat("[", 1500) + strings.Repeat("]", 1500) + "}", strings.Repeat(" ", 4<<20),
	} {
		all = append(all, mutation{fmt.Sprintf("body %.20q", text), []byte(text)})
	}
	var root any
	_ = json.Unmarshal(content, &root)
	mutate(root, "body", func(name string, isTextOnly bool) {
		top := strings.Split(name+".", ".")[1]
		top, _, _ = strings.Cut(top, " ")
		if isTextOnly && slices.Contains(free, top) {
			return
		}
		changed, _ := json.Marshal(root)
		all = append(all, mutation{name, changed})
	}, nil)
	return all
}

// mutate changes one value of a JSON tree after the other, and puts each back.
func mutate(value any, name string, emit func(name string, isTextOnly bool), set func(any)) {
	try := func(what string, other any, isTextOnly bool) {
		if set == nil {
			return // the root, which others replace
		}
		set(other)
		emit(name+" "+what, isTextOnly)
		set(value)
	}
	switch value := value.(type) {
	case map[string]any:
		try("a text", "x", false)
		try("a list", []any{}, false)
		value["unknown"] = true
		emit(name+" a member too many", false)
		delete(value, "unknown")
		for _, key := range slices.Sorted(maps.Keys(value)) {
			kept := value[key]
			delete(value, key)
			emit(name+"."+key+" missing", true)
			value[key] = nil
			emit(name+"."+key+" null", true)
			value[key] = kept
			mutate(kept, name+"."+key, emit, func(other any) { value[key] = other })
		}
	case []any:
		try("a text", "x", false)
		try("an object", map[string]any{}, false)
		try("empty", []any{}, true)
		try("a thousand", slices.Repeat(value, 1000), false)
		mutate(value[0], name+".0", emit, func(other any) { value[0] = other })
	case string:
		try("a number", 12345, false)
		try("true", true, false)
		try("a list", []any{value}, false)
		try("an object", map[string]any{"x": value}, false)
		try("very long", strings.Repeat("a", 3500), false)
		try("empty", "", true)
		try("a character more", value+"x", true)
		try("with NUL", value+"\x00", true)
		try("negative", "-1", true)
		try("huge", "99999999999999999999", true)
		if strings.Trim(value, "0123456789") != "" { // else it would be another number
			try("cut", value[:len(value)-1], true)
			try("a bit", flipMiddle(value), true)
		}
	default:
		try("a text", "x", false)
		try("huge", json.Number("1e400"), false)
	}
}

func (w *world) rows(t *testing.T) map[string]string {
	t.Helper()
	rows, err := w.Rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	delete(rows, "broker_nonces")
	return rows
}

// checkRefusal checks that an answer is a refusal in its documented form.
func checkRefusal(t *testing.T, name string, a answer) {
	t.Helper()
	if a.status < 400 || a.status >= 500 || a.status == http.StatusPaymentRequired || a.status == http.StatusTooManyRequests {
		t.Errorf("%s: got %d %s", name, a.status, a.body)
		return
	}
	var p struct{ Type, Title, Detail, Reason string }
	if err := json.Unmarshal(a.body, &p); err != nil || p.Title == "" || p.Detail == "" || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: got %d without problem details: %s", name, a.status, a.body)
	}
	if p.Reason != "" {
		if _, err := payword.ParseReason(p.Reason); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Names that are as long as they may be fit into everything that is made of
// them.
func TestLongestNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	name, id, key := strings.Repeat("g", 16), strings.Repeat("i", 100), newKey()
	put := func(path string, body any) {
		t.Helper()
		if a := w.admin("PUT", path, body); a.status != http.StatusOK {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
	}
	put("/v1/admin/gateways/"+name, map[string]any{"key": payword.NewPublicKey(publicKey(key)), "dayLimit": "100000000"})
	funding := map[string]any{"id": id, "account": w.user.account, "amount": "10000", "currency": usd}
	want(t, w.call(key, "POST", "/v1/gateway/fundings", funding), http.StatusOK, payword.Accepted)
	want(t, w.admin("POST", "/v1/admin/fundings", funding), http.StatusOK, payword.Accepted)
	w.stripe(paidSession(id[:90], w.user.account, 50, "usd"))
	w.stripe(disputed("funds_withdrawn", id[:90], 50, "lost"))
	w.wantSound()
}

// A payment service may send any text. What is no name of an account is kept as
// a payment of nobody, on both databases, and is not sent again for ever.
func TestStrangeTextOfPayments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for k, named := range []string{`\u0000`, `\ud800`, "\xff\xfe", strings.Repeat("ä", 200), `<b>`, `'; DROP TABLE accounts; --`} {
		w.stripe(strings.ReplaceAll(strings.Replace(stripeEvent, "nobody", named, 1), "_2", fmt.Sprintf("_s%d", k)))
	}
	var list struct{ Fundings []struct{ Named string } }
	w.admin("GET", "/v1/admin/fundings?unassigned=true", nil).into(t, http.StatusOK, &list)
	if len(list.Fundings) != 1+6 {
		t.Errorf("got %d payments of nobody, want 7", len(list.Fundings))
	}
	w.wantSound()
}

// A nonce is taken once also when the clocks of two brokers differ: the one that
// is ahead does not forget what the other one would still take.
func TestNonceAcrossClocks(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u := b.newUser(0)
	behind := *b
	behind.clock = &clock{}
	behind.clock.seconds.Store(start)
	behind.config.Now = behind.clock.now
	twin := behind.twin()
	request := b.signed(u.key, "GET", payword.PathAccount, nil)
	again := request.Clone(t.Context())
	want(t, b.do(request), http.StatusOK, payword.Accepted)
	b.clock.advance(payword.RequestMaxAgeSeconds + 60)
	if err := b.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	behind.clock.advance(payword.RequestMaxAgeSeconds - 60)
	again.URL.Host = strings.TrimPrefix(twin.url, "http://")
	want(t, b.do(again), http.StatusUnauthorized, payword.BadSignature)
}
