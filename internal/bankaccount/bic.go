package bankaccount

import "errors"

// CheckBIC says what is wrong with a BIC (ISO 9362) in capital letters: four
// letters or digits of the institution, two letters of the country, two of the
// place, and three of the branch or none.
func CheckBIC(bic string) error {
	if len(bic) != 8 && len(bic) != 11 || !isCapitalsAndDigits(bic) {
		return errors.New("BIC: want 8 or 11 capital letters and digits")
	}
	if !isCapital(bic[4]) || !isCapital(bic[5]) {
		return errors.New("BIC: want the two letters of a country as the fifth and sixth character")
	}
	return nil
}
