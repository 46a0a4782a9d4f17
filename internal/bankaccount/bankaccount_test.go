package bankaccount_test

import (
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/bankaccount"
)

// The examples of the IBAN registry.
var ibans = []string{
	"AD1200012030200359100100", "AE070331234567890123456", "AL47212110090000000235698741", "AT611904300234573201", "BE68539007547034",
	"BG80BNBG96611020345678", "BR1800360305000010009795493C1", "CH9300762011623852957", "CY17002001280000001200527600",
	"CZ6508000000192000145399", "DE89370400440532013000", "DK5000400440116243", "EE382200221020145685", "ES9121000418450200051332",
	"FI2112345600000785", "FO6264600001631634", "FR1420041010050500013M02606", "GB29NWBK60161331926819", "GI75NWBK000000007099453",
	"GR1601101250000000012300695", "HR1210010051863000160", "HU42117730161111101800000000", "IE29AIBK93115212345678",
	"IS140159260076545510730339", "IT60X0542811101000000123456", "LI21088100002324013AA", "LT121000011101001000", "LU280019400644750000",
	"LV80BANK0000435195001", "MC5811222000010123456789030", "MD24AG000225100013104168", "ME25505000012345678951", "MK07250120000058984",
	"MT84MALT011000012345MTLCAST001S", "NL91ABNA0417164300", "NO9386011117947", "PL61109010140000071219812874", "PT50000201231234567890154",
	"RO49AAAA1B31007593840000", "RS35260005601001611379", "SE4550000000058398257466", "SI56263300012039086", "SK3112000000198742637541",
	"SM86U0322509800000000270100", "TR330006100519786457841326", "UA213223130000026007233566001", "VA59001123000012345678", "XK051212012345678906",
}

func TestIBAN(t *testing.T) {
	for _, iban := range ibans {
		if err := bankaccount.CheckIBAN(iban); err != nil {
			t.Errorf("%s: %v", iban, err)
		}
	}
	for name, iban := range map[string]string{
		"nothing":                              "",
		"a wrong digit":                        "DE89370400440532013001",
		"two digits swapped":                   "DE89370400440532010300",
		"no country":                           "8989370400440532013000",
		"no check digits":                      "DEAB370400440532013000",
		"too short":                            "NO93860111179",
		"too long":                             "GB82" + strings.Repeat("0", 31),
		"small letters":                        "de89370400440532013000",
		"a space":                              "DE8937040044053201300 ",
		"another country's length":             "DE9386011117947",
		"a country without":                    "US89370400440532013000",
		"digits of more than one byte":         "DE8937040044053201300\u0660",
		"check digits that 98 - n never gives": "DE01000000000000000048",
	} {
		if bankaccount.CheckIBAN(iban) == nil {
			t.Errorf("%s passes: %s", name, iban)
		}
	}
	if got, err := bankaccount.ParseIBAN(" de89 3704 0044 0532 0130 00"); err != nil || got != "DE89370400440532013000" {
		t.Errorf("read %s: %v", got, err)
	}
}

func TestInSEPA(t *testing.T) {
	for iban, want := range map[string]bool{
		"DE89370400440532013000": true, "CH9300762011623852957": true, "GB29NWBK60161331926819": true, "SM86U0322509800000000270100": true,
		"TR330006100519786457841326": false, "XK051212012345678906": false, "": false, " A": false, "T VA": false,
	} {
		if got := bankaccount.InSEPA(iban); got != want {
			t.Errorf("InSEPA(%q) is %v", iban, got)
		}
	}
}

// One more or less on any one character is always found.
func FuzzIBAN(f *testing.F) {
	for _, iban := range ibans {
		f.Add(iban, uint(len(iban)-1))
	}
	f.Fuzz(func(t *testing.T, text string, at uint) {
		if bankaccount.CheckIBAN(text) != nil {
			return
		}
		if canonical, err := bankaccount.ParseIBAN(text); err != nil || canonical != text {
			t.Errorf("%q becomes %q: %v", text, canonical, err)
		}
		k := int(at % uint(len(text)))
		if c := text[k]; c != '9' && c != 'Z' && bankaccount.CheckIBAN(text[:k]+string(rune(c+1))+text[k+1:]) == nil {
			t.Errorf("%q passes, and with one more at %d, too", text, k)
		}
	})
}

func TestBIC(t *testing.T) {
	for text, want := range map[string]bool{
		"COBADEFF": true, "COBADEFFXXX": true, "NWBKGB2L": true, "1234DEFF": true, "GENODEF1S02": true,
		"": false, "COBADEF": false, "COBADEFFX": false, "cobadeff": false, "COBA1EFF": false, "COBADEFFXXXX": false, "COBADEF&": false,
	} {
		if err := bankaccount.CheckBIC(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCreditorID(t *testing.T) {
	for text, want := range map[string]bool{
		"DE98ZZZ09999999999": true, "DE98ABC09999999999": true, "NL50ZZZ123456780000": false, "DE99ZZZ09999999999": false,
		"AT61ZZZ01234567890": true, "FR72ZZZ123456": true, "": false, "DE98ZZZ": false, "de98ZZZ09999999999": false, "DE98ZZZ0999999999-": false,
		"DE98" + strings.Repeat("Z", 32): false,
	} {
		if err := bankaccount.CheckCreditorID(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRoutingNumber(t *testing.T) {
	for text, want := range map[string]bool{
		"021000021": true, "121042882": true, "011000015": true, "231380104": true,
		"": false, "021000022": false, "012000021": false, "02100002": false, "0210000210": false, "02100002a": false, "000000000": false,
	} {
		if err := bankaccount.CheckRoutingNumber(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzACH(f *testing.F) {
	for _, seed := range []string{"021000021/123456789/checking", "021000021/00-7/savings", "021000021/1/loan", "/", "a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if account, err := bankaccount.ParseACH(text); err == nil && account.String() != text {
			t.Errorf("%q became %q", text, account)
		}
	})
}

func TestACH(t *testing.T) {
	got, err := bankaccount.ParseACH("021000021/123456789/checking")
	if want := (bankaccount.ACH{Routing: "021000021", Account: "123456789", Kind: bankaccount.KindChecking}); err != nil || got != want {
		t.Errorf("read %+v: %v", got, err)
	}
}
