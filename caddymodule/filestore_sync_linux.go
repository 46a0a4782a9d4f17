package caddymodule

import (
	"os"
	"syscall"
)

// syncData makes what was written to file durable, and its size, but not its
// times: that saves a second write.
func syncData(file *os.File) error {
	connection, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = connection.Control(func(descriptor uintptr) {
		failure = syscall.Fdatasync(int(descriptor))
		for failure == syscall.EINTR {
			failure = syscall.Fdatasync(int(descriptor))
		}
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("fdatasync", failure)
}
