package clearing_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/money"
)

// What an operator types of the bank's answers.
func TestCommandsOfAnswers(t *testing.T) {
	d := newDesk(t)
	first, second := d.payVendor(10*money.Unit, money.Unit), d.payVendor(20*money.Unit, 0)
	account := d.account(0)
	path := filepath.Join(t.TempDir(), "camt.053.xml")
	stranger := order{endToEnd: "SOMEBODY", kind: "collection", amount: 7 * money.Unit}
	file := d.write(bankfile.KindStatement, said{order: first, says: bankfile.Booked}, said{order: stranger, says: bankfile.Booked})
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words  string
		code   int
		prints string
	}{
		{"import --file " + path, 0, path + ": camt.053 MESSAGE-1: 2 entries, 1 matched, 0 repeated, 1 unmatched"},
		{"import --file " + path, 0, "was read before: nothing is changed"},
		{"import --file " + path + ".gone", 2, "no such file"},
		{"import", 2, "--file is missing"},
		{"rejected --run " + deskRun + " --code AC04", 0, "1 entries, 1 matched"},
		{"rejected --run " + deskRun, 0, "nothing is open"},
		{"booked", 2, "name a run, or an instruction"},
		{"returned --instruction " + first.endToEnd + " --code AC01 --note phone", 0, "1 matched"},
		{"returned --run " + deskRun, 2, "a whole run does not come back"},
		{"reconcile", 0, "SOMEBODY -- no instruction has this end-to-end id"},
		{"resolve --entry 2 --note known", 0, "resolved: known"},
		{"resolve --entry 2 --note known", 1, "not unmatched"},
		{"resolve --entry 2", 2, "--note is missing"},
		{"resolve --note known", 2, "--entry is missing"},
		{"mandate-add --mandate M1 --account " + account + " --name Ada --signed 2026-11-01 --iban de89370400440532013000", 0, "mandate M1 is active"},
		{"mandate-add --mandate M1 --account " + account + " --name Ada --signed 2026-11-01 --iban DE00", 2, "IBAN"},
		{"mandates", 0, "M1  active  core  account " + account},
		{"mandate-withdraw --mandate M1", 0, "mandate M1 is withdrawn"},
		{"mandate-withdraw", 2, "--mandate is missing"},
	} {
		code, stdout, stderr := command(t, append(strings.Fields(c.words), "--db", d.location)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.prints) {
			t.Errorf("%s: got exit code %d, want %d, and no %q in\n%s%s", c.words, code, c.code, c.prints, stdout, stderr)
		}
	}
	d.wantState(first, "returned", "AC01")
	d.wantState(second, "rejected", "AC04")
	for _, word := range []string{"reconcile", "mandates"} {
		code, stdout, stderr := command(t, word, "--json", "--db", d.location)
		if code != 0 || !json.Valid([]byte(stdout)) {
			t.Errorf("%s: got exit code %d, %s%s", word, code, stdout, stderr)
		}
	}
	var got struct{ Files []clearing.ImportReport }
	_, stdout, _ := command(t, "import", "--json", "--db", d.location, "--file", path)
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || len(got.Files) != 1 || !got.Files[0].Known {
		t.Errorf("got %s, %v", stdout, err)
	}
	d.settled()
}
