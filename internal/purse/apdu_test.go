package purse_test

import (
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

func TestStatusWordsAreSentences(t *testing.T) {
	for _, c := range []struct {
		status purse.StatusWord
		tries  int
		isPIN  bool
		want   string
	}{
		{0x63C2, 2, true, "the PIN is wrong: 2 tries are left"},
		{0x63C1, 1, true, "the PIN is wrong: 1 try is left"},
		{0x63C0, 0, true, "the PIN was wrong too often: the issuer has to set a new one"},
		{purse.PINBlocked, 0, true, "the PIN was wrong too often: the issuer has to set a new one"},
		{purse.NotFound, 2, false, "the card has no such application or file"},
		{0x6F00, 0, false, "the card answered 6F00"},
	} {
		tries, isPIN := c.status.Tries()
		if got := c.status.Error(); got != c.want || isPIN != c.isPIN || tries != c.tries {
			t.Errorf("%04X: got %q, %d, %t; want %q, %d, %t", uint16(c.status), got, tries, isPIN, c.want, c.tries, c.isPIN)
		}
	}
}
