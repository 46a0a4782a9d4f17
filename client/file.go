package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/paywordhq/payword/internal/filelock"
)

// A wallet file is replaced whole: written beside itself, flushed, renamed over
// the old one. So it is always one whole version or another. The lock is on a
// second file, path.lock, because a rename would take a lock on the first away.
// docs/decisions/54-one-wallet-many-tabs.md has how programs in JavaScript share
// the file.

// acquire locks the wallet at path against other processes. Closing the file
// that it returns gives the lock back.
func acquire(path string) (io.Closer, error) {
	lock, err := filelock.Lock(path + ".lock")
	if errors.Is(err, filelock.ErrLocked) {
		return nil, fmt.Errorf("wallet %s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the wallet: %w", err)
	}
	if err := awaitWriter(path); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

const (
	// writerPatience is how long a program in JavaScript may take to write the
	// file; it takes milliseconds.
	writerPatience = 2 * time.Second
	// writerPause is the time between two looks.
	writerPause = 2 * time.Millisecond
)

// awaitWriter waits until no program in JavaScript writes the file. Those have no
// locks of the system: while one writes, path.writing is there. It looks for our
// lock once it has made that, and we for that once we have our lock, so that one
// of the two gives way.
func awaitWriter(path string) error {
	writing := path + ".writing"
	for end := time.Now().Add(writerPatience); ; time.Sleep(writerPause) {
		_, err := os.Lstat(writing)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("locking the wallet: %w", err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("wallet %s: %w; if none runs any more, remove %s", path, ErrLocked, writing)
		}
	}
}

// readFile reads a wallet file of a bounded size.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the wallet: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the wallet: %w", err)
	}
	if len(content) > maxFileBytes {
		return nil, fmt.Errorf("wallet %s: %w: it has more than %d bytes", path, ErrCorrupt, maxFileBytes)
	}
	return content, nil
}

// replaceFile makes content durable as the file at path.
func replaceFile(path string, content []byte) error {
	next := path + ".new"
	file, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("saving the wallet: %w", err)
	}
	_, err = file.Write(content)
	// One that was left over from a crash may have had another mode.
	err = errors.Join(err, file.Chmod(0o600), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err == nil {
		err = filelock.SyncDirectory(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("saving the wallet: %w", err)
	}
	return nil
}
