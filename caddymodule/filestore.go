package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	shardCount = 64

	// maxStepsInProgress bounds the records that wait to be made durable, and
	// so the memory they take. A step past it waits for another to end.
	maxStepsInProgress = 4096
)

// fileStoreOptions change how a file store works. The zero value is right for
// production.
type fileStoreOptions struct {
	logger       *zap.Logger   // nil: silent
	compactBytes int64         // the journal is rewritten when it exceeds this, and twice what is alive; 0: 64 MiB
	allocation   int           // how many zeros the journal is filled with at a time, at most allocationBytes; 0: that
	disk         disk          // nil: the directory
	delay        time.Duration // how long an async store collects; 0: asyncDelay
}

// fileStore is the store of a single gate: everything in memory, and a journal
// of what changed in a directory that belongs to this process alone.
//
// A step locks its commitment, runs the method of payword.State, puts a record
// in the journal's queue before it unlocks, so that records stand in the order
// of the steps, and returns when that record is durable. A step that changed
// nothing waits for the newest record of its commitment, so nobody is told what
// a crash could undo. Steps that wait at the same time share one fdatasync.
//
// An async store does not wait for the records of which only the vendor loses
// anything (see record.binds): they collect for asyncDelay and share one
// fdatasync. A record that binds takes with it all that were put in the queue
// before it, so that after a crash the store is what it was after some step.
//
// A step that has begun is waited for even if its context ends, since its
// caller has to know what became of the money. The context bounds only the wait
// for the step's turn.
type fileStore struct {
	shards  [shardCount]shard
	journal *journal
	disk    disk
	logger  *zap.Logger
	slots   chan struct{} // one per step in progress
	now     atomic.Int64  // of the last claimables, in seconds since 1970; 0: none yet

	credit creditShares

	singles    singles
	compaction compaction
	closeOnce  sync.Once
	closeError error
}

var _ store = (*fileStore)(nil)

// shard is a part of the commitments, so that looking them up does not wait for
// one lock.
type shard struct {
	mutex   sync.RWMutex
	entries map[payword.CommitmentID]*entry
	resting map[payword.CommitmentID]resting // those that are not in entries
}

func (s *shard) init() {
	s.entries, s.resting = map[payword.CommitmentID]*entry{}, map[payword.CommitmentID]resting{}
}

// entry is a commitment and what was paid on it.
type entry struct {
	commitment *payword.Commitment // never changed
	creditDay  int64               // when it was opened, if it was unreserved: days since 1970

	mutex       sync.Mutex // guards what follows; held for no I/O
	reservation string
	redeemBy    int64 // seconds since 1970
	state       payword.State
	final       bool   // the last claim was acknowledged
	forgotten   bool   // it is no longer in its shard
	rests       bool   // its shard has another form of it, which goes on
	binds       bool   // a record of it binds, and was not durable when last looked at
	newest      uint64 // position of its last record in the journal
}

// openFileStore opens the store in a directory, which is made if it does not
// exist. It fails if another process has it open, and if a file is damaged in a
// way that no crash explains: then it says which file, where, and what to do.
func openFileStore(directory string, options fileStoreOptions) (*fileStore, error) {
	s := &fileStore{logger: options.logger, disk: options.disk, slots: make(chan struct{}, maxStepsInProgress)}
	if s.logger == nil {
		s.logger = zap.NewNop()
	}
	for k := range s.shards {
		s.shards[k].init()
	}
	if s.disk == nil {
		opened, err := openDirectory(directory)
		if err != nil {
			return nil, fmt.Errorf("opening the store: %w", err)
		}
		s.disk = opened
	}
	r := recovery{store: s, disk: s.disk}
	file, err := r.run()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store in %s: %w", directory, err), s.disk.Close())
	}
	s.countCredit()
	s.compaction.prepare(options.compactBytes, &r)
	if options.allocation == 0 {
		options.allocation = allocationBytes
	}
	if options.delay == 0 {
		options.delay = asyncDelay
	}
	s.journal = startJournal(file, options.allocation, options.delay, s.journalGrown)
	if real, isReal := file.file.(*osFile); isReal && real.syncing.stopsAll() {
		s.logger.Warn("GOMAXPROCS is 1, and this system has no fdatasync that lets others run meanwhile: set GOMAXPROCS=2, even on one processor, or every write of the store delays all requests")
	}
	return s, nil
}

// Close makes what is in progress durable, ends what runs in the background and
// lets go of the directory. Steps that come later fail. Closing twice does
// nothing more. The error says why the store failed, if it did.
func (s *fileStore) Close() error {
	s.closeOnce.Do(func() {
		s.compaction.stop()
		s.closeError = errors.Join(s.journal.close(), s.disk.Close())
	})
	return s.closeError
}

func (s *fileStore) shardOf(id payword.CommitmentID) *shard { return &s.shards[id[0]%shardCount] }

// entry returns what is known of a commitment, or nil.
func (s *fileStore) entry(id payword.CommitmentID) *entry { return s.shardOf(id).find(id) }

// insert remembers e unless its commitment is known, and returns what is
// remembered.
func (s *fileStore) insert(e *entry) *entry { return s.shardOf(e.commitment.ID).insert(e) }

// newEntry returns an opened commitment. It keeps its own copy without what can
// be read again from its token, because it may be kept for months.
func newEntry(o opening) *entry {
	m := *o.commitment
	m.Certificate.Token = ""
	m.Vendor = unique.Make(m.Vendor).Value()
	m.Currency = unique.Make(m.Currency).Value()
	m.Certificate.Issuer = unique.Make(m.Certificate.Issuer).Value()
	m.Certificate.Currency = m.Currency
	o.commitment = &m
	return newOwnEntry(o)
}

// newOwnEntry is newEntry of a commitment that is nobody else's, and without what
// can be read again from its token.
func newOwnEntry(o opening) *entry {
	return &entry{
		commitment: o.commitment, creditDay: o.credit.day, reservation: o.reservation, redeemBy: o.redeemBy,
		state: payword.NewState(o.commitment, o.amount, o.sequence),
	}
}

// view is what a step sees. The caller holds mutex.
func (e *entry) view() (seen view) {
	e.show(&seen)
	return seen
}

// show fills in what a step sees. The caller holds mutex.
func (e *entry) show(seen *view) {
	seen.outline, seen.tails = e.outline(), e.state.Tails
}

// outline is view without the tails. The caller holds mutex.
func (e *entry) outline() outline {
	return outline{
		commitment: e.commitment, reservation: e.reservation,
		accepted: e.state.Accepted(e.commitment), spent: e.state.Spent(), closed: e.state.Closed,
	}
}

// topUp takes a reservation with a higher sequence number and reports whether
// it had one. Of an unreserved commitment it has to cover the limit. The caller
// holds mutex.
func (e *entry) topUp(reservation string, amount money.Amount, sequence uint32, redeemBy int64) bool {
	if e.isUnreserved() && amount < e.commitment.Limit {
		return false
	}
	if !e.state.TopUp(e.commitment, amount, sequence) {
		return false
	}
	e.reservation, e.redeemBy = reservation, max(e.redeemBy, redeemBy)
	return true
}

// checkTail reports what is wrong with a tail that cannot be of m.
func checkTail(m *payword.Commitment, chain uint8, tail payword.Tail) error {
	if int(chain) >= len(m.Chains) {
		return fmt.Errorf("chain %d of a commitment with %d", chain, len(m.Chains))
	}
	if tail.Index > m.Chains[chain].Length {
		return fmt.Errorf("index %d of a chain with %d steps", tail.Index, m.Chains[chain].Length)
	}
	return nil
}

// enter waits for a step's turn. leave ends it.
func (s *fileStore) enter(ctx context.Context) error {
	if err := s.journal.refused(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	default: // the end of a context is a channel that has to be made first
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the store: %w", ctx.Err())
	}
}

func (s *fileStore) leave() { <-s.slots }

// setAsync says whether steps return before their records are durable, where
// those do not bind. It may be called at any time.
func (s *fileStore) setAsync(isAsync bool) { s.journal.setAsync(isAsync) }

// record puts a record of e in the journal's queue. The caller holds e's mutex.
func (s *fileStore) record(e *entry, r *record) {
	r.id = e.commitment.ID
	e.binds = r.binds() || e.binds && e.newest > s.journal.durable.Load()
	e.newest = s.journal.append(r)
}

// wait returns when what a step saw may be told: the last record of its
// commitment is at newest, and binds tells whether that or one before it does.
func (s *fileStore) wait(newest uint64, binds bool) error {
	if binds || !s.journal.isAsync.Load() {
		return s.journal.wait(newest)
	}
	return s.journal.waitShort(newest)
}

// step runs one atomic step on a commitment and returns what it saw, once that
// is durable.
func (s *fileStore) step(ctx context.Context, id payword.CommitmentID, run step) (seen view, err error) {
	err = s.stepInto(ctx, id, run, &seen)
	return seen, err
}

// stepInto is step that fills in what it saw. On an error that is nothing.
func (s *fileStore) stepInto(ctx context.Context, id payword.CommitmentID, run step, seen *view) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	for {
		e := s.entry(id)
		if e == nil {
			return errUnknownCommitment
		}
		if err := s.stepOn(e, run, seen); err != errRests {
			return err
		}
	}
}

// errRests means that an entry was just put to rest: the step has to find it anew.
var errRests = errors.New("the commitment rests")

func (s *fileStore) stepOn(e *entry, run step, seen *view) error {
	e.mutex.Lock()
	switch {
	case e.forgotten:
		e.mutex.Unlock()
		return errUnknownCommitment
	case e.rests:
		e.mutex.Unlock()
		return errRests
	}
	r, err := run(e)
	if err == nil && r.kind != 0 {
		s.record(e, &r)
	}
	e.show(seen)
	newest, binds := e.newest, e.binds
	e.mutex.Unlock()
	if err == nil {
		err = s.wait(newest, binds)
	}
	if err != nil {
		*seen = view{}
	}
	return err
}

func (s *fileStore) open(ctx context.Context, o opening) (view, error) {
	if err := checkOpening(o); err != nil {
		return view{}, err
	}
	if err := s.enter(ctx); err != nil {
		return view{}, err
	}
	defer s.leave()
	topUp := topUpStep(o)
	run := func(e *entry) (record, error) {
		wasUnreserved := e.isUnreserved()
		r, err := topUp(e)
		if wasUnreserved && !e.isUnreserved() {
			s.credit.free(e.commitment, e.creditDay)
		}
		return r, err
	}
	for {
		e := s.entry(o.commitment.ID)
		if e == nil {
			if e = s.openNew(o); e == nil {
				return view{}, errCreditLimit
			}
		}
		var seen view
		if err := s.stepOn(e, run, &seen); err != errRests {
			return seen, err
		}
	}
}

// openNew remembers a commitment that was not known, and returns what is
// remembered; nil if it exceeds a cap.
func (s *fileStore) openNew(o opening) *entry {
	fresh := newEntry(o)
	// Nobody sees it before its record is in the queue.
	fresh.mutex.Lock()
	defer fresh.mutex.Unlock()
	e := fresh
	insert := func() bool {
		e = s.insert(fresh)
		return e == fresh
	}
	if !fresh.isUnreserved() {
		insert()
	} else if !s.credit.take(o.commitment, o.credit, insert) {
		return s.entry(o.commitment.ID) // it may have been what used the credit up
	}
	if e == fresh {
		opened := fresh.opened(o.commitment.Token).withTerms(fresh.commitment)
		s.record(fresh, &opened)
	}
	return e
}

// opened returns the record of an opening. The caller holds mutex.
func (e *entry) opened(token string) record {
	if e.isUnreserved() {
		return record{kind: recordOpenedOnCredit, token: token, redeemBy: e.redeemBy, day: e.creditDay}
	}
	return record{
		kind: recordOpened, token: token, reservation: e.reservation,
		amount: e.state.Cap, sequence: e.state.Sequence, redeemBy: e.redeemBy,
	}
}

// isUnreserved reports whether no reservation was ever taken. The caller holds
// mutex.
func (e *entry) isUnreserved() bool { return e.state.Sequence == 0 }

// countCredit adds up the shares of the commitments that were read back.
func (s *fileStore) countCredit() {
	for k := range s.shards {
		for e := range s.shards[k].unreserved() {
			s.credit.add(e.commitment, e.creditDay)
		}
	}
}

// checkOpening reports what could not be written to the journal and read back.
func checkOpening(o opening) error {
	switch {
	case len(o.commitment.Token) > payword.MaxCommitmentBytes:
		return fmt.Errorf("opening a commitment of %d bytes: at most %d", len(o.commitment.Token), payword.MaxCommitmentBytes)
	case len(o.reservation) > payword.MaxReservationBytes:
		return fmt.Errorf("opening with a reservation of %d bytes: at most %d", len(o.reservation), payword.MaxReservationBytes)
	case o.amount < 0:
		return fmt.Errorf("opening with %d micros", o.amount)
	case o.sequence == 0 && (o.reservation != "" || o.amount != o.commitment.Limit || o.credit.day < 0):
		return errors.New("opening an unreserved commitment with a reservation, or other than to its limit")
	}
	return nil
}

func (s *fileStore) find(ctx context.Context, id payword.CommitmentID) (view, error) {
	return s.step(ctx, id, lookStep)
}

func (s *fileStore) findNewest(ctx context.Context, id payword.CommitmentID) (view, error) {
	return s.find(ctx, id)
}

func (s *fileStore) charge(ctx context.Context, id payword.CommitmentID, c payword.Charge) (outcome payword.Outcome, seen view, err error) {
	charged := chargeStep(c, &outcome)
	if c.Single {
		s.singles.prepare(s)
		charged = s.singles.guard(c, &outcome, charged)
	}
	if err = s.stepInto(ctx, id, charged, &seen); err != nil {
		outcome = payword.Outcome{}
	}
	return outcome, seen, err
}

func (s *fileStore) advance(ctx context.Context, id payword.CommitmentID, chain uint8, tail payword.Tail) (view, error) {
	return s.step(ctx, id, advanceStep(chain, tail))
}

func (s *fileStore) giveBack(ctx context.Context, id payword.CommitmentID, number uint64, now int64) (money.Amount, view, error) {
	var amount money.Amount
	seen, err := s.step(ctx, id, giveBackStep(number, now, &amount))
	if err != nil {
		return 0, view{}, err
	}
	return amount, seen, nil
}

func (s *fileStore) trueUp(ctx context.Context, id payword.CommitmentID, number uint64, price money.Amount, now int64) (money.Amount, view, error) {
	var amount money.Amount
	seen, err := s.step(ctx, id, trueUpStep(number, price, now, &amount))
	if err != nil {
		return 0, view{}, err
	}
	return amount, seen, nil
}

func (s *fileStore) flow(ctx context.Context, id payword.CommitmentID, amount money.Amount) (payword.Outcome, view, error) {
	var outcome payword.Outcome
	seen, err := s.step(ctx, id, flowStep(amount, &outcome))
	if err != nil {
		return payword.Outcome{}, view{}, err
	}
	return outcome, seen, nil
}

func (s *fileStore) finish(ctx context.Context, id payword.CommitmentID) (view, error) {
	return s.step(ctx, id, finishStep)
}

func (s *fileStore) acknowledge(ctx context.Context, id payword.CommitmentID, amount money.Amount, final bool) error {
	_, err := s.step(ctx, id, acknowledgeStep(amount, final))
	return err
}

func (s *fileStore) claimables(ctx context.Context, now, refundSeconds int64, yield func(claimable) bool) error {
	if err := s.journal.refused(); err != nil {
		return err
	}
	s.now.Store(now)
	expired := forgettable{}
	for k := range s.shards {
		for e := range s.shards[k].all() {
			if err := ctx.Err(); err != nil {
				return err
			}
			s.shards[k].rest(e, now, s.journal.durable.Load())
			expired.count(e, now)
			found, newest, isDue := e.claimable(now, refundSeconds)
			if !isDue {
				continue
			}
			if err := s.journal.wait(newest); err != nil {
				return err
			}
			if !yield(found) {
				return nil
			}
		}
	}
	s.compactExpired(expired)
	return nil
}

// claimable returns what can be claimed, from which position in the journal on
// it is durable, and whether there is anything.
func (e *entry) claimable(now, refundSeconds int64) (claimable, uint64, bool) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.releaseRecent(now)
	if e.forgotten || e.isPast(now) {
		return claimable{}, 0, false
	}
	m := e.commitment
	amount := e.state.Claimable(now, refundSeconds)
	final := (e.state.Closed || now >= m.Expires) && !e.canGiveBack(now, refundSeconds)
	if amount <= e.state.Claimed && (e.final || !final) {
		return claimable{}, 0, false
	}
	return claimable{
		commitment: m, reservation: e.reservation, tails: append([]payword.Tail(nil), e.state.Tails[:len(m.Chains)]...),
		amount: amount, final: final,
	}, e.newest, true
}

// canGiveBack reports whether the price of a request may still be returned. The
// caller holds mutex.
func (e *entry) canGiveBack(now, refundSeconds int64) bool {
	for k := range e.state.Recent {
		if request := &e.state.Recent[k]; request.Grants > 0 && request.At+refundSeconds > now {
			return true
		}
	}
	return false
}

// releaseRecent gives the memory of requests back that are all too old to
// matter, as the next step would. The caller holds mutex.
func (e *entry) releaseRecent(now int64) {
	for k := range e.state.Recent {
		if e.state.Recent[k].At+payword.RefundSeconds > now {
			return
		}
	}
	e.state.Recent = nil
}

// isPast reports whether a commitment can be forgotten: nothing can be claimed
// on it any more, and nobody can open it again, not even by a clock that is
// SkewSeconds behind. The caller holds mutex.
func (e *entry) isPast(now int64) bool { return now >= e.pastAt() }

// pastAt returns when isPast begins, in seconds since 1970. The caller holds
// mutex.
func (e *entry) pastAt() int64 { return max(e.redeemBy, e.commitment.Expires) + payword.SkewSeconds }
