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
		line:  startRedisLine(client, 2*options.timeout), // to dial and to be answered
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

// keyOf returns the key of a commitment. What stands in braces decides on its
// slot in a cluster.
func (s *redisStore) keyOf(id payword.CommitmentID) string { return s.prefix + "{" + id.String() + "}" }

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
	waiting.turn = make(chan bool, 1)
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
	e.pass()
	for _, done := range batch {
		if done != own {
			done.turn <- false
		}
	}
}

// settle brings a batch of steps to Redis. An error means that Redis does not
// answer; what else went wrong stands in the steps.
func (s *redisStore) settle(e *nodeEntry, batch []*nodeStep) error {
	ctx, cancel := context.WithTimeout(s.closing, budgetTimeouts*s.timeout)
	defer cancel()
	if err := s.health.wait(ctx); err != nil {
		return err
	}
	for swaps := range maxSwaps {
		if swaps > swapsWithoutPause {
			pause(ctx, time.Duration(rand.Int64N(int64(min(maxPause, time.Duration(swaps)*time.Millisecond)))))
		}
		try := s.prepare(e, batch)
		isDoubtful, err := s.send(ctx, &try.call)
		if err != nil {
			s.health.fail(e.id, err)
			return err
		}
		switch s.conclude(e, try, isDoubtful) {
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

// send makes a call until it is answered. The same call may arrive twice: the
// second finds another version than it expects, and its own tag among them.
// isDoubtful says that an answer was lost on the way.
func (s *redisStore) send(ctx context.Context, call *swapCall) (isDoubtful bool, err error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, maxPause) {
		err := s.line.do(ctx, call)
		if err == nil {
			return isDoubtful, nil
		}
		if !call.whole && redis.HasErrorPrefix(err, "NOSCRIPT") {
			call.whole = true
			continue
		}
		var refused redis.Error
		isDoubtful = isDoubtful || !errors.As(err, &refused)
		if pause(ctx, wait); ctx.Err() != nil {
			return isDoubtful, fmt.Errorf("redis: %w", err)
		}
	}
}

// swap is one try to bring a batch of steps to Redis.
type swap struct {
	call     swapCall
	expected string // versions
	next     string // versions; "" if it only compares
	after    *entry // what stands then
}

// prepare runs the steps of a batch on what the node knows.
func (s *redisStore) prepare(e *nodeEntry, batch []*nodeStep) *swap {
	after, changed, touched := s.start(e)
	for _, each := range batch {
		var wrote bool
		after, wrote, touched = each.runOn(after, touched)
		changed = changed || wrote
	}
	try := &swap{expected: e.versions, call: swapCall{key: s.keyOf(e.id)}}
	if !changed || after == nil {
		try.call.arguments = []any{e.versions, "", 0, 0}
		return try
	}
	try.after, try.next = after, nextVersions(e.versions)
	if e.ahead != nil {
		touched = nil
	}
	changes := changesBetween(e.stands, after, touched)
	life := int64(0)
	if e.stands == nil || e.stands.redeemBy != after.redeemBy {
		life = after.lifeMillis(s.now())
	}
	try.call.arguments = append([]any{e.versions, try.next, life}, changes.arguments()...)
	return try
}

// start returns a copy of the most that the node knows, nil if that is nothing,
// and whether it is more than what stood in Redis.
func (s *redisStore) start(e *nodeEntry) (after *entry, isMore bool, touched []uint64) {
	switch {
	case e.stands != nil:
		after = e.stands.clone(e.spare)
	case e.ahead != nil:
		after, isMore = e.ahead.clone(e.spare), true
	}
	e.spare = nil
	if e.stands != nil && e.ahead != nil {
		if isMore = after.merge(e.ahead); !isMore {
			e.ahead = nil
		}
	}
	if after != nil && after.isPast(s.now().Unix()) {
		e.ahead = nil
		return nil, false, []uint64{}
	}
	return after, isMore, []uint64{}
}

// runOn runs a step on after, nil if the commitment is not known, and returns
// what stands then, whether the step changed anything, and the numbers that
// were touched.
func (n *nodeStep) runOn(after *entry, touched []uint64) (*entry, bool, []uint64) {
	n.err = nil
	opened := false
	if after == nil {
		if n.opening == nil {
			n.err = errUnknownCommitment
			return nil, false, touched
		}
		after, opened = newEntry(*n.opening), true
	}
	r, err := n.run(after)
	if err != nil {
		n.err = err
		return after, opened, touched
	}
	if r.request.Number > 0 {
		touched = append(touched, r.request.Number)
	}
	n.seen = after.view()
	return after, opened || r.kind != 0, touched
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
func (s *redisStore) conclude(e *nodeEntry, try *swap, isDoubtful bool) swapResult {
	if try.call.isDone {
		if try.next != "" {
			e.replaceStands(try.after, try.next)
			e.ahead = nil
		}
		return swapDone
	}
	if len(try.call.fields) == 0 {
		if e.stands != nil {
			s.logger.Warn("a commitment was gone from Redis; this node writes it again", s.named(e.id))
		}
		e.raiseAhead(e.stands)
		e.stands, e.versions = nil, ""
		return swapMoved
	}
	stands, versions, err := parseFields(e.id, try.call.fields, e.commitment())
	if err != nil {
		s.logger.Error("reading a commitment", zap.Error(err))
		return swapDamaged
	}
	wasDone := try.next != "" && hasTag(versions, newestTag(try.next))
	descends := e.versions == "" || wasDone || hasTag(versions, newestTag(e.versions))
	if !descends {
		e.raiseAhead(e.stands)
	}
	e.replaceStands(stands, versions)
	if wasDone {
		e.ahead = nil
		return swapDone
	}
	if e.ahead != nil && !stands.clone(nil).merge(e.ahead) {
		e.ahead = nil // the other node was further on, that is all
	} else if !descends {
		s.logger.Warn("Redis had lost writes of a commitment; this node writes them again", s.named(e.id))
	}
	fullLength := tagsKept * tagBytes
	if isDoubtful && try.next != "" && (!descends || try.expected == "" && len(versions) == fullLength) {
		return swapUnclear
	}
	return swapMoved
}

// named names a commitment in the log as the gate's other entries do.
func (s *redisStore) named(id payword.CommitmentID) zap.Field {
	if s.secrets.vendor == nil {
		return zap.Skip()
	}
	return zap.String("commitment", pseudonymUnder(s.secrets.vendor, id))
}

// replaceStands notes what stands in Redis. The memory of what stood there
// before is used again.
func (e *nodeEntry) replaceStands(stands *entry, versions string) {
	if e.stands != nil && e.ahead != e.stands {
		e.spare = e.stands.state.Recent
	}
	e.stands, e.versions = stands, versions
}

// commitment returns the commitment if it was read before.
func (e *nodeEntry) commitment() *payword.Commitment {
	switch {
	case e.stands != nil:
		return e.stands.commitment
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
	if seen := s.cache.peek(id); seen != nil {
		return *seen, nil
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
