package broker

import "time"

// SetFault lets a test make commits fail: hook is asked at "before <name>" and
// "after <name>" of each transaction, and at a few points between, from many
// goroutines at once. Nothing may run meanwhile.
func (b *Broker) SetFault(hook func(point string) error) { b.store.fault = hook }

// WhenNew calls hook with every broker that is opened from now on, as Main does
// it.
func WhenNew(hook func(*Broker)) { whenNew = hook }

// SetRedemptionsPerTransaction sets how many claims are paid in one transaction.
func (b *Broker) SetRedemptionsPerTransaction(count int) { b.redemptionsPerTransaction = count }

// SetMaxSteps sets how many hashes one request for redemptions may cost.
func (b *Broker) SetMaxSteps(count int) { b.maxSteps = count }

// SetCommitmentsPerDay sets how many commitments of an account are stored in a
// day.
func (b *Broker) SetCommitmentsPerDay(count int64) { b.store.commitmentsPerDay = count }

// SetTurnTimeout sets how long a request waits for its turn.
func (b *Broker) SetTurnTimeout(timeout time.Duration) { b.turnTimeout = timeout }

// SetOpeningsPerMinute sets how many requests of unknown keys are looked at in
// a minute, for accounts and for vendors.
func (b *Broker) SetOpeningsPerMinute(count int) {
	b.accountOpenings.perMinute, b.vendorOpenings.perMinute = count, count
}

// LargeBodies is how many large bodies are held at once.
const LargeBodies = largeBodies

// CheckAddress is what guards connections to vendors.
var CheckAddress = checkAddress
