package samgateway_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// configured calls a command with a file of settings.
func configured(t *testing.T, content string, arguments ...string) said {
	t.Helper()
	if slices.Contains(arguments, "--config") {
		return call(t, arguments...)
	}
	path := filepath.Join(t.TempDir(), "gateway.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return call(t, append(arguments, "--config", path)...)
}

func TestWrongSettings(t *testing.T) {
	cases := []struct {
		name, content string
		arguments     string
		want          string
	}{
		{"no JSON at all", "samFile=till.sam", "status", "want a JSON object such as"},
		{"a list", "[]", "status", "want a JSON object such as"},
		{"a broken object", "{\"journal\": \"a\",\n\n\"samFile\": tru}", "status", "line 3 is no JSON"},
		{"an object without its end", `{"journal": "a"`, "status", "no JSON"},
		{"two objects", `{} {}`, "status", "something after"},
		{"a member twice", `{"journal": "a", "journal": "b"}`, "status", `"journal" is there twice`},
		{"an unknown member", `{"jurnal": "a"}`, "status", "did you mean journal?"},
		{"a number that is a text", `{"exponent": "-2"}`, "status", `"exponent": want a whole number`},
		{"a text that is a number", `{"journal": 1}`, "status", `"journal": want a text`},
		{"a fraction", `{"exponent": -2.5}`, "status", `"exponent": want a whole number`},
		{"null", `{"journal": null}`, "status", `"journal": want a text`},
		{"a wrong member that a flag outdoes", `{"journal": 1}`, "status --journal a", `"journal": want a text`},
		{"far too much", `{"journal": "` + strings.Repeat("a", 64<<10) + `"}`, "status", "more than 65536 bytes"},
		{"a wrong origin", `{"clearing": "http://clearing.example"}`, "status", "--clearing: origin"},
		{"a wrong origin by flag", `{}`, "status --broker broker.example", "--broker: origin"},
		{"a wrong currency", `{"currency": "JPY"}`, "status", "a card holds USD"},
		{"a wrong exponent", `{"exponent": 3}`, "status", "--exponent 3: want -6 to 0"},
		{"a wrong load terminal", `{"loadTerminal": "4c"}`, "load 5.00", "--load-terminal: id"},
		{"a card in two places", `{"cardFile": "a", "cardReader": "b"}`, "pay 5.00", "--card-reader and --card-file"},
		{"a SAM in two places", `{}`, "status --sam-reader b --sam-file a", "--sam-reader and --sam-file"},
		{"a card and a SAM in one place", `{"cardFile": "a", "samFile": "a"}`, "pay 5.00", "each in a place of its own"},
		{"a card and a SAM in one reader", `{"cardReader": "b", "samReader": "b"}`, "pay 5.00", "each in a place of its own"},
		{"no currency", `{"samFile": "a", "journal": "b"}`, "status", "--currency is missing"},
		{"no journal", `{"samFile": "a", "currency": "USD"}`, "status", "--journal is missing"},
		{"no SAM", `{"journal": "a", "currency": "USD"}`, "status", "--sam-reader is missing"},
		{"no clearing", `{"samFile": "a", "journal": "b", "currency": "USD"}`, "turnin", "--clearing is missing"},
		{"no broker", `{"clearing": "https://clearing.example"}`, "fund abc 5.00", "--broker is missing"},
		{"no key", `{"clearing": "https://clearing.example", "journal": "b", "currency": "USD"}`, "turnin", "--key is missing"},
		{"no load terminal", `{"clearing": "https://clearing.example"}`, "load 5.00", "--load-terminal is missing"},
		{"no amount", `{}`, "pay", "AMOUNT is missing: want samgateway pay AMOUNT"},
		{"no account", `{}`, "fund", "ACCOUNT is missing"},
		{"too many words", `{}`, "pay 5.00 USD", `"USD" is too much`},
		{"an amount with a comma", `{"currency": "EUR"}`, "pay 5,00", "a number above 0 such as 5.00"},
		{"nothing", `{"currency": "EUR"}`, "pay 0", "a number above 0"},
		{"half a cent", `{"currency": "EUR"}`, "pay 0.005", "0.005: the cards count in 0.01 EUR"},
		{"far too much money", `{"currency": "EUR"}`, "pay 100000000", "the cards count in 0.01 EUR"},
		{"no number", `{}`, "void last", "the number of a transaction"},
		{"no file", `{}`, "status --config /nowhere/gateway.json", "/nowhere/gateway.json"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := configured(t, c.content, strings.Fields(c.arguments)...)
			if got.code != 2 || got.stdout != "" || !strings.Contains(got.stderr, c.want) {
				t.Errorf("got %+v, want exit code 2 and %q", got, c.want)
			}
		})
	}
}

// A reader by a flag takes the place of the file that the settings name.
func TestFlagOutdoesSettings(t *testing.T) {
	got := configured(t, `{"samFile": "/nowhere/till.sam", "journal": "b", "currency": "USD"}`, "status", "--sam-reader", "REINER")
	if got.code != 1 || !strings.Contains(got.stderr, "-tags pcsc") {
		t.Errorf("got %+v", got)
	}
}

// Without PC/SC it is said what is missing.
func TestNoReaders(t *testing.T) {
	got := call(t, "status", "--sam-reader", "REINER", "--journal", filepath.Join(t.TempDir(), "j"), "--currency", "USD")
	if got.code != 1 || !strings.Contains(got.stderr, "-tags pcsc") {
		t.Errorf("got %+v", got)
	}
}

// Whatever a file of settings says, it is taken or refused with a sentence.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{`{}`, `{"journal": "a", "exponent": -2, "behindTLS": true}`, `{"journal": null}`, `[]`, `{"a": {"b": [1]}}`, "{\"\x00\": 1}", `{"journal": "a"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "gateway.json")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		got := call(t, "status", "--config", path)
		if got.code == 0 || got.stdout != "" || !strings.HasPrefix(got.stderr, "samgateway status: ") {
			t.Errorf("got %+v", got)
		}
	})
}
