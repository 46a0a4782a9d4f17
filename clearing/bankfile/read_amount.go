package bankfile

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/paywordhq/payword/money"
)

// maxDigits bounds the digits of an amount (ActiveOrHistoricCurrencyAndAmount
// has 18 in all).
const maxDigits = 18

// amount reads an amount and its currency. An amount with more digits than the
// currency's smallest unit has is refused, unless they are zeros: no bank books
// half a cent, so that the file is not what it seems.
func (n node) amount() (money.Amount, money.Currency, error) {
	currency, err := money.CurrencyFromCode(n.currency)
	if err != nil || n.currency != strings.ToUpper(n.currency) {
		return 0, "", fmt.Errorf("%s has the currency %.10q: want a code of ISO 4217 in capitals", n.name, n.currency)
	}
	micros, err := parseMicros(n.text)
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", n.name, err)
	}
	if unit := currency.MinorUnit(); micros%unit != 0 {
		return 0, "", fmt.Errorf("%s is %.40s %s: a bank books whole %s", n.name, n.text, currency.Code(), unit.Decimal())
	}
	return micros, currency, nil
}

// parseMicros reads digits, and perhaps a point and more digits, exactly.
func parseMicros(text string) (money.Amount, error) {
	wrong := fmt.Errorf("%.40q: want an amount such as 12.50, of at most %d digits", text, maxDigits)
	whole, fraction, hasPoint := strings.Cut(text, ".")
	if whole == "" || hasPoint && fraction == "" || len(whole)+len(fraction) > maxDigits {
		return 0, wrong
	}
	const places = 6
	if extra := min(len(fraction), places); strings.Trim(fraction[extra:], "0") != "" {
		return 0, wrong
	}
	fraction = fraction[:min(len(fraction), places)]
	fraction += strings.Repeat("0", places-len(fraction))
	var micros int64
	for _, digit := range []byte(whole + fraction) {
		if digit < '0' || digit > '9' {
			return 0, wrong
		}
		if micros > (math.MaxInt64-int64(digit-'0'))/10 {
			return 0, fmt.Errorf("%.40q is more than can be counted here", text)
		}
		micros = micros*10 + int64(digit-'0')
	}
	return money.Amount(micros), nil
}

// direction reads whether an amount went out or came in.
func (n node) direction() (string, error) {
	switch n.text {
	case "DBIT":
		return Out, nil
	case "CRDT":
		return In, nil
	}
	return "", fmt.Errorf("CdtDbtInd is %.10q: want DBIT or CRDT", n.text)
}

// day reads a day, of which a bank may say the time, too; "" if there is none.
func (n node) day() (string, error) {
	text := n.at("Dt").text
	if text == "" {
		text = n.at("DtTm").text
	}
	if text == "" {
		return "", nil
	}
	day := text[:min(len(text), len(time.DateOnly))]
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return "", fmt.Errorf("%s is %.40q: want a day such as 2026-11-22", n.name, text)
	}
	return day, nil
}
