package money_test

import (
	"testing"

	"github.com/paywordhq/payword/money"
)

func TestParseCurrency(t *testing.T) {
	for _, text := range []string{"usd-micro", "eur-micro", "jpy-micro"} {
		if got, err := money.ParseCurrency(text); err != nil || string(got) != text {
			t.Errorf("%q: got %q (%v)", text, got, err)
		}
	}
	for _, text := range []string{"", "usd", "USD-micro", "usd-cent", "usdd-micro", "-micro", "us1-micro", "usd-micro-micro", "usd-micro "} {
		if got, err := money.ParseCurrency(text); err == nil {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}

func TestCurrencyFromCode(t *testing.T) {
	for _, code := range []string{"usd", "USD", "Usd"} {
		got, err := money.CurrencyFromCode(code)
		if err != nil || got != "usd-micro" || got.Code() != "USD" {
			t.Errorf("%q: got %q, code %q (%v)", code, got, got.Code(), err)
		}
	}
	for _, code := range []string{"", "us", "us$", "usd-micro", "ÄÖÜ"} {
		if got, err := money.CurrencyFromCode(code); err == nil {
			t.Errorf("%q: got %q, want an error", code, got)
		}
	}
}

func TestMinorUnit(t *testing.T) {
	for _, test := range []struct {
		currency money.Currency
		want     money.Amount
	}{
		{"usd-micro", 10_000}, {"eur-micro", 10_000}, {"jpy-micro", 1_000_000}, {"rwf-micro", 1_000_000},
		{"kwd-micro", 1_000}, {"lyd-micro", 1_000},
	} {
		if got := test.currency.MinorUnit(); got != test.want {
			t.Errorf("%s: got %d, want %d", test.currency, got, test.want)
		}
	}
}

func TestCurrencyInText(t *testing.T) {
	var currency money.Currency
	if err := currency.UnmarshalText([]byte("usd-micro")); err != nil || currency != "usd-micro" {
		t.Errorf("got %q (%v), want usd-micro", currency, err)
	}
	if err := currency.UnmarshalText([]byte("usd")); err == nil || currency != "usd-micro" {
		t.Errorf("got %q (%v), want an error and nothing changed", currency, err)
	}
}
