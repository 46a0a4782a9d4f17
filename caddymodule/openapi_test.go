package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
)

const someOpenAPI = `{"openapi":"3.1.0","info":{"title":"T","version":"7","x-big":12345678901234567890},
"servers":[{"url":"https://api.example/v1"}],
"paths":{
 "/chat":{"post":{"summary":"chat","responses":{"200":{"description":"ok"}},"x-payment-info":{"offers":[{"intent":"charge","method":"tempo","amount":"5","currency":"x"},{"intent":"charge","method":"payword","amount":"1"}]}},
          "get":{"responses":{"402":{"description":"mine"}},"x-payment-info":{"intent":"charge","method":"stripe","amount":"8"}},"parameters":[]},
 "/items/{id}":{"get":{}},
 "/about":{"get":{"responses":{}}},
 "bad":{"get":{}}, "/odd":5, "/x":{"get":7}}}`

type openAPIOffer struct {
	Intent, Method, Currency, Description string
	Amount                                *string
}

type openAPIDocument struct {
	OpenAPI string
	Info    map[string]json.Number
	Service map[string]any `json:"x-service-info"`
	Paths   map[string]json.RawMessage
}

// operation returns the offers of an operation and whether it declares 402.
func (d *openAPIDocument) operation(t *testing.T, path, method string) ([]openAPIOffer, bool) {
	t.Helper()
	var operations map[string]struct {
		Responses map[string]any
		Payment   struct{ Offers []openAPIOffer } `json:"x-payment-info"`
	}
	if err := json.Unmarshal(d.Paths[path], &operations); err != nil {
		// Members beside the operations are none.
		var single map[string]json.RawMessage
		if err := json.Unmarshal(d.Paths[path], &single); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		delete(single, "parameters")
		kept, _ := json.Marshal(single)
		if err := json.Unmarshal(kept, &operations); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	_, declared := operations[method].Responses["402"]
	return operations[method].Payment.Offers, declared
}

func readOpenAPIDocument(t *testing.T, body string) openAPIDocument {
	t.Helper()
	var document openAPIDocument
	var loose struct {
		openAPIDocument
		Info map[string]any
	}
	if err := json.Unmarshal([]byte(body), &loose); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	document = loose.openAPIDocument
	return document
}

func TestOpenAPIGetsPrices(t *testing.T) {
	folder := t.TempDir()
	writeTestFile(t, filepath.Join(folder, "openapi.json"), someOpenAPI)
	served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"upstream"`)
		w.Header().Set("Cache-Control", "private")
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json")
		io.WriteString(w, someOpenAPI)
	})
	sites := map[string]site{
		"a proxy":             {upstream: served},
		"a proxy, compressed": {upstream: served, rest: "encode gzip"},
		"a file":              {rest: "encode gzip\nroot * " + folder + "\nfile_server"},
	}
	for name, s := range sites {
		t.Run(name, func(t *testing.T) {
			s.payword = "openapi\nintent session charge\nprice 0.02 USD /v1/items/*\nprice free /v1/about"
			gate := startGate(t, s)
			for _, method := range []string{"GET", "HEAD"} {
				response, body := gate.do(t, method, "/openapi.json", map[string]string{"If-None-Match": `"upstream"`, "Range": "bytes=0-5", "Accept-Encoding": "gzip"})
				if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" || response.Header.Get("Cache-Control") != "public, max-age=300" || response.Header.Get("Etag") != "" {
					t.Fatalf("%s: %s %v", method, response.Status, response.Header)
				}
				if method == "HEAD" {
					if body != "" {
						t.Errorf("HEAD has a body")
					}
					continue
				}
				checkOffers(t, body)
			}
			response, _ := gate.do(t, "POST", "/openapi.json", nil)
			if response.StatusCode != http.StatusPaymentRequired {
				t.Errorf("POST to the document: %s", response.Status)
			}
		})
	}
}

func checkOffers(t *testing.T, body string) {
	t.Helper()
	if !strings.Contains(body, "12345678901234567890") {
		t.Error("a number of the document was changed")
	}
	document := readOpenAPIDocument(t, body)
	if document.OpenAPI != "3.1.0" || document.Service == nil {
		t.Errorf("%+v", document)
	}
	want := map[string][]string{
		"/chat post": {"charge tempo 5", "session payword 1000", "charge payword 1000"},
		"/chat get":  {"charge stripe 8", "session payword 1000", "charge payword 1000"},
		// A path parameter stands for itself, and the rule's pattern takes it.
		"/items/{id} get": {"session payword 20000", "charge payword 20000"},
		"/about get":      nil,
	}
	for operation, offers := range want {
		path, method, _ := strings.Cut(operation, " ")
		got, declared := document.operation(t, path, method)
		var said []string
		for _, offer := range got {
			said = append(said, fmt.Sprint(offer.Intent, " ", offer.Method, " ", *offer.Amount))
		}
		if strings.Join(said, ";") != strings.Join(offers, ";") || declared != (offers != nil) {
			t.Errorf("%s: offers %q, 402 declared: %t; want %q", operation, said, declared, offers)
		}
	}
}

// TestOpenAPIOfferIsTheLivePrice compares what the document says with what the
// 402 asks.
func TestOpenAPIOfferIsTheLivePrice(t *testing.T) {
	gate := startGate(t, site{matcher: "/v1/*", payword: "openapi /docs/api.json minimal\nprice 0.03 USD /v1/dear", rest: "@document path /docs/api.json\nrespond @document `" +
		`{"openapi":"3.0.3","info":{},"paths":{"/v1/dear":{"get":{}},"/v1/cheap":{"get":{}},"/free":{"get":{}}}}` + "`\nrespond content"})
	_, body := gate.mustPay(t, "/docs/api.json", nil)
	document := readOpenAPIDocument(t, body)
	for _, path := range []string{"/v1/dear", "/v1/cheap"} {
		offers, _ := document.operation(t, path, "get")
		request, err := payword.ParsePriceRequest(gate.quoted(t, "GET", path, nil)[0].Request)
		if err != nil || len(offers) != 1 || *offers[0].Amount != request.Amount.String() || offers[0].Currency != string(request.Currency) {
			t.Errorf("%s: offered %+v, asked %+v, %v", path, offers, request, err)
		}
	}
	if offers, declared := document.operation(t, "/free", "get"); offers != nil || declared {
		t.Errorf("what the matcher does not name is offered for %+v", offers)
	}
}

func TestOpenAPIWithoutADocument(t *testing.T) {
	missing := "root * " + t.TempDir() + "\nfile_server"
	for name, test := range map[string]struct {
		s      site
		status int
		want   string
	}{
		"minimal":            {site{payword: "openapi minimal", rest: missing}, 200, `"x-payment-info":{"offers":[{"amount":"1000"`},
		"none":               {site{payword: "openapi", rest: missing}, 404, ""},
		"minimal, a proxy":   {site{payword: "openapi minimal", upstream: http.NotFoundHandler()}, 200, `"x-payment-info"`},
		"none, a proxy":      {site{payword: "openapi", upstream: http.NotFoundHandler()}, 404, "404 page not found"},
		"no JSON":            {site{payword: "openapi minimal", rest: "respond `<html>`"}, 200, "<html>"},
		"no OpenAPI":         {site{payword: "openapi minimal", rest: "respond `{}`"}, 200, "{}"},
		"an error":           {site{payword: "openapi minimal", rest: "respond broken 500"}, 500, "broken"},
		"nothing":            {site{payword: "openapi minimal", rest: "respond 204"}, 204, ""},
		"too long":           {site{payword: "openapi minimal", upstream: http.HandlerFunc(long)}, 200, `{"openapi":"3.1.0","x":"aaaa`},
		"paths that are odd": {site{payword: "openapi", rest: "respond `{\"openapi\":\"3.1.0\",\"paths\":[1]}`"}, 200, `"openapi":"3.1.0"`},
	} {
		t.Run(name, func(t *testing.T) {
			gate := startGate(t, test.s)
			response, body := gate.do(t, "GET", "/openapi.json", nil)
			if response.StatusCode != test.status || !strings.HasPrefix(body, test.want) && !strings.Contains(body, test.want) {
				t.Errorf("%s %.200s", response.Status, body)
			}
			if name == "too long" && len(body) < 9<<20 {
				t.Errorf("%d bytes came", len(body))
			}
		})
	}
}

// long is a document of more than the gate reads.
func long(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, `{"openapi":"3.1.0","x":"`)
	for range 9 {
		io.WriteString(w, strings.Repeat("a", 1<<20))
	}
	io.WriteString(w, `"}`)
}

// TestOpenAPIOfSeveralDirectives lets two directives price one document.
func TestOpenAPIOfSeveralDirectives(t *testing.T) {
	vendor := freeOrigin(t)
	gate := startGate(t, site{vendor: vendor, matcher: "/a/*", payword: "openapi", rest: fmt.Sprintf("payword /a/b/* %s 0.005 USD {\nopenapi\n}\nrespond `%s`", vendor,
		`{"openapi":"3.1.0","info":{},"paths":{"/a/x":{"get":{}},"/a/b/x":{"get":{}}}}`)})
	_, body := gate.mustPay(t, "/openapi.json", nil)
	document := readOpenAPIDocument(t, body)
	for path, want := range map[string]string{"/a/x": "1000", "/a/b/x": "5000"} {
		payment := gate.quoted(t, "GET", path, nil)[0]
		request, err := payword.ParsePriceRequest(payment.Request)
		offers, _ := document.operation(t, path, "get")
		if err != nil || len(offers) != 1 || *offers[0].Amount != want || request.Amount.String() != want {
			t.Errorf("%s: offered %+v, asked %s, %v", path, offers, request.Amount, err)
		}
	}
}

// TestDiscoveryOfSeveralVendors puts two vendors on one site, each under its own
// host, and others in the same Caddy.
func TestDiscoveryOfSeveralVendors(t *testing.T) {
	first := freeOrigin(t)
	second := strings.Replace(first, "127.0.0.1", "localhost", 1)
	third := freeOrigin(t)
	gate := startGate(t, site{
		vendor: first, matcher: "/one/*", payword: "origins " + second,
		rest: fmt.Sprintf("payword /two/* %s 0.002 EUR\nrespond content\n}\n%s {\npayword %s 0.003 USD\nrespond content\n}\n%s {\npayword %s 0.002 EUR\nrespond content", second, third, third, second, second),
	})
	for origin, want := range map[string]string{first: first, second: second, third: third} {
		for _, method := range []string{"GET", "HEAD"} {
			asked := *gate
			asked.vendor = origin
			response, body := asked.do(t, method, payword.PathDiscovery, map[string]string{"Origin": "https://app.example"})
			if response.StatusCode != http.StatusOK || response.Header.Get("Access-Control-Allow-Origin") != "*" || response.Header.Get("Cache-Control") != "public, max-age=300" {
				t.Errorf("%s %s: %s %v", method, origin, response.Status, response.Header)
			}
			if method == "HEAD" {
				if body != "" {
					t.Errorf("HEAD %s has a body", origin)
				}
				continue
			}
			document, err := payword.ParseDiscovery([]byte(body))
			if err != nil || document.Vendor != want || len(body) > payword.MaxDiscoveryBytes {
				t.Errorf("%s: vendor %s, want %s, %v", origin, document.Vendor, want, err)
			}
			if origin == first && (len(document.Origins) != 1 || document.Origins[0] != second) {
				t.Errorf("%s lists %q", origin, document.Origins)
			}
		}
	}
	if response, _ := gate.do(t, "POST", payword.PathDiscovery, nil); response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %s", response.Status)
	}
}
