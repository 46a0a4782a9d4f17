package statement

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// blockLevel is the height of the subtrees that are read again when one of
	// their leaves is proved. What is above them is kept: 64 bytes for every 256
	// statements.
	blockLevel  = 8
	blockLeaves = 1 << blockLevel
)

// Tree is the Merkle tree over the statements of one day, hashed as RFC 6962 says.
// It keeps only what is above subtrees of 256 leaves. It is for one goroutine.
type Tree struct {
	leaves int64
	read   func(first int64, count int) ([]Digest, error)
	upper  [][]tlog.Hash // by level above blockLevel, complete subtrees only

	block       []tlog.Hash // the leaves of the block that was read last
	blockNumber int64
}

// NewTree reads all leaves once, 256 at a time and in order. read is asked again
// when a leaf is proved.
func NewTree(leaves int64, read func(first int64, count int) ([]Digest, error)) (*Tree, error) {
	t := &Tree{leaves: leaves, read: read, blockNumber: -1}
	for number := range leaves / blockLeaves {
		if err := t.load(number); err != nil {
			return nil, err
		}
		t.grow(subtree(t.block))
	}
	return t, nil
}

// grow adds a complete block to what is above the blocks.
func (t *Tree) grow(hash tlog.Hash) {
	for level := 0; ; level++ {
		if level == len(t.upper) {
			t.upper = append(t.upper, nil)
		}
		t.upper[level] = append(t.upper[level], hash)
		count := len(t.upper[level])
		if count%2 == 1 {
			return
		}
		hash = tlog.NodeHash(t.upper[level][count-2], hash)
	}
}

// load reads a block of leaves.
func (t *Tree) load(number int64) error {
	if t.blockNumber == number {
		return nil
	}
	first := number * blockLeaves
	count := int(min(blockLeaves, t.leaves-first))
	digests, err := t.read(first, count)
	if err == nil && len(digests) != count {
		err = fmt.Errorf("%d leaves from %d on: want %d", len(digests), first, count)
	}
	if err != nil {
		return fmt.Errorf("reading a day's tree: %w", err)
	}
	t.block, t.blockNumber = t.block[:0], number
	for _, digest := range digests {
		t.block = append(t.block, tlog.RecordHash(digest[:]))
	}
	return nil
}

// subtree hashes a complete subtree of a power of two of leaves.
func subtree(leaves []tlog.Hash) tlog.Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	half := len(leaves) / 2
	return tlog.NodeHash(subtree(leaves[:half]), subtree(leaves[half:]))
}

// ReadHashes is tlog.HashReader over the complete subtrees.
func (t *Tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for k, index := range indexes {
		level, number := tlog.SplitStoredHashIndex(index)
		if level >= blockLevel {
			hashes[k] = t.upper[level-blockLevel][number]
			continue
		}
		first := number << level
		if err := t.load(first / blockLeaves); err != nil {
			return nil, err
		}
		within := first % blockLeaves
		hashes[k] = subtree(t.block[within : within+1<<level])
	}
	return hashes, nil
}

// Root returns the root; that of no statements at all is the SHA-256 of nothing.
func (t *Tree) Root() (Digest, error) {
	if t.leaves == 0 {
		return sha256.Sum256(nil), nil
	}
	root, err := tlog.TreeHash(t.leaves, t)
	return Digest(root), err
}

// Prove returns the proof of a leaf, without the day.
func (t *Tree) Prove(index int64) (Proof, error) {
	path, err := tlog.ProveRecord(t.leaves, index, t)
	if err != nil {
		return Proof{}, fmt.Errorf("proving leaf %d of %d: %w", index, t.leaves, err)
	}
	proof := Proof{Index: index, Leaves: t.leaves, Path: []string{}}
	for _, hash := range path {
		proof.Path = append(proof.Path, base64url.EncodeToString(hash[:]))
	}
	return proof, nil
}

// check reports whether the path leads from a leaf to the root.
func (p *Proof) check(leaf, root Digest) error {
	if p.Leaves < 1 || p.Index < 0 || p.Index >= p.Leaves || len(p.Path) > maxPath {
		return fmt.Errorf("leaf %d of %d with a path of %d hashes: there is no such place", p.Index, p.Leaves, len(p.Path))
	}
	path := tlog.RecordProof{}
	for _, text := range p.Path {
		hash, err := decodeHash(text)
		if err != nil {
			return fmt.Errorf("path: %w", err)
		}
		path = append(path, hash)
	}
	if err := tlog.CheckRecord(path, p.Leaves, tlog.Hash(root), p.Index, tlog.RecordHash(leaf[:])); err != nil {
		return fmt.Errorf("the path does not lead from this statement to the day's root")
	}
	return nil
}
