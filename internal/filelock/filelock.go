// Package filelock keeps two processes from one file, and makes names in a
// directory durable: the two things of a file system that the standard library
// leaves to each operating system.
package filelock

import "errors"

// ErrLocked means that another process holds the lock.
var ErrLocked = errors.New("locked by another process")
