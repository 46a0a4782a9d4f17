// Package process starts the programs that are measured, each on the processor
// that it is given, and reads what they used of it.
package process

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// pinnedVariable tells the program that it has put itself on its processor, and
// which ones it had before.
const pinnedVariable = "PAYWORD_BENCH_PROCESSORS"

// Processors says where everything runs.
type Processors struct {
	Server    int   // what is measured
	Generator int   // this program, Redis and upstreams
	All       []int // what this program was given, for compilers
	Warning   string
}

// Pin puts this program on one processor and returns where the others go. It
// starts the program again in its own place, since the threads that a Go program
// has already cannot be moved together.
func Pin() (Processors, error) {
	if text := os.Getenv(pinnedVariable); text != "" {
		return assign(text)
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return Processors{}, fmt.Errorf("reading which processors this program may use: %w", err)
	}
	all := members(&set)
	text := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(all)), ","), "[]")
	p, err := assign(text)
	if err != nil || len(all) == 1 {
		return p, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := setAffinity(p.Generator); err != nil {
		p.Warning = fmt.Sprintf("programs could not be put on processors of their own (%v): "+
			"everything runs where the system puts it, and the figures scatter more", err)
		p.Server, p.Generator = -1, -1
		return p, nil
	}
	self, err := os.Executable()
	if err != nil {
		return Processors{}, fmt.Errorf("finding this program, to start it on processor %d: %w", p.Generator, err)
	}
	return p, syscall.Exec(self, os.Args, append(os.Environ(), pinnedVariable+"="+text))
}

// assign divides up the processors that text lists, with commas.
func assign(text string) (Processors, error) {
	var p Processors
	for number := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(number)
		if err != nil {
			return p, fmt.Errorf("%s=%q: want numbers of processors with commas between them", pinnedVariable, text)
		}
		p.All = append(p.All, n)
	}
	p.Server = p.All[0]
	p.Generator = p.All[min(1, len(p.All)-1)]
	if len(p.All) == 1 {
		p.Warning = "there is one processor only: the generator shares it with what it measures, " +
			"so the figures are lower and the ratios nearer to 1 than elsewhere"
	}
	return p, nil
}

func members(set *unix.CPUSet) (numbers []int) {
	for n := range len(set) * 64 {
		if set.IsSet(n) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// setAffinity puts this thread, and what it starts, on processors. A negative
// one leaves it where it is.
func setAffinity(processors ...int) error {
	var set unix.CPUSet
	for _, n := range processors {
		if n < 0 {
			return nil
		}
		set.Set(n)
	}
	return unix.SchedSetaffinity(0, &set)
}
