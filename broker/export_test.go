package broker

// SetFault lets a test make commits fail: hook is asked at "before <name>" and
// "after <name>" of each transaction. Nothing may run meanwhile.
func (b *Broker) SetFault(hook func(point string) error) { b.store.fault = hook }

// SetMaxSteps sets how many hashes one request for redemptions may cost.
func (b *Broker) SetMaxSteps(count int) { b.maxSteps = count }

// CheckAddress is what guards connections to vendors.
var CheckAddress = checkAddress
