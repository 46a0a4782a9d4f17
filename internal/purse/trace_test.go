package purse_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	decoded, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

func id(t testing.TB, text string) purse.ID {
	t.Helper()
	parsed, err := purse.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// runTrace sends every command of a trace to a card and a SAM, whose random
// numbers are those of the trace.
func runTrace(t *testing.T, in input) (string, map[string]any) {
	of, keys := in.Issue, in.keys(t)
	counted := purse.Unit{Currency: purse.Currency(of.Unit[0])<<8 | purse.Currency(of.Unit[1]), Exponent: int8(of.Unit[2])}
	card, _ := issueCard(t, purse.CardIssue{
		Keys: keys, KeyVersion: 1, Card: purse.ID(of.Card), Holder: purse.ID(of.Holder), Unit: counted,
		MaxBalance: of.MaxBalance, MaxPayment: of.MaxPayment, PIN: of.PIN,
	}, &repeated{bytes: of.CardRandom})
	sam, _ := issueSAM(t, purse.SAMIssue{
		Keys: keys, KeyVersion: 1, Merchant: purse.ID(of.Merchant), Unit: counted, Limit: of.SAMLimit,
	}, &repeated{bytes: of.SAMRandom})
	applets := map[string]applet{"card": card, "sam": sam}
	for i, exchange := range in.Exchanges {
		got, err := applets[exchange.To].Transmit(bytes.Clone(exchange.Command))
		if err != nil || !bytes.Equal(got, exchange.Answer) {
			t.Errorf("exchange %d with %s (%v):\n     > %X\ngot  < %X\nwant < %X", i, exchange.To, err, exchange.Command, got, exchange.Answer)
		}
	}
	if len(in.Exchanges) == 0 {
		t.Error("no exchanges")
	}
	return "accepted", nil
}
