package clearing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// ServerConfig is what the pages of clearing are served with. DB, Config with a
// Directory, and Operators must be set.
type ServerConfig struct {
	// DB is the broker's database. Whoever opened it closes it, after the server.
	DB *ledger.DB
	// Config is what runs are planned and carried out with, such as the policy and
	// the folder for the files. RunID, PeriodEnd, PlanHash and Now are empty.
	Config Config
	// Operators may sign in.
	Operators []Operator
	// Database is the location of the database, for the auditor, which opens it by
	// itself; "": nobody can ask for an audit at the pages.
	Database string
	// Cards clears purse cards; nil: the pages show them, and nothing can be done
	// to them.
	Cards *cards.Clearing
	// Clock is the clock of the sessions; nil: the system's.
	Clock func() time.Time
	// Logger takes what operators should know; nil discards it.
	Logger *slog.Logger
}

// Server serves the pages of clearing, and does in the background what they ask
// for. It is safe for concurrent use.
type Server struct {
	db        *ledger.DB
	config    Config
	operators []Operator
	currency  money.Currency
	database  string
	cards     *cards.Clearing
	clock     func() time.Time
	log       *slog.Logger
	files     *os.Root
	handler   http.Handler

	// base is done when the server is closed, and what is done in the background
	// with it.
	base    context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	settling settling // the run that is carried out here
	checking task     // of the books
	auditing task     // of the evidence
	balance  balanceNow
	proposed proposals
	reading  sync.Mutex // a file of the bank
}

// NewServer makes a server. Close ends what it does in the background.
func NewServer(ctx context.Context, config ServerConfig) (*Server, error) {
	complete, err := config.Config.complete()
	if err != nil {
		return nil, err
	}
	if len(config.Operators) == 0 {
		return nil, errors.New("operators: want at least one, with a name and a token")
	}
	if err := checkDirectory(complete.Directory); err != nil {
		return nil, err
	}
	if err := migrate(ctx, config.DB); err != nil {
		return nil, err
	}
	s := &Server{db: config.DB, config: config.Config, operators: config.Operators, clock: config.Clock, log: config.Logger,
		database: config.Database, cards: config.Cards}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) (err error) {
		s.currency, err = currencyOf(ctx, tx, complete)
		return err
	})
	if err != nil {
		return nil, err
	}
	if s.files, err = os.OpenRoot(complete.Directory); err != nil {
		return nil, fmt.Errorf("folder of the files: %w", err)
	}
	s.base, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.checking.server, s.auditing.server = s, s
	if s.handler, err = newHandler(s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Handler returns what is served: the pages at /clearing/, and what is for
// everybody beside them.
func (s *Server) Handler() http.Handler { return s.handler }

// Close ends what is done in the background and waits for it. A run that is
// broken off so can be gone on with.
func (s *Server) Close() error {
	s.stop()
	s.running.Wait()
	return s.files.Close()
}

// newHandler puts together what is served.
func newHandler(s *Server) (http.Handler, error) {
	mux := http.NewServeMux()
	pages, err := newPages(s)
	if err != nil {
		return nil, err
	}
	mux.Handle(pathPages, pages)
	mux.Handle("GET /{$}", http.RedirectHandler(pathPages, http.StatusSeeOther))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeStatus(w, http.StatusOK) })
	mux.HandleFunc("GET /readyz", s.serveReadiness)
	registerPublished(mux, s)
	return mux, nil
}

func writeStatus(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, http.StatusText(status)) // a client that has gone away needs no answer
}

// readinessTimeout is how long the database may take to answer a probe.
const readinessTimeout = 5 * time.Second

// serveReadiness says whether the database answers.
func (s *Server) serveReadiness(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readinessTimeout)
	defer cancel()
	err := s.db.View(ctx, func(tx *ledger.Tx) error {
		var one int
		return tx.QueryRowContext(ctx, `SELECT 1`).Scan(&one)
	})
	if err != nil {
		s.log.ErrorContext(r.Context(), "not ready", "error", err)
		writeStatus(w, http.StatusServiceUnavailable)
		return
	}
	writeStatus(w, http.StatusOK)
}
