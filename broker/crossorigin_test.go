package broker_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
)

const somePage = "https://page.example"

// asPage sends a request as a browser does for a script of a page, and what it
// asks before.
func (b *bank) asPage(request *http.Request) *http.Response {
	b.t.Helper()
	request.Header.Set("Origin", somePage)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response
}

func (b *bank) preflight(path, method, headers string) *http.Response {
	b.t.Helper()
	request, _ := b.request("OPTIONS", path, nil)
	request.Header.Set("Access-Control-Request-Method", method)
	if headers != "" {
		request.Header.Set("Access-Control-Request-Headers", headers)
	}
	return b.asPage(request)
}

// lists reports whether a list of a header names a word.
func lists(header, word string) bool {
	for _, one := range strings.Split(header, ",") {
		if strings.EqualFold(strings.TrimSpace(one), word) {
			return true
		}
	}
	return false
}

// TestPagesMayCallWhatIsSigned goes through everything that the broker documents:
// pages may ask for what is public or signed, and never for administration.
func TestPagesMayCallWhatIsSigned(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	seen := make(map[string]int)
	for _, d := range b.documentedOperations() {
		path := strings.NewReplacer("{", "", "}", "").Replace(d.path)
		isAdministration := d.scheme() == "administrationToken"
		if isAdministration != strings.HasPrefix(d.path, "/v1/admin/") {
			t.Errorf("%s %s is proved by %q", d.method, d.path, d.scheme())
		}
		seen[d.scheme()]++
		before := b.preflight(path, d.method, "content-digest, signature")
		request, _ := b.request(d.method, path, nil)
		asked := b.asPage(request)
		allowed := before.Header.Get("Access-Control-Allow-Methods")
		if isAdministration {
			if before.StatusCode != http.StatusMethodNotAllowed && before.StatusCode != http.StatusNotFound {
				t.Errorf("preflight of %s %s: %s", d.method, d.path, before.Status)
			}
			for _, response := range []*http.Response{before, asked} {
				for name := range response.Header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %s: %s: %s", d.method, d.path, name, response.Header.Get(name))
					}
				}
			}
			continue
		}
		if before.StatusCode != http.StatusNoContent || before.Header.Get("Access-Control-Allow-Origin") != "*" || !lists(allowed, d.method) {
			t.Errorf("preflight of %s %s: %s, %v", d.method, d.path, before.Status, before.Header)
		}
		for _, name := range []string{"Content-Type", "Content-Digest", "Signature", "Signature-Input", "Idempotency-Key"} {
			if !lists(before.Header.Get("Access-Control-Allow-Headers"), name) {
				t.Errorf("preflight of %s %s: %s is not allowed", d.method, d.path, name)
			}
		}
		if lists(before.Header.Get("Access-Control-Allow-Headers"), "Authorization") || before.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("preflight of %s %s: %v", d.method, d.path, before.Header)
		}
		if asked.Header.Get("Access-Control-Allow-Origin") != "*" || !lists(asked.Header.Get("Access-Control-Expose-Headers"), "Retry-After") ||
			asked.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s %s: %s, %v", d.method, d.path, asked.Status, asked.Header)
		}
	}
	for _, scheme := range []string{"", "requestSignature", "administrationToken"} {
		if seen[scheme] == 0 {
			t.Errorf("no operation is proved by %q", scheme)
		}
	}
}

// TestPageUsesAnAccount has a script of a page ask for an account as its wallet
// does, and looks at what is no preflight.
func TestPageUsesAnAccount(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u := b.newUser(100)
	response := b.asPage(b.signed(u.key, "GET", payword.PathAccount, nil))
	if response.StatusCode != http.StatusOK || response.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%s, %v", response.Status, response.Header)
	}
	unknown := b.asPage(b.signed(newKey(), "GET", payword.PathAccount, nil))
	if unknown.StatusCode < 400 || unknown.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("an unknown key: %s, %v: the page cannot read why", unknown.Status, unknown.Header)
	}
	for what, response := range map[string]*http.Response{
		"no such path":             b.preflight("/v1/nothing", "GET", ""),
		"a page of administration": b.preflight("/admin/", "GET", ""),
		"OPTIONS alone":            b.preflight(payword.PathAccount, "", ""),
	} {
		if response.StatusCode == http.StatusNoContent || response.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %s, %v", what, response.Status, response.Header)
		}
	}
}
