package purse

import (
	"errors"
	"fmt"
	"slices"
)

const (
	// TotalLength is the length of a batch's signed total in bytes.
	TotalLength = 68
	// MaxRecords is the most transactions of one batch: more than a terminal has
	// in a day that takes one a minute. Clearing books a batch in one transaction,
	// during which nobody else writes to SQLite, and so many take about a second.
	MaxRecords = 2000
	// MaxBatchLength is the most bytes of a total and its records.
	MaxBatchLength = TotalLength + MaxRecords*CancellationRecordLength

	// maxRefusals is the most that CheckBatch lists: one is enough to refuse, a
	// few show what kind of fault it is.
	maxRefusals = 16
)

// Total is what a SAM signs of a batch when it closes it.
type Total struct {
	Merchant    ID
	Batch       uint32 // 1 and up, without a gap
	First, Last uint32 // TNo of its first and its last record
	Payments    uint32 // and cancellations
	Voids       uint32
	Sum         uint64 // of the payments less the cancellations, in units
	Chain       MAC    // MACM of the last record
	MAC         MAC    // MACB
}

func (t Total) body(to []byte) []byte {
	to = big.AppendUint32(big.AppendUint32(append(to, t.Merchant[:]...), t.Batch), t.First)
	to = big.AppendUint32(big.AppendUint32(big.AppendUint32(to, t.Last), t.Payments), t.Voids)
	return append(big.AppendUint64(to, t.Sum), t.Chain[:]...)
}

// Append writes the 68 bytes.
func (t Total) Append(to []byte) []byte { return append(t.body(to), t.MAC[:]...) }

// ParseTotal reads the 68 bytes.
func ParseTotal(text []byte) (Total, error) {
	if len(text) != TotalLength {
		return Total{}, lengthError("total", len(text), TotalLength)
	}
	r := reader(text)
	return Total{
		Merchant: r.id(), Batch: r.uint32(), First: r.uint32(), Last: r.uint32(), Payments: r.uint32(), Voids: r.uint32(),
		Sum: big.Uint64(r.take(8)), Chain: r.mac(), MAC: r.mac(),
	}, nil
}

// Sign returns MACB by the key of MerchantKey.
func (t Total) Sign(key *Key) MAC { return key.MAC([]byte{0xB2, 1}, t.body(nil)) }

// IsSigned reports whether MACB is the SAM's.
func (t Total) IsSigned(key *Key) bool { return t.Sign(key).equal(t.MAC) }

// Acknowledge returns the data of ACK BATCH by the key of MerchantKey: clearing
// has the batch, and the SAM may forget its records.
func (t Total) Acknowledge(key *Key) MAC { return key.MAC([]byte{0xB3, 1}, t.Append(nil)) }

// IsAcknowledged reports whether the data of ACK BATCH is clearing's.
func (t Total) IsAcknowledged(key *Key, ack MAC) bool { return t.Acknowledge(key).equal(ack) }

// Reason says why a batch or a record is refused.
type Reason string

// The closed list of reasons.
const (
	Malformed       Reason = "malformed"         // not the bytes of a total or a record
	UnknownMerchant Reason = "unknown-merchant"  // nobody registered it, or no key is there for it
	OtherMerchant   Reason = "other-merchant"    // a record of another merchant than the total
	WrongTotalMAC   Reason = "total-mac"         // MACB is not the SAM's
	WrongBatch      Reason = "batch-number"      // not the one after the last that was taken
	OtherBatch      Reason = "other-batch"       // a record of another batch than the total
	WrongFirst      Reason = "first-transaction" // the batch does not begin where the last one ended
	TransactionGap  Reason = "transaction-gap"   // a record's TNo does not follow the one before
	BrokenChain     Reason = "chain"             // MACM does not follow the record before
	NoKey           Reason = "key-version"       // no master of the card's key version
	WrongProof      Reason = "proof-mac"         // MACZ is not the card's
	WrongLast       Reason = "last-transaction"  // the total names another last transaction
	WrongCount      Reason = "count"             // the total counts other payments or voids
	WrongSum        Reason = "sum"               // the total has another sum
	WrongEnd        Reason = "chain-end"         // the total names another last MACM
	TooMany         Reason = "too-many"          // more records than MaxRecords
	OtherUnit       Reason = "currency"          // not the merchant's currency, or a sum that is none
	Differs         Reason = "differs"           // the number was used before with other content
	Contradicts     Reason = "contradicts"       // a void of a transaction that was paid
	NoPayment       Reason = "cancellation"      // it takes back what is no payment before it, or was taken back
)

// Refusal is why something is refused, and where.
type Refusal struct {
	Reason Reason `json:"reason"`
	// Record is which of the batch, 1 and up; 0 is its total.
	Record int `json:"record"`
	// Detail is for people.
	Detail string `json:"detail"`
	// Load names what has to be settled first, as ID.String does; empty: nothing.
	Load string `json:"load,omitempty"`
}

// Error says it in one line.
func (r Refusal) Error() string {
	if r.Record == 0 {
		return fmt.Sprintf("%s: %s", r.Reason, r.Detail)
	}
	return fmt.Sprintf("%s: record %d: %s", r.Reason, r.Record, r.Detail)
}

// Position is how far a merchant's batches were taken.
type Position struct {
	Batch uint32 // the last one; 0: none
	TNo   uint32 // the last transaction in it
}

// Entry is a record that was found good.
type Entry struct {
	Record
	// Balance is what was on the card after a payment or a cancellation, in units.
	Balance uint32
	// TakenTNo is the payment, before it in the batch, that a cancellation takes
	// back, or a void may have (UnprovedCancellation); 0: it takes none back.
	TakenTNo uint32
}

// Batch is a batch that was found good.
type Batch struct {
	Total   Total
	Entries []Entry
	Ack     MAC // data of ACK BATCH
}

// CheckBatch is clearing's check of a batch: the total's MAC, every MACZ and
// MACM, numbers without a gap that go on from previous, counts and sum. keyVersion
// is the SAM's. Either there is a batch, or one to 16 refusals, the first of
// which is enough. An error means that clearing has no key for the merchant.
func CheckBatch(keys *Keys, keyVersion byte, previous Position, total, records []byte) (Batch, []Refusal, error) {
	signed, err := ParseTotal(total)
	if err != nil {
		return Batch{}, []Refusal{{Reason: Malformed, Detail: err.Error()}}, nil
	}
	key, err := keys.MerchantKey(keyVersion, signed.Merchant)
	if err != nil {
		return Batch{}, nil, fmt.Errorf("checking a batch of %s: %w", signed.Merchant, err)
	}
	c := batchCheck{keys: keys, key: key, total: signed}
	// What nobody signed is not worth more work.
	if !signed.IsSigned(key) {
		c.refuse(WrongTotalMAC, 0, "MACB is not this merchant's SAM's")
		return Batch{}, c.refusals, nil
	}
	c.position(previous)
	if len(c.refusals) == 0 {
		c.records(records)
	}
	if len(c.refusals) > 0 {
		return Batch{}, c.refusals, nil
	}
	return Batch{Total: signed, Entries: c.entries, Ack: signed.Acknowledge(key)}, nil, nil
}

type batchCheck struct {
	keys     *Keys
	key      *Key
	total    Total
	entries  []Entry
	refusals []Refusal

	chain    MAC    // MACM of the record before
	next     uint64 // TNo that the next record has
	payments uint32
	voids    uint32
	sum      uint64
	returned map[uint32]bool // TNo of payments that a record took back, or may have
}

func (c *batchCheck) refuse(reason Reason, record int, format string, args ...any) {
	if len(c.refusals) < maxRefusals {
		c.refusals = append(c.refusals, Refusal{Reason: reason, Record: record, Detail: fmt.Sprintf(format, args...)})
	}
}

// position checks the total's numbers against what was taken before.
func (c *batchCheck) position(previous Position) {
	c.next = uint64(previous.TNo) + 1
	switch {
	case uint64(c.total.Batch) != uint64(previous.Batch)+1:
		c.refuse(WrongBatch, 0, "batch %d: want %d", c.total.Batch, uint64(previous.Batch)+1)
	case uint64(c.total.First) != c.next:
		c.refuse(WrongFirst, 0, "begins with transaction %d: want %d", c.total.First, c.next)
	case c.total.Last < c.total.First:
		c.refuse(WrongLast, 0, "ends with transaction %d before it begins with %d: want one record at least", c.total.Last, c.total.First)
	case c.total.Last-c.total.First >= MaxRecords:
		c.refuse(TooMany, 0, "transactions %d to %d: want at most %d", c.total.First, c.total.Last, MaxRecords)
	}
}

// records checks every record, and then what they come to.
func (c *batchCheck) records(text []byte) {
	for number := 1; len(text) > 0; number++ {
		if number > MaxRecords {
			c.refuse(TooMany, 0, "more than %d records", MaxRecords)
			return
		}
		length := recordLength(text[0])
		if length == 0 || length > len(text) {
			c.refuse(Malformed, number, "%v", cutShort(text))
			return
		}
		record, err := ParseRecord(text[:length])
		if err != nil {
			c.refuse(Malformed, number, "%v", err)
			return
		}
		c.record(number, record)
		text = text[length:]
	}
	c.totals()
}

// cutShort says why there is no record at the beginning of text.
func cutShort(text []byte) error {
	if _, err := ParseRecord(text); err != nil {
		return err
	}
	return errors.New("a record is cut short")
}

// record checks one record. Each has one refusal at most, and the next is checked
// against what this one says, so that one fault is not told as many.
func (c *batchCheck) record(number int, record Record) {
	entry := Entry{Record: record}
	switch expected := c.next; {
	case record.Merchant() != c.total.Merchant:
		c.refuse(OtherMerchant, number, "of merchant %s: want %s", record.Merchant(), c.total.Merchant)
	case record.Batch != c.total.Batch:
		c.refuse(OtherBatch, number, "of batch %d: want %d", record.Batch, c.total.Batch)
	case uint64(record.TNo()) != expected:
		c.refuse(TransactionGap, number, "transaction %d: want %d", record.TNo(), expected)
	case !record.IsChained(c.key, c.chain):
		c.refuse(BrokenChain, number, "transaction %d: MACM does not follow the record before", record.TNo())
	case record.IsVoid && record.Void.Proved == UnprovedCancellation:
		v := record.Void
		entry.TakenTNo = c.takeBack(number, Cancellation{Proof{Merchant: v.Merchant, TNo: v.TNo, Card: v.Card, SNo: v.SNo, Amount: v.Amount}, 0, v.SNo - 1})
	case record.IsCancellation():
		entry.Balance = c.proof(number, record)
		if entry.TakenTNo = c.takeBack(number, record.cancellation()); entry.TakenTNo != 0 {
			c.sum -= uint64(record.Proof.Amount)
		}
	case !record.IsVoid:
		entry.Balance = c.proof(number, record)
		c.sum += uint64(record.Proof.Amount) // 2000 times 2^32 fits
	}
	c.chain, c.next = record.MACM, uint64(record.TNo())+1
	if record.IsVoid {
		c.voids++
	} else {
		c.payments++
	}
	c.entries = append(c.entries, entry)
}

// takeBack finds the payment that a record takes back, or may have: of the same
// card, before it in the batch, whole, once. PaidTNo 0 stands for the last that it
// can be. It returns its TNo, or 0 if there is none. A payment is known by its
// TNo: a card that was copied uses its own numbers twice, and no merchant can tell.
func (c *batchCheck) takeBack(number int, cancellation Cancellation) uint32 {
	for _, entry := range slices.Backward(c.entries) {
		paid := entry.Proof
		if entry.IsVoid || entry.IsCancellation() || paid.Card != cancellation.Card || paid.SNo != cancellation.PaidSNo || paid.Amount != cancellation.Amount ||
			cancellation.PaidTNo != 0 && (paid.TNo != cancellation.PaidTNo || paid.Unit != cancellation.Unit) || c.returned[paid.TNo] {
			continue
		}
		if c.returned == nil {
			c.returned = make(map[uint32]bool)
		}
		c.returned[paid.TNo] = true
		return paid.TNo
	}
	c.refuse(NoPayment, number, "transaction %d takes back payment %d of card %s, %d units: there is none in this batch before it, or it was taken back",
		cancellation.TNo, cancellation.PaidSNo, cancellation.Card, cancellation.Amount)
	return 0
}

// proof checks MACZ and returns the balance of the card.
func (c *batchCheck) proof(number int, record Record) uint32 {
	proof := record.Proof
	key, err := c.keys.ProofKey(proof.KeyVersion, proof.Card)
	switch {
	case err != nil:
		c.refuse(NoKey, number, "transaction %d: key version %d of card %s is not known here", proof.TNo, proof.KeyVersion, proof.Card)
	case !record.IsProved(key):
		c.refuse(WrongProof, number, "transaction %d: MACZ is not that of card %s", proof.TNo, proof.Card)
	default:
		return proof.Balance(key)
	}
	return 0
}

func (c *batchCheck) totals() {
	t := c.total
	if uint64(t.Last)+1 != c.next {
		c.refuse(WrongLast, 0, "ends with transaction %d: its records end with %d", t.Last, int64(c.next)-1)
	}
	if t.Payments != c.payments || t.Voids != c.voids {
		c.refuse(WrongCount, 0, "%d payments and cancellations and %d voids: there are %d and %d", t.Payments, t.Voids, c.payments, c.voids)
	}
	if t.Sum != c.sum {
		c.refuse(WrongSum, 0, "sum %d: its payments less its cancellations sum to %d", t.Sum, c.sum)
	}
	if !t.Chain.equal(c.chain) {
		c.refuse(WrongEnd, 0, "the chain does not end with its last record")
	}
}
