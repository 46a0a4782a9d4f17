package broker_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// resolved follows a reference within the document.
func (d *description) resolved(schema map[string]any) map[string]any {
	if reference, isReference := schema["$ref"].(string); isReference {
		return object(d.document, strings.Split(strings.TrimPrefix(reference, "#/"), "/")...)
	}
	return schema
}

// arraysOf returns the members of an answer that are arrays.
func (d *description) arraysOf(operation map[string]any) (names []string) {
	answer := d.resolved(object(operation, "responses", "200", "content", "application/json", "schema"))
	for name, schema := range object(answer, "properties") {
		if schema.(map[string]any)["type"] == "array" {
			names = append(names, name)
		}
	}
	return names
}

// Every list comes in pages, by the same words within the same bounds. What has
// a list in it and is none stands here.
func TestEveryListComesInPages(t *testing.T) {
	d, err := newBank(t).description()
	if err != nil {
		t.Fatal(err)
	}
	noList := []string{"getAccountDetails", "getVendor"} // at most 16 devices, at most 8 keys
	var first map[string]any
	listed := 0
	for _, route := range slices.Sorted(maps.Keys(d.operations)) {
		operation := d.operations[route]
		if !strings.HasPrefix(route, "GET ") || slices.Contains(noList, fmt.Sprint(operation["operationId"])) || len(d.arraysOf(operation)) == 0 {
			continue
		}
		listed++
		found := map[string]any{"next": object(d.resolved(object(operation, "responses", "200", "content", "application/json", "schema")), "properties")["next"]}
		parameters, _ := operation["parameters"].([]any)
		for _, parameter := range parameters {
			p := parameter.(map[string]any)
			if p["name"] == "after" || p["name"] == "limit" {
				found[p["name"].(string)] = p
			}
		}
		if first == nil {
			first = found
		}
		if found["after"] == nil || found["limit"] == nil || found["next"] == nil || !reflect.DeepEqual(found, first) {
			t.Errorf("%s: got %v, want %v", route, found, first)
		}
	}
	if listed < 14 {
		t.Errorf("found %d lists in the document", listed)
	}
}

// walk reads a list page by page, at most limit at a time, and returns what each
// page has.
func (b *bank) walk(ask func(path string) answer, path, member string, limit int) (pages [][]json.RawMessage) {
	b.t.Helper()
	for after := ""; ; {
		var page map[string]json.RawMessage
		ask(fmt.Sprintf("%s&limit=%d%s", path, limit, after)).into(b.t, http.StatusOK, &page)
		var found []json.RawMessage
		if err := json.Unmarshal(page[member], &found); err != nil {
			b.t.Fatalf("%s: reading %s: %v", path, page[member], err)
		}
		pages = append(pages, found)
		if page["next"] == nil || len(pages) > 100 {
			return pages
		}
		var next string
		if err := json.Unmarshal(page["next"], &next); err != nil {
			b.t.Fatal(err)
		}
		after = "&after=" + url.QueryEscape(next)
	}
}

// Each list has the same in pages of one as in a page of all, every page is as
// long as was asked for but the last, and the last is not empty.
func TestPagesOfLists(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	u.newDevice("laptop")
	agent, other := u.newSub(20*cent, payword.Limits{}), u.newSub(cent, payword.Limits{})
	otherShop := b.newShop()
	agent.commit(s.origin, 5*cent).mustReserve(5 * cent)
	agent.commit(otherShop.origin, 5*cent).mustReserve(5 * cent)
	for k := range 3 {
		p := u.commit(s.origin, 5*cent)
		p.mustReserve(5 * cent)
		s.wantResult(s.claim(p, 2, 2*cent), payword.Accepted, 2*cent, 2*cent)
		want(t, u.payout(fmt.Sprint("payout-", k), cent), http.StatusOK, payword.Accepted)
		want(t, b.setGateway("purse"+strings.Repeat("x", k), newKey(), money.Unit), http.StatusOK, payword.Accepted)
		s.addWebhook(fmt.Sprintf("https://ops.example/%d", k))
		b.voucherCodes(fmt.Sprint("batch-", k), 1, cent, 60)
		b.stripe(refunded(fmt.Sprint(k), 100, "usd"))
	}
	want(t, u.call(u.key, "POST", payword.PathCertificates, payword.CertificateRequest{
		Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(other.key))}}), http.StatusOK, payword.Accepted)

	byUser := func(path string) answer { return u.call(u.key, "GET", path, nil) }
	byShop := func(path string) answer { return s.call(s.key, "GET", path, nil) }
	byAdmin := func(path string) answer { return b.admin("GET", path, nil) }
	vendor, day := "?vendor="+s.origin, b.dayOf()
	cases := []struct {
		ask          func(path string) answer
		path, member string
		want         int
	}{
		{byUser, payword.PathDevices + "?", "devices", 2},
		{byUser, payword.PathSubAccounts + "?", "subAccounts", 2},
		{byUser, payword.PathSubAccounts + "/" + agent.account + "/vendors?", "vendors", 2},
		{byUser, payword.PathReservations + "?", "reservations", 3},
		{byUser, payword.PathCertificates + "?", "certificates", 4},
		{byUser, payword.PathPayouts + "?", "payouts", 3},
		{byShop, "/v1/vendor/webhooks" + vendor, "webhooks", 3},
		{byShop, "/v1/vendor/deliveries" + vendor, "deliveries", 6}, // each webhook is told of itself and those after it
		{byShop, "/v1/vendor/statement" + vendor + "&from=" + day, "entries", 3},
		{byAdmin, "/v1/admin/fundings?", "fundings", 1},
		{byAdmin, "/v1/admin/reversals?unmatched=true", "reversals", 3},
		{byAdmin, "/v1/admin/gateways?", "gateways", 3},
		{byAdmin, "/v1/admin/accounts?", "accounts", 3},
		{byAdmin, "/v1/admin/account-payouts?state=pending", "payouts", 3},
		{byAdmin, "/v1/admin/vouchers?", "batches", 3},
	}
	for _, c := range cases {
		all := b.walk(c.ask, c.path, c.member, 100)
		if len(all) != 1 || len(all[0]) != c.want {
			t.Errorf("%s: got %d pages, and %d on the first, want one with %d", c.path, len(all), len(all[0]), c.want)
			continue
		}
		for limit := 1; limit <= c.want; limit++ {
			got := b.walk(c.ask, c.path, c.member, limit)
			if want := slices.Collect(slices.Chunk(all[0], limit)); !reflect.DeepEqual(got, want) {
				t.Errorf("%s by %d: got %s, want %s", c.path, limit, got, want)
			}
		}
		for _, wrong := range []string{"limit=0", "limit=101", "limit=x", "after=" + strings.Repeat("a", 271)} {
			if got := c.ask(c.path + "&" + wrong); got.status != http.StatusUnprocessableEntity && got.status != http.StatusBadRequest {
				t.Errorf("%s with %s: got status %d", c.path, wrong, got.status)
			}
		}
	}
	for _, path := range []string{"/v1/admin/fundings", "/v1/admin/reversals", "/v1/admin/account-payouts"} {
		for _, wrong := range []string{"x", "-1", "9223372036854775808"} {
			want(t, byAdmin(path+"?after="+wrong), http.StatusUnprocessableEntity, payword.Accepted)
		}
	}
}
