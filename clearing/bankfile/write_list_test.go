package bankfile_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/money"
)

func listed(party string) bankfile.Payment {
	return bankfile.Payment{EndToEndID: endToEnd(1), RunID: "run-2026-11-26-1", PeriodEnd: "2026-11-26", Kind: "vendor", Party: party,
		Currency: "EUR-micro", Amount: 12*money.Unit + 5, Fee: cent, Destination: "ref:customer-7"}
}

func TestListIsWhatItWas(t *testing.T) {
	var out bytes.Buffer
	if err := bankfile.WriteList(&out, []bankfile.Payment{listed("https://news.example"), listed(`=1+1;"x"`)}); err != nil {
		t.Fatal(err)
	}
	golden(t, "list.csv", out.Bytes())
}

func TestFailuresToWriteAListAreTold(t *testing.T) {
	f := full(200)
	if err := bankfile.WriteList(&f, []bankfile.Payment{listed("a"), listed("b")}); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

func FuzzList(f *testing.F) {
	for _, seed := range append([]string{"=1", "+1", "-1", "@a", "\t=1", " =1", "\uff1d1", "\ufeff=1", "a\n=1", `";=1;"`, "'=1", "\u00a0-2"}, hostileTexts...) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		if err := bankfile.WriteList(&out, []bankfile.Payment{listed(text)}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(bytes.NewReader(out.Bytes())).ReadAll()
		if err != nil || len(rows) != 2 || bytes.Count(out.Bytes(), []byte("\n")) != 2 || bytes.Count(out.Bytes(), []byte("\r\n")) != 2 {
			t.Fatalf("%d rows of %q: %v", len(rows), out.Bytes(), err)
		}
		cell := rows[1][4]
		if strings.HasPrefix(cell, "=") || strings.HasPrefix(strings.TrimSpace(cell), "+") || strings.HasPrefix(cell, "-") || strings.HasPrefix(cell, "@") || strings.HasPrefix(cell, "\t") {
			t.Errorf("%q becomes %q", text, cell)
		}
		if rows[1][6] != "12.000005" || rows[1][0] != endToEnd(1) {
			t.Errorf("row %q", rows[1])
		}
	})
}
