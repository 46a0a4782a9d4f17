package pcsctest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	runFolder    = "/run"
	socketFile   = runFolder + "/pcscd/pcscd.comm" // compiled into pcscd
	readerFolder = runFolder + "/readers"
	logFile      = runFolder + "/pcscd.log"

	// pairs is how many tests have readers at the same time. pcscd takes 16
	// readers.
	pairs = 8
	// firstPort is that of the first reader. They are in a namespace of their own,
	// so that any will do.
	firstPort = 40000

	// startTimeout is far more than the 50 ms that pcscd takes to start, or to end.
	startTimeout  = 20 * time.Second
	startInterval = 5 * time.Millisecond
)

// driverFiles is where distributions put the driver of the virtual reader.
var driverFiles = []string{
	"/usr/lib/pcsc/drivers/serial/libifdvpcd.so",
	"/usr/lib64/pcsc/drivers/serial/libifdvpcd.so",
	"/usr/local/lib/pcsc/drivers/serial/libifdvpcd.so",
}

// daemon is pcscd.
type daemon struct {
	process *exec.Cmd
	log     *os.File
	ended   chan error
}

// service is that of this process.
var service daemon

// Stop ends pcscd, as its restart by an update does. Whoever calls it must not
// run in parallel to other tests, and must have Start called before it ends.
func Stop(t testing.TB) {
	t.Helper()
	if err := service.stop(); err != nil {
		t.Fatal(err)
	}
}

// Start starts pcscd again. The cards that are in readers are in them still.
func Start(t testing.TB) {
	t.Helper()
	if err := service.start(); err != nil {
		t.Fatal(err)
	}
}

// start returns when clients can connect.
func (d *daemon) start() error {
	program, err := pcscd()
	if err != nil {
		return err
	}
	if err := configure(); err != nil {
		return err
	}
	arguments := []string{"--foreground", "--info", "-c", readerFolder}
	// Since version 2.0 it asks polkit who may use it, which does not run here; before
	// it does not know the flag.
	if help, _ := exec.Command(program, "--help").CombinedOutput(); bytes.Contains(help, []byte("disable-polkit")) {
		arguments = append(arguments, "--disable-polkit")
	}
	if d.log, err = os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	d.process = exec.Command(program, arguments...)
	d.process.Stdout, d.process.Stderr = d.log, d.log
	d.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.process.Start(); err != nil {
		return err
	}
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.process.Wait() }()
	return d.awaitStart()
}

func (d *daemon) awaitStart() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	ticker := time.NewTicker(startInterval)
	defer ticker.Stop()
	for {
		if _, err := os.Stat(socketFile); err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case err := <-d.ended:
			text, _ := os.ReadFile(logFile)
			return fmt.Errorf("pcscd ended at once (%v):\n%s", err, text)
		case <-ctx.Done():
			return fmt.Errorf("pcscd made no socket within %s", startTimeout)
		}
	}
}

func (d *daemon) stop() error {
	if err := d.process.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping pcscd: %w", err)
	}
	select {
	case err := <-d.ended:
		var failed *exec.ExitError
		if err != nil && !errors.As(err, &failed) { // how it ended does not matter
			return fmt.Errorf("stopping pcscd: %w", err)
		}
	case <-time.After(startTimeout):
		_ = d.process.Process.Kill()
		return fmt.Errorf("pcscd did not end within %s", startTimeout)
	}
	if err := os.Remove(socketFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return d.log.Close()
}

// pcscd returns where the program is. Debian has it where the PATH of ordinary
// users does not go.
func pcscd() (string, error) {
	for _, name := range []string{"pcscd", "/usr/sbin/pcscd", "/usr/local/sbin/pcscd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("missing: pcscd, the service for card readers. On Debian: apt-get install pcscd; make tools installs it there")
}

func driver() (string, error) {
	for _, path := range driverFiles {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("missing: libifdvpcd.so, the virtual reader of vsmartcard. On Debian: apt-get install vsmartcard-vpcd; " +
		"make tools installs it there")
}

// configure tells pcscd which readers there are, two of each copy of the driver:
// a copy that is loaded twice would lock itself up.
func configure() error {
	source, err := driver()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	var configuration strings.Builder
	for pair := range pairs {
		path := filepath.Join(runFolder, fmt.Sprintf("vpcd%d.so", pair))
		if err := os.WriteFile(path, text, 0o755); err != nil {
			return err
		}
		port := firstPort + 2*pair
		fmt.Fprintf(&configuration, "FRIENDLYNAME %q\nDEVICENAME /dev/null:%#X\nLIBPATH %s\nCHANNELID %#X\n\n",
			fmt.Sprintf("%s %d", friendlyName, pair), port, path, port)
	}
	for _, folder := range []string{filepath.Dir(socketFile), readerFolder} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(readerFolder, "vpcd"), []byte(configuration.String()), 0o600)
}
