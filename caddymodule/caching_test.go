package caddymodule_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword"
)

// TestCachingOfAnswers looks at what each answer tells caches, whatever the
// site's other directives say of it.
func TestCachingOfAnswers(t *testing.T) {
	folder := t.TempDir()
	writeTestFile(t, filepath.Join(folder, "page.html"), secretContent)
	upstream := httptest.NewServer(http.HandlerFunc(cacheable))
	defer upstream.Close()
	proxied := "reverse_proxy " + upstream.Listener.Addr().String()
	sites := map[string]string{
		"a proxy":               proxied,
		"a proxy, compressed":   "encode gzip\n" + proxied,
		"files":                 "root * " + folder + "\nfile_server",
		"files, compressed":     "encode gzip\nroot * " + folder + "\nfile_server",
		"a header":              "header Cache-Control \"public, max-age=600\"\n" + proxied,
		"intercepted":           "intercept {\n@ok status 200\nhandle_response @ok {\nheader Cache-Control \"public, max-age=600\"\nrespond `" + secretContent + "`\n}\n}\n" + proxied,
		"handled by the proxy":  proxied + " {\n@ok status 200\nhandle_response @ok {\nheader Cache-Control \"public, max-age=600\"\ncopy_response\n}\n}",
		"errors handled":        "handle_errors {\nheader Cache-Control \"public, max-age=600\"\nrespond \"sorry\"\n}\n" + proxied,
		"a header of the proxy": proxied + " {\nheader_down Cache-Control \"public, max-age=900\"\n}",
	}
	for name, rest := range sites {
		t.Run(name, func(t *testing.T) {
			gate := startGate(t, site{rest: rest, payword: "reread off\ncredential_header Payment-Authorization"})
			p := newPayer(t, wish{name: "caching of " + name, vendor: gate.vendor})
			check := func(what string, response *http.Response, directive string) {
				t.Helper()
				said := strings.ToLower(strings.Join(response.Header.Values("Cache-Control"), ", "))
				if !strings.Contains(said, directive) {
					t.Errorf("%s: %s, Cache-Control %q, want %s", what, response.Status, said, directive)
				}
				for _, word := range []string{"public", "s-maxage"} {
					if strings.Contains(said, word) {
						t.Errorf("%s: Cache-Control %q", what, said)
					}
				}
				for _, header := range []string{"CDN-Cache-Control", "Surrogate-Control", "Expires", "X-Accel-Expires", "Edge-Control"} {
					if value := response.Header.Get(header); value != "" {
						t.Errorf("%s: %s %q", what, header, value)
					}
				}
				if vary := strings.Join(response.Header.Values("Vary"), ","); !strings.Contains(vary, "Payword") || !strings.Contains(vary, "Authorization") {
					t.Errorf("%s: Vary %q", what, vary)
				}
			}
			unpaid, _ := gate.do(t, "GET", "/page.html", map[string]string{"Accept-Encoding": "gzip"})
			paid, _ := gate.mustPay(t, "/page.html", p.opening(p.payment(50, 1)))
			refused, _ := gate.do(t, "GET", "/other.html", p.header(p.payment(50, 1)))
			challenge := gate.quoted(t, "GET", "/page.html", nil)[0]
			credential, _ := gate.mustPay(t, "/page.html", map[string]string{"Payment-Authorization": p.answering(t, challenge, p.payment(50, 2))})
			check("unpaid", unpaid, "no-store")
			check("refused", refused, "no-store")
			check("paid", paid, "private")
			check("paid by a credential in Payment-Authorization", credential, "private")
		})
	}
}

// sharedCache is a cache before a gate, as Caddy handler, that keeps everything
// that RFC 9111 lets a shared cache keep.
type sharedCache struct{}

var keptAnswers sync.Map

func init() {
	caddy.RegisterModule(sharedCache{})
	httpcaddyfile.RegisterHandlerDirective("test_shared_cache", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return sharedCache{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("test_shared_cache", httpcaddyfile.Before, "forward_auth")
}

func (sharedCache) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_shared_cache", New: func() caddy.Module { return new(sharedCache) }}
}

func (*sharedCache) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

type keptAnswer struct {
	status  int
	header  http.Header
	body    []byte
	request http.Header
}

func (c sharedCache) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	key := r.Host + r.URL.RequestURI()
	if found, ok := keptAnswers.Load(key); ok && r.Method != http.MethodPost {
		kept := found.(keptAnswer)
		if matchesVary(kept, r.Header) {
			maps.Copy(w.Header(), kept.header)
			w.Header().Set("X-Cache", "HIT")
			w.WriteHeader(kept.status)
			_, err := w.Write(kept.body)
			return err
		}
	}
	asked := r.Header.Clone()
	recorder := caddyhttp.NewResponseRecorder(w, new(bytes.Buffer), func(int, http.Header) bool { return true })
	if err := next.ServeHTTP(recorder, r); err != nil {
		return err
	}
	if r.Method == http.MethodGet && mayKeep(recorder.Status(), recorder.Header(), asked) {
		keptAnswers.Store(key, keptAnswer{recorder.Status(), recorder.Header().Clone(), bytes.Clone(recorder.Buffer().Bytes()), asked})
	}
	return recorder.WriteResponse()
}

// mayKeep is section 3 of RFC 9111, for a cache that keeps all it may.
func mayKeep(status int, header, asked http.Header) bool {
	directives := make(map[string]string)
	for _, value := range header.Values("Cache-Control") {
		for part := range strings.SplitSeq(value, ",") {
			name, argument, _ := strings.Cut(strings.ToLower(strings.TrimSpace(part)), "=")
			directives[name] = argument
		}
	}
	has := func(name string) bool { _, found := directives[name]; return found }
	if has("no-store") || has("private") {
		return false
	}
	if asked.Get("Authorization") != "" && !has("public") && !has("s-maxage") && !has("must-revalidate") {
		return false
	}
	if seconds, err := strconv.Atoi(directives["max-age"]); err == nil && seconds > 0 {
		return true
	}
	heuristically := []int{200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501}
	return has("public") || has("s-maxage") || header.Get("Expires") != "" || slices.Contains(heuristically, status)
}

func matchesVary(kept keptAnswer, header http.Header) bool {
	for _, value := range kept.header.Values("Vary") {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.TrimSpace(name)
			if name == "*" || !slices.Equal(kept.request.Values(name), header.Values(name)) {
				return false
			}
		}
	}
	return true
}

// TestSharedCache puts a cache before the gate, and another behind it.
func TestSharedCache(t *testing.T) {
	gate := startGate(t, site{payword: "reread off", rest: "test_shared_cache", upstream: http.HandlerFunc(cacheable)})
	p := newPayer(t, wish{name: "shared cache", vendor: gate.vendor})
	checkSharedCache(t, gate, addressOf(gate), p)
	t.Run("behind the gate", func(t *testing.T) {
		behind := startGate(t, site{payword: "reread off", rest: "route {\ntest_shared_cache\nreverse_proxy " + upstreamOf(t) + "\n}"})
		p := newPayer(t, wish{name: "cache behind", vendor: behind.vendor})
		for number := uint64(1); number <= 3; number++ {
			response, body := behind.mustPay(t, "/page", p.opening(p.payment(10, number)))
			if hit := response.Header.Get("X-Cache") == "HIT"; hit != (number > 1) || body != secretContent {
				t.Errorf("request %d: a hit: %t, %q", number, hit, body)
			}
			if got := statusOf(t, response); uint64(got.Spent) != number*uint64(testPrice) {
				t.Errorf("request %d: spent %s: a hit behind the gate is paid for like any other", number, got.Spent)
			}
		}
		if response, body := behind.do(t, "GET", "/page", nil); response.StatusCode != http.StatusPaymentRequired || strings.Contains(body, secretContent) {
			t.Errorf("who does not pay: %s", response.Status)
		}
	})
}

func upstreamOf(t *testing.T) string {
	upstream := httptest.NewServer(http.HandlerFunc(cacheable))
	t.Cleanup(upstream.Close)
	return upstream.Listener.Addr().String()
}

// checkSharedCache asks through a cache in turns with a payment and without: who
// did not pay never gets what was paid for, and who paid never a refusal that was
// meant for another.
func checkSharedCache(t *testing.T, gate *testGate, front string, p *payer) {
	t.Helper()
	through := *gate
	through.vendor = "http://" + front
	number := uint64(0)
	pay := func(target string, credential bool) (*http.Response, string) {
		number++
		headers := p.opening(p.payment(200, number))
		if credential {
			challenge := gate.quoted(t, "GET", target, nil)[0]
			headers = map[string]string{"Authorization": p.answering(t, challenge, p.payment(200, number))}
		}
		headers["Host"] = addressOf(gate)
		return through.do(t, "GET", target, headers)
	}
	for k, target := range []string{"/page", "/article/style.css", "/article/x.js", "/image.png?cb=1", "/nothing.gone", "/page/..%2fx.css"} {
		for _, credential := range []bool{false, true} {
			for _, order := range []string{"unpaid first", "paid first"} {
				target := fmt.Sprintf("%s%sn=%d", target, map[bool]string{true: "&", false: "?"}[strings.Contains(target, "?")], 4*k)
				if order == "paid first" {
					target += "&paid"
				}
				if credential {
					target += "&credential"
				}
				paid := func() {
					response, body := pay(target, credential)
					wanted := http.StatusOK
					if strings.Contains(target, ".gone") {
						wanted = http.StatusNotFound
					}
					if response.StatusCode != wanted || body != secretContent || response.Header.Get("X-Cache") == "HIT" {
						t.Errorf("%s, %s, who paid: %s %s %q", target, order, response.Status, response.Header.Get("X-Cache"), body)
					}
				}
				if order == "paid first" {
					paid()
				}
				for _, method := range []string{"GET", "HEAD", "GET"} {
					response, body := through.do(t, method, target, nil)
					if response.StatusCode != http.StatusPaymentRequired || strings.Contains(body, secretContent) || response.Header.Get("X-Cache") == "HIT" {
						t.Errorf("%s, %s, %s who did not pay: %s %s", target, order, method, response.Status, response.Header.Get("X-Cache"))
					}
				}
				paid()
			}
		}
	}
	if strings.Contains(gate.vendor, front) {
		kept := 0
		keptAnswers.Range(func(key, _ any) bool {
			if strings.HasPrefix(key.(string), front) {
				kept++
			}
			return true
		})
		if kept != 0 {
			t.Errorf("the cache kept %d answers", kept)
		}
	}
	// The control: what is free may be kept.
	for range 2 {
		response, _ := through.do(t, "GET", payword.PathDiscovery, nil)
		if response.StatusCode != http.StatusOK {
			t.Fatalf("the discovery document: %s", response.Status)
		}
	}
	response, _ := through.do(t, "GET", payword.PathDiscovery, nil)
	if response.Header.Get("X-Cache") != "HIT" {
		t.Errorf("the control: the cache keeps nothing at all: %v", response.Header)
	}
}
