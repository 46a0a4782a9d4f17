package fee_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing/fee"
	"github.com/paywordhq/payword/money"
)

const standardText = `{"version":"0.3pct-min-0.01/2","basis":"vendor-run","tiers":[{"fromMicros":"0","ratePpm":3000}],` +
	`"minimumMicros":"10000","rounding":"micro"}`

func TestCanonicalText(t *testing.T) {
	if got := fee.Standard().String(); got != standardText {
		t.Errorf("the standard rule: got\n%s\nwant\n%s", got, standardText)
	}
	for _, s := range []fee.Schedule{fee.Standard(), fee.Purse(), graded()} {
		got, err := fee.Parse([]byte(s.String()))
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s: read as %+v, %v; want %+v", s, got, err, s)
		}
	}
	if _, err := json.Marshal(fee.Schedule{}); err == nil {
		t.Error("a rule that says nothing was written")
	}
}

func TestParseTakesAnyOrder(t *testing.T) {
	text := `
	{ "rounding": "micro", "minimumMicros": "10000", "basis": "vendor-run", "version": "0.3pct-min-0.01/2",
	  "tiers": [ { "ratePpm": 3000, "fromMicros": "0" } ] }
	`
	var document struct{ Fee fee.Schedule }
	if err := json.Unmarshal([]byte(`{"Fee":`+text+`}`), &document); err != nil || document.Fee.String() != standardText {
		t.Errorf("got %s, %v; want %s", document.Fee, err, standardText)
	}
	if err := json.Unmarshal([]byte(`{"Fee":{}}`), &document); err == nil || document.Fee.String() != standardText {
		t.Errorf("a rule without members: got %s, %v; want an error and nothing changed", document.Fee, err)
	}
}

func TestParseRefuses(t *testing.T) {
	with := func(old, changed string) string {
		text := strings.Replace(standardText, old, changed, 1)
		if text == standardText {
			t.Fatalf("the rule has no %s", old)
		}
		return text
	}
	tiers := func(text string) string {
		return with(`[{"fromMicros":"0","ratePpm":3000}]`, text)
	}
	cases := []struct{ name, text, want string }{
		{"nothing", ``, "a whole rule is {"},
		{"no object", `[]`, "a whole rule is {"},
		{"null", `null`, "version is missing"},
		{"two objects", standardText + standardText, "a whole rule is {"},
		{"too long", standardText + strings.Repeat(" ", 1<<14), "want at most 16384"},
		{"no version", with(`"version":"0.3pct-min-0.01/2",`, ``), "version is missing"},
		{"no basis", with(`"basis":"vendor-run",`, ``), "basis is missing"},
		{"no minimum", with(`"minimumMicros":"10000",`, ``), "minimumMicros is missing"},
		{"no rounding", with(`,"rounding":"micro"`, ``), "rounding is missing"},
		{"no tiers", with(`"tiers":[{"fromMicros":"0","ratePpm":3000}],`, ``), "tiers is missing"},
		{"tiers are null", tiers(`null`), "tiers is missing"},
		{"empty tiers", tiers(`[]`), "0 tiers: want 1 to 32"},
		{"a tier of null", tiers(`[null]`), "tier 1: fromMicros is missing"},
		{"a member that there is not", with(`"basis"`, `"note":"","basis"`), `there is no member "note"`},
		{"a member in capitals", with(`"basis"`, `"Basis":"vendor-run","basis"`), `there is no member "Basis"`},
		{"a member twice", with(`"basis"`, `"basis":"vendor-run","basis"`), "duplicate key 'basis'"},
		{"a tier's member twice", with(`"ratePpm"`, `"ratePpm":1,"ratePpm"`), "duplicate key 'ratePpm'"},
		{"a tier's member that there is not", with(`"ratePpm"`, `"rate":1,"ratePpm"`), `tier 1: there is no member "rate"`},
		{"a rate that is missing", with(`,"ratePpm":3000`, ``), "tier 1: ratePpm is missing"},
		{"a rate of null", with(`3000`, `null`), "tier 1: ratePpm is missing"},
		{"a rate with a point", with(`3000`, `0.3`), "tier 1: ratePpm: json: cannot unmarshal number 0.3"},
		{"a rate in letters", with(`3000`, `"3000"`), "tier 1: ratePpm: json: cannot unmarshal string"},
		{"a negative rate", with(`3000`, `-1`), "ratePpm -1: want 0 to 1000000"},
		{"more than all", with(`3000`, `1000001`), "ratePpm 1000001: want 0 to 1000000"},
		{"a number where digits are wanted", with(`"10000"`, `10000`), "minimumMicros"},
		{"a negative minimum", with(`"10000"`, `"-1"`), "minimumMicros: amount \"-1\": want digits only"},
		{"a minimum too large", with(`"10000"`, `"1000000000000000"`), "want 1 to 15 digits"},
		{"another basis", with(`vendor-run`, `page`), `basis "page": want vendor-run or purse-transaction`},
		{"another rounding", with(`"micro"`, `"up"`), `rounding "up": want micro or minor-unit`},
		{"no version at all", with(`0.3pct-min-0.01/2`, ``), `version "": want 1 to 64 letters`},
		{"a version of words", with(`0.3pct-min-0.01/2`, `3 percent`), `version "3 percent": want 1 to 64 letters`},
		{"a version that a spreadsheet computes", with(`0.3pct-min-0.01/2`, `+1`), `version "+1"`},
		{"a long version", with(`0.3pct-min-0.01/2`, strings.Repeat("v", 65)), "want 1 to 64 letters"},
		{"a first tier above 0", tiers(`[{"fromMicros":"1","ratePpm":3000}]`), "tier 1 is from 1: want 0"},
		{"tiers that do not rise", tiers(`[{"fromMicros":"0","ratePpm":3},{"fromMicros":"0","ratePpm":2}]`), "tier 2 is from 0, and tier 1 from 0"},
		{"too many tiers", tiers(manyTiers(fee.MaxTiers + 1)), "33 tiers: want 1 to 32"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := fee.Parse([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || !reflect.DeepEqual(got, fee.Schedule{}) {
				t.Errorf("%.300s\ngot %s, %v\nwant %s", c.text, got, err, c.want)
			}
		})
	}
	if _, err := fee.Parse([]byte(tiers(manyTiers(fee.MaxTiers)))); err != nil {
		t.Errorf("%d tiers: %v", fee.MaxTiers, err)
	}
}

func manyTiers(count int) string {
	var text []string
	for i := range count {
		text = append(text, fmt.Sprintf(`{"fromMicros":"%d","ratePpm":1}`, i))
	}
	return "[" + strings.Join(text, ",") + "]"
}

// What no JSON can say, Check refuses.
func TestCheckRefuses(t *testing.T) {
	large := graded()
	large.Tiers[2].From = money.MaxAmount + 1
	low, high := fee.Standard(), fee.Standard()
	low.Minimum, high.Minimum = -1, money.MaxAmount+1
	for name, s := range map[string]fee.Schedule{"a tier too far": large, "minimum below 0": low, "minimum too large": high} {
		if err := s.Check(); err == nil {
			t.Errorf("%s: %s is taken", name, s)
		}
	}
}

// FuzzParse: what is accepted is a rule, and its canonical text is read as the
// same one.
func FuzzParse(f *testing.F) {
	for _, s := range []fee.Schedule{fee.Standard(), fee.Purse(), graded()} {
		f.Add([]byte(s.String()))
	}
	for _, text := range []string{``, `{}`, `{"version":null}`, standardText + " ", standardText + "{",
		`{"Version":"a"}`, strings.Replace(standardText, `3000`, `-0`, 1), strings.Replace(standardText, `3000`, `1e3`, 1)} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := fee.Parse(text)
		if err != nil {
			if !reflect.DeepEqual(s, fee.Schedule{}) {
				t.Errorf("%s: an error and %s", text, s)
			}
			return
		}
		again, err := fee.Parse([]byte(s.String()))
		if err != nil || !reflect.DeepEqual(again, s) || again.String() != s.String() {
			t.Errorf("%s is read as %s, and that as %s, %v", text, s, again, err)
		}
		if written, err := json.Marshal(s); err != nil || string(written) != s.String() {
			t.Errorf("%s is written as %s, %v", s, written, err)
		}
		got, err := s.Fee(money.MaxAmount, usd)
		if err != nil || got < 0 || got > money.MaxAmount+10_000 {
			t.Errorf("%s: fee on the largest amount: %s, %v", s, got, err)
		}
	})
}
