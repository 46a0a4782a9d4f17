package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// TestDemoServesBrowsers keeps the demo's servers running, as --serve does, and
// follows what it says: a wallet of one's own, the voucher, the sixty pictures and
// the API.
func TestDemoServesBrowsers(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var said strings.Builder
	d := &demo{report: newReport(&said), directory: t.TempDir(), http: http.DefaultClient}
	defer d.end()
	for _, step := range []func(context.Context) error{d.startServers, d.openAccount, d.payFirstPage} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error)
	spoken := newLines()
	d.report.out = spoken
	go func() { served <- d.serve(ctx) }()
	text := spoken.until("more vouchers:")
	code := regexp.MustCompile(`redeem the voucher, 1\.00 USD +(\S+)`).FindStringSubmatch(text)
	if code == nil || !strings.Contains(text, d.siteURL+"/tokens.html") || !strings.Contains(text, d.brokerOrigin) {
		t.Fatalf("it says %s", text)
	}
	path := filepath.Join(t.TempDir(), "wallet.json")
	for _, arguments := range [][]string{
		{"create", "--wallet", path}, {"open-account", "--wallet", path, "--broker", d.brokerOrigin}, {"voucher", "--wallet", path},
	} {
		var answer strings.Builder
		if status := client.Main(ctx, append([]string{"wallet"}, arguments...), strings.NewReader(code[1]+"\n"), &answer, &answer); status != 0 {
			t.Fatalf("payword wallet %s: %s", arguments[0], answer.String())
		}
	}
	wallet, err := client.OpenWallet(client.WalletConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer wallet.Close()
	payer := d.paying(wallet, http.DefaultTransport)
	page := d.fetched(t, http.DefaultClient, "/tokens.html", "text/html")
	pictures := regexp.MustCompile(`src="(tokens/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(pictures) != 60 {
		t.Errorf("%d pictures", len(pictures))
	}
	var group sync.WaitGroup
	for k, picture := range pictures {
		group.Go(func() {
			if got := d.fetched(t, payer, "/"+picture[1], "image/svg+xml"); !strings.Contains(got, fmt.Sprintf(">%02d<", k+1)) {
				t.Errorf("%s: %s", picture[1], got)
			}
		})
	}
	group.Wait()
	if got := d.fetched(t, payer, "/api/contents.json", "application/json"); !strings.Contains(got, "Notches and Farthings") {
		t.Errorf("the API: %s", got)
	}
	if got, want := wallet.Summary().Spent, 60*money.Unit/10_000+money.Unit/2_000; got != want {
		t.Errorf("%s was spent, want %s", got.Decimal(), want.Decimal())
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// fetched returns the body of what must be answered with 200 and a type.
func (d *demo) fetched(t *testing.T, c *http.Client, path, contentType string) string {
	t.Helper()
	response, err := c.Get(d.siteURL + path)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), contentType) {
		t.Errorf("%s: %s, %q, %v", path, response.Status, response.Header.Get("Content-Type"), err)
	}
	return string(body)
}

// lines is a writer whose reader waits for a text.
type lines struct {
	mutex   sync.Mutex
	written *sync.Cond
	text    strings.Builder
}

func newLines() *lines {
	l := &lines{}
	l.written = sync.NewCond(&l.mutex)
	return l
}

// Write implements io.Writer.
func (l *lines) Write(content []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	defer l.written.Broadcast()
	return l.text.Write(content)
}

// until returns what was written once it holds a text.
func (l *lines) until(text string) string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for !strings.Contains(l.text.String(), text) {
		l.written.Wait()
	}
	return l.text.String()
}
