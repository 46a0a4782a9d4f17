package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/paywordhq/payword/internal/filelock"
)

// readOnlyDisk is the directory of a store that nobody has open. Nothing in it
// is changed: what recovery would mend is mended in what is read.
type readOnlyDisk struct {
	path string
	lock io.Closer
}

// openReadOnly locks a directory that holds a store.
func openReadOnly(path string) (*readOnlyDisk, error) {
	lockPath := filepath.Join(path, lockName)
	if _, err := os.Stat(lockPath); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no store", path)
	}
	lock, err := filelock.Lock(lockPath)
	if errors.Is(err, filelock.ErrLocked) {
		return nil, fmt.Errorf("%s is in use: stop the gate first, or ask it by its admin endpoint, without --store", path)
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return &readOnlyDisk{path: path, lock: lock}, nil
}

func (d *readOnlyDisk) list() ([]string, error) { return (&directoryDisk{path: d.path}).list() }

func (d *readOnlyDisk) create(string) (diskFile, error) {
	return nil, fmt.Errorf("%s holds no commitments", d.path)
}

func (d *readOnlyDisk) open(name string) (diskFile, error) {
	file, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &readOnlyFile{File: file, size: info.Size()}, nil
}

func (d *readOnlyDisk) rename(string, string) error { return nil }
func (d *readOnlyDisk) remove(string) error         { return nil }
func (d *readOnlyDisk) sync() error                 { return nil }

// Close lets go of the directory.
func (d *readOnlyDisk) Close() error { return d.lock.Close() }

// readOnlyFile is a file that seems to be cut, and passes over what is written:
// recovery writes only where it goes on afterwards.
type readOnlyFile struct {
	*os.File
	size int64
}

// ReadAt implements io.ReaderAt.
func (f *readOnlyFile) ReadAt(content []byte, offset int64) (int, error) {
	if offset >= f.size {
		return 0, io.EOF
	}
	if left := f.size - offset; int64(len(content)) > left {
		n, err := f.File.ReadAt(content[:left], offset)
		return n, errors.Join(err, io.EOF)
	}
	return f.File.ReadAt(content, offset)
}

// WriteAt writes nothing.
func (f *readOnlyFile) WriteAt(content []byte, _ int64) (int, error) { return len(content), nil }

// Truncate cuts what can be read.
func (f *readOnlyFile) Truncate(size int64) error {
	f.size = min(f.size, size)
	return nil
}

// Size implements diskFile.
func (f *readOnlyFile) Size() (int64, error) { return f.size, nil }

// Sync implements diskFile.
func (f *readOnlyFile) Sync() error { return nil }

// readStore reads the store in a directory without changing anything there, and
// lets go of it.
func readStore(path string) (_ *fileStore, err error) {
	d, err := openReadOnly(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	s := &fileStore{logger: zap.NewNop()}
	for k := range s.shards {
		s.shards[k].init()
	}
	r := recovery{store: s, disk: d}
	journal, err := r.run()
	if err != nil {
		return nil, fmt.Errorf("reading the store in %s: %w", path, err)
	}
	return s, journal.file.Close()
}
