package caddymodule

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	// probeInterval is how often a Redis that does not answer is asked again.
	probeInterval = 250 * time.Millisecond

	// recheckInterval is how often one that answers is asked whether the secrets
	// are still the same: after it was emptied, another gate may have come first.
	recheckInterval = time.Minute
)

// errStoreDown means that Redis does not answer. It is asked again in the
// background, so that requests meanwhile fail at once.
var errStoreDown = errors.New("the store in Redis does not answer")

// redisHealth says whether Redis answers.
type redisHealth struct {
	probed chan struct{} // closed once it was asked for the first time
	woken  chan struct{} // holds one token after a step failed

	mutex  sync.Mutex
	asked  bool
	down   error                // why it is not used; nil: it is
	failed payword.CommitmentID // whose step failed last
}

func (h *redisHealth) init() {
	h.probed, h.woken = make(chan struct{}), make(chan struct{}, 1)
}

// wait returns nil if Redis answers, and why not otherwise. It waits for the
// first word of it.
func (h *redisHealth) wait(ctx context.Context) error {
	select {
	case <-h.probed:
	case <-ctx.Done():
		return fmt.Errorf("%w: not since this gate started", errStoreDown)
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.down
}

// waitUntil is wait for so long.
func (h *redisHealth) waitUntil(ctx context.Context, ends time.Time) error {
	select {
	case <-h.probed:
	default:
		// A context takes memory, which each step would need.
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, ends)
		defer cancel()
	}
	return h.wait(ctx)
}

// fail notes that a step did not get through.
func (h *redisHealth) fail(id payword.CommitmentID, cause error) {
	h.mutex.Lock()
	if h.down == nil {
		h.down = fmt.Errorf("%w: %w", errStoreDown, cause)
	}
	h.failed = id
	h.mutex.Unlock()
	select {
	case h.woken <- struct{}{}:
	default:
	}
}

// note records what asking brought, and returns what was so before.
func (h *redisHealth) note(down error) (before error, isFirst bool) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	before, isFirst = h.down, !h.asked
	h.down = down
	if isFirst {
		h.asked = true
		close(h.probed)
	}
	return before, isFirst
}

// watch asks Redis whether it answers, and mends it when it does again.
func (s *redisStore) watch() {
	wasDown := false
	for s.closing.Err() == nil {
		err := s.probe()
		if s.closing.Err() != nil {
			return
		}
		before, isFirst := s.health.note(err)
		switch {
		case err != nil && (!wasDown || before == nil || before.Error() != err.Error()):
			s.logger.Error("the store in Redis is not used", zap.Error(err))
		case err == nil && (wasDown || before != nil && !isFirst):
			s.local.reset()
			s.logger.Info("the store in Redis answers again")
			s.jobs.Go(func() { s.mend(s.closing) })
		}
		wasDown = err != nil
		if err != nil {
			pause(s.closing, probeInterval)
			continue
		}
		recheck := time.NewTimer(recheckInterval)
		select {
		case <-s.health.woken:
			wasDown = true
			s.logger.Error("the store in Redis does not answer")
		case <-recheck.C:
		case <-s.closing.Done():
		}
		recheck.Stop()
	}
}

// probe asks Redis whether it answers, for the commitment whose step failed
// last, and whether the gates have the same secrets.
func (s *redisStore) probe() error {
	ctx, cancel := context.WithTimeout(s.closing, 2*s.timeout)
	defer cancel()
	if err := s.secrets.compare(ctx, s.client, s.prefix); err != nil {
		if isOtherGate(err) {
			return err
		}
		return fmt.Errorf("%w: %w", errStoreDown, err)
	}
	s.health.mutex.Lock()
	failed := s.health.failed
	s.health.mutex.Unlock()
	// It writes what a step would, where that step would write it: a replica that
	// was not promoted yet answers reads, a full server takes some writes, and a
	// user may lack the right to run scripts. Were any of them taken for a Redis
	// that works, every step that fails would be an outage of its own.
	tag := newTag()
	key := fmt.Sprintf("%sprobe:{%02d}%s", s.prefix, slotGroup(failed), failed)
	answer, err := swapScript.Run(ctx, s.client, []string{key}, 0, "", tag[:], 1).Result()
	if answers, isList := answer.([]any); isList && len(answers) == 1 {
		if _, isText := answers[0].(string); !isText && answers[0] != nil { // what stands there, of another gate's probe, is fine
			err = swapError(answers[0])
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errStoreDown, err)
	}
	return nil
}

// mendAtOnce bounds how many commitments are mended at the same time.
const mendAtOnce = 32

// mend compares what this node knows of every commitment with what stands in
// Redis, and writes there what is missing.
func (s *redisStore) mend(ctx context.Context) {
	ids := make(chan payword.CommitmentID)
	var workers sync.WaitGroup
	for range mendAtOnce {
		workers.Go(func() {
			for id := range ids {
				// What fails is mended at its next step.
				_, _ = s.findNewest(ctx, id)
			}
		})
	}
	for _, id := range s.cache.all() {
		if ctx.Err() != nil {
			break
		}
		ids <- id
	}
	close(ids)
	workers.Wait()
}

// localPolicy says how much a node charges on its own word while Redis is away.
type localPolicy struct {
	limit    money.Amount // of all charges together, in micros; 0: none
	currency money.Currency
	spent    *localSum
}

// localSum is what was charged in one outage.
type localSum struct {
	mutex  sync.Mutex
	amount money.Amount // in micros
}

func newLocalPolicy(limit money.Amount, currency money.Currency) localPolicy {
	return localPolicy{limit: limit, currency: currency, spent: new(localSum)}
}

// take counts an amount and reports whether it is within the limit.
func (p *localPolicy) take(amount money.Amount) bool {
	p.spent.mutex.Lock()
	defer p.spent.mutex.Unlock()
	if amount > p.limit-p.spent.amount {
		return false
	}
	p.spent.amount += amount
	return true
}

// reset begins anew: the outage is over.
func (p *localPolicy) reset() {
	if p.spent == nil {
		return
	}
	p.spent.mutex.Lock()
	defer p.spent.mutex.Unlock()
	p.spent.amount = 0
}

// withoutRedis ends a batch of steps while Redis does not answer: in memory, as
// far as the local policy goes, or with the cause. What was done in memory
// stands in Redis when it is back.
func (s *redisStore) withoutRedis(e *nodeEntry, batch []*nodeStep, cause error) {
	if s.local.limit == 0 || isOtherGate(cause) || s.closing.Err() != nil {
		failSteps(batch, cause)
		return
	}
	known, _ := s.start(e)
	for _, each := range batch {
		if known == nil && each.opening != nil && s.cache.isFull() {
			each.err = cause
			continue
		}
		var trial *entry
		charged := money.Amount(0)
		if known != nil {
			trial, charged = known.clone(nil), known.state.Charged
		}
		trial, changed, opened := each.runOn(trial)
		if each.err != nil || changed.kind == 0 && !opened {
			continue
		}
		if trial.commitment.Currency != s.local.currency || !s.local.take(max(0, trial.state.Charged-charged)) {
			each.err = fmt.Errorf("%w, and what may be charged meanwhile is used up", cause)
			continue
		}
		known, e.ahead = trial, trial
	}
}

// secretsCheck compares the secrets of gates that share a Redis. Their vendor's
// key is the same, and each recognises the challenges that the others make.
type secretsCheck struct {
	directory string             // where the secrets stand; "": nothing is compared
	vendor    ed25519.PrivateKey // read when the gate started
	agreed    string             // what stood in Redis when the secrets were the same
}

var (
	errOtherSecrets = errors.New("another gate that uses this Redis has other secrets")
	errOtherForm    = errors.New("gates of another version use this Redis, and write commitments in another form")
)

// storedForm says how commitments are written. It stands before the fingerprint of
// the secrets, so that gates that write in another form, which would not see what
// was paid at the others, do not run beside each other.
const storedForm = "2:"

// isOtherGate reports whether other gates keep this one from using Redis.
func isOtherGate(err error) bool {
	return errors.Is(err, errOtherSecrets) || errors.Is(err, errOtherForm)
}

// compare leaves the fingerprint of the secrets in Redis if none is there, and
// fails if it is that of others. After a rotation of the challenge secret the
// new one takes the place of the one before. One goroutine calls it.
func (c *secretsCheck) compare(ctx context.Context, client redis.UniversalClient, prefix string) error {
	if c.directory == "" {
		return client.Ping(ctx).Err()
	}
	challenges, err := openChallengeSecrets(c.directory)
	if err != nil {
		return err
	}
	set := challenges.known.Load()
	printOf := func(secret []byte) string { return storedForm + fingerprint(c.vendor, secret) }
	key, ours := prefix+"secrets", printOf(set.making)
	if err := client.SetNX(ctx, key, ours, 0).Err(); err != nil {
		return err
	}
	found, err := client.Get(ctx, key).Result()
	switch {
	case err != nil:
		return err
	case found == ours, set.next != nil && found == printOf(set.next):
	case found == c.agreed, set.previous != nil && found == printOf(set.previous):
		if err := client.Set(ctx, key, ours, 0).Err(); err != nil {
			return err
		}
		found = ours
	case !strings.HasPrefix(found, storedForm):
		return fmt.Errorf("%w: run one version at all gates. To change from theirs to this one, have them redeem (POST /payword/redeem at the admin endpoint), "+
			"stop all of them, and delete the key %s in Redis; what they opened is then not used any more, and opened again by who pays on", errOtherForm, key)
	default:
		return fmt.Errorf("%w: copy vendor-key and challenge-secret from its store directory into %s, readable by this gate alone, and restart this gate; "+
			"or, if the files here are the right ones, copy them to the other gates and delete the key %s in Redis", errOtherSecrets, c.directory, key)
	}
	c.agreed = found
	return nil
}
