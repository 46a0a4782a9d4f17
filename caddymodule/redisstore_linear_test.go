package caddymodule

import (
	"context"
	"fmt"
	"math/rand"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// linearCharge is one charge of a number, at the price of a unit.
type linearCharge struct{ number uint64 }

// linearNumbers is how many numbers the histories use.
const linearNumbers = 12

// linearState is what a commitment remembers, for the checker. It is compared,
// so that it holds no slice.
type linearState struct {
	grants [linearNumbers + 1]uint8 // by number
	units  int                      // spent
}

// linearCredit is the credit of the histories, in units: less than is asked for.
const linearCredit = 9

// linearModel is one commitment: a number is charged once, and granted free
// some times after that; what exceeds the credit is refused.
var linearModel = porcupine.Model{
	Init: func() any { return linearState{} },
	Step: func(state, input, output any) (bool, any) {
		s, got, number := state.(linearState), output.(payword.Outcome), input.(linearCharge).number
		switch {
		case s.grants[number] > payword.MaxRepeats:
			return got.Reason == payword.AlreadyUsed, s
		case s.grants[number] > 0:
			s.grants[number]++
			return got.Reason == payword.Accepted && got.Repeat, s
		case s.units == linearCredit:
			return got.Reason == payword.InsufficientCredit, s
		}
		s.grants[number]++
		s.units++
		return got.Reason == payword.Accepted && !got.Repeat, s
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("number %d: %v, repeat %v", input.(linearCharge).number, output.(payword.Outcome).Reason, output.(payword.Outcome).Repeat)
	},
}

// isLinear has clients charge the same numbers at several nodes at the same
// time, and reports whether there is an order that explains the answers.
func isLinear(t *testing.T, m *payword.Commitment, random *rand.Rand, nodes []store) bool {
	t.Helper()
	o := storeOpening(m, linearCredit, 1)
	for _, node := range nodes {
		if _, err := node.open(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	const clients, each = 6, 8
	var mutex sync.Mutex
	var history []porcupine.Operation
	var group sync.WaitGroup
	started := time.Now()
	for client := range clients {
		asked := make([]uint64, each)
		for k := range asked {
			asked[k] = 1 + uint64(random.Intn(linearNumbers))
		}
		group.Go(func() {
			for _, number := range asked {
				charge := storeCharge(number)
				charge.Tail = storeTail(linearCredit)
				call := time.Since(started)
				outcome, _, err := nodes[client%len(nodes)].charge(context.Background(), m.ID, charge)
				if err != nil {
					t.Errorf("number %d: %v", number, err)
					return
				}
				outcome.Changed, outcome.Price = false, money.Amount(0)
				mutex.Lock()
				history = append(history, porcupine.Operation{
					ClientId: client, Input: linearCharge{number}, Output: outcome,
					Call: int64(call), Return: int64(time.Since(started)),
				})
				mutex.Unlock()
			}
		})
	}
	group.Wait()
	return porcupine.CheckOperations(linearModel, history)
}

// TestRedisIsLinearizable checks the answers of two nodes on one Redis. So that
// the check is known to see something, it is done with a store that reads and
// then writes, too, which it has to find out.
func TestRedisIsLinearizable(t *testing.T) {
	server := startRedis(t)
	const seed, histories = 20261126, 40
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	options := testRedisOptions(freshPrefix())
	nodes := []store{openNode(t, options, server.address), openNode(t, options, server.address)}
	broken := []store{&readThenWrite{nodes[0].(*redisStore)}, &readThenWrite{nodes[1].(*redisStore)}}
	found := 0
	for k := range uint64(histories) {
		if !isLinear(t, storeCommitment(t, 1000+k, 1), random, nodes) {
			t.Errorf("no order explains history %d", k)
		}
		if !isLinear(t, storeCommitment(t, 2000+k, 1), random, broken) {
			found++
		}
	}
	t.Logf("of a store that reads and then writes, %d of %d histories were found out", found, histories)
	if found == 0 {
		t.Error("the check finds nothing wrong with a store that reads and then writes")
	}
}

// readThenWrite charges as one must not: another node may come between.
type readThenWrite struct{ *redisStore }

func (s *readThenWrite) charge(ctx context.Context, id payword.CommitmentID, c payword.Charge) (payword.Outcome, view, error) {
	value, err := s.client.Get(ctx, s.keyOf(id)).Bytes()
	if err != nil {
		return payword.Outcome{}, view{}, err
	}
	stands, err := readValue(id, value, nil)
	if err != nil {
		return payword.Outcome{}, view{}, err
	}
	outcome := stands.entry.state.Charge(stands.entry.commitment, &c)
	value = appendWhole(nil, stands.entry, stands.tags, newTag())
	return outcome, stands.entry.view(), s.client.Set(ctx, s.keyOf(id), value, 0).Err()
}
