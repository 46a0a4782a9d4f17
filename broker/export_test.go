package broker

import (
	"context"
	"crypto"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/internal/ledger"
)

// SetFault lets a test make commits fail: hook is asked at "before <name>" and
// "after <name>" of each transaction, and at a few points between, from many
// goroutines at once. Nothing may run meanwhile.
func (b *Broker) SetFault(hook func(point string) error) {
	b.store.fault = nil
	if hook != nil {
		b.store.fault = func(_ context.Context, point string) error { return hook(point) }
	}
}

// SetFaultOf is SetFault with a hook that also knows whether the broker does
// something by itself, and not for somebody who asked.
func (b *Broker) SetFaultOf(hook func(isByItself bool, point string) error) {
	b.store.fault = func(ctx context.Context, point string) error { return hook(actorOf(ctx) == actorBroker, point) }
}

// WhenNew calls hook with every broker that is opened from now on, as Main does
// it.
func WhenNew(hook func(*Broker)) { whenNew = hook }

// RunUpdatesTwice lets every function of an Update run twice from now on, but
// where a test has set a fault.
func RunUpdatesTwice() { runUpdatesTwice = true }

// PrepareDatabase makes the tables of a broker in an empty database.
func PrepareDatabase(location string) error {
	s, err := openStore(context.Background(), location, ledger.Create, time.Now)
	if err != nil {
		return err
	}
	return s.Close()
}

// SetRedemptionsPerTransaction sets how many claims are paid in one transaction.
func (b *Broker) SetRedemptionsPerTransaction(count int) { b.redemptionsPerTransaction = count }

// PiecesOfPart returns into how many pieces a full part of a request is divided
// among the processors, to check its signatures.
func PiecesOfPart(isBatchFaster bool) int {
	atATime := groupsParsedTogether(isBatchFaster)
	return (redemptionsPerTransaction + atATime - 1) / atATime
}

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

// CollectDue is the part of the background work that collects debts.
func (b *Broker) CollectDue(ctx context.Context) error { return b.store.collectDue(ctx) }

// MaxLimited is how many addresses are counted by themselves in a minute.
const MaxLimited = maxLimited

// SharedCounts is how many counts the others share.
const SharedCounts = sharedCounts

// TakeAddress counts a request from an address and says how many more may come.
func (b *Broker) TakeAddress(name string) int { return b.byAddress.count(b.now()/60, name) }

// LargeBodies is how many large bodies are held at once.
const LargeBodies = largeBodies

// CheckAddress is what guards connections to vendors.
var CheckAddress = checkAddress

// SetSignTimeout sets how long a signature may take.
func (b *Broker) SetSignTimeout(timeout time.Duration) { b.keyring.timeout = timeout }

// CreateCheapKey makes a key that is encrypted so that tests can open it fast.
func CreateCheapKey(path string, passphrase []byte) (crypto.Signer, error) {
	return keyfile.Create(path, passphrase, 10)
}

// AddStatusList makes a hot list with room for so many certificates, a power of
// two.
func (b *Broker) AddStatusList(ctx context.Context, number, places int64) error {
	return b.store.addList(ctx, number, places)
}

// SignStatuses signs a hot list with so many certificates revoked, and returns
// the token.
func (b *Broker) SignStatuses(ctx context.Context, places int64, revoked []uint32) (string, error) {
	statuses := make(map[uint32]uint8)
	for _, index := range revoked {
		statuses[index] = payword.StatusInvalid
	}
	list, err := b.signList(ctx, listRow{number: 1, places: places}, statuses, b.now())
	return list.token, err
}

// RunOnce does one round of the background work.
func (b *Broker) RunOnce(ctx context.Context) error { return b.store.forget(ctx, b.now()) }

// MaxStreamLines is how many lines a stream of redemptions has at most.
const MaxStreamLines = maxStreamLines

// ParseLine and ParsePlainLine read one of them, the second if it is plain.
var (
	ParseLine      = parseLine
	ParsePlainLine = parsePlainLine
)

// NewVoucherCode makes a code of which no voucher is made.
var NewVoucherCode = newVoucherCode

// ParseVoucherCode reads a code as somebody typed it.
var ParseVoucherCode = parseVoucherCode

// IsVoucherCode reports whether text is read as a code.
func IsVoucherCode(text string) bool {
	_, err := parseVoucherCode(text)
	return err == nil
}

// SetExportPage sets how many rows a page of an account's export has.
func (b *Broker) SetExportPage(count int) { b.store.exportPage = count }

// TakeUpKeys returns what looks at key files every two seconds.
func TakeUpKeys(path string) func(context.Context, *Broker) {
	files := keyFiles{path: path}
	return files.takeUp
}
