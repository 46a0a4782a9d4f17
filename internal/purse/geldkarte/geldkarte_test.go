package geldkarte_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/purse/geldkarte"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	decoded, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestCommands(t *testing.T) {
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"EF_ID":     {geldkarte.IDCommand(), "00b201bc00"},
		"EF_BETRAG": {geldkarte.BalanceCommand(), "00b201c400"},
		"EF_BLOG":   {geldkarte.EntryCommand(15), "00b20fec00"},
	} {
		if hex.EncodeToString(c.got) != c.want {
			t.Errorf("%s is read by %x", name, c.got)
		}
	}
	if got := purse.AID(geldkarte.AID); got != "D27600002545500200" {
		t.Errorf("AID %s", got)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		record string
		want   geldkarte.ID
		fails  bool
	}{
		{"6725904415000011113d2512", geldkarte.ID{Number: "1500001111", ExpiryYear: 2025, ExpiryMonth: 12}, false},
		{"6725904415000011113d251299887766", geldkarte.ID{Number: "1500001111", ExpiryYear: 2025, ExpiryMonth: 12}, false},
		{"672590441500001111", geldkarte.ID{Number: "1500001111"}, false},
		{"6725904415000011", geldkarte.ID{}, true},
		{"672590441500a011113d2512", geldkarte.ID{}, true},
		{"6725904415000011113d2513", geldkarte.ID{}, true},
		{"6725904415000011113d2a12", geldkarte.ID{}, true},
	} {
		if got, err := geldkarte.ParseID(unhex(t, c.record)); got != c.want || (err != nil) != c.fails {
			t.Errorf("%s is %+v (%v)", c.record, got, err)
		}
	}
	for record, want := range map[string]int{"000000": 0, "001234": 1234, "020000ffff": 20_000, "999999": 999_999, "00123": -1, "0012": -1, "00123a": -1} {
		text, _ := hex.DecodeString(record)
		if got, err := geldkarte.ParseBalance(text); (err != nil) != (want < 0) || err == nil && got != uint32(want) {
			t.Errorf("%s is %d (%v)", record, got, err)
		}
	}
}

// entry is a record with the bytes from 21 to 23 and from 29 to 35 given.
func entry(t testing.TB, status byte, amount, when string) []byte {
	record := make([]byte, 37)
	record[0] = status
	copy(record[21:], unhex(t, amount))
	copy(record[29:], unhex(t, when))
	return record
}

func TestParseEntry(t *testing.T) {
	got, err := geldkarte.ParseEntry(entry(t, 0x45, "000150", "20130427135906"))
	want := geldkarte.Entry{Kind: geldkarte.Purchase, Amount: 150, Time: time.Date(2013, 4, 27, 13, 59, 6, 0, time.UTC)}
	if err != nil || got != want || got.Kind.String() != "purchase" {
		t.Errorf("got %+v (%v)", got, err)
	}
	if _, err := geldkarte.ParseEntry(make([]byte, 37)); !errors.Is(err, geldkarte.ErrUnused) {
		t.Errorf("an unused record: %v", err)
	}
	for name, record := range map[string][]byte{
		"short": make([]byte, 35), "an amount": entry(t, 0, "00015f", "20130427135906"), "a year": entry(t, 0, "000150", "2a130427135906"),
		"a month": entry(t, 0, "000150", "20131327135906"), "a day": entry(t, 0, "000150", "20130431135906"),
		"an hour": entry(t, 0, "000150", "20130427245906"), "a second": entry(t, 0, "000150", "20130427135960"), "a digit": entry(t, 0, "000150", "201304271359ff"),
	} {
		if got, err := geldkarte.ParseEntry(record); err == nil {
			t.Errorf("%s is %+v", name, got)
		}
	}
}

func TestVirtual(t *testing.T) {
	id := geldkarte.ID{Number: "0500001111", ExpiryYear: 2027, ExpiryMonth: 3}
	entries := []geldkarte.Entry{
		{Kind: geldkarte.Purchase, Amount: 250, Time: time.Date(2026, 11, 26, 5, 30, 59, 0, time.UTC)},
		{Kind: geldkarte.Load, Amount: 5000, Time: time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)},
	}
	card, err := geldkarte.NewVirtual(id, 4750, entries)
	if err != nil {
		t.Fatal(err)
	}
	send := func(command []byte) (data []byte, status purse.StatusWord) {
		answer, err := card.Transmit(command)
		if err != nil {
			t.Fatal(err)
		}
		data, status, err = purse.Answer(answer)
		if err != nil {
			t.Fatal(err)
		}
		return data, status
	}
	if _, status := send(geldkarte.IDCommand()); status != purse.OutOfOrder {
		t.Errorf("before SELECT: %v", status)
	}
	if _, status := send(purse.Command(purse.Select, 4, 0, []byte(purse.CardAID))); status != purse.NotFound {
		t.Errorf("as a card of PWP1: %v", status)
	}
	if data, status := send(purse.Command(purse.Select, 4, 0, []byte(geldkarte.AID))); status != purse.Done || !bytes.HasSuffix(data, []byte(geldkarte.AID)) {
		t.Errorf("SELECT: %X %v", data, status)
	}
	data, _ := send(geldkarte.IDCommand())
	if got, err := geldkarte.ParseID(data); err != nil || got != id {
		t.Errorf("%+v (%v)", got, err)
	}
	data, _ = send(geldkarte.BalanceCommand())
	if got, err := geldkarte.ParseBalance(data); err != nil || got != 4750 {
		t.Errorf("%d (%v)", got, err)
	}
	for i, want := range entries {
		data, _ = send(geldkarte.EntryCommand(byte(i + 1)))
		if got, err := geldkarte.ParseEntry(data); err != nil || got != want {
			t.Errorf("%+v (%v)", got, err)
		}
	}
	for name, c := range map[string]struct {
		command []byte
		want    purse.StatusWord
	}{
		"a record that is not there": {geldkarte.EntryCommand(3), purse.NoRecord}, "record 0": {geldkarte.EntryCommand(0), purse.NoRecord},
		"another file": {[]byte{0, 0xB2, 1, 0x0C, 0}, purse.NotFound}, "a payment": {purse.Command(purse.Debit, 0, 0, make([]byte, 51)), purse.NoInstruction},
		"nothing": {nil, purse.WrongLength},
	} {
		if _, status := send(c.command); status != c.want {
			t.Errorf("%s: %v", name, status)
		}
	}
	card.Reset()
	if _, status := send(geldkarte.BalanceCommand()); status != purse.OutOfOrder {
		t.Errorf("after a reset: %v", status)
	}
	if _, err := geldkarte.NewVirtual(id, 1_000_000, nil); err == nil {
		t.Error("a card holds 10,000.00")
	}
	if _, err := geldkarte.NewVirtual(geldkarte.ID{Number: "12", ExpiryYear: 2027, ExpiryMonth: 3}, 0, nil); err == nil {
		t.Error("a number of two digits")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(f, "6725904415000011113d2512"))
	f.Add(unhex(f, "020000"))
	f.Add(entry(f, 0x45, "000150", "20130427135906"))
	f.Fuzz(func(t *testing.T, record []byte) {
		if id, err := geldkarte.ParseID(record); err == nil && len(id.Number) != 10 {
			t.Errorf("%x is %+v", record, id)
		}
		if balance, err := geldkarte.ParseBalance(record); err == nil && balance > 999_999 {
			t.Errorf("%x is %d", record, balance)
		}
		if entry, err := geldkarte.ParseEntry(record); err == nil && (entry.Amount > 999_999 || entry.Time.Year() > 9999) {
			t.Errorf("%x is %+v", record, entry)
		}
	})
}
