package caddymodule

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/language"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// Every language says everything that English says, with the same values in it.
func TestLanguagesSayTheSame(t *testing.T) {
	if len(languages) < 4 || languages[0].tag != language.English {
		t.Fatalf("the languages are %v, want English first of at least four", languageTags())
	}
	want := slices.Sorted(maps.Keys(languages[0].texts))
	for _, phrases := range languages {
		if got := slices.Sorted(maps.Keys(phrases.texts)); !slices.Equal(got, want) {
			t.Errorf("%s has the keys\n%q\nwant\n%q", phrases.tag, got, want)
		}
		for key, text := range phrases.texts {
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s: %s is empty", phrases.tag, key)
			}
			got, want := placeholder.FindAllString(text, -1), placeholder.FindAllString(languages[0].texts[key], -1)
			if strings.HasSuffix(key, ".one") {
				continue // "one minute" may be written "1 minute"
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s has the values %q, want %q", phrases.tag, key, got, want)
			}
		}
	}
}

// A file that names a key twice would lose one of its texts silently.
func TestLanguagesNameEachKeyOnce(t *testing.T) {
	for _, phrases := range languages {
		document, err := languageFiles.ReadFile("languages/" + phrases.tag.String() + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(document), `": "`); got != len(phrases.texts) {
			t.Errorf("%s has %d lines for %d keys", phrases.tag, got, len(phrases.texts))
		}
		if !json.Valid(document) {
			t.Errorf("%s is not JSON", phrases.tag)
		}
	}
}

// onlyBrokersRefuse are the reasons that no reader of a page meets.
var onlyBrokersRefuse = []payword.Reason{
	payword.MalformedClaim, payword.BadClaim, payword.UnknownVendor, payword.UnknownAccount,
	payword.ClaimOverTails, payword.ClaimOverLimit, payword.ClaimTooLate, payword.InsufficientFunds,
	payword.RootReused, payword.BadSignature, payword.VendorNotProved, payword.IdempotencyDiffers,
	payword.VendorBlocked,
	payword.AccountClosed, payword.OverAccountLimit, payword.NotPermitted, payword.UnknownDevice, payword.UnknownPayout, payword.BadVoucher,
}

func TestEveryReasonHasASentence(t *testing.T) {
	used := map[string]bool{"problem.other": true}
	for _, reason := range payword.Reasons() {
		key, listed := problemTexts[reason]
		met := reason != payword.PaymentRequired && !slices.Contains(onlyBrokersRefuse, reason)
		if listed != met {
			t.Errorf("%s has a sentence: %t, want %t", reason, listed, met)
		}
		if !listed {
			continue
		}
		used["problem."+key] = true
		for _, phrases := range languages {
			if phrases.texts["problem."+key] == "" {
				t.Errorf("%s has no sentence problem.%s for %s", phrases.tag, key, reason)
			}
		}
	}
	for key := range languages[0].texts {
		if strings.HasPrefix(key, "problem.") && !used[key] {
			t.Errorf("no reason is told by %s", key)
		}
	}
}

func TestPricesInTheReadersWords(t *testing.T) {
	cases := []struct {
		language, currency string
		micros             money.Amount
		price, words       string
	}{
		{"en", "USD", 1000, "0.001 USD", "a tenth of a cent"},
		{"en", "USD", 100, "0.0001 USD", "a hundredth of a cent"},
		{"en", "USD", 1, "0.000001 USD", "0.0001 cents"},
		{"en", "USD", 2000, "0.002 USD", "a fifth of a cent"},
		{"en", "USD", 2500, "0.0025 USD", "a quarter of a cent"},
		{"en", "USD", 3000, "0.003 USD", "0.3 cents"},
		{"en", "EUR", 5000, "0.005 EUR", "half a cent"},
		{"en", "GBP", 5000, "0.005 GBP", "half a penny"},
		{"en", "GBP", 10_000, "0.01 GBP", "one penny"},
		{"en", "GBP", 20_000, "0.02 GBP", "2 pence"},
		{"en", "USD", 15_000, "0.015 USD", "1.5 cents"},
		{"en", "USD", 500_000, "0.50 USD", "50 cents"},
		{"en", "USD", 1_000_000, "1.00 USD", ""},
		{"en", "USD", 1_234_567_890_123, "1,234,567.890123 USD", ""},
		{"en", "JPY", 1_000_000, "1 JPY", ""},
		{"en", "JPY", 500_000, "0.5 JPY", ""},
		{"de", "USD", 1000, "0,001 USD", "ein zehntel Cent"},
		{"de", "EUR", 10_000, "0,01 EUR", "ein Cent"},
		{"de", "EUR", 12_500, "0,0125 EUR", "1,25 Cent"},
		{"de", "EUR", 1_234_500_000, "1.234,50 EUR", ""},
		{"fr", "EUR", 1000, "0,001 EUR", "un dixième de centime"},
		{"fr", "EUR", 15_000, "0,015 EUR", "1,5 centime"},
		{"fr", "USD", 20_000, "0,02 USD", "2 cents"},
		{"es", "USD", 1000, "0,001 USD", "una décima de centavo"},
		{"es", "EUR", 15_000, "0,015 EUR", "1,5 céntimos"},
		{"es", "CHF", 10_000, "0,01 CHF", "un céntimo"},
	}
	for _, c := range cases {
		phrases, err := findLanguage(c.language)
		if err != nil {
			t.Fatal(err)
		}
		currency, err := money.CurrencyFromCode(c.currency)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(phrases.price(c.micros, currency), "\u00a0", " "); got != c.price {
			t.Errorf("%s: %d micros of %s are %q, want %q", c.language, c.micros, c.currency, got, c.price)
		}
		if got := phrases.inWords(c.micros, currency); got != c.words {
			t.Errorf("%s: %d micros of %s in words are %q, want %q", c.language, c.micros, c.currency, got, c.words)
		}
	}
}

func TestDurationsInTheReadersWords(t *testing.T) {
	cases := []struct {
		language string
		duration time.Duration
		want     string
	}{
		{"en", time.Minute, "one minute"},
		{"en", 90 * time.Second, "90 seconds"},
		{"en", 2 * time.Hour, "2 hours"},
		{"en", 1500 * time.Millisecond, "1.5s"},
		{"de", time.Minute, "einer Minute"},
		{"fr", 24 * time.Hour, "24 heures"},
		{"es", time.Second, "un segundo"},
	}
	for _, c := range cases {
		phrases, err := findLanguage(c.language)
		if err != nil {
			t.Fatal(err)
		}
		if got := phrases.duration(c.duration); got != c.want {
			t.Errorf("%s in %s is %q, want %q", c.duration, c.language, got, c.want)
		}
	}
}

func TestLanguageIsChosenByTheReader(t *testing.T) {
	cases := []struct{ accepted, want string }{
		{"", "en"},
		{"*", "en"},
		{"de", "de"},
		{"de-AT,en;q=0.5", "de"},
		{"fr-CA, fr;q=0.8, en;q=0.3", "fr"},
		{"es-419", "es"},
		{"ja, es;q=0.2", "es"},
		{"ja", "en"},
		{"en;q=0.1, de;q=0.9", "de"},
		{"de;q=0", "en"},
		{"not a language at all;;;q=,", "en"},
		{"de," + strings.Repeat("fr-FR,", 200), "en"},
		{strings.Repeat("-", 300), "en"},
	}
	for _, c := range cases {
		if got := chooseLanguage(c.accepted).tag.String(); got != c.want {
			t.Errorf("Accept-Language: %.40s gives %s, want %s", c.accepted, got, c.want)
		}
	}
}

func TestDirectionFollowsTheScript(t *testing.T) {
	for tag, want := range map[string]string{"en": "ltr", "ar": "rtl", "he": "rtl", "fa": "rtl", "ur": "rtl", "az-Cyrl": "ltr"} {
		if got := (&phrases{tag: language.MustParse(tag)}).direction(); got != want {
			t.Errorf("%s is written %s, want %s", tag, got, want)
		}
	}
}
