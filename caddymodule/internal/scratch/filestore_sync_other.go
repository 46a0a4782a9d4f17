//go:build !linux

package caddymodule

import "os"

// syncData makes what was written to file durable.
func syncData(file *os.File) error { return file.Sync() }
