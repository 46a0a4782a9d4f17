//go:build pcsc && (cgo || windows)

package pcsc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	decoded, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestExchange(t *testing.T) {
	for _, c := range []struct {
		name    string
		isT0    bool
		command string
		// dialogue is what is sent, and what is answered, in turns.
		dialogue []string
		want     string
	}{
		{"T=1", false, "80320000 01 55 00", []string{"80320000 01 55 00", "AA 9000"}, "AA 9000"},
		{"T=0, no data", true, "80600000", []string{"80600000 00", "9000"}, "9000"},
		{"T=0, an answer", true, "80600000 00", []string{"80600000 00", "AABB 9000"}, "AABB 9000"},
		{"T=0, data", true, "00200080 02 3131", []string{"00200080 02 3131", "63C2"}, "63C2"},
		{"T=0, data and an answer", true, "80320000 01 55 00", []string{"80320000 01 55", "6102", "00C00000 02", "AABB 9000"}, "AABB 9000"},
		{"in parts", false, "80320000 01 55 00", []string{
			"80320000 01 55 00", "AA 6101", "00C00000 01", "BB 6101", "00C00000 01", "CC 9000",
		}, "AABBCC 9000"},
		{"another length", true, "80CA0000 00", []string{"80CA0000 00", "6C02", "80CA0000 02", "AABB 9000"}, "AABB 9000"},
		{"another length for what has data", false, "80CA0000 01 55 00", []string{"80CA0000 01 55 00", "6C02"}, "6C02"},
		{"torn", false, "80CA0000 00", []string{"80CA0000 00", ""}, ""},
		{"torn at the second", false, "80CA0000 00", []string{"80CA0000 00", "6C02", "80CA0000 02", "90"}, "90"},
		{"torn between parts", false, "80CA0000 00", []string{"80CA0000 00", "AA 6101", "00C00000 01", ""}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialogue := c.dialogue
			answer, err := exchange(c.isT0, func(command []byte) ([]byte, error) {
				if len(dialogue) == 0 || !bytes.Equal(command, unhex(t, dialogue[0])) {
					t.Fatalf("sent %X, want the first of %q", command, dialogue)
				}
				said := unhex(t, dialogue[1])
				dialogue = dialogue[2:]
				return said, nil
			}, unhex(t, c.command))
			if err != nil || !bytes.Equal(answer, unhex(t, c.want)) || len(dialogue) > 0 {
				t.Errorf("got %X, %v, and %q was not said; want %s", answer, err, dialogue, c.want)
			}
		})
	}
}

func TestExchangeWithoutAnEnd(t *testing.T) {
	asked := 0
	_, err := exchange(false, func([]byte) ([]byte, error) {
		asked++
		return []byte{0xAA, 0x61, 0x01}, nil
	}, []byte{0x80, 0xCA, 0, 0, 0})
	if !errors.Is(err, errEndless) || asked != maxParts+1 {
		t.Errorf("after %d commands: %v, want errEndless after %d", asked, err, maxParts+1)
	}
}

func TestExchangeFails(t *testing.T) {
	failure := errors.New("made up")
	for _, said := range []string{"", "6C02", "AA6101"} {
		first := true
		_, err := exchange(false, func([]byte) ([]byte, error) {
			if first && said != "" {
				first = false
				return unhex(t, said), nil
			}
			return nil, failure
		}, []byte{0x80, 0xCA, 0, 0, 0})
		if !errors.Is(err, failure) {
			t.Errorf("after %q: got %v, want %v", said, err, failure)
		}
	}
}
