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
	issue, merchant := cardIssue(t), samIssue(t)
	issue.Keys, merchant.Keys = in.keys(t), in.keys(t)
	card, _ := issueCard(t, issue, &repeated{bytes: unhex(t, "404142434445464748494A4B4C4D4E4F")})
	sam, _ := issueSAM(t, merchant, &repeated{bytes: unhex(t, "808182838485868788898A8B8C8D8E8F")})
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
