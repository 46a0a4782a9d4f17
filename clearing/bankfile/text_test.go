package bankfile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing/bankfile"
)

func TestLatin(t *testing.T) {
	for text, want := range map[string]string{
		"Bröker & Söhne":         "Broeker + Soehne",
		"ÄÖÜ ß ÆŒØÅ":             "AeOeUe ss AeOeOA",
		"Łódź, Čapek, Ñuñez, ç":  "Lodz, Capek, Nunez, c",
		"u\u0308ber":             "ueber", // u and a mark
		"Журнал Щука":            "Zhurnal Shtuka",
		"Ελλάς Ψυχή":             "Ellas Psychi",
		"Ｆｕｌｌ ﬁn Ⅷ":              "Full fin VIII",
		"a@b_c":                  "a(at)b-c",
		"“Tim’s” — <b>":          "'Tim's' - (b)",
		"a\r\n\t  b":             "a b",
		"a\u202eb\u200bc":        "abc", // turns direction, has no width
		"x\U0001f600\U0001f600y": "x.y",
		"\u5f20\u4e09 GmbH":      ". GmbH",
		"\u5f20\u4e09":           "NOTPROVIDED",
		"":                       "NOTPROVIDED",
		" \x00 ":                 "NOTPROVIDED",
		"...":                    "NOTPROVIDED",
		"\xff":                   "NOTPROVIDED",
		strings.Repeat("ü", 80):  strings.Repeat("ue", 35),
		strings.Repeat("a ", 80): strings.TrimSpace(strings.Repeat("a ", 35)),
	} {
		if got := bankfile.Latin(text, 70); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func FuzzLatin(f *testing.F) {
	for _, seed := range hostileTexts {
		f.Add(seed, uint8(70))
	}
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		longest := int(n)%140 + 1
		got := bankfile.Latin(text, longest)
		if got == "" || len(got) > longest || strings.ContainsFunc(got, func(c rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-?:().,'+ ", c)
		}) {
			t.Errorf("%q becomes %q", text, got)
		}
		if again := bankfile.Latin(got, longest); again != got {
			t.Errorf("%q becomes %q and then %q", text, got, again)
		}
	})
}

// The days on which TARGET is closed are those that the European Central Bank
// published for the years.
func TestBusinessDay(t *testing.T) {
	for _, c := range []struct {
		after string
		n     int
		want  string
	}{
		{"2026-11-26", 1, "2026-11-27"}, {"2026-11-26", 2, "2026-11-30"}, {"2026-11-27", 1, "2026-11-30"}, {"2026-11-28", 1, "2026-11-30"},
		{"2026-12-24", 1, "2026-12-28"}, {"2026-12-31", 1, "2027-01-04"}, {"2026-04-02", 1, "2026-04-07"}, {"2027-03-25", 1, "2027-03-30"},
		{"2026-04-30", 1, "2026-05-04"}, {"2027-04-30", 1, "2027-05-03"}, {"2025-04-17", 1, "2025-04-22"}, {"2024-03-28", 2, "2024-04-03"},
		{"2027-12-24", 1, "2027-12-27"},
	} {
		after, err := time.Parse(time.DateOnly, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := bankfile.BusinessDay(after.Add(23*time.Hour), c.n).Format(time.DateOnly); got != c.want {
			t.Errorf("%d after %s is %s, want %s", c.n, c.after, got, c.want)
		}
	}
}
