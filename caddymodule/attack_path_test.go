package caddymodule_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/paywordhq/payword"
)

const secretContent = "what costs something"

// pathTricks are request targets that some server takes for /paid/secret.txt.
var pathTricks = []string{
	"/paid/secret.txt", "/PAID/secret.txt", "/Paid/Secret.txt", "//paid/secret.txt", "/paid//secret.txt", "///paid/secret.txt",
	"/./paid/secret.txt", "/paid/./secret.txt", "/free/../paid/secret.txt", "/paid/x/../secret.txt", "/free/./../paid/secret.txt",
	"/%70aid/secret.txt", "/paid%2fsecret.txt", "/paid%2Fsecret.txt", "/free/%2e%2e/paid/secret.txt", "/free/.%2e/paid/secret.txt",
	"/free%2f..%2fpaid/secret.txt", "/free/%252e%252e/paid/secret.txt", "/free%252f..%252fpaid%252fsecret.txt", "/%2570aid/secret.txt",
	"/%252570aid/secret.txt", "/paid/secret.txt%00", "/paid/secret.txt%00.html", "/free/open.txt%00/../../paid/secret.txt", "/paid%00/secret.txt",
	`/paid\secret.txt`, `\paid\secret.txt`, `/free\..\paid\secret.txt`, `/free/..\paid/secret.txt`, "/free/..%5cpaid/secret.txt", "/free%5c..%5cpaid%5csecret.txt",
	"/free/..%255cpaid/secret.txt", "/paid;x/secret.txt", "/paid/secret.txt;x=1", "/free/..;/paid/secret.txt", "/free;/..;x/paid/secret.txt", "/;/paid/secret.txt",
	"/free/%2e%2e%3b/paid/secret.txt", "/paid./secret.txt", "/paid/secret.txt.", "/paid/secret.txt...", "/paid%20/secret.txt", "/paid/secret.txt%20", "/paid/secret.txt%20.",
	"/paid/secret.txt/", "/paid/secret.txt?", "/paid/secret.txt?x#/free/open.txt", "/paid/secret.txt%23/free", "/paid/secret.txt%3fx",
	"/paid／secret.txt", "/paid%ef%bc%8fsecret.txt", "/%c0%afpaid/secret.txt", "/free/%c0%ae%c0%ae/paid/secret.txt", "/%e2%80%8bpaid/secret.txt", "/ｐaid/secret.txt",
	"/free/%C0%AE%C0%AE/paid/secret.txt", "/.well-known/%C0%AE%C0%AE%C0%AFpaid/secret.txt", "/free/..%EF%BC%8Fpaid/secret.txt",
	"/free/..%c0%afpaid/secret.txt", "/free/..%e0%80%afpaid/secret.txt", "/%u0070aid/secret.txt", "/free/%u002e%u002e/paid/secret.txt", "/%/../paid/secret.txt", "/%zz/../paid/secret.txt",
	"/.well-known/../paid/secret.txt", "/.well-known/%252e%252e/paid/secret.txt", "/.well-known/..;/paid/secret.txt", "/.well-known/payword/../../paid/secret.txt", "/favicon.ico/..;/paid/secret.txt",
	"/.well-known/payword%2f..%2f..%2fpaid%2fsecret.txt", "/robots.txt%00/paid/secret.txt",
	"http://127.0.0.1/paid/secret.txt", "HTTP://127.0.0.1/paid/secret.txt", "http://127.0.0.1/free/../paid/secret.txt", "http://user@127.0.0.1/paid/secret.txt", "http:/paid/secret.txt", "http:///paid/secret.txt",
	"paid/secret.txt", "*", "?/paid/secret.txt", "/paid/secret.txt\tx",
}

// laxUpstream reads paths as laxly as anything that was ever put behind a
// proxy.
func laxUpstream(w http.ResponseWriter, r *http.Request) {
	target := r.RequestURI
	if link, err := url.Parse(target); err == nil && link.Host != "" {
		target = link.RequestURI()
	}
	target, _, _ = strings.Cut(target, "?")
	for range 4 {
		for _, pair := range [][2]string{{"%2e", "."}, {"%2f", "/"}, {"%5c", `\`}, {"%3b", ";"}, {"%20", " "}, {"%00", "\x00"}, {"%70", "p"}, {"%25", "%"}, {"%c0%af", "/"}, {"%c0%ae", "."}, {"%e0%80%af", "/"}, {"%ef%bc%8f", "/"}, {"%u002e", "."}, {"%u0070", "p"}} {
			target = strings.ReplaceAll(strings.ReplaceAll(target, pair[0], pair[1]), strings.ToUpper(pair[0]), pair[1])
		}
	}
	target, _, _ = strings.Cut(strings.ReplaceAll(target, `\`, "/"), "\x00")
	segments := strings.Split(target, "/")
	for k := range segments {
		segments[k], _, _ = strings.Cut(segments[k], ";")
		if strings.Trim(segments[k], ".") != "" {
			segments[k] = strings.TrimRight(segments[k], ". ")
		}
	}
	if strings.EqualFold(path.Clean("/"+strings.Join(segments, "/")), "/paid/secret.txt") {
		io.WriteString(w, secretContent)
		return
	}
	io.WriteString(w, "something free")
}

// rawAnswer sends bytes, waits for one answer and returns its status, 0 if the
// connection was closed without one, and everything that came.
func rawAnswer(t *testing.T, address, request string) (int, string) {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(connection, request); err != nil && !errors.Is(err, net.ErrClosed) {
		return 0, "" // refused while we were writing
	}
	all := new(bytes.Buffer)
	response, err := http.ReadResponse(bufio.NewReader(io.TeeReader(connection, all)), nil)
	if err != nil {
		return 0, all.String()
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode, all.String()
}

func addressOf(gate *testGate) string {
	_, address, _ := strings.Cut(gate.vendor, "://")
	return address
}

// TestAttackPaths asks for a page that costs something under every name that
// something behind the gate may know it by. The gate names what is paid, which is
// the harder case, or what is free.
func TestAttackPaths(t *testing.T) {
	folder := t.TempDir()
	writeTestFile(t, filepath.Join(folder, "paid", "secret.txt"), secretContent)
	writeTestFile(t, filepath.Join(folder, "free", "open.txt"), "something free")
	files := "root * " + folder + "\nfile_server"
	sites := map[string]site{
		"files, paid by path":        {matcher: "/paid/*", rest: files},
		"files, free by path":        {payword: "free path /free/*", rest: files},
		"lax upstream, paid by path": {matcher: "/paid/*", upstream: http.HandlerFunc(laxUpstream)},
		"lax upstream, free by path": {payword: "free path /free/*", upstream: http.HandlerFunc(laxUpstream)},
		"lax upstream, named matcher": {
			matcher: "@paid", upstream: http.HandlerFunc(laxUpstream), rest: "@paid not path /free/* /robots.txt",
		},
	}
	for name, s := range sites {
		t.Run(name, func(t *testing.T) {
			gate := startGate(t, s)
			host := addressOf(gate)
			for _, trick := range pathTricks {
				for _, method := range []string{"GET", "POST"} {
					status, answer := rawAnswer(t, host, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, trick, host))
					if strings.Contains(answer, secretContent) {
						t.Errorf("%s %s gives it away: %d", method, trick, status)
					}
				}
			}
			p := newPayer(t, wish{name: "paths", vendor: gate.vendor})
			if _, body := gate.mustPay(t, "/paid/secret.txt", p.opening(p.payment(1, 1))); body != secretContent {
				t.Errorf("the control, the page paid for, is %q", body)
			}
			if _, body := gate.do(t, http.MethodGet, "/free/open.txt", nil); body != "something free" {
				t.Errorf("the control, a free page, is %q", body)
			}
		})
	}
}

// TestAttackDearAsCheap asks for a dear page under a name that a cheap one has.
func TestAttackDearAsCheap(t *testing.T) {
	gate := startGate(t, site{payword: "price 0.01 USD /paid/*\nreread off", upstream: http.HandlerFunc(laxUpstream)})
	p := newPayer(t, wish{name: "dear", vendor: gate.vendor})
	gate.mustPay(t, "/cheap", p.opening(p.payment(1500, 1)))
	for number, trick := range pathTricks {
		host := addressOf(gate)
		payment := p.payment(1500, uint64(number+2)) // at most the cheap price
		status, answer := rawAnswer(t, host, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nPayword: %s\r\nConnection: close\r\n\r\n", trick, host, payword.FormatPayment(payment)))
		if strings.Contains(answer, secretContent) {
			t.Errorf("%s sells it for the price of a cheap page: %d", trick, status)
		}
	}
	payment := p.payment(1500, 1000)
	payment.Max = 10 * testPrice
	if _, body := gate.mustPay(t, "/paid/secret.txt", p.header(payment)); body != secretContent {
		t.Errorf("the control, the page at its price, is %q", body)
	}
}

// TestAttackHosts asks under other names of the host.
func TestAttackHosts(t *testing.T) {
	gate := startGate(t, site{upstream: http.HandlerFunc(laxUpstream)})
	host := addressOf(gate)
	for _, hosts := range []string{
		"Host: other.example", "Host: 127.0.0.1", "Host: " + strings.ToUpper(host), "Host: " + host + ".", "Host:", "Host: localhost",
		"Host: other.example\r\nX-Forwarded-Host: " + host, "Host: " + host + "\r\nHost: other.example", "Host: other.example\r\nHost: " + host,
		"Host: " + host + "/../x", "Host: a@" + host, "Host: 127.0.0.1:80", "Host: [::ffff:127.0.0.1]", "X-Original-Host: " + host,
	} {
		for _, target := range []string{"/paid/secret.txt", gate.vendor + "/paid/secret.txt", "http://other.example/paid/secret.txt"} {
			status, answer := rawAnswer(t, host, fmt.Sprintf("GET %s HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n", target, hosts))
			if strings.Contains(answer, secretContent) {
				t.Errorf("%s with %q gives it away: %d", target, hosts, status)
			}
		}
	}
}

// TestAttackForwardedPath tries the headers in which some servers look for the
// path that was meant.
func TestAttackForwardedPath(t *testing.T) {
	gate := startGate(t, site{matcher: "/paid/*", upstream: http.HandlerFunc(laxUpstream)})
	for _, name := range []string{"X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Path", "X-Forwarded-Uri", "X-Forwarded-Prefix"} {
		response, body := gate.do(t, http.MethodGet, "/paid/secret.txt", map[string]string{name: "/free/open.txt"})
		if response.StatusCode != http.StatusPaymentRequired || strings.Contains(body, secretContent) {
			t.Errorf("%s: %s", name, response.Status)
		}
		if problem := problemOf(t, response, body); problem.Price == nil || *problem.Price != testPrice {
			t.Errorf("%s changes the price: %+v", name, problem)
		}
	}
}

// rawHTTP2 sends the header fields of one request over HTTP/2 as they stand, and
// the data, and returns everything that was answered: the status, or what ended
// the stream, and the content.
func rawHTTP2(t *testing.T, gate *testGate, fields []hpack.HeaderField, data string) string {
	t.Helper()
	connection, err := net.Dial("tcp", addressOf(gate))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(connection, http2.ClientPreface)
	framer := http2.NewFramer(connection, connection)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.AllowIllegalWrites = true
	framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range fields {
		encoder.WriteField(field)
	}
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: data == ""})
	if data != "" {
		framer.WriteData(1, true, []byte(data))
	}
	var all strings.Builder
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return all.String()
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				framer.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			all.WriteString(frame.PseudoValue("status") + "\n")
			if frame.StreamEnded() {
				return all.String()
			}
		case *http2.DataFrame:
			all.Write(frame.Data())
			if frame.StreamEnded() {
				return all.String()
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			all.WriteString("reset\n")
			return all.String()
		}
	}
}

// TestAttackHTTP2Fields sends what only HTTP/2 can say, and what must not be said
// in it.
func TestAttackHTTP2Fields(t *testing.T) {
	gate := startGate(t, site{matcher: "/paid/*", upstream: http.HandlerFunc(laxUpstream), options: "servers {\nprotocols h1 h2c\n}"})
	host := addressOf(gate)
	request := func(change ...hpack.HeaderField) []hpack.HeaderField {
		fields := []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: host}, {Name: ":path", Value: "/paid/secret.txt"}}
		for _, field := range change {
			replaced := false
			for k := range fields {
				if fields[k].Name == field.Name && strings.HasPrefix(field.Name, ":") {
					fields[k], replaced = field, true
				}
			}
			if !replaced {
				fields = append(fields, field)
			}
		}
		return fields
	}
	field := func(name, value string) hpack.HeaderField { return hpack.HeaderField{Name: name, Value: value} }
	tests := map[string][]hpack.HeaderField{
		"as it is":                         request(),
		"path without slash":               request(field(":path", "paid/secret.txt")),
		"path of nothing":                  request(field(":path", "")),
		"path *":                           request(field(":path", "*")),
		"path with dots":                   request(field(":path", "/free/../paid/secret.txt")),
		"path with a space":                request(field(":path", "/paid/secret.txt HTTP/1.1")),
		"path with a line break":           request(field(":path", "/free/open.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /paid/secret.txt")),
		"path with an origin":              request(field(":path", gate.vendor+"/paid/secret.txt")),
		"two paths":                        append(request(), field(":path", "/free/open.txt")),
		"two paths, the free first":        append(request(field(":path", "/free/open.txt")), field(":path", "/paid/secret.txt")),
		"path after a field":               append([]hpack.HeaderField{field("x", "y")}, request()...),
		"another host":                     request(field("host", "other.example")),
		"another authority":                request(field(":authority", "other.example"), field("host", host)),
		"scheme https":                     request(field(":scheme", "https")),
		"scheme with a path":               request(field(":scheme", "http://x/free?")),
		"method with a line break":         request(field(":method", "GET /paid/secret.txt HTTP/1.1\r\nX: y\r\n\r\nGET")),
		"method in lower case":             request(field(":method", "get")),
		"upper case name":                  request(field("Payword", "x")),
		"value with a line break":          request(field("x", "y\r\npayword: z")),
		"name with a colon":                request(field("x: y\r\npayword", "z")),
		"transfer-encoding":                request(field(":method", "POST"), field("transfer-encoding", "chunked")),
		"connection":                       request(field("connection", "payword")),
		"upgrade":                          request(field("upgrade", "h2c")),
		"a pseudo field of an answer":      request(field(":status", "200")),
		"an unknown pseudo field":          request(field(":payword", "x")),
		"connect":                          {field(":method", "CONNECT"), field(":authority", host)},
		"extended connect":                 append(request(field(":method", "CONNECT")), field(":protocol", "websocket")),
		"content-length that is too short": request(field(":method", "POST"), field("content-length", "2")),
		"content-length that is too long":  request(field(":method", "POST"), field("content-length", "9")),
		"two content-lengths":              request(field(":method", "POST"), field("content-length", "5"), field("content-length", "6")),
	}
	for name, fields := range tests {
		for _, data := range []string{"", "12345"} {
			if answer := rawHTTP2(t, gate, fields, data); strings.Contains(answer, secretContent) {
				t.Errorf("%s, with %q: %s", name, data, answer)
			}
		}
	}
	p := newPayer(t, wish{name: "http2", vendor: gate.vendor})
	var paid []hpack.HeaderField
	for name, value := range p.opening(p.payment(1, 1)) {
		paid = append(paid, field(strings.ToLower(name), value))
	}
	if answer := rawHTTP2(t, gate, request(paid...), ""); !strings.Contains(answer, secretContent) {
		t.Errorf("the control, paid for: %s", answer)
	}
}
