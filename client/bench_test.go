package client_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// BenchmarkPay measures one paid request over loopback, in which the wallet is
// saved once, with as many at a time as -cpu and SetParallelism say.
func BenchmarkPay(b *testing.B) {
	for _, parallel := range []int{1, 30} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			broker := newFakeBroker(b, time.Now)
			gate := newFakeGate(b, broker, 10)
			wallet, err := client.CreateWallet(client.WalletConfig{Path: filepath.Join(b.TempDir(), "wallet.json")})
			if err != nil {
				b.Fatal(err)
			}
			defer wallet.Close()
			if _, err := wallet.OpenAccount(b.Context(), broker.origin()); err != nil {
				b.Fatal(err)
			}
			budget := client.Budget{PerRequest: money.Unit, PerSite: client.NoLimit, PerDay: client.NoLimit, Total: client.NoLimit}
			payer := &http.Client{Transport: &client.Transport{Wallet: wallet, Budget: budget}}
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					answer, err := payer.Get(gate.origin() + "/a")
					if err != nil {
						b.Error(err)
						return
					}
					answer.Body.Close()
				}
			})
		})
	}
}
