package statement_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/statement"
)

// vectorDirectory holds what the page in the browser reads, too.
var vectorDirectory = filepath.Join("..", "..", "testdata", "vectors", "statements")

var writeVectors = flag.Bool("write-vectors", false, "write the vectors again")

// vector is one file.
type vector struct {
	Name    string        `json:"name"`
	Area    string        `json:"area"`
	Comment string        `json:"comment"`
	Expect  string        `json:"expect"`
	Input   vectorInput   `json:"input"`
	Output  *vectorOutput `json:"output,omitempty"`
}

type vectorInput struct {
	Statement  string          `json:"statement"`
	Issuer     string          `json:"issuer"`
	Keys       json.RawMessage `json:"keys"`
	DayKeys    json.RawMessage `json:"dayKeys,omitempty"`
	VendorKeys json.RawMessage `json:"vendorKeys,omitempty"`
}

type vectorOutput struct {
	Paid       statement.Total `json:"paid"`
	Cumulative statement.Total `json:"cumulative"`
	Hashes     int64           `json:"hashes"`
	Leaf       string          `json:"leaf"`
	Unchecked  int64           `json:"uncheckedClaims"`
}

func jwks(t testing.TB, keys map[string]ed25519.PublicKey) json.RawMessage {
	t.Helper()
	if keys == nil {
		return nil
	}
	var list []ed25519.PublicKey
	for _, key := range keys {
		list = append(list, key)
	}
	document, err := payword.FormatJWKS(list...)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// vectors makes what the files hold.
func vectors(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, c := range tamperings {
		o := c.optionsOf()
		v := vector{Name: c.name, Area: "statements", Comment: c.comment, Expect: c.expect, Input: vectorInput{
			Statement: c.text(t), Issuer: o.Issuer, Keys: jwks(t, o.Keys), DayKeys: jwks(t, o.DayKeys), VendorKeys: jwks(t, o.VendorKeys),
		}}
		if c.expect == "accepted" {
			_, report, _ := check(v.Input.Statement, o)
			v.Output = &vectorOutput{report.Paid, report.Cumulative, report.Hashes, report.Leaf, report.UncheckedClaims}
		}
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(v); err != nil {
			t.Fatal(err)
		}
		files[c.name+".json"] = text.Bytes()
	}
	return files
}

// The files are what the cases make, and no others; with -write-vectors they
// become so.
func TestVectorsAreFresh(t *testing.T) {
	want := vectors(t)
	if *writeVectors {
		if err := os.MkdirAll(vectorDirectory, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, content := range want {
			if err := os.WriteFile(filepath.Join(vectorDirectory, name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	present, err := os.ReadDir(vectorDirectory)
	if err != nil {
		t.Fatalf("%v: run make vectors", err)
	}
	for _, entry := range present {
		if want[entry.Name()] == nil {
			if *writeVectors {
				err = os.Remove(filepath.Join(vectorDirectory, entry.Name()))
			}
			if err != nil || !*writeVectors {
				t.Errorf("%s belongs to no case (%v): run make vectors", entry.Name(), err)
			}
		}
	}
	for name, content := range want {
		if got, err := os.ReadFile(filepath.Join(vectorDirectory, name)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s is not what its case makes (%v): run make vectors", name, err)
		}
	}
}
