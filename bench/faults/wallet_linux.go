package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// wallets is how many real wallets buy besides, through the balancer.
const wallets = 2

// buyer is a real wallet with an account at the real broker.
type buyer struct {
	name   string
	wallet *client.Wallet
	http   *http.Client
}

func (st *stage) newBuyer(ctx context.Context, k int) (*buyer, error) {
	name := fmt.Sprint("wallet-", k)
	wallet, err := client.CreateWallet(client.WalletConfig{Path: filepath.Join(st.folder, name+".json")})
	if err != nil {
		return nil, err
	}
	account, err := wallet.OpenAccount(ctx, st.origin)
	if err == nil {
		err = st.administer(ctx, "/v1/admin/fundings", map[string]any{
			"id": name, "account": account.Account, "amount": "100000000", "currency": "usd-micro"}, nil)
	}
	if err != nil {
		return nil, errors.Join(err, wallet.Close())
	}
	return &buyer{name: name, wallet: wallet, http: &http.Client{Timeout: 5 * time.Second, Transport: &client.Transport{
		Wallet: wallet, Budget: client.Budget{PerRequest: price, PerSite: client.NoLimit, PerDay: client.NoLimit, Total: client.NoLimit},
		Base: &http.Transport{MaxIdleConnsPerHost: lanes},
	}}}, nil
}

func (b *buyer) released() money.Amount { return b.wallet.Summary().Released }

func (b *buyer) close() { b.wallet.Close() }

// buy buys one page after the other until paying ends.
func (c *crowd) buy(ctx, paying context.Context, b *buyer, lane int) {
	for k := 0; paying.Err() == nil && ctx.Err() == nil; k++ {
		c.buyOnce(ctx, b, fmt.Sprintf("/%s/%d/%d", b.name, lane, k))
	}
}

// buyOnce asks for a page until it is served or refused.
func (c *crowd) buyOnce(ctx context.Context, b *buyer, path string) {
	deadline := time.Now().Add(patience)
	for {
		status, body, err := b.get(ctx, c.stage.vendor+path)
		var refused *client.RefusedError
		var stalled *client.StalledError
		var over *client.BudgetError
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && status == http.StatusOK && body == "content of "+path:
			c.served()
			return
		case errors.As(err, &refused), errors.As(err, &stalled), errors.As(err, &over), err == nil && status < 500:
			c.refused(fmt.Sprintf("wallet: %d %v", status, err))
			return
		case time.Now().After(deadline):
			c.refused(fmt.Sprintf("wallet: no answer: %v", err))
			return
		}
		c.interrupted.Add(1)
		pause(ctx, 20*time.Millisecond)
	}
}

func (b *buyer) get(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := b.http.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}
