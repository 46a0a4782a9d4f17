package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// owner runs wallet commands as people and scripts do.
type owner struct{ t *testing.T }

// run returns what a command wrote to standard output; its exit status must be
// status, and what it complains of must contain complaint.
func (o owner) run(status int, complaint string, arguments ...string) string {
	o.t.Helper()
	var stdout, stderr bytes.Buffer
	got := client.Main(o.t.Context(), arguments, strings.NewReader(""), &stdout, &stderr)
	if got != status || !strings.Contains(stderr.String(), complaint) {
		o.t.Fatalf("%s: status %d, want %d, and %q in:\n%s%s", strings.Join(arguments, " "), got, status, complaint, stderr.String(), stdout.String())
	}
	return stdout.String()
}

// read reads the JSON that a command writes.
func (o owner) read(target any, arguments ...string) {
	o.t.Helper()
	if text := o.run(0, "", append(arguments, "--json")...); json.Unmarshal([]byte(text), target) != nil {
		o.t.Fatalf("%s wrote no JSON: %s", strings.Join(arguments, " "), text)
	}
}

// account returns what the broker says of the account of a wallet.
func (o owner) account(wallet string) payword.Account {
	o.t.Helper()
	var status client.Status
	o.read(&status, "wallet", "status", "--wallet", wallet)
	return status.Account
}

// wantAccount waits until what is available and reserved is as it should be.
func (o owner) wantAccount(wallet string, available, reserved money.Amount) {
	o.t.Helper()
	var account payword.Account
	for range 1000 { // gates claim at their own pace
		if account = o.account(wallet); account.Available == available && account.Reserved == reserved {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	o.t.Fatalf("%s are available and %s reserved, want %s and %s",
		account.Available.Decimal(), account.Reserved.Decimal(), available.Decimal(), reserved.Decimal())
}

// TestMoneyComesAndGoesByTheWallet runs the commands that need no site against a
// broker: a voucher, limits, a payout, the export, and the end of the account.
func TestMoneyComesAndGoesByTheWallet(t *testing.T) {
	o := owner{t}
	b, brokerOrigin := runBroker(t, testToken)
	codes, refusal, err := b.MakeVouchers(t.Context(), broker.VoucherBatch{ID: "one", Count: 1, Amount: 10 * money.Unit, Expires: time.Now().Add(time.Hour)})
	if err != nil || refusal.Refused() {
		t.Fatal(refusal, err)
	}
	wallet, agent := filepath.Join(t.TempDir(), "wallet.json"), filepath.Join(t.TempDir(), "agent.json")
	o.run(0, "", "wallet", "create", "--wallet", wallet)
	o.run(0, "", "wallet", "open-account", "--broker", brokerOrigin, "--wallet", wallet)
	for range 2 { // the same code again is worth nothing more
		var stdout, stderr bytes.Buffer
		status := client.Main(t.Context(), []string{"wallet", "voucher", "--wallet", wallet}, strings.NewReader(codes[0]+"\n"), &stdout, &stderr)
		if status != 0 || !strings.Contains(stdout.String(), "10.00 USD are available") || strings.Contains(stdout.String()+stderr.String(), codes[0]) {
			t.Fatalf("voucher: status %d, %s%s", status, stdout.String(), stderr.String())
		}
	}
	o.run(0, "", "wallet", "subaccount", "open", "--name", "agent", "--agent", agent, "--amount", "1.00", "--wallet", wallet)
	o.run(0, "", "wallet", "limits", "--day", "2", "--wallet", wallet)
	var limits payword.AccountLimits
	o.read(&limits, "wallet", "limits", "--vendor-day", "1", "--wallet", wallet)
	if own := limits.Own; own.Day == nil || *own.Day != 2*money.Unit || own.VendorDay == nil || *own.VendorDay != money.Unit || own.Reserved != nil {
		t.Errorf("the limits are %+v", own)
	}

	payout := []string{"wallet", "payout", "--amount", "4", "--id", "rent", "--yes", "--wallet", wallet}
	o.run(1, "validation failed: ", append(payout, "--iban", "DE00")...)
	for range 2 { // once for ever
		o.run(0, "", append(payout, "--iban", "DE02 1203 0000 0000 2020 51")...)
	}
	if account := o.account(wallet); account.Available != 5*money.Unit || account.Payouts != 4*money.Unit {
		t.Errorf("after the payout: %+v", account)
	}
	var export map[string]any
	if err := json.Unmarshal([]byte(o.run(0, "", "wallet", "export", "--wallet", wallet)), &export); err != nil || export["commitments"] == nil || export["entries"] == nil {
		t.Errorf("the export: %v, %v", err, export)
	}

	o.run(1, "say where they go", "wallet", "close", "--yes", "--wallet", wallet)
	o.run(0, "", "wallet", "close", "--reference", "the till", "--yes", "--wallet", wallet)
	if account := o.account(wallet); account.State != "closing" || account.Payouts != 10*money.Unit {
		t.Errorf("at the end: %+v", account)
	}
	if account := o.account(agent); account.State != "closed" || account.Available != 0 {
		t.Errorf("the agent's: %+v", account)
	}
	o.run(1, "account-closed", "wallet", "certificates", "--wallet", agent)
}

func contentOf(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "content of %s", r.URL.Path) }

// TestTwoDevicesPayFromOneAccount lets a second machine in by one line each way,
// has both pay, and removes it: its open commitment is worth what was reserved, and
// there is no more.
func TestTwoDevicesPayFromOneAccount(t *testing.T) {
	o := owner{t}
	brokerOrigin := startBroker(t, testToken)
	origin := startSite(t, brokerOrigin, "", "", "", http.HandlerFunc(contentOf))
	desk, laptop := filepath.Join(t.TempDir(), "desk.json"), filepath.Join(t.TempDir(), "laptop.json")
	openWallet(t, desk, brokerOrigin, testToken)

	var invited struct{ Invitation string }
	o.read(&invited, "wallet", "device", "add", "--name", "laptop", "--wallet", desk)
	var joined struct{ Answer, Code string }
	o.read(&joined, "wallet", "join", invited.Invitation, "--wallet", laptop)
	o.run(1, "has not taken its answer", "wallet", "status", "--wallet", laptop)
	o.run(0, "", "wallet", "device", "add", joined.Answer, "--name", "laptop", "--yes", "--wallet", desk)
	if one, two := o.account(desk), o.account(laptop); one != two || two.Available != 5*money.Unit {
		t.Fatalf("the devices have %+v and %+v, want one account with 5.00", one, two)
	}

	o.run(0, "Paid 0.0001 USD", "pay", origin+"/a", "--deposit", "0.01", "--wallet", desk)
	o.run(0, "Paid 0.0001 USD", "pay", origin+"/b", "--deposit", "0.0002", "--wallet", laptop)
	o.wantAccount(desk, 5*money.Unit-10_200, 10_200)
	o.wantAccount(laptop, 5*money.Unit-10_200, 10_200)

	o.run(0, "", "wallet", "device", "remove", "laptop", "--yes", "--wallet", desk)
	const removed = "another device removed it"
	o.run(1, removed, "wallet", "status", "--wallet", laptop)
	o.run(0, "Paid 0.0001 USD", "pay", origin+"/c", "--wallet", laptop) // the rest of what was reserved
	o.run(1, removed, "pay", origin+"/d", "--wallet", laptop)
	o.run(1, "was removed from one", "wallet", "open-account", "--broker", brokerOrigin, "--wallet", laptop)
	o.run(0, "Paid 0.0001 USD", "pay", origin+"/e", "--wallet", desk)
}

// TestAgentPaysWithinItsBudget gives an agent a sub-account: it pays until its
// money is spent, gets more, and when it is closed the rest comes back.
func TestAgentPaysWithinItsBudget(t *testing.T) {
	o := owner{t}
	brokerOrigin := startBroker(t, testToken)
	origin := startSite(t, brokerOrigin, "redeem_interval 1s\nclaim_delay 0s", "", "", http.HandlerFunc(contentOf))
	wallet, agent := filepath.Join(t.TempDir(), "wallet.json"), filepath.Join(t.TempDir(), "agent.json")
	openWallet(t, wallet, brokerOrigin, testToken)

	o.run(0, "", "wallet", "subaccount", "open", "--name", "agent", "--agent", agent, "--amount", "0.0003", "--wallet", wallet)
	o.wantAccount(wallet, 5*money.Unit-300, 0)
	for _, page := range []string{"/a", "/b", "/c"} {
		o.run(0, "Paid 0.0001 USD", "pay", origin+page, "--wallet", agent)
	}
	o.run(1, "insufficient-funds", "pay", origin+"/d", "--wallet", agent)
	o.run(1, "this wallet has a sub-account", "wallet", "device", "add", "--name", "mine", "--wallet", agent)
	o.run(1, "not-permitted", "wallet", "payout", "--amount", "0.0001", "--reference", "me", "--yes", "--wallet", agent)

	transfer := []string{"wallet", "subaccount", "transfer", "agent", "--amount", "1.00", "--id", "more", "--wallet", wallet}
	o.run(0, "", transfer...)
	o.run(0, "", transfer...) // the same once more, as after an answer that was lost
	o.run(0, "", "wallet", "subaccount", "limits", "agent", "--day", "0.0005", "--wallet", wallet)
	o.run(0, "Paid 0.0001 USD", "pay", origin+"/d", "--wallet", agent) // of the 0.50 that it asks for, 0.0002 is within its limit
	o.run(0, "Paid 0.0001 USD", "pay", origin+"/e", "--wallet", agent)
	o.run(1, "over-account-limit", "pay", origin+"/f", "--wallet", agent)
	o.wantAccount(agent, money.Unit-200, 0) // once the site has claimed

	o.run(0, "", "wallet", "subaccount", "close", "agent", "--yes", "--wallet", wallet)
	o.wantAccount(wallet, 5*money.Unit-500, 0)
	o.run(1, "account-closed", "pay", origin+"/g", "--wallet", agent)
	var subs payword.SubAccountList
	o.read(&subs, "wallet", "subaccount", "list", "--wallet", wallet)
	if len(subs.SubAccounts) != 1 || subs.SubAccounts[0].State != "closed" || subs.SubAccounts[0].Available != 0 {
		t.Errorf("it is left as %+v, want it closed and empty", subs.SubAccounts)
	}
	var spending payword.SpendingList
	o.read(&spending, "wallet", "subaccount", "spending", "agent", "--wallet", wallet)
	if len(spending.Vendors) != 1 || spending.Vendors[0] != (payword.VendorSpending{Vendor: origin, Paid: 500}) {
		t.Errorf("it spent %+v, want 0.0005 at %s", spending.Vendors, origin)
	}
}
