package terminal

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/paywordhq/payword/internal/purse"
)

const (
	// lockTimeout is how long a second process waits for the first one's journal.
	lockTimeout = time.Second
	// journalVersion is that of the rows. A journal of another version is refused.
	journalVersion = "1"
)

// The buckets of the journal. Values are JSON, and hold no PIN and no key.
var (
	metaBucket  = []byte("meta")
	openBucket  = []byte("open")     // transactions that are not at their end, by TNo
	endedBucket = []byte("ended")    // those that are, until their batch is turned in
	voidBucket  = []byte("unproved") // those whose card may come and show that it paid
	loadBucket  = []byte("loads")    // by a number of the journal's own
	scriptsTold = []byte("scripts")  // answers to scripts, by a number of the journal's own

	metaVersion  = []byte("version")
	metaMerchant = []byte("merchant")
	metaLast     = []byte("last")     // TNo up to which the journal knows
	metaDisowned = []byte("disowned") // TNo of a payment of which clearing has another
	metaHotList  = []byte("hotlist")  // cards, one after the other
)

// journal is the file. Every change is one transaction of bbolt: it is durable,
// or it did not take place.
type journal struct {
	db *bbolt.DB
	// hook is called before and after every change, by tests that crash there.
	hook func()
}

// name is a purse.ID in JSON.
type name purse.ID

// MarshalText writes 16 upper-case hexadecimal digits.
func (n name) MarshalText() ([]byte, error) { return []byte(purse.ID(n).String()), nil }

// UnmarshalText reads them.
func (n *name) UnmarshalText(text []byte) error {
	id, err := purse.ParseID(string(text))
	*n = name(id)
	return err
}

// octets are bytes in JSON, as hexadecimal digits.
type octets []byte

// MarshalText writes the digits.
func (o octets) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, o), nil }

// UnmarshalText reads them.
func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.AppendDecode(nil, text)
	return err
}

// retry is when something is repeated that was not answered.
type retry struct {
	Attempts int       `json:"attempts,omitempty"`
	Due      time.Time `json:"due,omitzero"`
	Reason   string    `json:"reason,omitempty"` // why the last attempt came to nothing
}

// isDue reports whether its time has come. What is due later than anything ever
// is, was written down before the clock was put back.
func (r retry) isDue(now time.Time) bool {
	return !r.Due.After(now) || r.Due.After(now.Add(maxPause))
}

// transaction is a payment or a cancellation, from before the SAM knows of it.
type transaction struct {
	Kind         Kind       `json:"kind"`
	State        State      `json:"state"`
	TNo          uint32     `json:"transaction"`
	Merchant     name       `json:"merchant"`
	Amount       uint32     `json:"amountUnits"`
	Unit         purse.Unit `json:"unit"`
	Account      string     `json:"account,omitempty"`
	IsOnline     bool       `json:"isOnline,omitempty"`
	IsCash       bool       `json:"isCash,omitempty"`
	CancelledTNo uint32     `json:"cancelledTransaction,omitempty"`
	Began        time.Time  `json:"began"`
	Card         name       `json:"card,omitzero"`
	SNo          uint32     `json:"sno,omitempty"`
	// IsAdopted: the SAM knew of it and the journal did not, so that nobody here
	// knows what it was for.
	IsAdopted bool   `json:"isAdopted,omitempty"`
	Answer    octets `json:"answer,omitempty"` // the card's, to DEBIT or CANCEL LAST
	Record    octets `json:"record,omitempty"`
	Previous  octets `json:"previous,omitempty"` // MACM of the record before
	// IsBeingCancelled: a cancellation of it is open; nothing of it goes on.
	IsBeingCancelled bool `json:"isBeingCancelled,omitempty"`
	// IsFundUnknown: the broker was asked to fund, and may have.
	IsFundUnknown bool `json:"isFundUnknown,omitempty"`
	// IsFundRefused: the broker was asked to fund, and said no.
	IsFundRefused bool `json:"isFundRefused,omitempty"`
	// IsDisowned: clearing has another payment under its number.
	IsDisowned bool `json:"isDisowned,omitempty"`
	// Doubts is how often the card of a void said what nobody here can check.
	Doubts int `json:"doubts,omitempty"`
	retry
}

// isUndecided reports whether it is not known yet if the card did it.
func (x transaction) isUndecided() bool {
	return x.State == Initiated || x.State == Ordered || x.State == Proved
}

// isEnded reports whether nothing is to be done any more.
func (x transaction) isEnded() bool {
	switch x.State {
	case Recorded:
		return x.Kind == KindCancellation || x.IsAdopted || !x.isFollowed()
	case Booked:
		return !x.IsCash && x.Account == ""
	case Funded, Cashed, Cancelled, Voided, Claimed, RefusedForGood, Lost:
		return true
	}
	return false
}

// isFollowed reports whether clearing is told of a payment before its batch.
func (x transaction) isFollowed() bool { return x.IsOnline || x.IsCash || x.Account != "" }

// mayCancel says why a payment cannot be cancelled. What clearing has booked online
// may have gone on, or been paid out, and a batch that wanted it back would be
// refused for ever. Only what the broker will not put on an account is where it was,
// and what clearing has not taken is nowhere else.
func (x transaction) mayCancel() error {
	isRefused := x.IsDisowned || x.Account != "" && x.State == Booked && x.IsFundRefused && !x.IsFundUnknown
	switch {
	case x.TNo == 0 || x.Kind != KindPayment:
		return fmt.Errorf("%w: it is none of this batch", ErrNothingToCancel)
	case x.State == Cancelled:
		return fmt.Errorf("%w: it is cancelled", ErrNothingToCancel)
	case x.IsAdopted:
		return fmt.Errorf("%w: the journal was lost, and it may have funded an account", ErrNothingToCancel)
	case x.IsBeingCancelled:
		return fmt.Errorf("%w: an earlier cancellation of it is not decided", ErrNothingToCancel)
	case x.isFollowed() && !isRefused:
		return fmt.Errorf("%w: clearing has booked it online, or will", ErrNothingToCancel)
	case !x.isFollowed() && x.State != Recorded:
		return fmt.Errorf("%w: it is none of this batch", ErrNothingToCancel)
	}
	return nil
}

func (x transaction) bucket() []byte {
	switch {
	case x.State == Unproved:
		return voidBucket
	case x.isEnded():
		return endedBucket
	}
	return openBucket
}

func (x transaction) matter() Matter {
	return Matter{Kind: x.Kind, Merchant: purse.ID(x.Merchant), TNo: x.TNo, Card: purse.ID(x.Card), Amount: x.Amount, Unit: x.Unit, Account: x.Account, Began: x.Began}
}

// load is a load, from before clearing knows of it.
type load struct {
	number    uint64
	State     State      `json:"state"`
	Card      name       `json:"card"`
	LNo       uint32     `json:"lno"`
	Amount    uint32     `json:"amountUnits"`
	Unit      purse.Unit `json:"unit"`
	Began     time.Time  `json:"began"`
	Request   octets     `json:"request"` // the data of INIT LOAD
	Asked     octets     `json:"asked"`   // the card's answer to it
	Reference name       `json:"reference,omitzero"`
	Answer    octets     `json:"answer,omitempty"` // the card's, to CREDIT or LOAD STATUS
	retry
}

func (l load) matter() Matter {
	return Matter{Kind: KindLoad, Load: purse.ID(l.Reference), Card: purse.ID(l.Card), Amount: l.Amount, Unit: l.Unit, Began: l.Began}
}

// script is a card's answer to a script, which clearing may not have yet.
type script struct {
	number uint64
	Card   name      `json:"card"`
	Answer octets    `json:"answer"`
	Began  time.Time `json:"began"`
	retry
}

func (s script) matter() Matter {
	return Matter{Kind: KindScript, Card: purse.ID(s.Card), Began: s.Began}
}

func openJournal(path string, options *bbolt.Options, hook func()) (*journal, error) {
	db, err := bbolt.Open(path, 0o600, options)
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("journal %s is in use: another process has this terminal", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the journal %s: %w", path, err)
	}
	j := &journal{db: db, hook: hook}
	err = j.update(func(tx *bbolt.Tx) error {
		for _, bucket := range [][]byte{metaBucket, openBucket, endedBucket, voidBucket, loadBucket, scriptsTold} {
			if _, err := tx.CreateBucketIfNotExists(bucket); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket)
		if version := meta.Get(metaVersion); version != nil && string(version) != journalVersion {
			return fmt.Errorf("it is of version %.20q: this program writes version %s", version, journalVersion)
		}
		return meta.Put(metaVersion, []byte(journalVersion))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s: %w", path, err), db.Close())
	}
	return j, nil
}

func (j *journal) update(change func(tx *bbolt.Tx) error) error {
	j.hook()
	if err := j.db.Update(change); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	j.hook()
	return nil
}

func (j *journal) view(read func(tx *bbolt.Tx) error) error {
	if err := j.db.View(read); err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	return nil
}

func numberKey(tno uint32) []byte { return binary.BigEndian.AppendUint32(nil, tno) }

// transactionBuckets are those that hold transactions.
var transactionBuckets = [][]byte{openBucket, endedBucket, voidBucket}

// keep writes a transaction where its state belongs.
func keep(tx *bbolt.Tx, x transaction) error {
	text, err := json.Marshal(x)
	if err != nil {
		return err
	}
	key, home := numberKey(x.TNo), x.bucket()
	for _, bucket := range transactionBuckets {
		if &bucket[0] != &home[0] {
			if err := tx.Bucket(bucket).Delete(key); err != nil {
				return err
			}
		}
	}
	return tx.Bucket(home).Put(key, text)
}

func find(tx *bbolt.Tx, tno uint32) (x transaction, found bool, err error) {
	for _, bucket := range transactionBuckets {
		if text := tx.Bucket(bucket).Get(numberKey(tno)); text != nil {
			return x, true, json.Unmarshal(text, &x)
		}
	}
	return x, false, nil
}

// begin writes down a transaction that the SAM does not know yet, and that what
// it cancels is not to go on.
func (j *journal) begin(x transaction) error {
	return j.update(func(tx *bbolt.Tx) error {
		if x.CancelledTNo != 0 {
			// Looked at again: meanwhile the account may have been funded.
			paid, _, err := find(tx, x.CancelledTNo)
			if err == nil {
				err = paid.mayCancel()
			}
			if err == nil {
				paid.IsBeingCancelled = true
				err = keep(tx, paid)
			}
			if err != nil {
				return err
			}
		}
		if err := tx.Bucket(metaBucket).Put(metaLast, numberKey(x.TNo)); err != nil {
			return err
		}
		return keep(tx, x)
	})
}

// mark changes a transaction, if the journal has it.
func mark(tx *bbolt.Tx, tno uint32, change func(x *transaction)) error {
	x, found, err := find(tx, tno)
	if err != nil || !found {
		return err
	}
	change(&x)
	return keep(tx, x)
}

// change changes a transaction that is in the state from, and returns it as it
// is then. isChanged is false where somebody else was first.
func (j *journal) change(tno uint32, from State, change func(x *transaction)) (now transaction, isChanged bool, err error) {
	err = j.update(func(tx *bbolt.Tx) (err error) {
		var found bool
		if now, found, err = find(tx, tno); err != nil || !found || now.State != from {
			return err
		}
		isChanged = true
		change(&now)
		if err := keep(tx, now); err != nil || now.CancelledTNo == 0 {
			return err
		}
		return mark(tx, now.CancelledTNo, now.decidePaid)
	})
	return now, isChanged, err
}

// decidePaid changes the payment that a cancellation is of. As long as it is not
// known whether the card took it back, nothing of the payment goes on.
func (x transaction) decidePaid(paid *transaction) {
	switch x.State {
	case Recorded, Claimed:
		paid.State, paid.IsBeingCancelled = Cancelled, false
	case Voided:
		paid.IsBeingCancelled = false
	}
}

// forget removes a transaction of which the SAM never knew, so that its number
// is used again.
func (j *journal) forget(x transaction) error {
	return j.update(func(tx *bbolt.Tx) error {
		if x.CancelledTNo != 0 {
			if err := mark(tx, x.CancelledTNo, func(paid *transaction) { paid.IsBeingCancelled = false }); err != nil {
				return err
			}
		}
		if err := tx.Bucket(metaBucket).Put(metaLast, numberKey(x.TNo-1)); err != nil {
			return err
		}
		return tx.Bucket(openBucket).Delete(numberKey(x.TNo))
	})
}

func (j *journal) transaction(tno uint32) (x transaction, found bool, err error) {
	err = j.view(func(tx *bbolt.Tx) (err error) {
		x, found, err = find(tx, tno)
		return err
	})
	return x, found, err
}

// undecided returns the transaction that is not decided; there is one at most,
// and it is the last.
func (j *journal) undecided() (x transaction, found bool, err error) {
	err = j.view(func(tx *bbolt.Tx) error {
		_, text := tx.Bucket(openBucket).Cursor().Last()
		if text == nil {
			return nil
		}
		err := json.Unmarshal(text, &x)
		found = x.isUndecided()
		return err
	})
	return x, found, err
}

// transactions returns those of a bucket that are wanted, in their order, at
// most maxListed.
func (j *journal) transactions(bucket []byte, isWanted func(x transaction) bool) (list []transaction, err error) {
	err = j.view(func(tx *bbolt.Tx) error {
		return each(tx, bucket, func(_, text []byte) (bool, error) {
			var x transaction
			err := json.Unmarshal(text, &x)
			if err == nil && isWanted(x) {
				list = append(list, x)
			}
			return len(list) < maxListed, err
		})
	})
	return list, err
}

// maxListed bounds a list out of the journal: more wait for the next time.
const maxListed = 10_000

func each(tx *bbolt.Tx, bucket []byte, see func(key, text []byte) (goOn bool, err error)) error {
	cursor := tx.Bucket(bucket).Cursor()
	for key, text := cursor.First(); key != nil; key, text = cursor.Next() {
		if goOn, err := see(key, text); err != nil || !goOn {
			return err
		}
	}
	return nil
}

// turned forgets what is at its end in a batch that clearing has taken, and what
// waited to be booked is booked by it.
func (j *journal) turned(last uint32) error {
	return j.update(func(tx *bbolt.Tx) error {
		var waiting []transaction
		err := each(tx, openBucket, func(_, text []byte) (bool, error) {
			var x transaction
			err := json.Unmarshal(text, &x)
			if x.State == Recorded && x.TNo <= last {
				waiting = append(waiting, x)
			}
			return x.TNo < last, err
		})
		for _, x := range waiting {
			if err == nil {
				x.State, x.retry = Booked, retry{}
				err = keep(tx, x)
			}
		}
		if err != nil {
			return err
		}
		var ended [][]byte
		err = each(tx, endedBucket, func(key, _ []byte) (bool, error) {
			if binary.BigEndian.Uint32(key) > last {
				return false, nil
			}
			ended = append(ended, append([]byte(nil), key...))
			return true, nil
		})
		for _, key := range ended {
			if err == nil {
				err = tx.Bucket(endedBucket).Delete(key)
			}
		}
		return err
	})
}

// merchant returns whose SAM the journal belongs to, and the number up to which
// it knows; isNew says that it belongs to none yet.
func (j *journal) merchant() (merchant purse.ID, last uint32, isNew bool, err error) {
	err = j.view(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		kept := meta.Get(metaMerchant)
		isNew = len(kept) != len(merchant)
		copy(merchant[:], kept)
		if number := meta.Get(metaLast); len(number) == 4 {
			last = binary.BigEndian.Uint32(number)
		}
		return nil
	})
	return merchant, last, isNew, err
}

// adopt writes down what the SAM knows and the journal does not, up to last.
func (j *journal) adopt(merchant purse.ID, last uint32, found []transaction) error {
	return j.update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if err := meta.Put(metaMerchant, merchant[:]); err != nil {
			return err
		}
		for _, x := range found {
			if err := keep(tx, x); err != nil {
				return err
			}
			if x.Kind != KindCancellation {
				continue
			}
			if err := stopPaid(tx, x); err != nil {
				return err
			}
		}
		return meta.Put(metaLast, numberKey(last))
	})
}

// stopPaid keeps a payment from going on that an adopted cancellation is of. A
// journal that was restored from a backup may be about to fund an account with it.
func stopPaid(tx *bbolt.Tx, x transaction) error {
	tno := x.CancelledTNo
	for _, bucket := range [][]byte{openBucket, endedBucket} {
		if tno != 0 {
			break
		}
		// The SAM does not say which payment it is, but for the card and its number.
		err := each(tx, bucket, func(_, text []byte) (bool, error) {
			var paid transaction
			err := json.Unmarshal(text, &paid)
			if paid.Kind == KindPayment && len(paid.Record) > 0 && paid.Card == x.Card && paid.SNo+1 == x.SNo && paid.TNo < x.TNo {
				tno = paid.TNo
			}
			return true, err
		})
		if err != nil {
			return err
		}
	}
	if tno == 0 {
		return nil
	}
	x.CancelledTNo = tno
	if err := keep(tx, x); err != nil {
		return err
	}
	return mark(tx, tno, func(paid *transaction) {
		paid.IsBeingCancelled = true
		x.decidePaid(paid)
	})
}
