package statement_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/statement"
)

// What docs/statements.md computes by hand is what comes out, and it lists every
// word.
func TestDocumentation(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "statements.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := newBook(t, honest()...)
	text.others, text.after = 0, 0
	lines := strings.SplitAfter(text.text(t), "\n")
	leaf := sha256.Sum256([]byte(strings.Join(lines[:4], "")))
	root := sha256.Sum256(append([]byte{0}, leaf[:]...))
	var entry statement.Entry
	var proof statement.Proof
	if err := json.Unmarshal([]byte(lines[1]), &entry); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(lines[4]), &proof); err != nil {
		t.Fatal(err)
	}
	day, _, err := statement.ParseDay(proof.Day, nil)
	if err != nil || day.Root != encode(root[:]) {
		t.Fatalf("got root %s (%v), want %x", day.Root, err, root)
	}
	m, err := payword.UnverifiedCommitment(entry.Token)
	if err != nil {
		t.Fatal(err)
	}
	token := sha256.Sum256([]byte(entry.Token))
	want := []string{
		hex.EncodeToString(leaf[:]), hex.EncodeToString(root[:]), day.Root, hex.EncodeToString(m.Chains[0].Root[:]),
		encode(m.Chains[0].Root[:]), hex.EncodeToString(token[:]),
	}
	for _, word := range []statement.Word{
		statement.MalformedStatement, statement.IncompleteFile, statement.WrongIssuer, statement.WrongCommitment, statement.WrongOrder,
		statement.WrongTails, statement.WrongClaim, statement.UnknownVendorKey, statement.WrongSum, statement.WrongFee, statement.WrongTotal,
		statement.WrongProof, statement.UnsignedDay, statement.UnknownDayKey, statement.BadDay,
	} {
		want = append(want, "\n| `"+string(word)+"` |")
	}
	for _, part := range want {
		if !strings.Contains(string(document), part) {
			t.Errorf("docs/statements.md does not have %q", part)
		}
	}
}
