package softcard

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/paywordhq/payword/internal/filelock"
	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

const (
	// maxStateBytes bounds a file: a SAM with a batch of 2000 records has 200 KB.
	maxStateBytes = 1 << 20

	newSuffix  = ".new"  // of the file that takes the place of the other
	lockSuffix = ".lock" // of the file that is locked, since the other is replaced
)

var (
	errKind     = errors.New("it holds neither a card nor a SAM")
	errReplaced = errors.New("another file was put in its place")
	errLarge    = fmt.Errorf("it has more than %d bytes", maxStateBytes)
)

// file is a purse.Memory: a state in a file that only its owner may read. Nobody
// else has it until it is closed.
type file struct {
	path string
	lock io.Closer
	info fs.FileInfo // of what was loaded or stored last; nil: there was none
}

// open locks a file, whether it exists or not. ErrBusy means that somebody has
// it.
func open(path string) (*file, error) {
	// Under two names there would be two locks.
	resolved, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		resolved, err = path, nil
	}
	if err != nil {
		return nil, err
	}
	lock, err := filelock.Lock(resolved + lockSuffix)
	if errors.Is(err, filelock.ErrLocked) {
		return nil, fmt.Errorf("%s: %w", path, smartcard.ErrBusy)
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return &file{path: resolved, lock: lock}, nil
}

// Close lets others have the file.
func (f *file) Close() error { return f.lock.Close() }

// Load reads the state: nothing where there is no file.
func (f *file) Load() ([]byte, error) {
	opened, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return nil, err
	}
	if err := keyfile.CheckPrivate(f.path, info.Mode()); err != nil {
		return nil, fmt.Errorf("whoever reads a card can spend it: %w", err)
	}
	state, err := io.ReadAll(io.LimitReader(opened, maxStateBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(state) > maxStateBytes:
		return nil, fmt.Errorf("%s: %w", f.path, errLarge)
	}
	f.info = info
	return state, nil
}

// Store replaces the file. What is there is the old state or the new one, whenever
// the power goes, and when this returns without an error it is the new one.
func (f *file) Store(state []byte) error {
	if err := f.checkPlace(); err != nil {
		return err
	}
	changed, err := os.OpenFile(f.path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = changed.Write(state)
	info, failed := changed.Stat()
	if err = errors.Join(err, failed, changed.Sync(), changed.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.path+newSuffix, f.path); err != nil {
		return err
	}
	f.info = info
	return filelock.SyncDirectory(filepath.Dir(f.path))
}

// checkPlace refuses to store a card that was taken out: the file was moved away,
// or another was put in its place. With its state in both the card would be there
// twice.
func (f *file) checkPlace() error {
	info, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.info == nil:
		return nil
	case err != nil:
		return err
	case f.info == nil || !os.SameFile(info, f.info):
		return fmt.Errorf("%s: %w", f.path, errReplaced)
	}
	return nil
}

// isSAM says what a state is of.
func isSAM(state []byte) (bool, error) {
	switch {
	case purse.IsCardState(state):
		return false, nil
	case purse.IsSAMState(state):
		return true, nil
	}
	return false, errKind
}
