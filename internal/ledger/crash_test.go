package ledger_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
)

const (
	crashFile  = "PAYWORD_LEDGER_CRASH_FILE"
	crashRound = "PAYWORD_LEDGER_CRASH_ROUND"
)

// TestMain turns this binary into the program that TestCrash kills.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		if err := postUntilKilled(path, os.Getenv(crashRound)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(dbtest.Main(m, nil,
		"^TestOpenModes$|^TestOpenTakesAnyFileName$|^TestConnectionSettings$|^TestRequireSQLite$|^TestDatabaseIsItsOwnersAlone$"))
}

// postUntilKilled posts from several goroutines and prints the id of every
// transfer after its transaction has been committed.
func postUntilKilled(path, round string) error {
	ctx := context.Background()
	db, err := ledger.Open(ctx, path, ledger.Options{Mode: ledger.Existing})
	if err != nil {
		return err
	}
	failures := make(chan error)
	for worker := range 3 {
		go func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("r%s-w%d-%d", round, worker, n)
				if err := db.Update(ctx, func(tx *ledger.Tx) error { return crashStep(ctx, tx, id) }); err != nil {
					failures <- err
					return
				}
				fmt.Println(id)
			}
		}()
	}
	return <-failures
}

// crashStep makes three transfers and a row of its own, which belong together.
func crashStep(ctx context.Context, tx *ledger.Tx, id string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO notes (id, made) VALUES (?, ?)`, id, tx.Now().UnixMicro())
	return errors.Join(err,
		tx.Post(ctx, transfer(id, "broker:bank:in", "user:1:available", 1000)),
		tx.Pend(ctx, transfer(id+"-hold", "user:1:available", vendor, 700)),
		tx.PostPending(ctx, ledger.Ending{ID: id + "-claim", PendingID: id + "-hold", Amount: 300}))
}

// A process that is killed at any moment loses nothing that it acknowledged and
// leaves nothing half done.
func TestCrash(t *testing.T) {
	t.Parallel()
	path := dbtest.New(t)
	prepareCrashFile(t, path)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var acknowledged []string
	for round := range 20 {
		ids := killOne(t, path, round, 1+random.IntN(20))
		acknowledged = append(acknowledged, ids...)
		checkAfterCrash(t, path, ids)
	}
	checkAfterCrash(t, path, acknowledged)
	t.Logf("%d transactions acknowledged in 20 rounds", len(acknowledged))
}

func prepareCrashFile(t *testing.T, path string) {
	t.Helper()
	db, err := ledger.Open(t.Context(), path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:in", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "user:1:available", Currency: usd}),
			tx.CreateAccount(ctx, ledger.Account{ID: vendor, Currency: usd}))
	})
	files := migrationFiles("0001_notes.sql", `CREATE TABLE notes (id TEXT PRIMARY KEY, made BIGINT NOT NULL)`)
	if err := db.Migrate(t.Context(), "notes", files); err != nil {
		t.Fatal(err)
	}
}

// killOne starts the program, kills it after it has acknowledged count
// transactions, and returns all that it acknowledged.
func killOne(t *testing.T, path string, round, count int) []string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program)
	child.Env = append(os.Environ(), crashFile+"="+path, fmt.Sprintf("%s=%d", crashRound, round))
	child.Stderr = os.Stderr
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var kill sync.Once
	var ids []string
	reader := bufio.NewReader(output)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break // what follows the last line end was cut off and is no acknowledgement
		}
		ids = append(ids, line[:len(line)-1])
		if len(ids) >= count {
			kill.Do(func() { err = child.Process.Kill() })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := child.Wait(); err == nil || len(ids) < count {
		t.Fatalf("the program ended by itself after %d transactions: %v", len(ids), err)
	}
	return ids
}

func checkAfterCrash(t *testing.T, path string, acknowledged []string) {
	t.Helper()
	db, err := ledger.Open(t.Context(), path, ledger.Options{Mode: ledger.Existing})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	wantClean(t, db)
	err = db.View(t.Context(), func(tx *ledger.Tx) error {
		for _, id := range acknowledged {
			// The last of the three; that none is there without the others is
			// counted below.
			if _, err := tx.Transfer(t.Context(), id+"-claim"); err != nil {
				t.Errorf("acknowledged and lost: %v", err)
			}
		}
		var notes, transfers int
		err := tx.QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM notes), (SELECT COUNT(*) FROM transfers)`).
			Scan(&notes, &transfers)
		if transfers != 3*notes || notes < len(acknowledged) {
			t.Errorf("got %d rows, %d transfers for %d acknowledged; want three transfers for each row", notes, transfers, len(acknowledged))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
