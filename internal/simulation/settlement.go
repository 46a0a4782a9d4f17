package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/paywordhq/payword/clearing"
)

// The first argument of processes of their own: the clearing command, whose
// memory can be told so, and what fills the database. Linux counts the memory
// of whoever starts a process as the process's own, so that filling is another.
const (
	settleWord = "clearing"
	fillWord   = "fill"
)

// settle has the database filled with redeemed commitments and settles them.
func settle(ctx context.Context, s settings, stdout io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	filling := exec.CommandContext(ctx, self, fillWord, "-database", s.database, "-users", strconv.Itoa(s.users),
		"-vendors", strconv.Itoa(s.vendors), "-settle", strconv.Itoa(s.settled), "-seed", strconv.FormatUint(s.seed, 10))
	filling.Stdout, filling.Stderr = stdout, os.Stderr
	if err := filling.Run(); err != nil {
		return fmt.Errorf("filling the database: %w", err)
	}
	folder, err := os.MkdirTemp("", "payword-settlement-*")
	if err != nil {
		return err
	}
	return errors.Join(settleIn(ctx, s, folder, stdout), os.RemoveAll(folder))
}

func settleIn(ctx context.Context, s settings, folder string, stdout io.Writer) error {
	before, err := size(ctx, s.database)
	if err != nil {
		return err
	}
	config := filepath.Join(folder, "clearing.json")
	if err := os.WriteFile(config, []byte(policy), 0o600); err != nil {
		return err
	}
	files := filepath.Join(folder, "files")
	if err := os.Mkdir(files, 0o700); err != nil {
		return err
	}
	key := filepath.Join(folder, "clearing.pem")
	if err := clear(ctx, []string{"key", "new", "--key", key}, folder, stdout); err != nil {
		return err
	}
	if err := clear(ctx, []string{"plan", "--db", s.database, "--config", config, "--json"}, folder, stdout); err != nil {
		return err
	}
	answer, err := os.ReadFile(filepath.Join(folder, "plan.answer"))
	if err != nil {
		return err
	}
	var plan struct{ PlanHash string }
	if err := json.Unmarshal(answer, &plan); err != nil {
		return err
	}
	err = clear(ctx, []string{"run", "--db", s.database, "--out", files, "--plan", plan.PlanHash, "--key", key}, folder, stdout)
	if err != nil {
		return err
	}
	if err := clear(ctx, []string{"audit", "--db", s.database}, folder, stdout); err != nil {
		return err
	}
	after, err := size(ctx, s.database)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "the database grew from %s by %s\n", humanize.IBytes(uint64(before)), humanize.IBytes(uint64(max(0, after-before))))
	return tellFiles(files, stdout)
}

// clear runs one command of clearing and tells what it took.
func clear(ctx context.Context, arguments []string, folder string, stdout io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	answer, err := os.Create(filepath.Join(folder, arguments[0]+".answer"))
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, self, append([]string{settleWord}, arguments...)...)
	command.Stdout, command.Stderr = answer, os.Stderr
	began := time.Now()
	err = errors.Join(command.Run(), answer.Close())
	if err != nil {
		return fmt.Errorf("clearing %s: %w", strings.Join(arguments, " "), err)
	}
	usage, isUsage := command.ProcessState.SysUsage().(*syscall.Rusage)
	if !isUsage {
		return errors.New("this system does not tell how much memory a process took")
	}
	_, err = fmt.Fprintf(stdout, "clearing %s: %s, processor %s, memory at most %s\n", arguments[0], time.Since(began).Round(10*time.Millisecond),
		(command.ProcessState.UserTime() + command.ProcessState.SystemTime()).Round(10*time.Millisecond), humanize.IBytes(uint64(usage.Maxrss)<<10))
	return err
}

func tellFiles(folder string, stdout io.Writer) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "  %s: %s\n", entry.Name(), humanize.IBytes(uint64(info.Size())))
	}
	return nil
}

// policy is that of a broker which pays by SEPA.
const policy = `{"name": "Example Broker", "iban": "DE89370400440532013000", "bic": "COBADEFFXXX"}
`

// fillSettled is the program as what fills the database.
func fillSettled(ctx context.Context, arguments []string, stdout io.Writer) error {
	s, err := parse(arguments)
	if err == nil {
		err = fill(ctx, s, stdout)
	}
	if err == nil {
		err = fillRedeemed(ctx, s, stdout)
	}
	return err
}

// clearingMain is the program as the clearing command.
func clearingMain(ctx context.Context, arguments []string) int {
	return clearing.Main(ctx, arguments, os.Stdout, os.Stderr)
}
