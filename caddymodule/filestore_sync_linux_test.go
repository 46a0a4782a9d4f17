package caddymodule

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFileSync syncs in both ways, whichever this machine would take.
func TestFileSync(t *testing.T) {
	for _, each := range []struct {
		name string
		make func() *fileSync
	}{
		{"by the kernel", func() *fileSync {
			s := &fileSync{isTried: true}
			if s.open(); s.context == 0 {
				t.Log("this system has no asynchronous fdatasync: the thread blocks here, too")
			}
			return s
		}},
		{"by the thread", func() *fileSync { return &fileSync{isTried: true} }},
	} {
		t.Run(each.name, func(t *testing.T) {
			file, err := os.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			s := each.make()
			asks := s.context != 0
			for range 100 {
				if _, err := file.WriteString("more"); err != nil {
					t.Fatal(err)
				}
				if err := s.sync(file); err != nil {
					t.Fatal(err)
				}
			}
			if asks != (s.context != 0) {
				t.Error("the kernel took a request no more")
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			if err := s.sync(file); !errors.Is(err, syscall.EBADF) {
				t.Errorf("syncing a closed file: got %v; want EBADF", err)
			}
			s.close()
			s.close()
		})
	}
	// What a sync cannot do is told the same in both ways.
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	s := &fileSync{isTried: true}
	s.open()
	defer s.close()
	for range 2 {
		if err := s.sync(write); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("syncing a pipe: got %v; want EINVAL", err)
		}
		s.close()
	}
}
