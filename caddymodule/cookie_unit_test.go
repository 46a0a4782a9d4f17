package caddymodule

import (
	"bytes"
	"testing"

	"github.com/paywordhq/payword"
)

// TestCookieEnds opens a cookie at several times and with several secrets.
func TestCookieEnds(t *testing.T) {
	const now, url = 1_790_000_000, "https://news.example/page"
	secret, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	payment := payword.Payment{Index: 3, Number: 4, Max: 1000}
	value, err := sealCookie(secret, url, payment, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		what    string
		secrets [][]byte
		url     string
		now     int64
		want    bool
	}{
		{"at once", [][]byte{secret}, url, now, true},
		{"in time", [][]byte{secret}, url, now + 14, true},
		{"after 15 seconds", [][]byte{secret}, url, now + 15, false},
		{"from the future", [][]byte{secret}, url, now - 1, false},
		{"after a rotation", [][]byte{other, secret}, url, now, true},
		{"at another gate", [][]byte{other}, url, now, false},
		{"without secrets", nil, url, now, false},
		{"for another page", [][]byte{secret}, url + "s", now, false},
	} {
		got, found := openCookie(test.secrets, value, test.url, test.now)
		if found != test.want || found && got != payment {
			t.Errorf("%s: %v, %+v, want %v", test.what, found, got, test.want)
		}
	}
	if again, err := sealCookie(secret, url, payment, now); err != nil || again == value {
		t.Errorf("the same cookie twice, or %v", err)
	}
}

// FuzzOpenCookie opens what nobody sealed.
func FuzzOpenCookie(f *testing.F) {
	secret := bytes.Repeat([]byte{1}, 32)
	value, err := sealCookie(secret, "https://news.example/", payword.Payment{Index: 1, Number: 1}, 1000)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if _, found := openCookie([][]byte{secret}, text, "https://news.example/", 1000); found && text != value {
			t.Errorf("%q was opened", text)
		}
	})
}
