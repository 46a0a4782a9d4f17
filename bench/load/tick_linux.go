package load

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// tick sends the times at which requests are due, as they come. The timers of Go
// are as coarse as a millisecond while the program waits for the network; the
// kernel's are not.
func tick(ctx context.Context, rate, count int, due chan<- time.Time) error {
	interval := time.Second / time.Duration(rate)
	descriptor, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making a timer: %w", err)
	}
	timer := os.NewFile(uintptr(descriptor), "timer")
	defer timer.Close()
	each := unix.NsecToTimespec(interval.Nanoseconds())
	start := time.Now()
	if err := unix.TimerfdSettime(descriptor, 0, &unix.ItimerSpec{Interval: each, Value: each}, nil); err != nil {
		return fmt.Errorf("setting a timer: %w", err)
	}
	var expired [8]byte
	for sent := 0; sent < count && ctx.Err() == nil; {
		if _, err := timer.Read(expired[:]); err != nil {
			return fmt.Errorf("waiting for a timer: %w", err)
		}
		for range min(binary.NativeEndian.Uint64(expired[:]), uint64(count-sent)) {
			sent++
			due <- start.Add(time.Duration(sent) * interval)
		}
	}
	return ctx.Err()
}
