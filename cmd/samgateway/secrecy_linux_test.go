package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/kiosk/kiosktest"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/softcard"
)

// The PINs have 8 digits, so that no other number is taken for one.
const (
	secretPIN, wrongPIN = "82739164", "19283746"
	holderID            = "A000000000000007"
	cardName, tillName  = "C100000000000001", "4D00000000000009"
	tokenOfAdmin        = "a-token-of-administration-for-tests"
)

// keepers are the files that have secrets by their nature.
var keepers = map[string]bool{"masters": true, "card": true, "slot": true, "sam": true, "pin": true, "wrong-pin": true}

// secretShop is a shop with one card and one till, and the secrets of both.
type secretShop struct {
	*shop
	secrets          secrets
	clearing, broker string
	account          string
}

// newSecretShop makes the secrets, and what keeps them.
func newSecretShop(t *testing.T) *secretShop {
	t.Helper()
	s := &secretShop{shop: newShop(t), secrets: secrets{}}
	keys, text, masters := &purse.Keys{}, "", map[string][]byte{}
	for _, name := range []string{purse.PurseMaster, purse.LoadMaster, purse.ClearingMaster} {
		master := make([]byte, 32)
		rand.Read(master)
		if err := keys.Add(name, 1, master); err != nil {
			t.Fatal(err)
		}
		masters[name] = master
		s.secrets.add(name, master)
		text += fmt.Sprintf("1 %s %x\n", name, master)
	}
	s.write("masters", text)
	card, merchant := purse.ID{0xC1, 7: 1}, purse.ID{0x4D, 7: 9}
	for _, derived := range []struct {
		label, master string
		id            purse.ID
	}{{"SKC", purse.PurseMaster, card}, {"KLC", purse.LoadMaster, card}, {"KZC", purse.ClearingMaster, card}, {"KZM", purse.ClearingMaster, merchant}} {
		s.secrets.add(derived.label, derive(t, masters[derived.master], derived.label, 1, derived.id[:]))
	}
	s.secrets.add("the PIN", []byte(secretPIN))
	s.secrets.add("a wrong PIN", []byte(wrongPIN))
	s.write("pin", secretPIN+"\n")
	s.write("wrong-pin", wrongPIN+"\n")
	unit := purse.Unit{Currency: 0x0840, Exponent: -2}
	err := softcard.CreateCard(s.path("card"), purse.CardIssue{Keys: keys, KeyVersion: 1, Card: card, Holder: purse.ID{0xA0, 7: 7}, Unit: unit,
		MaxBalance: 200_00, MaxPayment: 200_00, PIN: secretPIN})
	if err == nil {
		err = softcard.CreateSAM(s.path("sam"), purse.SAMIssue{Keys: keys, KeyVersion: 1, Merchant: merchant, Unit: unit, Limit: 1000_00})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open starts broker and clearing, and has them know account, card and gateway.
func (s *secretShop) open() {
	s.t.Helper()
	s.write("admin.token", tokenOfAdmin)
	s.write("operators", "anna "+tokenOfAdmin+"\n")
	brokerAddress, clearingAddress := s.address(), s.address()
	s.broker, s.clearing = "http://"+brokerAddress, "http://"+clearingAddress
	s.want("", "payword", "broker", "key", "--out", s.path("broker.key"))
	s.serve(s.broker+"/readyz", "payword", "broker", "serve", "--db", s.path("broker.db"), "--key", s.path("broker.key"), "--admin-token", s.path("admin.token"),
		"--origin", s.broker, "--listen", brokerAddress)
	s.openAccount()
	var made struct{ Key json.RawMessage }
	if err := json.Unmarshal([]byte(s.want("kty", "samgateway", "key", "--out", s.path("gateway.key"), "--json")), &made); err != nil {
		s.t.Fatal(err)
	}
	s.ask(http.MethodPut, "/v1/admin/gateways/shop", map[string]any{"key": made.Key, "dayLimit": "1000000000", "backed": true}, nil, nil)
	cards := func(words ...string) {
		s.t.Helper()
		s.want("", "payword", append([]string{"clearing", "cards", words[0], "--db", s.path("broker.db"), "--keys", s.path("masters")}, words[1:]...)...)
	}
	cards("issue", "--card", cardName, "--account", s.account, "--holder", holderID, "--expires", "2035-12-31")
	cards("merchant", "--merchant", tillName, "--name", "Till", "--destination", "gateway:shop")
	if err := os.Mkdir(s.path("out"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.serve(s.clearing+"/v1/hotlist", "payword", "clearing", "serve", "--db", s.path("broker.db"), "--out", s.path("out"), "--operators", s.path("operators"),
		"--listen", s.address(), "--cards", clearingAddress, "--card-keys", s.path("masters"), "--cards-origin", s.clearing)
}

// openAccount opens an account at the broker and puts 50.00 on it.
func (s *secretShop) openAccount() {
	s.t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	var challenge struct{ Challenge string }
	s.ask(http.MethodPost, payword.PathChallenges, map[string]any{}, nil, &challenge)
	var account payword.Account
	s.ask(http.MethodPost, payword.PathAccounts, map[string]any{"key": payword.NewPublicKey(public), "challenge": challenge.Challenge}, key, &account)
	s.account = account.Account
	s.want("", "payword", "broker", "fund", "--db", s.path("broker.db"), "--account", s.account, "--amount", "50.00", "--id", "first")
}

// ask asks the broker; key, where it is not nil, signs.
func (s *secretShop) ask(method, path string, question any, key ed25519.PrivateKey, answer any) {
	s.t.Helper()
	body, err := json.Marshal(question)
	if err != nil {
		s.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.broker+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if key == nil {
		request.Header.Set("Authorization", "Bearer "+tokenOfAdmin)
	} else {
		var nonce payword.Nonce
		rand.Read(nonce[:])
		if err := payword.SignRequest(request, body, key, nonce, time.Now().Unix()); err != nil {
			s.t.Fatal(err)
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		s.t.Fatalf("%s %s: %s %s (%v)", method, path, response.Status, said, err)
	}
	if answer != nil {
		if err := json.Unmarshal(said, answer); err != nil {
			s.t.Fatal(err)
		}
	}
}

// flags are those of every command that moves money.
func (s *secretShop) flags(words ...string) []string {
	return append(words, "--sam-file", s.path("sam"), "--journal", s.path("till.journal"), "--currency", "USD",
		"--clearing", s.clearing, "--broker", s.broker, "--key", s.path("gateway.key"))
}

// withCard are flags with the card.
func (s *secretShop) withCard(words ...string) []string {
	return append(s.flags(words...), "--card-file", s.path("card"))
}

// typed runs the gateway at a terminal at which somebody types a PIN.
func (s *secretShop) typed(pin string, arguments ...string) (code int, said string) {
	s.t.Helper()
	typist, terminal := openTerminal(s.t)
	output := &asked{isAsked: make(chan struct{})}
	ended := make(chan int, 1)
	go func() { ended <- s.runWith(terminal, output, "samgateway", arguments...) }()
	select {
	case <-output.isAsked:
		if _, err := typist.WriteString(pin + "\n"); err != nil {
			s.t.Fatal(err)
		}
		code = <-ended
	case code = <-ended:
		s.t.Errorf("the PIN was not asked for")
	}
	return code, output.text.String()
}

// asked is what a program printed, and whether it has asked for a PIN yet.
type asked struct {
	text    bytes.Buffer
	isAsked chan struct{}
}

// Write implements io.Writer.
func (a *asked) Write(text []byte) (int, error) {
	had := strings.Contains(a.text.String(), "PIN of card")
	n, err := a.text.Write(text)
	if !had && strings.Contains(a.text.String(), "PIN of card") {
		close(a.isAsked)
	}
	return n, err
}

// openTerminal returns the two ends of a terminal.
func openTerminal(t *testing.T) (typist, terminal *os.File) {
	t.Helper()
	typist, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(typist.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(typist.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = terminal.Close()
		_ = typist.Close()
	})
	return typist, terminal
}

// tornReaders have a card that is pulled out after a command, once.
type tornReaders struct {
	smartcard.Reader
	after  purse.Instruction
	isTorn *bool
}

// List implements smartcard.Readers.
func (r tornReaders) List(context.Context) ([]smartcard.Reader, error) {
	return []smartcard.Reader{r}, nil
}

// Connect implements smartcard.Reader.
func (r tornReaders) Connect(ctx context.Context) (smartcard.Session, error) {
	session, err := r.Reader.Connect(ctx)
	return &tornSession{session, r, false}, err
}

type tornSession struct {
	smartcard.Session
	readers tornReaders
	isOut   bool
}

// Transmit implements smartcard.Card.
func (s *tornSession) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	if s.isOut {
		return nil, smartcard.ErrTorn
	}
	answer, err := s.Session.Transmit(ctx, command)
	if !*s.readers.isTorn && command[1] == byte(s.readers.after) {
		*s.readers.isTorn, s.isOut = true, true
		return nil, smartcard.ErrTorn
	}
	return answer, err
}

// pull has the card be pulled out after a command, and put in again.
func (s *secretShop) pull(after purse.Instruction, words ...string) (said string) {
	s.t.Helper()
	isTorn := false
	readers := tornReaders{softcard.Reader(s.path("card")), after, &isTorn}
	var output bytes.Buffer
	code := samgateway.Main(s.t.Context(), readers, append(s.flags(words...), "--card-reader", "card"), strings.NewReader(""), &output, &output)
	if _, err := s.Write(output.Bytes()); err != nil || !isTorn || code == 0 {
		s.t.Fatalf("samgateway %s: exit code %d, torn %t, %q", words[0], code, isTorn, output.String())
	}
	return output.String()
}

// move moves the card to another reader.
func (s *secretShop) move(from, to string) {
	s.t.Helper()
	if err := os.Rename(s.path(from), s.path(to)); err != nil {
		s.t.Fatal(err)
	}
}

// Of all that the programs print, log, write down, send as arguments and keep in
// the environment, nothing is a PIN or a key of a card or a SAM.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	s := newSecretShop(t)
	s.open()
	load := s.withCard("load", "20.00", "--load-terminal", "4C00000000000001")
	if code, said := s.typed(wrongPIN, load...); code != 1 || !strings.Contains(said, "the PIN is wrong: 2 tries are left") {
		t.Errorf("a wrong PIN at a terminal: exit code %d, %q", code, said)
	}
	if code, said := s.typed(secretPIN, load...); code != 0 || !strings.Contains(said, "Loaded 20.00 USD") {
		t.Errorf("the PIN at a terminal: exit code %d, %q", code, said)
	}
	if code, said := s.run("samgateway", append(load, "--pin-file", s.path("wrong-pin"), "--json")...); code != 1 || !strings.Contains(said, "the PIN is wrong") {
		t.Errorf("a wrong PIN in a file: exit code %d, %q", code, said)
	}
	if said := s.pull(purse.Credit, append([]string{"load", "5.00"}, "--load-terminal", "4C00000000000001", "--pin-file", s.path("pin"))...); !strings.Contains(said, "pulled out") {
		t.Errorf("pulled out while it was loaded: %q", said)
	}
	s.want("Paid 4.00 USD", "samgateway", s.withCard("pay", "4.00")...)
	if said := s.pull(purse.Debit, "pay", "1.00"); !strings.Contains(said, "it is known now: the card paid") {
		t.Errorf("pulled out while it paid: %q", said)
	}
	s.want("cancelled", "samgateway", s.withCard("cancel")...)
	s.want("has it", "samgateway", s.withCard("fund", s.account, "3.00")...)
	s.want(`"payments": 4`, "samgateway", s.flags("status", "--json")...)
	s.want("", "samgateway", s.withCard("resolve")...)
	s.want("4.00", "samgateway", "card", "show", "--card-file", s.path("card"), "--pin-file", s.path("pin"))
	s.want("Turned in batch 1", "samgateway", s.flags("turnin")...)
	metrics, relay, kiosk := s.address(), s.address(), s.address()
	s.move("card", "slot")
	s.serve("http://"+metrics+"/healthz", "samgateway", append(s.flags("serve"), "--load-terminal", "4C00000000000001", "--metrics", metrics,
		"--relay", relay, "--merchant-name", "Till", "--kiosk", kiosk, "--card-file", s.path("slot"))...)
	v := kiosktest.Visit(t, kiosk, s) // what the screen says is looked at, too
	v.See("menu")
	v.Choose("load", "", "amount")
	v.Choose("text", "2", "pin")
	v.Choose("pin", wrongPIN, "pin")
	v.Choose("pin", secretPIN, "done")
	s.move("slot", "card") // taken out, and home
	v.See("start")
	if phase, said := s.atHome().load(relay, wrongPIN, secretPIN); phase != "done" {
		t.Errorf("a wrong PIN, and then the PIN, at home: %s, %q", phase, said)
	}
	s.wantNoSecrets()
}

// wantNoSecrets looks everywhere, and sees that it would find something.
func (s *secretShop) wantNoSecrets() {
	s.t.Helper()
	s.write("said.log", s.text())
	for _, name := range []string{"Paid 4.00 USD", cardName, "PIN of card"} {
		if !strings.Contains(s.text(), name) {
			s.t.Errorf("what was printed does not have %q: it was not kept", name)
		}
	}
	for _, server := range s.running {
		for _, about := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(server.Process.Pid), about))
			if err != nil || len(text) == 0 {
				s.t.Errorf("%s of a server: %d bytes (%v)", about, len(text), err)
			}
			for _, name := range s.secrets.found(text) {
				s.t.Errorf("%s stands in the %s of %q", name, about, server.Args)
			}
		}
	}
	findings, looked := s.secrets.foundIn(s.t, s.folder, keepers)
	for _, finding := range findings {
		s.t.Error(finding)
	}
	if looked < 8 {
		s.t.Errorf("looked into %d files alone", looked)
	}
	all, _ := s.secrets.foundIn(s.t, s.folder, nil)
	for name := range s.secrets {
		if !strings.Contains(strings.Join(all, "\n"), name+" stands in ") {
			s.t.Errorf("%s was looked for, and is not even where it belongs", name)
		}
	}
}
