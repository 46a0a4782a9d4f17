package purse_test

import (
	"bytes"
	"hash/crc32"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

// commandsOf cuts bytes into commands: a byte says how long each is.
func commandsOf(text []byte) (commands [][]byte) {
	for len(text) > 0 && len(commands) < 64 {
		length := min(int(text[0]), len(text)-1)
		commands = append(commands, text[1:1+length])
		text = text[1+length:]
	}
	return commands
}

// addTraces adds the commands of the vectors that go to one applet.
func addTraces(f *testing.F, to string) {
	for _, v := range readVectors(f) {
		var all []byte
		for _, exchange := range v.Input.Exchanges {
			if exchange.To == to {
				all = append(append(all, byte(len(exchange.Command))), exchange.Command...)
			}
		}
		if len(all) > 0 {
			f.Add(all)
		}
	}
}

// hostile sends commands, none of which may end in an error or a long answer.
func hostile(t *testing.T, to applet, commands [][]byte) (answers [][]byte) {
	for _, command := range commands {
		answer, err := to.Transmit(bytes.Clone(command))
		if err != nil || len(answer) < 2 || len(answer) > 256 {
			t.Fatalf("%X is answered %X (%v)", command, answer, err)
		}
		answers = append(answers, answer)
	}
	return answers
}

// numbersOf selects an application and returns its answer to GET DATA.
func numbersOf(t *testing.T, of applet, aid string) []byte {
	return hostile(t, of, [][]byte{purse.Command(purse.Select, 4, 0, []byte(aid)), purse.Command(purse.GetData, 0, 0, nil)})[1]
}

// The traces that this begins with load 50.00 once: no more can come of them,
// whatever becomes of the bytes.
func FuzzCard(f *testing.F) {
	addTraces(f, "card")
	f.Fuzz(func(t *testing.T, text []byte) {
		random := &repeated{bytes: unhex(t, "404142434445464748494A4B4C4D4E4F")}
		card, memory := issueCard(t, cardIssue(t), random)
		hostile(t, card, commandsOf(text))
		last := numbersOf(t, card, purse.CardAID)
		if said, err := purse.ParseCardData(last[:len(last)-2]); err != nil || said.Balance > 5000 || said.LNo > 1 {
			t.Errorf("%+v (%v)", said, err)
		}
		again, err := purse.OpenCard(memory, random)
		if err != nil {
			t.Fatal(err)
		}
		if got := numbersOf(t, again, purse.CardAID); !bytes.Equal(got, last) {
			t.Errorf("opened again it says %X, before %X", got, last)
		}
	})
}

// The same of a SAM: it takes no more than the trace paid.
func FuzzSAM(f *testing.F) {
	addTraces(f, "sam")
	f.Fuzz(func(t *testing.T, text []byte) {
		random := &repeated{bytes: unhex(t, "808182838485868788898A8B8C8D8E8F")}
		sam, memory := issueSAM(t, samIssue(t), random)
		hostile(t, sam, commandsOf(text))
		last := numbersOf(t, sam, purse.SAMAID)
		if said, err := purse.ParseSAMData(last[:len(last)-2]); err != nil || said.Sum > 200 || said.Sum > said.Limit {
			t.Errorf("%+v (%v)", said, err)
		}
		again, err := purse.OpenSAM(memory, random)
		if err != nil {
			t.Fatal(err)
		}
		if got := numbersOf(t, again, purse.SAMAID); !bytes.Equal(got, last) {
			t.Errorf("opened again it says %X, before %X", got, last)
		}
	})
}

// A state that is none is an error, also where its checksum is right.
func FuzzState(f *testing.F) {
	d := newDesk(f)
	d.load(f, 5000)
	for range 3 {
		d.pay(f, 10)
	}
	f.Add(d.chip.state)
	f.Add(d.safe.state)
	d.order(f, 9)
	f.Add(d.safe.state)
	table := crc32.MakeTable(crc32.Castagnoli)
	f.Fuzz(func(t *testing.T, state []byte) {
		sum := crc32.Checksum(state[:max(0, len(state)-4)], table)
		for _, framed := range [][]byte{state, append(bytes.Clone(state[:max(0, len(state)-4)]), be(sum)...)} {
			if card, err := purse.OpenCard(&chip{state: framed}, &repeated{bytes: []byte{1}}); err == nil {
				hostile(t, card, [][]byte{
					purse.Command(purse.Select, 4, 0, []byte(purse.CardAID)), purse.Command(purse.GetData, 0, 0, nil),
					purse.Command(purse.Verify, 0, 0x80, []byte("4711")), purse.Command(purse.ReadRecord, 1, 0x0C, nil),
					purse.Command(purse.ReadRecord, 1, 0x14, nil), purse.Command(purse.StartPay, 0, 0, purse.Opening{TNo: 1}.Append(nil)),
					purse.Command(purse.Recover, 0, 0, be(1, bytes.Repeat([]byte{1}, 28))), purse.Command(purse.InitLoad, 0, 0, loadRequest(1)),
				})
			}
			if sam, err := purse.OpenSAM(&chip{state: framed}, &repeated{bytes: []byte{1}}); err == nil {
				hostile(t, sam, [][]byte{
					purse.Command(purse.Select, 4, 0, []byte(purse.SAMAID)), purse.Command(purse.GetData, 0, 0, nil),
					purse.Command(purse.GetRecord, 0, 0, be(1)), purse.Command(purse.VoidPay, 0, 0, be(4)),
					purse.Command(purse.InitPay, 0, 0, payRequest(1, 1)), purse.Command(purse.CloseBatch, 0, 0, nil),
				})
			}
		}
	})
}

func FuzzMessages(f *testing.F) {
	d := newDesk(f)
	d.load(f, 5000)
	paid, _ := d.pay(f, 10)
	f.Add(paid)
	f.Add(append([]byte{1}, paid...))
	f.Add(done(f, d.card, purse.CancelLast, 0, 0, d.orderCancel(f, 1)))
	f.Add(done(f, d.card, purse.GetData, 0, 0, nil))
	f.Add(done(f, d.sam, purse.GetData, 0, 0, nil))
	f.Add(done(f, d.card, purse.ReadRecord, 1, 0x14, nil))
	written := map[string]func(text []byte) ([]byte, error){
		"paid": func(text []byte) ([]byte, error) { m, err := purse.ParsePaid(text); return m.Append(nil), err },
		"recovered": func(text []byte) ([]byte, error) {
			paid, denied, isPaid, err := purse.ParseRecovered(text)
			if isPaid {
				return append([]byte{1}, paid.Append(nil)...), err
			}
			return denied.Append(nil), err
		},
		"opening":      func(text []byte) ([]byte, error) { m, err := purse.ParseOpening(text); return m.Append(nil), err },
		"order":        func(text []byte) ([]byte, error) { m, err := purse.ParseOrder(text); return m.Append(nil), err },
		"cancellation": func(text []byte) ([]byte, error) { m, err := purse.ParseCancellation(text); return m.Append(nil), err },
		"record":       func(text []byte) ([]byte, error) { m, err := purse.ParseRecord(text); return m.Append(nil), err },
		"card data":    func(text []byte) ([]byte, error) { m, err := purse.ParseCardData(text); return m.Append(nil), err },
		"script state": func(text []byte) ([]byte, error) { m, err := purse.ParseScriptState(text); return m.Append(nil), err },
		"SAM data":     func(text []byte) ([]byte, error) { m, err := purse.ParseSAMData(text); return m.Append(nil), err },
		"load entry":   func(text []byte) ([]byte, error) { m, err := purse.ParseLoadEntry(text); return m.Append(nil), err },
		"start": func(text []byte) ([]byte, error) {
			m, mac, err := purse.ParseStart(text)
			return append(m.Append(nil), mac[:]...), err
		},
		"cancel order": func(text []byte) ([]byte, error) {
			m, mac, err := purse.ParseCancelOrder(text)
			return append(m.Append(nil), mac[:]...), err
		},
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for name, write := range written {
			if got, err := write(text); err == nil && !bytes.Equal(got, text) {
				t.Errorf("%s %x is written as %x", name, text, got)
			}
		}
	})
}
