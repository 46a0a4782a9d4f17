//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	pageBlock = regexp.MustCompile("(?s)```(console|json)\n(.*?)```")
	pagePort  = regexp.MustCompile(`127\.0\.0\.1:(840[0-9])`)
)

// quickStart is what docs/samgateway.md has people type and write.
type quickStart struct {
	script   strings.Builder
	settings string
	prints   []string
}

// readQuickStart reads the page. A line that begins with "$ " is typed, one that
// is indented goes on from the one before, and any other is printed.
func readQuickStart(t *testing.T) *quickStart {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "samgateway.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Quick start\n")
	section, _, _ = strings.Cut(section, "\n## ")
	q := &quickStart{}
	for _, block := range pageBlock.FindAllStringSubmatch(section, -1) {
		if block[1] == "json" {
			q.settings = block[2]
			continue
		}
		for _, line := range strings.Split(strings.TrimRight(block[2], "\n"), "\n") {
			typed, isTyped := strings.CutPrefix(line, "$ ")
			switch {
			case isTyped || strings.HasPrefix(line, "    "):
				fmt.Fprintln(&q.script, typed)
			default:
				q.prints = append(q.prints, line)
			}
		}
	}
	if q.settings == "" || len(q.prints) < 5 || q.script.Len() < 1000 {
		t.Fatalf("docs/samgateway.md has a quick start of %d bytes, %d printed lines and settings %q", q.script.Len(), len(q.prints), q.settings)
	}
	return q
}

// elsewhere moves the servers to ports that are free here, and has whoever types
// wait until a server listens.
func (q *quickStart) elsewhere(t *testing.T) (script, settings string) {
	t.Helper()
	// These two are where the page does not say a port.
	script = strings.NewReplacer("payword broker serve ", "payword broker serve --listen 127.0.0.1:8402 ",
		"payword clearing serve ", "payword clearing serve --listen 127.0.0.1:8404 ").Replace(q.script.String())
	ports := make(map[string]string)
	move := func(text string) string {
		return pagePort.ReplaceAllStringFunc(text, func(address string) string {
			if ports[address] == "" {
				ports[address] = freeAddress(t)
			}
			return ports[address]
		})
	}
	script, settings = move(script), move(q.settings)
	for _, address := range []string{"127.0.0.1:8402", "127.0.0.1:8405"} {
		_, port, _ := strings.Cut(ports[address], ":")
		script = strings.Replace(script, " &\n", fmt.Sprintf(" ;& until (: < /dev/tcp/127.0.0.1/%s) 2>/dev/null; do :; done\n", port), 1)
	}
	return strings.ReplaceAll(script, " ;& ", " & "), settings
}

// programs makes a folder with the programs that the page uses: this one, as each
// of them.
func programs(t *testing.T) (folder string) {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder = t.TempDir()
	for _, name := range []string{"payword", "samgateway"} {
		text := fmt.Sprintf("#!/bin/sh\n%s=%s exec '%s' \"$@\"\n", programVariable, name, executable)
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// The quick start of docs/samgateway.md does what the page says when it is typed.
func TestQuickStartOfTheGateway(t *testing.T) {
	q := readQuickStart(t)
	script, settings := q.elsewhere(t)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "kiosk.json"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var printed bytes.Buffer
	shell := exec.CommandContext(ctx, "bash", "-c", "set -eu; umask 077\n"+script)
	shell.Dir, shell.Env = folder, append(os.Environ(), "PATH="+programs(t)+":"+os.Getenv("PATH"))
	output, err := os.Create(filepath.Join(folder, "printed"))
	if err != nil {
		t.Fatal(err)
	}
	// A file, and not a pipe, which the servers would keep open.
	shell.Stdout, shell.Stderr = output, output
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	failure := shell.Run()
	if shell.Process != nil {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) // the servers that the shell began
	}
	if _, err := output.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := printed.ReadFrom(output); err != nil {
		t.Fatal(err)
	}
	if failure != nil {
		t.Fatalf("%v; it printed\n%s", failure, printed.String())
	}
	rest := printed.String()
	for _, line := range q.prints {
		for _, part := range strings.Split(line, "…") {
			_, after, found := strings.Cut(rest, part)
			if !found {
				t.Fatalf("docs/samgateway.md says that %q is printed; it is not, after what comes before, in\n%s", part, printed.String())
			}
			rest = after
		}
	}
}
