package caddymodule

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPreviousSecretEnds moves the clock past the last quote under a secret.
func TestPreviousSecretEnds(t *testing.T) {
	c, err := openChallengeSecrets(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	first := string(c.making())
	if err := c.rotate(time.Now().Unix(), false); err != nil {
		t.Fatal(err)
	}
	ends := c.known.Load().previousEnds
	for _, each := range []struct {
		now  int64
		want int
	}{{ends - previousSecretSeconds, 2}, {ends - 1, 2}, {ends, 1}} {
		if got := c.recognised(each.now); len(got) != each.want || string(got[len(got)-1]) == first != (each.want == 2) {
			t.Errorf("%d seconds before the end %d secrets are recognised; want %d", ends-each.now, len(got), each.want)
		}
	}
	if err := c.rotate(ends-1, false); err == nil {
		t.Error("a rotation ended quotes that hold")
	}
	if err := c.rotate(ends, false); err != nil {
		t.Errorf("rotating when the last quote has ended: %v", err)
	}
}

// TestSecretFilesAreReadWhenTheyChange wants a damaged file to change nothing.
func TestSecretFilesAreReadWhenTheyChange(t *testing.T) {
	directory := t.TempDir()
	c, err := openChallengeSecrets(directory)
	if err != nil {
		t.Fatal(err)
	}
	first := string(c.making())
	if changed, err := c.readIfChanged(); changed || err != nil {
		t.Errorf("nothing changed: got %v, %v", changed, err)
	}
	next := filepath.Join(directory, nextSecretName)
	if err := os.WriteFile(next, make([]byte, 31), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.readIfChanged(); err == nil {
		t.Error("a secret of 31 bytes was taken")
	}
	if got := c.recognised(0); len(got) != 1 || string(got[0]) != first {
		t.Errorf("%d secrets are recognised", len(got))
	}
	if err := os.WriteFile(next, make([]byte, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := c.readIfChanged(); !changed || err != nil || c.known.Load().next == nil {
		t.Errorf("a good one: got %v, %v", changed, err)
	}
	if string(c.making()) != first {
		t.Error("another secret makes challenges")
	}
}
