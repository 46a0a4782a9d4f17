package samgateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// noReaders is a machine without PC/SC.
type noReaders struct{}

func (noReaders) List(context.Context) ([]smartcard.Reader, error) {
	return nil, smartcard.ErrNotBuilt
}

// said is what a command printed.
type said struct {
	code           int
	stdout, stderr string
}

// call is the command samgateway on a machine without readers and without a
// terminal.
func call(t *testing.T, arguments ...string) said {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := samgateway.Main(t.Context(), noReaders{}, arguments, strings.NewReader(""), &stdout, &stderr)
	return said{code, stdout.String(), stderr.String()}
}

func TestWrongWords(t *testing.T) {
	cases := []struct {
		name      string
		arguments []string
		want      string
	}{
		{"nothing", nil, "samgateway key"},
		{"no such command", []string{"kye"}, "did you mean key?"},
		{"something else altogether", []string{"frobnicate"}, "want one of serve"},
		{"no such flag", []string{"key", "--uot", "a"}, "did you mean --out?"},
		{"a flag without its value", []string{"key", "--out"}, "--out needs a value"},
		{"a word too many", []string{"key", "gateway.key"}, `"gateway.key" is not a flag`},
		{"neither flag", []string{"key"}, "want --out FILE"},
		{"a missing file", []string{"key", "--key", "/nowhere/gateway.key"}, "no such file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := call(t, c.arguments...)
			if got.code != 2 || got.stdout != "" || !strings.Contains(got.stderr, c.want) {
				t.Errorf("got %+v, want exit code 2 and %q on stderr", got, c.want)
			}
			if c.arguments == nil {
				return
			}
			var failure struct {
				Error    string `json:"error"`
				ExitCode int    `json:"exitCode"`
			}
			got = call(t, append([]string{c.arguments[0], "--json"}, c.arguments[1:]...)...)
			if err := json.Unmarshal([]byte(got.stdout), &failure); err != nil || failure.ExitCode != got.code || !strings.Contains(got.stderr, failure.Error) {
				t.Errorf("got %+v with --json (%v), want its sentence in one document", got, err)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, arguments := range [][]string{{"help"}, {"-h"}, {"key", "-h"}, {"key", "--help"}} {
		got := call(t, arguments...)
		if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "make the key") {
			t.Errorf("samgateway %s: got %+v, want help on stdout", strings.Join(arguments, " "), got)
		}
	}
}

func TestKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.key")
	made := call(t, "key", "--out", path, "--json")
	shown := call(t, "key", "--json", "--key", path)
	if made.code != 0 || shown.code != 0 || made.stdout != shown.stdout || !strings.Contains(shown.stdout, `"kty": "OKP"`) {
		t.Errorf("got %+v when it was made, and %+v when it was shown", made, shown)
	}
	if again := call(t, "key", "--out", path); again.code != 2 || !strings.Contains(again.stderr, "never overwritten") {
		t.Errorf("got %+v for a key that is there", again)
	}
}

// Of a command of two words, the first alone says which there are.
func TestHelpOfTwoWords(t *testing.T) {
	if got := call(t, "personalise"); got.code != 2 || !strings.Contains(got.stderr, "personalise card") || strings.Contains(got.stderr, "turnin") {
		t.Errorf("got %+v", got)
	}
	if got := call(t, "personalise", "-h"); got.code != 0 || !strings.Contains(got.stdout, "personalise card") || strings.Contains(got.stdout, "turnin") {
		t.Errorf("with -h: got %+v", got)
	}
	if got := call(t, "personalise", "crad"); got.code != 2 || !strings.Contains(got.stderr, "did you mean personalise card?") {
		t.Errorf("with another word: got %+v", got)
	}
}
