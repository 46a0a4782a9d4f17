package payword

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/paywordhq/payword/money"
)

// The header fields of the compact form.
const (
	// HeaderPayword carries a Payment.
	HeaderPayword = "Payword"
	// HeaderCommitment carries a commitment along with the first payment on it,
	// as a token (RFC 9651, section 3.3.4): a compact JWS is one as it stands.
	HeaderCommitment = "Payword-Commitment"
	// HeaderReservation carries the reservation, in the same way.
	HeaderReservation = "Payword-Reservation"
	// HeaderState carries a Status in answers.
	HeaderState = "Payword-State"
)

const (
	idText      = 24 // base64 of CommitmentIDBytes, padded
	paywordText = 44 // base64 of PaywordBytes, padded
)

// base64std is RFC 4648 section 4 with padding, as structured fields have it,
// refusing stray bits.
var base64std = base64.StdEncoding.Strict()

// FormatPayment returns the value of the Payword header, an RFC 9651
// dictionary:
//
//	id=:AAECAwQFBgcICQoLDA0ODw==:, c=0, i=57, w=:…:, n=31, max=1500
func FormatPayment(p Payment) string {
	b := make([]byte, 0, MaxHeaderBytes)
	b = append(b, "id=:"...)
	b = base64std.AppendEncode(b, p.Commitment[:])
	b = append(b, ":, c="...)
	b = strconv.AppendUint(b, uint64(p.Chain), 10)
	b = append(b, ", i="...)
	b = strconv.AppendUint(b, uint64(p.Index), 10)
	b = append(b, ", w=:"...)
	b = base64std.AppendEncode(b, p.Payword[:])
	b = append(b, ":, n="...)
	b = strconv.AppendUint(b, p.Number, 10)
	b = append(b, ", max="...)
	b = strconv.AppendInt(b, int64(p.Max), 10)
	return string(b)
}

// The members of the Payword header, as bits of a set.
const (
	memberID = 1 << iota
	memberChain
	memberIndex
	memberPayword
	memberNumber
	memberMax
	allMembers = 1<<iota - 1
)

// ParsePayment reads the value of the one Payword header of a request. The
// members may stand in any order with white space after the commas; each must
// be there once, and nothing else. Numbers are canonical: no sign, no leading
// zero, no parameters. It refuses with MalformedHeader and does not allocate
// unless it refuses.
func ParsePayment(value string) (p Payment, refusal Refusal) {
	if p.parseAsWritten(value) {
		return p, Refusal{}
	}
	p = Payment{}
	if len(value) > MaxHeaderBytes {
		return p, refuse(MalformedHeader, "the Payword header has %d bytes: at most %d", len(value), MaxHeaderBytes)
	}
	have := 0
	for rest, more := strings.Trim(value, " "), true; more; {
		var member string
		member, rest, more = strings.Cut(rest, ",")
		if more {
			rest = strings.TrimLeft(rest, " \t")
		}
		name, text, _ := strings.Cut(strings.TrimRight(member, " \t"), "=")
		bit, valid := p.setMember(name, text)
		switch {
		case bit == 0:
			return Payment{}, refuse(MalformedHeader, "the Payword header has the members id, c, i, w, n and max; %.12q is none", name)
		case have&bit != 0:
			return Payment{}, refuse(MalformedHeader, "%s stands twice in the Payword header", name)
		case !valid:
			return Payment{}, refuse(MalformedHeader, "%s in the Payword header is not %s", name, memberForms[bit])
		}
		have |= bit
	}
	if have != allMembers {
		return Payment{}, refuse(MalformedHeader, "the Payword header needs id, c, i, w, n and max")
	}
	return p, Refusal{}
}

// parseAsWritten reads a header that is spelled as FormatPayment writes it, which
// nearly all are, and reports whether it is one. It says nothing of any other.
func (p *Payment) parseAsWritten(value string) bool {
	const (
		id      = len("id=:")
		chain   = id + idText + len(":, c=")
		index   = chain + 1 + len(", i=")
		minimum = index + len("1, w=:") + paywordText + len(":, n=1, max=0")
	)
	if len(value) < minimum || len(value) > MaxHeaderBytes || value[:id] != "id=:" || value[id+idText:chain] != ":, c=" ||
		value[chain] < '0' || value[chain] > '0'+MaxChains-1 || value[chain+1:index] != ", i=" {
		return false
	}
	p.Chain = value[chain] - '0'
	number, rest, valid := cutDigits(value[index:], 1, MaxChainLength)
	if p.Index = uint32(number); !valid || len(rest) < len(", w=:")+paywordText || rest[:len(", w=:")] != ", w=:" {
		return false
	}
	word, rest := rest[len(", w=:"):][:paywordText], rest[len(", w=:")+paywordText:]
	if len(rest) < len(":, n=") || rest[:len(":, n=")] != ":, n=" {
		return false
	}
	if p.Number, rest, valid = cutDigits(rest[len(":, n="):], 1, MaxNumber); !valid || !strings.HasPrefix(rest, ", max=") {
		return false
	}
	number, rest, valid = cutDigits(rest[len(", max="):], 0, uint64(money.MaxAmount))
	p.Max = money.Amount(number)
	return valid && rest == "" && decodeID(&p.Commitment, value[id:][:idText]) && decodePayword(&p.Payword, word)
}

// cutDigits reads a canonical decimal number within bounds, and returns what
// follows it.
func cutDigits(text string, least, most uint64) (number uint64, rest string, valid bool) {
	k := 0
	for k < len(text) && k < maxDigits+1 && text[k]-'0' <= 9 {
		number = number*10 + uint64(text[k]-'0')
		k++
	}
	valid = k > 0 && k <= maxDigits && (text[0] != '0' || k == 1) && number >= least && number <= most
	return number, text[k:], valid
}

// quads holds what each character of base64 brings at each place of a quad to
// its 24 bits, and notBase64 for other characters.
var quads = func() (bits [4][256]uint32) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for place := range bits {
		for c := range bits[place] {
			bits[place][c] = notBase64
		}
		for value, c := range []byte(alphabet) {
			bits[place][c] = uint32(value) << (18 - 6*place)
		}
	}
	return bits
}()

const notBase64 = 1 << 31

// decodeQuad returns the 24 bits of four characters, or notBase64 among others.
func decodeQuad(text string, at int) uint32 {
	quad := text[at : at+4]
	return quads[0][quad[0]] | quads[1][quad[1]] | quads[2][quad[2]] | quads[3][quad[3]]
}

// decodeQuads decodes whole quads of base64 and returns whatever of notBase64 was
// among them. It writes one byte of target more than they hold.
func decodeQuads(target []byte, text string) (bad uint32) {
	for at := 0; at+4 <= len(text) && len(target) >= 4; at += 4 {
		bits := decodeQuad(text, at)
		binary.BigEndian.PutUint32(target, bits<<8)
		bad |= bits
		target = target[3:]
	}
	return bad & notBase64
}

// decodeID decodes idText characters, strictly.
func decodeID(id *CommitmentID, text string) bool {
	bad := decodeQuads(id[:], text[:20])
	bits := quads[0][text[20]] | quads[1][text[21]]
	id[15] = byte(bits >> 16)
	return bad|bits&notBase64 == 0 && bits&0xffff == 0 && text[22:] == "=="
}

// decodePayword decodes paywordText characters, strictly.
func decodePayword(word *Payword, text string) bool {
	bad := decodeQuads(word[:], text[:40])
	bits := quads[0][text[40]] | quads[1][text[41]] | quads[2][text[42]]
	word[30], word[31] = byte(bits>>16), byte(bits>>8)
	return bad|bits&notBase64 == 0 && bits&0xff == 0 && text[43] == '='
}

var memberForms = map[int]string{
	memberID:      "16 bytes in base64 between colons",
	memberChain:   "a chain number from 0 to 7",
	memberIndex:   "an index from 1 to 1048576",
	memberPayword: "32 bytes in base64 between colons",
	memberNumber:  "a request number from 1 to 999999999999999",
	memberMax:     "an amount in micros from 0 to 999999999999999",
}

// setMember reads one member. bit is 0 for an unknown name.
func (p *Payment) setMember(name, text string) (bit int, valid bool) {
	var number uint64
	switch name {
	case "id":
		return memberID, decodeBinary(p.Commitment[:], text, idText)
	case "w":
		return memberPayword, decodeBinary(p.Payword[:], text, paywordText)
	case "c":
		number, valid = parseDigits(text, 0, MaxChains-1)
		p.Chain = uint8(number)
		return memberChain, valid
	case "i":
		number, valid = parseDigits(text, 1, MaxChainLength)
		p.Index = uint32(number)
		return memberIndex, valid
	case "n":
		number, valid = parseDigits(text, 1, MaxNumber)
		p.Number = number
		return memberNumber, valid
	case "max":
		number, valid = parseDigits(text, 0, uint64(money.MaxAmount))
		p.Max = money.Amount(number)
		return memberMax, valid
	}
	return 0, false
}

// decodeBinary reads a byte sequence of a structured field, ":…:", of exactly
// size characters, into target.
func decodeBinary(target []byte, text string, size int) bool {
	if len(text) != size+2 || text[0] != ':' || text[size+1] != ':' {
		return false
	}
	var buffer [paywordText]byte
	encoded := buffer[:copy(buffer[:], text[1:size+1])]
	var decoded [paywordText]byte
	n, err := base64std.Decode(decoded[:], encoded)
	// A line break inside would be skipped, and leave too few bytes.
	return err == nil && n == len(target) && copy(target, decoded[:n]) == n
}

// maxDigits is how many the largest number of a header has.
const maxDigits = 15

// parseDigits reads a canonical decimal number within bounds.
func parseDigits(text string, least, most uint64) (uint64, bool) {
	if text == "" || len(text) > maxDigits || text[0] == '0' && len(text) > 1 {
		return 0, false
	}
	number := uint64(0)
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		number = number*10 + uint64(c-'0')
	}
	return number, number >= least && number <= most
}

// Status is what an answer says of the commitment, in the Payword-State header:
// enough to go on after a refusal. Price is told to anybody; the rest only to a
// caller that proved a payword (Known).
type Status struct {
	Reason   Reason       // Accepted in an answer that grants
	Price    money.Amount // of this request, in micros
	Number   uint64       // the request's number; 0: none was read
	Known    bool         // the fields below are told
	Accepted money.Amount // in micros
	Spent    money.Amount // in micros
	Chain    uint8        // the chain that the payment named
	Index    uint32       // of its tail
	TailHash [PaywordBytes]byte
}

// FormatStatus returns the value of the Payword-State header:
//
//	reason=insufficient-credit, price=1000, n=31, accepted=57000, spent=57000, c=0, i=57, tail=:…:
func FormatStatus(s Status) string {
	return string(AppendStatus(make([]byte, 0, MaxHeaderBytes), s))
}

// AppendStatus appends what FormatStatus returns to b.
func AppendStatus(b []byte, s Status) []byte {
	b = append(b, "reason="...)
	b = append(b, s.Reason.String()...)
	b = append(b, ", price="...)
	b = strconv.AppendInt(b, int64(s.Price), 10)
	if s.Number > 0 {
		b = append(b, ", n="...)
		b = strconv.AppendUint(b, s.Number, 10)
	}
	if !s.Known {
		return b
	}
	b = append(b, ", accepted="...)
	b = strconv.AppendInt(b, int64(s.Accepted), 10)
	b = append(b, ", spent="...)
	b = strconv.AppendInt(b, int64(s.Spent), 10)
	b = append(b, ", c="...)
	b = strconv.AppendUint(b, uint64(s.Chain), 10)
	b = append(b, ", i="...)
	b = strconv.AppendUint(b, uint64(s.Index), 10)
	b = append(b, ", tail=:"...)
	b = base64std.AppendEncode(b, s.TailHash[:])
	return append(b, ':')
}

// maxStatusBytes bounds the Payword-State header, with room for members that
// later versions add.
const maxStatusBytes = 512

// ParseStatus reads the value of a Payword-State header. Members that it does
// not know are passed over.
func ParseStatus(value string) (Status, Refusal) {
	var s Status
	if len(value) > maxStatusBytes {
		return s, refuse(MalformedHeader, "the Payword-State header has %d bytes: at most %d", len(value), maxStatusBytes)
	}
	seen := make(map[string]bool)
	for _, member := range strings.Split(value, ",") {
		name, text, _ := strings.Cut(strings.Trim(member, " \t"), "=")
		if name == "" || seen[name] || !s.setMember(name, text) {
			return Status{}, refuse(MalformedHeader, "%.12q in the Payword-State header stands twice or has no such form", name)
		}
		seen[name] = true
	}
	if !seen["reason"] || !seen["price"] {
		return Status{}, refuse(MalformedHeader, "the Payword-State header needs reason and price")
	}
	if seen["accepted"] && seen["spent"] && seen["c"] && seen["i"] && seen["tail"] {
		s.Known = true
		return s, Refusal{}
	}
	return Status{Reason: s.Reason, Price: s.Price, Number: s.Number}, Refusal{}
}

func (s *Status) setMember(name, text string) (valid bool) {
	amount := func(to *money.Amount) bool {
		number, valid := parseDigits(text, 0, uint64(money.MaxAmount))
		*to = money.Amount(number)
		return valid
	}
	var number uint64
	switch name {
	case "reason":
		reason, err := ParseReason(text)
		s.Reason = reason
		return err == nil
	case "price":
		return amount(&s.Price)
	case "accepted":
		return amount(&s.Accepted)
	case "spent":
		return amount(&s.Spent)
	case "n":
		s.Number, valid = parseDigits(text, 1, MaxNumber)
		return valid
	case "c":
		number, valid = parseDigits(text, 0, MaxChains-1)
		s.Chain = uint8(number)
		return valid
	case "i":
		number, valid = parseDigits(text, 0, MaxChainLength)
		s.Index = uint32(number)
		return valid
	case "tail":
		return decodeBinary(s.TailHash[:], text, paywordText)
	}
	return true
}
