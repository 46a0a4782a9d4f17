package process

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Busy returns how long all processors of the machine together have worked since
// it started, in ticks of the kernel.
func Busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading how busy the machine is: %w", err)
	}
	return busy(string(text))
}

// busy reads the first line of /proc/stat: user, nice, system, idle, iowait, irq
// and softirq, in hundredths of a second. Time that the host took is no work.
func busy(text string) (time.Duration, error) {
	const tick, idle, wait, last = 10 * time.Millisecond, 4, 5, 7
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) <= last || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %.60q: want cpu and at least seven numbers", line)
	}
	var sum time.Duration
	for k, field := range fields[1 : last+1] {
		if k+1 == idle || k+1 == wait {
			continue
		}
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		sum += time.Duration(ticks) * tick
	}
	return sum, nil
}

// Self returns the processor time of this program so far.
func Self() time.Duration {
	var used unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &used) != nil {
		return 0
	}
	return time.Duration(used.Nano())
}

// Machine describes what everything is measured on.
type Machine struct {
	Processor string   `json:"processor"`
	Count     int      `json:"count"` // of processors that this program may use
	Flags     []string `json:"flags"` // those that matter here
	Memory    string   `json:"memory"`
	Kernel    string   `json:"kernel"`
	Go        string   `json:"go"`
}

// flagsThatMatter are the features of processors that bars depend on.
var flagsThatMatter = []string{"sha_ni", "avx2", "avx512f", "avx512bw", "avx512vl", "sha2"}

// Describe returns what the machine is.
func Describe(count int) Machine {
	m := Machine{Count: count, Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, Processor: "unknown"}
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpuinfo)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "model name":
			m.Processor = value
		case "flags", "Features":
			m.Flags = nil
			have := strings.Fields(value)
			for _, flag := range flagsThatMatter {
				for _, one := range have {
					if one == flag {
						m.Flags = append(m.Flags, flag)
					}
				}
			}
		}
	}
	var system unix.Utsname
	if unix.Uname(&system) == nil {
		m.Kernel = unix.ByteSliceToString(system.Sysname[:]) + " " + unix.ByteSliceToString(system.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = fmt.Sprintf("%.0f GiB", float64(info.Totalram)*float64(info.Unit)/(1<<30))
	}
	return m
}
