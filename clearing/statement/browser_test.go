package statement_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/paywordhq/payword"
)

const (
	// leastBrowserChecks is the least that the browser must have looked at.
	leastBrowserChecks = 130

	// browserTimeout bounds all of it; on two busy cores it takes some seconds.
	browserTimeout = 4 * time.Minute
)

// TestPageInABrowser has Chromium check the vectors with the page's own code, and
// use the page as people do.
func TestPageInABrowser(t *testing.T) {
	chromium := findProgram(t, "chromium", "On Debian: apt-get install chromium")
	node := findProgram(t, "node", "On Debian: apt-get install nodejs npm")
	installBrowserScript(t)
	folder, err := filepath.Abs(vectorDirectory)
	if err != nil {
		t.Fatal(err)
	}
	page, err := filepath.Abs("verify.html")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	defer cancel()
	walked := payword.Payword{}.Walk(1 << 16)
	command := exec.CommandContext(ctx, node, "verify.mjs", page, folder, chromium)
	command.Dir, command.Env = "browser", append(os.Environ(), "PAYWORD_WALK="+encode(walked[:]))
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
	if len(report.Checked) < leastBrowserChecks {
		t.Errorf("the browser looked at %d things, want at least %d", len(report.Checked), leastBrowserChecks)
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

// installBrowserScript installs what the script needs, as its lock file says,
// unless that is there.
func installBrowserScript(t *testing.T) {
	t.Helper()
	lock, err := os.Stat(filepath.Join("browser", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	installed, err := os.Stat(filepath.Join("browser", "node_modules", ".package-lock.json"))
	if err == nil && !installed.ModTime().Before(lock.ModTime()) {
		return
	}
	npm := findProgram(t, "npm", "On Debian: apt-get install npm")
	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	command.Dir = "browser"
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in clearing/statement/browser: %v\n%s", err, output)
	}
}
