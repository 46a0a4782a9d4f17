package caddymodule

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// recordKind says what a record of the file store tells of.
type recordKind uint8

// The kinds. Their numbers stand in files and are never used for anything else.
const (
	recordOpened       recordKind = 1 // a commitment was opened
	recordToppedUp     recordKind = 2 // a later reservation was taken
	recordCharged      recordKind = 3 // a request was charged, or granted again
	recordAdvanced     recordKind = 4 // a tail was raised and nothing charged
	recordGivenBack    recordKind = 5 // a grant was taken back
	recordClosed       recordKind = 6 // the user closed the commitment
	recordAcknowledged recordKind = 7 // the broker paid
	recordState        recordKind = 8 // in snapshots: all that is known, after its recordOpened
	recordEnd          recordKind = 9 // in snapshots: the last one

	recordTruedUp recordKind = 10 // the price of a request was lowered
	recordFlowed  recordKind = 11 // an answer under way was charged for

	recordOpenedOnCredit recordKind = 12 // an unreserved commitment was opened

	recordOpenedTerms         recordKind = 13 // recordOpened, and what the commitment says
	recordOpenedOnCreditTerms recordKind = 14 // recordOpenedOnCredit, and what the commitment says
)

const (
	recordHeadBytes = 5 // kind and size

	// maxRecentRequests bounds the requests that are kept of one commitment:
	// payword.State sweeps them at twice the window.
	maxRecentRequests = 2 * payword.WindowSize

	// forgetEvery is how many charges that are replayed look once for requests that
	// are too old to be given back, as in payword.State.
	forgetEvery = 16

	requestBytes = 8 + payword.FingerprintBytes + 8 + 8 + 1 + passKeyBytes
	tailBytes    = 4 + payword.PaywordBytes

	// maxRecordBytes bounds the payload of a record. The longest is a
	// recordState: eight tails, the window, the passes and all recent requests.
	maxRecordBytes = maxRecentRequests*requestBytes + payword.MaxPasses*passBytes + 1024
)

// record is one entry of a journal or a snapshot. It holds the values after the
// step and no differences, so that reading one twice changes nothing: a journal
// may be read again over a snapshot that has seen a part of it.
type record struct {
	kind recordKind
	id   payword.CommitmentID // unused where a commitment is opened, whose token tells, and in recordEnd

	chain   uint8           // recordCharged, recordAdvanced
	tail    payword.Tail    // recordCharged, recordAdvanced
	total   money.Amount    // ever, in micros: charged, returned (recordGivenBack, recordTruedUp) or claimed (recordAcknowledged)
	request payword.Request // recordCharged; its Number and Grants in recordGivenBack, its Number and Price in recordTruedUp
	final   bool            // recordAcknowledged, recordState: the last claim was acknowledged

	token       string              // of a kind that opens
	commitment  *payword.Commitment // the same; written by recordOpenedTerms and recordOpenedOnCreditTerms, without its token
	resting     resting             // the same with the recordState that followed, while it is read back; empty: none did
	reservation string              // recordOpened, recordToppedUp
	amount      money.Amount        // recordOpened, recordToppedUp: in micros
	sequence    uint32              // recordOpened, recordToppedUp
	redeemBy    int64               // of a kind that opens, recordToppedUp: seconds since 1970
	day         int64               // recordOpenedOnCredit: UTC, days since 1970

	isUnsafe bool // recordCharged: the request must not be executed twice; not written

	pass *payword.Pass // recordCharged, recordGivenBack, recordTruedUp: what became of it; nil if none is concerned

	state  *payword.State // recordState; its Cap and Sequence stand in the recordOpened
	chains int            // recordState: how many tails
	count  uint64         // recordEnd: commitments in the snapshot
}

// opens reports whether a record of the kind opens a commitment.
func (k recordKind) opens() bool {
	return k == recordOpened || k == recordOpenedTerms || k.opensOnCredit()
}

// opensOnCredit reports whether a record of the kind opens an unreserved
// commitment.
func (k recordKind) opensOnCredit() bool {
	return k == recordOpenedOnCredit || k == recordOpenedOnCreditTerms
}

// hasTerms reports whether a record of the kind says what the commitment says
// that it opens.
func (k recordKind) hasTerms() bool {
	return k == recordOpenedTerms || k == recordOpenedOnCreditTerms
}

// withTerms returns an opening of m with what m says beside its token.
func (r record) withTerms(m *payword.Commitment) record {
	r.commitment = m
	if r.kind = recordOpenedTerms; r.sequence == 0 {
		r.kind = recordOpenedOnCreditTerms
	}
	return r
}

// binds reports whether r is durable before anybody sees what it says, in an
// async store too. Of the others a crash takes the newest, and only the vendor
// loses by that: who paid is granted the same again, or has the credit back.
// With one that binds others would: the payer what was given back to him, or
// what he closed; an order would be carried out twice; what was opened on
// credit would be opened again.
func (r *record) binds() bool {
	switch r.kind {
	case recordCharged:
		return r.isUnsafe
	case recordAdvanced, recordFlowed:
		return false
	default:
		return true
	}
}

// append writes r behind what is in buffer.
func (r *record) append(buffer []byte) []byte {
	start := len(buffer)
	buffer = append(buffer, byte(r.kind), 0, 0, 0, 0)
	if !r.kind.opens() && r.kind != recordEnd {
		buffer = append(buffer, r.id[:]...)
	}
	switch r.kind {
	case recordOpened, recordOpenedTerms:
		buffer = appendString(buffer, r.token)
		buffer = r.appendReservation(buffer)
	case recordOpenedOnCredit, recordOpenedOnCreditTerms:
		buffer = appendString(buffer, r.token)
		buffer = appendUint64(appendUint64(buffer, uint64(r.redeemBy)), uint64(r.day))
	case recordToppedUp:
		buffer = r.appendReservation(buffer)
	case recordCharged:
		buffer = appendTail(append(buffer, r.chain), &r.tail)
		buffer = appendUint64(buffer, uint64(r.total))
		buffer = appendRequest(buffer, &r.request)
	case recordAdvanced:
		buffer = appendTail(append(buffer, r.chain), &r.tail)
	case recordGivenBack:
		buffer = appendUint64(buffer, uint64(r.total))
		buffer = appendUint64(buffer, r.request.Number)
		buffer = append(buffer, r.request.Grants)
	case recordTruedUp:
		buffer = appendUint64(buffer, uint64(r.total))
		buffer = appendUint64(buffer, r.request.Number)
		buffer = appendUint64(buffer, uint64(r.request.Price))
	case recordFlowed:
		buffer = appendUint64(buffer, uint64(r.total))
	case recordAcknowledged:
		buffer = appendUint64(buffer, uint64(r.total))
		buffer = appendBool(buffer, r.final)
	case recordState:
		buffer = r.appendState(buffer)
	case recordEnd:
		buffer = appendUint64(buffer, r.count)
	}
	if r.kind.hasTerms() {
		buffer = appendTerms(buffer, r.commitment)
	}
	if r.pass != nil {
		buffer = appendPass(buffer, r.pass)
	}
	binary.BigEndian.PutUint32(buffer[start+1:], uint32(len(buffer)-start-recordHeadBytes))
	return buffer
}

func (r *record) appendReservation(buffer []byte) []byte {
	buffer = appendString(buffer, r.reservation)
	buffer = appendUint64(buffer, uint64(r.amount))
	buffer = binary.BigEndian.AppendUint32(buffer, r.sequence)
	return appendUint64(buffer, uint64(r.redeemBy))
}

func (r *record) appendState(buffer []byte) []byte {
	s := r.state
	buffer = append(buffer, uint8(r.chains))
	for k := range r.chains {
		buffer = appendTail(buffer, &s.Tails[k])
	}
	for _, amount := range []money.Amount{s.Charged, s.Returned, s.Claimed} {
		buffer = appendUint64(buffer, uint64(amount))
	}
	buffer = appendBool(appendBool(buffer, s.Closed), r.final)
	buffer = appendUint64(buffer, s.Highest)
	for _, word := range s.Window {
		buffer = appendUint64(buffer, word)
	}
	recent := s.Recent[max(0, len(s.Recent)-maxRecentRequests):]
	buffer = binary.BigEndian.AppendUint32(buffer, uint32(len(recent)))
	for k := range recent {
		buffer = appendRequest(buffer, &recent[k])
	}
	for _, pass := range s.AllPasses() {
		buffer = appendPass(buffer, &pass)
	}
	return buffer
}

func appendUint64(buffer []byte, value uint64) []byte {
	return binary.BigEndian.AppendUint64(buffer, value)
}

func appendBool(buffer []byte, value bool) []byte {
	if value {
		return append(buffer, 1)
	}
	return append(buffer, 0)
}

// appendString takes at most 65535 bytes; the protocol's limits are below.
func appendString(buffer []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint16(buffer, uint16(len(text))), text...)
}

func appendTail(buffer []byte, tail *payword.Tail) []byte {
	return append(binary.BigEndian.AppendUint32(buffer, tail.Index), tail.Payword[:]...)
}

func appendRequest(buffer []byte, request *payword.Request) []byte {
	buffer = appendUint64(buffer, request.Number)
	buffer = append(buffer, request.Fingerprint[:]...)
	buffer = appendUint64(buffer, uint64(request.At))
	buffer = appendUint64(buffer, uint64(request.Price))
	if request.Toward == (payword.PassKey{}) {
		return append(buffer, request.Grants)
	}
	return appendPassKey(append(buffer, request.Grants|grantsTowardPass), request.Toward)
}

// countRecords returns how many records body holds, as far as they are whole.
func countRecords(body []byte) (count int) {
	for len(body) >= recordHeadBytes {
		size := recordHeadBytes + int(binary.BigEndian.Uint32(body[1:]))
		if size > len(body) {
			break
		}
		body = body[size:]
		count++
	}
	return count
}

// eachRecord calls apply for every record in body, in order.
func eachRecord(body []byte, apply func(*record) error) error {
	for len(body) > 0 {
		if len(body) < recordHeadBytes {
			return errors.New("a record ends early")
		}
		size := binary.BigEndian.Uint32(body[1:])
		if size > maxRecordBytes || int(size) > len(body)-recordHeadBytes {
			return fmt.Errorf("a record of %d bytes where at most %d can be", size, min(maxRecordBytes, len(body)-recordHeadBytes))
		}
		r, err := parseRecord(recordKind(body[0]), body[recordHeadBytes:recordHeadBytes+int(size)])
		if err != nil {
			return err
		}
		if err := apply(&r); err != nil {
			return err
		}
		body = body[recordHeadBytes+int(size):]
	}
	return nil
}

// parseRecord reads the payload of a record. Every kind has one size for its
// values: bytes that are missing or left over are an error.
func parseRecord(kind recordKind, payload []byte) (record, error) {
	r, p := record{kind: kind}, parser{rest: payload}
	if !kind.opens() && kind != recordEnd {
		p.copy(r.id[:])
	}
	switch kind {
	case recordOpened, recordOpenedTerms:
		r.token = p.text()
		p.reservation(&r)
	case recordOpenedOnCredit, recordOpenedOnCreditTerms:
		r.token, r.redeemBy, r.day = p.text(), int64(p.uint64()), int64(p.uint64())
	case recordToppedUp:
		p.reservation(&r)
	case recordCharged:
		r.chain, r.tail = p.uint8(), p.tail()
		r.total, r.request = p.amount(), p.request()
		r.pass = p.pass()
	case recordAdvanced:
		r.chain, r.tail = p.uint8(), p.tail()
	case recordGivenBack:
		r.total, r.request.Number, r.request.Grants = p.amount(), p.uint64(), p.uint8()
		r.pass = p.pass()
	case recordTruedUp:
		r.total, r.request.Number, r.request.Price = p.amount(), p.uint64(), p.amount()
		r.pass = p.pass()
	case recordFlowed:
		r.total = p.amount()
	case recordClosed:
	case recordAcknowledged:
		r.total, r.final = p.amount(), p.bool()
	case recordState:
		p.state(&r)
	case recordEnd:
		r.count = p.uint64()
	default:
		return r, fmt.Errorf("a record of kind %d, which this version does not know: it was written by a newer one", kind)
	}
	if kind.hasTerms() {
		r.commitment = p.terms()
		r.commitment.Token = r.token
	}
	if p.failed || len(p.rest) > 0 {
		return r, fmt.Errorf("a record of kind %d with %d bytes does not parse", kind, len(payload))
	}
	return r, nil
}

// parser takes values off the front of a payload. Once one was missing or out
// of its range, it has failed and returns zeros.
type parser struct {
	rest   []byte
	failed bool
}

func (p *parser) take(size int) []byte {
	if size > len(p.rest) {
		p.failed, p.rest = true, nil
		return make([]byte, size)
	}
	taken := p.rest[:size]
	p.rest = p.rest[size:]
	return taken
}

func (p *parser) copy(target []byte) { copy(target, p.take(len(target))) }
func (p *parser) uint8() uint8       { return p.take(1)[0] }
func (p *parser) uint32() uint32     { return binary.BigEndian.Uint32(p.take(4)) }
func (p *parser) uint64() uint64     { return binary.BigEndian.Uint64(p.take(8)) }

func (p *parser) bool() bool {
	value := p.uint8()
	p.failed = p.failed || value > 1
	return value == 1
}

func (p *parser) amount() money.Amount {
	amount := money.Amount(p.uint64())
	p.failed = p.failed || amount < 0
	return amount
}

func (p *parser) text() string {
	size := binary.BigEndian.Uint16(p.take(2))
	return string(p.take(int(size)))
}

func (p *parser) tail() payword.Tail {
	tail := payword.Tail{Index: p.uint32()}
	p.copy(tail.Payword[:])
	return tail
}

func (p *parser) request() payword.Request {
	request := payword.Request{Number: p.uint64()}
	p.copy(request.Fingerprint[:])
	request.At, request.Price, request.Grants = int64(p.uint64()), p.amount(), p.uint8()
	if request.Grants&grantsTowardPass != 0 {
		request.Grants &^= grantsTowardPass
		request.Toward = p.passKey()
	}
	return request
}

func (p *parser) reservation(r *record) {
	r.reservation, r.amount = p.text(), p.amount()
	r.sequence, r.redeemBy = p.uint32(), int64(p.uint64())
}

func (p *parser) state(r *record) {
	s := &payword.State{}
	r.state, r.chains = s, int(p.uint8())
	if r.chains > payword.MaxChains {
		p.failed = true
		return
	}
	for k := range r.chains {
		s.Tails[k] = p.tail()
	}
	s.Charged, s.Returned, s.Claimed = p.amount(), p.amount(), p.amount()
	s.Closed, r.final = p.bool(), p.bool()
	s.Highest = p.uint64()
	for k := range s.Window {
		s.Window[k] = p.uint64()
	}
	count := p.uint32()
	if count > maxRecentRequests {
		p.failed = true
		return
	}
	for range count {
		s.Recent = append(s.Recent, p.request())
	}
	for count := 0; len(p.rest) > 0 && count < payword.MaxPasses; count++ {
		s.MergePass(*p.pass())
	}
}
