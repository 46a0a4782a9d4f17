package purse

import "crypto/subtle"

// wantPIN returns Done where the PIN was entered, or there is no holder to enter
// one.
func (c *Card) wantPIN() StatusWord {
	switch {
	case c.state.Holder == ID{} || c.isVerified:
		return Done
	case c.state.Tries == 0:
		return PINBlocked
	default:
		return PINWanted
	}
}

// triesLeft is the status that says how many tries are left.
func (c *Card) triesLeft() StatusWord {
	if c.state.Tries == 0 {
		return PINBlocked
	}
	return pinTries | StatusWord(c.state.Tries)
}

// verify compares the PIN. The try is counted and stored before that, so that
// nobody gains one by taking the power away when a PIN was wrong.
func (c *Card) verify(of command) ([]byte, StatusWord, error) {
	if of.p1 != 0 || of.p2 != 0x80 {
		return nil, WrongData, nil
	}
	if c.state.Holder == (ID{}) {
		return nil, NoData, nil
	}
	if len(of.data) == 0 {
		return nil, c.triesLeft(), nil
	}
	c.isVerified = false
	if c.state.Tries == 0 {
		return nil, PINBlocked, nil
	}
	if !IsPIN(of.data) {
		return nil, WrongData, nil // which tells nobody anything
	}
	counted := *c.state
	counted.Tries--
	if err := c.store(counted); err != nil {
		return nil, 0, err
	}
	if subtle.ConstantTimeCompare(padPIN(of.data), c.state.pin[:]) != 1 {
		return nil, c.triesLeft(), nil
	}
	counted.Tries = pinTriesAllowed
	if err := c.store(counted); err != nil {
		return nil, 0, err
	}
	c.isVerified = true
	return nil, Done, nil
}

func padPIN(digits []byte) []byte {
	padded := append(make([]byte, 0, pinBytes), digits...)
	for len(padded) < pinBytes {
		padded = append(padded, pinPadding)
	}
	return padded
}
