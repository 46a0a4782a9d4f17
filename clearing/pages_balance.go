package clearing

import (
	"context"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// balanceNow is the trial balance of now. Taking it reads every account, so it
// is taken once at a time and kept for a while.
type balanceNow struct {
	mutex   sync.Mutex
	taken   time.Time      // guarded by mutex, as is classes
	classes []ClassBalance // sorted by currency and class
}

// balanceAge is how old a trial balance of now may be.
const balanceAge = 10 * time.Second

// take returns the trial balance and when it was taken.
func (s *Server) balanceOfNow(ctx context.Context) ([]ClassBalance, time.Time, error) {
	b := &s.balance
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if s.clock().Sub(b.taken) < balanceAge {
		return b.classes, b.taken, nil
	}
	err := s.db.View(ctx, func(tx *ledger.Tx) (err error) {
		b.classes, err = takeTrialBalance(ctx, tx)
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	b.taken = s.clock().UTC()
	return b.classes, b.taken, nil
}

// balanceGroup is a trial balance in one currency.
type balanceGroup struct {
	Code     string
	Classes  []ClassBalance
	Accounts int64
	Sum      money.Amount // micros; 0 in books that agree
	Pending  money.Amount
}

func groupBalances(classes []ClassBalance) (groups []balanceGroup, err error) {
	for _, class := range classes {
		if len(groups) == 0 || groups[len(groups)-1].Code != class.Currency.Code() {
			groups = append(groups, balanceGroup{Code: class.Currency.Code()})
		}
		last := &groups[len(groups)-1]
		last.Classes, last.Accounts = append(last.Classes, class), last.Accounts+class.Accounts
		if last.Sum, err = last.Sum.Add(class.Balance); err != nil {
			return nil, err
		}
		if last.Pending, err = last.Pending.Add(class.Pending); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

type balanceView struct {
	Groups []balanceGroup
	AsOf   time.Time
	Run    string       // whose closing it is; "": it is of now
	Runs   []Settlement // closed ones, to choose from
}

func (v *visit) balancePage() {
	s, ctx := v.server, v.R.Context()
	data := balanceView{Run: v.R.URL.Query().Get("run")}
	var classes []ClassBalance
	var err error
	if data.Run == "" {
		classes, data.AsOf, err = s.balanceOfNow(ctx)
	} else {
		var run Settlement
		if run, err = s.run(ctx, data.Run); err == nil {
			data.AsOf = run.Closed
			classes, err = TrialBalance(ctx, s.db, data.Run)
		}
	}
	if err == nil {
		data.Groups, err = groupBalances(classes)
	}
	if err == nil {
		data.Runs, err = s.closedRuns(ctx)
	}
	if err != nil {
		v.Failed(err)
		return
	}
	v.Show(http.StatusOK, "balance", adminpage.View{Title: "Trial balance", Section: "balance", Data: data})
}

// closedRuns returns the newest runs that were closed.
func (s *Server) closedRuns(ctx context.Context) (runs []Settlement, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		runs = nil
		return tx.Each(ctx, func(scan func(...any) error) error {
			run, err := scanSettlement(scan)
			runs = append(runs, run)
			return err
		}, settlementColumns+`WHERE closed > 0 ORDER BY planned DESC, id DESC LIMIT ?`, shortList)
	})
	return runs, err
}

// fact is a value with its name.
type fact struct{ Name, Value string }

type healthView struct {
	IsReady    bool
	Holder     string // of the lease; "": nobody
	Check      taskState
	Settling   taskState
	Program    []fact
	Migrations []fact
}

func (v *visit) healthPage() {
	s, ctx := v.server, v.R.Context()
	data := healthView{Check: s.checking.look(), Program: program()}
	data.Settling, _, _ = s.settling.lookAt()
	err := s.db.View(ctx, func(tx *ledger.Tx) (err error) {
		data.Migrations = nil
		if data.Holder, err = holderOf(ctx, tx); err != nil {
			return err
		}
		return tx.Each(ctx, func(scan func(...any) error) error {
			var namespace, name string
			err := scan(&namespace, &name)
			data.Migrations = append(data.Migrations, fact{namespace, name})
			return err
		}, `SELECT namespace, name FROM payword_migrations ORDER BY namespace, number DESC LIMIT 100`)
	})
	if err != nil {
		v.Unavailable(err)
		return
	}
	data.IsReady = true
	v.Show(http.StatusOK, "health", adminpage.View{Title: "Health", Section: "health", Data: data})
}

// program is what is known of it.
func program() []fact {
	info, found := debug.ReadBuildInfo()
	if !found {
		return []fact{{"Version", "unknown"}}
	}
	facts := []fact{{"Version", info.Main.Version}, {"Go", info.GoVersion}}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			facts = append(facts, fact{"Revision", setting.Value})
		}
	}
	return facts
}
