package kiosk

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

//go:embed languages/*.json
var languageFiles embed.FS

// phrases is what the page says in one language: one text a key, the same keys
// in every language.
type phrases struct {
	tag   language.Tag
	texts map[string]string
}

// languages are all that the page speaks, English first.
var languages = loadLanguages()

// loadLanguages reads the files that were built in. One that cannot be read is
// a mistake of the build, which the first test meets.
func loadLanguages() []*phrases {
	var list []*phrases
	for _, name := range []string{"en", "de", "fr"} {
		loaded := &phrases{tag: language.MustParse(name)}
		document, err := languageFiles.ReadFile("languages/" + name + ".json")
		if err == nil {
			err = json.Unmarshal(document, &loaded.texts)
		}
		if err != nil {
			panic(fmt.Errorf("languages/%s.json: %w", name, err))
		}
		list = append(list, loaded)
	}
	return list
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
	return nil, fmt.Errorf("%.10q: want one of %s", tag, strings.Join(known, ", "))
}

// Tag is the language's, such as "de".
func (p *phrases) Tag() string { return p.tag.String() }

// Name is what the language calls itself.
func (p *phrases) Name() string { return p.texts["language"] }

// Texts are those of the language, by their keys.
func (p *phrases) Texts() map[string]string { return p.texts }

// text returns the text of a key, with the values in place of their {names}.
func (p *phrases) text(key string, namesAndValues ...any) (string, error) {
	text, known := p.texts[key]
	if !known {
		return "", fmt.Errorf("no text %q in language %s", key, p.tag)
	}
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		text = strings.ReplaceAll(text, fmt.Sprintf("{%v}", namesAndValues[i]), fmt.Sprint(namesAndValues[i+1]))
	}
	return text, nil
}

// isTold reports whether there are words for an outcome.
func isTold(o Outcome) bool {
	_, told := languages[0].texts[fmt.Sprintf("resolved.%s.%s", o.Kind, o.Ending)]
	return told || o.Ending == Unclear
}

// symbols are the currencies' that people know. Others are written as their
// code.
var symbols = map[string]string{"EUR": "€", "USD": "$", "GBP": "£"}

// amount writes an amount of a purse as the language writes prices: "€1,234.50",
// "1.234,50 €".
func (p *phrases) amount(count uint32, unit purse.Unit) string {
	currency := unit.Currency.Money()
	symbol, known := symbols[currency.Code()]
	pattern := "money.symbol"
	if !known {
		symbol, pattern = currency.Code(), "money.code"
	}
	return strings.NewReplacer("{symbol}", symbol, "{number}", p.number(count, unit)).Replace(p.texts[pattern])
}

// number writes an amount without its currency, with at least as many digits
// after the point as the currency's coins have.
func (p *phrases) number(count uint32, unit purse.Unit) string {
	digits := 0
	for coin := unit.Currency.Money().MinorUnit(); coin < money.Unit; coin *= 10 {
		digits++
	}
	// A float holds 15 digits exactly, and 32 bits of a millionth have fewer.
	whole := float64(unit.Amount(count)) / float64(money.Unit)
	return message.NewPrinter(p.tag).Sprint(number.Decimal(whole, number.MinFractionDigits(digits), number.MaxFractionDigits(6)))
}

// point is what stands before the digits after the point.
func (p *phrases) point() string { return p.texts["point"] }

// when writes a time as the language does, with the name of the month, since
// 3/4 is another day in London than in New York.
func (p *phrases) when(t time.Time) string {
	day := strconv.Itoa(t.Day())
	if t.Day() == 1 {
		day = p.texts["day.first"]
	}
	return strings.NewReplacer(
		"{day}", day, "{month}", p.texts["month."+strconv.Itoa(int(t.Month()))], "{year}", strconv.Itoa(t.Year()), "{clock}", t.Format("15:04"),
	).Replace(p.texts["time"])
}

// spoken writes an account in groups of four, which are easier to compare.
func spoken(account string) string {
	var groups []string
	for group := range slices.Chunk([]byte(account), accountGroup) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, "\u2009")
}

// functions are what templates can call, in one language.
func (p *phrases) functions() template.FuncMap {
	return template.FuncMap{
		"text": p.text, "amount": p.amount, "number": p.number, "point": p.point, "spoken": spoken,
		"when":      p.when,
		"languages": func() []*phrases { return languages },
		"isSpoken":  func(other *phrases) bool { return other == p },
		"letters":   func() []string { return strings.Split(accountLetters, "") },
	}
}
