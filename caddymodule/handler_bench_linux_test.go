package caddymodule_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// benchBatch is how many requests are prepared at a time, and how many of each
// kind come in turn where two kinds are compared.
const benchBatch = 512

// benchSites are a site that charges and the same sites without us, on one
// Caddy.
type benchSites struct {
	bare, basicAuth, paid benchSite
	wallet                *benchWallet
	pages                 int
}

// benchSite is a site as benchmarks ask it: past the network.
type benchSite struct {
	handler http.Handler
	origin  string
	basic   string // the header Authorization; "" for none
}

// benchAnswer is a page of 1 KiB.
var benchAnswer = strings.Repeat("0123456789abcde ", 64)

func startBenchSites(b *testing.B) *benchSites {
	bare, basicAuth := freeOrigin(b), freeOrigin(b)
	respond := fmt.Sprintf("respond %q", benchAnswer)
	gate := startGate(b, site{
		global: "durability async",
		// Another site's block follows: the last brace is the first site's.
		rest: fmt.Sprintf(`%[1]s
}
%[2]s {
	%[1]s
}
%[3]s {
	basic_auth {
		reader $2a$04$LvrHXxwV3b6IPhdsDlL.ceYree/I15ec64fuda8Kgi4OTw2fN.QQC
	}
	%[1]s`, respond, bare, basicAuth),
	})
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		b.Fatal(err)
	}
	site := func(origin string) benchSite {
		for _, server := range app.(*caddyhttp.App).Servers {
			if slices.ContainsFunc(server.Listen, func(address string) bool {
				return strings.HasSuffix(origin, address[strings.LastIndexByte(address, ':'):])
			}) {
				return benchSite{handler: server, origin: origin}
			}
		}
		b.Fatalf("no server listens for %s", origin)
		return benchSite{}
	}
	sites := &benchSites{bare: site(bare), basicAuth: site(basicAuth), paid: site(gate.vendor)}
	sites.basicAuth.basic = "Basic cmVhZGVyOnNlY3JldA==" // reader:secret
	sites.wallet = &benchWallet{gate: gate}
	return sites
}

// benchWallet pays one request after the other, each by the next payword of
// the next of its payers.
type benchWallet struct {
	gate   *testGate
	payers []*payer
	index  uint32 // of the payers' chains
	next   int    // payer
	round  int
}

const (
	benchPayers = 64
	benchLength = 1 << 13
)

// pay returns a Payword header that was not used yet.
func (w *benchWallet) pay(b *testing.B) string {
	if w.next == 0 {
		w.index++
		if len(w.payers) == 0 || w.index > benchLength {
			w.open(b)
		}
	}
	p := w.payers[w.next]
	w.next = (w.next + 1) % benchPayers
	return payword.FormatPayment(p.payment(w.index, uint64(w.index)))
}

func (w *benchWallet) open(b *testing.B) {
	w.payers, w.index, w.round = nil, 2, w.round+1
	for k := range benchPayers {
		p, err := makePayer(wish{
			name: fmt.Sprintf("bench %d %d", w.round, k), vendor: w.gate.vendor, length: benchLength,
			commitment: func(c *payword.Commitment) { c.Limit = 20 * money.Unit },
		})
		if err != nil {
			b.Fatal(err)
		}
		response, err := w.gate.send(http.MethodGet, "/first", p.opening(p.payment(1, 1)))
		if err != nil {
			b.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			b.Fatalf("opening: %s", response.Status)
		}
		w.payers = append(w.payers, p)
	}
}

// text returns the bytes of a request. The bare sites are sent the same as the
// one that charges.
func (s *benchSites) text(b *testing.B, at benchSite) []byte {
	s.pages++ // each is read once: again it would be free
	text := fmt.Sprintf("GET /articles/2026/%07d.html HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\nPayword: %s\r\n",
		s.pages, strings.TrimPrefix(at.origin, "http://"), s.wallet.pay(b))
	if at.basic != "" {
		text += "Authorization: " + at.basic + "\r\n"
	}
	return []byte(text + "\r\n")
}

// discard is a ResponseWriter that keeps the status alone.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header                     { return d.header }
func (d *discard) WriteHeader(status int)                  { d.status = status }
func (d *discard) Write(content []byte) (int, error)       { return len(content), nil }
func (d *discard) SetReadDeadline(time.Time) error         { return nil }
func (d *discard) SetWriteDeadline(time.Time) error        { return nil }
func (d *discard) WriteString(content string) (int, error) { return len(content), nil }

// processorTime returns what the process has used of the processors: the gate's
// journal and the collection of garbage too. It does not grow while others have
// the processor.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// serve asks a site without a connection and returns the processor time that it
// took.
func (s *benchSites) serve(b *testing.B, at benchSite, requests int) time.Duration {
	prepared := make([]*http.Request, requests)
	for k := range prepared {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(s.text(b, at))))
		if err != nil {
			b.Fatal(err)
		}
		r.RemoteAddr = benchAddress.String()
		prepared[k] = r.WithContext(b.Context())
	}
	w := &discard{header: make(http.Header)}
	b.StartTimer()
	began := processorTime(b)
	for _, r := range prepared {
		clear(w.header)
		at.handler.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			b.Fatalf("%s: status %d, %s", at.origin, w.status, w.header)
		}
	}
	took := processorTime(b) - began
	b.StopTimer()
	return took
}

// memoryConnection is a connection of an HTTP server whose client sends the next
// request when the last one was answered.
type memoryConnection struct {
	net.Conn
	requests [][]byte
	sent     int
	rest     []byte // of the last that was sent
	answered atomic.Int64
	good     int           // answers that begin with 200
	abort    chan struct{} // ends a Read, as a deadline in the past does
	closed   chan struct{}
}

func (c *memoryConnection) Read(content []byte) (int, error) {
	if len(c.rest) == 0 {
		if int64(c.sent) > c.answered.Load() {
			<-c.abort
			return 0, os.ErrDeadlineExceeded
		}
		if c.sent == len(c.requests) {
			return 0, io.EOF
		}
		c.rest = c.requests[c.sent]
		c.sent++
	}
	n := copy(content, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *memoryConnection) Write(content []byte) (int, error) {
	if bytes.HasPrefix(content, []byte("HTTP/1.1 200")) {
		c.good++
	}
	c.answered.Add(1)
	return len(content), nil
}

func (c *memoryConnection) SetReadDeadline(deadline time.Time) error {
	select {
	case <-c.abort:
	default:
	}
	if !deadline.IsZero() {
		c.abort <- struct{}{}
	}
	return nil
}

func (c *memoryConnection) Close() error                     { close(c.closed); return nil }
func (c *memoryConnection) LocalAddr() net.Addr              { return benchAddress }
func (c *memoryConnection) RemoteAddr() net.Addr             { return benchAddress }
func (c *memoryConnection) SetDeadline(time.Time) error      { return nil }
func (c *memoryConnection) SetWriteDeadline(time.Time) error { return nil }

var benchAddress = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}

// memoryListener is a listener that accepts one connection.
type memoryListener struct{ net.Conn }

func (l *memoryListener) Accept() (net.Conn, error) {
	connection := l.Conn
	if l.Conn = nil; connection == nil {
		return nil, io.EOF
	}
	return connection, nil
}
func (l *memoryListener) Addr() net.Addr { return nil }
func (l *memoryListener) Close() error   { return nil }

// connect asks a site over one connection in memory, which adds what Go's HTTP
// server does to read the requests and to write the answers.
func (s *benchSites) connect(b *testing.B, at benchSite, requests int) time.Duration {
	connection := &memoryConnection{abort: make(chan struct{}, 1), closed: make(chan struct{})}
	for range requests {
		connection.requests = append(connection.requests, s.text(b, at))
	}
	server := &http.Server{Handler: at.handler}
	b.StartTimer()
	began := processorTime(b)
	if err := server.Serve(&memoryListener{connection}); !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
	<-connection.closed
	took := processorTime(b) - began
	b.StopTimer()
	if connection.good != requests {
		b.Fatalf("%s: %d of %d requests were answered with 200", at.origin, connection.good, requests)
	}
	return took
}

// BenchmarkHandler is what Caddy does for a request in this process: "bare" with
// an ignored Payword header, "basic_auth" with its cache warm, "payword" paid.
// "serve" begins at Caddy's handler and "connection" at the bytes of the
// request. "own" takes "bare" and "payword" in turn and reports the median of
// the difference of their processor time: what the gate adds, with what Caddy does
// for one directive more.
func BenchmarkHandler(b *testing.B) {
	sites := startBenchSites(b)
	for _, way := range []struct {
		name string
		ask  func(b *testing.B, at benchSite, requests int) time.Duration
	}{{"serve", sites.serve}, {"connection", sites.connect}} {
		for _, contender := range []struct {
			name string
			at   benchSite
		}{{"bare", sites.bare}, {"basic_auth", sites.basicAuth}, {"payword", sites.paid}} {
			b.Run(way.name+"/"+contender.name, func(b *testing.B) {
				b.StopTimer()
				b.ReportAllocs()
				for left := b.N; left > 0; left -= benchBatch {
					way.ask(b, contender.at, min(left, benchBatch))
				}
			})
		}
		b.Run(way.name+"/own", func(b *testing.B) {
			b.StopTimer()
			benchOwn(b, sites, way.ask)
		})
	}
}

func benchOwn(b *testing.B, sites *benchSites, ask func(b *testing.B, at benchSite, requests int) time.Duration) {
	var differences, ratios []float64
	for left := b.N; left > 0; left -= benchBatch {
		var bare, paid time.Duration
		if len(ratios)%2 == 0 {
			bare, paid = ask(b, sites.bare, benchBatch), ask(b, sites.paid, benchBatch)
		} else {
			paid, bare = ask(b, sites.paid, benchBatch), ask(b, sites.bare, benchBatch)
		}
		differences = append(differences, float64((paid-bare).Nanoseconds())/benchBatch)
		ratios = append(ratios, float64(bare)/float64(paid))
	}
	slices.Sort(differences)
	slices.Sort(ratios)
	middle := len(ratios) / 2
	b.ReportMetric(0, "ns/op") // two kinds of requests together say nothing
	b.ReportMetric(differences[middle], "own-ns")
	b.ReportMetric(differences[middle]/sha256Nanoseconds(), "x-sha256")
	b.ReportMetric(ratios[middle], "bare/payword")
}

// sha256Nanoseconds measures one SHA-256 of 32 bytes on this machine at this
// moment, in ns.
func sha256Nanoseconds() float64 {
	const hashes = 200_000
	word := [sha256.Size]byte{1}
	began := time.Now()
	for range hashes {
		word = sha256.Sum256(word[:])
	}
	return float64(time.Since(began).Nanoseconds()) / hashes
}
