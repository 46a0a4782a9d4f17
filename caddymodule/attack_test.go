package caddymodule_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Attacks on the gate, and the tests that try them. None may give content for
// nothing, or money back for content.
//
//	a payment again, for the same page or another   TestRetryIsFreeAndRepeatBuysNothing, TestAttackReplay
//	a challenge again, or with another commitment   TestChargeIntent, TestChargeIsAnsweredByOneCommitment
//	numbers and indexes in any order, with gaps     TestThirtyAtOnce, TestChainsOfDifferentUnit
//	indexes far ahead, to make the gate hash        TestRefusals, TestAttackHashing
//	numbers that overflow, with signs and zeros     TestAttackIntegers, FuzzParsePayment in the root
//	headers: long, doubled, folded, with NUL        TestAttackHeaderBytes, TestDuplicatedHeadersAreRefused
//	a commitment id that was chosen                 TestRefusals (garbled, id of another commitment)
//	a commitment for another vendor                 TestRefusals, TestCheapChecksComeFirst
//	expiry, also while content is delivered         TestRefusals, TestAttackClocks
//	forged signatures, keys and algorithms          TestRefusals, and the vectors in the root
//	clocks that go back, forward or apart           TestAttackClocks
//	kill and power loss between charge and serve    TestKillNine, TestFileStoreCrash
//	timing of comparisons                           TestSecretsAreComparedInConstantTime
//	the admin endpoint from a web page              TestAttackAdminFromAPage
//	X-Forwarded-* that change price or site         TestAttackForwardedHeaders, TestAttackForwardedPath
//	paths that something reads as another           TestAttackPaths, TestAttackDearAsCheap, TestAttackHosts
//	paid content from a shared cache                TestSharedCache, TestCachingOfAnswers
//	requests hidden in requests                     TestAttackSmuggling, TestAttackSmugglingThroughNginx
//	slow clients, floods of openings and refusals   TestAttackFloods, TestAttackSlowHeaders
//	ranges and encodings to get content cheaply     TestAttackRanges
//	methods: HEAD, OPTIONS, TRACE, CONNECT, upgrade TestAttackMethods, TestAttackUpgrades
//	header names in other spellings, trailers       TestIdentityCannotBeClaimed, TestHeadersUnderOtherSpellings
//	hints before the answer                         TestEarlyHints
//	leaving, cutting, half a body, to be paid back  TestClientThatCutsTheConnectionPays, TestHalfABodyBuysNothing

// TestAttackReplay copies a paid request, whole, and sends it where it was not
// meant for.
func TestAttackReplay(t *testing.T) {
	var served atomic.Int32
	gate := startGate(t, site{payword: "reread off", upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			served.Add(1)
		}
		io.WriteString(w, "content")
	})})
	p := newPayer(t, wish{name: "replay", vendor: gate.vendor})
	copied := p.opening(p.payment(500, 1))
	gate.mustPay(t, "/page", copied)
	for _, attack := range []struct{ method, target, digest string }{
		{"GET", "/other", ""}, {"GET", "/page?", ""}, {"GET", "/page?x=1", ""}, {"GET", "//page", ""}, {"GET", "/%70age", ""}, {"GET", "/PAGE", ""},
		{"POST", "/page", ""}, {"PUT", "/page", ""}, {"DELETE", "/page", ""}, {"OPTIONS", "/page", ""}, {"GET", "/page", "sha-256=:AA==:"}, {"HEAD", "/other", ""},
	} {
		headers := p.header(p.payment(500, 1))
		headers["Content-Digest"] = attack.digest
		response, body := gate.do(t, attack.method, attack.target, headers)
		if got := statusOf(t, response); got.Reason != payword.AlreadyUsed || strings.Contains(body, "content") || got.Spent != testPrice {
			t.Errorf("%s %s: %s %+v", attack.method, attack.target, response.Status, got)
		}
	}
	granted := 0
	for range 30 {
		response, _ := gate.do(t, "GET", "/page", copied)
		if response.StatusCode == http.StatusOK {
			granted++
		}
	}
	if granted != payword.MaxRepeats || int(served.Load()) != payword.MaxRepeats+1 {
		t.Errorf("the same request was granted %d times more and served %d times, want %d and %d", granted, served.Load(), payword.MaxRepeats, payword.MaxRepeats+1)
	}
}

// TestAttackIntegers writes numbers that overflow, or that two readers read
// differently.
func TestAttackIntegers(t *testing.T) {
	gate := startGate(t, site{})
	p := newPayer(t, wish{name: "integers", vendor: gate.vendor})
	gate.mustPay(t, "/first", p.opening(p.payment(10, 1)))
	good := payword.FormatPayment(p.payment(10, 2))
	numbers := []string{
		"", "-1", "+1", "0x1", "1e3", "1.0", "01", "00", " 1", "1 ", "1_0", "1,0", "१", "１", "9223372036854775807", "9223372036854775808",
		"18446744073709551616", "99999999999999999999", strings.Repeat("9", 200), "1;q=1", "1\t", "true", "?1", "NaN", "inf", "1000000000000000", "\"1\"", "(1)",
	}
	for _, member := range []string{"c=0", "i=10", "n=2", "max=1000"} {
		for _, number := range numbers {
			name, _, _ := strings.Cut(member, "=")
			value := strings.Replace(good, member, name+"="+number, 1)
			if value == good {
				t.Fatalf("%s is not in %s", member, good)
			}
			response, body := gate.do(t, "GET", "/page", map[string]string{payword.HeaderPayword: value})
			if strings.Contains(body, "content of") || response.StatusCode != http.StatusPaymentRequired {
				// What a space says at the ends of a member is no other number.
				if strings.TrimSpace(number) == "1" && response.StatusCode == http.StatusOK {
					continue
				}
				t.Errorf("%s=%q: %s %s", name, number, response.Status, body)
			}
		}
	}
	for _, zero := range []string{"n=0", "i=0", "i=1048577", "c=8", "n=1000000000000000", "max=1000000000000000"} {
		name, _, _ := strings.Cut(zero, "=")
		value := regexp.MustCompile(`\b`+name+`=\d+`).ReplaceAllString(good, zero)
		if response, _ := gate.do(t, "GET", "/page", map[string]string{payword.HeaderPayword: value}); statusOf(t, response).Reason != payword.MalformedHeader {
			t.Errorf("%s: %s", zero, response.Status)
		}
	}
	gate.mustPay(t, "/page", map[string]string{payword.HeaderPayword: good})
}

// TestAttackHashing names indexes that take long to hash, with paywords that
// prove nothing.
func TestAttackHashing(t *testing.T) {
	gate := startGate(t, site{})
	p := newPayer(t, wish{name: "hashing", vendor: gate.vendor, commitment: func(m *payword.Commitment) { m.Chains[0].Length = payword.MaxChainLength }})
	gate.mustPay(t, "/first", p.opening(p.payment(1, 1)))
	began := time.Now()
	for k := range 200 {
		payment := p.payment(1, uint64(k+2))
		payment.Index = payword.MaxChainLength - uint32(k)
		if response, _ := gate.do(t, "GET", "/page", p.header(payment)); statusOf(t, response).Reason != payword.StepTooFar {
			t.Fatalf("index %d: %s", payment.Index, response.Header.Get(payword.HeaderState))
		}
	}
	// Hashing them all would take 20 seconds.
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("200 refusals took %s", took)
	}
}

// TestAttackHeaderBytes sends header fields that parsers disagree on.
func TestAttackHeaderBytes(t *testing.T) {
	gate := startGate(t, site{rest: "respond \"" + secretContent + "\""})
	host := addressOf(gate)
	p := newPayer(t, wish{name: "bytes", vendor: gate.vendor})
	gate.mustPay(t, "/first", p.opening(p.payment(10, 1)))
	payment := payword.FormatPayment(p.payment(10, 2))
	other := payword.FormatPayment(p.payment(10, 3))
	tests := map[string]string{
		"two fields":                "Payword: " + payment + "\r\nPayword: " + other,
		"the same twice":            "Payword: " + payment + "\r\nPayword: " + payment,
		"two in one":                "Payword: " + payment + ", " + other,
		"a NUL in it":               "Payword: " + payment + "\x00",
		"a NUL in the name":         "Pay\x00word: " + payment,
		"a line break in it":        "Payword: " + strings.Replace(payment, ", i=", ",\r\ni=", 1),
		"a bare CR in it":           "Payword: " + strings.Replace(payment, ", i=", ",\ri=", 1),
		"a space before the colon":  "Payword : " + payment,
		"a space before the name":   " Payword: " + payment,
		"a control character":       "Payword: " + payment + "\x01",
		"underscore":                "Payword_: " + payment,
		"of 15 KiB":                 "Payword: " + strings.Repeat("a", 15<<10),
		"of 40 KiB":                 "Payword: " + payment + strings.Repeat(" ", 40<<10),
		"of 1.2 MB":                 "Payword: " + strings.Repeat("a", 1200<<10),
		"thousand fields":           strings.Repeat("Payword: x\r\n", 1000) + "Payword: " + payment,
		"a credential of 13 KB":     "Authorization: Payment " + strings.Repeat("a", 13<<10),
		"half a credential":         "Authorization: Payment",
		"a scheme alike":            "Authorization: Payment2 e30",
		"credentials in one":        "Authorization: Payment e30, Payment e30",
		"a commitment of 15 KB":     "Payword: " + payment + "\r\nPayword-Commitment: " + strings.Repeat("a", 15<<10),
		"trailing comma":            "Payword: " + payment + ",",
		"parameters":                "Payword: " + payment + ";x=1",
		"high bytes":                "Payword: " + payment + "\xff\xfe",
		"bytes that are not base64": "Payword: " + strings.Replace(payment, "w=:", "w=:\xc3\xa9", 1),
	}
	for name, header := range tests {
		status, answer := rawAnswer(t, host, fmt.Sprintf("GET /page HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n\r\n", host, header))
		if strings.Contains(answer, secretContent) || status == http.StatusOK || status >= 500 {
			t.Errorf("%s: %d", name, status)
		}
	}
	// Folded lines are one line with spaces (RFC 9112, section 5.2), or refused.
	folded := "Payword: " + strings.Replace(payment, ", i=", ",\r\n i=", 1)
	if status, _ := rawAnswer(t, host, fmt.Sprintf("GET /page HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n\r\n", host, folded)); status != 200 && status != 400 && status != 402 {
		t.Errorf("folded: %d", status)
	}
	gate.mustPay(t, "/other", p.header(p.payment(10, 4)))
}

// TestAttackAnswerSplitting asks for URLs and sends fields that would
// break our answer's header if they were copied into it.
func TestAttackAnswerSplitting(t *testing.T) {
	gate := startGate(t, site{payword: "intent session charge"})
	host := addressOf(gate)
	for _, target := range []string{"/x%0d%0aSet-Cookie:%20a=b", "/x?a=%0d%0aSet-Cookie:%20a=b", "/x%22,%20Basic%20realm=%22y", "/x\",Basic", "/%0d%0a%0d%0a<script>"} {
		_, answer := rawAnswer(t, host, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\nAccept-Payment: payword/session\";x=\"y\r\nConnection: close\r\n\r\n", target, host))
		head, body, _ := strings.Cut(answer, "\r\n\r\n")
		if strings.Contains(head, "Set-Cookie") || strings.Contains(head, "Basic") || strings.Contains(body, "<script>\r\n") || strings.Contains(head, "<script>") {
			t.Errorf("%s: %s", target, answer)
		}
	}
}

// TestAttackClocks opens and pays around the ends of what is valid.
func TestAttackClocks(t *testing.T) {
	gate := startGate(t, site{payword: "reread off"})
	now := time.Now().Unix()
	tests := []struct {
		name string
		wish wish
		want payword.Reason
	}{
		{"made just now by a clock ahead", wish{commitment: func(m *payword.Commitment) { m.IssuedAt = now + payword.SkewSeconds - 5 }}, payword.Accepted},
		{"made by a clock too far ahead", wish{commitment: func(m *payword.Commitment) { m.IssuedAt = now + payword.SkewSeconds + 30 }}, payword.CommitmentNotYetValid},
		{"made tomorrow", wish{commitment: func(m *payword.Commitment) {
			m.IssuedAt, m.Expires = now+86400, now+86400+60
			m.Certificate.Expires = now + 2*86400
		}, certificate: func(c *payword.Certificate) { c.Expires = now + 2*86400 }}, payword.CommitmentNotYetValid},
		{"certificate of tomorrow", wish{certificate: func(c *payword.Certificate) { c.IssuedAt, c.Expires = now+3600, now+7200 }}, payword.CommitmentNotYetValid},
		{"ends this second", wish{commitment: func(m *payword.Commitment) { m.Expires = now }}, payword.CommitmentExpired},
		{"ended at the beginning of time", wish{commitment: func(m *payword.Commitment) { m.IssuedAt, m.Expires = 1, 2 }}, payword.CommitmentExpired},
		{"certificate ended", wish{
			certificate: func(c *payword.Certificate) { c.IssuedAt, c.Expires = now-7200, now-1 },
			commitment:  func(m *payword.Commitment) { m.IssuedAt, m.Expires = now-7100, now-1 },
		}, payword.CertificateExpired},
	}
	for _, test := range tests {
		test.wish.name, test.wish.vendor = "clock "+test.name, gate.vendor
		p, err := makePayer(test.wish)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		response, body := gate.do(t, "GET", "/page", p.opening(p.payment(1, 1)))
		if got := statusOf(t, response); got.Reason != test.want || (test.want != payword.Accepted) == strings.Contains(body, "content of") {
			t.Errorf("%s: %s", test.name, got.Reason)
		}
	}
}

var comparesSecrets = regexp.MustCompile(`bytes\.Equal|subtle\.|hmac\.Equal|reflect\.DeepEqual`)

// TestSecretsAreComparedInConstantTime reads the source: what is compared with
// something secret that a client sent is compared by crypto/subtle or crypto/hmac,
// and nothing by a function that stops at the first difference.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	wanted := map[string]bool{"../chain.go": false, "../challenge.go": false}
	for _, pattern := range []string{"*.go", "../*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range comparesSecrets.FindAllString(string(source), -1) {
				constant := found == "subtle." || found == "hmac.Equal"
				if _, secret := wanted[file]; secret && constant {
					wanted[file] = true
				}
				if !constant && !strings.HasPrefix(filepath.Base(file), "filestore") && !strings.HasPrefix(filepath.Base(file), "journal") {
					t.Errorf("%s compares by %s: use crypto/subtle, so that nobody learns by the time it takes", file, found)
				}
			}
		}
	}
	for file, compared := range wanted {
		if !compared {
			t.Errorf("%s holds no comparison in constant time", file)
		}
	}
}

// TestAttackAdminFromAPage asks the admin endpoint as a web page could, by a
// form, a script or a name that an attacker points at this machine.
func TestAttackAdminFromAPage(t *testing.T) {
	admin := strings.TrimPrefix(freeOrigin(t), "http://")
	gate := startGate(t, site{admin: admin})
	for name, headers := range map[string]map[string]string{
		"a foreign origin":     {"Origin": "https://evil.example"},
		"a foreign host":       {"Host": "evil.example"},
		"a sandboxed page":     {"Origin": "null"},
		"the site's own pages": {"Origin": gate.vendor},
	} {
		request, err := http.NewRequest(http.MethodPost, "http://"+admin+"/payword/redeem", strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		for header, value := range headers {
			request.Header.Set(header, value)
			if header == "Host" {
				request.Host = value
			}
		}
		response, err := gate.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusForbidden && response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", name, response.Status)
		}
		if response.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may read the answer", name)
		}
	}
	// And by GET, which a link or an image sends, it does nothing.
	response, err := gate.http.Get("http://" + admin + "/payword/redeem")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %s", response.Status)
	}
	if response, _ := gate.do(t, http.MethodPost, "/payword/redeem", nil); response.StatusCode != http.StatusPaymentRequired {
		t.Errorf("the admin route at the site itself: %s", response.Status)
	}
}

// TestAttackForwardedHeaders says by headers that the client is elsewhere, or the
// site another.
func TestAttackForwardedHeaders(t *testing.T) {
	gate := startGate(t, site{})
	p := newPayer(t, wish{name: "forwarded", vendor: gate.vendor})
	want := gate.quoted(t, "GET", "/page", nil)[0]
	for name, value := range map[string]string{
		"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Port": "1", "X-Forwarded-Prefix": "/free",
		"Forwarded": `for=192.0.2.1;host=evil.example;proto=http`, "X-Real-Ip": "192.0.2.1", "X-Host": "evil.example", "Front-End-Https": "off", "X-Url-Scheme": "http", "True-Client-Ip": "192.0.2.1",
	} {
		got := gate.quoted(t, "GET", "/page", map[string]string{name: value})[0]
		if got.Realm != want.Realm || got.Request != want.Request {
			t.Errorf("%s: %s changes what is quoted: %+v", name, value, got)
		}
	}
	bound := newPayer(t, wish{name: "forwarded bound", vendor: gate.vendor, certificate: func(c *payword.Certificate) { c.Prefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }})
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip", "Cf-Connecting-Ip"} {
		headers := bound.opening(bound.payment(1, 1))
		headers[name] = "192.0.2.1"
		if response, _ := gate.do(t, "GET", "/page", headers); statusOf(t, response).Reason != payword.WrongAddress {
			t.Errorf("%s is believed: %s", name, response.Status)
		}
	}
	gate.mustPay(t, "/page", p.opening(p.payment(1, 1)))
}

// TestAttackRanges asks for pieces, encodings and conditions, to get the whole
// for less.
func TestAttackRanges(t *testing.T) {
	folder := t.TempDir()
	content := strings.Repeat("0123456789", 1000)
	writeTestFile(t, filepath.Join(folder, "page.txt"), content)
	gate := startGate(t, site{rest: "encode gzip\nroot * " + folder + "\nfile_server", payword: "reread 5 60s"})
	p := newPayer(t, wish{name: "ranges", vendor: gate.vendor})
	first, _ := gate.mustPay(t, "/page.txt", p.opening(p.payment(1000, 1)))
	etag, modified := first.Header.Get("Etag"), first.Header.Get("Last-Modified")
	number, spent := uint64(1), testPrice
	many := "bytes=0-1"
	for k := 2; k < 1500; k++ {
		many += fmt.Sprintf(",%d-%d", k, k+1)
	}
	tests := []struct {
		name    string
		headers map[string]string
	}{
		{"a piece", map[string]string{"Range": "bytes=0-99"}},
		{"the rest", map[string]string{"Range": "bytes=100-"}},
		{"the end", map[string]string{"Range": "bytes=-50"}},
		{"two pieces", map[string]string{"Range": "bytes=0-1,5-6"}},
		{"pieces that overlap", map[string]string{"Range": "bytes=0-9000,0-9000,0-9000,1-9000"}},
		{"very many pieces", map[string]string{"Range": many}},
		{"all but a byte", map[string]string{"Range": "bytes=1-"}},
		{"past the end", map[string]string{"Range": "bytes=99999-"}},
		{"no range", map[string]string{"Range": "bytes=x"}},
		{"of another unit", map[string]string{"Range": "items=0-1"}},
		{"if the tag is right", map[string]string{"Range": "bytes=0-9", "If-Range": etag}},
		{"if the tag is wrong", map[string]string{"Range": "bytes=0-9", "If-Range": `"x"`}},
		{"if it was not changed", map[string]string{"If-None-Match": etag}},
		{"if it was changed", map[string]string{"If-None-Match": `"x"`}},
		{"if not modified", map[string]string{"If-Modified-Since": modified}},
		{"if the tag matches not", map[string]string{"If-Match": `"x"`}},
		{"a piece, compressed", map[string]string{"Range": "bytes=0-99", "Accept-Encoding": "gzip"}},
	}
	for _, test := range tests {
		// Without a payment, none of it.
		if response, body := gate.do(t, "GET", "/page.txt", test.headers); response.StatusCode != http.StatusPaymentRequired || strings.Contains(body, "0123") {
			t.Errorf("%s, unpaid: %s", test.name, response.Status)
		}
		for _, method := range []string{"GET", "HEAD"} {
			number++
			headers := p.header(p.payment(1000, number))
			for name, value := range test.headers {
				headers[name] = value
			}
			response, body := gate.do(t, method, "/page.txt", headers)
			got := statusOf(t, response)
			delivered := method == "GET" && response.StatusCode < 300
			switch {
			case method == "HEAD" && (body != "" || got.Spent != spent):
				t.Errorf("HEAD, %s: %s, %d bytes, spent %s of %s", test.name, response.Status, len(body), got.Spent, spent)
			case !delivered && (got.Spent != spent || strings.Contains(body, "0123")):
				t.Errorf("%s: %s, %d bytes, spent %s of %s", test.name, response.Status, len(body), got.Spent, spent)
			case delivered && test.headers["Range"] != "" && got.Spent != spent+testPrice:
				t.Errorf("%s: %s, spent %s, want %s", test.name, response.Status, got.Spent, spent+testPrice)
			}
			spent = got.Spent
		}
	}
}

// TestAttackMethods tries every way to ask that may get content without being
// asked to pay.
func TestAttackMethods(t *testing.T) {
	var reached atomic.Int32
	gate := startGate(t, site{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		io.WriteString(w, secretContent)
	})})
	host := addressOf(gate)
	for _, method := range []string{"GET", "get", "Get", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "QUERY", "SEARCH", "PURGE", "LINK", "M-SEARCH", "PRI", "X", "GET/1", strings.Repeat("G", 3000)} {
		for _, extra := range []string{
			"", "X-HTTP-Method-Override: OPTIONS", "X-HTTP-Method: HEAD", "X-Method-Override: GET", "Content-Length: 5\r\n\r\n12345",
			"Transfer-Encoding: chunked\r\n\r\n0", "Expect: 100-continue\r\nContent-Length: 5", "Max-Forwards: 0", "Sec-Purpose: prefetch", "Purpose: prefetch",
			"Origin: https://app.example", "Access-Control-Request-Method: GET",
		} {
			for _, target := range []string{"/page", "*", host} {
				status, answer := rawAnswer(t, host, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n\r\n", method, target, host, extra))
				if strings.Contains(answer, secretContent) {
					t.Errorf("%s %s with %q: %d", method, target, extra, status)
				}
			}
		}
	}
	for _, version := range []string{"HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "", "http/1.1"} {
		if status, answer := rawAnswer(t, host, strings.TrimSpace("GET /page "+version)+"\r\nHost: "+host+"\r\n\r\n"); strings.Contains(answer, secretContent) {
			t.Errorf("%s: %d", version, status)
		}
	}
	if reached.Load() != 0 {
		t.Errorf("%d requests reached the upstream", reached.Load())
	}
	// A preflight is let through, and brings no content back.
	status, answer := rawAnswer(t, host, fmt.Sprintf("OPTIONS /page HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n\r\n", host))
	if status != http.StatusOK || strings.Contains(answer, secretContent) || reached.Load() != 1 {
		t.Errorf("a preflight: %d, reached the upstream %d times", status, reached.Load())
	}
	for _, extra := range []string{"Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "Upgrade: websocket\r\nConnection: Upgrade"} {
		status, answer := rawAnswer(t, host, fmt.Sprintf("OPTIONS /page HTTP/1.1\r\nHost: %s\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n%s\r\n\r\n", host, extra))
		if status != http.StatusPaymentRequired || reached.Load() != 1 {
			t.Errorf("a preflight with %q: %d, reached the upstream %d times: %s", extra, status, reached.Load(), answer)
		}
	}
}

// TestAttackUpgrades asks to speak something else, and speaks it before it was
// granted.
func TestAttackUpgrades(t *testing.T) {
	echoing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, secretContent)
			return
		}
		connection, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		io.WriteString(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+secretContent)
		line, _ := buffered.ReadString('\n')
		io.WriteString(connection, "echo "+line)
	})
	gate := startGate(t, site{upstream: echoing, payword: "reread off", options: "servers {\nprotocols h1 h2c\n}"})
	host := addressOf(gate)
	for _, upgrade := range []string{
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", "Connection: Upgrade\r\nUpgrade: TLS/1.2", "Connection: Upgrade\r\nUpgrade: payword",
	} {
		status, answer := rawAnswer(t, host, fmt.Sprintf("GET /page HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\nhello\n", host, upgrade))
		if status != http.StatusPaymentRequired || strings.Contains(answer, secretContent) {
			t.Errorf("%q: %d %s", upgrade, status, answer)
		}
	}
	p := newPayer(t, wish{name: "upgrades", vendor: gate.vendor})
	gate.mustPay(t, "/first", p.opening(p.payment(10, 1)))
	connection, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprintf(connection, "GET /page HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nPayword: %s\r\n\r\n", host, payword.FormatPayment(p.payment(10, 2)))
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the control, an upgrade that is paid for: %v, %v", response, err)
	}
	io.WriteString(connection, "hello\n")
	if said, _ := io.ReadAll(reader); string(said) != secretContent+"echo hello\n" {
		t.Errorf("over the upgraded connection came %q", said)
	}
	if got := statusOf(t, response); got.Spent != 2*testPrice {
		t.Errorf("spent %s", got.Spent)
	}
}

// smuggled are requests that two servers may cut in different places. The second
// half asks for the page that costs something.
func smuggled(host string) map[string]string {
	inner := "GET /paid/secret.txt HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	head := "POST /free/open.txt HTTP/1.1\r\nHost: " + host + "\r\n"
	chunked := fmt.Sprintf("0\r\n\r\n%s", inner)
	return map[string]string{
		"CL and TE":                    head + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%s", len(chunked), chunked),
		"TE and CL":                    head + fmt.Sprintf("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(inner), inner),
		"TE: xchunked":                 head + "Transfer-Encoding: xchunked\r\n\r\n" + chunked,
		"TE with a tab":                head + "Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n" + chunked,
		"TE with a space before it":    head + "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n" + chunked,
		"TE twice":                     head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunked,
		"TE list":                      head + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked,
		"TE chunked, identity":         head + "Transfer-Encoding: chunked, identity\r\n\r\n" + chunked,
		"TE folded":                    head + "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n" + chunked,
		"TE after a bare LF":           head + "X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunked,
		"TE with a vertical tab":       head + "Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n" + chunked,
		"TE quoted":                    head + "Transfer-Encoding: \"chunked\"\r\nContent-Length: 5\r\n\r\n" + chunked,
		"two CL":                       head + fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"two CL, the same":             head + fmt.Sprintf("Content-Length: %d\r\nContent-Length: %d\r\n\r\n%s", len(inner), len(inner), inner),
		"CL list":                      head + fmt.Sprintf("Content-Length: 0, %d\r\n\r\n%s", len(inner), inner),
		"CL with a sign":               head + fmt.Sprintf("Content-Length: +%d\r\n\r\n%s", len(inner), inner),
		"CL below zero":                head + "Content-Length: -1\r\n\r\n" + inner,
		"CL in hex":                    head + "Content-Length: 0x5\r\n\r\n" + inner,
		"CL with a space inside":       head + fmt.Sprintf("Content-Length: 0 %d\r\n\r\n%s", len(inner), inner),
		"CL that covers it":            head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(inner), inner),
		"GET with a body":              strings.Replace(head, "POST", "GET", 1) + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(inner), inner),
		"chunk size too large":         head + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + inner,
		"chunk size with a sign":       head + "Transfer-Encoding: chunked\r\n\r\n-1\r\n" + inner,
		"chunk size with 0x":           head + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + inner,
		"chunk ended by LF alone":      head + "Transfer-Encoding: chunked\r\n\r\n0\n\n" + inner,
		"chunk extension with a break": head + "Transfer-Encoding: chunked\r\n\r\n0;a=\"\r\n\r\n" + inner + "\"",
		"line break in the target":     "GET /free/open.txt\rGET\n/paid/secret.txt HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
		"space in the target":          "GET /free/open.txt HTTP/1.1 /paid/secret.txt HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
		"header before the line":       "Host: " + host + "\r\n" + inner,
		"expect and a body":            head + fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"HTTP/1.0 and TE":              strings.Replace(head, "1.1", "1.0", 1) + "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n" + chunked,
		"connection header":            head + "Connection: close, content-length, payword\r\nContent-Length: 0\r\n\r\n" + inner,
		"pipelined":                    "GET /free/open.txt HTTP/1.1\r\nHost: " + host + "\r\n\r\n" + inner,
		"pipelined after paid":         inner + inner,
	}
}

// silence is how long rawAll waits for more.
const silence = time.Second

// rawAll sends bytes and returns all that came until the other side closed the
// connection, or was silent for a while.
func rawAll(t *testing.T, address, request string) string {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer connection.Close()
	io.WriteString(connection, request)
	var all bytes.Buffer
	part := make([]byte, 64<<10)
	for {
		connection.SetReadDeadline(time.Now().Add(silence))
		n, err := connection.Read(part)
		all.Write(part[:n])
		if err != nil {
			return all.String()
		}
	}
}

// smuggle sends all of them at once and fails the test if one of them gives the
// page away.
func smuggle(t *testing.T, address, host string) {
	t.Helper()
	var group sync.WaitGroup
	var free atomic.Int32
	for name, request := range smuggled(host) {
		group.Go(func() {
			answer := rawAll(t, address, request)
			if strings.Contains(answer, secretContent) {
				t.Errorf("%s gives it away:\n%s", name, answer)
			}
			if strings.Contains(answer, "something free") {
				free.Add(1)
			}
		})
	}
	group.Wait()
	if free.Load() < 3 {
		t.Errorf("the control: only %d of the requests were answered with the free page", free.Load())
	}
}

// TestAttackSmuggling hides a request in the body of another, or cuts them so
// that two servers would see different ones.
func TestAttackSmuggling(t *testing.T) {
	gate := startGate(t, site{matcher: "/paid/*", upstream: http.HandlerFunc(laxUpstream)})
	smuggle(t, addressOf(gate), addressOf(gate))
}

// TestAttackFloods sends more openings and refusals than anybody needs, from one
// address: the gate refuses them cheaply, remembers nothing of them, and goes on
// serving who is known.
func TestAttackFloods(t *testing.T) {
	gate := startGate(t, site{payword: "reread off"})
	p := newPayer(t, wish{name: "flood", vendor: gate.vendor})
	gate.mustPay(t, "/first", p.opening(p.payment(500, 1)))
	before := len(storeBytes(t, gate.dir))
	limited := atomic.Int32{}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for k := range 100 {
				junk, err := makePayer(wish{name: fmt.Sprintf("junk %d", worker), vendor: gate.vendor})
				if err != nil {
					t.Error(err)
					return
				}
				headers := junk.opening(junk.payment(1, uint64(k+1)))
				// Another signature of the same length: only checking tells.
				token := []byte(headers[payword.HeaderCommitment])
				token[len(token)-20] ^= 1
				if token[len(token)-20] == '-'^1 || token[len(token)-20] == '_'^1 {
					token[len(token)-20] = 'A'
				}
				payment := junk.payment(1, uint64(k+1))
				payment.Commitment = payword.NewCommitmentID(string(token))
				headers[payword.HeaderCommitment], headers[payword.HeaderPayword] = string(token), payword.FormatPayment(payment)
				response, body := gate.do(t, "GET", "/page", headers)
				if strings.Contains(body, "content of") {
					t.Errorf("junk was served: %s", response.Status)
				}
				if response.StatusCode == http.StatusTooManyRequests {
					limited.Add(1)
				}
			}
		})
	}
	group.Wait()
	if limited.Load() < 100 {
		t.Errorf("of 400 bad openings, %d were refused unread", limited.Load())
	}
	if after := len(storeBytes(t, gate.dir)); after != before {
		t.Errorf("junk wrote %d bytes to the store", after-before)
	}
	response, _ := gate.mustPay(t, "/after", p.header(p.payment(500, 2)))
	if got := statusOf(t, response); got.Spent != 2*testPrice {
		t.Errorf("who is known, spent %s", got.Spent)
	}
}

// TestAttackSlowHeaders holds many connections open with half a request. Others
// are served meanwhile.
func TestAttackSlowHeaders(t *testing.T) {
	const slow = 500
	gate := startGate(t, site{payword: "reread off"})
	p := newPayer(t, wish{name: "slow", vendor: gate.vendor})
	for k := range slow {
		connection, err := net.Dial("tcp", addressOf(gate))
		if err != nil {
			t.Fatalf("connection %d: %v", k, err)
		}
		t.Cleanup(func() { connection.Close() })
		fmt.Fprintf(connection, "GET /page HTTP/1.1\r\nHost: %s\r\nPayword: id=", addressOf(gate))
	}
	headers := p.opening(p.payment(50, 1))
	for number := uint64(1); number <= 50; number++ {
		response, _ := gate.mustPay(t, fmt.Sprintf("/%d", number), headers)
		if got := statusOf(t, response); got.Spent != testPrice*money.Amount(number) {
			t.Errorf("page %d beside %d slow connections: spent %s", number, slow, got.Spent)
		}
		headers = p.header(p.payment(50, number+1))
	}
}

// TestEarlyHints has the upstream send hints before its answer: who did not pay
// sees none of them, and who did gets them before what is paid for.
func TestEarlyHints(t *testing.T) {
	gate := startGate(t, site{payword: "reread off", upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		if r.URL.Path == "/error" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		io.WriteString(w, secretContent)
	})})
	host := addressOf(gate)
	if _, answer := rawAnswer(t, host, "GET /page HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); strings.Contains(answer, "103") || strings.Contains(answer, "style.css") {
		t.Errorf("who did not pay gets\n%s", answer)
	}
	p := newPayer(t, wish{name: "hints", vendor: gate.vendor})
	response, _ := gate.do(t, "HEAD", "/", p.opening(p.payment(10, 1)))
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
	for number, target := range map[uint64]string{2: "/page", 3: "/error"} {
		answer := rawAll(t, host, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nPayword: %s\r\n\r\n", target, host, payword.FormatPayment(p.payment(10, number))))
		hints, rest, _ := strings.Cut(answer, "\r\n\r\n")
		if !strings.HasPrefix(hints, "HTTP/1.1 103") || strings.Contains(hints, "Payword") || strings.Contains(hints, secretContent) {
			t.Errorf("%s: the hints are\n%s", target, hints)
		}
		if !strings.Contains(rest, "Payword-State: reason=accepted") || !strings.Contains(rest, "private") {
			t.Errorf("%s: after the hints came\n%s", target, rest)
		}
	}
	response, _ = gate.mustPay(t, "/last", p.header(p.payment(10, 4)))
	if got := statusOf(t, response); got.Spent != 2*testPrice {
		t.Errorf("one page, an error and another page: spent %s", got.Spent)
	}
}
