package caddymodule

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"

	"github.com/paywordhq/payword/money"
)

//go:embed languages/*.json
var languageFiles embed.FS

// maxAcceptLanguageBytes bounds the Accept-Language field that is looked at.
// Browsers send less than 100 bytes; what is longer is answered in English.
const maxAcceptLanguageBytes = 512

// phrases is what the page says in one language: one text a key, the same keys
// in every language.
type phrases struct {
	tag   language.Tag
	texts map[string]string
}

// languages holds every language of the page, English first, and the matcher
// that chooses among them.
var (
	languages       = loadLanguages()
	languageMatcher = language.NewMatcher(languageTags())
)

// loadLanguages reads the files that were built in. One that cannot be read is
// a mistake of the build, which the first test meets.
func loadLanguages() []*phrases {
	entries, err := languageFiles.ReadDir("languages")
	if err != nil {
		panic(err)
	}
	var list []*phrases
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".json")
		loaded := &phrases{tag: language.MustParse(name)}
		document, err := languageFiles.ReadFile("languages/" + entry.Name())
		if err == nil {
			err = json.Unmarshal(document, &loaded.texts)
		}
		if err != nil {
			panic(fmt.Errorf("languages/%s: %w", entry.Name(), err))
		}
		if name == "en" { // what is chosen when nothing fits stands first
			list = slices.Insert(list, 0, loaded)
		} else {
			list = append(list, loaded)
		}
	}
	return list
}

func languageTags() (tags []language.Tag) {
	for _, known := range languages {
		tags = append(tags, known.tag)
	}
	return tags
}

// chooseLanguage returns the language that fits an Accept-Language field best,
// and English where none does.
func chooseLanguage(accepted string) *phrases {
	if accepted == "" || len(accepted) > maxAcceptLanguageBytes {
		return languages[0]
	}
	_, index := language.MatchStrings(languageMatcher, accepted)
	return languages[index]
}

// findLanguage returns the language of a tag, such as "de".
func findLanguage(tag string) (*phrases, error) {
	var known []string
	for _, candidate := range languages {
		if candidate.tag.String() == tag {
			return candidate, nil
		}
		known = append(known, candidate.tag.String())
	}
	return nil, fmt.Errorf("%q: want one of %s", tag, strings.Join(known, ", "))
}

// rightToLeft are the scripts that are written from right to left.
var rightToLeft = []string{"Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa"}

// direction returns what the dir attribute says of a text in the language.
func (p *phrases) direction() string {
	script, _ := p.tag.Script()
	if slices.Contains(rightToLeft, script.String()) {
		return "rtl"
	}
	return "ltr"
}

// text returns the text of a key, with the values in place of their {names}.
func (p *phrases) text(key string, namesAndValues ...string) string {
	text := p.texts[key]
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		text = strings.ReplaceAll(text, "{"+namesAndValues[i]+"}", namesAndValues[i+1])
	}
	return text
}

// number writes an amount as the language writes numbers, with at least as many
// digits after the point as the currency's coins have: "0,50" in German.
func (p *phrases) number(amount money.Amount, currency money.Currency) string {
	digits := 0
	for unit := currency.MinorUnit(); unit < money.Unit; unit *= 10 {
		digits++
	}
	// A float holds 15 digits exactly, and no amount has more.
	whole := float64(amount) / float64(money.Unit)
	return message.NewPrinter(p.tag).Sprint(number.Decimal(whole, number.MinFractionDigits(digits), number.MaxFractionDigits(6)))
}

// price writes an amount with its currency, on one line: "0,001 USD".
func (p *phrases) price(amount money.Amount, currency money.Currency) string {
	return p.number(amount, currency) + "\u00a0" + currency.Code()
}

// minorNames says what people call the hundredth of a currency, by the first
// part of its keys.
var minorNames = map[string]string{
	"USD": "cent", "CAD": "cent", "AUD": "cent", "NZD": "cent", "SGD": "cent", "HKD": "cent",
	"EUR": "eurocent", "GBP": "penny", "CHF": "rappen",
}

// minorFractions are the parts of a cent that have a name.
var minorFractions = []struct {
	parts money.Amount
	name  string
}{{100, "hundredth"}, {10, "tenth"}, {5, "fifth"}, {4, "quarter"}, {2, "half"}}

// inWords says an amount below one unit of the currency as people do: "a tenth
// of a cent". It is empty where the number alone says it as well.
func (p *phrases) inWords(amount money.Amount, currency money.Currency) string {
	name, named := minorNames[currency.Code()]
	if !named || amount < 1 || amount >= money.Unit {
		return ""
	}
	cent := currency.MinorUnit()
	for _, fraction := range minorFractions {
		if amount*fraction.parts == cent {
			return p.text(name + "." + fraction.name)
		}
	}
	cents := float64(amount) / float64(cent)
	written := message.NewPrinter(p.tag).Sprint(number.Decimal(cents, number.MaxFractionDigits(4)))
	return p.text(name+"."+p.form(int(amount/cent), int(amount%cent)), "n", written)
}

// form returns the plural form that a number asks for, "one" or "other". rest
// is what stands behind the point, in ten thousandths.
func (p *phrases) form(whole, rest int) string {
	digits := 4
	for ; digits > 0 && rest%10 == 0; digits-- {
		rest /= 10
	}
	if plural.Cardinal.MatchPlural(p.tag, whole, digits, digits, rest, rest) == plural.One {
		return "one"
	}
	return "other"
}

// duration says a duration in whole units, as people do.
func (p *phrases) duration(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if count := int(d / unit.length); count > 0 && d%unit.length == 0 {
			written := message.NewPrinter(p.tag).Sprint(number.Decimal(count))
			return p.text(unit.name+"."+p.form(count, 0), "n", written)
		}
	}
	return d.String()
}
