//go:build !linux

package caddymodule

import (
	"os"
	"runtime"
)

// fileSync makes what was written to a file durable.
type fileSync struct{}

func (*fileSync) sync(file *os.File) error { return file.Sync() }

// stopsAll reports whether nothing else in the process runs during a sync.
func (*fileSync) stopsAll() bool { return runtime.GOMAXPROCS(0) == 1 }

func (*fileSync) close() {}
