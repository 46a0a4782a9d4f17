package caddymodule

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
)

const (
	// maxLogLineBytes bounds a line of a log. Caddy's hold all headers of a
	// request, which net/http bounds at 1 MB.
	maxLogLineBytes = 2 << 20

	// maxTop bounds how many paths are shown.
	maxTop = 1000

	// progressLines is how many lines go by between two signs of life.
	progressLines = 100_000
)

const priceLogUsage = `Says what an access log would have earned.

	payword price-log [--config <file>] [--site <host>] [--top <number>] [--json] <log>...

Every request is priced by the rules of the Caddyfile, as the gate would: Caddy's JSON
access log, and the common and combined log formats. A log may end with .gz; "-" is
standard input.

  --config  the Caddyfile, or Caddy's JSON (default Caddyfile)
  --site    the host of a log whose format names none (default the vendor's, if
            there is one alone)
  --top     how many paths are shown, at most 1000 (default 10)
  --json    write what programs read, with amounts in millionths

Exit status: 0 done, 1 failed, 2 wrong usage.
`

// priceLog is one run of the command.
type priceLog struct {
	config, site string
	top          int
	json         bool
	files        []string
	stdin        io.Reader
	stderr       io.Writer
	terminal     bool // stderr is one
	report       *logReport
}

// PriceLogMain runs the command price-log and returns its exit status: 0, 1 if
// it failed, 2 if its arguments are wrong.
func PriceLogMain(ctx context.Context, arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &priceLog{stdin: stdin, stderr: stderr, report: newLogReport()}
	if file, isFile := stderr.(*os.File); isFile {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	err := p.parse(arguments)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, priceLogUsage)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "payword price-log: %v\n", err)
		return 2
	}
	if err := p.run(ctx); err != nil {
		fmt.Fprintf(stderr, "payword price-log: %v\n", err)
		return 1
	}
	write := p.report.writeText
	if p.json {
		write = p.report.writeJSON
	}
	if err := write(stdout, p.top); err != nil {
		fmt.Fprintf(stderr, "payword price-log: writing the report: %v\n", err)
		return 1
	}
	return 0
}

func (p *priceLog) parse(arguments []string) error {
	flags := flag.NewFlagSet("payword price-log", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&p.config, "config", "Caddyfile", "")
	flags.StringVar(&p.site, "site", "", "")
	flags.IntVar(&p.top, "top", 10, "")
	flags.BoolVar(&p.json, "json", false, "")
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w; there are --config, --site, --top and --json", err)
	}
	p.files = flags.Args()
	switch {
	case len(p.files) == 0:
		return errors.New("name the access log: payword price-log --config Caddyfile access.log; - is standard input")
	case p.top < 0 || p.top > maxTop:
		return fmt.Errorf("--top %d: want 0 to %d", p.top, maxTop)
	case strings.ContainsAny(p.site, "/ "):
		return fmt.Errorf("--site %q: want a host, such as news.example", p.site)
	}
	for k, file := range p.files {
		if k > 0 && strings.HasPrefix(file, "--") {
			return fmt.Errorf("%s stands behind a log: flags come first", file)
		}
	}
	return nil
}

func (p *priceLog) run(ctx context.Context) error {
	site, err := openLogSite(p.config)
	if err != nil {
		return err
	}
	if p.site == "" && len(site.vendors) == 1 {
		vendor, err := url.Parse(site.vendors[0])
		if err != nil {
			return err
		}
		p.site = vendor.Host
	}
	for _, file := range p.files {
		if err := p.readFile(ctx, site, file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if p.terminal {
		fmt.Fprint(p.stderr, "\r\x1b[K")
	}
	return nil
}

func (p *priceLog) readFile(ctx context.Context, site *logSite, name string) error {
	source := p.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return errors.Unwrap(err)
		}
		defer file.Close()
		source = file
	}
	if strings.HasSuffix(name, ".gz") {
		unpacked, err := gzip.NewReader(source)
		if err != nil {
			return err
		}
		source = unpacked
	}
	return p.read(ctx, site, source)
}

// read prices a log line by line. What it remembers does not grow with the log.
func (p *priceLog) read(ctx context.Context, site *logSite, source io.Reader) error {
	reader := bufio.NewReaderSize(source, 64<<10)
	for number := int64(1); ; number++ {
		text, tooLong, err := readLogLine(reader)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err != nil && text == "" && !tooLong {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.priceLine(site, number, text, tooLong)
		if p.terminal && number%progressLines == 0 {
			fmt.Fprintf(p.stderr, "\r%d lines", number)
		}
		if err != nil {
			return nil
		}
	}
}

func (p *priceLog) priceLine(site *logSite, number int64, text string, tooLong bool) {
	if tooLong {
		p.report.addBad(number, fmt.Errorf("longer than %d bytes", maxLogLineBytes))
		return
	}
	if text = strings.TrimSpace(text); text == "" {
		return
	}
	line, err := parseLogLine(text)
	if err == nil && line.host == "" {
		if line.host = p.site; line.host == "" {
			err = fmt.Errorf("it names no host, and there are several sites: say which with --site, one of %s", strings.Join(site.vendors, ", "))
		}
	}
	if err != nil {
		p.report.addBad(number, err)
		return
	}
	price := site.price(&line)
	p.report.add(&line, &price)
}

// readLogLine reads up to the end of a line. What is beyond the limit is passed
// over.
func readLogLine(reader *bufio.Reader) (line string, tooLong bool, err error) {
	var b strings.Builder
	for {
		piece, err := reader.ReadSlice('\n')
		if b.Len()+len(piece) > maxLogLineBytes {
			tooLong = true
			b.Reset()
		}
		if !tooLong {
			b.Write(piece)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return b.String(), tooLong, err
		}
	}
}
