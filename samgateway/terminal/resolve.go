package terminal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/paywordhq/payword/internal/purse"
)

// Resolve decides what can be decided without a card, and repeats what clearing
// and broker have not answered, when its time has come. Call it when the terminal
// begins, and then every few seconds. It returns what was decided since it was
// last asked, also by payments in between; an error says that something was not
// possible now, and is no reason not to go on.
func (t *Terminal) Resolve(ctx context.Context) ([]Outcome, error) {
	return t.resolve(ctx, t.now())
}

// ResolveAll is Resolve, and repeats what has not come to its time as well: for
// somebody who waits for it.
func (t *Terminal) ResolveAll(ctx context.Context) ([]Outcome, error) {
	return t.resolve(ctx, t.now().Add(maxPause))
}

// resolve repeats what is due until then.
func (t *Terminal) resolve(ctx context.Context, until time.Time) ([]Outcome, error) {
	samErr := t.resolveSAM(ctx)
	hostErr := t.resolveDue(ctx, until)
	if t.hot.isOlder(t.now().Add(-hotListAge)) {
		if err := t.refreshHotList(ctx); err != nil {
			hostErr = errors.Join(hostErr, fmt.Errorf("asking for the hot list: %w", err))
		}
	}
	return t.drain(), errors.Join(samErr, hostErr)
}

// resolveSAM brings journal and SAM to one opinion, and goes on with a batch
// that is closed.
func (t *Terminal) resolveSAM(ctx context.Context) error {
	release, err := t.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTimeout)
	defer cancel()
	data, err := t.settle(work, nil, false)
	if errors.Is(err, ErrOccupied) {
		return nil
	}
	if err != nil || data.State != purse.SAMClosed || t.now().Before(t.turnDue.Due) {
		return err
	}
	if _, err := t.turnIn(ctx); err != nil {
		t.turnDue.failed(t.now(), err)
		return err
	}
	t.turnDue = retry{}
	return nil
}

// resolveDue repeats what was not answered. After the first question that is not
// answered again it stops: whoever is away is away for all.
func (t *Terminal) resolveDue(ctx context.Context, now time.Time) error {
	due, err := t.journal.transactions(openBucket, func(x transaction) bool { return !x.isUndecided() && x.isDue(now) })
	if err != nil {
		return err
	}
	var away error
	for _, x := range due {
		after, err := t.advance(ctx, x)
		if after.State != x.State {
			t.note(after)
		}
		if err != nil && !isRefusal(err) {
			away = err
			break
		}
	}
	return errors.Join(away, t.resolveLoads(ctx, now), t.resolveScripts(ctx, now))
}

func (t *Terminal) resolveLoads(ctx context.Context, now time.Time) error {
	due, err := t.journal.loads(func(l load) bool {
		return (l.State == Credited || l.State == Answered) && l.isDue(now)
	})
	for _, l := range due {
		if _, err := t.advanceLoad(ctx, l, nil); err != nil {
			return err
		}
	}
	return err
}

func (t *Terminal) resolveScripts(ctx context.Context, now time.Time) error {
	told, err := t.journal.scripts()
	for _, s := range told {
		if !s.isDue(now) {
			continue
		}
		if err := t.tellScript(ctx, s); err != nil {
			return err
		}
	}
	return err
}

// Void ends the open transaction, which must be tno, without waiting for its
// card any longer. If an order has left the SAM, the void is unproved: a card
// that paid gets it back when Meet sees it.
func (t *Terminal) Void(ctx context.Context, tno uint32) error {
	release, err := t.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTimeout)
	defer cancel()
	data, err := t.samData(work)
	if err != nil {
		return err
	}
	if !data.State.IsOpen() || data.TNo != tno {
		return fmt.Errorf("transaction %d is not open: want the one that is, %s", tno, openNumber(data.State.IsOpen(), data.TNo))
	}
	_, err = t.settle(work, nil, true)
	return err
}

func openNumber(isOpen bool, tno uint32) string {
	if isOpen {
		return fmt.Sprint(tno)
	}
	return "and there is none"
}

// Undecided lists what is not decided, or waits, in the order in which it began,
// at most 10,000 of a kind. An unproved void waits for its card.
func (t *Terminal) Undecided(context.Context) (list []Undecided, err error) {
	all := func(transaction) bool { return true }
	for _, bucket := range [][]byte{openBucket, voidBucket} {
		found, err := t.journal.transactions(bucket, all)
		if err != nil {
			return nil, err
		}
		for _, x := range found {
			list = append(list, Undecided{Matter: x.matter(), State: x.State, Reason: x.Reason, Due: dueOf(x.isUndecided() || x.State == Unproved, x.retry)})
		}
	}
	loads, err := t.journal.loads(func(load) bool { return true })
	if err != nil {
		return nil, err
	}
	for _, l := range loads {
		list = append(list, Undecided{Matter: l.matter(), State: l.State, Reason: l.Reason, Due: dueOf(l.State == Asked || l.State == Authorised, l.retry)})
	}
	scripts, err := t.journal.scripts()
	for _, s := range scripts {
		list = append(list, Undecided{Matter: s.matter(), State: Answered, Reason: s.Reason, Due: s.Due})
	}
	slices.SortStableFunc(list, func(a, b Undecided) int { return a.Began.Compare(b.Began) })
	return list, err
}

// dueOf is zero for what waits for a card.
func dueOf(waitsForCard bool, r retry) time.Time {
	if waitsForCard {
		return time.Time{}
	}
	return r.Due
}
