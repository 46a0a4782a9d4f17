package payword_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

var (
	dayPass = payword.PassTerms{Scope: payword.PassScope{1}, Seconds: 86_400}
	fareCap = payword.PassTerms{Scope: payword.PassScope{2}, Seconds: 86_400, Price: 1000}
)

// passState is a state with credit for anything.
func passState() (*payword.Commitment, payword.State) {
	m := stateTerms()
	state := payword.NewState(m, m.Limit, 1)
	state.Advance(0, payword.Tail{Index: 400})
	state.Advance(1, payword.Tail{Index: 20})
	return m, state
}

func passCharge(number uint64, price money.Amount, terms payword.PassTerms, now int64) *payword.Charge {
	return &payword.Charge{Number: number, Price: price, Pass: terms, Now: now,
		Fingerprint: payword.NewFingerprint("GET", "a", "", "")}
}

func TestPassIsBoughtOnce(t *testing.T) {
	m, state := passState()
	now := int64(1_790_000_000)
	for number := uint64(1); number <= 30; number++ {
		want := money.Amount(0)
		if number == 1 {
			want = 300
		}
		outcome := state.Charge(m, passCharge(number, 300, dayPass, now))
		if outcome.Reason != payword.Accepted || outcome.Price != want || outcome.PassUntil != now+86_400 {
			t.Fatalf("number %d: %+v, want a price of %d", number, outcome, want)
		}
	}
	if state.Spent() != 300 {
		t.Errorf("spent %d, want 300", state.Spent())
	}
	if outcome := state.Charge(m, passCharge(31, 300, fareCap, now)); outcome.Price != 300 || outcome.PassUntil != 0 {
		t.Errorf("elsewhere: %+v, want a price of 300", outcome)
	}
	if outcome := state.Charge(m, passCharge(32, 300, dayPass, now+86_399)); outcome.Price != 0 {
		t.Errorf("in its last second: %+v, want a price of 0", outcome)
	}
	if outcome := state.Charge(m, passCharge(33, 300, dayPass, now+86_400)); outcome.Price != 300 || outcome.PassUntil != now+2*86_400 {
		t.Errorf("when it has ended: %+v, want another pass for 300", outcome)
	}
}

func TestPassIsGoodOverMaxAndOnRepeats(t *testing.T) {
	m, state := passState()
	now := int64(1_790_000_000)
	state.Charge(m, passCharge(1, 300, dayPass, now))
	over := passCharge(2, 300, dayPass, now)
	over.OverMax = true
	if outcome := state.Charge(m, over); outcome.Reason != payword.Accepted || outcome.Price != 0 {
		t.Errorf("under a pass nothing is over the max: %+v", outcome)
	}
	for _, number := range []uint64{1, 2} {
		if outcome := state.Charge(m, passCharge(number, 300, dayPass, now+1)); outcome.Reason != payword.Accepted || !outcome.Repeat {
			t.Errorf("number %d again: %+v, want a repeat", number, outcome)
		}
	}
	if state.Spent() != 300 {
		t.Errorf("spent %d, want 300", state.Spent())
	}
}

func TestFareCap(t *testing.T) {
	m, state := passState()
	now := int64(1_790_000_000)
	for number := uint64(1); number <= 10; number++ {
		want := money.Amount(300)
		if number > 4 {
			want = 0
		}
		if outcome := state.Charge(m, passCharge(number, 300, fareCap, now+int64(number))); outcome.Price != want {
			t.Errorf("number %d costs %d, want %d", number, outcome.Price, want)
		}
	}
	if until := now + 1 + 86_400; len(state.AllPasses()) != 1 || state.AllPasses()[0].Until != until {
		t.Errorf("passes are %+v, want one until %d: its time begins with the first charge", state.AllPasses(), until)
	}
}

// A pass goes with the price that bought it, unless it was used: otherwise a
// request that fails slowly would be free reading as long as it takes.
func TestPassIsTakenBack(t *testing.T) {
	now := int64(1_790_000_000)
	for _, test := range []struct {
		name           string
		used           bool
		wantReturned   money.Amount
		wantPriceAfter money.Amount
	}{
		{"not used", false, 300, 300},
		{"used", true, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, state := passState()
			state.Charge(m, passCharge(1, 300, dayPass, now))
			if test.used {
				state.Charge(m, passCharge(2, 300, dayPass, now))
			}
			if got := state.GiveBack(1, now+1); got != test.wantReturned {
				t.Errorf("gave back %d, want %d", got, test.wantReturned)
			}
			if outcome := state.Charge(m, passCharge(3, 300, dayPass, now+2)); outcome.Price != test.wantPriceAfter {
				t.Errorf("the next one costs %d, want %d", outcome.Price, test.wantPriceAfter)
			}
			if state.Spent() != 300 {
				t.Errorf("spent %d, want 300", state.Spent())
			}
		})
	}
}

// stepPass does something to a state that concerns passes.
func stepPass(t *rapid.T, m *payword.Commitment, state *payword.State, now int64) {
	number := rapid.Uint64Range(1, 12).Draw(t, "number")
	terms := rapid.SampledFrom([]payword.PassTerms{dayPass, fareCap, {}, {Scope: payword.PassScope{3}, Seconds: 5}}).Draw(t, "terms")
	switch rapid.IntRange(0, 3).Draw(t, "what") {
	case 0:
		state.GiveBack(number, now)
	case 1:
		state.TrueUp(number, 100, now)
	default:
		state.Charge(m, passCharge(number, 300, terms, now))
	}
}

// States that went apart merge to the same in any order, and a second time
// changes nothing; passes stay within their bounds whatever happens.
func TestMergeOfPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, base := passState()
		now := int64(1_790_000_000)
		states := [3]payword.State{}
		for range rapid.IntRange(0, 8).Draw(t, "common steps") {
			stepPass(t, m, &base, now)
		}
		for k := range states {
			states[k] = copyOf(&base)
			later := now
			for range rapid.IntRange(0, 8).Draw(t, "steps") {
				later += rapid.Int64Range(0, 4).Draw(t, "seconds")
				stepPass(t, m, &states[k], later)
			}
		}
		merged := func(order ...int) payword.State {
			all := copyOf(&states[order[0]])
			for _, k := range order[1:] {
				all.Merge(&states[k])
			}
			return all
		}
		want := merged(0, 1, 2)
		for _, order := range [][]int{{2, 1, 0}, {1, 2, 0}, {0, 1, 2, 1, 0}} {
			if got := merged(order...); !slices.Equal(got.AllPasses(), want.AllPasses()) {
				t.Fatalf("merged in the order %v:\n got %+v\nwant %+v", order, got.AllPasses(), want.AllPasses())
			}
		}
		again := copyOf(&want)
		if again.Merge(&want); !slices.Equal(again.AllPasses(), want.AllPasses()) {
			t.Fatalf("merging a state with itself changed %+v to %+v", want.AllPasses(), again.AllPasses())
		}
		for _, pass := range want.AllPasses() {
			if pass.Returned < 0 || pass.Returned > pass.Paid || pass.Price < 1 {
				t.Fatalf("a pass that cannot be: %+v", pass)
			}
		}
		if len(want.AllPasses()) > payword.MaxPasses || want.Spent() < 0 {
			t.Fatalf("%d passes, %d spent", len(want.AllPasses()), want.Spent())
		}
	})
}

// A state that only went on since another was seen learns nothing from it, so
// whoever merges an old one can tell that nothing was lost. Passes end
// meanwhile, and what ended is not brought back.
func TestMergeOfWhatAStateGrewFrom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, state := passState()
		now := int64(1_790_000_000)
		grow := func(what string) {
			for range rapid.IntRange(0, 12).Draw(t, what) {
				now += rapid.SampledFrom([]int64{0, 0, 1, 7, payword.RefundSeconds}).Draw(t, "seconds")
				stepPass(t, m, &state, now)
			}
		}
		grow("steps before")
		older := copyOf(&state)
		grow("steps after")
		newer := copyOf(&state)
		if state.Merge(&older) {
			t.Fatalf("merging what it grew from changed a state:\n from %+v %+v\n  was %+v %+v\n  got %+v %+v",
				older, older.AllPasses(), newer, newer.AllPasses(), state, state.AllPasses())
		}
	})
}

func TestPassesAreBounded(t *testing.T) {
	m, state := passState()
	for k := range 3 * payword.MaxPasses {
		terms := payword.PassTerms{Scope: payword.PassScope{byte(k)}, Seconds: 1000 + int64(k)}
		state.Charge(m, passCharge(uint64(k+1), 1, terms, 1_790_000_000))
	}
	if len(state.AllPasses()) != payword.MaxPasses {
		t.Errorf("%d passes are remembered, want %d", len(state.AllPasses()), payword.MaxPasses)
	}
}
