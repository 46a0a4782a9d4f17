package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// startServers starts the broker and the gate, each as a process of its own.
func (d *demo) startServers(ctx context.Context) error {
	ports := make([]int, 3)
	for i := range ports {
		port, err := freePort()
		if err != nil {
			return err
		}
		ports[i] = port
	}
	d.brokerOrigin = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	d.siteURL = fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	d.adminURL = fmt.Sprintf("http://127.0.0.1:%d", ports[2])
	if err := d.writeSite(); err != nil {
		return err
	}
	if err := d.prepareBroker(); err != nil {
		return err
	}
	if err := d.broker.start(ctx); err != nil {
		return err
	}
	d.say("broker  %s  (accounts, certificates, reservations, redemption)", d.brokerOrigin)
	if err := d.prepareGate(); err != nil {
		return err
	}
	if err := d.gate.start(ctx); err != nil {
		return err
	}
	d.say("gate    %s  (Caddy; articles cost %s USD)", d.siteURL, demoPrice.Decimal())
	return nil
}

func (d *demo) prepareBroker() error {
	if _, err := broker.CreateKey(d.path("broker-key.pem")); err != nil {
		return err
	}
	token := make([]byte, 24)
	rand.Read(token)
	d.adminToken = hex.EncodeToString(token)
	if err := os.WriteFile(d.path("admin-token"), []byte(d.adminToken), 0o600); err != nil {
		return err
	}
	d.broker = &process{
		name: "broker", logPath: d.path("broker.log"), readyURL: d.brokerOrigin + "/healthz",
		arguments: []string{
			"broker", "serve", "--db", d.path("broker.db"), "--origin", d.brokerOrigin,
			"--listen", d.brokerOrigin[len("http://"):], "--key", d.path("broker-key.pem"),
			"--admin-token", d.path("admin-token"), "--currency", "USD", "--allow-loopback-vendors",
			"--destination-delay", demoDestinationDelay.String(),
		},
	}
	return nil
}

func (d *demo) prepareGate() error {
	caddyfile := fmt.Sprintf(demoCaddyfile, d.adminURL[len("http://"):], d.brokerOrigin, d.path("gate"), d.siteURL, d.path("site"),
		d.siteURL, demoPrice.Decimal())
	if err := os.WriteFile(d.path("Caddyfile"), []byte(caddyfile), 0o600); err != nil {
		return err
	}
	d.gate = &process{
		name: "gate", logPath: d.path("gate.log"), readyURL: d.siteURL + "/",
		arguments: []string{"run", "--config", d.path("Caddyfile"), "--adapter", "caddyfile"},
	}
	return nil
}

// openAccount makes a wallet, opens an account with one signature, and has the
// broker's operator book some money to it.
func (d *demo) openAccount(ctx context.Context) error {
	wallet, err := client.CreateWallet(client.WalletConfig{Path: d.path("wallet.json")})
	if err != nil {
		return err
	}
	d.wallet = wallet
	account, err := wallet.OpenAccount(ctx, d.brokerOrigin)
	if err != nil {
		return err
	}
	d.account = account.Account
	if err := d.fund(ctx, account.Account, demoFunding); err != nil {
		return err
	}
	if account, err = wallet.Balance(ctx); err != nil {
		return err
	}
	d.expect(account.Available == demoFunding, "the account holds %s USD", account.Available.Decimal())
	d.recorder = &recorder{base: http.DefaultTransport}
	d.payer = d.paying(wallet, d.recorder)
	return nil
}

// paying returns a client that pays from a wallet, at most 0.01 USD a page and
// 2 USD in all.
func (d *demo) paying(wallet *client.Wallet, base http.RoundTripper) *http.Client {
	return &http.Client{Timeout: demoRequestTime, Transport: &client.Transport{
		Wallet: wallet, Base: base, Deposit: 2 * money.Unit,
		Budget: client.Budget{PerRequest: money.Unit / 100, PerSite: 2 * money.Unit, PerDay: 2 * money.Unit, Total: 2 * money.Unit},
	}}
}

// fund books money to an account, as the broker's operator.
func (d *demo) fund(ctx context.Context, account string, amount money.Amount) error {
	body, err := json.Marshal(map[string]string{
		"id": "demo-" + account, "account": account, "amount": amount.String(), "currency": "usd-micro",
	})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.brokerOrigin+"/v1/admin/fundings", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+d.adminToken)
	request.Header.Set("Content-Type", "application/json")
	return d.ask(request, &payword.Account{})
}

// ask sends a request that must succeed and reads its answer.
func (d *demo) ask(request *http.Request, answer any) error {
	response, err := d.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", request.Method, request.URL.Path, response.Status, body)
	}
	return json.Unmarshal(body, answer)
}
