package purse

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

const (
	samMagic = "PWPM"
	// maxPurseMasters is how many versions of PurseMaster a SAM can have: it meets
	// cards of all versions that were issued in the years that a card is good for.
	maxPurseMasters = 16
)

// samState is what a SAM keeps.
type samState struct {
	// SAMData but Payments, Voids and Sum, which are counted over the records.
	SAMData
	unit    Unit
	key     secret // KZM
	masters []purseMaster
	open    openState
	records [][]byte // of the batch, from TNo First on
	chain   MAC      // MACM of the last one
}

type purseMaster struct {
	version byte
	secret  []byte
}

// openState is what a SAM needs of the open transaction besides SAMData.Open.
type openState struct {
	random     Random // RANDS
	keyVersion byte   // of the card
	holder     ID
	session    secret // KS
	paidTNo    uint32 // of a cancellation: what it takes back
	paidSNo    uint32
	card       ID // of the payment that it takes back
}

func (s *samState) append(to []byte) []byte {
	to = openFrame(to, samMagic)
	to = append(append(append(to, byte(s.State)), s.Merchant[:]...), s.KeyVersion)
	to = big.AppendUint32(big.AppendUint32(big.AppendUint32(to, s.Batch), s.TNo), s.First)
	to = s.unit.append(big.AppendUint64(to, s.Limit))
	to = append(append(to, s.key[:]...), byte(len(s.masters)))
	for _, master := range s.masters {
		to = append(append(to, master.version), master.secret...)
	}
	if s.State.IsOpen() {
		to = s.appendOpen(to)
	}
	for _, record := range s.records {
		to = append(to, record...)
	}
	return seal(to)
}

const openStateLength = 1 + 4 + 3 + 4 + 8 + 4 + block + 1 + 8 + block + 4 + 4 + 8

func (s *samState) appendOpen(to []byte) []byte {
	to = big.AppendUint32(append(to, flag(s.Open.IsCancellation)), s.Open.Amount)
	to = big.AppendUint32(s.Open.Unit.append(to), s.Open.Time)
	to = big.AppendUint32(append(to, s.Open.Card[:]...), s.Open.SNo)
	to = append(append(append(to, s.open.random[:]...), s.open.keyVersion), s.open.holder[:]...)
	to = big.AppendUint32(big.AppendUint32(append(to, s.open.session[:]...), s.open.paidTNo), s.open.paidSNo)
	return append(to, s.open.card[:]...)
}

const samStateFixed = 1 + 8 + 1 + 3*4 + 8 + 3 + block + 1

// parseSAMState reads a state. Whatever is not one is errState.
func parseSAMState(framed []byte) (*samState, error) {
	body, err := unseal(framed, samMagic)
	if err != nil {
		return nil, err
	}
	if len(body) < samStateFixed {
		return nil, errState
	}
	r := reader(body)
	s := &samState{SAMData: SAMData{
		State: SAMState(r.byte()), Merchant: r.id(), KeyVersion: r.byte(), Batch: r.uint32(), TNo: r.uint32(), First: r.uint32(), Limit: r.uint64(),
	}}
	s.unit, s.key = r.unit(), secret(r.mac())
	count := int(r.byte())
	if s.State > SAMClosed || s.unit.Check() != nil || s.Batch == 0 || count > maxPurseMasters || len(r) < count*(1+MasterLength) {
		return nil, errState
	}
	for range count {
		s.masters = append(s.masters, purseMaster{r.byte(), r.take(MasterLength)})
	}
	if s.State.IsOpen() {
		if len(r) < openStateLength {
			return nil, errState
		}
		s.parseOpen(&r)
	}
	return s, s.parseRecords(r)
}

func (s *samState) parseOpen(r *reader) {
	s.Open = OpenTransaction{r.byte() == 1, r.uint32(), r.unit(), r.uint32(), r.id(), r.uint32()}
	s.open = openState{r.random(), r.byte(), r.id(), secret(r.mac()), r.uint32(), r.uint32(), r.id()}
}

// parseRecords reads the records and counts them. Their transactions follow one
// another up to TNo, but for one that is open.
func (s *samState) parseRecords(r reader) error {
	next := uint64(s.First)
	for len(r) > 0 {
		length := recordLength(r[0])
		if length == 0 || length > len(r) || len(s.records) == MaxRecords {
			return errState
		}
		text := r.take(length)
		record, err := ParseRecord(text)
		if err != nil || uint64(record.TNo()) != next || !s.count(record) {
			return errState
		}
		s.records = append(s.records, text)
		next++
	}
	last := uint64(s.TNo)
	if s.State.IsOpen() {
		last--
	}
	if next != last+1 {
		return errState
	}
	return nil
}

// count adds a record to the numbers of the batch. It reports whether it makes
// sense after the ones before.
func (s *samState) count(record Record) bool {
	s.chain = record.MACM
	switch {
	case record.IsVoid:
		s.Voids++
	case record.IsCancellation():
		if s.Sum < uint64(record.Proof.Amount) {
			return false
		}
		s.Payments++
		s.Sum -= uint64(record.Proof.Amount)
	default:
		s.Payments++
		s.Sum += uint64(record.Proof.Amount)
	}
	return true
}

// record returns the record of a transaction in the batch.
func (s *samState) record(tno uint32) ([]byte, bool) {
	if tno < s.First || uint64(tno-s.First) >= uint64(len(s.records)) {
		return nil, false
	}
	return s.records[tno-s.First], true
}

// isReturned reports whether a payment of the batch was taken back, or may have
// been: clearing takes one record of that.
func (s *samState) isReturned(paid Proof) bool {
	for _, text := range s.records {
		record, err := ParseRecord(text)
		if err != nil {
			continue
		}
		void := record.Void
		if record.IsCancellation() && record.PaidTNo == paid.TNo ||
			record.IsVoid && void.Proved == UnprovedCancellation && void.Card == paid.Card && void.SNo-1 == paid.SNo {
			return true
		}
	}
	return false
}

// SAMIssue is what a SAM is issued with.
type SAMIssue struct {
	// Keys need ClearingMaster of KeyVersion, which does not go into the SAM, and
	// PurseMaster of each version whose cards the SAM is to take, at most 16, which
	// does.
	Keys       *Keys
	KeyVersion byte
	Merchant   ID
	Unit       Unit   // that it takes
	Limit      uint64 // in units: the most that may be in a batch
}

// IssueSAM stores the state of a new SAM. ErrIssued means that there is one;
// ErrNoMaster comes back as of Keys.
func IssueSAM(memory Memory, issue SAMIssue) error {
	if issue.Keys == nil || issue.Merchant == (ID{}) || issue.Limit == 0 {
		return errors.New("a SAM needs keys, a merchant's number that is not 0, and a limit above 0")
	}
	if err := issue.Unit.Check(); err != nil {
		return err
	}
	key, err := issue.Keys.diversifySecret(ClearingMaster, "KZM", issue.KeyVersion, issue.Merchant)
	if err != nil {
		return fmt.Errorf("issuing a SAM of %s: %w", issue.Merchant, err)
	}
	versions := slices.Sorted(maps.Keys(issue.Keys.purses))
	if len(versions) == 0 {
		return fmt.Errorf("issuing a SAM of %s: %s: %w", issue.Merchant, PurseMaster, ErrNoMaster)
	}
	if len(versions) > maxPurseMasters {
		return fmt.Errorf("issuing a SAM of %s: %d versions of %s, want at most %d", issue.Merchant, len(versions), PurseMaster, maxPurseMasters)
	}
	s := samState{SAMData: SAMData{Merchant: issue.Merchant, KeyVersion: issue.KeyVersion, Batch: 1, First: 1, Limit: issue.Limit}, unit: issue.Unit, key: key}
	for _, version := range versions {
		s.masters = append(s.masters, purseMaster{version, issue.Keys.purses[version]})
	}
	return issueState(memory, s.append(nil))
}
