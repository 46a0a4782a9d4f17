package caddymodule

import "encoding/json"

// flowWriter cuts what the next handler writes into pieces, has each charged,
// and sends it.
type flowWriter interface {
	write(content []byte) (int, error)
	end()          // sends what was held back
	say(n notice)  // tells the client that the stream waits; the zero notice, that it has ended
	injects() bool // whether say puts something into the content
}

// The names of what the gate says inside of a stream.
const (
	eventNeedVoucher = "payment-need-voucher"
	eventReceipt     = "payment-receipt"
)

// plainFlow sends content that has no inner form. Nothing can be said inside of
// it. All of it counts as one event or message.
type plainFlow struct {
	*metering
	writer  *paidWriter
	isBegun bool
}

func (f *plainFlow) write(content []byte) (int, error) {
	if !f.countsBytes() {
		count := int64(1)
		if f.isBegun {
			count = 0
		}
		f.isBegun = true
		if _, err := f.stream.take(count, true); err != nil {
			return 0, err
		}
		return f.writer.writeThrough(content)
	}
	return f.stream.writeBytes(content, f.writer.writeThrough)
}

// writeBytes writes content in pieces, as much at a time as is charged for.
func (s *stream) writeBytes(content []byte, write func([]byte) (int, error)) (int, error) {
	written := 0
	for written < len(content) {
		granted, err := s.take(int64(len(content)-written), false)
		if err != nil {
			return written, err
		}
		n, err := write(content[written : written+int(granted)])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (f *plainFlow) end() {}

// say sends what was paid, so that the client sees how far it came.
func (f *plainFlow) say(n notice) {
	if n != (notice{}) {
		rawWriter{f.writer}.flush()
	}
}

func (f *plainFlow) injects() bool { return false }

// maxEventBytes is how much of an event is held back until it is whole. A longer
// one is sent in pieces, and nothing can be said before it has ended.
const maxEventBytes = 256 << 10

// eventFlow sends an event stream event by event, so that between any two the
// gate can say something.
type eventFlow struct {
	*metering
	writer    *paidWriter
	isPartial bool // what was sent last is not the end of an event
}

func (f *eventFlow) write(content []byte) (int, error) {
	f.held = append(f.held, content...)
	for len(f.held) > 0 {
		end := eventEnd(f.held)
		isWhole := end > 0
		if !isWhole {
			if len(f.held) <= maxEventBytes {
				break
			}
			end = len(f.held)
		}
		if err := f.send(f.held[:end], isWhole); err != nil {
			return 0, err
		}
		f.held = f.held[end:]
	}
	return len(content), nil
}

// send charges and sends an event, or a part of one.
func (f *eventFlow) send(event []byte, isWhole bool) error {
	count := int64(len(event))
	if !f.countsBytes() {
		count = 0
		if isWhole && (f.isPartial || eventData(event) != nil) {
			count = 1
		}
	}
	if _, err := f.stream.take(count, true); err != nil {
		return err
	}
	f.isPartial = !isWhole
	_, err := f.writer.writeThrough(event)
	return err
}

func (f *eventFlow) end() {
	if len(f.held) > 0 {
		// What is left is sent if it is paid; else it is not.
		_ = f.send(f.held, false)
		f.held = nil
	}
}

func (f *eventFlow) say(n notice) {
	if f.isPartial && n != (notice{}) {
		return
	}
	kind, data := eventReceipt, []byte(nil)
	if n == (notice{}) {
		data = f.receipt()
	} else {
		kind = eventNeedVoucher
		data, _ = json.Marshal(n) // it holds nothing that cannot be encoded
	}
	event := formatEvent(kind, data)
	if f.isPartial {
		event = append([]byte("\n\n"), event...)
	}
	out := rawWriter{f.writer}
	if _, err := out.Write(event); err == nil {
		out.flush()
	}
}

func (f *eventFlow) injects() bool { return true }
