package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long a program has to listen, and to end once it was told to.
const (
	startTime = 30 * time.Second
	endTime   = 5 * time.Second
)

// Child is a program that was started here, and ends with this program whatever
// becomes of it.
type Child struct {
	Name    string
	command *exec.Cmd
	output  *tail
	done    chan struct{}
}

// Start runs a program on processors; none is wherever this program runs.
// environment is added to this program's own.
func Start(ctx context.Context, name string, processors []int, environment []string, program string, arguments ...string) (*Child, error) {
	c := &Child{Name: name, command: exec.CommandContext(ctx, program, arguments...), output: new(tail), done: make(chan struct{})}
	c.command.Env = append(os.Environ(), environment...)
	c.command.Stdout, c.command.Stderr = c.output, c.output
	c.command.Cancel = func() error { return c.command.Process.Signal(syscall.SIGTERM) }
	c.command.WaitDelay = endTime
	// A group of its own, so that Ctrl-C reaches this program alone, which then
	// ends the others.
	c.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := startOn(processors, c.command); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		c.command.Wait()
		close(c.done)
	}()
	return c, nil
}

// startOn starts a command from a thread that is on the processors meanwhile:
// what a thread starts stays where the thread was.
func startOn(processors []int, command *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	if len(processors) > 0 {
		if err := setAffinity(processors...); err != nil {
			return err
		}
		defer unix.SchedSetaffinity(0, &before)
	}
	return command.Start()
}

// RunOn runs a command on processors until it ends.
func RunOn(processors []int, command *exec.Cmd) error {
	if err := startOn(processors, command); err != nil {
		return err
	}
	return command.Wait()
}

// Stop ends the program and waits until it has.
func (c *Child) Stop() {
	c.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(endTime):
		c.command.Process.Kill()
		<-c.done
	}
}

// Kill ends the program as a power cut does.
func (c *Child) Kill() {
	c.command.Process.Kill()
	<-c.done
}

// Wait waits until the program ends by itself.
func (c *Child) Wait() { <-c.done }

// Listens waits until the program takes connections at an address.
func (c *Child) Listens(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-c.done:
			return fmt.Errorf("%s ended before it listened on %s:\n%s", c.Name, address, c.output)
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s: %w\n%s", c.Name, address, errors.Join(ctx.Err(), err), c.output)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Output returns the end of what the program wrote.
func (c *Child) Output() string { return c.output.String() }

// Processor returns the processor time that the program has used so far.
func (c *Child) Processor() (time.Duration, error) {
	// The clock of another process, as clock_getcpuclockid(3) makes it: the sum
	// over its threads, to the nanosecond, where /proc counts in ticks.
	const ofProcess = 2
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^c.command.Process.Pid<<3|ofProcess), &used); err != nil {
		return 0, fmt.Errorf("reading the processor time of %s: %w\n%s", c.Name, err, c.output)
	}
	return time.Duration(used.Nano()), nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

// maxTail is how much of a program's output is kept, in bytes.
const maxTail = 8 << 10

func (t *tail) Write(text []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.buffer.Write(text)
	t.buffer.Next(max(0, t.buffer.Len()-maxTail))
	return len(text), nil
}

func (t *tail) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.buffer.String()
}
