package samgateway_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/paywordhq/payword/samgateway"
)

// onScreen runs a command whose stderr, and stdin, are a terminal, at which
// somebody types, and returns what was shown there besides.
func onScreen(t *testing.T, typed string, arguments ...string) (got said) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(person.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The end is an error of the terminal that nobody has open any more.
		for part := make([]byte, 1024); ; {
			n, err := person.Read(part)
			shown.Write(part[:n])
			if err != nil {
				return
			}
			if typed != "" && bytes.Contains(shown.Bytes(), []byte("PIN of card")) {
				if _, err := io.WriteString(person, typed+"\n"); err != nil {
					return
				}
				typed = ""
			}
		}
	}()
	var stdout bytes.Buffer
	got.code = samgateway.Main(t.Context(), noReaders{}, arguments, screen, &stdout, screen)
	if err := screen.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	if err := person.Close(); err != nil {
		t.Fatal(err)
	}
	got.stdout, got.stderr = stdout.String(), shown.String()
	return got
}

const (
	testCard   = "C100000000000001"
	testHolder = "A000000000000007"
)

// personalise makes masters and a card of a holder in a folder, and returns the
// name of the card's file and its PIN.
func personalise(t *testing.T) (folder, pin string) {
	t.Helper()
	folder = t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	for _, arguments := range [][]string{
		{"personalise", "keys", "--out", in("masters")},
		{"personalise", "card", "--out", in("card"), "--keys", in("masters"), "--card", testCard, "--holder", testHolder, "--currency", "USD", "--pin-out", in("pin")},
		{"personalise", "card", "--out", in("white"), "--keys", in("masters"), "--card", "C100000000000002", "--currency", "EUR", "--max-balance", "50.00", "--max-payment", "20"},
		{"personalise", "sam", "--out", in("sam"), "--keys", in("masters"), "--merchant", "4D00000000000009", "--currency", "USD"},
	} {
		if got := call(t, arguments...); got.code != 0 {
			t.Fatalf("samgateway %q: %+v", arguments, got)
		}
	}
	text, err := os.ReadFile(in("pin"))
	if err != nil {
		t.Fatal(err)
	}
	return folder, strings.TrimSpace(string(text))
}

func TestPersonalise(t *testing.T) {
	folder, pin := personalise(t)
	if !regexp.MustCompile(`^[0-9]{4}$`).MatchString(pin) {
		t.Errorf("the PIN has %d characters, want 4 digits", len(pin))
	}
	for _, name := range []string{"masters", "card", "pin", "white", "sam"} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info.Mode(), err)
		}
	}
	card := call(t, "card", "show", "--card-file", filepath.Join(folder, "card"), "--json")
	if card.code != 0 || !strings.Contains(card.stdout, `"holder": "`+testHolder+`"`) || !strings.Contains(card.stdout, `"triesLeft": 3`) {
		t.Errorf("the card: got %+v", card)
	}
	white := call(t, "card", "show", "--log", "--card-file", filepath.Join(folder, "white"))
	if want := "PWP1 card C100000000000002, a white card\nBalance  0.00 EUR\nLimits   50.00 on the card, 20.00 at once\n"; white.code != 0 || white.stdout != want {
		t.Errorf("the white card: got %+v, want %q", white, want)
	}
}

func TestPersonaliseWrongly(t *testing.T) {
	folder, _ := personalise(t)
	in := func(name string) string { return filepath.Join(folder, name) }
	open := in("open")
	if err := os.WriteFile(open, []byte("1 MKP "+strings.Repeat("11", 32)), 0o644); err != nil {
		t.Fatal(err)
	}
	some := in("some")
	if err := os.WriteFile(some, []byte("1 MKP "+strings.Repeat("11", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{"personalise", "card", "--out", in("new"), "--keys", in("masters"), "--card", testCard, "--currency", "USD"}
	for _, c := range []struct {
		name      string
		arguments []string
		want      string
	}{
		{"no file", []string{"personalise", "card"}, "--out is missing"},
		{"no keys", []string{"personalise", "sam", "--out", in("new")}, "--keys is missing"},
		{"a card that is there", append(good, "--out", in("card")), "exists already"},
		{"masters that are there", []string{"personalise", "keys", "--out", in("masters")}, "exists already"},
		{"keys that others may read", append(good, "--keys", open), "0600"},
		{"keys that are no keys", append(good, "--keys", in("card")), "line 1"},
		{"not all masters", append(good, "--keys", some), "MKL of version 1"},
		{"another version", append(good, "--key-version", "2"), "no master"},
		{"no version", append(good, "--key-version", "256"), "0 to 255"},
		{"no card", append(good, "--card", "c1"), "16 upper-case"},
		{"no holder", append(good, "--holder", "x"), "16 upper-case"},
		{"no such currency", append(good, "--currency", "JPY"), "USD, EUR, GBP or CHF"},
		{"no such unit", append(good, "--exponent", "3"), "want -6 to 0"},
		{"too much", append(good, "--max-balance", "200.01"), "a card holds at most 200.00 USD"},
		{"more at once than it holds", append(good, "--max-balance", "20", "--max-payment", "21"), "at most 20.00 USD at once"},
		{"nothing", append(good, "--max-balance", "0"), "--max-balance: "},
		{"a PIN that nobody may see", append(good, "--holder", testHolder), "--pin-out"},
		{"a PIN of nobody", append(good, "--pin-out", in("pin2")), "white card has no PIN"},
		{"a PIN over a file", append(good, "--holder", testHolder, "--pin-out", in("pin")), "exists already"},
		{"no merchant", []string{"personalise", "sam", "--out", in("new"), "--keys", in("masters"), "--currency", "USD", "--merchant", "9"}, "16 upper-case"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := call(t, c.arguments...)
			if got.code == 0 || got.stdout != "" || !strings.Contains(got.stderr, c.want) {
				t.Errorf("got %+v, want %q on stderr", got, c.want)
			}
			if _, err := os.Stat(in("new")); err == nil {
				t.Error("a file was made")
			}
			if _, err := os.Stat(in("pin2")); err == nil {
				t.Error("a PIN was written")
			}
		})
	}
}

// A PIN is shown on the terminal when the card is made, and typed there without
// being shown.
func TestPINOnTheTerminal(t *testing.T) {
	folder, _ := personalise(t)
	path := filepath.Join(folder, "third")
	made := onScreen(t, "", "personalise", "card", "--out", path, "--keys", filepath.Join(folder, "masters"),
		"--card", "C100000000000003", "--holder", testHolder, "--currency", "USD", "--json")
	match := regexp.MustCompile(`The PIN is ([0-9]{4})\.`).FindStringSubmatch(made.stderr)
	if made.code != 0 || match == nil {
		t.Fatalf("got %+v, want the PIN on the terminal", made)
	}
	pin := match[1]
	if strings.Contains(made.stdout, `"`+pin) {
		t.Error("the PIN stands on stdout")
	}
	wrong := "0000"
	if pin == wrong {
		wrong = "1111"
	}
	failed := onScreen(t, wrong, "card", "show", "--log", "--card-file", path)
	if failed.code != 1 || !strings.Contains(failed.stderr, "2 tries are left") || strings.Contains(failed.stderr, ": "+wrong) {
		t.Errorf("a wrong PIN: got %+v", failed)
	}
	shown := onScreen(t, pin, "card", "show", "--log", "--card-file", path)
	if shown.code != 0 || !strings.Contains(shown.stdout, "3 tries are left") || strings.Contains(shown.stderr+shown.stdout, ": "+pin) {
		t.Errorf("the right PIN: got %+v", shown)
	}
}

// Three wrong PINs block the PIN, and from then on nobody is asked for it.
func TestPINIsBlocked(t *testing.T) {
	folder, pin := personalise(t)
	path, wrongFile := filepath.Join(folder, "card"), filepath.Join(folder, "wrong")
	wrong := "0000"
	if pin == wrong {
		wrong = "1111"
	}
	if err := os.WriteFile(wrongFile, []byte(wrong+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 tries are left", "1 try is left", "a new one"} {
		if got := call(t, "card", "show", "--card-file", path, "--pin-file", wrongFile); got.code != 1 || !strings.Contains(got.stderr, want) {
			t.Errorf("got %+v, want %q", got, want)
		}
	}
	got := call(t, "card", "show", "--card-file", path, "--pin-file", filepath.Join(folder, "pin"))
	if got.code != 1 || !strings.Contains(got.stderr, "the issuer has to set a new one") {
		t.Errorf("the right PIN, after that: got %+v", got)
	}
	if got := call(t, "card", "show", "--card-file", path); got.code != 0 || !strings.Contains(got.stdout, "PIN      blocked") {
		t.Errorf("the balance, after that: got %+v", got)
	}
}
