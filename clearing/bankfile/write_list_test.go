package bankfile_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing/bankfile"
)

func TestRowIsWhatItWas(t *testing.T) {
	var out bytes.Buffer
	for _, row := range [][]string{{"party", "amount"}, {"https://news.example", "12.000005"}, {`=1+1;"x"`, ""}, {}} {
		if err := bankfile.WriteRow(&out, row...); err != nil {
			t.Fatal(err)
		}
	}
	const want = "\"party\",\"amount\"\r\n\"https://news.example\",\"12.000005\"\r\n\"'=1+1;\"\"x\"\"\",\"\"\r\n\r\n"
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCellsAreNoFormulas(t *testing.T) {
	for cell, want := range map[string]string{
		"": "", "a": "a", "1.50": "1.50", "'a": "'a", "a=1": "a=1", " a": " a", "\uff41": "\uff41",
		"=1": "'=1", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\t=1": "' =1", "\r=1": "' =1", "\na": " a",
		" =1": "' =1", "\u00a0+1": "'\u00a0+1", "\uff1d1": "'\uff1d1", "\uff0b1": "'\uff0b1", "\uff0d1": "'\uff0d1", "\uff20a": "'\uff20a",
	} {
		var out bytes.Buffer
		if err := bankfile.WriteRow(&out, cell); err != nil || out.String() != `"`+want+"\"\r\n" {
			t.Errorf("cell %q: got %q, %v; want %q", cell, out.String(), err, want)
		}
	}
}

func TestFailuresToWriteARowAreTold(t *testing.T) {
	f := full(3)
	if err := bankfile.WriteRow(&f, "a", "b"); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

func FuzzRow(f *testing.F) {
	for _, seed := range append([]string{"=1", "+1", "-1", "@a", "\t=1", " =1", "\uff1d1", "\ufeff=1", "a\n=1", `";=1;"`, "'=1", "\u00a0-2", "\u2028=1"}, hostileTexts...) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		if err := bankfile.WriteRow(&out, "before", text, "after"); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(bytes.NewReader(out.Bytes())).ReadAll()
		if err != nil || len(rows) != 1 || bytes.Count(out.Bytes(), []byte("\n")) != 1 || len(rows[0]) != 3 || rows[0][0] != "before" || rows[0][2] != "after" {
			t.Fatalf("%q: %q of %q: %v", text, rows, out.Bytes(), err)
		}
		cell := rows[0][1]
		if first := strings.TrimSpace(cell); strings.ContainsAny(cell, "\r\n\t\x00") || first != "" && strings.ContainsRune("=+-@\uff1d\uff0b\uff0d\uff20", []rune(first)[0]) {
			t.Errorf("%q becomes %q", text, cell)
		}
	})
}
