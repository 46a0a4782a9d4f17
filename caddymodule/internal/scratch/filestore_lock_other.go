//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package caddymodule

import (
	"errors"
	"io"
)

// lockFile fails: two processes on one store would both grant what was paid
// once, so there is none without a lock.
func lockFile(string) (io.Closer, error) {
	return nil, errors.New("this operating system has no file locks: the file store needs them")
}

func syncDirectory(string) error { return nil }
