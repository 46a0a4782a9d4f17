package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway"
)

// The numbers of the demo's card, of the holder that it says, of the merchant who
// is paid with it, and of the kiosk that funds accounts.
const (
	demoCard   = "C10000000000000D"
	demoHolder = "A00000000000000D"
	demoTill   = "4D00000000000001"
	demoKiosk  = "4D00000000000002"
)

// What moves, in money and as people type it.
const (
	demoLoad   = 2 * money.Unit
	demoSnack  = 75 * money.Unit / 100 // paid at the till
	demoTorn   = 25 * money.Unit / 100 // paid at the till, while the card is pulled out
	demoFunded = 50 * money.Unit / 100 // put on a new account
)

// purseCards is what the demo has of purse cards.
type purseCards struct {
	clearing       *process
	clearingOrigin string
	readers        demoReaders
	card           *demoReader // the customer's, in the reader "customer"
}

// useCard loads a purse card, pays with it where there is no network, pulls it out
// while it pays, puts its money on a new account, and pays for a page with that.
func (d *demo) useCard(ctx context.Context) error {
	cards, err := d.prepareCards(ctx)
	if err != nil {
		return err
	}
	d.cards = cards
	defer cards.clearing.stop()
	if err := d.loadCard(ctx); err != nil {
		return err
	}
	if err := d.payByCard(ctx); err != nil {
		return err
	}
	if err := d.fundByCard(ctx); err != nil {
		return err
	}
	turned, err := d.gateway(ctx, "till", "turnin", "--clearing", cards.clearingOrigin, "--key", d.path("gateway.key"))
	if err != nil {
		return err
	}
	d.expect(strings.Contains(turned, "2 payments"), "the till turns its batch in: %s", turned)
	said, err := d.clearing(ctx, "cards", "check", "--db", d.path("broker.db"), "--keys", d.path("card-keys"))
	d.expect(err == nil, "what is on the card is what its shadow says: %s", strings.TrimSpace(said))
	return err
}

// prepareCards makes keys, a card, two SAMs and a gateway, has broker and clearing
// know them, and starts clearing as a server.
func (d *demo) prepareCards(ctx context.Context) (*purseCards, error) {
	keys, err := d.writeCardKeys()
	if err != nil {
		return nil, err
	}
	cards := &purseCards{}
	if err := cards.issue(keys, d.path("card-pin")); err != nil {
		return nil, err
	}
	made, err := d.gateway(ctx, "", "key", "--out", d.path("gateway.key"), "--json")
	if err != nil {
		return nil, err
	}
	if err := d.registerGateway(ctx, made); err != nil {
		return nil, err
	}
	for _, words := range [][]string{
		{"issue", "--card", demoCard, "--account", d.account, "--holder", demoHolder, "--expires", "2035-12-31"},
		{"merchant", "--merchant", demoTill, "--name", "Demo till", "--destination", "ref:demo-till"},
		{"merchant", "--merchant", demoKiosk, "--name", "Demo kiosk", "--destination", "gateway:demo"},
	} {
		if _, err := d.clearing(ctx, append([]string{"cards", words[0], "--db", d.path("broker.db"), "--keys", d.path("card-keys")}, words[1:]...)...); err != nil {
			return nil, err
		}
	}
	return cards, d.serveCards(ctx, cards)
}

// writeCardKeys makes the masters of cards, and writes those that clearing needs
// to a file.
func (d *demo) writeCardKeys() (*purse.Keys, error) {
	keys, text := &purse.Keys{}, ""
	for _, name := range []string{purse.PurseMaster, purse.LoadMaster, purse.ClearingMaster} {
		master := make([]byte, 32)
		rand.Read(master)
		if err := keys.Add(name, 1, master); err != nil {
			return nil, err
		}
		if name != purse.PurseMaster {
			text += fmt.Sprintf("1 %s %s\n", name, hex.EncodeToString(master))
		}
	}
	return keys, os.WriteFile(d.path("card-keys"), []byte(text), 0o600)
}

// issue makes the card and the SAMs, and writes the card's PIN to a file, as its
// holder might.
func (c *purseCards) issue(keys *purse.Keys, pinFile string) error {
	ids := make([]purse.ID, 4)
	for i, text := range []string{demoCard, demoHolder, demoTill, demoKiosk} {
		var err error
		if ids[i], err = purse.ParseID(text); err != nil {
			return err
		}
	}
	pin, err := keys.InitialPIN(1, ids[0])
	if err != nil {
		return err
	}
	cents := purse.Unit{Currency: 0x0840, Exponent: -2}
	c.card, err = issueDemoCard("customer", purse.CardIssue{
		Keys: keys, KeyVersion: 1, Card: ids[0], Holder: ids[1], Unit: cents, MaxBalance: 200_00, MaxPayment: 50_00, PIN: pin})
	if err != nil {
		return err
	}
	c.readers = demoReaders{c.card}
	for i, name := range []string{"till", "kiosk"} {
		sam, err := issueDemoSAM(name, purse.SAMIssue{Keys: keys, KeyVersion: 1, Merchant: ids[2+i], Unit: cents, Limit: 1000_00})
		if err != nil {
			return err
		}
		c.readers = append(c.readers, sam)
	}
	return os.WriteFile(pinFile, []byte(pin+"\n"), 0o600)
}

// registerGateway has the broker know the gateway: it may put on accounts what
// cards have proved to have paid, and nothing else.
func (d *demo) registerGateway(ctx context.Context, made string) error {
	var key struct{ Key json.RawMessage }
	if err := json.Unmarshal([]byte(made), &key); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"key": key.Key, "dayLimit": (20 * money.Unit).String(), "backed": true})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, d.brokerOrigin+"/v1/admin/gateways/demo", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+d.adminToken)
	request.Header.Set("Content-Type", "application/json")
	return d.ask(request, &struct{}{})
}

// serveCards starts clearing as a server that gateways reach.
func (d *demo) serveCards(ctx context.Context, cards *purseCards) error {
	ports := make([]int, 2)
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return err
		}
	}
	out := d.path("clearing")
	if err := os.Mkdir(out, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(d.path("operators"), []byte("demo "+d.adminToken+"\n"), 0o600); err != nil {
		return err
	}
	cards.clearingOrigin = fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	cards.clearing = &process{
		name: "clearing", logPath: d.path("clearing.log"), readyURL: cards.clearingOrigin + "/v1/hotlist",
		arguments: []string{
			"clearing", "serve", "--db", d.path("broker.db"), "--out", out, "--operators", d.path("operators"),
			"--listen", fmt.Sprintf("127.0.0.1:%d", ports[0]), "--cards", cards.clearingOrigin[len("http://"):],
			"--card-keys", d.path("card-keys"), "--cards-origin", cards.clearingOrigin,
		},
	}
	return cards.clearing.start(ctx)
}

// gateway runs "samgateway" with the SAM in a reader, "" for none, and returns
// what it printed in one line.
func (d *demo) gateway(ctx context.Context, sam string, arguments ...string) (string, error) {
	var readers demoReaders
	if sam != "" {
		readers = d.cards.readers
		arguments = append(arguments, "--sam-reader", sam, "--journal", d.path(sam+".journal"), "--currency", "USD")
	}
	var stdout, stderr bytes.Buffer
	status := samgateway.Main(ctx, readers, arguments, strings.NewReader(""), &stdout, &stderr)
	said := strings.Join(strings.Fields(stdout.String()), " ")
	if status != 0 {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return said, errors.New(lines[len(lines)-1]) // the ones before are for whoever holds the card
	}
	return said, nil
}

// loadCard puts money from the demo's account on its card.
func (d *demo) loadCard(ctx context.Context) error {
	before, err := d.wallet.Balance(ctx)
	if err != nil {
		return err
	}
	said, err := d.gateway(ctx, "kiosk", append([]string{"load", demoLoad.Decimal(), "--card-reader", "customer",
		"--pin-file", d.path("card-pin"), "--load-terminal", demoKiosk}, d.online()...)...)
	if err != nil {
		return err
	}
	after, err := d.wallet.Balance(ctx)
	if err != nil {
		return err
	}
	d.expect(before.Available-after.Available == demoLoad, "the card is loaded from the account, with its PIN: %s", said)
	return nil
}

// online are the flags of a gateway that reaches clearing and broker.
func (d *demo) online() []string {
	return []string{"--clearing", d.cards.clearingOrigin, "--broker", d.brokerOrigin, "--key", d.path("gateway.key")}
}

// payByCard pays at the till, which has no network, and once more while the card
// is pulled out.
func (d *demo) payByCard(ctx context.Context) error {
	said, err := d.gateway(ctx, "till", "pay", demoSnack.Decimal(), "--card-reader", "customer")
	if err != nil {
		return err
	}
	d.expect(strings.HasPrefix(said, "Paid "), "a till without a network takes the card: %s", said)
	d.cards.card.pullAt = purse.Debit
	_, err = d.gateway(ctx, "till", "pay", demoTorn.Decimal(), "--card-reader", "customer")
	d.expect(err != nil, "it is pulled out while it pays, and put in again: %v", err)
	status, err := d.gateway(ctx, "till", "status", "--json")
	if err != nil {
		return err
	}
	var batch struct {
		Payments  int
		SumMicros money.Amount
		Undecided []json.RawMessage
	}
	if err := json.Unmarshal([]byte(status), &batch); err != nil {
		return err
	}
	d.expect(batch.Payments == 2 && batch.SumMicros == demoSnack+demoTorn && len(batch.Undecided) == 0,
		"the till has both payments, %s USD, and each once", batch.SumMicros.Decimal())
	return nil
}

// fundByCard opens an account with nothing on it, puts money of the card there,
// and pays for a page with that.
func (d *demo) fundByCard(ctx context.Context) error {
	wallet, err := client.CreateWallet(client.WalletConfig{Path: d.path("card-wallet.json")})
	if err != nil {
		return err
	}
	defer wallet.Close()
	account, err := wallet.OpenAccount(ctx, d.brokerOrigin)
	if err != nil {
		return err
	}
	paying := &http.Client{Timeout: demoRequestTime, Transport: &client.Transport{
		Wallet: wallet, Deposit: demoFunded / 2,
		Budget: client.Budget{PerRequest: money.Unit / 100, PerSite: money.Unit, PerDay: money.Unit, Total: money.Unit},
	}}
	_, _, err = get(ctx, paying, d.article(d.pages))
	d.expect(err != nil, "a new account has nothing to pay with")
	said, err := d.gateway(ctx, "kiosk", append([]string{"fund", account.Account, demoFunded.Decimal(), "--card-reader", "customer"}, d.online()...)...)
	if err != nil {
		return err
	}
	if account, err = wallet.Balance(ctx); err != nil {
		return err
	}
	d.expect(account.Available == demoFunded, "the card puts money on it: %s", said)
	status, length, err := get(ctx, paying, d.article(d.pages))
	if err != nil {
		return err
	}
	d.pages++
	d.expect(status == http.StatusOK && length > 1000, "and that money pays for a page")
	left := demoLoad - demoSnack - demoTorn - demoFunded
	d.expect(strings.HasSuffix(said, "On the card now: "+left.Decimal()+" USD."), "%s USD are left on the card", left.Decimal())
	d.row("purse card", "%s USD loaded, %s paid without a network, %s of that while it was pulled out, %s put on an account",
		demoLoad.Decimal(), (demoSnack + demoTorn).Decimal(), demoTorn.Decimal(), demoFunded.Decimal())
	return nil
}
