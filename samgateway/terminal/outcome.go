package terminal

import (
	"fmt"
	"slices"

	"github.com/paywordhq/payword/internal/purse"
)

// maxNotes bounds the outcomes that nobody has asked for yet. The log has all.
const maxNotes = 1000

// note keeps what became of a transaction, for whoever asks next.
func (t *Terminal) note(x transaction) {
	t.noteOutcome(Outcome{Matter: x.matter(), State: x.State, Sentence: sentenceOf(x.Kind, x.State, x.Reason)})
}

func (t *Terminal) noteLoad(l load) {
	t.noteOutcome(Outcome{Matter: l.matter(), State: l.State, Sentence: sentenceOf(KindLoad, l.State, l.Reason)})
}

func (t *Terminal) noteOutcome(o Outcome) {
	about := []any{"kind", string(o.Kind), "state", string(o.State), "card", o.Card.String()}
	if o.TNo != 0 {
		about = append(about, "transaction", o.TNo)
	}
	if o.Load != (purse.ID{}) {
		about = append(about, "load", o.Load.String())
	}
	t.log.Info("decided", append(about, "what", o.Sentence)...)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if len(t.notes) < maxNotes {
		t.notes = append(t.notes, o)
	}
}

// forgetNote removes what a caller is told by other means.
func (t *Terminal) forgetNote(isTold func(Matter) bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.notes = slices.DeleteFunc(t.notes, func(o Outcome) bool { return isTold(o.Matter) })
}

// drain returns what was decided since the last time.
func (t *Terminal) drain() []Outcome {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	notes := t.notes
	t.notes = nil
	return notes
}

var sentences = map[State]string{
	Recorded: "the card paid, and the SAM has it", Booked: "the card paid, and clearing has booked it",
	Funded: "the card paid, and the account has the money", Cashed: "the card paid: hand out the cash",
	Cancelled: "it is cancelled", Voided: "the card did not pay",
	Unproved: "the card did not come back: it is void, and if the card paid, its holder gets it back when it is put in here again",
	Claiming: "the card paid what is void: clearing is asked to give it back", Claimed: "the card paid what is void: its holder gets it back from clearing",
	RefusedForGood: "clearing does not take it", Lost: "nobody here can know what became of it",
	Loaded: "the card took the load", NotLoaded: "the card did not take the load, and its account has the money again",
	Settled: "clearing has settled the load by itself", Scripted: "the card has done what its issuer wanted",
}

// sentenceOf says for people what became of something.
func sentenceOf(kind Kind, state State, reason string) string {
	sentence := sentences[state]
	if kind == KindCancellation && state == Recorded {
		sentence = "the card has its last payment back"
	}
	if kind == KindCancellation && state == Voided {
		sentence = "the card's last payment was not cancelled"
	}
	if kind == KindCancellation && state == Unproved {
		sentence = "the card did not come back: its last payment counts, unless the card has it back"
	}
	if reason != "" {
		sentence = fmt.Sprintf("%s: %s", sentence, reason)
	}
	return sentence
}
