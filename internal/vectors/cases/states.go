package cases

// step is one call on the state of a commitment and what comes of it.
type step struct{ in, out object }

// charge asks for a price of 1000 under a number, having released up to index
// of the first chain, at a time in seconds after the start. request tells one
// request from another.
func charge(index, number int, request string, after int) object {
	return object{"do": "charge", "chain": 0, "index": index, "number": number, "request": request, "price": "1000",
		"unsafe": false, "now": now + after}
}

func giveBack(number, after int) object {
	return object{"do": "give-back", "number": number, "now": now + after}
}

// charged is what a charge gives: the reason, and what was spent and is left.
func charged(reason, spent, credit string) object {
	return object{"reason": reason, "repeat": false, "spent": spent, "credit": credit}
}

func repeated(spent, credit string) object {
	return object{"reason": accepted, "repeat": true, "spent": spent, "credit": credit}
}

func gaveBack(returned, spent, credit string) object {
	return object{"returned": returned, "spent": spent, "credit": credit}
}

// states: sequences of steps on the state of one commitment.
func states() []Case {
	var all []Case
	add := func(name, comment, expect, limit string, steps ...step) {
		c := caseOf(name, comment, expect, steps...)
		c.Input["cap"] = limit
		all = append(all, c)
	}
	const most = "1500000"
	first := step{charge(1, 1, "a", 0), charged(accepted, "1000", "0")}
	add("shuffled", "Requests in any order are all served as long as enough has been released.", accepted, most,
		step{charge(3, 3, "c", 0), charged(accepted, "1000", "2000")},
		step{charge(1, 1, "a", 0), charged(accepted, "2000", "1000")},
		step{charge(2, 2, "b", 0), charged(accepted, "3000", "0")})
	add("repeat", "The same request again is granted free for a minute.", accepted, most, first,
		step{charge(1, 1, "a", 59), repeated("1000", "0")})
	add("repeat-too-late", "And not for longer.", "already-used", most, first,
		step{charge(1, 1, "a", 60), charged("already-used", "1000", "0")})
	nine := []step{first}
	for range 8 {
		nine = append(nine, step{charge(1, 1, "a", 1), repeated("1000", "0")})
	}
	add("repeat-too-often", "Eight times and no more.", "already-used", most,
		append(nine, step{charge(1, 1, "a", 1), charged("already-used", "1000", "0")})...)
	add("already-used", "A number serves one request. The payword is taken all the same.", "already-used", most, first,
		step{charge(2, 1, "b", 0), charged("already-used", "1000", "1000")})
	unsafe := with(charge(1, 1, "a", 1), object{"unsafe": true})
	add("already-executed", "An unsafe request is not executed twice.", "already-executed", most,
		step{with(charge(1, 1, "a", 0), object{"unsafe": true}), charged(accepted, "1000", "0")},
		step{unsafe, charged("already-executed", "1000", "0")})
	add("insufficient-credit", "A refused request uses no number up and keeps what was released.", accepted, most,
		step{with(charge(1, 1, "a", 0), object{"price": "2000"}), charged("insufficient-credit", "0", "1000")},
		step{with(charge(2, 1, "a", 0), object{"price": "2000"}), charged(accepted, "2000", "0")})
	add("insufficient-credit-last", "A price of one micro is too much where nothing is left.", "insufficient-credit", most, first,
		step{with(charge(1, 2, "b", 0), object{"price": "1"}), charged("insufficient-credit", "1000", "0")})
	add("price-0", "A request for nothing uses its number up.", "already-used", most,
		step{with(charge(5, 1, "a", 0), object{"price": "0"}), charged(accepted, "0", "5000")},
		step{charge(5, 1, "b", 0), charged("already-used", "0", "5000")})
	add("free-then-not", "What was free under a number is no repeat of what costs something.", "already-used", most,
		step{with(charge(5, 1, "a", 0), object{"price": "0"}), charged(accepted, "0", "5000")},
		step{charge(5, 1, "a", 1), charged("already-used", "0", "5000")})
	add("challenge-used", "A challenge that can be used once is not granted under a second number.", "challenge-used", most,
		step{with(charge(5, 1, "a", 0), object{"single": true}), charged(accepted, "1000", "4000")},
		step{with(charge(5, 2, "a", 1), object{"single": true}), charged("challenge-used", "1000", "4000")})
	add("price-over-max", "A price above what the request agrees to is not charged.", "price-over-max", most,
		step{with(charge(5, 1, "a", 0), object{"overMax": true}), charged("price-over-max", "0", "5000")})
	add("price-over-max-repeat", "A repeat is free, whatever the price is now.", accepted, most,
		step{charge(5, 1, "a", 0), charged(accepted, "1000", "4000")},
		step{with(charge(5, 1, "a", 1), object{"price": "2000", "overMax": true}), repeated("1000", "4000")})
	add("tail-stays", "An older payword does not lower what was released.", accepted, most,
		step{charge(5, 1, "a", 0), charged(accepted, "1000", "4000")},
		step{charge(2, 2, "b", 0), charged(accepted, "2000", "3000")})
	all = append(all, windowStates()...)
	all = append(all, givenBackStates()...)
	top := object{"do": "top-up", "amount": "5000", "sequence": 2}
	add("top-up", "A later reservation raises the cap; an earlier one does not lower it.", accepted, "2000",
		step{with(charge(5, 1, "a", 0), object{"price": "3000"}), charged("insufficient-credit", "0", "2000")},
		step{top, object{"changed": true, "spent": "0", "credit": "5000"}},
		step{with(top, object{"amount": "1000", "sequence": 1}), object{"changed": false, "spent": "0", "credit": "5000"}},
		step{with(charge(5, 1, "a", 0), object{"price": "3000"}), charged(accepted, "3000", "2000")})
	add("closed", "Nothing is charged after the user closed; the payword counts.", "commitment-closed", most, first,
		step{object{"do": "close"}, object{"spent": "1000", "credit": "0"}},
		step{charge(2, 2, "b", 0), charged("commitment-closed", "1000", "1000")})
	add("cap", "The chains together prove more than the limit, and no more than it counts.", "insufficient-credit", most,
		step{with(charge(1000, 1, "a", 0), object{"price": "1000000"}), charged(accepted, "1000000", "0")},
		step{with(charge(100, 2, "b", 0), object{"chain": 1, "price": "400000"}), charged(accepted, "1400000", "100000")},
		step{with(charge(100, 3, "c", 0), object{"chain": 1, "price": "100001"}), charged("insufficient-credit", "1400000", "100000")})
	return all
}

// caseOf makes a case of steps on a commitment that is accepted up to its limit.
func caseOf(name, comment, expect string, steps ...step) Case {
	var in, out []object
	for _, s := range steps {
		in, out = append(in, s.in), append(out, s.out)
	}
	return Case{Name: name, Comment: comment, Expect: expect, Output: object{"outcomes": out},
		Input: object{"commitment": commitment(nil), "brokers": brokers(), "cap": "1500000", "steps": in}}
}

// windowStates are about numbers far apart.
func windowStates() []Case {
	return []Case{
		caseOf("stale-number", "1024 behind the highest is too far.", "stale-number",
			step{charge(9, 1025, "a", 0), charged(accepted, "1000", "8000")},
			step{charge(9, 2, "b", 0), charged(accepted, "2000", "7000")},
			step{charge(9, 1, "c", 0), charged("stale-number", "2000", "7000")}),
		caseOf("window-shift", "A number stays used while the window moves over it.", "already-used",
			step{charge(9, 1, "a", 0), charged(accepted, "1000", "8000")},
			step{charge(9, 64, "b", 0), charged(accepted, "2000", "7000")},
			step{charge(9, 129, "c", 0), charged(accepted, "3000", "6000")},
			step{charge(9, 1024, "d", 0), charged(accepted, "4000", "5000")},
			step{charge(9, 64, "x", 0), charged("already-used", "4000", "5000")},
			step{charge(9, 63, "e", 0), charged(accepted, "5000", "4000")},
			step{charge(9, 129, "x", 0), charged("already-used", "5000", "4000")},
			step{charge(9, 1, "x", 0), charged("already-used", "5000", "4000")}),
		caseOf("window-jump", "A jump past the window forgets all of it.", "stale-number",
			step{charge(9, 5, "a", 0), charged(accepted, "1000", "8000")},
			step{charge(9, 5000, "b", 0), charged(accepted, "2000", "7000")},
			step{charge(9, 3977, "c", 0), charged(accepted, "3000", "6000")},
			step{charge(9, 3976, "d", 0), charged("stale-number", "3000", "6000")},
			step{charge(9, 5, "a", 0), charged("stale-number", "3000", "6000")}),
		caseOf("largest-number", "The largest number of all.", accepted,
			step{charge(9, 999_999_999_999_999, "a", 0), charged(accepted, "1000", "8000")},
			step{charge(9, 999_999_999_999_999, "a", 1), repeated("1000", "8000")}),
	}
}

// givenBackStates are about prices that are returned.
func givenBackStates() []Case {
	claimable := func(after int, amount, spent string) step {
		return step{object{"do": "claimable", "now": now + after}, object{"claimable": amount, "spent": spent, "credit": "0"}}
	}
	first := step{charge(1, 1, "a", 0), charged(accepted, "1000", "0")}
	return []Case{
		caseOf("give-back", "A failed request spends nothing, once.", accepted, first,
			step{giveBack(1, 1), gaveBack("1000", "0", "1000")},
			step{giveBack(1, 1), gaveBack("0", "0", "1000")},
			step{charge(1, 1, "a", 2), charged(accepted, "1000", "0")},
			step{giveBack(1, 3), gaveBack("1000", "0", "1000")}),
		caseOf("give-back-number", "The number stays the first request's.", "already-used", first,
			step{giveBack(1, 1), gaveBack("1000", "0", "1000")},
			step{charge(1, 1, "b", 2), charged("already-used", "0", "1000")}),
		caseOf("give-back-repeat-standing", "Nothing is returned for a request of which a repeat was served.", accepted, first,
			step{charge(1, 1, "a", 1), repeated("1000", "0")},
			step{giveBack(1, 2), gaveBack("0", "1000", "0")},
			step{charge(1, 1, "a", 3), repeated("1000", "0")}),
		caseOf("give-back-all-repeats", "When every grant failed the price is returned.", accepted, first,
			step{charge(1, 1, "a", 1), repeated("1000", "0")},
			step{giveBack(1, 2), gaveBack("0", "1000", "0")},
			step{giveBack(1, 2), gaveBack("1000", "0", "1000")}),
		caseOf("give-back-last-second", "Within a quarter of an hour.", accepted, first,
			step{giveBack(1, 899), gaveBack("1000", "0", "1000")}),
		caseOf("give-back-too-late", "And not later, since it may be claimed by then.", accepted, first,
			step{giveBack(1, 900), gaveBack("0", "1000", "0")}),
		caseOf("give-back-too-late-charged-anew", "The same where an earlier number was charged anew meanwhile.", accepted,
			step{charge(2, 1, "a", 0), charged(accepted, "1000", "1000")},
			step{charge(2, 2, "b", 1), charged(accepted, "2000", "0")},
			step{giveBack(1, 2), gaveBack("1000", "1000", "1000")},
			step{charge(2, 1, "a", 800), charged(accepted, "2000", "0")},
			claimable(1000, "1000", "2000"),
			step{giveBack(2, 1000), gaveBack("0", "2000", "0")}),
		caseOf("give-back-unknown", "Nothing is returned for what was not charged.", accepted, first,
			step{giveBack(7, 1), gaveBack("0", "1000", "0")}),
		caseOf("claimable", "What can no longer be given back is claimed.", accepted, first,
			claimable(899, "0", "1000"), claimable(900, "1000", "1000")),
	}
}
