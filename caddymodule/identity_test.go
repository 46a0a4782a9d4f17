package caddymodule_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
)

// identityHeaders are what the upstream is told.
var identityHeaders = []string{
	"Payword-Account", "Payword-Issuer", "Payword-Result", "Payword-Price", "Payword-Currency", "Payword-Credit", "Payword-Spent",
}

// echo answers with the headers and trailers that it saw, as JSON.
func echo(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	seen := r.Header.Clone()
	for name, values := range r.Trailer {
		seen["Trailer "+name] = values
	}
	json.NewEncoder(w).Encode(seen)
}

func seenBy(t *testing.T, body string) http.Header {
	t.Helper()
	var seen http.Header
	if err := json.Unmarshal([]byte(body), &seen); err != nil {
		t.Fatalf("the upstream answered %q: %v", body, err)
	}
	return seen
}

func TestUpstreamIsToldWhoPaidWhat(t *testing.T) {
	gate := startGate(t, site{upstream: http.HandlerFunc(echo), payword: "reread 5 60s"})
	p := newPayer(t, wish{name: "identity", vendor: gate.vendor})
	steps := []struct {
		what, method, target string
		number               uint64
		result               string
		price, credit, spent string
	}{
		{"a page", "GET", "/page", 1, "paid", "1000", "9000", "1000"},
		{"the same request", "GET", "/page", 1, "repeat", "0", "9000", "1000"},
		{"the page again", "GET", "/page", 2, "reread", "0", "9000", "1000"},
		{"another page", "POST", "/other", 3, "paid", "1000", "8000", "2000"},
	}
	for _, step := range steps {
		response, body := gate.do(t, step.method, step.target, p.opening(p.payment(10, step.number)))
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", step.what, response.Status)
		}
		seen := seenBy(t, body)
		want := []string{p.commitment.Certificate.Subject, testIssuer, step.result, step.price, "usd-micro", step.credit, step.spent}
		for k, name := range identityHeaders {
			if got := seen[name]; len(got) != 1 || got[0] != want[k] {
				t.Errorf("%s: %s is %q, want %q", step.what, name, got, want[k])
			}
		}
	}
}

// TestIdentityCannotBeClaimed sends headers that an upstream could take for ours,
// in the spellings that FastCGI, WSGI and PHP make the same, along every way
// through the gate that reaches an upstream.
func TestIdentityCannotBeClaimed(t *testing.T) {
	spellings := []string{
		"Payword-Account", "payword_account", "PAYWORD-ACCOUNT", "Payword.Account", "Payword_State", "Payment_Receipt",
		"Payment.Authorization", "Payword", "Paywordaccount", "Payword-", "X-Paid-Account", "x_paid_account", "X.Paid.Credit",
	}
	vendor := freeOrigin(t)
	gate := startGate(t, site{
		vendor: vendor, upstream: http.HandlerFunc(echo),
		payword: "identity_headers X-Paid-",
		rest:    fmt.Sprintf("payword /never/* %s 0.001 USD", vendor),
	})
	freeGate := func(t *testing.T) *testGate {
		s := site{vendor: freeOrigin(t), upstream: http.HandlerFunc(echo), payword: "identity_headers X-Paid-"}
		s.matcher = "/paid/*"
		return startGate(t, s)
	}
	p := newPayer(t, wish{name: "claimed", vendor: vendor})
	check := func(what string, response *http.Response, body string, want string) {
		t.Helper()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", what, response.Status)
		}
		for name, values := range seenBy(t, body) {
			alike := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name))
			ours := strings.Contains(alike, "payword") || strings.Contains(alike, "payment") || strings.Contains(alike, "x-paid")
			if ours && strings.Contains(strings.Join(values, " "), "forged") {
				t.Errorf("%s: the upstream sees %s: %q", what, name, values)
			}
			if ours && want == "" {
				t.Errorf("%s: the upstream sees %s, which nobody proved", what, name)
			}
		}
		if got := seenBy(t, body).Get("X-Paid-Account"); got != want {
			t.Errorf("%s: X-Paid-Account is %q, want %q", what, got, want)
		}
	}
	forged := func(headers map[string]string) map[string]string {
		for _, name := range spellings {
			if _, real := headers[name]; !real {
				headers[name] = "forged"
			}
		}
		delete(headers, "Payword-State")
		return headers
	}
	paid := forged(p.opening(p.payment(1, 1)))
	response, body := gate.do(t, http.MethodGet, "/page", paid)
	check("a page that is paid for", response, body, p.commitment.Certificate.Subject)

	// Announced as a trailer or not, on HTTP/1.1.
	response, body = rawRequest(t, gate, fmt.Sprintf("POST /trailers HTTP/1.1\r\nHost: %s\r\nPayword: %s\r\nTransfer-Encoding: chunked\r\nTrailer: X-Honest, Payword-Account, X_Paid_Account\r\n\r\n3\r\nabc\r\n0\r\nX-Honest: yes\r\nPayword-Account: forged\r\nX_Paid_Account: forged\r\nX-Paid-Credit: forged\r\n\r\n",
		strings.TrimPrefix(gate.vendor, "http://"), payword.FormatPayment(p.payment(2, 2))))
	check("trailers", response, body, p.commitment.Certificate.Subject)
	if got := seenBy(t, body).Get("Trailer X-Honest"); got != "yes" {
		t.Errorf("the control, a trailer of the client's own, is %q", got)
	}

	free := freeGate(t)
	q := newPayer(t, wish{name: "claimed free", vendor: free.vendor})
	response, body = free.do(t, http.MethodGet, "/free", forged(map[string]string{}))
	check("a page that is free", response, body, "")
	response, body = free.do(t, http.MethodGet, "/free", forged(q.opening(q.payment(1, 1))))
	check("a free page with a payment along", response, body, "")
	response, body = free.do(t, http.MethodGet, "/paid/page", forged(q.opening(q.payment(1, 1))))
	check("a paid page of the same site", response, body, q.commitment.Certificate.Subject)
}

// rawRequest sends bytes and reads one answer.
func rawRequest(t *testing.T, gate *testGate, request string) (*http.Response, string) {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(gate.vendor, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// TestPreflightIsStripped lets a preflight through to an upstream.
func TestPreflightIsStripped(t *testing.T) {
	var leaked atomic.Int32
	gate := startGate(t, site{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Payword-Account") != "" || r.Header.Get("Payword_account") != "" {
			leaked.Add(1)
		}
		w.WriteHeader(http.StatusNoContent)
	})})
	response, _ := gate.do(t, http.MethodOptions, "/page", map[string]string{
		"Origin": "https://app.example", "Access-Control-Request-Method": "GET", "Payword-Account": "forged", "payword_account": "forged",
	})
	if response.StatusCode != http.StatusNoContent || leaked.Load() != 0 {
		t.Errorf("%s, %d leaked", response.Status, leaked.Load())
	}
}

func TestIdentityHeadersOff(t *testing.T) {
	gate := startGate(t, site{upstream: http.HandlerFunc(echo), payword: "identity_headers off"})
	p := newPayer(t, wish{name: "identity off", vendor: gate.vendor})
	headers := p.opening(p.payment(1, 1))
	headers["Payword-Account"] = "forged"
	_, body := gate.mustPay(t, "/page", headers)
	for name := range seenBy(t, body) {
		if strings.HasPrefix(name, "Payword") {
			t.Errorf("the upstream sees %s", name)
		}
	}
}

func TestPlaceholdersOfThePayment(t *testing.T) {
	gate := startGate(t, site{rest: `header >X-Paid "{http.payword.result} {http.payword.charged} of {http.payword.credit}"
		respond "{http.payword.account}|{http.payword.issuer}|{http.payword.commitment}|{http.payword.price}|{http.payword.currency}|{http.payword.unit}|{http.payword.accepted}|{http.payword.spent}|{http.payword.credit}|{http.payword.result}|{http.payword.reason}"`})
	p := newPayer(t, wish{name: "placeholders", vendor: gate.vendor})
	response, body := gate.mustPay(t, "/page", p.opening(p.payment(4, 1)))
	want := strings.Join([]string{
		p.commitment.Certificate.Subject, testIssuer, p.commitment.ID.String(), "1000", "usd-micro", "request", "4000", "1000", "3000", "paid", "accepted",
	}, "|")
	if body != want {
		t.Errorf("the placeholders give\n%s, want\n%s", body, want)
	}
	if got := response.Header.Get("X-Paid"); got != "paid 1000 of 3000" {
		t.Errorf("header >X-Paid is %q", got)
	}
	// Who proved nothing is told nothing of the commitment.
	forged := p.payment(5, 2)
	forged.Payword[0] ^= 1
	response, _ = gate.do(t, http.MethodGet, "/other", p.header(forged))
	if got := response.Header.Get("X-Paid"); got != "refused 0 of" {
		t.Errorf("after a forged payword, header >X-Paid is %q", got)
	}
}
