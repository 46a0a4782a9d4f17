// Package browsertest has Chromium look at administration pages, for tests.
package browsertest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// timeout bounds all that one script looks at; on two busy cores it takes a
// minute or two.
const timeout = 8 * time.Minute

// Run runs a script of Node that looks at pages with the parts of office.mjs. It
// is given what there is to look at, as JSON. The test fails for all that is
// wrong, and if fewer than least things were looked at.
func Run(t *testing.T, script string, least int, site any) {
	t.Helper()
	chromium := findProgram(t, "chromium", "On Debian: apt-get install chromium")
	node := findProgram(t, "node", "On Debian: apt-get install nodejs npm")
	install(t)
	given, err := json.Marshal(site)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
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
}

func findProgram(t *testing.T, name, advice string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("missing: %s. %s; make tools installs it there", name, advice)
	}
	return path
}

// install installs what the scripts need, as the lock file says, unless that is
// there.
func install(t *testing.T) {
	t.Helper()
	_, here, _, isKnown := runtime.Caller(0)
	if !isKnown {
		t.Fatal("nobody knows where this file is")
	}
	folder := filepath.Join(filepath.Dir(here), "..", "browser")
	lock, err := os.Stat(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	installed, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json"))
	if err == nil && !installed.ModTime().Before(lock.ModTime()) {
		return
	}
	npm := findProgram(t, "npm", "On Debian: apt-get install npm")
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	command := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	command.Dir = folder
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in internal/adminpage/browser: %v\n%s", err, output)
	}
}
