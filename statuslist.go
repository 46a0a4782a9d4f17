package payword

import (
	"bytes"
	"compress/zlib"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// StatusList is a hot list: one status for each certificate that a broker
// issued, at the place that the certificate names. It is a Status List Token
// (draft-ietf-oauth-status-list) in JWT form (typ statuslist+jwt), signed by
// the broker. It must not be changed while others read it.
type StatusList struct {
	URI        string // sub: where it is had, as certificates name it
	IssuedAt   int64  // seconds since 1970
	Expires    int64  // seconds since 1970: it says nothing any more while now >= Expires
	TTLSeconds int64  // after how long to look for a newer one; 0: not said

	bits     int    // of one status: 1, 2, 4 or 8
	statuses []byte // the first in the lowest bits of the first byte
}

// The statuses that the draft gives a name (its section 7). Others are for
// applications to define. Nothing but StatusValid lets anybody spend.
const (
	StatusValid     = 0
	StatusInvalid   = 1 // for ever
	StatusSuspended = 2 // for now
)

type statusListClaims struct {
	Issuer   string         `json:"iss,omitempty"`
	Subject  string         `json:"sub"`
	IssuedAt int64          `json:"iat"`
	Expires  int64          `json:"exp"`
	TTL      *int64         `json:"ttl,omitempty"`
	Packed   packedStatuses `json:"status_list"`
}

type packedStatuses struct {
	Bits int    `json:"bits"`
	List string `json:"lst"` // base64url of the statuses under zlib
}

// NewStatusList returns a list with room for a number of certificates, all of
// them valid. A status takes 1, 2, 4 or 8 bits; with 1 it can say valid and
// invalid alone. The list takes at most MaxStatusListBytes.
func NewStatusList(uri string, bits int, certificates uint32) (*StatusList, error) {
	if !slices.Contains(statusBits, bits) {
		return nil, errors.New("a status takes 1, 2, 4 or 8 bits")
	}
	size := (uint64(certificates)*uint64(bits) + 7) / 8
	if size < 1 || size > MaxStatusListBytes {
		return nil, fmt.Errorf("a list of %d certificates takes %d bytes: want 1 to %d", certificates, size, MaxStatusListBytes)
	}
	return &StatusList{URI: uri, bits: bits, statuses: make([]byte, size)}, nil
}

var statusBits = []int{1, 2, 4, 8}

// Status returns the status of the certificate at an index, and false if the
// list has no such place: then it says nothing of the certificate.
func (l *StatusList) Status(index uint32) (status uint8, found bool) {
	bit := uint64(index) * uint64(l.bits)
	if bit/8 >= uint64(len(l.statuses)) {
		return 0, false
	}
	return l.statuses[bit/8] >> (bit % 8) & (1<<l.bits - 1), true
}

// Set changes the status of the certificate at an index.
func (l *StatusList) Set(index uint32, status uint8) error {
	if _, found := l.Status(index); !found {
		return fmt.Errorf("the list has no place %d", index)
	}
	mask := uint8(1<<l.bits - 1)
	if status > mask {
		return fmt.Errorf("status %d does not fit into %d bits", status, l.bits)
	}
	bit := uint64(index) * uint64(l.bits)
	place := &l.statuses[bit/8]
	*place = *place&^(mask<<(bit%8)) | status<<(bit%8)
	return nil
}

// Size returns how many bytes the statuses take.
func (l *StatusList) Size() int { return len(l.statuses) }

// SignStatusList returns the list as a token signed with the broker's key. It
// refuses to sign what ParseStatusList would not take.
func SignStatusList(l *StatusList, broker crypto.Signer) (string, error) {
	if err := l.check(); err != nil {
		return "", fmt.Errorf("signing a status list: %w", err)
	}
	var packed bytes.Buffer
	writer, err := zlib.NewWriterLevel(&packed, zlib.BestCompression)
	if err != nil {
		return "", fmt.Errorf("signing a status list: %w", err)
	}
	if _, err := writer.Write(l.statuses); err != nil {
		return "", fmt.Errorf("signing a status list: %w", err)
	}
	if err := writer.Close(); err != nil {
		return "", fmt.Errorf("signing a status list: %w", err)
	}
	claims := statusListClaims{
		Subject: l.URI, IssuedAt: l.IssuedAt, Expires: l.Expires,
		Packed: packedStatuses{Bits: l.bits, List: base64url.EncodeToString(packed.Bytes())},
	}
	if l.TTLSeconds > 0 {
		claims.TTL = &l.TTLSeconds
	}
	return signJWS(typeStatusList, claims, broker)
}

// ParseStatusList reads the list that an issuer publishes at a URI, which must
// lie under the issuer's own origin, and checks the issuer's signature. Whether
// it has expired is for the caller to say. It takes at most MaxStatusListBytes
// of memory for the statuses, whatever the token unpacks to.
func ParseStatusList(token, issuer, uri string, brokers Brokers) (*StatusList, error) {
	object, err := splitJWS(token, typeStatusList, MaxStatusListTokenBytes)
	if err != nil {
		return nil, fmt.Errorf("status list: %w", err)
	}
	// The signature first: nothing is unpacked that the broker did not pack.
	key := brokers.Key(issuer, object.keyID)
	if key == nil {
		return nil, fmt.Errorf("status list: no key of broker %s is known under its kid", issuer)
	}
	if !object.verify(key, oneByOne) {
		return nil, errors.New("status list: the broker's signature is wrong")
	}
	var claims statusListClaims
	if err := object.claims(&claims); err != nil {
		return nil, fmt.Errorf("status list: %w", err)
	}
	if claims.Issuer != "" && claims.Issuer != issuer {
		return nil, errors.New("status list: iss: it is another broker's")
	}
	if claims.Subject != uri {
		return nil, errors.New("status list: sub: it is the list of another address")
	}
	if err := CheckStatusURI(issuer, uri); err != nil {
		return nil, fmt.Errorf("status list: sub: %w", err)
	}
	list, err := claims.list()
	if err != nil {
		return nil, fmt.Errorf("status list: %w", err)
	}
	return list, nil
}

func (c statusListClaims) list() (*StatusList, error) {
	l := &StatusList{URI: c.Subject, IssuedAt: c.IssuedAt, Expires: c.Expires, bits: c.Packed.Bits}
	if c.TTL != nil {
		if *c.TTL < 1 {
			return nil, errors.New("ttl: want at least one second")
		}
		l.TTLSeconds = *c.TTL
	}
	packed, err := decodeBase64url(c.Packed.List)
	if err != nil {
		return nil, fmt.Errorf("lst: %w", err)
	}
	if l.statuses, err = unpackStatuses(packed); err != nil {
		return nil, fmt.Errorf("lst: %w", err)
	}
	return l, l.check()
}

// unpackStatuses stops after MaxStatusListBytes, however much would follow.
func unpackStatuses(packed []byte) ([]byte, error) {
	source := bytes.NewReader(packed)
	reader, err := zlib.NewReader(source)
	if err != nil {
		return nil, errors.New("not compressed with zlib")
	}
	statuses, err := io.ReadAll(io.LimitReader(reader, MaxStatusListBytes+1))
	if err != nil {
		return nil, errors.New("cut off or damaged")
	}
	if len(statuses) <= MaxStatusListBytes && source.Len() > 0 {
		return nil, errors.New("something follows the list")
	}
	return slices.Clip(statuses), nil
}

// check reports which limit of the protocol a list breaks.
func (l *StatusList) check() error {
	switch {
	case !slices.Contains(statusBits, l.bits):
		return errors.New("bits: want 1, 2, 4 or 8")
	case len(l.statuses) < 1 || len(l.statuses) > MaxStatusListBytes:
		return fmt.Errorf("lst: want 1 to %d bytes", MaxStatusListBytes)
	case l.IssuedAt <= 0 || l.Expires <= l.IssuedAt:
		return errors.New("exp: want a time after iat")
	case l.TTLSeconds < 0:
		return errors.New("ttl: want at least one second")
	case l.URI == "" || len(l.URI) > MaxOriginBytes:
		return fmt.Errorf("sub: want 1 to %d bytes", MaxOriginBytes)
	}
	return nil
}

// CheckStatusURI reports what is wrong with the address of an issuer's hot
// list. It lies under the issuer's own origin, so that a certificate sends
// nobody anywhere else.
func CheckStatusURI(issuer, uri string) error {
	if len(uri) > MaxOriginBytes {
		return fmt.Errorf("the URI takes at most %d bytes", MaxOriginBytes)
	}
	path, isBelow := strings.CutPrefix(uri, issuer+"/")
	if !isBelow || path == "" {
		return errors.New("want a URI under the issuer's own origin")
	}
	for _, c := range []byte(path) {
		if c <= ' ' || c >= 0x7F || strings.IndexByte("\"#<>\\^`{|}", c) >= 0 {
			return errors.New("the URI holds a character that is no part of a path or query")
		}
	}
	return nil
}
