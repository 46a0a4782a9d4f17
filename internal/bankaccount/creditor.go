package bankaccount

import "errors"

// CheckCreditorID says what is wrong with the identifier by which a bank lets
// somebody collect SEPA direct debits (EPC262-08), such as DE98ZZZ09999999999:
// country, two check digits, three characters that the creditor is free to
// choose, and up to 28 of the country. The free ones are not part of the check
// digits (ISO 7064, MOD 97-10).
func CheckCreditorID(id string) error {
	const shortest, longest = 8, 35
	if len(id) < shortest || len(id) > longest || !isCapitalsAndDigits(id) {
		return errors.New("creditor id: want 8 to 35 capital letters and digits")
	}
	if !isCapital(id[0]) || !isCapital(id[1]) || !isDigit(id[2]) || !isDigit(id[3]) {
		return errors.New("creditor id: want two letters of a country and two digits at its beginning")
	}
	if remainder97(id[7:]+id[:4]) != 1 || !isPossibleCheck(id[2:4]) {
		return errors.New("creditor id: its check digits are wrong")
	}
	return nil
}
