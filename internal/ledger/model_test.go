package ledger_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the model test; 0 draws one")

// model is the ledger as plain maps, written from the contract.
type model struct {
	accounts  map[string]ledger.Account
	transfers map[string]ledger.Transfer
	ended     map[string]bool
}

func newModel() *model {
	return &model{map[string]ledger.Account{}, map[string]ledger.Transfer{}, map[string]bool{}}
}

// begin is Post or Pend.
func (m *model) begin(t ledger.Transfer) error {
	if made, ok := m.transfers[t.ID]; ok {
		if made != t {
			return ledger.ErrTransferDiffers
		}
		return nil
	}
	debit := m.accounts[t.Debit]
	if debit.Balance-debit.Pending-t.Amount < debit.Floor {
		return ledger.ErrInsufficient
	}
	if t.Phase == ledger.Single {
		m.move(t.Debit, t.Credit, t.Amount, 0)
	} else {
		m.move(t.Debit, t.Credit, 0, t.Amount)
	}
	m.transfers[t.ID] = t
	return nil
}

// end is PostPending, VoidPending or ExpirePending.
func (m *model) end(e ledger.Ending, phase ledger.Phase, now time.Time) error {
	pending, ok := m.transfers[e.PendingID]
	if !ok || pending.Phase != ledger.Pending {
		return ledger.ErrNotFound
	}
	t := pending
	t.ID, t.Reference, t.Phase, t.PendingID, t.Expires = e.ID, e.Reference, phase, e.PendingID, time.Time{}
	if phase == ledger.Posted {
		t.Amount = e.Amount
	}
	if made, ok := m.transfers[t.ID]; ok {
		if made != t {
			return ledger.ErrTransferDiffers
		}
		return nil
	}
	over := !pending.Expires.IsZero() && !now.Before(pending.Expires)
	switch {
	case m.ended[pending.ID]:
		return ledger.ErrPendingEnded
	case phase == ledger.Posted && over:
		return ledger.ErrPendingExpired
	case phase == ledger.Expired && !over:
		return ledger.ErrPendingLive
	case phase == ledger.Posted && e.Amount > pending.Amount:
		return ledger.ErrInsufficient
	}
	moved := money.Amount(0)
	if phase == ledger.Posted {
		moved = e.Amount
	}
	m.move(t.Debit, t.Credit, moved, -pending.Amount)
	m.ended[pending.ID], m.transfers[t.ID] = true, t
	return nil
}

// expireDue expires everything that is over.
func (m *model) expireDue(now time.Time) error {
	for id, t := range m.transfers {
		if t.Phase == ledger.Pending && !m.ended[id] && !t.Expires.IsZero() && !now.Before(t.Expires) {
			if err := m.end(ledger.Ending{ID: id + "!expire", PendingID: id}, ledger.Expired, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *model) move(debit, credit string, amount, pending money.Amount) {
	from, to := m.accounts[debit], m.accounts[credit]
	from.Balance -= amount
	from.Pending += pending
	to.Balance += amount
	m.accounts[debit], m.accounts[credit] = from, to
}

// step is one call of the ledger and what came of it.
type step struct {
	transfer ledger.Transfer // for Post and Pend
	ending   ledger.Ending   // for the endings
	phase    ledger.Phase    // which call; "" is ExpireDue
	now      time.Time
	got      error
}

func (s *step) run(ctx context.Context, tx *ledger.Tx) {
	s.now = tx.Now()
	switch s.phase {
	case ledger.Single:
		s.got = tx.Post(ctx, s.transfer)
	case ledger.Pending:
		s.got = tx.Pend(ctx, s.transfer)
	case ledger.Posted:
		s.got = tx.PostPending(ctx, s.ending)
	case ledger.Voided:
		s.got = tx.VoidPending(ctx, s.ending)
	case ledger.Expired:
		s.got = tx.ExpirePending(ctx, s.ending)
	default:
		_, s.got = tx.ExpireDue(ctx, ledger.MaxPage)
	}
}

func (s *step) replay(m *model) error {
	switch s.phase {
	case ledger.Single, ledger.Pending:
		t := s.transfer
		t.Phase = s.phase
		return m.begin(t)
	case "":
		return m.expireDue(s.now)
	default:
		return m.end(s.ending, s.phase, s.now)
	}
}

var modelAccounts = []ledger.Account{
	{ID: "broker:bank:in", Currency: usd, Floor: ledger.NoFloor},
	{ID: "broker:fees", Currency: usd},
	{ID: "user:1:available", Currency: usd},
	{ID: "user:2:available", Currency: usd, Floor: -150},
	{ID: vendor, Currency: usd},
}

// drawStep draws a call. Ids come from a pool that is small enough for many to
// be used again with other content; those below t300 are mostly pending ones.
func drawStep(random *rand.Rand) step {
	id := func() string { return fmt.Sprintf("t%d", random.IntN(1200)) }
	hold := func() string { return fmt.Sprintf("t%d", random.IntN(300)) }
	phases := []ledger.Phase{"", ledger.Single, ledger.Single, ledger.Single, ledger.Pending, ledger.Pending,
		ledger.Posted, ledger.Posted, ledger.Voided, ledger.Expired}
	s := step{phase: phases[random.IntN(len(phases))]}
	debit := random.IntN(len(modelAccounts))
	credit := (debit + 1 + random.IntN(len(modelAccounts)-1)) % len(modelAccounts)
	s.transfer = transfer(id(), modelAccounts[debit].ID, modelAccounts[credit].ID, money.Amount(1+random.IntN(100)))
	if s.phase == ledger.Pending {
		s.transfer.ID = hold()
	}
	if s.phase == ledger.Pending && random.IntN(4) > 0 {
		s.transfer.Expires = epoch.Add(time.Duration(random.IntN(1200)) * time.Second)
	}
	s.ending = ledger.Ending{ID: id(), PendingID: hold(), Amount: money.Amount(1 + random.IntN(100))}
	return s
}

// history collects the steps of committed transactions by their places. Each
// transaction counts a row up as its last act, so that there is one order that
// all of them agree on.
type history struct {
	mutex  sync.Mutex
	places map[int64][]step
}

var placesTable = migrationFiles("0001_places.sql", `CREATE TABLE places (place BIGINT NOT NULL); INSERT INTO places VALUES (0)`)

func takePlace(ctx context.Context, tx *ledger.Tx) (place int64, err error) {
	if _, err := tx.ExecContext(ctx, `UPDATE places SET place = place + 1`); err != nil {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, `SELECT place FROM places`).Scan(&place)
	return place, err
}

// steps returns all steps in the order of their transactions.
func (h *history) steps() (all []step) {
	for place := int64(1); len(h.places[place]) > 0; place++ {
		all = append(all, h.places[place]...)
	}
	return all
}

var errAbandoned = errors.New("abandoned")

// work runs random transactions; one in eight is given up after its work.
func (h *history) work(ctx context.Context, db *ledger.DB, c *clock, random *rand.Rand, count int) error {
	var recent []step
	for range count {
		c.Advance(time.Duration(random.IntN(1000)) * time.Millisecond)
		steps := make([]step, 1+random.IntN(3))
		for i := range steps {
			steps[i] = drawStep(random)
			if len(recent) > 0 && random.IntN(4) == 0 {
				steps[i] = recent[random.IntN(len(recent))]
			}
		}
		abandon := random.IntN(8) == 0
		var place int64
		err := db.Update(ctx, func(tx *ledger.Tx) (err error) {
			for i := range steps {
				steps[i].run(ctx, tx)
			}
			if abandon {
				return errAbandoned
			}
			place, err = takePlace(ctx, tx)
			return err
		})
		switch {
		case err == nil:
			h.mutex.Lock()
			h.places[place] = steps
			h.mutex.Unlock()
		case !errors.Is(err, errAbandoned):
			return err
		}
		recent = append(recent, steps...)
	}
	return nil
}

func TestLedgerAgreesWithModel(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	db, c := open(t)
	m := newModel()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		var failed error
		for _, account := range modelAccounts {
			m.accounts[account.ID] = account
			failed = errors.Join(failed, tx.CreateAccount(ctx, account))
		}
		return failed
	})

	if err := db.Migrate(t.Context(), "places", placesTable); err != nil {
		t.Fatal(err)
	}

	goroutines, transactions := 4, 120
	if dbtest.IsPostgreSQL() {
		transactions = 40 // each takes its turn at the row of places, several times over
	}
	h := history{places: make(map[int64][]step)}
	var group sync.WaitGroup
	for i := range goroutines {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		group.Go(func() {
			if err := h.work(t.Context(), db, c, random, transactions); err != nil {
				t.Error(err)
			}
			wantClean(t, db) // while the others go on
		})
	}
	group.Wait()

	outcomes := map[string]int{}
	for i, s := range h.steps() {
		want := s.replay(m)
		if !errors.Is(s.got, want) || (want == nil) != (s.got == nil) {
			t.Fatalf("step %d, %s: got %v, want %v", i, s.phase, s.got, want)
		}
		outcomes[fmt.Sprint(s.phase, " ", want)]++
	}
	t.Logf("%d transactions, outcomes: %v", len(h.places), outcomes)
	compareWithModel(t, db, m)
}

func compareWithModel(t *testing.T, db *ledger.DB, m *model) {
	t.Helper()
	for id, want := range m.accounts {
		wantAccount(t, db, id, want.Balance, want.Pending)
		if want.Balance-want.Pending < want.Floor {
			t.Errorf("account %s is below its floor", id)
		}
	}
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		for id, want := range m.transfers {
			got, err := tx.Transfer(t.Context(), id)
			if err != nil {
				return err
			}
			got.Seq, got.Created = 0, time.Time{}
			if got != want {
				t.Errorf("transfer %s: got %+v, want %+v", id, got, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	report, err := db.Check(t.Context())
	if err != nil || report.Transfers != int64(len(m.transfers)) {
		t.Errorf("check: got %d transfers, %v; want %d", report.Transfers, err, len(m.transfers))
	}
	wantClean(t, db)
}
