//go:build !pcsc || !cgo || !linux

package main

import "testing"

// runTests runs the tests on this machine as it is.
func runTests(m *testing.M) int { return m.Run() }
