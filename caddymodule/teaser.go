package caddymodule

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

// The defaults of Teaser, and what its numbers may be.
const (
	defaultTeaserBytes   = 1 << 20
	maxTeaserBytes       = 16 << 20
	defaultTeaserTimeout = 10 * time.Second
	maxTeaserTimeout     = time.Minute
)

// teaserQuestions bounds the pages that one directive asks the upstream for at
// a time on account of people who have not paid. Who comes on top of that gets
// the ordinary page.
const teaserQuestions = 32

// Teaser shows people who have not paid the beginning of the page, with a box
// that asks for payment in place of what is paid for. It is made of the page
// itself, which the gate asks the upstream for, without the reader's headers.
type Teaser struct {
	// The status of a teaser: 402 (the default), or 200, which search engines
	// index. Who sends a payment or Accept-Payment gets 402 in any case.
	Status int `json:"status,omitempty"`

	// Which elements of the page are paid for: ".name" for a class, "#name" for
	// an id. Default: what stands between the comments <!-- payword:paid --> and
	// <!-- payword:end -->, or the end of the page.
	Selector string `json:"selector,omitempty"`

	// The most bytes of a page, which is held in memory while it is cut. A
	// larger one has no teaser. Default: 1 MiB; at most 16 MiB.
	MaxBytes int64 `json:"max_bytes,omitempty"`

	// How long the upstream may take. Default: 10s; at most 1m.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	asking chan struct{} // holds one token for each question that is open
	warn   sync.Once
}

//go:embed teaser.html
var teaserSource string

//go:embed teaser.css
var teaserStyle string

var teaserTemplate = template.Must(template.New("teaser").Parse(teaserSource))

func (t *Teaser) provision() {
	if t == nil {
		return
	}
	if t.Status == 0 {
		t.Status = http.StatusPaymentRequired
	}
	if t.MaxBytes == 0 {
		t.MaxBytes = defaultTeaserBytes
	}
	if t.Timeout == 0 {
		t.Timeout = caddy.Duration(defaultTeaserTimeout)
	}
	t.asking = make(chan struct{}, teaserQuestions)
}

var teaserSelector = regexp.MustCompile(`^[.#][A-Za-z][A-Za-z0-9_-]*$`)

func (t *Teaser) validate(page string) error {
	switch {
	case t == nil:
		return nil
	case page == pageError:
		return errors.New("payword: teaser: page error leaves the page to handle_errors; take one of the two")
	case t.Status != http.StatusOK && t.Status != http.StatusPaymentRequired:
		return errors.New("payword: teaser: status: want 402 or 200")
	case t.Selector != "" && !teaserSelector.MatchString(t.Selector):
		return fmt.Errorf("payword: teaser: selector %q: want a class or an id, such as .paid or #paid", t.Selector)
	case t.MaxBytes < 1 || t.MaxBytes > maxTeaserBytes:
		return errors.New("payword: teaser: max_bytes: want 1 to 16 MiB")
	case t.Timeout < 0 || t.Timeout > caddy.Duration(maxTeaserTimeout):
		return errors.New("payword: teaser: timeout: want at most 1m")
	}
	return nil
}

// cssSelector names the box, and what it stands for, to search engines.
func (t *Teaser) cssSelector() string {
	if t.Selector != "" {
		return t.Selector
	}
	return ".payword-paid"
}

// teaserBox is what the template of the box is given.
type teaserBox struct {
	Class, ID string // what the selector asks for
	Page      Page
}

// writeTeaser answers with the beginning of the page. It reports false where
// there is none to show, and then nothing was written.
func (x *exchange) writeTeaser(refusal payword.Refusal, content Page) (bool, error) {
	t := x.Teaser
	select {
	case t.asking <- struct{}{}:
		defer func() { <-t.asking }()
	default:
		return false, nil
	}
	asked, err := x.askForPage()
	if err != nil {
		x.logger.Debug("no teaser", zap.String("url", x.url), zap.Error(err))
		return false, nil
	}
	box, err := t.box(content)
	if err != nil {
		return false, err
	}
	cut, err := cutPage(asked.body.Bytes(), t.Selector, teaserInsert{box: box, style: teaserStyle, cssSelector: t.cssSelector()})
	if err != nil {
		t.warn.Do(func() {
			x.logger.Warn("a page has no teaser, so the ordinary page was shown; this is said once", zap.String("url", x.url), zap.Error(err))
		})
		return false, nil
	}
	header := x.writer.Header()
	for _, name := range teaserHeaders {
		if values := asked.header.Values(name); len(values) > 0 {
			header[http.CanonicalHeaderKey(name)] = values
		}
	}
	x.varyByLanguage(header)
	return true, x.writeBody(x.teaserStatus(refusal), cut)
}

// teaserStatus is 200 where the publisher wants search engines to index the
// page, but 402 for those who can do something about it.
func (x *exchange) teaserStatus(refusal payword.Refusal) int {
	if refusal.Reason == payword.PaymentRequired && x.request.Header.Get(payword.HeaderAcceptPayment) == "" {
		return x.Teaser.Status
	}
	return http.StatusPaymentRequired
}

// box writes the box that stands in place of what is paid for. It is ASCII, so
// that it reads the same in whatever charset the page is in.
func (t *Teaser) box(content Page) ([]byte, error) {
	box := teaserBox{Page: content}
	switch name := strings.TrimLeft(t.Selector, ".#"); {
	case strings.HasPrefix(t.Selector, "."):
		box.Class = name
	case strings.HasPrefix(t.Selector, "#"):
		box.ID = name
	}
	var body bytes.Buffer
	if err := teaserTemplate.Execute(&body, box); err != nil {
		return nil, err
	}
	written := asciiHTML(body.String())
	script := `<script type="application/payword+json">` + asciiJSON(string(content.Challenge)) + "</script>\n"
	return []byte(written + script), nil
}

// readTeaser reads the option teaser and its block.
func readTeaser(h *Handler, d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("want teaser, with its options in a block")
	}
	h.Teaser = new(Teaser)
	return readBlock(d, h.Teaser, teaserOptions)
}

// teaserOptions are the options of the block that teaser opens.
var teaserOptions = map[string]option[*Teaser]{
	"status": one("402|200", func(t *Teaser, d *caddyfile.Dispenser, argument string) error {
		status, err := strconv.Atoi(argument)
		if err != nil || status == 0 {
			return d.Errf("status %q: want 402 or 200", argument)
		}
		t.Status = status
		return nil
	}),
	"selector": word(".<class>|#<id>", func(t *Teaser) *string { return &t.Selector }),
	"max_bytes": one("<size>", func(t *Teaser, d *caddyfile.Dispenser, argument string) error {
		size, err := humanize.ParseBytes(argument)
		if err != nil || size == 0 || size > maxTeaserBytes {
			return d.Errf("max_bytes %q: want a size of at most 16MiB, such as 1MiB", argument)
		}
		t.MaxBytes = int64(size)
		return nil
	}),
	"timeout": duration(func(t *Teaser, value caddy.Duration) { t.Timeout = value }),
}
