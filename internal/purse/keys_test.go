package purse_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

func TestParseKeys(t *testing.T) {
	secret := strings.Repeat("5a", 32)
	keys, err := purse.ParseKeys("# masters\n\n1 KZD " + secret + "\n 2\tMKL " + strings.ToUpper(secret) + "\r\n")
	if err != nil {
		t.Fatal(err)
	}
	card := id(t, "C100000000000001")
	if _, err := keys.ProofKey(1, card); err != nil {
		t.Error(err)
	}
	if _, err := keys.ProofKey(2, card); !errors.Is(err, purse.ErrNoMaster) {
		t.Errorf("got %v for a version that is not there", err)
	}
	if !keys.Has(purse.LoadMaster) || keys.Has(purse.PurseMaster) {
		t.Error("Has does not say which masters are there")
	}
	if text := fmt.Sprintf("%v %+v", keys, keys); strings.Contains(text, "5a") || strings.Contains(text, "90 90") {
		t.Errorf("keys are printed as %s", text)
	}
	for _, text := range []string{
		"", "# nothing", "1 KZD", "1 KZD " + secret + " more", "256 KZD " + secret, "-1 KZD " + secret, "1 XYZ " + secret,
		"1 KZD " + secret[2:], "1 KZD " + secret[:62] + "zz", "1 KZD " + secret + "\n1 KZD " + secret, strings.Repeat("#\n", 100_000),
	} {
		if _, err := purse.ParseKeys(text); err == nil {
			t.Errorf("%.80q is taken", text)
		} else if strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("the error names the key: %v", err)
		}
	}
}

func TestIDs(t *testing.T) {
	for _, text := range []string{"", "C1", "c100000000000001", "C10000000000000G", "C1000000000000011"} {
		if _, err := purse.ParseID(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestUnits(t *testing.T) {
	cents := purse.Unit{Currency: 0x0978, Exponent: -2}
	if got := cents.Amount(1<<32 - 1); got != 42_949_672_950_000 {
		t.Errorf("got %s micros", got)
	}
	if count, err := cents.Count(1_230_000); err != nil || count != 123 {
		t.Errorf("got %d (%v)", count, err)
	}
	for _, amount := range []int64{-10_000, 5000, 42_949_672_960_000} {
		if _, err := cents.Count(money.Amount(amount)); err == nil {
			t.Errorf("%d micros are a number of cents", amount)
		}
	}
	for _, unit := range []purse.Unit{{0x0841, -2}, {0x0840, 1}, {0x0840, -7}, {}} {
		if unit.Check() == nil {
			t.Errorf("%v is a unit", unit)
		}
	}
	for _, currency := range []string{"usd-micro", "eur-micro", "gbp-micro", "chf-micro"} {
		number, err := purse.CurrencyOf(money.Currency(currency))
		if err != nil || string(number.Money()) != currency {
			t.Errorf("%s: %04X, %s (%v)", currency, uint16(number), number.Money(), err)
		}
	}
	if _, err := purse.CurrencyOf("jpy-micro"); err == nil {
		t.Error("a card holds yen")
	}
}
