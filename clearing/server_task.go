package clearing

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	auditor "github.com/paywordhq/payword/clearing/audit" // audit is the log of changes
	"github.com/paywordhq/payword/internal/adminpage"
)

// told are the errors whose text is for operators. Others stay in the log.
var told = []error{ErrUnfinished, ErrNoPlan, ErrDiscarded, ErrNotApproved, ErrNoDirectory, errLeaseLost}

// sentenceOf returns what an operator is told of an error: a whole sentence, and
// whether it is one of those that say what to do.
func sentenceOf(err error) (text string, isTold bool) {
	var held *HeldError
	var books *BooksError
	isTold = errors.As(err, &held) || errors.As(err, &books)
	for _, one := range told {
		isTold = isTold || errors.Is(err, one)
	}
	if !isTold {
		return "It failed. What went wrong is in the log of the server.", false
	}
	text = err.Error()
	return upperFirst(text) + ".", true
}

// upperFirst makes the first letter of a sentence a capital, if it is one of
// ASCII.
func upperFirst(text string) string {
	if text != "" && text[0] >= 'a' && text[0] <= 'z' {
		return string(text[0]-'a'+'A') + text[1:]
	}
	return text
}

// task is something that is done in the background, once at a time.
type task struct {
	server *Server

	mutex sync.Mutex
	state taskState // guarded by mutex
}

// taskState is how far a task is.
type taskState struct {
	IsGoing        bool
	Started, Ended time.Time // zero: not yet
	IsFailed       bool
	Text           string // what came of it, for people
	Detail         string // more of it, in lines; or ""
}

// Taken is how long the task took, in whole milliseconds.
func (t taskState) Taken() time.Duration { return t.Ended.Sub(t.Started).Round(time.Millisecond) }

// look returns how far the task is.
func (t *task) look() taskState {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.state
}

// start begins the work under a context that ends with the server, unless the
// task is going on. what names it in the log. work returns a text for people.
func (t *task) start(ctx context.Context, what string, work func(ctx context.Context) (text string, isGood bool, err error)) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.state.IsGoing || t.server.base.Err() != nil {
		return false
	}
	s := t.server
	t.state = taskState{IsGoing: true, Started: s.clock().UTC()}
	// Who asked for it is known by the context, which ends with the request.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(s.base, cancel)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer cancel()
		text, isGood, err := work(ctx)
		if err != nil {
			s.log.ErrorContext(ctx, what+" failed", "error", err)
			text, _ = sentenceOf(err)
		}
		t.mutex.Lock()
		defer t.mutex.Unlock()
		t.state.IsGoing, t.state.Ended = false, s.clock().UTC()
		t.state.IsFailed, t.state.Text = err != nil || !isGood, text
	}()
	return true
}

// settling is the run that this server carries out.
type settling struct {
	task

	progress Progress // guarded by mutex
	// What the estimate is made from: how many lines were done when this server
	// began with them, and when that was.
	firstDone int64     // guarded by mutex
	linesFrom time.Time // guarded by mutex
}

// settle carries out the plan of a hash in the background, unless another one is
// being carried out here.
func (s *Server) settle(ctx context.Context, hash string, by Operator) bool {
	g := &s.settling
	g.server = s
	isStarted := g.start(ctx, "settlement run", func(ctx context.Context) (string, bool, error) {
		config := s.config
		config.PlanHash, config.Progress = hash, g.take
		done, err := Run(ctx, s.db, config, by)
		if err != nil {
			return "", false, err
		}
		return "Run " + done.RunID + " is done.", true, nil
	})
	if isStarted {
		g.mutex.Lock()
		defer g.mutex.Unlock()
		g.progress, g.linesFrom = Progress{}, time.Time{}
	}
	return isStarted
}

// take notes how far the run is.
func (g *settling) take(p Progress) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if p.Phase == PhaseLines && g.linesFrom.IsZero() {
		g.linesFrom, g.firstDone = g.server.clock(), p.Done
	}
	g.progress = p
}

// lookAt returns how far the run is, and how long its lines still take as it
// seems; 0: nobody can tell.
func (g *settling) lookAt() (state taskState, progress Progress, left time.Duration) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	p := g.progress
	done := p.Done - g.firstDone
	if p.Phase == PhaseLines && done > 0 && !g.linesFrom.IsZero() {
		each := g.server.clock().Sub(g.linesFrom) / time.Duration(done)
		left = (each * time.Duration(p.Lines-p.Done)).Round(time.Second)
	}
	return g.state, p, left
}

// maxDetail bounds what is kept of what a task found, in bytes: what somebody
// reads before asking for the whole on the command line.
const maxDetail = 16 << 10

// audit recomputes everything from the signed evidence, in the background and on
// a connection of its own.
func (s *Server) audit(ctx context.Context) {
	t := &s.auditing
	t.start(ctx, "audit", func(ctx context.Context) (string, bool, error) {
		t.note("")
		report, err := auditor.Run(ctx, auditor.Options{Database: s.database, Progress: func(stage string, done, _ int64) {
			t.note(stage + ", " + adminpage.GroupedCount(done))
		}})
		if err != nil {
			t.note("")
			return "", false, err
		}
		var detail strings.Builder
		if err := report.Write(&detail); err != nil {
			return "", false, err
		}
		t.note(strings.ToValidUTF8(detail.String()[:min(detail.Len(), maxDetail)], ""))
		if !report.Clean() {
			return adminpage.Things(report.Wrong, "thing") + " that the evidence does not bear out.", false, nil
		}
		return adminpage.Things(report.Looked.Signatures, "signature") + " and " + adminpage.Things(report.Looked.Hashes, "step") +
			" of hashing bear out every balance, fee and payout.", true, nil
	})
}

// note keeps what a task is at, or what it found.
func (t *task) note(detail string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.state.Detail = detail
}

// checkBooks checks the ledger in the background. It stops nobody.
func (s *Server) checkBooks(ctx context.Context) {
	s.checking.start(ctx, "check of the books", func(ctx context.Context) (string, bool, error) {
		report, err := s.db.Check(ctx)
		if err != nil {
			return "", false, err
		}
		if !report.Clean() {
			return upperFirst((&BooksError{Report: report}).Error()) + ".", false, nil
		}
		return checkedText(report.Accounts, report.Transfers), true, nil
	})
}
