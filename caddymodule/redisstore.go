package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	// budgetTimeouts is how many timeouts a step may take in all, over every
	// try: one that is lost, one that finds out, and one more.
	budgetTimeouts = 3

	// maxSwaps bounds how often a step is run again because another node was
	// faster. One of the nodes always gets on, so that many are rare.
	maxSwaps = 64

	// swapsWithoutPause is how often a step tries again at once.
	swapsWithoutPause = 3

	// maxPause bounds the wait between two tries.
	maxPause = 100 * time.Millisecond
)

var (
	errRedisClosed = errors.New("the Redis store is closed")

	// errUnclear means that a write may have been done or not, and that what
	// stands in Redis does not tell any more.
	errUnclear = errors.New("the answer of Redis was lost, and what stands there does not tell what became of it")

	errContended = fmt.Errorf("other nodes were faster %d times", maxSwaps)
)

// redisStoreOptions say how a Redis store works.
type redisStoreOptions struct {
	prefix  string
	timeout time.Duration
	now     func() time.Time
	logger  *zap.Logger
	secrets secretsCheck // the zero value compares nothing
	local   localPolicy  // the zero value charges nothing while Redis is away
}

// redisStore is the store of several gates that share a Redis.
//
// A commitment is one key. A step runs on what this node saw of it last, with
// the code that every store runs, and its result goes out as one compare and
// swap: if another node was faster, the answer brings what stands there now, and
// the step runs again on that. So a step that nobody else interferes with takes
// one round trip, whether it changes anything or is refused. Steps of one
// commitment that wait in one node run one after another and go out together.
//
// What the node saw last is the floor: a Redis that lost its newest writes, or
// everything, is mended at the next step.
type redisStore struct {
	redisStoreOptions
	client redis.UniversalClient
	cache  *nodeCache
	line   *redisLine
	slots  chan struct{} // one per step in progress
	health redisHealth

	closing   context.Context
	stop      context.CancelFunc
	jobs      sync.WaitGroup
	closeOnce sync.Once
	closed    error
}

var _ store = (*redisStore)(nil)

// openRedisStore returns a store on a client, which it closes in the end. It
// does not wait for Redis to answer.
func openRedisStore(client redis.UniversalClient, options redisStoreOptions) *redisStore {
	if options.now == nil {
		options.now = time.Now
	}
	if options.logger == nil {
		options.logger = zap.NewNop()
	}
	s := &redisStore{
		redisStoreOptions: options, client: client, cache: newNodeCache(),
		line:  newRedisLine(client, 2*options.timeout), // to dial and to be answered
		slots: make(chan struct{}, maxStepsInProgress),
	}
	s.health.init()
	s.closing, s.stop = context.WithCancel(context.Background())
	s.jobs.Go(s.watch)
	return s
}

// Close ends what runs in the background. Steps that come later fail.
func (s *redisStore) Close() error {
	s.closeOnce.Do(func() {
		s.stop()
		s.line.close()
		s.jobs.Wait()
		s.closed = s.client.Close()
	})
	return s.closed
}

// keyOf returns the key of a commitment. What stands in braces, its group, decides
// on its slot in a cluster.
func (s *redisStore) keyOf(id payword.CommitmentID) string {
	return fmt.Sprintf("%s{%02d}%s", s.prefix, slotGroup(id), id)
}

// step runs one atomic step and returns what it saw, once that stands in Redis.
// A step that has begun is waited for even if its context ends, since its caller
// has to know what became of the money.
func (s *redisStore) step(ctx context.Context, id payword.CommitmentID, waiting *nodeStep) (view, error) {
	if err := ctx.Err(); err != nil {
		return view{}, err
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return view{}, fmt.Errorf("waiting for the store: %w", ctx.Err())
	}
	e := s.cache.acquire(id)
	defer s.cache.release(e)
	if e.join(waiting) || <-waiting.turn {
		s.lead(e, waiting)
	}
	if waiting.err != nil {
		return view{}, waiting.err
	}
	return waiting.seen, nil
}

// lead runs the steps that wait, its caller's among them.
func (s *redisStore) lead(e *nodeEntry, own *nodeStep) {
	batch := e.take()
	if err := s.settle(e, batch); err != nil {
		s.withoutRedis(e, batch, err)
	}
	e.publish()
	// They are told before the lead is passed on, with which the batch is gone.
	for _, done := range batch {
		if done != own {
			done.turn <- false
		}
	}
	e.pass()
}

// settle brings a batch of steps to Redis. An error means that Redis does not
// answer; what else went wrong stands in the steps.
func (s *redisStore) settle(e *nodeEntry, batch []*nodeStep) error {
	ends := time.Now().Add(budgetTimeouts * s.timeout)
	if err := s.health.waitUntil(s.closing, ends); err != nil {
		return err
	}
	for swaps := range maxSwaps {
		if swaps > swapsWithoutPause {
			pause(s.closing, min(time.Until(ends), time.Duration(rand.Int64N(int64(min(maxPause, time.Duration(swaps)*time.Millisecond))))))
		}
		s.prepare(e, batch)
		isDoubtful, err := s.send(&e.try.call, ends)
		if errors.Is(err, errDamaged) {
			s.logger.Error("reading a commitment", zap.Error(err), s.named(e.id))
			failSteps(batch, err)
			return nil
		}
		if err != nil {
			s.health.fail(e.id, err)
			return err
		}
		switch s.conclude(e, isDoubtful) {
		case swapDone:
			return nil
		case swapUnclear:
			failSteps(batch, errUnclear)
			return nil
		case swapDamaged:
			failSteps(batch, errDamaged)
			return nil
		}
	}
	failSteps(batch, errContended)
	return nil
}

func failSteps(batch []*nodeStep, err error) {
	for _, each := range batch {
		each.err = err
	}
}

// pause waits a while, or until ctx ends.
func pause(ctx context.Context, duration time.Duration) {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// send makes a call until it is answered, or for so long. The same call may arrive
// twice: the second finds another version than it expects, and its own tag among
// them. isDoubtful says that an answer was lost on the way.
func (s *redisStore) send(call *swapCall, ends time.Time) (isDoubtful bool, err error) {
	call.ends = ends
	isSplit := false
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, maxPause) {
		err := s.line.do(call)
		if err == nil {
			return isDoubtful, nil
		}
		if !isSplit && redis.HasErrorPrefix(err, "TRYAGAIN") {
			isSplit = true // its slot is moving; now it shares no call
			continue
		}
		if redis.HasErrorPrefix(err, "WRONGTYPE") {
			return isDoubtful, fmt.Errorf("%w: %w", errDamaged, err)
		}
		var refused redis.Error
		isDoubtful = isDoubtful || !errors.As(err, &refused)
		left := time.Until(ends)
		if left > 0 {
			pause(s.closing, min(wait, left))
		}
		if left <= wait || s.closing.Err() != nil {
			return isDoubtful, fmt.Errorf("redis: %w", err)
		}
	}
}

// swap is one try to bring a batch of steps to Redis.
type swap struct {
	call    swapCall
	writes  bool           // it does not only compare
	isMore  bool           // the node knew more than what stood there
	isWhole bool           // all is written anew
	tag     [tagBytes]byte // of the version that stands then
	after   *entry         // what stands then
	records []record       // what was changed, unless all is written anew
}

// prepare runs the steps of a batch on what the node knows.
func (s *redisStore) prepare(e *nodeEntry, batch []*nodeStep) {
	after, isMore := s.start(e)
	try := &e.try
	try.isMore, try.writes, try.records = isMore, isMore, try.records[:0]
	try.isWhole = isMore || e.stands.entry == nil
	for _, each := range batch {
		var changed record
		var opened bool
		after, changed, opened = each.runOn(after)
		try.writes = try.writes || opened || changed.kind != 0
		// A later reservation may have the key live longer. What is opened in place
		// of what is past has nothing to do with it.
		try.isWhole = try.isWhole || opened || changed.kind == recordToppedUp
		if changed.kind != 0 {
			changed.id = e.id
			try.records = append(try.records, changed)
		}
	}
	try.after = after
	try.writes = try.writes && after != nil
	call := &try.call
	if call.key == nil {
		call.key, call.group = s.keyOf(e.id), slotGroup(e.id)
	}
	call.expected, call.write, call.life = newestTag(e.stands.tags), call.write[:0], 0
	if !try.writes {
		return
	}
	try.tag = newTag()
	if !try.isWhole {
		for k := range try.records {
			call.write = appendStored(call.write, &try.records[k])
		}
		call.write = appendTag(call.write, try.tag)
		if e.stands.stepsBytes+len(call.write) <= max(minStepsBytes, e.stands.wholeBytes) {
			return
		}
		try.isWhole = true
	}
	after.dropOldest()
	call.write, call.life = appendWhole(call.write[:0], after, e.stands.tags, try.tag), after.lifeMillis(s.now())
}

// start returns a copy of the most that the node knows, nil if that is nothing,
// and whether it is more than what stood in Redis.
func (s *redisStore) start(e *nodeEntry) (after *entry, isMore bool) {
	switch {
	case e.stands.entry != nil:
		after = e.draft.of(e.stands.entry)
	case e.ahead != nil:
		after, isMore = e.ahead.clone(nil), true
	}
	if e.stands.entry != nil && e.ahead != nil {
		if isMore = after.merge(e.ahead); !isMore {
			e.ahead = nil
		}
	}
	if after != nil && after.isPast(s.now().Unix()) {
		e.ahead = nil
		return nil, false
	}
	return after, isMore
}

// runOn runs a step on after, nil if the commitment is not known, and returns
// what stands then, what the step changed, and whether it opened the commitment.
func (n *nodeStep) runOn(after *entry) (now *entry, changed record, opened bool) {
	n.err = nil
	if after == nil {
		if n.opening == nil {
			n.err = errUnknownCommitment
			return nil, record{}, false
		}
		after, opened = newEntry(*n.opening), true
	}
	if changed, n.err = n.run(after); n.err != nil {
		return after, record{}, opened
	}
	n.seen = after.view()
	return after, changed, opened
}

// dropOldest drops the oldest of the requests that are more than a recordState
// holds.
func (e *entry) dropOldest() {
	e.state.Recent = e.state.Recent[max(0, len(e.state.Recent)-maxRecentRequests):]
}

// lifeMillis returns how long a commitment is kept from now on, in
// milliseconds: until nobody can claim on it or open it again. It counts from
// this node's clock, so that Redis needs none. It is at least 1.
func (e *entry) lifeMillis(now time.Time) int64 {
	ends := time.Unix(max(e.redeemBy, e.commitment.Expires)+payword.SkewSeconds, 0)
	return max(1, ends.Sub(now).Milliseconds())
}

// swapResult is what became of a swap.
type swapResult int

const (
	swapDone    swapResult = iota // the steps stand as they were run
	swapMoved                     // something else stands there: run them again
	swapUnclear                   // it may have been done or not
	swapDamaged                   // what stands there does not parse
)

// conclude takes over what the answer to a swap tells.
func (s *redisStore) conclude(e *nodeEntry, isDoubtful bool) swapResult {
	try := &e.try
	if try.call.isDone {
		if try.writes {
			e.moveOn()
		} else {
			e.draft = draft{entry: try.after, isBehind: try.after != nil, lag: e.draft.lag[:0]}
		}
		return swapDone
	}
	e.draft.entry, e.draft.isBehind = try.after, false // memory
	if try.call.stands == "" {
		if e.stands.entry != nil {
			s.logger.Warn("a commitment was gone from Redis; this node writes it again", s.named(e.id))
		}
		e.raiseAhead(e.stands.entry)
		e.stands = standing{}
		return swapMoved
	}
	wasNothing := e.stands.entry == nil
	tags, descends, err := e.read([]byte(try.call.stands))
	if err != nil {
		s.logger.Error("reading a commitment", zap.Error(err))
		return swapDamaged
	}
	wasDone := try.writes && hasTag(tags, try.tag[:])
	if wasDone {
		e.ahead = nil
		return swapDone
	}
	if e.ahead != nil && !e.stands.entry.clone(nil).merge(e.ahead) {
		e.ahead = nil // the other node was further on, that is all
	} else if !descends {
		s.logger.Warn("Redis had lost writes of a commitment; this node writes them again", s.named(e.id))
	}
	isLong := len(tags) >= tagsKept*tagBytes
	if isDoubtful && try.writes && (!descends || wasNothing && isLong) {
		return swapUnclear
	}
	return swapMoved
}

// moveOn notes that a swap was done.
func (e *nodeEntry) moveOn() {
	try, before := &e.try, e.stands.entry
	e.ahead = nil
	e.stands.entry, e.stands.tags = try.after, keepTags(e.stands.tags, try.tag[:])
	if try.call.life > 0 {
		e.stands.wholeBytes, e.stands.stepsBytes = len(try.call.write), 0
	} else {
		e.stands.stepsBytes += len(try.call.write)
	}
	if cap(try.call.write) > minStepsBytes {
		try.call.write = nil
	}
	e.draft.entry, e.draft.isBehind = before, before != nil && !try.isMore
	e.draft.lag, try.records = try.records, e.draft.lag
}

// read takes over what an answer says that stands there. It returns the tags that
// it holds, and whether it comes of what this node saw.
func (e *nodeEntry) read(value []byte) (tags []byte, descends bool, err error) {
	if e.stands.entry != nil && value[0] != valueMark {
		tags, err = e.stands.readSteps(e.id, value)
		if err == nil {
			e.stands.tags = keepTags(e.stands.tags, tags)
		}
		return tags, true, err
	}
	found, err := readValue(e.id, value, e.commitment())
	if err != nil {
		return nil, false, err
	}
	tags, found.tags = found.tags, keepTags(nil, found.tags)
	seen := newestTag(e.stands.tags)
	descends = len(seen) == 0 || hasTag(tags, seen) || e.try.writes && hasTag(tags, e.try.tag[:])
	if !descends {
		e.raiseAhead(e.stands.entry)
	}
	e.stands = found
	return tags, descends, nil
}

// named names a commitment in the log as the gate's other entries do.
func (s *redisStore) named(id payword.CommitmentID) zap.Field {
	if s.secrets.vendor == nil {
		return zap.Skip()
	}
	return zap.String("commitment", pseudonymUnder(s.secrets.vendor, id))
}

// commitment returns the commitment if it was read before.
func (e *nodeEntry) commitment() *payword.Commitment {
	switch {
	case e.stands.entry != nil:
		return e.stands.entry.commitment
	case e.ahead != nil:
		return e.ahead.commitment
	}
	return nil
}

func (s *redisStore) open(ctx context.Context, o opening) (view, error) {
	if err := checkOpening(o); err != nil {
		return view{}, err
	}
	if o.sequence == 0 {
		return s.openOnCredit(ctx, o)
	}
	return s.openReserved(ctx, o)
}

func (s *redisStore) find(ctx context.Context, id payword.CommitmentID) (view, error) {
	if seen, isKnown := s.cache.peek(id); isKnown {
		return seen, nil
	}
	return s.findNewest(ctx, id)
}

func (s *redisStore) findNewest(ctx context.Context, id payword.CommitmentID) (view, error) {
	return s.step(ctx, id, &nodeStep{run: lookStep})
}

func (s *redisStore) charge(ctx context.Context, id payword.CommitmentID, c payword.Charge) (payword.Outcome, view, error) {
	if c.Single {
		return s.chargeSingle(ctx, id, c)
	}
	return s.chargeOnce(ctx, id, c)
}

func (s *redisStore) chargeOnce(ctx context.Context, id payword.CommitmentID, c payword.Charge) (payword.Outcome, view, error) {
	var outcome payword.Outcome
	seen, err := s.step(ctx, id, &nodeStep{run: chargeStep(c, &outcome)})
	if err != nil {
		return payword.Outcome{}, view{}, err
	}
	return outcome, seen, nil
}

func (s *redisStore) advance(ctx context.Context, id payword.CommitmentID, chain uint8, tail payword.Tail) (view, error) {
	return s.step(ctx, id, &nodeStep{run: advanceStep(chain, tail)})
}

func (s *redisStore) giveBack(ctx context.Context, id payword.CommitmentID, number uint64, now int64) (money.Amount, view, error) {
	var amount money.Amount
	seen, err := s.step(ctx, id, &nodeStep{run: giveBackStep(number, now, &amount)})
	if err != nil {
		return 0, view{}, err
	}
	return amount, seen, nil
}

func (s *redisStore) trueUp(ctx context.Context, id payword.CommitmentID, number uint64, price money.Amount, now int64) (money.Amount, view, error) {
	var amount money.Amount
	seen, err := s.step(ctx, id, &nodeStep{run: trueUpStep(number, price, now, &amount)})
	if err != nil {
		return 0, view{}, err
	}
	return amount, seen, nil
}

func (s *redisStore) flow(ctx context.Context, id payword.CommitmentID, amount money.Amount) (payword.Outcome, view, error) {
	var outcome payword.Outcome
	seen, err := s.step(ctx, id, &nodeStep{run: flowStep(amount, &outcome)})
	if err != nil {
		return payword.Outcome{}, view{}, err
	}
	return outcome, seen, nil
}

func (s *redisStore) finish(ctx context.Context, id payword.CommitmentID) (view, error) {
	return s.step(ctx, id, &nodeStep{run: finishStep})
}

func (s *redisStore) acknowledge(ctx context.Context, id payword.CommitmentID, amount money.Amount, final bool) error {
	_, err := s.step(ctx, id, &nodeStep{run: acknowledgeStep(amount, final)})
	return err
}
