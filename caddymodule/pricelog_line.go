package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// logLine is one request of an access log.
type logLine struct {
	at      time.Time
	client  netip.Addr
	method  string
	host    string // "" if the format has none
	uri     *url.URL
	header  http.Header
	status  int
	bytes   int64 // of content
	overTLS bool
}

// maxURIBytes bounds the request targets that are read; longer ones are not
// sold.
const maxURIBytes = 8192

// parseLogLine reads a line of Caddy's JSON access log, or of the common or
// combined log format, whichever it looks like.
func parseLogLine(text string) (logLine, error) {
	if strings.HasPrefix(text, "{") {
		return parseJSONLine(text)
	}
	return parseCommonLine(text)
}

// jsonLine is what is read of an entry of Caddy's access log.
type jsonLine struct {
	Time    json.RawMessage `json:"ts"`
	Request *struct {
		RemoteIP string              `json:"remote_ip"`
		ClientIP string              `json:"client_ip"`
		Method   string              `json:"method"`
		Host     string              `json:"host"`
		URI      string              `json:"uri"`
		Headers  map[string][]string `json:"headers"`
		TLS      json.RawMessage     `json:"tls"`
	} `json:"request"`
	Size   int64 `json:"size"`
	Status int   `json:"status"`
}

func parseJSONLine(text string) (logLine, error) {
	var entry jsonLine
	if err := json.Unmarshal([]byte(text), &entry); err != nil {
		return logLine{}, fmt.Errorf("not a JSON access log: %w", err)
	}
	if entry.Request == nil {
		return logLine{}, errors.New("it has no request: not an entry of an access log")
	}
	at, err := parseLogTime(entry.Time)
	if err != nil {
		return logLine{}, err
	}
	line := logLine{
		at: at, method: entry.Request.Method, host: entry.Request.Host, header: make(http.Header, len(entry.Request.Headers)),
		status: entry.Status, bytes: entry.Size, overTLS: len(entry.Request.TLS) > 0,
	}
	for name, values := range entry.Request.Headers {
		name = http.CanonicalHeaderKey(name)
		line.header[name] = append(line.header[name], values...)
	}
	client := entry.Request.ClientIP
	if client == "" {
		client = entry.Request.RemoteIP
	}
	return line, line.complete(client, entry.Request.URI)
}

// logLayouts are the time formats of Caddy's encoders.
var logLayouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.000Z0700", "2006/01/02 15:04:05.000", "2006/01/02 15:04:05", commonLayout,
}

// parseLogTime reads a time as Caddy's encoders write it: seconds,
// milliseconds or nanoseconds since 1970, or one of the layouts.
func parseLogTime(encoded json.RawMessage) (time.Time, error) {
	var number float64
	if json.Unmarshal(encoded, &number) == nil {
		for number > 1e11 { // seconds stay below for another thousand years
			number /= 1000
		}
		if number < 0 || math.IsNaN(number) {
			return time.Time{}, errors.New("a time before 1970")
		}
		return time.UnixMilli(int64(number * 1000)).UTC(), nil
	}
	var text string
	if json.Unmarshal(encoded, &text) == nil {
		for _, layout := range logLayouts {
			if at, err := time.Parse(layout, text); err == nil {
				return at.UTC(), nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("time %.40q: want seconds since 1970 or RFC 3339", encoded)
}

const commonLayout = "02/Jan/2006:15:04:05 -0700"

// parseCommonLine reads
//
//	192.0.2.1 - - [02/Jan/2006:15:04:05 -0700] "GET /a HTTP/1.1" 200 1234 "referer" "agent"
//
// without the last two in the common format. What stands behind is passed over.
func parseCommonLine(text string) (logLine, error) {
	want := errors.New(`want the common or combined log format: address - user [time] "GET /a HTTP/1.1" 200 1234`)
	fields := commonFields(text)
	if len(fields) < 7 {
		return logLine{}, want
	}
	at, err := time.Parse(commonLayout, fields[3])
	if err != nil {
		return logLine{}, fmt.Errorf("time %.40q: want one like 02/Jan/2006:15:04:05 -0700", fields[3])
	}
	request := strings.Split(fields[4], " ")
	if len(request) < 2 || len(request) > 3 {
		return logLine{}, fmt.Errorf("request %.40q: want method, target and protocol", fields[4])
	}
	line := logLine{at: at.UTC(), method: request[0], header: make(http.Header)}
	if line.status, err = strconv.Atoi(fields[5]); err != nil {
		return logLine{}, want
	}
	if fields[6] != "-" {
		if line.bytes, err = strconv.ParseInt(fields[6], 10, 64); err != nil {
			return logLine{}, want
		}
	}
	if len(fields) > 8 {
		line.header.Set("Referer", fields[7])
		line.header.Set("User-Agent", fields[8])
	}
	return line, line.complete(fields[0], request[1])
}

// commonFields splits a line at spaces, but not within brackets or quotes,
// where a backslash goes before a quote that is none.
func commonFields(text string) []string {
	var fields []string
	for text = strings.TrimSpace(text); text != "" && len(fields) < 9; text = strings.TrimLeft(text, " \t") {
		var field string
		switch text[0] {
		case '[':
			field, text, _ = strings.Cut(text[1:], "]")
		case '"':
			field, text = quotedField(text[1:])
		default:
			field, text, _ = strings.Cut(text, " ")
		}
		fields = append(fields, field)
	}
	return fields
}

func quotedField(text string) (field, rest string) {
	var b strings.Builder
	for k := 0; k < len(text); k++ {
		switch {
		case text[k] == '"':
			return b.String(), text[k+1:]
		case text[k] == '\\' && k+1 < len(text):
			k++
		}
		b.WriteByte(text[k])
	}
	return b.String(), ""
}

// complete reads what both formats have and checks what was read.
func (l *logLine) complete(client, target string) error {
	var err error
	if l.client, err = netip.ParseAddr(client); err != nil {
		return fmt.Errorf("address %.40q: want one of IPv4 or IPv6", client)
	}
	l.client = l.client.Unmap().WithZone("")
	if l.method == "" || strings.ContainsFunc(l.method, func(c rune) bool { return c < 'A' || c > 'Z' }) || len(l.method) > 20 {
		return fmt.Errorf("method %.20q", l.method)
	}
	if l.status < 100 || l.status > 999 || l.bytes < 0 {
		return fmt.Errorf("status %d, %d bytes", l.status, l.bytes)
	}
	if len(target) > maxURIBytes {
		return fmt.Errorf("a target of %d bytes: at most %d", len(target), maxURIBytes)
	}
	if target == "*" || l.method == http.MethodConnect {
		target = "/"
	}
	if l.uri, err = url.ParseRequestURI(target); err != nil {
		return fmt.Errorf("target %.60q: %w", target, errors.Unwrap(err))
	}
	if l.host == "" {
		l.host = l.uri.Host
	}
	return nil
}
