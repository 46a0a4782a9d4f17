// Command bench measures the gate, its stores, redemption and the wallet in the
// browser, each beside what it is compared with, and writes a report. README.md
// says how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/paywordhq/payword/bench/faults"
	"github.com/paywordhq/payword/bench/process"
	"github.com/paywordhq/payword/bench/report"
)

var (
	quick = plan{mode: "quick", rounds: 4, length: 400 * time.Millisecond, openRounds: 3, openLength: time.Second,
		goRounds: 3, metricRounds: 1, goLength: 100 * time.Millisecond, browserRounds: 3}
	full = plan{mode: "full", rounds: 40, length: 800 * time.Millisecond, openRounds: 20, openLength: 3 * time.Second,
		goRounds: 20, metricRounds: 5, goLength: 500 * time.Millisecond, browserRounds: 21}
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) == 3 && os.Args[1] == trivialCommand {
		return serveTrivial(os.Args[2])
	}
	isFull := flag.Bool("full", false, "measure for thirty minutes, not two")
	only := flag.String("only", "", "measure only what a regular expression names, such as http/async; -list lists the names")
	rounds := flag.Int("rounds", 0, "how often to alternate, in place of what the mode says")
	list := flag.Bool("list", false, "list the names of what is measured")
	out := flag.String("out", "out", "the folder that the report is written to")
	document := flag.String("document", "", "measure nothing, and write the tables and plots of the last report into a document, such as ../docs/performance.md")
	program := flag.String("server", "", "a server that is built already, in place of ./server")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("want options only, not %q; -help lists them", flag.Arg(0))
	}
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	p := quick
	if *isFull {
		p = full
	}
	if *rounds < 0 {
		return fmt.Errorf("-rounds %d: want 1 or more", *rounds)
	}
	if *rounds > 0 {
		p.rounds, p.openRounds, p.goRounds, p.metricRounds = *rounds, *rounds, *rounds, *rounds
	}
	names := slices.DeleteFunc(names(), func(name string) bool { return !chosen.MatchString(name) })
	if len(names) == 0 {
		return fmt.Errorf("nothing is called %q: -list lists the names", *only)
	}
	if *list {
		fmt.Println(strings.Join(names, "\n"))
		return nil
	}
	if *document != "" {
		return writeDocument(*out, *document)
	}
	processors, err := process.Pin()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	folder, err := os.MkdirTemp("", "payword-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	b := bench{plan: p, chosen: chosen, processors: processors, folder: folder, server: *program, root: "."}
	b.report = report.Report{Began: time.Now().UTC().Format(time.RFC3339), Mode: p.mode, Machine: process.Describe(len(processors.All))}
	if processors.Warning != "" {
		b.report.Warnings = append(b.report.Warnings, processors.Warning)
	}
	return errors.Join(b.all(ctx), b.write(*out))
}

// names are those of all that can be measured, as -only picks them.
func names() (names []string) {
	for _, d := range duels {
		names = append(names, d.id)
	}
	for _, one := range benchmarks {
		names = append(names, one.id)
	}
	return append(append(names, faults.IDs()...), browserID)
}

// bench is one run.
type bench struct {
	plan
	chosen     *regexp.Regexp
	processors process.Processors
	folder     string // for what lasts as long as the run
	server     string // the program; it is built if empty
	root       string // of this module
	report     report.Report
}

func (b *bench) say(format string, arguments ...any) {
	fmt.Printf(format+"\n", arguments...)
}

// all measures whatever is chosen. What was measured before something failed
// stays in the report.
func (b *bench) all(ctx context.Context) error {
	if warning := b.processors.Warning; warning != "" {
		b.say("%s", warning)
	}
	for _, part := range []func(context.Context) error{b.web, b.breakThings, b.micro, b.browser} {
		err := part(ctx)
		if ctx.Err() != nil {
			err = errors.New("interrupted; all that was started has ended")
		}
		if err != nil {
			b.report.Warnings = append(b.report.Warnings, fmt.Sprintf("not everything was measured: %.500s", err))
			return err
		}
	}
	return nil
}

// web measures what is compared by HTTP.
func (b *bench) web(ctx context.Context) error {
	var mine []duel
	names := map[string]bool{}
	for _, d := range duels {
		if b.chosen.MatchString(d.id) {
			mine = append(mine, d)
			names[d.contender], names[d.baseline] = true, true
		}
	}
	if len(mine) == 0 {
		return nil
	}
	if b.server == "" {
		b.server = filepath.Join(b.folder, "server")
		b.say("building Caddy with the gate (minutes, the first time)")
		if err := b.build(ctx, "build", "-o", b.server, "./server"); err != nil {
			return err
		}
	}
	b.versions(ctx)
	arena, err := openArena(ctx, b.processors, b.server, b.folder, names, b.payments(mine))
	if err != nil {
		return err
	}
	defer arena.close()
	if b.report.Ceiling, err = arena.ceiling(ctx, b.length); err != nil {
		return err
	}
	b.say("the generator can send %.0f requests a second", b.report.Ceiling)
	rows, err := arena.fight(ctx, mine, b.plan, b.say)
	servers, refused := arena.tables()
	b.report.Rows = append(b.report.Rows, append(rows, refused...)...)
	b.report.Servers = servers
	return err
}

// build runs the go command on all processors.
func (b *bench) build(ctx context.Context, arguments ...string) error {
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = b.root
	command.Stderr = os.Stderr
	if err := process.RunOn(b.processors.All, command); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(arguments, " "), err)
	}
	return nil
}

// versions notes which versions are measured.
func (b *bench) versions(ctx context.Context) {
	for _, one := range []struct{ program, path, argument string }{{"Caddy", b.server, "version"}, {"Redis", "redis-server", "--version"}} {
		text, err := exec.CommandContext(ctx, one.path, one.argument).Output()
		if err == nil {
			b.report.Versions = append(b.report.Versions, report.Version{Program: one.program, Version: shortVersion(string(text))})
		}
	}
}

var versionNumber = regexp.MustCompile(`\d+\.\d+[.\d]*`)

func shortVersion(text string) string { return versionNumber.FindString(text) }

// write writes the report in all its forms.
func (b *bench) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, write := range map[string]func(*os.File) error{
		"report.json": func(f *os.File) error { return b.report.WriteJSON(f) },
		"report.md":   func(f *os.File) error { return b.report.WriteMarkdown(f) },
	} {
		file, err := os.Create(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		if err := errors.Join(write(file), file.Close()); err != nil {
			return err
		}
	}
	if _, err := b.report.WritePlots(folder); err != nil {
		return err
	}
	b.say("")
	err := b.report.WriteMarkdown(os.Stdout)
	b.say("\nwritten to %s", folder)
	return err
}

// writeDocument puts the report in a folder into a document.
func writeDocument(folder, document string) error {
	file, err := os.Open(filepath.Join(folder, "report.json"))
	if err != nil {
		return fmt.Errorf("%w; make bench writes one", err)
	}
	defer file.Close()
	last, err := report.ReadJSON(file)
	if err != nil {
		return err
	}
	return last.Document(document)
}
