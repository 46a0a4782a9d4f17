package kiosk_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/kiosk"
)

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// TestLanguagesSayTheSame compares the languages: the same keys, and in each text
// the same placeholders.
func TestLanguagesSayTheSame(t *testing.T) {
	all := kiosk.Languages()
	english := all["en"]
	if len(all) != 3 || len(english) < 100 {
		t.Fatalf("got %d languages, %d texts in English", len(all), len(english))
	}
	for tag, texts := range all {
		for key, text := range texts {
			original, known := english[key]
			if !known {
				t.Errorf("%s has %q, which English has not", tag, key)
			}
			got, want := placeholder.FindAllString(text, -1), placeholder.FindAllString(original, -1)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q has the placeholders %v, in English %v", tag, key, got, want)
			}
			if strings.TrimSpace(text) == "" || strings.Contains(text, "'") || strings.HasPrefix(text, " ") {
				t.Errorf("%s: %q is %q: want a text with typographic apostrophes", tag, key, text)
			}
		}
		for key := range english {
			if _, known := texts[key]; !known {
				t.Errorf("%s lacks %q", tag, key)
			}
		}
	}
}

// TestTextsAreUsed finds texts that nobody asks for. Those of languages and
// reasons are asked for by a prefix.
func TestTextsAreUsed(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"*.go", "pages/*.html"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(name, "_test.go") {
				source.Write(text)
			}
		}
	}
	for key := range kiosk.Languages()["en"] {
		isUsed := strings.Contains(source.String(), `"`+key+`"`)
		for prefix := key; strings.Contains(prefix, ".") && !isUsed; {
			prefix = prefix[:strings.LastIndex(strings.TrimSuffix(prefix, "."), ".")+1]
			isUsed = prefix != "" && strings.Contains(source.String(), `"`+prefix+`"`)
			if prefix == "" {
				break
			}
		}
		if !isUsed {
			t.Errorf("nothing shows the text %q", key)
		}
	}
}

// TestReasonsHaveSentences looks for a sentence for each reason.
func TestReasonsHaveSentences(t *testing.T) {
	english := kiosk.Languages()["en"]
	for _, reason := range kiosk.Reasons() {
		if english["refused."+string(reason)] == "" {
			t.Errorf("no sentence for %s", reason)
		}
	}
	for key := range maps.Keys(english) {
		if reason, is := strings.CutPrefix(key, "refused."); is && reason != "heading" && !slices.Contains(kiosk.Reasons(), kiosk.Reason(reason)) {
			t.Errorf("a sentence for %s, which is no reason", reason)
		}
	}
}

// TestEachLanguageWritesAsItDoes looks at amounts and times on screens.
func TestEachLanguageWritesAsItDoes(t *testing.T) {
	dollar := purse.Unit{Currency: 0x0840, Exponent: -2}
	franc := purse.Unit{Currency: 0x0756, Exponent: -2}
	fine := purse.Unit{Currency: 0x0978, Exponent: -5}
	cases := []struct {
		unit       purse.Unit
		balance    uint32
		en, de, fr string
	}{
		{euro, 1234, "€12.34", "12,34 €", "12,34 €"},
		{euro, 0, "€0.00", "0,00 €", "0,00 €"},
		{euro, 123456789, "€1,234,567.89", "1.234.567,89 €", "1 234 567,89 €"},
		{dollar, 500, "$5.00", "5,00 $", "5,00 $"},
		{franc, 2050, "CHF 20.50", "20,50 CHF", "20,50 CHF"},
		{fine, 1234567, "€12.34567", "12,34567 €", "12,34567 €"},
		{fine, 1200000, "€12.00", "12,00 €", "12,00 €"},
	}
	for _, c := range cases {
		synctest.Test(t, func(t *testing.T) {
			b := openBooth(t)
			a := newCard()
			a.purse.Unit, a.purse.Balance = c.unit, c.balance
			a.payments = []kiosk.Payment{{Time: noon, Amount: 1, Unit: euro}}
			b.cards["A"] = a
			b.step("insert A")
			for _, tag := range []string{"en", "de", "fr"} {
				b.step("= menu")
				b.post("/sessions/"+b.last.Session+"/language", tag)
				amount := map[string]string{"en": c.en, "de": c.de, "fr": c.fr}[tag]
				b.step("~ : " + amount)
			}
			b.step("> payments")
			b.step("= pin")
			b.step("> pin 1111")
			for tag, when := range map[string]string{"en": "1 November 2026, 12:05<", "de": "1. November 2026, 12:05 Uhr<", "fr": "1er novembre 2026 à 12:05<"} {
				b.step("= payments")
				b.post("/sessions/"+b.last.Session+"/language", tag)
				b.step("~ " + when)
			}
		})
	}
}

// TestReadAmount reads what people type.
func TestReadAmount(t *testing.T) {
	cases := []struct {
		typed  string
		want   uint32
		notice string
	}{
		{"20", 2000, ""},
		{" 20 ", 2000, ""},
		{"20.50", 2050, ""},
		{"20,50", 2050, ""},
		{"20,5", 2050, ""},
		{"0,01", 1, ""},
		{"200", 20000, ""},
		{"200,01", 0, "amount.too-much"},
		{"99999999", 0, "amount.too-much"},
		{"0", 0, "amount.nothing"},
		{"0,00", 0, "amount.nothing"},
		{"", 0, "amount.wrong"},
		{"-5", 0, "amount.wrong"},
		{"1,000.00", 0, "amount.wrong"},
		{"20,505", 0, "amount.wrong"},
		{"20 €", 0, "amount.wrong"},
		{"2e1", 0, "amount.wrong"},
		{"99999999999999999", 0, "amount.wrong"},
	}
	for _, c := range cases {
		got, notice := kiosk.ReadAmount(c.typed, euro, 20000)
		if got != c.want || notice != c.notice {
			t.Errorf("%q: got %d %q, want %d %q", c.typed, got, notice, c.want, c.notice)
		}
	}
}

// TestReadAmountReadsWhatItMeans types amounts with either sign.
func TestReadAmountReadsWhatItMeans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.Uint32Range(1, 20000).Draw(t, "count")
		point := rapid.SampledFrom([]string{".", ","}).Draw(t, "point")
		typed := fmt.Sprintf("%d%s%02d", count/100, point, count%100)
		if got, notice := kiosk.ReadAmount(typed, euro, 20000); got != count || notice != "" {
			t.Fatalf("%q: got %d %q, want %d", typed, got, notice, count)
		}
	})
}

// FuzzReadAmount types anything.
func FuzzReadAmount(f *testing.F) {
	f.Add("20,50")
	f.Add("0")
	f.Fuzz(func(t *testing.T, typed string) {
		got, notice := kiosk.ReadAmount(typed, euro, 20000)
		if (got == 0) == (notice == "") || got > 20000 {
			t.Errorf("%q: got %d %q", typed, got, notice)
		}
	})
}

// TestChoices offers what is possible.
func TestChoices(t *testing.T) {
	whole := purse.Unit{Currency: 0x0978, Exponent: 0}
	cases := []struct {
		unit purse.Unit
		most uint32
		want []uint32
	}{
		{euro, 20000, []uint32{500, 1000, 2000, 5000, 10000, 20000}},
		{euro, 2000, []uint32{500, 1000, 2000}},
		{euro, 3, []uint32{3}},
		{whole, 12, []uint32{5, 10, 12}},
	}
	for _, c := range cases {
		if got := kiosk.Choices(c.unit, c.most); !slices.Equal(got, c.want) {
			t.Errorf("%d: got %d, want %d", c.most, got, c.want)
		}
	}
}
