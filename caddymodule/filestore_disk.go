package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/paywordhq/payword/internal/filelock"
)

// disk is the directory of a file store. Names are plain file names. What
// happened to names is durable after sync, what was written to a file after the
// file's Sync.
type disk interface {
	list() ([]string, error)
	create(name string) (diskFile, error) // for reading and writing, empty, whether it existed or not
	open(name string) (diskFile, error)   // for reading and writing
	rename(from, to string) error         // replaces to
	remove(name string) error
	sync() error
	Close() error
}

// diskFile is a file of a disk.
type diskFile interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Size() (int64, error)
	Sync() error // makes data and size durable
	Close() error
}

const lockName = "lock"

// directoryDisk is a directory that this process has locked.
type directoryDisk struct {
	path string
	lock io.Closer
}

// openDirectory makes the directory with its parents where it is missing,
// readable for its owner only, and locks it.
func openDirectory(path string) (*directoryDisk, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := makeDirectory(path); err != nil {
			return nil, err
		}
	}
	lock, err := filelock.Lock(filepath.Join(path, lockName))
	if errors.Is(err, filelock.ErrLocked) {
		return nil, fmt.Errorf("%s is in use by another process: end that one, or give this one a directory of its own", path)
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return &directoryDisk{path: path, lock: lock}, nil
}

func makeDirectory(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return filelock.SyncDirectory(filepath.Dir(filepath.Clean(path)))
}

func (d *directoryDisk) list() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

func (d *directoryDisk) openFlags(name string, flags int) (diskFile, error) {
	file, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{File: file}, nil
}

func (d *directoryDisk) create(name string) (diskFile, error) {
	return d.openFlags(name, os.O_CREATE|os.O_TRUNC)
}

func (d *directoryDisk) open(name string) (diskFile, error) { return d.openFlags(name, 0) }

func (d *directoryDisk) rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d *directoryDisk) remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d *directoryDisk) sync() error { return filelock.SyncDirectory(d.path) }

func (d *directoryDisk) Close() error { return d.lock.Close() }

// osFile is a file of the operating system.
type osFile struct {
	*os.File
	syncing fileSync
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *osFile) Sync() error { return f.syncing.sync(f.File) }

func (f *osFile) Close() error {
	f.syncing.close()
	return f.File.Close()
}
