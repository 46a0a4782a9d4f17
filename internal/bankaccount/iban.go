// Package bankaccount checks how bank accounts, banks and creditors are named:
// IBAN, BIC, SEPA creditor identifiers and American routing numbers. It looks
// at the text alone; whether an account exists only its bank can say.
package bankaccount

import (
	"errors"
	"fmt"
	"strings"
)

// ibanLengths are the lengths of IBANs by country, from the registry of SWIFT
// (ISO 13616-2), release 100.
var ibanLengths = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27,
	"BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28,
	"EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
	"GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
	"IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
	"LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
	"NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
	"RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25,
	"SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}

// sepaCountries are the countries of IBANs that SEPA payments reach: those of
// the European Economic Area and the others in the list of the European
// Payments Council (EPC409-09). Territories such as Jersey or Martinique use
// the letters of the country that they belong to.
const sepaCountries = " AD AL AT BE BG CH CY CZ DE DK EE ES FI FR GB GI GR HR HU IE IS IT LI LT LU LV MC MD ME MK MT NL NO PL PT RO RS SE SI SK SM VA "

// ParseIBAN reads an IBAN as people write it, with spaces and small letters,
// and returns it in capital letters without spaces. An error says what is wrong
// with it, and the text in that form comes back all the same.
func ParseIBAN(text string) (string, error) {
	iban := strings.ToUpper(strings.ReplaceAll(text, " ", ""))
	return iban, CheckIBAN(iban)
}

// CheckIBAN says what is wrong with an IBAN in capital letters without spaces:
// its form and its country's length (ISO 13616), or its check digits (ISO 7064,
// MOD 97-10).
func CheckIBAN(iban string) error {
	const shortest, longest = 15, 34
	if len(iban) < shortest || len(iban) > longest {
		return fmt.Errorf("IBAN: want %d to %d characters", shortest, longest)
	}
	if !isCapital(iban[0]) || !isCapital(iban[1]) || !isDigit(iban[2]) || !isDigit(iban[3]) || !isCapitalsAndDigits(iban) {
		return errors.New("IBAN: want two letters, two digits, then letters and digits")
	}
	length, known := ibanLengths[iban[:2]]
	switch {
	case !known:
		return fmt.Errorf("IBAN: %s is no country that has IBANs", iban[:2])
	case len(iban) != length:
		return fmt.Errorf("IBAN: want %d characters, as all of %s have", length, iban[:2])
	}
	if remainder97(iban[4:]+iban[:4]) != 1 || !isPossibleCheck(iban[2:4]) {
		return errors.New("IBAN: its check digits are wrong")
	}
	return nil
}

// InSEPA reports whether SEPA payments reach the country of an IBAN.
func InSEPA(iban string) bool {
	return len(iban) >= 2 && strings.Contains(sepaCountries, " "+iban[:2]+" ")
}

// isPossibleCheck reports whether two check digits can come out of 98 - n % 97.
func isPossibleCheck(digits string) bool { return digits >= "02" && digits <= "98" }

// remainder97 returns the remainder by 97 of a text of capital letters and
// digits, in which A is 10 and Z is 35.
func remainder97(text string) int {
	remainder := 0
	for _, c := range []byte(text) {
		if isDigit(c) {
			remainder = (remainder*10 + int(c-'0')) % 97
		} else {
			remainder = (remainder*100 + int(c-'A') + 10) % 97
		}
	}
	return remainder
}

func isDigit(c byte) bool   { return c >= '0' && c <= '9' }
func isCapital(c byte) bool { return c >= 'A' && c <= 'Z' }

func isCapitalsAndDigits(text string) bool {
	for _, c := range []byte(text) {
		if !isDigit(c) && !isCapital(c) {
			return false
		}
	}
	return true
}
