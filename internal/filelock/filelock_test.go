package filelock_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/paywordhq/payword/internal/filelock"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := filelock.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := filelock.Lock(path); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("a second lock: %v, %v; want ErrLocked", second, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third, err := filelock.Lock(path)
	if err != nil {
		t.Fatalf("after the first was given back: %v", err)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	if _, err := filelock.Lock(filepath.Join(path, "under a file")); err == nil || errors.Is(err, filelock.ErrLocked) {
		t.Errorf("a lock where none can be: %v", err)
	}
	if err := filelock.SyncDirectory(filepath.Dir(path)); err != nil {
		t.Error(err)
	}
}
