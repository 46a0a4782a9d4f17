package host_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/host"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// said answers every request alike.
type said struct {
	status int
	media  string
	body   []byte
}

// RoundTrip implements http.RoundTripper.
func (s said) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: s.status, Header: http.Header{"Content-Type": {s.media}}, Body: io.NopCloser(bytes.NewReader(s.body))}, nil
}

// Whatever clearing or the broker answers, it is a success, a no for good that
// says why in one line, or not known.
func FuzzAnswers(f *testing.F) {
	for _, q := range questions {
		f.Add(200, "application/json", []byte(q.answer))
	}
	f.Add(422, "application/problem+json", []byte("{\"reason\": \"a\\u0000\", \"detail\": \"\xff\\n\"}"))
	f.Add(503, "text/html", []byte("<html>"))
	f.Add(200, "application/json", []byte(`{"scripts": [null], "cards": null, "isTaken": 1, "fundable": -1}`))
	f.Fuzz(func(t *testing.T, status int, media string, body []byte) {
		if status < 100 || status > 999 {
			status = 200
		}
		config := host.Config{
			Origin: "https://host.example", Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
			Now: func() time.Time { return time.Unix(at, 0) }, Client: &http.Client{Transport: said{status, media, body}},
		}
		c, err := host.NewClearing(config)
		if err != nil {
			t.Fatal(err)
		}
		b, err := host.NewBroker(config, "usd-micro")
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range questions {
			_, err := q.ask(t.Context(), c, b)
			var refusal *purse.Refusal
			var refused *terminal.Refused
			var unknown *host.UnknownError
			isNo := errors.As(err, &refusal) || errors.As(err, &refused)
			switch {
			case err == nil && status/100 != 2, err != nil && !isNo && !errors.As(err, &unknown), isNo && status/100 == 5:
				t.Errorf("%s: got %v of status %d", q.name, err, status)
			case err != nil && strings.ContainsAny(err.Error(), "\n\r\x00"):
				t.Errorf("%s: %q is not one line", q.name, err)
			}
		}
	})
}
