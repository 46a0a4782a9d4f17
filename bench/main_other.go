//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: it needs Linux, where it can put programs on processors and read what each has used")
	os.Exit(1)
}
