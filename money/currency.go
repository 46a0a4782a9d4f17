package money

import (
	"fmt"
	"strings"
)

// Currency is an ISO 4217 code in lower case together with the scale that
// payword counts in: "usd-micro". The scale is part of the spelling because a
// general client of the Payment scheme takes an amount beside a bare "usd" for
// cents.
type Currency string

const scaleSuffix = "-micro"

// minorDigits lists the currencies whose smallest unit that banks move is not a
// hundredth (ISO 4217, "minor unit").
var minorDigits = map[string]int{
	"bhd": 3, "iqd": 3, "jod": 3, "kwd": 3, "lyd": 3, "omr": 3, "tnd": 3,
	"bif": 0, "clp": 0, "djf": 0, "gnf": 0, "isk": 0, "jpy": 0, "kmf": 0, "krw": 0, "pyg": 0,
	"rwf": 0, "ugx": 0, "vnd": 0, "vuv": 0, "xaf": 0, "xof": 0, "xpf": 0,
}

// ParseCurrency reads the wire spelling, "usd-micro".
func ParseCurrency(text string) (Currency, error) {
	code, found := strings.CutSuffix(text, scaleSuffix)
	if !found || !isCode(code) {
		return "", fmt.Errorf("currency %.20q: want three lower-case letters and %q, such as usd-micro", text, scaleSuffix)
	}
	return Currency(text), nil
}

// CurrencyFromCode makes a Currency of an ISO 4217 code in either case: "USD".
func CurrencyFromCode(code string) (Currency, error) {
	lower := strings.ToLower(code)
	if !isCode(lower) {
		return "", fmt.Errorf("currency %.20q: want a code of three letters, such as USD", code)
	}
	return Currency(lower + scaleSuffix), nil
}

// Code returns the ISO 4217 code for people and for bank files: "USD".
func (c Currency) Code() string {
	return strings.ToUpper(strings.TrimSuffix(string(c), scaleSuffix))
}

// MinorUnit returns the smallest amount that a bank moves in c: a cent is
// 10,000 micros.
func (c Currency) MinorUnit() Amount {
	digits, listed := minorDigits[strings.TrimSuffix(string(c), scaleSuffix)]
	if !listed {
		digits = 2
	}
	unit := Unit
	for range digits {
		unit /= 10
	}
	return unit
}

// UnmarshalText reads the wire spelling, as ParseCurrency does.
func (c *Currency) UnmarshalText(text []byte) error {
	currency, err := ParseCurrency(string(text))
	if err != nil {
		return err
	}
	*c = currency
	return nil
}

func isCode(code string) bool {
	if len(code) != 3 {
		return false
	}
	for _, letter := range []byte(code) {
		if letter < 'a' || letter > 'z' {
			return false
		}
	}
	return true
}
