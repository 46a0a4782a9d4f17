//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !windows

package keyfile

// hideInput leaves it to term.ReadPassword, which hides what is typed from when it
// reads.
func hideInput(int) (restore func(), err error) { return func() {}, nil }
