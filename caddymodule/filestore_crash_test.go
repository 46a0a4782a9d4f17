package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	crashDirectory  = "PAYWORD_TEST_CRASH_DIRECTORY"
	crashFirst      = "PAYWORD_TEST_CRASH_FIRST"
	crashRounds     = 50
	crashGoroutines = 16
	crashCompact    = 8 << 10

	crashAsync       = "PAYWORD_TEST_CRASH_ASYNC" // set: the store is async
	crashAsyncRounds = 15
)

// TestFileStoreCrashChild is the process that TestFileStoreCrash kills: it
// charges numbers from crashFirst on until it is killed, and writes each to
// standard output when it was acknowledged; of an async store when it was made
// durable by a record that binds. Run by itself it does nothing.
func TestFileStoreCrashChild(t *testing.T) {
	directory := os.Getenv(crashDirectory)
	if directory == "" {
		return
	}
	first, err := strconv.ParseUint(os.Getenv(crashFirst), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, directory, fileStoreOptions{compactBytes: crashCompact})
	m := storeCommitment(t, 1, 1)
	if _, err := s.open(t.Context(), storeOpening(m, payword.MaxChainLength, 1)); err != nil {
		t.Fatal(err)
	}
	s.setAsync(os.Getenv(crashAsync) != "")
	var next atomic.Uint64
	next.Store(first)
	var group sync.WaitGroup
	for range crashGoroutines {
		group.Go(func() {
			for {
				number := next.Add(1) - 1
				outcome, _, err := s.charge(context.Background(), m.ID, storeCharge(number))
				if err != nil || outcome.Reason != payword.Accepted {
					fmt.Printf("failed %d %v %v\n", number, outcome.Reason, err)
					return
				}
				if s.journal.isAsync.Load() {
					if number%8 > 0 {
						continue
					}
					if err := s.acknowledge(context.Background(), m.ID, money.Amount(number), false); err != nil {
						fmt.Printf("failed to acknowledge %d: %v\n", number, err)
						return
					}
				}
				if _, err := fmt.Printf("%d\n", number); err != nil {
					return
				}
			}
		})
	}
	group.Wait()
}

// TestFileStoreCrash kills a process under load again and again, at a moment
// that nobody chose, and checks each time that nothing acknowledged is lost and
// nothing can be charged twice.
func TestFileStoreCrash(t *testing.T) {
	const seed = 36
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	directory := t.TempDir()
	before, first, total := money.Amount(0), uint64(1), 0
	for round := range crashRounds {
		acknowledged := killUnderLoad(t, directory, first, 1+random.Intn(400))
		s := openStore(t, directory, fileStoreOptions{compactBytes: crashCompact})
		c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
		seen, err := s.find(t.Context(), c.m.ID)
		if err != nil {
			t.Fatal(err)
		}
		charged := int((seen.spent - before) / storeUnit)
		if charged < len(acknowledged) || charged > len(acknowledged)+crashGoroutines {
			t.Fatalf("round %d: %d requests were acknowledged, %d charged", round, len(acknowledged), charged)
		}
		for _, number := range acknowledged {
			if seen.tails[0].Index < uint32(number) {
				t.Fatalf("round %d: the tail is %d after payword %d was acknowledged", round, seen.tails[0].Index, number)
			}
			outcome, _, err := s.charge(t.Context(), c.m.ID, storeCharge(number))
			isKnown := outcome.Repeat || outcome.Reason == payword.AlreadyUsed || outcome.Reason == payword.StaleNumber
			if err != nil || !isKnown {
				t.Fatalf("round %d: number %d again: got %v, repeat %v, error %v", round, number, outcome.Reason, outcome.Repeat, err)
			}
		}
		c.spent(seen.spent)
		closeStore(t, s)
		total += len(acknowledged)
		before, first = seen.spent, uint64(seen.tails[0].Index)+1
	}
	t.Logf("%d requests acknowledged in %d processes", total, crashRounds)
}

// TestFileStoreCrashAsync kills a process with an async store in the same way.
// Nothing is lost that was charged before a record that binds, and the claim that
// this record tells of is there.
func TestFileStoreCrashAsync(t *testing.T) {
	const seed = 38
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	directory, first, total := t.TempDir(), uint64(1), 0
	for round := range crashAsyncRounds {
		bound := killUnderLoad(t, directory, first, 1+random.Intn(50), crashAsync+"=yes")
		s := openStore(t, directory, fileStoreOptions{compactBytes: crashCompact})
		c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
		for _, number := range bound {
			outcome, _, err := s.charge(t.Context(), c.m.ID, storeCharge(number))
			isKnown := outcome.Repeat || outcome.Reason == payword.AlreadyUsed || outcome.Reason == payword.StaleNumber
			if err != nil || !isKnown {
				t.Fatalf("round %d: number %d again: got %v, repeat %v, error %v", round, number, outcome.Reason, outcome.Repeat, err)
			}
		}
		e := s.entry(c.m.ID)
		if claimed, want := e.state.Claimed, money.Amount(slices.Max(bound)); claimed < want {
			t.Fatalf("round %d: %d micros are claimed; %d were acknowledged", round, claimed, want)
		}
		total, first = total+len(bound), uint64(e.state.Tails[0].Index)+1
		closeStore(t, s)
	}
	t.Logf("%d records that bind in %d processes", total, crashAsyncRounds)
}

// killUnderLoad starts the process, kills it after it has acknowledged some
// requests, and returns all that it acknowledged.
func killUnderLoad(t *testing.T, directory string, first uint64, after int, environment ...string) []uint64 {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestFileStoreCrashChild$")
	child.Env = append(os.Environ(), crashDirectory+"="+directory, fmt.Sprintf("%s=%d", crashFirst, first))
	child.Env = append(child.Env, environment...)
	child.Stderr = os.Stderr
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := []uint64(nil)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		number, err := strconv.ParseUint(lines.Text(), 10, 64)
		if err != nil {
			t.Errorf("the process says %q", lines.Text())
			break
		}
		acknowledged = append(acknowledged, number)
		if len(acknowledged) == after {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the process was to be killed and ended by itself: %v", err)
	}
	return acknowledged
}
