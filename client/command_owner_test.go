package client_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// owned is a broker with one account, and the wallet file that has it.
type owned struct {
	t         *testing.T
	broker    *fakeBroker
	directory string
	wallet    string
}

func newOwned(t *testing.T) *owned {
	t.Helper()
	o := &owned{t: t, broker: newFakeBroker(t, time.Now), directory: t.TempDir()}
	o.wallet = o.file("wallet.json")
	o.must("wallet", "create", "--wallet", o.wallet)
	o.must("wallet", "open-account", "--broker", o.broker.origin(), "--wallet", o.wallet)
	return o
}

func (o *owned) file(name string) string { return filepath.Join(o.directory, name) }

// must runs a command that has to succeed and returns what it wrote.
func (o *owned) must(arguments ...string) string {
	o.t.Helper()
	status, stdout, stderr := command(o.t, arguments...)
	if status != 0 {
		o.t.Fatalf("%s: status %d: %s", strings.Join(arguments, " "), status, stderr)
	}
	return stdout
}

// read reads the JSON that a command writes.
func (o *owned) read(target any, arguments ...string) {
	o.t.Helper()
	if err := json.Unmarshal([]byte(o.must(append(arguments, "--json")...)), target); err != nil {
		o.t.Fatalf("%s: %v", strings.Join(arguments, " "), err)
	}
}

// answer invites for a purpose and joins with another wallet file.
func (o *owned) answer(verb, file string) (answer, code string) {
	o.t.Helper()
	var invited struct{ Invitation string }
	if verb == "device" {
		o.read(&invited, "wallet", "device", "add", "--name", "x", "--wallet", o.wallet)
	} else {
		o.read(&invited, "wallet", "subaccount", "open", "--name", "x", "--wallet", o.wallet)
	}
	var joined struct{ Answer, Code string }
	o.read(&joined, "wallet", "join", invited.Invitation, "--wallet", file)
	return joined.Answer, joined.Code
}

// step is one call of a command and what it has to make of it.
type step struct {
	name           string
	input          string
	arguments      []string // without --wallet
	status         int
	stdout, stderr string // parts of what is written
}

func (o *owned) run(steps []step) {
	o.t.Helper()
	for _, s := range steps {
		arguments := append(append([]string{"wallet"}, s.arguments...), "--wallet", o.wallet)
		status, stdout, stderr := typing(o.t, s.input, arguments...)
		if status != s.status || !strings.Contains(stdout, s.stdout) || !strings.Contains(stderr, s.stderr) {
			o.t.Errorf("%s: got status %d\n%s\n%s\nwant %d with %q and %q", s.name, status, stdout, stderr, s.status, s.stdout, s.stderr)
		}
	}
}

func TestDeviceCommands(t *testing.T) {
	o := newOwned(t)
	laptop, phone := o.file("laptop.json"), o.file("phone.json")
	toLaptop, code := o.answer("device", laptop)
	toPhone, _ := o.answer("device", phone)
	toAgent, _ := o.answer("subaccount", o.file("agent.json"))
	o.run([]step{
		{"another code", "no\n", []string{"device", "add", toLaptop, "--name", "laptop"}, 1, "", "nothing was done"},
		{"nobody answers", "", []string{"device", "add", toLaptop, "--name", "laptop"}, 1, "", "code " + code},
		{"a line that was cut off", "", []string{"device", "add", toLaptop[:len(toLaptop)-5], "--name", "laptop"}, 1, "", "copy all of it"},
		{"no answer at all", "", []string{"device", "add", "laptop", "--name", "laptop"}, 1, "", "want the line that begins with payword-answer-"},
		{"an agent's answer", "", []string{"device", "add", toAgent, "--name", "laptop", "--yes"}, 1, "", "not to one as a device"},
		{"no name", "", []string{"device", "add", toLaptop}, 2, "", "want --name"},
		{"a name of two lines", "", []string{"device", "add", toLaptop, "--name", "a\nb"}, 2, "", "want --name"},
		{"the only one yet", "", []string{"device", "list"}, 0, "(this one)", ""},
		{"add", "yes\n", []string{"device", "add", toLaptop, "--name", "laptop"}, 0, "Added device laptop", code},
		{"add again", "", []string{"device", "add", toLaptop, "--name", "laptop", "--yes"}, 0, "Added device laptop", ""},
		{"add with a broken line", "", []string{"device", "add", toPhone[:30] + "\n " + toPhone[30:], "--name", "laptop", "--yes"}, 0, "Added", ""},
		{"two of a name", "", []string{"device", "remove", "laptop", "--yes"}, 1, "", "2 devices are called \"laptop\""},
		{"nobody pastes", "", []string{"device", "add", "--name", "tablet"}, 1, "payword wallet join payword-invitation-", "no answer came"},
		{"no such device", "", []string{"device", "remove", "tablet", "--yes"}, 1, "", "no device is called \"tablet\""},
		{"another verb", "", []string{"device", "sell"}, 2, "", "\"sell\" is nothing to do with devices"},
	})
	o.run([]step{
		{"rename by the beginning of an id", "", []string{"device", "rename", o.broker.owner.devices[2].Device[:6], "--name", "phone"}, 0, "called phone now", ""},
		{"thought better of it", "n\n", []string{"device", "remove", "phone"}, 1, "", "nothing was done"},
		{"remove", "y\n", []string{"device", "remove", "phone"}, 0, "Removed device phone", ""},
	})
	if status, _, stderr := command(t, "wallet", "device"); status != 2 || !strings.Contains(stderr, "want what to do with devices: one of add, list, remove, rename") {
		t.Errorf("without a verb: status %d, %s", status, stderr)
	}
	if status, _, stderr := command(t, "wallet", "status", "--wallet", phone); status != 1 || !strings.Contains(stderr, "another device removed it") {
		t.Errorf("the removed device: status %d, %s", status, stderr)
	}
	if names := o.names(); !slices.Equal(names, []string{"", "laptop"}) {
		t.Errorf("the devices are %q", names)
	}
}

func (o *owned) names() (names []string) {
	var list payword.DeviceList
	o.read(&list, "wallet", "device", "list", "--wallet", o.wallet)
	for _, device := range list.Devices {
		names = append(names, device.Name)
	}
	return names
}

// Who keeps to one command on each machine pastes the answer where it is asked for.
func TestDeviceIsAddedByOneLineEachWay(t *testing.T) {
	o := newOwned(t)
	laptop := o.file("laptop.json")
	fromOwner, toOwner := make(chan string), make(chan string)
	done := make(chan string)
	go func() {
		status := client.Main(t.Context(), []string{"wallet", "device", "add", "--name", "laptop", "--wallet", o.wallet},
			reader(toOwner), writer(fromOwner), writer(nil))
		done <- map[bool]string{true: "added", false: "failed"}[status == 0]
	}()
	invitation := ""
	for text := range fromOwner {
		if _, rest, found := strings.Cut(text, "payword wallet join "); found {
			invitation, _, _ = strings.Cut(rest, " ")
			break
		}
	}
	// The owner's wallet can be used while it waits.
	o.must("wallet", "balance", "--wallet", o.wallet)
	status, stdout, stderr := typing(t, invitation+"\n", "wallet", "join", "--wallet", laptop)
	_, rest, _ := strings.Cut(stdout, "  payword-answer-")
	answer, _, _ := strings.Cut("payword-answer-"+rest, "\n")
	if status != 0 {
		t.Fatalf("join: %s", stderr)
	}
	toOwner <- answer + "\n"
	toOwner <- "yes\n"
	go func() { // what it says at the end
		for range fromOwner {
		}
	}()
	if result := <-done; result != "added" {
		t.Fatalf("the device was not added")
	}
	o.must("wallet", "status", "--wallet", laptop)
}

// reader reads what comes by a channel.
type reader chan string

func (r reader) Read(into []byte) (int, error) { return copy(into, <-r), nil }

// writer sends what is written by a channel, if there is one.
type writer chan string

func (w writer) Write(text []byte) (int, error) {
	if w != nil {
		w <- string(text)
	}
	return len(text), nil
}

func TestJoinIsRefused(t *testing.T) {
	o := newOwned(t)
	var invited struct{ Invitation string }
	o.read(&invited, "wallet", "device", "add", "--name", "x", "--wallet", o.wallet)
	line := invited.Invitation
	fresh := o.file("fresh.json")
	o.run([]step{{"with an account", "", []string{"join", line}, 1, "", "make another wallet for this one"}})
	for _, s := range []struct{ name, line, complaint string }{
		{"cut off", line[:len(line)-1], "copy all of it"},
		{"changed", line[:60] + "A" + line[61:], "copy all of it"},
		{"an answer", "payword-answer-AAAA", "want the line that begins with payword-invitation-"},
		{"nothing", "", "want the line that begins with payword-invitation-"},
		{"much too long", line + strings.Repeat("A", 2000), "want the line that begins with"},
	} {
		status, _, stderr := command(t, "wallet", "join", s.line, "--wallet", fresh)
		if _, err := os.Stat(fresh); status != 1 || !strings.Contains(stderr, s.complaint) || err == nil {
			t.Errorf("%s: status %d, %s, wallet %v", s.name, status, stderr, err)
		}
	}
	o.must("wallet", "join", line, "--wallet", fresh)
	o.must("wallet", "join", line, "--wallet", fresh) // until somebody lets it in, it may join anew
	if len(o.broker.owner.devices) != 1 {
		t.Error("a device was added by joining alone")
	}
}

func TestInvitationsExpire(t *testing.T) {
	w := newWorld(t, 1000)
	line, err := w.wallet.Invite(t.Context(), payword.PossessionDevice)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.wallet.Invite(t.Context(), "steal"); err == nil {
		t.Error("invited for a purpose that there is not")
	}
	other, err := client.CreateWallet(client.WalletConfig{Path: filepath.Join(t.TempDir(), "other.json"), Now: w.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	w.clock.add(5 * time.Minute)
	if _, err := other.Join(t.Context(), line); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("got %v, want that the invitation has expired", err)
	}
}

// A device that is lost is removed, and then nothing that it holds is worth
// anything. The others go on under other pseudonyms by themselves.
func TestLostDevice(t *testing.T) {
	o := newOwned(t)
	gate := newFakeGate(t, o.broker, 1000)
	laptop := o.file("laptop.json")
	answer, _ := o.answer("device", laptop)
	o.must("wallet", "device", "add", answer, "--name", "laptop", "--yes", "--wallet", o.wallet)
	for _, wallet := range []string{o.wallet, laptop} { // whose keys have the same numbers
		o.must("wallet", "certificates", "--count", "3", "--wallet", wallet)
	}
	o.must("pay", gate.origin()+"/a", "--wallet", laptop)
	stdout := o.must("wallet", "device", "remove", "laptop", "--lost", "--yes", "--wallet", o.wallet)
	if !strings.Contains(stdout, "Revoked 6 pseudonyms") {
		t.Errorf("it says: %s", stdout)
	}
	o.must("pay", gate.origin()+"/b", "--wallet", o.wallet)
}

func TestSubAccountCommands(t *testing.T) {
	o := newOwned(t)
	agent, far := o.file("agent.json"), o.file("far.json")
	toFar, _ := o.answer("subaccount", far)
	o.run([]step{
		{"none yet", "", []string{"subaccount", "list"}, 0, "There are no sub-accounts", ""},
		{"open here", "", []string{"subaccount", "open", "--name", "agent", "--agent", agent, "--amount", "1.50", "--day", "0.25"}, 0, "1.50 USD", ""},
		{"open elsewhere", "yes\n", []string{"subaccount", "open", toFar, "--name", "far"}, 0, "0.00 USD", "Does the other machine show"},
		{"with a wallet that has one", "", []string{"subaccount", "open", "--name", "agent", "--agent", agent}, 1, "", "make another wallet"},
		{"both ways", "", []string{"subaccount", "open", toFar, "--name", "a", "--agent", agent}, 2, "", "want either ANSWER"},
		{"list", "", []string{"subaccount", "list"}, 0, "far", ""},
		{"more", "", []string{"subaccount", "transfer", "agent", "--amount", "0.50", "--id", "once"}, 0, "2.00 USD", ""},
		{"the same", "", []string{"subaccount", "transfer", "agent", "--amount", "0.50", "--id", "once"}, 0, "2.00 USD", ""},
		{"another one", "", []string{"subaccount", "transfer", "agent", "--amount", "0.60", "--id", "once"}, 1, "", "idempotency-differs"},
		{"back", "", []string{"subaccount", "transfer", "agent", "--amount", "0.25", "--back"}, 0, "1.75 USD", ""},
		{"too much", "", []string{"subaccount", "transfer", "agent", "--amount", "500"}, 1, "", "insufficient-funds"},
		{"no amount", "", []string{"subaccount", "transfer", "agent"}, 2, "", "want --amount"},
		{"nothing", "", []string{"subaccount", "transfer", "agent", "--amount", "0"}, 2, "", "want more than 0"},
		{"nobody", "", []string{"subaccount", "transfer", "--amount", "1"}, 2, "", "want SUBACCOUNT"},
		{"no such", "", []string{"subaccount", "pause", "butler"}, 1, "", "no sub-account is called \"butler\""},
		{"one limit more", "", []string{"subaccount", "limits", "agent", "--reserved", "0.1"}, 0, "none        0.25  0.10", ""},
		{"one limit less", "", []string{"subaccount", "limits", "agent", "--day", "none"}, 0, "none        none  0.10", ""},
		{"a limit that is none", "", []string{"subaccount", "limits", "agent", "--day", "much"}, 2, "", "or none"},
		{"pause", "", []string{"subaccount", "pause", "agent"}, 0, "paused", ""},
		{"resume", "", []string{"subaccount", "resume", "agent"}, 0, "open", ""},
		{"rename", "", []string{"subaccount", "rename", "agent", "--name", "far"}, 0, "far", ""},
		{"two of a name", "", []string{"subaccount", "pause", "far"}, 1, "", "2 sub-accounts are called"},
		{"by its id", "", []string{"subaccount", "rename", "sub-1", "--name", "agent"}, 0, "agent", ""},
		{"spending", "", []string{"subaccount", "spending", "agent"}, 0, "0.0003  0.0002    https://news.example", ""},
		{"thought better of it", "", []string{"subaccount", "close", "agent"}, 1, "", "nothing was done"},
		{"close", "", []string{"subaccount", "close", "agent", "--yes"}, 0, "closed", ""},
	})
	if o.broker.balance != 100*money.Unit {
		t.Errorf("%s are back on the account, want all 100.00", o.broker.balance.Decimal())
	}
	var list payword.SubAccountList
	o.read(&list, "wallet", "subaccount", "list", "--wallet", o.wallet)
	if len(list.SubAccounts) != 2 || list.SubAccounts[1].Account != "sub-2" {
		t.Errorf("the list has %+v", list.SubAccounts)
	}
}

// A name that was used again means the one that is open.
func TestClosedSubAccountsGiveTheirNameFree(t *testing.T) {
	o := newOwned(t)
	for k, id := range []string{"sub-1", "sub-2"} {
		o.must("wallet", "subaccount", "open", "--name", "agent", "--agent", o.file(id), "--wallet", o.wallet)
		o.must("wallet", "subaccount", "close", "agent", "--yes", "--wallet", o.wallet)
		if sub := o.broker.owner.subs[k]; sub.Account != id || sub.State != "closed" {
			t.Errorf("%+v, want %s closed", sub, id)
		}
	}
}

func TestAccountCommands(t *testing.T) {
	o := newOwned(t)
	ceiling := 5 * money.Unit
	o.broker.owner.limits.Ceiling.Day = &ceiling
	o.broker.owner.vouchers["ABCD-EFGH"] = 10 * money.Unit
	export := o.file("export.json")
	o.run([]step{
		{"status", "", []string{"status"}, 0, "at most 5.00 USD", ""},
		{"limits", "", []string{"limits"}, 0, "All sites a day   none   5.00", ""},
		{"a limit", "", []string{"limits", "--day", "2"}, 0, "All sites a day   2.00   5.00", ""},
		{"another limit", "", []string{"limits", "--vendor-day", "0.5"}, 0, "One site a day    0.50   none\nAll sites a day   2.00", ""},
		{"no limit", "", []string{"limits", "--vendor-day", "none"}, 0, "One site a day    none", ""},
		{"the lower one", "", []string{"status"}, 0, "at most 2.00 USD", ""},
		{"a code as an argument", "", []string{"voucher", "ABCD-EFGH"}, 2, "", "others on this machine can see arguments"},
		{"no code", "", []string{"voucher"}, 1, "", "no code came"},
		{"another code", "WXYZ\n", []string{"voucher"}, 1, "", "bad-voucher"},
		{"a code", " ABCD-EFGH \n", []string{"voucher"}, 0, "worth 10.00 USD; 110.00 USD are available", ""},
		{"no payouts", "", []string{"payout"}, 0, "No payout", ""},
		{"to nobody", "", []string{"payout", "--amount", "5"}, 2, "", "want either --iban or --reference"},
		{"to two", "", []string{"payout", "--amount", "5", "--iban", "DE1", "--reference", "me"}, 2, "", "want either --iban or --reference"},
		{"nothing to somebody", "", []string{"payout", "--iban", "DE1"}, 2, "", "want --amount"},
		{"thought better of it", "no\n", []string{"payout", "--amount", "5", "--iban", "DE1"}, 1, "", "Pay out 5.00 USD to IBAN DE1?"},
		{"payout", "yes\n", []string{"payout", "--amount", "5", "--iban", "DE1", "--id", "one"}, 0, "pending", ""},
		{"too much", "", []string{"payout", "--amount", "500", "--iban", "DE1", "--yes"}, 1, "", "insufficient-funds"},
		{"payouts", "", []string{"payout"}, 0, "IBAN DE1", ""},
		{"on its way", "", []string{"status"}, 0, "On its way out   5.00 USD", ""},
		{"export", "", []string{"export"}, 0, `"all":"of it"`, ""},
		{"export into a file", "", []string{"export", "-o", export}, 0, "", ""},
		{"close to two", "", []string{"close", "--iban", "DE1", "--reference", "me"}, 2, "", "not both"},
		{"close, but not really", "no\n", []string{"close", "--iban", "DE1"}, 1, "", "105.00 USD are on them"},
		{"close to nobody", "", []string{"close", "--yes"}, 1, "", "say where it goes"},
		{"close", "", []string{"close", "--iban", "DE1", "--yes"}, 0, "is closing: 105.00 USD are on their way out", ""},
		{"closing", "", []string{"status"}, 0, ", closing", ""},
	})
	content, err := os.ReadFile(export)
	if info, statErr := os.Stat(export); err != nil || statErr != nil || !json.Valid(content) || info.Mode().Perm() != 0o600 {
		t.Errorf("the export: %s, %v, %v", content, err, info.Mode())
	}
}

// A broker that has no export of its own lists everything that it keeps.
func TestExportOfLists(t *testing.T) {
	o := newOwned(t)
	o.broker.owner.noExport = true
	gate := newFakeGate(t, o.broker, 1000)
	o.must("pay", gate.origin()+"/a", "--wallet", o.wallet)
	o.must("wallet", "subaccount", "open", "--name", "agent", "--agent", o.file("agent.json"), "--wallet", o.wallet)
	o.must("wallet", "payout", "--amount", "1", "--reference", "me", "--yes", "--wallet", o.wallet)
	var all struct {
		Account                                                   payword.Account
		Devices, SubAccounts, Payouts, Certificates, Reservations []map[string]any
	}
	o.read(&all, "wallet", "export", "--wallet", o.wallet)
	lengths := []int{len(all.Devices), len(all.SubAccounts), len(all.Payouts), len(all.Certificates), len(all.Reservations)}
	if all.Account.Account != "account-1" || !slices.Equal(lengths, []int{1, 1, 1, 4, 1}) {
		t.Errorf("%+v with %v devices, sub-accounts, payouts, certificates and reservations", all.Account, lengths)
	}
}

// An export that breaks off is not taken for a whole one.
func TestExportBreaksOff(t *testing.T) {
	o := newOwned(t)
	o.broker.owner.cutExport = true
	o.run([]step{
		{"to the terminal", "", []string{"export"}, 1, `{"broker":`, "exporting the account"},
		{"into a file", "", []string{"export", "-o", o.file("export.json")}, 1, "", "exporting the account"},
	})
}

// What is wrong with the form of a request is told as the broker says it.
func TestFaultsOfTheForm(t *testing.T) {
	broker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		io.WriteString(w, `{"detail":"validation failed","errors":[{"message":"the IBAN has a mistake","location":"body.destination"},{"message":"and more"}]}`)
	}))
	defer broker.Close()
	wallet := filepath.Join(t.TempDir(), "wallet.json")
	command(t, "wallet", "create", "--wallet", wallet)
	status, _, stderr := command(t, "wallet", "open-account", "--broker", broker.URL, "--wallet", wallet)
	if status != 1 || !strings.Contains(stderr, "validation failed: the IBAN has a mistake (body.destination): and more") {
		t.Errorf("status %d, %s", status, stderr)
	}
}

// An answer that is lost on its way back is asked for again, and nothing is done
// twice.
func TestLostAnswersOfTheBroker(t *testing.T) {
	o := newOwned(t)
	o.must("wallet", "subaccount", "open", "--name", "agent", "--agent", o.file("agent.json"), "--wallet", o.wallet)
	answer, _ := o.answer("device", o.file("laptop.json"))
	for _, s := range [][]string{
		{"subaccount", "transfer", "agent", "--amount", "1"},
		{"payout", "--amount", "1", "--reference", "me", "--yes"},
		{"device", "add", answer, "--name", "laptop", "--yes"},
		{"limits", "--day", "1"},
	} {
		o.broker.set(func() { o.broker.owner.loseOwner = true })
		o.must(append(append([]string{"wallet"}, s...), "--wallet", o.wallet)...)
	}
	if o.broker.balance != 98*money.Unit || len(o.broker.owner.devices) != 2 {
		t.Errorf("%s are left, and %d devices, want 98.00 and 2", o.broker.balance.Decimal(), len(o.broker.owner.devices))
	}
	o.broker.set(func() { o.broker.down = true })
	o.run([]step{{"while the broker is away", "", []string{"payout", "--amount", "1", "--reference", "me", "--yes", "--id", "mine"}, 1, "", "ask again with --id mine"}})
}

// Nothing that the commands write or name in their errors holds a secret.
func TestOwnerCommandsTellNoSecret(t *testing.T) {
	o := newOwned(t)
	seed := strings.TrimSpace(o.must("wallet", "seed", "--wallet", o.wallet))
	content, err := os.ReadFile(o.wallet)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Wallet struct{ Secret struct{ Seed string } }
	}
	if err := json.Unmarshal(content, &file); err != nil || file.Wallet.Secret.Seed == "" {
		t.Fatalf("no seed in the file: %v", err)
	}
	for _, s := range [][]string{
		{"status"}, {"status", "--json"}, {"device", "list"}, {"device", "add", "--name", "x"}, {"limits"}, {"payout"}, {"voucher"}, {"export"},
	} {
		_, stdout, stderr := typing(t, "SECRET-CODE\n", append(append([]string{"wallet"}, s...), "--wallet", o.wallet)...)
		for _, secret := range []string{seed, file.Wallet.Secret.Seed, "SECRET-CODE"} {
			if strings.Contains(stdout+stderr, secret) {
				t.Errorf("%s tells %q:\n%s%s", strings.Join(s, " "), secret, stdout, stderr)
			}
		}
	}
}

func TestHelpOfOwnerCommands(t *testing.T) {
	for _, verb := range []string{"status", "device", "join", "subaccount", "limits", "voucher", "payout", "close", "export"} {
		status, stdout, stderr := command(t, "wallet", verb, "--help")
		example := "Example:\n  payword wallet " + verb
		if status != 0 || stderr != "" || strings.Count(stdout, "Example:") != 1 || !strings.Contains(stdout, example) {
			t.Errorf("%s: status %d, %s%s", verb, status, stdout, stderr)
		}
		if _, all, _ := command(t, "wallet", "--help"); !strings.Contains(all, "payword wallet "+verb+" ") {
			t.Errorf("the help of all commands does not name %s", verb)
		}
		status, _, stderr = command(t, "wallet", verb, "--no-such-flag")
		if status != 2 || !strings.Contains(stderr, "Try payword wallet "+verb+" --help.") {
			t.Errorf("%s with a wrong flag: status %d, %s", verb, status, stderr)
		}
	}
}

// Where a limit of the account leaves less than a deposit, less is reserved.
func TestReservationWithinTheAccountsLimit(t *testing.T) {
	for _, test := range []struct{ limit, released money.Amount }{{300_000, 1000}, {1000, 1000}, {999, 0}} {
		w := newWorld(t, 1000)
		w.broker.owner.limits.Own.Reserved = &test.limit
		err := w.get("/a")
		if (err == nil) != (test.released > 0) || w.wallet.Summary().Released != test.released {
			t.Errorf("limit %s: %v, released %s", test.limit.Decimal(), err, w.wallet.Summary().Released.Decimal())
		}
	}
}

// What a wallet holds of certificates is told before they expire.
func TestStatusOfCertificates(t *testing.T) {
	w := newWorld(t, 1000)
	w.broker.set(func() { w.broker.lifeSeconds = week })
	w.mustGet("/a")
	expires := w.clock.now().Unix() + week
	for _, test := range []struct {
		after time.Duration
		want  client.CertificateStatus
	}{
		{0, client.CertificateStatus{Sites: 1, Spares: 3, NextExpires: expires}},
		{6 * 24 * time.Hour, client.CertificateStatus{Sites: 1, Spares: 3, ExpireSoon: 4, NextExpires: expires}},
		{24 * time.Hour, client.CertificateStatus{Sites: 1, Spares: 3, Expired: 4}},
	} {
		w.clock.add(test.after)
		if got, err := w.wallet.Status(t.Context()); err != nil || got.Certificates != test.want {
			t.Errorf("after %s: %+v, %v, want %+v", test.after, got.Certificates, err, test.want)
		}
	}
}

// Programs ask what there is no method for.
func TestAsk(t *testing.T) {
	w := newWorld(t, 1000)
	day := money.Unit
	var limits payword.AccountLimits
	if err := w.wallet.Ask(t.Context(), "PUT", payword.PathLimits, payword.Limits{Day: &day}, &limits); err != nil || limits.Own.Day == nil || *limits.Own.Day != day {
		t.Errorf("got %+v, %v", limits, err)
	}
	refusal := refusedBy[*client.BrokerError](t, w.wallet.Ask(t.Context(), "DELETE", payword.PathDevices+"/none", nil, nil))
	if refusal.Reason != payword.UnknownDevice || !strings.Contains(refusal.Error(), "DELETE "+payword.PathDevices) {
		t.Errorf("got %v", refusal)
	}
}

// A wallet that is restored takes over what is its own, and nothing of the other
// devices of its account.
func TestRestoredDevice(t *testing.T) {
	o := newOwned(t)
	ours, theirs := newFakeGate(t, o.broker, 1000), newFakeGate(t, o.broker, 1000)
	laptop := o.file("laptop.json")
	answer, _ := o.answer("device", laptop)
	o.must("wallet", "device", "add", answer, "--name", "laptop", "--yes", "--wallet", o.wallet)
	o.must("pay", theirs.origin()+"/a", "--wallet", o.wallet)
	o.must("pay", ours.origin()+"/a", "--wallet", laptop)
	seed := o.file("seed")
	if err := os.WriteFile(seed, []byte(o.must("wallet", "seed", "--wallet", laptop)), 0o600); err != nil {
		t.Fatal(err)
	}
	restored := o.file("restored.json")
	o.must("wallet", "restore", "--broker", o.broker.origin(), "--seed-file", seed, "--wallet", restored)
	var summary client.Summary
	o.read(&summary, "wallet", "show", "--wallet", restored)
	if len(summary.Sites) != 1 || summary.Sites[0].Vendor != ours.origin() {
		t.Errorf("it has the sites %+v, want %s alone", summary.Sites, ours.origin())
	}
	o.must("pay", theirs.origin()+"/b", "--wallet", restored)
}

func FuzzInvitation(f *testing.F) {
	wallet := newWorldForFuzz(f)
	for _, purpose := range []string{payword.PossessionDevice, payword.PossessionSubAccount} {
		line, err := wallet.Invite(f.Context(), purpose)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
		f.Add(line[:len(line)-2])
	}
	f.Fuzz(func(t *testing.T, line string) {
		normal, err := client.NormalInvitation(line)
		if err != nil {
			return
		}
		if again, err := client.NormalInvitation(normal); err != nil || again != normal || normal != strings.Join(strings.Fields(line), "") {
			t.Errorf("%q is %q, and that is %q, %v", line, normal, again, err)
		}
	})
}

func newWorldForFuzz(f *testing.F) *client.Wallet {
	f.Helper()
	broker := newFakeBroker(f, time.Now)
	wallet, err := client.CreateWallet(client.WalletConfig{Path: filepath.Join(f.TempDir(), "wallet.json")})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { wallet.Close() })
	if _, err := wallet.OpenAccount(f.Context(), broker.origin()); err != nil {
		f.Fatal(err)
	}
	return wallet
}

func FuzzJoinCode(f *testing.F) {
	f.Add("payword-answer-AAAA")
	f.Add("payword-answer-")
	f.Add("payword-invitation-AAAA")
	f.Fuzz(func(t *testing.T, line string) {
		code, err := client.JoinCode(line)
		spaced, spacedErr := client.JoinCode(" " + line + "\n")
		if (err == nil) != (len(code) == 19) || code != spaced || (err == nil) != (spacedErr == nil) {
			t.Errorf("%q: %q, %v; with spaces %q, %v", line, code, err, spaced, spacedErr)
		}
	})
}

// What an invitation says is shown beside the code that people compare: nothing
// in it may move the cursor.
func TestInvitationsShowNothingElse(t *testing.T) {
	const prefix = "payword-invitation-"
	line := func(account string) string {
		content := strings.Join([]string{payword.PossessionDevice, "https://broker.example", account, "challenge", "usd-micro", "1700000000"}, "\n")
		sum := sha256.Sum256([]byte(prefix + content))
		return prefix + base64.RawURLEncoding.EncodeToString(append(sum[:4], content...))
	}
	if _, err := client.NormalInvitation(line("qwertyuiop234567")); err != nil {
		t.Fatal(err)
	}
	for _, account := range []string{"a\x1b[2Jb", "a\u009bb", "a\u202eb", "a\rb", "a\xffb"} {
		if _, err := client.NormalInvitation(line(account)); err == nil {
			t.Errorf("an invitation to %q was taken", account)
		}
	}
}
