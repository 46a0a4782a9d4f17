package caddymodule

import (
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

func keySet(t *testing.T, name byte) []byte {
	t.Helper()
	key := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), name))
	set, err := payword.FormatJWKS(key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestKeysAreAskedForWithTheirETag wants a set that holds to be confirmed
// without being sent.
func TestKeysAreAskedForWithTheirETag(t *testing.T) {
	sent, confirmed := 0, 0
	set := keySet(t, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"one"` {
			confirmed++
			w.WriteHeader(http.StatusNotModified)
			return
		}
		sent++
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Write(set)
	}))
	defer server.Close()
	keys := newBrokerKeys(t.TempDir(), zap.NewNop())
	r := keysRefresher{broker: Broker{Issuer: server.URL}, keys: keys}
	if wait := r.wait(); wait > 2*keysRetryInterval {
		t.Errorf("keys that are not there are asked for in %s", wait)
	}
	for range 3 {
		if err := r.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if sent != 1 || confirmed != 2 || len(keys.of(server.URL)) != 1 {
		t.Errorf("sent %d times, confirmed %d times, %d keys; want 1, 2 and 1", sent, confirmed, len(keys.of(server.URL)))
	}
	seen := make(map[time.Duration]bool)
	for range 100 {
		wait := r.wait()
		seen[wait] = true
		if wait < keysRefreshInterval*9/10 || wait > keysRefreshInterval*11/10 {
			t.Errorf("the next time is in %s", wait)
		}
	}
	if len(seen) < 50 {
		t.Errorf("only %d different times of 100: gates would ask together", len(seen))
	}
}

// TestKeysOfAFileAreReadWhenItChanges wants one read for each change.
func TestKeysOfAFileAreReadWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	keys := newBrokerKeys(t.TempDir(), zap.NewNop())
	r := keysRefresher{broker: Broker{Issuer: "https://broker.example", Keys: path}, keys: keys}
	if err := r.refresh(t.Context()); err == nil {
		t.Error("a file that is not there is no error")
	}
	modified := time.Unix(1_800_000_000, 0)
	write := func(content []byte) {
		modified = modified.Add(time.Second)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	kid := func() string {
		for kid := range keys.of(r.broker.Issuer) {
			return kid
		}
		return ""
	}
	write(keySet(t, 1))
	if err := r.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := kid()
	write([]byte("{}"))
	if err := r.refresh(t.Context()); err == nil || kid() != first {
		t.Errorf("a set without keys: error %v, key %q; want the one before, %q", err, kid(), first)
	}
	if err := r.refresh(t.Context()); err != nil {
		t.Errorf("what was read once is complained of again: %v", err)
	}
	write(keySet(t, 2))
	if err := r.refresh(t.Context()); err != nil || kid() == first {
		t.Errorf("another set: error %v, key %q; want another than %q", err, kid(), first)
	}
	if wait := r.wait(); wait != fileCheckInterval {
		t.Errorf("the file is looked at again in %s", wait)
	}
}
