package relay_test

import (
	"bytes"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/relay"
)

// What is taken as a message is one that can be written, and that says the same
// when it is read again.
func FuzzMessage(f *testing.F) {
	for _, text := range []string{
		helloText, offerText, `{"type":"begin"}`, `{"type":"command","number":1,"bytes":"80CA000000"}`, `{"type":"torn","number":3}`,
		`{"type":"result","result":{"outcome":"done","sentence":"a","amount":"1"}}`, `{"type":"refused","sentence":"no"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		once, err := relay.Reparse(text)
		if err != nil {
			return
		}
		twice, err := relay.Reparse(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q became %q, and that %q, %v", text, once, twice, err)
		}
	})
}

// No commands, in whatever order, take more than was agreed to.
func FuzzGuard(f *testing.F) {
	f.Add(start(merchant, 7), order(nil), order(nil))
	f.Add(selecting, start(merchant, 7), order(func(o *purse.Order) { o.Amount = 124 }))
	f.Add(initLoad(123, cents), credit(123), numbers)
	f.Fuzz(func(t *testing.T, first, second, third []byte) {
		guard, debits := relay.NewGuard(agreed), 0
		for _, command := range [][]byte{first, second, third} {
			if guard.Check(command) != nil {
				return // the session is over
			}
			switch instruction := purse.Instruction(command[1]); instruction {
			case purse.Debit:
				debits++
				if !bytes.Equal(command[5:13], merchant[:]) || !bytes.Equal(command[29:36], []byte{0, 0, 0, 123, 0x09, 0x78, 0xFE}) {
					t.Errorf("let %X pass", command)
				}
			case purse.Verify, purse.ReadRecord, purse.InitLoad, purse.Credit, purse.CancelLast:
				t.Errorf("let %X pass", command)
			}
		}
		if debits > 1 {
			t.Errorf("let %d orders pass", debits)
		}
	})
}
