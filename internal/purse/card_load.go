package purse

import (
	"fmt"
	"io"
	"math"
)

// initLoad begins a load. It is good in this session alone: CREDIT needs the
// random number that is made here.
func (c *Card) initLoad(of command) ([]byte, StatusWord, error) {
	c.endSession()
	request, err := ParseLoadRequest(of.data)
	if err != nil {
		return nil, WrongLength, nil
	}
	if status := c.wantPIN(); status != Done {
		return nil, status, nil
	}
	switch {
	case request.Amount == 0 || request.Unit != c.state.Unit:
		return nil, WrongData, nil
	case c.isTooMuch(request.Amount):
		return nil, OverBalance, nil
	case c.state.LNo == math.MaxUint32:
		return nil, OutOfOrder, nil
	}
	load := &Load{request, LoadAnswer{
		Card: c.state.Card, Holder: c.state.Holder, KeyVersion: c.state.KeyVersion, LNo: c.state.LNo + 1, Balance: c.state.Balance,
	}}
	if _, err := io.ReadFull(c.random, load.Answer.Random[:]); err != nil {
		return nil, 0, fmt.Errorf("a random number for the card: %w", err)
	}
	load.Answer.MAC = load.Sign(keyOf(c.state.loadKey))
	c.load = load
	return load.Answer.Append(nil), Done, nil
}

func (c *Card) isTooMuch(more uint32) bool {
	return uint64(c.state.Balance)+uint64(more) > uint64(c.state.MaxBalance)
}

func (c *Card) credit(of command) ([]byte, StatusWord, error) {
	load := c.load
	c.endSession() // there is one try
	if len(of.data) != CreditLength {
		return nil, WrongLength, nil
	}
	if load == nil {
		return nil, OutOfOrder, nil
	}
	r := reader(of.data)
	reference, lno, amount, mac := r.id(), r.uint32(), r.uint32(), r.mac()
	key := keyOf(c.state.loadKey)
	switch {
	case !load.creditMAC(key, reference).equal(mac):
		return nil, WrongMAC, nil
	case lno != load.Answer.LNo || lno != c.state.LNo+1:
		return nil, WrongSequence, nil
	case amount != load.Request.Amount:
		return nil, WrongData, nil
	case c.isTooMuch(amount):
		return nil, OverBalance, nil
	}
	changed := *c.state
	changed.LNo++
	changed.Balance += amount
	changed.last, changed.cancelled = lastLoad{reference, amount}, 0
	changed.loads = prepend(changed.loads, LoadEntry{
		LNo: changed.LNo, Amount: amount, Unit: changed.Unit, Time: load.Request.Time, Terminal: load.Request.Terminal,
		Reference: reference, Balance: changed.Balance,
	}, MaxLoggedLoads)
	if err := c.store(changed); err != nil {
		return nil, 0, err
	}
	receipt := Receipt{LNo: changed.LNo, Balance: changed.Balance}
	receipt.MAC = load.SignReceipt(key, reference, receipt)
	return receipt.Append(nil), Done, nil
}

// loadStatus answers which load was the last that took place. What was begun is
// over first, so that the answer stays true.
func (c *Card) loadStatus(of command) ([]byte, StatusWord, error) {
	c.endSession()
	if len(of.data) != len(Random{}) {
		return nil, WrongLength, nil
	}
	status := Status{
		Card: c.state.Card, LNo: c.state.LNo, Balance: c.state.Balance, Reference: c.state.last.reference, Amount: c.state.last.amount,
	}
	status.MAC = status.Sign(keyOf(c.state.loadKey), Random(of.data))
	return status.Append(nil), Done, nil
}
