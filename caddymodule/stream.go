package caddymodule

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	// maxStreamsPerCommitment is how many streams one commitment has at a time: a
	// page's worth and more, and few enough that one payer cannot fill the table.
	maxStreamsPerCommitment = 64

	// maxStreams bounds the streams of one gate, at a few kilobytes each.
	maxStreams = 10_000

	// streamPollInterval is how often a stream that waits asks the store for
	// credit that came another way than by its own node.
	streamPollInterval = time.Second

	streamIDBytes = 16 // not to be guessed
)

// stream is an answer that is charged piece by piece while it flows: each piece
// before it is sent, so that nothing is delivered that was not charged. Its
// methods may be called concurrently: a WebSocket flows both ways.
type stream struct {
	*Meter
	id         string
	gate       *gate
	app        *App
	logger     *zap.Logger
	commitment *payword.Commitment
	url        string // canonical, of the request
	number     uint64 // of the request
	price      money.Amount
	ctx        context.Context // ends with the request, or when the stream is to end
	cancel     context.CancelFunc
	say        func(notice) // tells the client that the stream waits; called without the lock

	mutex     sync.Mutex
	limit     money.Amount // the most that the client agrees to pay, in micros
	reserved  money.Amount // charged before the answer began, in micros
	flowed    money.Amount // charged since, in micros
	ahead     money.Amount // delivered on the credit window, in micros
	delivered int64        // bytes, events, messages or seconds
	view      chainView    // of the commitment, after the newest step
	began     time.Time
	pausedFor time.Duration
	wake      chan struct{} // closed when something may have changed
	told      notice        // what the client was told last; zero while the stream flows
	deadline  time.Time     // when waiting ends
	waitsFrom time.Time
	ended     error // why no more is taken; nil while it goes on
	settled   bool
}

// notice is what a client is told whose stream waits.
type notice struct {
	Stream     string               `json:"stream"`
	Commitment payword.CommitmentID `json:"commitmentId"`
	Reason     payword.Reason       `json:"reason"`   // insufficient-credit or price-over-max
	Required   money.Amount         `json:"required"` // what accepted must reach, in micros
	Accepted   money.Amount         `json:"accepted"` // in micros
	Spent      money.Amount         `json:"spent"`    // in micros
	Charged    money.Amount         `json:"charged"`  // for this request so far, in micros
	Max        money.Amount         `json:"max"`      // what max must reach, in micros
	Currency   money.Currency       `json:"currency"`
	Timeout    int                  `json:"timeoutSeconds"`
}

// Why a stream ends before its upstream does.
var (
	errStreamTimeout = errors.New("no payment came in time")
	errStreamStops   = errors.New("the gate stops or is configured anew")
	errStreamClient  = errors.New("the client left, or the upstream broke off")
	errStreamStore   = errors.New("the store cannot tell")
	errStreamExpired = errors.New("the commitment has expired")
	errStreamClosed  = errors.New("the commitment was closed")
	errStreamRevoked = errors.New("the broker has revoked the certificate")
	errStreamBlocked = errors.New("the publisher does not serve this payer")
	errStreamFrames  = errors.New("the stream holds what is no WebSocket frame")
)

func newStreamID() string {
	id := make([]byte, streamIDBytes)
	rand.Read(id)
	return base64.RawURLEncoding.EncodeToString(id)
}

// charged returns what the request cost so far, in micros. The lock is held.
func (s *stream) charged() money.Amount { return s.reserved + s.flowed + s.ahead }

// take charges for a count of bytes, events or messages before they are sent,
// and waits for payment if it has to. It returns how many may be sent: all of
// them if whole, else at least one.
func (s *stream) take(count int64, whole bool) (int64, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for s.ended == nil {
		if s.Unit == unitSecond {
			count, whole = s.elapsed()-s.delivered, true
		}
		free := int64(s.charged()/s.price)*s.unitSize() - s.delivered
		if free < count && !whole && free > 0 {
			count = free
		}
		if free >= count {
			s.delivered += max(0, count)
			s.flows()
			return count, nil
		}
		need := s.units(s.delivered+count) - int64(s.charged()/s.price)
		if !whole {
			need = 1
		}
		reason, err := s.pay(need)
		if err == nil && reason != payword.Accepted {
			err = s.wait(reason, need)
		}
		if err != nil {
			s.end(err)
		}
	}
	return 0, s.ended
}

// elapsed returns how many seconds have begun since the stream did, without
// those in which it waited.
func (s *stream) elapsed() int64 {
	return int64((s.app.now().Sub(s.began)-s.pausedFor)/time.Second) + 1
}

// flows notes that the stream does not wait any more.
func (s *stream) flows() {
	if s.told == (notice{}) {
		return
	}
	s.told = notice{}
	s.pausedFor += s.app.now().Sub(s.waitsFrom)
}

// pay charges at least need units, and a slice if there is credit for it.
func (s *stream) pay(need int64) (payword.Reason, error) {
	switch {
	case s.app.now().Unix() >= s.commitment.Expires:
		return payword.CommitmentExpired, errStreamExpired
	case s.gate.hotLists.isRevoked(&s.commitment.Certificate, s.app.now().Unix()):
		return payword.CertificateRevoked, errStreamRevoked
	case s.app.Block.has(s.commitment):
		return payword.Blocked, errStreamBlocked
	case s.app.ctx.Err() != nil || caddy.Exiting():
		return 0, errStreamStops
	case s.ctx.Err() != nil:
		return 0, errStreamClient
	}
	want := min(max(need, s.Slice), int64((s.limit-s.charged())/s.price))
	if want < need {
		return payword.PriceOverMax, nil
	}
	account := s.gate.streams.account(s)
	account.mutex.Lock()
	defer account.mutex.Unlock()
	for {
		amount := s.price.MulCapped(uint64(want), money.MaxAmount)
		outcome, err := s.flow(account, amount)
		if err != nil {
			return 0, err
		}
		switch outcome.Reason {
		case payword.Accepted:
			s.flowed += amount
			return payword.Accepted, nil
		case payword.CommitmentClosed:
			return 0, errStreamClosed
		}
		affordable := int64((s.view.accepted - s.view.spent - account.debt) / s.price)
		if affordable < need || affordable >= want {
			return s.payAhead(account, need), nil
		}
		want = affordable
	}
}

// flow charges an amount, and what was delivered ahead of payment with it.
func (s *stream) flow(account *advance, amount money.Amount) (payword.Outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), giveBackTimeout)
	defer cancel()
	outcome, after, err := s.gate.store.flow(ctx, s.commitment.ID, amount+account.debt)
	if err != nil {
		// It may have been charged. Asking again could charge it twice.
		account.debt = 0
		s.logger.Error("charging a stream", zap.Error(err))
		return outcome, errStreamStore
	}
	s.view = after.of(s.view.chain)
	if outcome.Reason == payword.Accepted {
		account.debt = 0
	}
	return outcome, nil
}

// wait tells the client what is missing and waits until something may have
// changed. It returns an error when the stream is to end. The lock is let go of
// meanwhile.
func (s *stream) wait(reason payword.Reason, need int64) error {
	now := time.Now()
	missing := s.notice(reason, need)
	if s.told == (notice{}) {
		s.deadline = now.Add(time.Duration(s.Timeout))
		s.waitsFrom = s.app.now()
	}
	if !now.Before(s.deadline) {
		return errStreamTimeout
	}
	wake, isNews := s.wake, missing != s.told
	s.told = missing
	s.mutex.Unlock()
	defer s.mutex.Lock()
	if isNews {
		s.say(missing)
	}
	timer := time.NewTimer(min(streamPollInterval, time.Until(s.deadline)))
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	case <-s.app.ctx.Done():
	case <-s.ctx.Done():
	}
	return nil
}

// notice says what is missing. The lock is held.
func (s *stream) notice(reason payword.Reason, need int64) notice {
	amount := s.price.MulCapped(uint64(need), money.MaxAmount)
	return notice{
		Stream: s.id, Commitment: s.commitment.ID, Reason: reason,
		Required: s.view.spent + s.gate.streams.debt(s.commitment.ID) + amount,
		Accepted: s.view.accepted, Spent: s.view.spent, Charged: s.charged(), Max: max(s.limit, s.charged()+amount),
		Currency: s.commitment.Currency, Timeout: int(time.Duration(s.Timeout) / time.Second),
	}
}

// end lets nothing more be taken. The lock is held.
func (s *stream) end(why error) {
	if s.ended == nil {
		s.ended = why
		s.cancel()
	}
}

// stop ends the stream from outside.
func (s *stream) stop(why error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.end(why)
}

// whyEnded returns why the stream ended before its upstream did, or nil.
func (s *stream) whyEnded() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.ended
}

// extend raises what the client agrees to pay and lets the stream look for
// credit.
func (s *stream) extend(limit money.Amount) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.limit = max(s.limit, limit)
	s.nudge()
}

// nudge wakes who waits. The lock is held.
func (s *stream) nudge() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// settle gives back what was charged before the answer began and was not
// delivered. It may be called again and does nothing more.
func (s *stream) settle() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.settled {
		return
	}
	s.settled = true
	cost := s.price.MulCapped(uint64(s.units(s.delivered)), money.MaxAmount)
	over := min(s.charged()-cost, s.reserved)
	if over <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), giveBackTimeout)
	defer cancel()
	returned, after, err := s.gate.store.trueUp(ctx, s.commitment.ID, s.number, s.reserved-over, s.app.now().Unix())
	if err != nil {
		s.logger.Error("giving the rest of a stream's price back", zap.Error(err))
		return
	}
	s.reserved -= returned
	s.view = after.of(s.view.chain)
	s.gate.collectReturned(ctx, s.commitment.ID, returned, &s.view, s.logger)
}

// state returns what the stream cost and its newest view of the commitment.
func (s *stream) state() (money.Amount, chainView) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.charged(), s.view
}

// streams holds the streams of a gate while they flow, and what was delivered
// ahead of payment.
type streams struct {
	mutex        sync.Mutex
	byID         map[string]*stream
	byCommitment map[payword.CommitmentID]map[*stream]bool
	advances     map[payword.CommitmentID]*advance
}

func newStreams() *streams {
	return &streams{
		byID: map[string]*stream{}, byCommitment: map[payword.CommitmentID]map[*stream]bool{},
		advances: map[payword.CommitmentID]*advance{},
	}
}

// add remembers a stream and reports whether there was room for it.
func (g *streams) add(s *stream) bool {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	siblings := g.byCommitment[s.commitment.ID]
	if len(g.byID) >= maxStreams || len(siblings) >= maxStreamsPerCommitment {
		return false
	}
	if siblings == nil {
		siblings = map[*stream]bool{}
		g.byCommitment[s.commitment.ID] = siblings
	}
	g.byID[s.id], siblings[s] = s, true
	return true
}

// remove forgets a stream.
func (g *streams) remove(s *stream) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	delete(g.byID, s.id)
	delete(g.byCommitment[s.commitment.ID], s)
	if len(g.byCommitment[s.commitment.ID]) == 0 {
		delete(g.byCommitment, s.commitment.ID)
	}
}

// find returns a stream of a commitment, or nil.
func (g *streams) find(id string, commitment payword.CommitmentID) *stream {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if s := g.byID[id]; s != nil && s.commitment.ID == commitment {
		return s
	}
	return nil
}

// credited lets the streams of a commitment look for credit, because a payment
// on it came.
func (g *streams) credited(commitment payword.CommitmentID) {
	g.mutex.Lock()
	var waiting []*stream
	for s := range g.byCommitment[commitment] {
		waiting = append(waiting, s)
	}
	g.mutex.Unlock()
	for _, s := range waiting {
		s.extend(0)
	}
}
