//go:build !linux

package dbtest

import "syscall"

// identityFor returns how the server's processes are started: as whoever runs
// the tests.
func identityFor(string) (*syscall.SysProcAttr, error) { return &syscall.SysProcAttr{}, nil }
