package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/paywordhq/payword/internal/purse"
)

// cardScript is what the issuer wants of a card, as it is stored.
type cardScript struct {
	card, state      string
	count, kind, key int64 // key: the version of the card's
	command, answer  []byte
	ended            int64 // microseconds since 1970
	done             int64 // the number of the card's last script that is done
	isCardKnown      bool
}

func (s *cardScript) name() string { return fmt.Sprintf("script %d of card %s", s.count, s.card) }

// checkScripts checks that the scripts of each card are numbered without a gap,
// that the issuer signed each, and that the card did those that are done.
func (a *auditor) checkScripts(ctx context.Context) error {
	before := new(cardScript)
	return a.snapshot.each(ctx, func(scan scanner) error {
		s := new(cardScript)
		err := scan(&s.card, &s.count, &s.kind, &s.command, &s.state, &s.answer, &s.ended, &s.key, &s.isCardKnown, &s.done)
		if err != nil {
			return err
		}
		if before.card != s.card {
			before = new(cardScript)
		}
		if s.count != before.count+1 {
			a.find(ScriptDiffers, s.name(), fmt.Sprintf("the one before it is %d", before.count), "it is the next one")
		}
		before = s
		a.checkScriptState(s)
		a.checkScriptMACs(s)
		return nil
	}, `SELECT s.cid, s.count, s.kind, s.command, s.state, s.answer, s.ended, COALESCE(c.key_version, 0), CASE WHEN c.cid IS NULL THEN 0 ELSE 1 END,
			COALESCE((SELECT MAX(d.count) FROM cards_scripts d WHERE d.cid = s.cid AND d.state = 'done'), 0)
		FROM cards_scripts s LEFT JOIN cards_cards c ON c.cid = s.cid ORDER BY s.cid, s.count`)
}

// checkScriptState: the card does scripts in the order of their numbers, and says
// so of each that it did.
func (a *auditor) checkScriptState(s *cardScript) {
	isAnswered := len(s.answer) > 0
	want := "waiting"
	switch {
	case isAnswered:
		want = "done"
	case s.count < s.done:
		want = "passed"
	}
	if s.state != want || (s.ended > 0) != (want != "waiting") {
		a.find(ScriptDiffers, s.name(), fmt.Sprintf("it is %s: the card has answered: %t, and did script %d", want, isAnswered, s.done),
			fmt.Sprintf("it is %s, ended %d", s.state, s.ended))
	}
}

// checkScriptMACs reads the command and checks its MAC and that of the answer,
// where the keys are given.
func (a *auditor) checkScriptMACs(s *cardScript) {
	const header, numbers = 5, 4 + 16 // CNT and MAC
	end := len(s.command) - 1         // Le
	if end < header+numbers || s.command[0] != 0x80 || s.command[1] != byte(purse.Script) || int64(s.command[2]) != s.kind || s.command[3] != 0 ||
		int(s.command[4]) != end-header || int64(binary.BigEndian.Uint32(s.command[end-numbers:])) != s.count {
		a.find(ScriptDiffers, s.name(), fmt.Sprintf("the command is %X", s.command[:min(len(s.command), header)]), fmt.Sprintf("it is of kind %d", s.kind))
		return
	}
	if a.options.CardKeys == nil || !s.isCardKnown {
		return
	}
	a.signatures.Add(1)
	card, err := purse.ParseID(s.card)
	if err != nil {
		a.find(ScriptDiffers, s.name(), "there is no such card: "+err.Error(), "it waits, or is done")
		return
	}
	key, err := a.options.CardKeys.LoadKey(byte(s.key), card)
	if err != nil {
		a.note("scripts of cards were not checked whose keys are not given")
		return
	}
	mac := key.MAC([]byte{0xD1, 1}, card[:], []byte{byte(s.kind)}, binary.BigEndian.AppendUint32(nil, uint32(s.count)), s.command[header:end-numbers])
	if !bytes.Equal(mac[:], s.command[end-16:end]) {
		a.find(ScriptDiffers, s.name(), "the issuer has not signed the command", fmt.Sprintf("it is of kind %d", s.kind))
	}
	scripts := purse.Scripts{Key: key, Card: card}
	if len(s.answer) > 0 && !scripts.IsDone(purse.ScriptKind(s.kind), uint32(s.count), s.answer) {
		a.find(ScriptDiffers, s.name(), "the card has not said that it did it", "it is "+s.state)
	}
}
