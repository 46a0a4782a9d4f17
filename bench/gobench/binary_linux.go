package gobench

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
	"time"

	"github.com/paywordhq/payword/bench/process"
)

// runTime is how long one invocation may take: benchmarks may prepare a million
// commitments.
const runTime = 5 * time.Minute

// ErrMissing says that a benchmark does not exist.
var ErrMissing = errors.New("there is no such benchmark")

// Binary is a package's compiled tests.
type Binary struct {
	path   string
	folder string // of the package, where tests run
	names  map[string]bool
}

// Compile compiles the tests of the package in a folder, on processors, into
// another folder.
func Compile(ctx context.Context, processors []int, folder, into string) (*Binary, error) {
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	b := &Binary{folder: absolute, path: filepath.Join(into, strings.ReplaceAll(strings.Trim(absolute, "/"), "/", "-")+".test"), names: map[string]bool{}}
	if _, err := b.output(ctx, processors, "go", "test", "-c", "-o", b.path, "."); err != nil {
		return nil, fmt.Errorf("compiling the benchmarks of %s: %w", folder, err)
	}
	listed, err := b.output(ctx, processors, b.path, "-test.list", "^Benchmark")
	if err != nil {
		return nil, fmt.Errorf("listing the benchmarks of %s: %w", folder, err)
	}
	for name := range strings.FieldsSeq(listed) {
		b.names[name] = true
	}
	return b, nil
}

// Run runs one benchmark, such as BenchmarkA/64, on processors. It returns
// ErrMissing if there is none.
func (b *Binary) Run(ctx context.Context, processors []int, name string, length time.Duration) (Result, error) {
	top, _, _ := strings.Cut(name, "/")
	if !b.names[top] {
		return nil, ErrMissing
	}
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	output, err := b.output(ctx, processors, b.path, "-test.run", "^$", "-test.bench", pattern(name), "-test.benchmem",
		"-test.benchtime", length.String(), "-test.cpu", fmt.Sprint(len(processors)), "-test.timeout", runTime.String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	result, err := Parse(output)
	if err == nil && result == nil {
		err = ErrMissing
	}
	return result, err
}

// output runs a program where tests run. Ctrl-C reaches only this program, which
// then ends it.
func (b *Binary) output(ctx context.Context, processors []int, program string, arguments ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, program, arguments...)
	command.Dir, command.Env = b.folder, append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", len(processors)))
	command.Stdout, command.Stderr = &stdout, &stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	command.WaitDelay = time.Second
	if err := process.RunOn(processors, command); err != nil {
		return "", fmt.Errorf("%w\n%.2000s%.2000s", err, stderr.String(), stdout.String())
	}
	return stdout.String(), nil
}
