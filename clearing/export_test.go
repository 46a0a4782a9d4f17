package clearing

// WithStep returns the configuration with a hook that is called after every
// step of a run that a crash can follow.
func (c Config) WithStep(step func(name string)) Config {
	c.step = step
	return c
}

// Split divides what is payable into fee and payout.
var Split = Schedule.split

// Neutral makes a cell of a CSV file harmless.
var Neutral = neutral

// ClassOf returns the class of an account.
var ClassOf = classOf
