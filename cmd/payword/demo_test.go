package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

// programVariable makes this test binary the program itself, so that the
// demo's servers, which are this executable again, run for real.
const programVariable = "PAYWORD_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
		return
	}
	os.Setenv(programVariable, "1")
	// Under the race detector a process waits for a second when it ends.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// TestDemo runs the demo as a user does and wants every expectation in it held.
func TestDemo(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := demoMain(context.Background(), nil, nil, &stdout, &stderr); status != 0 {
		t.Fatalf("the demo ended with status %d: %s\n%s", status, stderr.String(), stdout.String())
	}
	shown := stdout.String()
	for _, want := range []string{
		"already-used", "forged-payword", "insufficient-credit", "certificate-expired", "wrong-vendor",
		"What happened", "one paid request", "Sum", "its answer is matched", "All of it agrees",
		"a till without a network takes the card", "it is known now: the card paid", "that money pays for a page", "expectations held",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("the demo does not show %q", want)
		}
	}
	if strings.Contains(shown, "\r") {
		t.Error("progress is shown although nobody watches")
	}
}

func TestDemoFailsIfAnExpectationDoes(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	r.expect(true, "this holds")
	if err := r.verdict(); err != nil {
		t.Errorf("with all expectations held: %v", err)
	}
	r.expect(false, "that holds")
	err := r.verdict()
	if err == nil || !strings.Contains(err.Error(), "that holds") || !strings.Contains(out.String(), "WRONG that holds") {
		t.Errorf("with one that failed: %v, shown as %q", err, out.String())
	}
}

func TestDemoUsage(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(full+"/something", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		arguments []string
		status    int
		want      string
	}{
		{[]string{"--help"}, 0, "Usage: payword demo"},
		{[]string{"--sreve"}, 2, "--help"},
		{[]string{"now"}, 2, `no argument "now"`},
		{[]string{"--keep", full}, 1, "is not empty"},
	}
	for _, test := range tests {
		var stdout, stderr bytes.Buffer
		status := demoMain(context.Background(), test.arguments, nil, &stdout, &stderr)
		if said := stdout.String() + stderr.String(); status != test.status || !strings.Contains(said, test.want) {
			t.Errorf("demo %v: status %d, %q; want %d and %q", test.arguments, status, said, test.status, test.want)
		}
	}
}
