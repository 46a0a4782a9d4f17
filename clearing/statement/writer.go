package statement

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/paywordhq/payword"
)

// Digest is the SHA-256 of a statement without its last line: its leaf in the
// day's tree.
type Digest [sha256.Size]byte

// Writer writes one statement, line by line.
type Writer struct {
	target io.Writer
	hash   hash.Hash
	header Header
	shares feeShares
	count  int64
	paid   Total
	last   payword.CommitmentID
}

// NewWriter writes the header to target, io.Discard where only the digest is
// wanted. Format is filled in. The totals of the header are those of the entries
// to come.
func NewWriter(target io.Writer, header Header) (*Writer, error) {
	header.Format = Format
	if err := header.check(); err != nil {
		return nil, fmt.Errorf("writing a statement of %s: %w", header.Party, err)
	}
	w := &Writer{target: target, hash: sha256.New(), header: header, shares: header.shares()}
	return w, w.line(header)
}

// Add writes an entry. Cumulative and Fee are filled in. Entries come in the order
// of their ids.
func (w *Writer) Add(e Entry) error {
	if w.count > 0 && e.Commitment.String() <= w.last.String() {
		return fmt.Errorf("writing a statement of %s: commitment %s comes after %s", w.header.Party, e.Commitment, w.last)
	}
	var fits bool
	if w.paid, fits = w.paid.plus(e.Paid); !fits || e.Paid < 1 {
		return fmt.Errorf("writing a statement of %s: %d paid on commitment %s", w.header.Party, int64(e.Paid), e.Commitment)
	}
	e.Cumulative, e.Fee = e.PaidBefore+e.Paid, w.shares.next(e.Paid)
	w.count, w.last = w.count+1, e.Commitment
	return w.line(e)
}

// Digest ends the entries and returns the leaf.
func (w *Writer) Digest() (Digest, error) {
	if w.count != w.header.Commitments || w.paid != w.header.Paid {
		return Digest{}, fmt.Errorf("writing a statement of %s: %d commitments with %s, its header says %d with %s", w.header.Party,
			w.count, w.paid.Decimal(), w.header.Commitments, w.header.Paid.Decimal())
	}
	return Digest(w.hash.Sum(nil)), nil
}

// Finish writes the last line.
func (w *Writer) Finish(proof Proof) error {
	if len(proof.Path) > maxPath {
		return errors.New("writing a statement: the path is too long")
	}
	if proof.Path == nil {
		proof.Path = []string{}
	}
	return w.line(proof)
}

func (w *Writer) line(value any) error {
	line, err := encode(value)
	if err != nil {
		return err
	}
	w.hash.Write(line)
	_, err = w.target.Write(line)
	return err
}
