package payword_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// stateTerms is a commitment of three chains, enough for State, which looks at
// no signature.
func stateTerms() *payword.Commitment {
	return &payword.Commitment{
		Limit: 60_000,
		Chains: []payword.ChainTerms{
			{Root: payword.Payword{1}, Unit: 100, Length: 400},
			{Root: payword.Payword{2}, Unit: 1000, Length: 40},
			{Root: payword.Payword{3}, Unit: 7, Length: 1 << 20},
		},
	}
}

// modelRequest is a number that was charged.
type modelRequest struct {
	request string
	at      int64 // when it was charged last
	price   money.Amount
	grants  int
}

// model is a State in the plainest way: everything is remembered for ever.
type model struct {
	m         *payword.Commitment
	state     payword.State
	requests  map[uint64]*modelRequest
	highest   uint64
	indices   [payword.MaxChains]uint32
	cap       money.Amount
	now       int64
	claimable money.Amount // the most that was ever claimable
}

func newModel(cap money.Amount) *model {
	m := stateTerms()
	return &model{m: m, state: payword.NewState(m, cap, 1), requests: make(map[uint64]*modelRequest), cap: cap, now: 1_790_000_000}
}

func (d *model) accepted() money.Amount {
	value := money.Amount(0)
	for k, chain := range d.m.Chains {
		value += chain.Unit * money.Amount(d.indices[k])
	}
	return min(value, d.cap)
}

func (d *model) spent() money.Amount {
	value := money.Amount(0)
	for _, r := range d.requests {
		if r.grants > 0 {
			value += r.price
		}
	}
	return value
}

// stale reports whether a number is too far behind.
func (d *model) stale(number uint64) bool { return number+payword.WindowSize <= d.highest }

// charge says what must come of a charge, and does it.
func (d *model) charge(number uint64, request string, price money.Amount, unsafe bool) (reason payword.Reason, repeat bool) {
	known := d.requests[number]
	forgotten := known != nil && d.now >= known.at+payword.RefundSeconds
	switch {
	case d.stale(number):
		return payword.StaleNumber, false
	case known != nil && (forgotten || known.request != request):
		return payword.AlreadyUsed, false
	case known != nil && known.grants > 0 && (d.now >= known.at+payword.RepeatSeconds || known.grants > payword.MaxRepeats):
		return payword.AlreadyUsed, false
	case known != nil && known.grants > 0 && known.price == 0 && price > 0:
		return payword.AlreadyUsed, false
	case known != nil && known.grants > 0 && unsafe:
		return payword.AlreadyExecuted, false
	case known != nil && known.grants > 0:
		known.grants++
		return payword.Accepted, true
	case d.accepted()-d.spent() < price:
		return payword.InsufficientCredit, false
	}
	at := d.now
	if known != nil {
		at = max(at, known.at+1)
	}
	d.requests[number] = &modelRequest{request: request, at: at, price: price, grants: 1}
	d.highest = max(d.highest, number)
	return payword.Accepted, false
}

// giveBack says what must be given back, and does it.
func (d *model) giveBack(number uint64) money.Amount {
	known := d.requests[number]
	if known == nil || known.grants == 0 || d.now >= known.at+payword.RefundSeconds {
		return 0
	}
	if known.grants--; known.grants > 0 {
		return 0
	}
	return known.price
}

// number draws a request number: one of a few, so that they repeat, or one
// around the ends of the window.
func (d *model) number(t *rapid.T) uint64 {
	near := rapid.Uint64Range(1, 12).Draw(t, "number")
	switch rapid.IntRange(0, 7).Draw(t, "where") {
	case 0:
		return d.highest + near
	case 1:
		return max(1, d.highest-min(d.highest, payword.WindowSize-6)-min(near, d.highest/2)+6)
	case 2:
		return d.highest + payword.WindowSize - 6 + near
	}
	return max(1, d.highest-min(d.highest, near))
}

// chargeRandomly charges on the state and on the model and compares.
func (d *model) chargeRandomly(t *rapid.T) {
	chain := rapid.IntRange(0, 2).Draw(t, "chain")
	index := min(d.m.Chains[chain].Length, d.indices[chain]+rapid.Uint32Range(0, 9).Draw(t, "ahead"))
	index -= min(index, rapid.Uint32Range(0, 4).Draw(t, "behind"))
	number, request := d.number(t), rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(t, "request")
	price := money.Amount(rapid.Int64Range(0, 900).Draw(t, "price"))
	unsafe := rapid.IntRange(0, 5).Draw(t, "unsafe") == 0

	d.indices[chain] = max(d.indices[chain], index)
	before := d.state.Charged
	reason, repeat := d.charge(number, request, price, unsafe)
	outcome := d.state.Charge(d.m, &payword.Charge{
		Chain: uint8(chain), Tail: payword.Tail{Index: index}, Number: number,
		Fingerprint: payword.NewFingerprint("GET", request, "", ""), Price: price, Unsafe: unsafe, Now: d.now,
	})
	if outcome.Reason != reason || outcome.Repeat != repeat {
		t.Fatalf("charging number %d: got %s, repeat %t, want %s, repeat %t", number, outcome.Reason, outcome.Repeat, reason, repeat)
	}
	if charged := d.state.Charged - before; charged != 0 && (charged != price || reason != payword.Accepted || repeat) {
		t.Fatalf("number %d at %d: %d were charged, %s, repeat %t", number, price, charged, reason, repeat)
	}
}

func (d *model) giveBackRandomly(t *rapid.T) {
	number := d.number(t)
	want := d.giveBack(number)
	if got := d.state.GiveBack(number, d.now); got != want {
		t.Fatalf("giving number %d back: got %d, want %d", number, got, want)
	}
}

// check compares what always holds.
func (d *model) check(t *rapid.T) {
	if got, want := d.state.Spent(), d.spent(); got != want {
		t.Fatalf("spent: got %d, want %d", got, want)
	}
	accepted := d.state.Accepted(d.m)
	if accepted != d.accepted() || accepted > d.cap || d.state.Spent() > accepted || d.state.Returned > d.state.Charged {
		t.Fatalf("accepted %d (want %d), cap %d, spent %d, charged %d, returned %d",
			accepted, d.accepted(), d.cap, d.state.Spent(), d.state.Charged, d.state.Returned)
	}
	if got := d.state.Credit(d.m); got != accepted-d.state.Spent() {
		t.Fatalf("credit: got %d, want %d", got, accepted-d.state.Spent())
	}
	claimable := d.state.Claimable(d.now, payword.RefundSeconds)
	if claimable < d.claimable || claimable > d.state.Spent() {
		t.Fatalf("claimable: %d after %d, with %d spent", claimable, d.claimable, d.state.Spent())
	}
	d.claimable = claimable
}

// copyOf returns a state that shares nothing with s.
func copyOf(s *payword.State) payword.State {
	other := *s
	other.Recent = slices.Clone(s.Recent)
	return other
}

// actions are what happens to a state.
func (d *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"charge":       d.chargeRandomly,
		"charge again": d.chargeRandomly,
		"give back":    d.giveBackRandomly,
		"wait": func(t *rapid.T) {
			d.now += rapid.SampledFrom([]int64{1, 20, 59, 60, 400, 899, 900}).Draw(t, "seconds")
		},
		"top up": func(t *rapid.T) {
			amount := money.Amount(rapid.Int64Range(1, 70_000).Draw(t, "amount"))
			sequence := d.state.Sequence + rapid.Uint32Range(0, 1).Draw(t, "newer")
			if changed := d.state.TopUp(d.m, amount, sequence); changed {
				d.cap = max(d.cap, min(amount, d.m.Limit))
			}
			if d.state.Cap != d.cap {
				t.Fatalf("cap: got %d, want %d", d.state.Cap, d.cap)
			}
		},
		"acknowledge a claim": func(*rapid.T) { d.state.Claimed = d.state.Claimable(d.now, payword.RefundSeconds) },
		"":                    d.check,
	}
}

// rapid prints the seed of a run that fails.
func TestStateAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newModel(money.Amount(rapid.Int64Range(1, 60_000).Draw(t, "cap")))
		t.Repeat(d.actions())
	})
}

// A node's last-seen state that is older than the store's changes nothing; one
// that is newer makes it the same.
func TestMergeOfOlderAndNewer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newModel(60_000)
		older := copyOf(&d.state)
		actions := d.actions()
		actions["see"] = func(*rapid.T) { older = copyOf(&d.state) }
		check := d.check
		actions[""] = func(t *rapid.T) {
			check(t)
			store := copyOf(&d.state)
			if store.Merge(&older) || !sameState(&store, &d.state) || !slices.Equal(store.Recent, d.state.Recent) {
				t.Fatalf("merging an older state changed a newer one:\n got %+v\nwant %+v", store, d.state)
			}
			mended := copyOf(&older)
			if mended.Merge(&d.state); !sameState(&mended, &d.state) {
				t.Fatalf("merging a newer state:\n got %+v\nwant %+v", mended, d.state)
			}
			for _, number := range []uint64{d.highest, max(1, d.highest) - 1} {
				want, got := copyOf(&d.state), copyOf(&mended)
				request := payword.Charge{Number: number, Fingerprint: payword.NewFingerprint("GET", "a", "", ""), Now: d.now}
				if a, b := want.Charge(d.m, &request), got.Charge(d.m, &request); number > 0 && a.Reason == payword.Accepted && b.Reason != a.Reason {
					t.Fatalf("number %d after a merge: got %s, want %s", number, b.Reason, a.Reason)
				}
			}
		}
		t.Repeat(actions)
	})
}

// sameState compares everything but what is remembered of requests.
func sameState(a, b *payword.State) bool {
	x, y := *a, *b
	for k := range x.Tails {
		if x.Tails[k].Index != y.Tails[k].Index {
			return false
		}
		x.Tails[k], y.Tails[k] = payword.Tail{}, payword.Tail{}
	}
	return x.Tails == y.Tails && x.Cap == y.Cap && x.Sequence == y.Sequence && x.Charged == y.Charged &&
		x.Returned == y.Returned && x.Claimed == y.Claimed && x.Closed == y.Closed &&
		x.Highest == y.Highest && x.Window == y.Window
}

// States that went apart merge to the same in either order, and a second time
// changes nothing. The user owes no more than was served, and spent stays
// within what was accepted.
func TestMergeOfStatesThatWentApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := newModel(60_000)
		for range rapid.IntRange(0, 12).Draw(t, "common steps") {
			step(t, base)
		}
		one, other := base.fork(), base.fork()
		for range rapid.IntRange(0, 12).Draw(t, "steps of one") {
			step(t, one)
		}
		for range rapid.IntRange(0, 12).Draw(t, "steps of the other") {
			step(t, other)
		}
		ab, ba := copyOf(&one.state), copyOf(&other.state)
		ab.Merge(&other.state)
		ba.Merge(&one.state)
		if !sameState(&ab, &ba) {
			t.Fatalf("merged one way %+v\nand the other %+v", ab, ba)
		}
		again := copyOf(&ab)
		if again.Merge(&ba) || again.Merge(&other.state) || again.Merge(&one.state) || again.Merge(&again) {
			t.Fatalf("merging again changed\n%+v to\n%+v", ab, again)
		}
		served := money.Amount(0)
		for _, request := range ab.Recent {
			if request.Grants > 0 {
				served += request.Price
			}
		}
		if ab.Spent() < 0 || ab.Spent() > served || ab.Spent() > ab.Accepted(base.m) {
			t.Fatalf("spent %d of %d, %d were served", ab.Spent(), ab.Accepted(base.m), served)
		}
		for _, request := range slices.Clone(ab.Recent) {
			for range request.Grants {
				ab.GiveBack(request.Number, max(one.now, other.now))
			}
		}
		if ab.Spent() != 0 || ab.Returned != ab.Charged {
			t.Fatalf("everything was given back: %d spent, %d charged, %d returned", ab.Spent(), ab.Charged, ab.Returned)
		}
	})
}

// fork returns a model that goes its own way.
func (d *model) fork() *model {
	other := *d
	other.state = copyOf(&d.state)
	other.requests = make(map[uint64]*modelRequest)
	for number, request := range d.requests {
		copied := *request
		other.requests[number] = &copied
	}
	return &other
}

// step charges or gives back a number, so few and so soon that nothing is
// forgotten.
func step(t *rapid.T, d *model) {
	d.now += rapid.Int64Range(0, 2).Draw(t, "seconds")
	number := rapid.Uint64Range(1, 6).Draw(t, "number")
	if rapid.Bool().Draw(t, "give back") {
		if got, want := d.state.GiveBack(number, d.now), d.giveBack(number); got != want {
			t.Fatalf("giving number %d back: got %d, want %d", number, got, want)
		}
		return
	}
	d.indices[0] = min(400, d.indices[0]+rapid.Uint32Range(0, 3).Draw(t, "ahead"))
	price := 25 * money.Amount(number) // the same request costs the same everywhere
	reason, _ := d.charge(number, "a", price, false)
	outcome := d.state.Charge(d.m, &payword.Charge{Tail: payword.Tail{Index: d.indices[0]}, Number: number,
		Fingerprint: payword.NewFingerprint("GET", "a", "", ""), Price: price, Now: d.now})
	if outcome.Reason != reason {
		t.Fatalf("charging number %d: got %s, want %s", number, outcome.Reason, reason)
	}
}

// A merge costs about as many steps as requests are remembered, not their
// square: it is on the way of every payment where there are several nodes.
func TestMergeAlignsRequests(t *testing.T) {
	m := stateTerms()
	m.Limit, m.Chains[0].Length = money.MaxAmount, payword.MaxChainLength
	state := payword.NewState(m, m.Limit, 1)
	state.Advance(0, payword.Tail{Index: payword.MaxChainLength})
	for number := uint64(1); number <= payword.WindowSize; number++ {
		outcome := state.Charge(m, &payword.Charge{Number: number, Price: 1, Now: 1_790_000_000})
		if outcome.Reason != payword.Accepted {
			t.Fatalf("number %d: %s", number, outcome.Reason)
		}
	}
	older := copyOf(&state)
	if state.Merge(&older) {
		t.Error("merging a copy changed the state")
	}
	if allocations := testing.AllocsPerRun(100, func() { state.Merge(&older) }); allocations != 0 {
		t.Errorf("merging allocates %v times, want never", allocations)
	}
}

// TestOldRequestsAreForgotten charges for an hour. What is too old to be given
// back may not pile up, nor may more than is ever remembered.
func TestOldRequestsAreForgotten(t *testing.T) {
	for _, test := range []struct {
		name      string
		perSecond uint64
		most      int
	}{
		{"one a second", 1, payword.RefundSeconds + 16},
		{"too many to be remembered", 7, 4*payword.WindowSize + 16},
	} {
		d := newModel(money.MaxAmount)
		for number := uint64(1); number <= 3600*test.perSecond; number++ {
			outcome := d.state.Charge(d.m, &payword.Charge{Number: number, Now: d.now + int64(number/test.perSecond)})
			if outcome.Reason != payword.Accepted || outcome.Repeat {
				t.Fatalf("%s: charge %d: %v", test.name, number, outcome)
			}
			if len(d.state.Recent) > test.most {
				t.Fatalf("%s: after charge %d %d requests are remembered, want %d at most", test.name, number, len(d.state.Recent), test.most)
			}
		}
	}
}

// TestMergedRequestsAreForgotten merges what another node charged between any two
// charges, so that each comes at a length that looks for nothing old.
func TestMergedRequestsAreForgotten(t *testing.T) {
	d := newModel(money.MaxAmount)
	number, most := uint64(0), 4*payword.WindowSize+16
	charge := func(s *payword.State) {
		number++
		if outcome := s.Charge(d.m, &payword.Charge{Number: number, Now: d.now}); outcome.Reason != payword.Accepted {
			t.Fatalf("charge %d: %v", number, outcome)
		}
	}
	charge(&d.state)
	for others := 14; number < 8*payword.WindowSize; others = 15 {
		other := payword.NewState(d.m, money.MaxAmount, 1)
		for range others {
			charge(&other)
		}
		d.state.Merge(&other)
		charge(&d.state)
		if len(d.state.Recent) > most {
			t.Fatalf("after charge %d %d requests are remembered, want %d at most", number, len(d.state.Recent), most)
		}
	}
}
