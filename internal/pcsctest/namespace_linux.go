package pcsctest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// variable says that this process has namespaces of its own.
const variable = "PAYWORD_PCSC_NAMESPACE"

// Main runs the tests of a package with a pcscd of their own, and returns the
// exit code.
func Main(m *testing.M) int {
	flag.Parse()
	if fuzz := flag.Lookup("test.fuzz"); fuzz != nil && fuzz.Value.String() != "" {
		return m.Run() // what is fuzzed needs no readers, and its workers have files of their own open
	}
	if os.Getenv(variable) == "" {
		return again()
	}
	if err := enter(); err != nil {
		fmt.Fprintln(os.Stderr, "pcsctest:", err)
		return 1
	}
	if err := service.start(); err != nil {
		fmt.Fprintln(os.Stderr, "pcsctest:", err)
		return 1
	}
	// Tests wait for readers, and do not compute.
	if err := flag.Set("test.parallel", strconv.Itoa(pairs)); err != nil {
		fmt.Fprintln(os.Stderr, "pcsctest:", err)
		return 1
	}
	code := m.Run()
	if err := service.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pcsctest:", err)
		return 1
	}
	return code
}

// again runs this program with the same arguments in new namespaces. A user who
// is not root becomes root of a user namespace, where mounting is allowed.
func again() int {
	program, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pcsctest:", err)
		return 1
	}
	command := exec.Command(program, os.Args[1:]...)
	command.Env = append(os.Environ(), variable+"=1")
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL, // it ends with this process, whatever ends that
	}
	if os.Getuid() != 0 {
		command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	// What go test sends to a program that takes too long has it print where its
	// goroutines are.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGTERM)
	if err := command.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "pcsctest: making namespaces for mounts and network: %v. Run the tests as root, or let ordinary users make "+
			"user namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0).\n", err)
		return 1
	}
	go func() {
		for s := range signals {
			_ = command.Process.Signal(s)
		}
	}()
	err = command.Wait()
	var failed *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed) && failed.ExitCode() > 0:
		return failed.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "pcsctest:", err)
	return 1
}

// enter makes the new namespaces fit to live in: nothing that is mounted here is
// seen outside, /run is empty, and there is a loopback interface.
func enter() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to this namespace: %w", err)
	}
	if err := unix.Mount("none", runFolder, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting %s: %w", runFolder, err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("a socket: %w", err)
	}
	defer unix.Close(socket)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback); err != nil {
		return fmt.Errorf("the loopback interface: %w", err)
	}
	return nil
}
