package clearing_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// cardDesk runs "payword clearing cards" with the keys of its cards.
type cardDesk struct {
	t              testing.TB
	database, keys string
	masters        *purse.Keys
}

func newCardDesk(t testing.TB) *cardDesk {
	t.Helper()
	text := "1 MKL " + strings.Repeat("22", 32) + "\n1 KZD " + strings.Repeat("33", 32) + "\n"
	masters, err := purse.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return &cardDesk{t: t, database: newDatabase(t), keys: writeFile(t, text), masters: masters}
}

// run runs a word that must succeed and returns its JSON.
func (d *cardDesk) run(args ...string) map[string]any {
	d.t.Helper()
	code, stdout, stderr := command(d.t, append([]string{"cards", args[0], "--db", d.database, "--keys", d.keys, "--json"}, args[1:]...)...)
	var answer map[string]any
	if err := json.Unmarshal([]byte(stdout), &answer); code != 0 || err != nil {
		if listed := []any{}; json.Unmarshal([]byte(stdout), &listed) == nil && code == 0 {
			return map[string]any{"listed": listed}
		}
		d.t.Fatalf("%q: exit code %d, %s%s (%v)", args, code, stdout, stderr, err)
	}
	return answer
}

// load puts money on a card, by the words that a person would use.
func (d *cardDesk) load(card *purse.SoftCard, amount uint32) {
	d.t.Helper()
	request := purse.LoadRequest{Amount: amount, Unit: card.Unit, Time: 1}
	answer := card.InitLoad(request, purse.Random{byte(card.LNo)})
	granted := d.run("load", "--request", hex.EncodeToString(request.Append(nil)), "--answer", hex.EncodeToString(answer.Append(nil)))
	credit, err := hex.DecodeString(granted["credit"].(string))
	if err != nil {
		d.t.Fatal(err)
	}
	receipt, err := card.Credit(credit)
	if err != nil {
		d.t.Fatal(err)
	}
	d.run("load", "--load", granted["load"].(string), "--receipt", hex.EncodeToString(receipt.Append(nil)))
}

func (d *cardDesk) submit(sam *purse.SoftSAM) map[string]any {
	d.t.Helper()
	total, records := sam.Close()
	return d.run("batch", "--file", writeFile(d.t, string(append(total, records...))))
}

// From a card that is issued to a merchant whom a run pays.
func TestCardsCommand(t *testing.T) {
	d := newCardDesk(t)
	cents := purse.Unit{Currency: 0x0978, Exponent: -2}
	card, err := purse.NewSoftCard(d.masters, 1, purse.ID{0xC1, 7: 1}, purse.ID{}, cents)
	if err != nil {
		t.Fatal(err)
	}
	sam, err := purse.NewSoftSAM(d.masters, 1, purse.ID{0x4D, 7: 9})
	if err != nil {
		t.Fatal(err)
	}
	cid, mid := card.ID.String(), sam.Merchant.String()
	d.run("issue", "--card", cid, "--expires", "2035-12-31")
	d.run("merchant", "--merchant", mid, "--name", "Kiosk", "--destination", "ref:kiosk")
	d.load(card, 50_00)
	if _, _, err := sam.Pay(card, 20_00, 1_790_000_000); err != nil {
		t.Fatal(err)
	}
	proof, macz, err := card.Pay(sam.Merchant, sam.Next(), 5_00, 1_790_000_000)
	if err != nil {
		t.Fatal(err)
	}
	sam.Void(card.ID, 2, 5_00, 1_790_000_000, purse.Unproved)
	for k := range 2 {
		if taken := d.submit(sam); taken["grossMicros"] != "20000000" || taken["feeMicros"] != "60000" || taken["repeated"] != (k == 1) || len(taken["acknowledgement"].(string)) != 32 {
			t.Errorf("batch %v", taken)
		}
	}
	claimed := d.run("dispute", "--proof", hex.EncodeToString(proof.Append(nil)), "--macz", macz.String(), "--note", "torn at the till")
	if claimed["state"] != "holder" || claimed["rule"] != "void" {
		t.Errorf("dispute %v", claimed)
	}
	if shown := d.run("show", "--card", cid); shown["shadowMicros"] != "25000000" || len(shown["payments"].([]any)) != 2 {
		t.Errorf("card %v", shown)
	}
	d.run("lost", "--card", cid, "--reference", "cash desk 1")
	if listed := d.run("hotlist")["listed"].([]any); len(listed) != 1 || listed[0] != cid {
		t.Errorf("hot list %v", listed)
	}
	for _, word := range []string{"loads", "alarms", "check"} {
		if listed := d.run(word)["listed"].([]any); len(listed) != 0 {
			t.Errorf("%s: %v", word, listed)
		}
	}
	if due := d.run("due"); len(due["paidBack"].([]any)) != 0 {
		t.Errorf("due %v", due)
	}
	d.run("found", "--card", cid)
	if made := d.run("script", "--card", cid, "--limits", "150,49.99"); made["count"] != 3.0 || made["kind"] != "limits" || made["state"] != "waiting" {
		t.Errorf("script %v", made)
	}
	if scripts := d.run("show", "--card", cid)["scripts"].([]any); len(scripts) != 3 {
		t.Errorf("scripts %v", scripts)
	}

	code, stdout, stderr := command(t, "run", "--db", d.database, "--out", t.TempDir(), "--now", "--json")
	if code != 0 || !strings.Contains(stdout, mid) {
		t.Fatalf("run: exit code %d, %s%s", code, stdout, stderr)
	}
	wantOnItsWay(t, d.database, "merchant:"+mid+":payable", 19_94*money.Unit/100)
	wantExplained(t, d.database)
	if code, stdout, stderr := command(t, "audit", "--db", d.database, "--card-keys", d.keys); code != 0 {
		t.Errorf("audit: exit code %d, %s%s", code, stdout, stderr)
	}
}

// A merchant that is blocked stays so until somebody says otherwise.
func TestBlockedMerchantStaysBlocked(t *testing.T) {
	d := newCardDesk(t)
	db, _ := openAt(t, d.database)
	for _, c := range []struct{ flag, state string }{{"--blocked", "blocked"}, {"--name=Kiosk & Son", "blocked"}, {"--blocked=false", "open"}, {"--name=Kiosk", "open"}} {
		d.run("merchant", "--merchant", "4D00000000000009", "--name", "Kiosk", "--destination", "ref:kiosk", c.flag)
		var state string
		if scan(t, db, `SELECT state FROM cards_merchants`, &state); state != c.state {
			t.Errorf("%s: the merchant is %s, want %s", c.flag, state, c.state)
		}
	}
}

// wantOnItsWay fails unless so much of an account is on its way out.
func wantOnItsWay(t testing.TB, database, account string, want money.Amount) {
	t.Helper()
	db, err := ledger.Open(t.Context(), database, ledger.Options{Mode: ledger.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var found ledger.Account
	err = db.View(t.Context(), func(tx *ledger.Tx) (err error) {
		found, err = tx.Account(t.Context(), account)
		return err
	})
	if err != nil || found.Pending != want {
		t.Errorf("%s: %s on its way out, want %s (%v)", account, found.Pending, want, err)
	}
}

// wantExplained fails unless the broker's check explains every account.
func wantExplained(t testing.TB, database string) {
	t.Helper()
	code, stdout, stderr := brokerCommand(t, "check", "--db", database)
	if code != 0 {
		t.Errorf("payword broker check: exit code %d, %s%s", code, stdout, stderr)
	}
}

func brokerCommand(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, failures strings.Builder
	code = broker.Main(t.Context(), args, strings.NewReader(""), &out, &failures)
	return code, out.String(), failures.String()
}

var listensForCards = regexp.MustCompile(`listens for cards on ([0-9.:]+)\n`)

// SAM gateways hand in batches at an address of their own.
func TestServeCards(t *testing.T) {
	d := newCardDesk(t)
	sam, err := purse.NewSoftSAM(d.masters, 1, purse.ID{0x4D, 7: 9})
	if err != nil {
		t.Fatal(err)
	}
	d.run("merchant", "--merchant", sam.Merchant.String(), "--name", "Kiosk")
	sam.Next()
	sam.Void(purse.ID{}, 0, 1, 1, purse.NeverOrdered)
	total, records := sam.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout, stderr written
	code := make(chan int, 1)
	go func() {
		code <- clearing.Main(ctx, []string{"serve", "--db", d.database, "--out", t.TempDir(), "--operators", operatorsFile(t),
			"--listen", "127.0.0.1:0", "--cards", "127.0.0.1:0", "--card-keys", d.keys}, &stdout, &stderr)
	}()
	var address []string
	for deadline := time.Now().Add(30 * time.Second); address == nil; address = listensForCards.FindStringSubmatch(stdout.text()) {
		if time.Now().After(deadline) {
			t.Fatalf("it never listened: %s%s", stdout.text(), stderr.text())
		}
		select {
		case got := <-code:
			t.Fatalf("it ended with %d: %s", got, stderr.text())
		case <-time.After(10 * time.Millisecond):
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+address[1]+"/v1/batches", bytes.NewReader(append(total, records...)))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	err = json.NewDecoder(response.Body).Decode(&answer)
	if response.Body.Close(); err != nil || response.StatusCode != 200 || answer["voids"] != 1.0 {
		t.Errorf("got status %d, %v (%v)", response.StatusCode, answer, err)
	}
	stop()
	if got := <-code; got != 0 {
		t.Errorf("it ended with %d: %s", got, stderr.text())
	}
	for want, args := range map[string][]string{
		"--card-keys is missing": {"--cards", "127.0.0.1:0"}, "go with --cards": {"--card-keys", d.keys},
		"--behind-tls":   {"--cards", "0.0.0.0:0", "--card-keys", d.keys},
		"--cards-origin": {"--cards", "127.0.0.1:0", "--card-keys", d.keys, "--cards-origin", "cards.example/x"},
		"say where":      {"--cards-origin", "https://cards.example"},
	} {
		code, _, stderr := command(t, append([]string{"serve", "--db", d.database, "--out", t.TempDir(), "--operators", operatorsFile(t)}, args...)...)
		if code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d, %s, want %q", args, code, stderr, want)
		}
	}
}

func TestCardsCommandSaysWhatIsWrong(t *testing.T) {
	d := newCardDesk(t)
	open := writeFile(t, "1 KZD "+strings.Repeat("33", 32))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{}, 2, "payword clearing cards clears purse cards"},
		{[]string{"hotlists"}, 2, "did you mean hotlist?"},
		{[]string{"hotlist", "--keys", d.keys}, 2, "--db is missing"},
		{[]string{"hotlist", "--db", d.database}, 2, "--keys is missing"},
		{[]string{"hotlist", "--db", d.database, "--keys", open}, 1, "chmod 600"},
		{[]string{"hotlist", "--db", d.database, "--keys", writeFile(t, "1 KZD 33")}, 1, "has not 32 bytes"},
		{[]string{"hotlist", "--db", d.database, "--keys", writeFile(t, "1 KZD "+strings.Repeat("33", 32))}, 1, "want a KZD and an MKL"},
		{[]string{"show", "--db", d.database, "--keys", d.keys, "--card", "c1"}, 2, "16 upper-case hexadecimal digits"},
		{[]string{"show", "--db", d.database, "--keys", d.keys, "--card", "C100000000000001"}, 1, "does not know it"},
		{[]string{"issue", "--db", d.database, "--keys", d.keys, "--card", "C100000000000001"}, 2, "--expires"},
		{[]string{"merchant", "--db", d.database, "--keys", d.keys, "--merchant", "C100000000000001", "--destination", "x"}, 2, "iban:, ach:, ref: or gateway:"},
		{[]string{"load", "--db", d.database, "--keys", d.keys, "--load", "C100000000000001"}, 2, "one of --receipt, --challenge and --status"},
		{[]string{"batch", "--db", d.database, "--keys", d.keys, "--file", d.keys}, 1, "unknown-merchant"},
		{[]string{"dispute", "--db", d.database, "--keys", d.keys, "--for", "me"}, 2, "want holder or merchant"},
		{[]string{"dispute", "--db", d.database, "--keys", d.keys, "--for", "holder", "--transaction", "1", "--merchant", "C100000000000001"}, 1, "no open dispute"},
		{[]string{"script", "--db", d.database, "--keys", d.keys, "--card", "C100000000000001"}, 2, "want one of --block"},
		{[]string{"script", "--db", d.database, "--keys", d.keys, "--card", "C100000000000001", "--block", "--unblock"}, 2, "want one of --block"},
		{[]string{"script", "--db", d.database, "--keys", d.keys, "--card", "C100000000000001", "--limits", "150"}, 2, "such as 150,50"},
		{[]string{"script", "--db", d.database, "--keys", d.keys, "--card", "C100000000000001", "--block"}, 1, "unknown-card"},
		{[]string{"script", "--db", d.database, "--keys", d.keys, "--card", "C100000000000001", "--new-pin-file", open}, 2, "--new-pin-file"},
		{[]string{"script", "--db", d.database, "--keys", d.keys, "--card", "C100000000000001", "--new-pin-file", writeFile(t, "33333333333")}, 1, "unknown-card"},
		{[]string{"alarms", "--db", d.database, "--keys", d.keys, "--acknowledge", "7", "--note", "x"}, 1, "open alarm 7"},
	} {
		code, stdout, stderr := command(t, append([]string{"cards"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit code %d, %s%s, want %d and %q", c.args, code, stdout, stderr, c.code, c.want)
		}
		if said := fmt.Sprint(stdout, stderr); strings.Contains(said, "3333") {
			t.Errorf("%q: a key is printed: %s", c.args, said)
		}
	}
}
