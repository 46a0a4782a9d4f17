// Package browsertest has Chromium look at pages, for tests.
package browsertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/filelock"
)

const (
	// timeout bounds all that one script looks at; on two busy cores it takes a
	// minute or two.
	timeout = 8 * time.Minute

	// lockInterval is how often a test looks whether another has installed what
	// both need; that takes some seconds.
	lockInterval = 100 * time.Millisecond
)

// Run runs a script of Node that looks at pages with the parts of
// browser/look.mjs. It is given what there is to look at, as JSON. The test fails
// for all that is wrong, and if fewer than least things were looked at.
func Run(t *testing.T, script string, least int, site any) {
	t.Helper()
	chromium := findProgram(t, "chromium", "On Debian: apt-get install chromium")
	node := findProgram(t, "node", "On Debian: apt-get install nodejs npm")
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	install(ctx, t)
	given, err := json.Marshal(site)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(ctx, node, script, string(given), chromium)
	var output, complaints bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaints
	if err := command.Run(); err != nil {
		t.Fatalf("the browser script: %v\n%s", err, complaints.String())
	}
	var report struct{ Checked, Wrong []string }
	if err := json.Unmarshal(output.Bytes(), &report); err != nil {
		t.Fatalf("the browser script wrote %q: %v", output.String(), err)
	}
	for _, wrong := range report.Wrong {
		t.Error(wrong)
	}
	if len(report.Checked) < least {
		t.Errorf("the browser looked at %d things, want at least %d", len(report.Checked), least)
	}
	t.Logf("the browser looked at %d things", len(report.Checked))
}

func findProgram(t *testing.T, name, advice string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("missing: %s. %s; make tools installs it there", name, advice)
	}
	return path
}

// install installs what the scripts need, as the lock file of npm says, unless
// that is there. The tests of several packages come here at the same time.
func install(ctx context.Context, t *testing.T) {
	t.Helper()
	_, here, _, isKnown := runtime.Caller(0)
	if !isKnown {
		t.Fatal("nobody knows where this file is")
	}
	folder := filepath.Join(filepath.Dir(here), "browser")
	lock, err := waitForLock(ctx, filepath.Join(folder, ".install.lock"))
	if err != nil {
		t.Fatalf("the lock of internal/browsertest/browser: %v", err)
	}
	defer lock.Close()
	wanted, err := os.Stat(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	installed, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json"))
	if err == nil && !installed.ModTime().Before(wanted.ModTime()) {
		return
	}
	npm := findProgram(t, "npm", "On Debian: apt-get install npm")
	command := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	command.Dir = folder
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in internal/browsertest/browser: %v\n%s", err, output)
	}
}

// waitForLock takes the lock of a file once no other process holds it.
func waitForLock(ctx context.Context, path string) (io.Closer, error) {
	ticker := time.NewTicker(lockInterval)
	defer ticker.Stop()
	for {
		lock, err := filelock.Lock(path)
		if !errors.Is(err, filelock.ErrLocked) {
			return lock, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
