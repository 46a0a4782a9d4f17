package caddymodule

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/paywordhq/payword/money"
)

// Meter makes the price one of a unit, of which an answer takes as many as it
// turns out to: what it costs is known when it ends, or as it flows.
type Meter struct {
	// What the price is for. "byte" and "kilobyte" (1000 bytes, a started one
	// counts whole), "event" (of an event stream), "message" (of a WebSocket)
	// and "second" are counted by the gate, while the answer flows. "request" and
	// every other word, such as "token" or "kilotoken" (a started thousand), are
	// for prices that From tells. Default: request.
	Unit string `json:"unit,omitempty"`

	// What tells how much an answer cost; see MeterSource. Required for units
	// that the gate does not count by itself. Default: none. At most 8.
	From []MeterSource `json:"from,omitempty"`

	// The most that is charged before an answer begins, in the currency of the
	// price: "0.05". What it did not cost is given back. Required with From; an
	// answer never costs more. Default without From: the price of a slice.
	Ceiling string `json:"ceiling,omitempty"`

	// What an answer costs whose cost cannot be read: "ceiling" or "nothing".
	// Default: ceiling.
	Unreadable string `json:"unreadable,omitempty"`

	// Leave the headers that tell the cost in the answer. Default: they are
	// taken out.
	KeepHeader bool `json:"keep_header,omitempty"`

	// How many units are charged at a time while an answer flows. Default: 65536
	// bytes, 64 kilobytes, or one event, message or second.
	Slice int64 `json:"slice,omitempty"`

	// How much may be delivered ahead of payment, in the currency of the price,
	// to each commitment with all its streams together; and at most half of what
	// was spent on it before. What is never paid is lost. Default: "0".
	Window string `json:"window,omitempty"`

	// How long a stream waits for payment before it is closed, 1s to 15m.
	// Default: 60s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Count what the client sends over a WebSocket too. Default: only what is
	// sent to it.
	BothDirections bool `json:"both_directions,omitempty"`

	ceiling money.Amount
	window  money.Amount
}

// MeterSource is where the cost of an answer stands. Exactly one of Header and
// Usage is set. Where there are several sources their units are added up.
type MeterSource struct {
	// A header of the answer. With the unit "request" it holds an amount in the
	// currency of the price, such as 0.0123; with other units, how many. Either
	// this or Usage is required.
	Header string `json:"header,omitempty"`

	// The path of a number of units in the JSON of the answer, such as
	// usage.total_tokens, or several paths with | between them. In a JSON body it
	// is looked for when the body has ended, and in an event stream in the data
	// of every event, of which the last that has it counts. Either this or Header
	// is required.
	Usage string `json:"usage,omitempty"`

	// How many units one of these is, for sources of different price: 4 where
	// an output token costs as much as four input tokens. Default: 1.
	Weight int64 `json:"weight,omitempty"`

	paths [][]string
}

// The units that the gate counts.
const (
	unitRequest  = "request"
	unitByte     = "byte"
	unitKilobyte = "kilobyte"
	unitEvent    = "event"
	unitMessage  = "message"
	unitSecond   = "second"
)

// The values of Meter.Unreadable.
const (
	unreadableCeiling = "ceiling"
	unreadableNothing = "nothing"
)

// Limits of the configuration.
const (
	defaultMeterTimeout = caddy.Duration(time.Minute)
	maxMeterTimeout     = caddy.Duration(15 * time.Minute)

	// maxSources is how many sources a meter has: input, output, cached and
	// reasoning tokens, and as many again.
	maxSources = 8

	// maxWeight keeps sums of units far from overflowing.
	maxWeight = 1_000_000

	// maxSlice is the most units charged at a time, for the same reason.
	maxSlice = 1_000_000_000
)

var (
	// unitName is what a unit may be called: it stands in the challenge.
	unitName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	// fieldName is what a header may be called (RFC 9110, section 5.1).
	fieldName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")
)

// isCounted reports whether the gate counts the unit itself, as it flows.
func (m *Meter) isCounted() bool { return len(m.From) == 0 }

// unitSize is how many bytes, events or tokens one unit holds.
func (m *Meter) unitSize() int64 {
	if strings.HasPrefix(m.Unit, "kilo") {
		return 1000
	}
	return 1
}

// units returns how many units a count of bytes, events or tokens fills or starts.
func (m *Meter) units(count int64) int64 {
	size := m.unitSize()
	return (count + size - 1) / size
}

// countsBytes reports whether the meter counts bytes of content.
func (m *Meter) countsBytes() bool { return m.Unit == unitByte || m.Unit == unitKilobyte }

// readsBody reports whether the content has to be seen as it is, not
// compressed.
func (m *Meter) readsBody() bool {
	if m.isCounted() {
		return m.Unit != unitSecond
	}
	for _, source := range m.From {
		if source.Usage != "" {
			return true
		}
	}
	return false
}

// provision fills in the defaults and reads the amounts.
func (m *Meter) provision(price money.Amount) error {
	if m.Unit == "" {
		m.Unit = unitRequest
	}
	if m.Unreadable == "" {
		m.Unreadable = unreadableCeiling
	}
	if m.Timeout == 0 {
		m.Timeout = defaultMeterTimeout
	}
	if m.Slice == 0 {
		m.Slice = map[string]int64{unitByte: 65536, unitKilobyte: 64}[m.Unit]
		m.Slice = max(1, m.Slice)
	}
	for k := range m.From {
		m.From[k].provision()
	}
	var err error
	if m.Window != "" {
		if m.window, err = money.ParseDecimal(m.Window); err != nil {
			return fmt.Errorf("payword: meter: window: %w", err)
		}
	}
	if m.Ceiling != "" {
		if m.ceiling, err = money.ParseDecimal(m.Ceiling); err != nil {
			return fmt.Errorf("payword: meter: ceiling: %w", err)
		}
	} else if m.isCounted() {
		m.ceiling = price.MulCapped(uint64(max(0, m.Slice)), money.MaxAmount)
	}
	return nil
}

func (s *MeterSource) provision() {
	if s.Weight == 0 {
		s.Weight = 1
	}
	if s.Usage == "" {
		return
	}
	for _, path := range strings.Split(s.Usage, "|") {
		s.paths = append(s.paths, strings.Split(path, "."))
	}
}

// validate checks the configuration.
func (m *Meter) validate(price money.Amount) error {
	switch {
	case !unitName.MatchString(m.Unit):
		return fmt.Errorf("payword: meter: unit %q: want a word in lower case, such as byte or token", m.Unit)
	case m.isCounted() && m.Unit != unitByte && m.Unit != unitKilobyte && m.Unit != unitEvent && m.Unit != unitMessage && m.Unit != unitSecond:
		return fmt.Errorf("payword: meter: from: the gate counts byte, kilobyte, event, message and second; say with from what tells how many of %q there are", m.Unit)
	case !m.isCounted() && m.ceiling < 1:
		return errors.New("payword: meter: ceiling: want the most that an answer may cost, such as 0.05")
	case m.Unit != unitRequest && m.ceiling < price:
		return errors.New("payword: meter: ceiling: want at least the price of one unit")
	case len(m.From) > maxSources:
		return fmt.Errorf("payword: meter: from: at most %d sources", maxSources)
	case m.Unreadable != unreadableCeiling && m.Unreadable != unreadableNothing:
		return errors.New("payword: meter: unreadable: want ceiling or nothing")
	case m.Slice < 1 || m.Slice > maxSlice:
		return fmt.Errorf("payword: meter: slice: want 1 to %d units", maxSlice)
	case m.Timeout < caddy.Duration(time.Second) || m.Timeout > maxMeterTimeout:
		return errors.New("payword: meter: timeout: want 1s to 15m")
	case m.window > 0 && !m.isCounted():
		return errors.New("payword: meter: window: it is for answers that are counted as they flow; these are paid before they begin")
	}
	for _, source := range m.From {
		if err := source.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (s *MeterSource) validate() error {
	switch {
	case (s.Header == "") == (s.Usage == ""):
		return errors.New("payword: meter: from: want either a header or a usage path")
	case s.Header != "" && !fieldName.MatchString(s.Header):
		return fmt.Errorf("payword: meter: from: %q is not the name of a header", s.Header)
	case s.Weight < 1 || s.Weight > maxWeight:
		return fmt.Errorf("payword: meter: from: weight: want 1 to %d", maxWeight)
	}
	for _, path := range s.paths {
		for _, name := range path {
			if name == "" || len(name) > 64 {
				return fmt.Errorf("payword: meter: from: %q: want names with dots between them, such as usage.total_tokens", s.Usage)
			}
		}
	}
	return nil
}

// readMeter reads the option meter. Syntax:
//
//	meter {
//	    unit            request|byte|kilobyte|event|message|second|<word>
//	    from            header <name> [<weight>]
//	    from            usage <path>[|<path>...] [<weight>]
//	    ceiling         <amount>
//	    unreadable      ceiling|nothing
//	    keep_header
//	    slice           <units>
//	    window          <amount>
//	    timeout         <duration>
//	    both_directions
//	}
func readMeter(h *Handler, d *caddyfile.Dispenser) error {
	if h.Meter != nil {
		return d.Err("meter stands here twice")
	}
	h.Meter = new(Meter)
	if d.NextArg() {
		return d.Err("want meter { ... }")
	}
	return readBlock(d, h.Meter, meterOptions)
}

var meterOptions = map[string]option[*Meter]{
	"unit":            word("<unit>, such as byte or token", func(m *Meter) *string { return &m.Unit }),
	"from":            readMeterSource,
	"ceiling":         word("<amount>", func(m *Meter) *string { return &m.Ceiling }),
	"unreadable":      word("ceiling|nothing", func(m *Meter) *string { return &m.Unreadable }),
	"window":          word("<amount>", func(m *Meter) *string { return &m.Window }),
	"timeout":         duration(func(m *Meter, value caddy.Duration) { m.Timeout = value }),
	"keep_header":     bare(func(m *Meter) *bool { return &m.KeepHeader }),
	"both_directions": bare(func(m *Meter) *bool { return &m.BothDirections }),
	"slice": one("<units>", func(m *Meter, d *caddyfile.Dispenser, argument string) error {
		units, err := strconv.ParseInt(argument, 10, 64)
		if err != nil || units < 1 {
			return d.Errf("slice %q: want a number of units", argument)
		}
		m.Slice = units
		return nil
	}),
}

func readMeterSource(m *Meter, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) < 2 || len(arguments) > 3 {
		return d.Err("want from header <name> [<weight>], or from usage <path> [<weight>]")
	}
	source := MeterSource{}
	switch arguments[0] {
	case "header":
		source.Header = arguments[1]
	case "usage":
		source.Usage = arguments[1]
	default:
		return d.Errf("from %q: want header or usage", arguments[0])
	}
	if len(arguments) == 3 {
		weight, err := strconv.ParseInt(arguments[2], 10, 64)
		if err != nil || weight < 1 {
			return d.Errf("from: weight %q: want a number of units", arguments[2])
		}
		source.Weight = weight
	}
	m.From = append(m.From, source)
	return nil
}

// quote adds to a quote what is counted and what is charged before the answer
// begins. What is free stays so.
func (m *Meter) quote(q quote) quote {
	if m == nil || q.amount == 0 {
		return q
	}
	q.unit, q.ceiling = m.Unit, m.ceiling
	if m.isCounted() && m.Ceiling == "" {
		q.ceiling = q.amount.MulCapped(uint64(m.Slice), money.MaxAmount)
	}
	if m.Unit == unitRequest {
		q.amount = min(q.amount, q.ceiling) // no answer costs more, whatever was quoted
	} else {
		q.ceiling = max(q.ceiling, q.amount)
	}
	return q
}
