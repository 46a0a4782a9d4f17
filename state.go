package payword

import (
	"crypto/sha256"
	"math/bits"

	"github.com/paywordhq/payword/money"
)

// Tail is a verified payword of a chain and its index: the deepest one that was
// accepted. Index 0 is the root.
type Tail struct {
	Index   uint32
	Payword Payword
}

// FingerprintBytes is the size of a Fingerprint, in bytes.
const FingerprintBytes = 16

// Fingerprint tells one request from another under the same number.
type Fingerprint [FingerprintBytes]byte

// NewFingerprint returns the fingerprint of a request: its method, its
// canonical URL, the digest of its body ("" if it has none) and what else it is
// bound to: in a session the class of its price ("" where a URL has one price
// alone), otherwise the id of the charge challenge that it answers.
func NewFingerprint(method, url, bodyDigest, binding string) Fingerprint {
	var room [256]byte // enough for most: then nothing is allocated
	message := room[:0]
	for _, part := range [...]string{"payword-request-1", method, url, bodyDigest, binding} {
		// A URL holds no NUL, so no two requests give the same message.
		message = append(append(message, part...), 0)
	}
	sum := sha256.Sum256(message)
	return Fingerprint(sum[:FingerprintBytes])
}

// Request is what a vendor remembers of one request number.
type Request struct {
	Number      uint64
	Fingerprint Fingerprint
	At          int64        // when it was charged, seconds since 1970
	Price       money.Amount // what was charged, in micros
	Grants      uint8        // how often it was granted and not given back; 0: the price was returned
	Toward      PassKey      // which pass the price counts toward; zero for none
}

// State is what a vendor remembers of one commitment. Its numbers only ever
// grow. The methods are the whole of step 3 of accepting a payment; a store
// runs one of them at a time for a commitment and makes the result durable
// before anybody sees it.
type State struct {
	Tails    [MaxChains]Tail // of each chain; index 0 and the root in the beginning
	Cap      money.Amount    // the most that is accepted in all, in micros: the reserved amount, or the limit
	Sequence uint32          // of the reservation; 0: unreserved
	Charged  money.Amount    // ever, in micros
	Returned money.Amount    // ever, in micros; at most Charged
	Claimed  money.Amount    // highest claim that the broker acknowledged, in micros
	Closed   bool            // the user closed it

	Highest uint64                  // highest request number seen; 0: none
	Window  [WindowSize / 64]uint64 // bit d: Highest-d was seen
	Recent  []Request               // what was charged in the last RefundSeconds, oldest first

	Passes *PassList // nil: none
}

// NewState returns the state of a commitment that was just opened, with the
// most that it may pay, in micros, and the sequence number of its reservation.
func NewState(m *Commitment, cap money.Amount, sequence uint32) State {
	state := State{Cap: min(cap, m.Limit), Sequence: sequence}
	for k, chain := range m.Chains {
		state.Tails[k] = Tail{Payword: chain.Root}
	}
	return state
}

// Accepted returns what the tails prove, in micros, at most Cap.
func (s *State) Accepted(m *Commitment) money.Amount { return valueOf(m.Chains, &s.Tails, s.Cap) }

// Spent returns what was charged and not given back, in micros.
func (s *State) Spent() money.Amount { return s.Charged - s.Returned }

// Credit returns what was accepted and not spent, in micros. It is never
// negative.
func (s *State) Credit(m *Commitment) money.Amount {
	return max(0, s.Accepted(m)-s.Spent())
}

// valueOf adds up index x unit over the chains, at most ceiling.
func valueOf(chains []ChainTerms, tails *[MaxChains]Tail, ceiling money.Amount) money.Amount {
	value := money.Amount(0)
	for k := range chains {
		value += chains[k].Unit.MulCapped(uint64(tails[k].Index), ceiling-value)
	}
	return value
}

// Advance raises the tail of a chain to a verified one and reports whether that
// changed anything.
func (s *State) Advance(chain uint8, tail Tail) bool {
	if tail.Index <= s.Tails[chain].Index {
		return false
	}
	s.Tails[chain] = tail
	return true
}

// TopUp raises the cap to what a later reservation set aside and reports
// whether that changed anything. The highest sequence number wins.
func (s *State) TopUp(m *Commitment, amount money.Amount, sequence uint32) bool {
	if sequence <= s.Sequence {
		return false
	}
	s.Sequence = sequence
	s.Cap = max(s.Cap, min(amount, m.Limit))
	return true
}

// Charge asks for one request to be charged.
type Charge struct {
	Chain       uint8
	Tail        Tail // verified by Judge; raises the chain's tail whatever comes of the request
	Number      uint64
	Fingerprint Fingerprint
	Price       money.Amount // in micros; 0 uses the number up and takes nothing
	Unsafe      bool         // the request must not be executed twice
	Single      bool         // it answers a challenge that can be used once, which its fingerprint stands for
	OverMax     bool         // the price exceeds what the client agrees to: only a repeat is granted
	Pass        PassTerms    // what the price counts toward, and makes it 0 once that is bought
	Now         int64        // seconds since 1970
}

// Outcome is what came of a charge.
type Outcome struct {
	Reason  Reason
	Repeat  bool         // it was charged before; it is granted again free
	Price   money.Amount // charged now or before for this number, in micros
	Changed bool         // the state is not what it was: make it durable

	PassUntil int64 // when the pass that it was bought or granted under ends, seconds since 1970; 0: none
}

// Charge is the atomic step of accepting a payment. A number that was seen is
// the same request again, which is granted free for RepeatSeconds, at most
// MaxRepeats times and never executed twice if it is unsafe; or a different
// one, which is refused. A new number is charged if the credit suffices. It
// refuses with CommitmentClosed, StaleNumber, AlreadyUsed, AlreadyExecuted,
// ChallengeUsed, PriceOverMax or InsufficientCredit; a refused request uses no
// number up. It does not change c.
func (s *State) Charge(m *Commitment, c *Charge) (outcome Outcome) {
	outcome.Price, outcome.Changed = c.Price, s.Advance(c.Chain, c.Tail)
	if s.Closed {
		outcome.Reason = CommitmentClosed
		return outcome
	}
	pass := s.bought(c.Pass, c.Now)
	underPass := c.Price > 0 && pass.Until > 0
	if underPass {
		free := *c
		c = &free
		c.Price, c.OverMax, outcome.Price = 0, false, 0
	}
	known := s.find(c.Number, c.Now)
	if known != nil && known.Grants > 0 {
		outcome.PassUntil = pass.Until
		return s.repeat(known, c, outcome)
	}
	switch {
	case known != nil && known.Fingerprint != c.Fingerprint:
		outcome.Reason = AlreadyUsed
	case known == nil && s.isStale(c.Number):
		outcome.Reason = StaleNumber
	case known == nil && s.seen(c.Number):
		outcome.Reason = AlreadyUsed
	case c.Single && s.granted(c.Fingerprint, c.Now):
		outcome.Reason = ChallengeUsed
	case c.OverMax:
		outcome.Reason = PriceOverMax
	case s.Credit(m) < c.Price:
		outcome.Reason = InsufficientCredit
	default:
		s.grant(known, c)
		if underPass {
			s.usePass(pass)
		}
		outcome.Changed, outcome.PassUntil = true, s.bought(c.Pass, c.Now).Until
	}
	return outcome
}

// granted reports whether a fingerprint was granted under some number.
func (s *State) granted(fingerprint Fingerprint, now int64) bool {
	for _, request := range s.Recent {
		if request.Fingerprint == fingerprint && request.Grants > 0 && now < request.At+RefundSeconds {
			return true
		}
	}
	return false
}

// repeat decides on a number that was charged and not given back.
func (s *State) repeat(known *Request, c *Charge, outcome Outcome) Outcome {
	outcome.Price = known.Price
	switch {
	case known.Fingerprint != c.Fingerprint || c.Now >= known.At+RepeatSeconds || known.Grants > MaxRepeats:
		outcome.Reason = AlreadyUsed
	case known.Price == 0 && c.Price > 0: // what was free then is no reason to be free now
		outcome.Reason = AlreadyUsed
	case c.Unsafe:
		outcome.Reason = AlreadyExecuted
	default:
		known.Grants++
		outcome.Repeat, outcome.Changed = true, true
	}
	return outcome
}

// grant charges c; known is its request if it was charged and given back.
func (s *State) grant(known *Request, c *Charge) {
	s.Charged += c.Price
	s.mark(c.Number)
	request := Request{Number: c.Number, Fingerprint: c.Fingerprint, At: c.Now, Price: c.Price, Grants: 1}
	request.Toward = s.payToward(c.Pass, c.Price, c.Now)
	if known != nil {
		// A second later at the least, so that Merge can tell the charges apart.
		request.At = max(c.Now, known.At+1)
		*known = request
		return
	}
	if len(s.Recent)%forgetEvery == 0 || len(s.Recent) >= maxRecent {
		s.forget(c.Now)
	}
	s.Recent = append(s.Recent, request)
}

// GiveBack takes one grant of a request back because nothing was delivered for
// it. When none is left, its price is returned. So a price is never returned
// for a request of which a repeat was served. It returns the amount given
// back, in micros: 0 if another grant stands, if it was given back before, or
// if the charge is older than RefundSeconds. A price that bought a pass under
// which something was granted since stays: it did buy something.
func (s *State) GiveBack(number uint64, now int64) money.Amount {
	s.forget(now)
	// Numbers that fell out of the window can be given back too.
	k := s.indexOf(number, len(s.Recent)-1)
	if k < 0 || now >= s.Recent[k].At+RefundSeconds || s.Recent[k].Grants == 0 {
		return 0
	}
	known := &s.Recent[k]
	if known.Grants == 1 && !s.returnable(known.Toward, known.Price) {
		return 0
	}
	known.Grants--
	if known.Grants > 0 {
		return 0
	}
	s.returnToward(known.Toward, known.Price)
	// After a merge of states that went apart less may have been charged in all
	// than for each number.
	returned := min(known.Price, s.Spent())
	s.Returned += returned
	return returned
}

// TrueUp lowers the price of a request whose true cost became known, in micros,
// and returns the difference. It lowers nothing, and returns 0, where a repeat
// of the request stands, which was promised the same for the price that was
// charged; where the price is no higher; and where GiveBack would return
// nothing any more.
func (s *State) TrueUp(number uint64, price money.Amount, now int64) money.Amount {
	s.forget(now)
	k := s.indexOf(number, len(s.Recent)-1)
	if k < 0 || now >= s.Recent[k].At+RefundSeconds || s.Recent[k].Grants != 1 || s.Recent[k].Price <= price {
		return 0
	}
	known := &s.Recent[k]
	if !s.returnable(known.Toward, known.Price-price) {
		return 0
	}
	s.returnToward(known.Toward, known.Price-price)
	returned := min(known.Price-price, s.Spent())
	s.Returned += returned
	known.Price = price
	return returned
}

// Flow asks for another amount, in micros, to be charged for an answer that is
// being delivered piece by piece: each piece is charged before it is sent, and
// never given back. Outcome.Price is the amount. It refuses with
// CommitmentClosed or InsufficientCredit, and then charges nothing.
func (s *State) Flow(m *Commitment, amount money.Amount) Outcome {
	outcome := Outcome{Price: amount}
	switch {
	case s.Closed:
		outcome.Reason = CommitmentClosed
	case s.Credit(m) < amount:
		outcome.Reason = InsufficientCredit
	default:
		s.Charged += amount
		outcome.Changed = amount > 0
	}
	return outcome
}

// Claimable returns what may be claimed from the broker, in micros: what was
// spent longer than RefundSeconds ago, and can no longer be given back. It only
// grows. refundSeconds is RefundSeconds, or less where the vendor knows that no
// request is in flight.
func (s *State) Claimable(now, refundSeconds int64) money.Amount {
	settled := s.Spent()
	for _, request := range s.Recent {
		if request.Grants > 0 && request.At+refundSeconds > now {
			settled -= request.Price
		}
	}
	return max(settled, s.Claimed)
}

// maxRecent bounds what is remembered of requests, at 80 bytes each. Past it
// the older half is forgotten, and can no longer be given back.
const maxRecent = 4 * WindowSize

// forgetEvery is how many charges look once for what is too old, at the beginning
// of Recent, which is far from the processor by then. Whoever reads Recent asks
// how old a request is.
const forgetEvery = 16

// forget drops requests whose charge is too old to be given back.
func (s *State) forget(now int64) {
	if len(s.Recent) == 0 || now < s.Recent[0].At+RefundSeconds && len(s.Recent) < maxRecent {
		return
	}
	kept := s.Recent[:0]
	for _, request := range s.Recent {
		if now < request.At+RefundSeconds {
			kept = append(kept, request)
		}
	}
	if len(kept) >= maxRecent {
		kept = append(kept[:0], kept[len(kept)/2:]...)
	}
	s.Recent = kept
}

// find returns what is remembered of a number, or nil. What is too old counts
// as forgotten, whether it was swept away or not.
func (s *State) find(number uint64, now int64) *Request {
	if s.isStale(number) || !s.seen(number) {
		return nil
	}
	k := s.indexOf(number, len(s.Recent)-1)
	if k < 0 || now >= s.Recent[k].At+RefundSeconds {
		return nil
	}
	return &s.Recent[k]
}

// indexOf returns where in Recent a number stands, or -1. It looks at guess
// first.
func (s *State) indexOf(number uint64, guess int) int {
	if guess >= 0 && guess < len(s.Recent) && s.Recent[guess].Number == number {
		return guess
	}
	// The newest stand last, and a repeat is nearly always a new one's.
	for k := len(s.Recent) - 1; k >= 0; k-- {
		if s.Recent[k].Number == number {
			return k
		}
	}
	return -1
}

// isStale reports whether a number is too far behind to be told from a repeat.
func (s *State) isStale(number uint64) bool { return number+WindowSize <= s.Highest }

// seen reports whether a number that is not stale was used.
func (s *State) seen(number uint64) bool {
	if number > s.Highest {
		return false
	}
	distance := s.Highest - number
	return s.Window[distance/64]&(1<<(distance%64)) != 0
}

// mark notes that a number that is not stale was used.
func (s *State) mark(number uint64) {
	if number > s.Highest {
		s.shift(number - s.Highest)
		s.Highest = number
	}
	distance := s.Highest - number
	s.Window[distance/64] |= 1 << (distance % 64)
}

// shift moves the window forward.
func (s *State) shift(distance uint64) {
	if distance >= WindowSize {
		s.Window = [WindowSize / 64]uint64{}
		return
	}
	words, rest := int(distance/64), distance%64
	if words == 0 { // nearly always
		for k := len(s.Window) - 1; k > 0; k-- {
			s.Window[k] = s.Window[k]<<rest | s.Window[k-1]>>(64-rest)
		}
		s.Window[0] <<= rest
		return
	}
	for k := len(s.Window) - 1; k >= 0; k-- {
		word := uint64(0)
		if k-words >= 0 {
			word = s.Window[k-words] << rest
			if rest > 0 && k-words > 0 {
				word |= s.Window[k-words-1] >> (64 - rest)
			}
		}
		s.Window[k] = word
	}
}

// Merge raises s to everything that other knows as well: the maximum of tails
// and counters, the union of the windows, and what each remembers of requests.
// So a store that lost its newest writes is mended by a node that saw them.
// What one of them gave back counts as given back once. Where both charged
// something that the other does not know of, the larger sum stands: a vendor
// may lose it, a user never pays twice. It reports whether s changed.
func (s *State) Merge(other *State) bool {
	changed := false
	raise := func(to *money.Amount, from money.Amount) {
		if from > *to {
			*to, changed = from, true
		}
	}
	for k := range s.Tails {
		changed = s.Advance(uint8(k), other.Tails[k]) || changed
	}
	newHere, newThere := givenBackApart(s, other)
	raise(&s.Cap, other.Cap)
	raise(&s.Charged, other.Charged)
	raise(&s.Returned, min(s.Charged, max(s.Returned+newHere, other.Returned+newThere)))
	raise(&s.Claimed, other.Claimed)
	if other.Sequence > s.Sequence {
		s.Sequence, changed = other.Sequence, true
	}
	if other.Closed && !s.Closed {
		s.Closed, changed = true, true
	}
	changed = s.mergePasses(other.AllPasses()) || changed
	return s.mergeNumbers(other) || changed
}

func (s *State) mergeNumbers(other *State) bool {
	changed := false
	highest, guess := max(s.Highest, other.Highest), 0
	for _, theirs := range other.Recent {
		if theirs.Number+WindowSize <= highest {
			continue
		}
		k := s.indexOf(theirs.Number, guess)
		guess = k + 1
		switch {
		case k >= 0 && theirs.follows(s.Recent[k]):
			s.Recent[k] = theirs
			changed = true
		case k < 0 && !s.seen(theirs.Number): // or it was forgotten here
			s.Recent = append(s.Recent, theirs)
			changed = true
		}
	}
	for k, word := range other.Window {
		for ; word != 0; word &= word - 1 {
			number := other.Highest - uint64(k*64+bits.TrailingZeros64(word))
			if !s.isStale(number) && !s.seen(number) {
				s.mark(number)
				changed = true
			}
		}
	}
	return changed
}

// follows reports whether r tells of what happened to a number after older: it
// was charged anew, or given back, or its price was lowered.
func (r Request) follows(older Request) bool {
	if r.At != older.At || (r.Grants == 0) != (older.Grants == 0) {
		return r.At > older.At || r.At == older.At && r.Grants == 0
	}
	return r.Price < older.Price
}

// returnedSince returns what was given back of older before r, which follows
// it, in micros.
func (r Request) returnedSince(older Request) money.Amount {
	if r.At == older.At && r.Grants > 0 {
		return older.Price - r.Price
	}
	return older.Price
}

// givenBackApart returns what b gave back and a does not know of, and the
// reverse, in micros, as far as both remember the requests.
func givenBackApart(a, b *State) (newToA, newToB money.Amount) {
	guess := 0
	for _, theirs := range b.Recent {
		k := a.indexOf(theirs.Number, guess)
		guess = k + 1
		if k < 0 {
			continue
		}
		ours := a.Recent[k]
		if theirs.follows(ours) && ours.Grants > 0 {
			newToA += theirs.returnedSince(ours)
		}
		if ours.follows(theirs) && theirs.Grants > 0 {
			newToB += ours.returnedSince(theirs)
		}
	}
	return newToA, newToB
}
