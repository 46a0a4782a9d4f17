package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// documentVersion is the version of the wallet file that this code writes. It
// reads no other.
const documentVersion = 1

const (
	// maxFileBytes bounds a wallet file: a thousand sites with a handful of
	// commitments each take a tenth of it.
	maxFileBytes = 64 << 20
	// maxHistory is how many receipts a wallet keeps.
	maxHistory = 1000
	// maxURLBytes bounds the URL in a receipt.
	maxURLBytes = 300
	// maxSites is how many vendors a wallet remembers. It is written whole for
	// each group of payments, so it has to stay small.
	maxSites = 1000
	// maxOld is how many commitments of one vendor are kept beside the open
	// one. They are kept to recognise a vendor that refuses one after another.
	maxOld = 8
)

var base64url = base64.RawURLEncoding.Strict()

// document is what a wallet file holds.
type document struct {
	Secret   secret             `json:"secret"`
	Broker   string             `json:"broker,omitempty"`  // origin
	Account  string             `json:"account,omitempty"` // id at the broker
	Currency money.Currency     `json:"currency,omitempty"`
	Prefixes []string           `json:"prefixes,omitempty"` // that new certificates are bound to
	NextKey  uint32             `json:"nextKey"`            // number of the next certificate's key
	Spares   []heldCertificate  `json:"spares"`             // not used with any vendor yet
	Vendors  map[string]*vendor `json:"vendors"`            // by origin
	Day      dayTotal           `json:"day"`
	Total    total              `json:"total"`
	History  []Receipt          `json:"history"` // oldest first
}

// secret is the seed, in clear or encrypted.
type secret struct {
	Seed   string `json:"seed,omitempty"`   // base64url
	Sealed string `json:"sealed,omitempty"` // base64url of an age file that holds the seed
}

// heldCertificate is a certificate and the number of its key.
type heldCertificate struct {
	Key         uint32 `json:"key"`
	Certificate string `json:"certificate"`
}

// total is how much was paid, in micros.
type total struct {
	Released money.Amount `json:"released"` // what counts against budgets; never shrinks
	Spent    money.Amount `json:"spent"`    // what was charged, by the vendors' receipts
}

// dayTotal is the total of one day.
type dayTotal struct {
	Day int64 `json:"day"` // days since 1970, UTC
	total
}

// vendor is what a wallet knows of one vendor.
type vendor struct {
	total
	heldCertificate               // the one it knows the wallet by; empty before the first commitment
	Price           money.Amount  `json:"price"`              // of the last request, in micros; 0: none yet
	Lowest          money.Amount  `json:"lowest"`             // price that was ever seen, in micros; 0: none yet
	Steady          int           `json:"steady"`             // how many new URLs in a row had that price
	LastPaid        int64         `json:"lastPaid"`           // seconds since 1970
	Unserved        money.Amount  `json:"unserved,omitempty"` // of late, in micros
	Probed          int64         `json:"probed,omitempty"`   // when it was last paid beyond its allowance, seconds since 1970
	Open            *commitment   `json:"open,omitempty"`
	Old             []*commitment `json:"old,omitempty"` // not paid with any more, not expired
}

// commitment is one commitment of the wallet's and how far it was used.
type commitment struct {
	Token       string         `json:"token"`
	Key         uint32         `json:"key"`                   // number of the certificate's key
	Reservation string         `json:"reservation,omitempty"` // empty: not reserved yet, or unreserved
	Unreserved  bool           `json:"unreserved,omitempty"`  // opened on credit
	Cap         money.Amount   `json:"cap"`                   // the most that may be released, in micros
	Released    []uint32       `json:"released"`              // index of each chain
	Surplus     []money.Amount `json:"surplus"`               // released on each chain and not agreed to be spent, in micros
	Proved      []uint32       `json:"proved"`                // index of each chain that the vendor is known to have
	Agreed      money.Amount   `json:"agreed"`                // sum of the max of every request, in micros
	NextNumber  uint64         `json:"nextNumber"`
	Confirmed   bool           `json:"confirmed,omitempty"` // the vendor knows it
	Abandoned   bool           `json:"abandoned,omitempty"` // the vendor refuses it
	MaxStep     uint32         `json:"maxStep"`             // most steps that the vendor checks at once
	Told        *told          `json:"told,omitempty"`      // what the vendor said last

	terms    payword.Commitment
	chains   []*payword.Chain            // nil until first used
	inFlight [payword.MaxChains][]uint32 // indices that requests under way present, by chain
	lost     []ticket                    // whose answers never came
	found    [payword.MaxChains]found    // by chain, what only the vendor knew of
	streams  int                         // that may use credit which nobody counts here
	debits   uint64                      // since the wallet was opened
}

// told is what a vendor said of a commitment, in micros.
type told struct {
	Accepted money.Amount `json:"accepted"`
	Spent    money.Amount `json:"spent"`
	At       int64        `json:"at"` // seconds since 1970
}

// Receipt is one paid request.
type Receipt struct {
	Time     int64          `json:"time"`   // seconds since 1970
	URL      string         `json:"url"`    // without user, password and fragment; cut after 300 bytes
	Vendor   string         `json:"vendor"` // origin
	Amount   money.Amount   `json:"amount"` // charged, in micros; 0 for a repeat or what was given back
	Currency money.Currency `json:"currency"`

	// What a metered stream did not cost after all, in micros, of what receipts
	// before this one say; Amount is 0 then.
	Returned money.Amount `json:"returned,omitempty"`
}

// envelope is the outermost object of the file. The checksum is the SHA-256 of
// the exact bytes of the wallet, so that a damaged digit cannot pass for an
// index.
type envelope struct {
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"`
	Wallet   json.RawMessage `json:"wallet"`
}

// encode returns the document as a wallet file.
func (d *document) encode() ([]byte, error) {
	wallet, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encoding the wallet: %w", err)
	}
	sum := sha256.Sum256(wallet)
	file := make([]byte, 0, len(wallet)+100)
	file = fmt.Appendf(file, `{"version":%d,"checksum":"%s","wallet":`, documentVersion, base64url.EncodeToString(sum[:]))
	file = append(file, wallet...)
	return append(file, "}\n"...), nil
}

// decodeDocument reads a wallet file. It returns ErrCorrupt or ErrVersion.
func decodeDocument(file []byte) (document, error) {
	var outer envelope
	if err := json.Unmarshal(bytes.TrimSpace(file), &outer); err != nil {
		return document{}, fmt.Errorf("%w: it is damaged or cut off", ErrCorrupt)
	}
	if outer.Version > documentVersion {
		return document{}, fmt.Errorf("%w: version %d, this one reads %d", ErrVersion, outer.Version, documentVersion)
	}
	if outer.Version != documentVersion {
		return document{}, fmt.Errorf("%w: version %d", ErrCorrupt, outer.Version)
	}
	sum := sha256.Sum256(outer.Wallet)
	if outer.Checksum != base64url.EncodeToString(sum[:]) {
		return document{}, fmt.Errorf("%w: the checksum does not fit", ErrCorrupt)
	}
	var d document
	if err := json.Unmarshal(outer.Wallet, &d); err != nil {
		return document{}, fmt.Errorf("%w: a member has the wrong form", ErrCorrupt)
	}
	if err := d.check(); err != nil {
		return document{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return d, nil
}

// check reads the tokens in the document and compares the counters with them.
func (d *document) check() error {
	if d.Vendors == nil {
		d.Vendors = make(map[string]*vendor)
	}
	if (d.Secret.Seed == "") == (d.Secret.Sealed == "") {
		return errors.New("want a seed, either in clear or encrypted")
	}
	for origin, v := range d.Vendors {
		if v == nil {
			return fmt.Errorf("vendor %s is empty", origin)
		}
		for _, c := range v.commitments() {
			if err := c.check(origin); err != nil {
				return fmt.Errorf("a commitment to %s: %w", origin, err)
			}
		}
	}
	return nil
}

// commitments returns the vendor's commitments, the open one first.
func (v *vendor) commitments() []*commitment {
	if v.Open == nil {
		return v.Old
	}
	return append([]*commitment{v.Open}, v.Old...)
}

// likelyPrice returns what to agree to for a page whose price is not known, in
// micros; 0 if that cannot be guessed. A guess that is too low costs a round
// trip. One that is too high leaves credit with the vendor, so where prices
// differ much it is the lowest, and a large part of the commitment only where
// prices are always the same.
func (v *vendor) likelyPrice() money.Amount {
	guess := v.Price
	if guess > v.Lowest.MulCapped(16, money.MaxAmount) {
		guess = v.Lowest
	}
	if v.Open == nil || guess > v.Open.Cap/16 && v.Steady < 2 {
		return 0
	}
	return guess
}

// sawPrice notes what a page cost, in micros, and whether it was a new one.
func (v *vendor) sawPrice(price money.Amount, isNew bool) {
	switch {
	case price != v.Price:
		v.Steady = 1
	case isNew:
		v.Steady++
	}
	v.Price = price
	if v.Lowest == 0 || price < v.Lowest {
		v.Lowest = price
	}
}

func (c *commitment) check(origin string) error {
	if c == nil {
		return errors.New("it is empty")
	}
	terms, err := payword.UnverifiedCommitment(c.Token)
	if err != nil {
		return err
	}
	c.terms = terms
	count := len(terms.Chains)
	switch {
	case terms.Vendor != origin:
		return errors.New("it names another vendor")
	case len(c.Released) != count || len(c.Surplus) != count || len(c.Proved) != count:
		return errors.New("its counters do not fit its chains")
	case c.Cap > terms.Limit || c.NextNumber < 1 || c.NextNumber > payword.MaxNumber:
		return errors.New("its counters are beyond its limits")
	}
	for k, chain := range terms.Chains {
		if c.Released[k] > chain.Length || c.Proved[k] > c.Released[k] {
			return errors.New("an index is beyond its chain")
		}
	}
	return nil
}
