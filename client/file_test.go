package client_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/client"
)

// A wallet is not opened while a program in JavaScript writes its file.
func TestOpenWaitsForAWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wallet.json")
	writing := path + ".writing"
	if err := os.WriteFile(writing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := client.CreateWallet(client.WalletConfig{Path: path})
	if !errors.Is(err, client.ErrLocked) || !strings.Contains(err.Error(), writing) {
		t.Errorf("while one writes: %v; want ErrLocked that names %s", err, writing)
	}
	removed := make(chan error, 1)
	time.AfterFunc(20*time.Millisecond, func() { removed <- os.Remove(writing) })
	wallet, err := client.CreateWallet(client.WalletConfig{Path: path})
	if err != nil {
		t.Fatalf("when it has written: %v", err)
	}
	if err := errors.Join(<-removed, wallet.Close()); err != nil {
		t.Error(err)
	}
}
