package stores

import (
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

var bucket = []byte("tails")

// boltStore is bbolt, whose Batch commits what several callers want at once. A
// batch begins when all callers wait, or after a millisecond.
type boltStore struct{ *bbolt.DB }

func openBolt(folder string, callers int) (store, error) {
	db, err := bbolt.Open(filepath.Join(folder, "tails.db"), 0o600, nil)
	if err != nil {
		return nil, err
	}
	db.MaxBatchSize, db.MaxBatchDelay = callers, time.Millisecond
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	return boltStore{db}, err
}

func (s boltStore) advance(chain, index uint64, word [wordBytes]byte) error {
	return s.Batch(func(tx *bbolt.Tx) error {
		tails := tx.Bucket(bucket)
		if isBehind(index, tails.Get(key(chain))) {
			return errBehind
		}
		return tails.Put(key(chain), tail(index, word))
	})
}
