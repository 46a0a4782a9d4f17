//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package filelock

import (
	"errors"
	"io"
)

// Lock fails: two processes on one file of money would both spend it, so there
// is none without a lock.
func Lock(string) (io.Closer, error) {
	return nil, errors.New("this operating system has no file locks, without which money is not kept in files")
}

// SyncDirectory does nothing where nothing is known of how to.
func SyncDirectory(string) error { return nil }
