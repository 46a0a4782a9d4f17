package caddymodule

import (
	"reflect"
	"sync"
	"testing"

	"github.com/paywordhq/payword"
)

// testPass buys one pass with many requests at once, takes it back, and buys it
// again.
func testPass(c *storeCase) {
	c.open(1000, 1)
	day := payword.PassTerms{Scope: payword.PassScope{7}, Seconds: 86_400}
	charge := func(number uint64) (payword.Outcome, error) {
		charge := storeCharge(number)
		charge.Pass = day
		outcome, _, err := c.store.charge(c.Context(), c.m.ID, charge)
		return outcome, err
	}
	first, err := charge(1)
	if err != nil || first.Price != storeUnit || first.PassUntil != storeStart+86_400 {
		c.Fatalf("the first one: %+v, %v; want a pass for %d", first, err, storeUnit)
	}
	c.giveBack(1, storeStart+1, storeUnit)
	var wait sync.WaitGroup
	for number := uint64(2); number <= 31; number++ {
		wait.Go(func() {
			if outcome, err := charge(number); err != nil || outcome.Reason != payword.Accepted || outcome.PassUntil == 0 {
				c.Errorf("number %d: %+v, %v; want it granted under a pass", number, outcome, err)
			}
		})
	}
	wait.Wait()
	c.spent(storeUnit)
	for number := uint64(2); number <= 31; number++ { // what bought a pass that was used stays
		if _, _, err := c.store.giveBack(c.Context(), c.m.ID, number, storeStart+2); err != nil {
			c.Fatal(err)
		}
	}
	c.spent(storeUnit)
	if outcome, err := charge(32); err != nil || outcome.Price != 0 {
		c.Fatalf("the next one: %+v, %v; want it free", outcome, err)
	}
}

// Records with and without a pass are read as they were written. Those without
// are what they were before there were passes.
func TestPassRecords(t *testing.T) {
	key := payword.PassKey{Scope: payword.PassScope{1, 2}, Until: storeStart + 60}
	pass := payword.Pass{PassKey: key, Price: 5, Paid: 7, Returned: 2, Used: true}
	state := payword.State{Charged: 9, Returned: 2, Highest: 4}
	plain := record{kind: recordState, state: &state, chains: 1}
	lengthBefore := len(plain.append(nil))
	state.Recent = []payword.Request{{Number: 3, Price: 2, Grants: 9}, {Number: 4, Price: 7, Grants: 1, Toward: key}}
	lengthWithRequests := len(plain.append(nil))
	if got, want := lengthWithRequests-lengthBefore, 2*41+passKeyBytes; got != want {
		t.Errorf("two requests take %d bytes, want %d: 41 as ever, and the key of a pass", got, want)
	}
	state.MergePass(pass)
	for _, written := range []record{
		plain,
		{kind: recordCharged, tail: storeTail(3), total: 9, request: state.Recent[1], pass: &pass},
		{kind: recordCharged, tail: storeTail(3), total: 9, request: state.Recent[0]},
		{kind: recordGivenBack, total: 2, request: payword.Request{Number: 4, Grants: 1}, pass: &pass},
		{kind: recordTruedUp, total: 2, request: payword.Request{Number: 4, Price: 1}, pass: &pass},
	} {
		var read []record
		err := eachRecord(written.append(nil), func(r *record) error {
			read = append(read, *r)
			return nil
		})
		if err != nil || len(read) != 1 || !reflect.DeepEqual(read[0], written) {
			t.Errorf("kind %d: wrote %+v, read %+v, %v", written.kind, written, read, err)
		}
		torn := written.append(nil)
		torn = torn[recordHeadBytes : len(torn)-1]
		if _, err := parseRecord(written.kind, torn); err == nil {
			t.Errorf("kind %d: a record without its last byte was read", written.kind)
		}
	}
}
