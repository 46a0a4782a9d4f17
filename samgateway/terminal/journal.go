package terminal

import (
	"time"

	"go.etcd.io/bbolt"
)

// lockTimeout is how long a second process waits for the first one's journal.
const lockTimeout = time.Second

func openJournal(path string) (*bbolt.DB, error) {
	return bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
}
