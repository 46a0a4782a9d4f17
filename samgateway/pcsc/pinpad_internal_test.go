//go:build pcsc && (cgo || windows)

package pcsc

import (
	"bytes"
	"errors"
	"testing"
)

func TestFeature(t *testing.T) {
	for _, c := range []struct {
		name, list string
		code       uint32
		found      bool
	}{
		{"none", "", 0, false},
		{"alone", "06 04 42330006", 0x42330006, true},
		{"after others", "12 04 42330012 07 04 42330007 06 04 42330006", 0x42330006, true},
		{"others", "12 04 42330012 07 04 42330007", 0, false},
		{"after one of another length", "20 01 FF 06 04 00000001", 1, true},
		{"of another length", "06 02 4233", 0, false},
		{"cut short", "06 04 4233", 0, false},
		{"cut in the head", "06", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, found := feature(unhex(t, c.list), verifyPINDirect); code != c.code || found != c.found {
				t.Errorf("got %X, %t; want %X, %t", code, found, c.code, c.found)
			}
		})
	}
}

func FuzzFeature(f *testing.F) {
	f.Add([]byte{0x12, 0x04, 0x42, 0x33, 0x00, 0x12, 0x06, 0x04, 0x42, 0x33, 0x00, 0x06})
	f.Fuzz(func(t *testing.T, list []byte) {
		if code, found := feature(list, verifyPINDirect); found && !bytes.Contains(list, []byte{verifyPINDirect, 4, byte(code >> 24)}) {
			t.Errorf("found %X in %X", code, list)
		}
	})
}

// The bytes are those of PC/SC part 10, 2.5.2, as other programs send them.
func TestVerifyStructure(t *testing.T) {
	want := unhex(t, "1E1E 82 00 00 0804 02 FF 0904 00 000000 05000000 0020008000")
	if got := verifyStructure(); !bytes.Equal(got, want) {
		t.Errorf("got %X, want %X", got, want)
	}
}

func TestPadError(t *testing.T) {
	for status, want := range map[string]error{
		"9000": nil, "63C2": nil, "6983": nil, "6400": errNotEntered, "6401": errBrokenOff, "6403": errPad, "64": nil,
	} {
		if err := padError(unhex(t, status)); !errors.Is(err, want) {
			t.Errorf("status %s: %v, want %v", status, err, want)
		}
	}
}
