package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/paywordhq/payword"
)

// maxBufferedBody is the most of a request body that is held in memory so that
// it can be sent again after a 402. A longer one needs Request.GetBody, or can
// be sent once only.
const maxBufferedBody = 1 << 20

// body is a request's body and how often it can be sent.
type body struct {
	original io.ReadCloser // nil once it was handed out
	again    func() (io.ReadCloser, error)
	digest   string // Content-Digest; empty if it is not known
	length   int64  // -1: as the request says
}

// newBody looks at a request's body. Up to a megabyte of one without GetBody is
// read here, before the request is sent.
func newBody(request *http.Request) (*body, error) {
	if request.Body == nil || request.Body == http.NoBody {
		none := func() (io.ReadCloser, error) { return http.NoBody, nil }
		return &body{again: none, digest: payword.ContentDigest(nil), length: -1}, nil
	}
	if request.GetBody != nil {
		return &body{original: request.Body, again: request.GetBody, length: -1}, nil
	}
	start, err := io.ReadAll(io.LimitReader(request.Body, maxBufferedBody+1))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the request's body: %w", err), request.Body.Close())
	}
	if len(start) > maxBufferedBody {
		whole := struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(start), request.Body), request.Body}
		return &body{original: whole, length: -1}, nil
	}
	if err := request.Body.Close(); err != nil {
		return nil, fmt.Errorf("reading the request's body: %w", err)
	}
	again := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(start)), nil }
	return &body{again: again, digest: payword.ContentDigest(start), length: int64(len(start))}, nil
}

// canSend reports whether the body can be sent now.
func (b *body) canSend() bool { return b.original != nil || b.again != nil }

// next returns the body for one more sending.
func (b *body) next() (io.ReadCloser, error) {
	if b.original != nil {
		first := b.original
		b.original = nil
		return first, nil
	}
	return b.again()
}

// close closes a body that was never sent.
func (b *body) close() {
	if b.original != nil {
		b.original.Close()
		b.original = nil
	}
}

// watchedBody is the body of an answer that was paid for. It tells once how it
// ended: reading it failed, or it did not fail before its end or Close.
type watchedBody struct {
	io.ReadCloser
	brokeOff, ended func()
	told            atomic.Bool
}

// Read implements io.Reader.
func (b *watchedBody) Read(content []byte) (int, error) {
	n, err := b.ReadCloser.Read(content)
	if err != nil && b.told.CompareAndSwap(false, true) {
		if err == io.EOF {
			b.ended()
		} else {
			b.brokeOff()
		}
	}
	return n, err
}

// Close implements io.Closer.
func (b *watchedBody) Close() error {
	if b.told.CompareAndSwap(false, true) {
		b.ended()
	}
	return b.ReadCloser.Close()
}
