package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"os"
	"slices"
	"time"
)

const (
	// fetchTimeout bounds one question to a broker, from the connection to the
	// last byte.
	fetchTimeout = 10 * time.Second

	// fileCheckInterval is how often files are looked at for changes. It costs
	// one stat.
	fileCheckInterval = 5 * time.Second

	// maxAnswerHeaderBytes bounds the header of an answer.
	maxAnswerHeaderBytes = 32 << 10
)

// fetchClient asks brokers for what they publish.
var fetchClient = &http.Client{
	Timeout: fetchTimeout, CheckRedirect: refuseRedirect,
	Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxResponseHeaderBytes: maxAnswerHeaderBytes,
		MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	},
}

// refuseRedirect keeps a broker that was taken over from sending us elsewhere.
func refuseRedirect(*http.Request, []*http.Request) error {
	return errors.New("a broker must not redirect")
}

// published is what to ask a broker for.
type published struct {
	url        string
	mediaTypes []string // that an answer may have; the first is asked for
	maxBytes   int64
	etag       string // of what is known already; "": nothing
}

// document is what a broker published.
type document struct {
	body      []byte
	etag      string
	unchanged bool // what is known already still holds
}

// get fetches what p names. Whatever is not exactly that, such as a page that
// says in HTML that something is wrong, is an error, and leaves what is known.
func (p published) get(ctx context.Context) (document, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return document{}, err
	}
	request.Header.Set("Accept", p.mediaTypes[0])
	if p.etag != "" {
		request.Header.Set("If-None-Match", p.etag)
	}
	response, err := fetchClient.Do(request)
	if err != nil {
		return document{}, err
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotModified && p.etag != "":
		return document{etag: p.etag, unchanged: true}, nil
	case response.StatusCode != http.StatusOK:
		return document{}, fmt.Errorf("%s answered %s", p.url, response.Status)
	}
	mediaType, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(p.mediaTypes, mediaType) {
		return document{}, fmt.Errorf("%s answered with content of type %.60q, want %s", p.url, response.Header.Get("Content-Type"), p.mediaTypes[0])
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, p.maxBytes+1))
	if err != nil {
		return document{}, err
	}
	if int64(len(body)) > p.maxBytes {
		return document{}, fmt.Errorf("%s answered with more than %d bytes", p.url, p.maxBytes)
	}
	return document{body: body, etag: response.Header.Get("ETag")}, nil
}

// jittered returns a duration within a tenth of d, so that gates which started
// together do not ask together.
func jittered(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

// fileStamp tells whether a file was changed.
type fileStamp struct {
	modified time.Time
	size     int64
}

// stampOf returns the stamp of a file. One that cannot be read has the zero
// stamp.
func stampOf(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{modified: info.ModTime(), size: info.Size()}
}

// readBounded reads a file of at most maxBytes.
func readBounded(path string, maxBytes int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err == nil && int64(len(content)) > maxBytes {
		err = fmt.Errorf("%s has more than %d bytes", path, maxBytes)
	}
	return content, err
}
