package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// TestBrokerFetchesClaims has a gate that never connects to its broker: an
// administrator adds the vendor, the broker fetches the claims, pays them once,
// and the gate knows that they are paid.
func TestBrokerFetchesClaims(t *testing.T) {
	key, err := broker.CreateKey(filepath.Join(t.TempDir(), "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	brokerOrigin := "http://" + server.Listener.Addr().String()
	b, err := broker.New(t.Context(), broker.Config{
		Issuer: brokerOrigin, Currency: "usd-micro", Database: filepath.Join(t.TempDir(), "broker.db"),
		Signer: key, AdminToken: testToken, AllowLoopbackVendors: true, PullInterval: 1e6, // a millisecond: always due
	})
	if err != nil {
		t.Fatal(err)
	}
	isRedeeming := false
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isRedeeming = isRedeeming || r.URL.Path == payword.PathRedemptions || r.URL.Path == payword.PathVendors
		b.Handler().ServeHTTP(w, r)
	})
	server.Start()
	t.Cleanup(func() {
		server.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	origin := startSite(t, brokerOrigin, "claim_delay 0s\npull", "", "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "content of %s", r.URL.Path)
	}))
	path := filepath.Join(t.TempDir(), "wallet.json")
	openWallet(t, path, brokerOrigin, testToken)
	pay := func(target string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if status := client.Main(t.Context(), []string{"pay", origin + target, "--wallet", path, "--max", "0.01"}, nil, &stdout, &stderr); status != 0 {
			t.Fatalf("paying: %s", stderr.String())
		}
	}
	pay("/a")
	vendor := func(method, path string) (told struct{ Payable money.Amount }) {
		t.Helper()
		body, err := json.Marshal(map[string]string{"vendor": origin})
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(t.Context(), method, brokerOrigin+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+testToken)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s %s", method, path, response.Status, content)
		}
		if err := json.Unmarshal(content, &told); err != nil {
			t.Fatal(err)
		}
		return told
	}
	vendor(http.MethodPost, "/v1/admin/vendors")
	for number, want := range []money.Amount{100, 100, 200} {
		if number == 2 {
			pay("/b")
		}
		if err := b.Pull(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := vendor(http.MethodPost, "/v1/admin/vendors").Payable; got != want {
			t.Errorf("round %d: %s micros are payable, want %s", number, got, want)
		}
	}
	if isRedeeming {
		t.Error("the gate has connected to its broker")
	}
	wrong, err := b.Check(t.Context())
	if err != nil || len(wrong) > 0 {
		t.Errorf("the books: %v, %v", wrong, err)
	}
}
