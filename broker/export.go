package broker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

const (
	// exportsPerMinute is how many exports of one account are begun in a minute:
	// one, and another because the first broke off. Each reads the whole history
	// of the account.
	exportsPerMinute = 2

	// maxExports is how many exports are written at once, each a page of at most
	// 700 KB in memory. What is left of the database's readers is for others.
	maxExports = 4

	// exportTimeout is how long one export may take: a million commitments, at a
	// few thousand in a second.
	exportTimeout = 10 * time.Minute
)

func registerExport(a *api) {
	b := a.broker
	r := route{method: http.MethodGet, path: payword.PathExport, id: "exportAccount", access: accountSigned,
		summary: "Everything that the broker keeps of the account, as one document",
		description: "It is read while it is written, each page of a part in a transaction of its own: asOf says when its first page was read, " +
			"until says when its last one was. The entries of the ledger are those that the balances are made of. " +
			"An answer that breaks off is no JSON: ask again."}
	register(a, r, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, payword.Refusal, error) {
		return b.exportAccount(ctx, callerOf(ctx))
	})
	document := a.huma.OpenAPI()
	operationAt(document, r).Responses["200"].Content = map[string]*huma.MediaType{
		"application/json": {Schema: document.Components.Schemas.Schema(reflect.TypeFor[accountExport](), true, "AccountExport")}}
}

// exportAccount returns what is kept of the caller's account. It refuses with
// RateLimited or UnknownAccount. A failure on the way breaks the answer off.
func (b *Broker) exportAccount(ctx context.Context, by caller) (*huma.StreamResponse, payword.Refusal, error) {
	leave, refusal := b.enterExport(ctx, by.account)
	if refusal.Refused() {
		return nil, refusal, nil
	}
	account, refusal, err := b.store.exportedAccount(ctx, by.account)
	if err != nil || refusal.Refused() {
		leave()
		return nil, refusal, err
	}
	return &huma.StreamResponse{Body: func(to huma.Context) {
		defer leave()
		// The time of a request is not enough for a long history on a slow line.
		// Whoever has gone away shows when the next page is written.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exportTimeout)
		defer cancel()
		to.SetHeader("Content-Type", "application/json")
		to.SetHeader("Content-Disposition", `attachment; filename="account.json"`)
		if err := b.store.writeExport(ctx, newExportWriter(to), account); err != nil {
			b.log.WarnContext(ctx, "export broken off", "error", err)
			// The connection is cut, so that nobody takes a part for the whole.
			panic(http.ErrAbortHandler)
		}
	}}, payword.Refusal{}, nil
}

// enterExport waits for a place among the exports: one for each account, and
// maxExports in all. The caller calls leave at the end. It refuses with
// RateLimited.
func (b *Broker) enterExport(ctx context.Context, account string) (leave func(), refusal payword.Refusal) {
	if b.exportsBegun.count(b.now()/60, account) < 0 {
		return nil, refuse(payword.RateLimited, "an account is exported %d times in a minute: wait for the next", exportsPerMinute)
	}
	ctx, cancel := context.WithTimeout(ctx, b.turnTimeout)
	defer cancel()
	end, err := b.exportsByAccount.take(ctx, account)
	if err != nil {
		return nil, refuse(payword.RateLimited, "another export of this account is being written: ask for one after the other")
	}
	select {
	case b.exports <- struct{}{}:
		return func() {
			<-b.exports
			end()
		}, payword.Refusal{}
	case <-ctx.Done():
		end()
		return nil, refuse(payword.RateLimited, "too many exports at once; wait a minute")
	}
}

// writeExport writes an accountExport, page by page.
func (s *store) writeExport(ctx context.Context, w *exportWriter, account exportedAccount) error {
	w.member("broker", s.issuer)
	w.member("currency", s.currency)
	w.member("account", account)
	for _, part := range s.exportParts(account.Account.Account) {
		if err := s.writePart(ctx, w, part); err != nil {
			return err
		}
	}
	w.text("\n}\n")
	return w.flush()
}

// exportPart is one list of an export.
type exportPart struct {
	name string
	read exportReader
}

func (s *store) writePart(ctx context.Context, w *exportWriter, part exportPart) error {
	var asOf int64
	for isFirst, isLast := true, false; !isLast; isFirst = false {
		var items []any
		err := s.db.View(ctx, func(tx *ledger.Tx) (err error) {
			// Whoever was removed meanwhile is told no more.
			if err := requireDevice(ctx, tx); err != nil {
				return err
			}
			asOf = tx.Now().Unix()
			items, isLast, err = part.read(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
		if isFirst {
			w.name(part.name)
			w.text(`{"asOf":` + strconv.FormatInt(asOf, 10) + `,"items":[`)
		}
		for k, item := range items {
			if !isFirst || k > 0 {
				w.text(",")
			}
			w.text("\n")
			w.value(item)
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.text(`],"until":` + strconv.FormatInt(asOf, 10) + "}")
	return nil
}

// exportWriter writes a JSON object, a page at a time.
type exportWriter struct {
	w          io.Writer
	controller *http.ResponseController
	page       bytes.Buffer
	failed     error // the first error: nothing is written after it
	isBegun    bool
}

func newExportWriter(to huma.Context) *exportWriter {
	e := &exportWriter{w: to.BodyWriter()}
	if w, isResponse := e.w.(http.ResponseWriter); isResponse {
		e.controller = http.NewResponseController(w)
	}
	return e
}

func (e *exportWriter) text(text string) { e.page.WriteString(text) }

// name begins a member of the object.
func (e *exportWriter) name(name string) {
	if e.isBegun {
		e.text(",\n")
	} else {
		e.text("{\n")
		e.isBegun = true
	}
	e.text(`"` + name + `":`)
}

func (e *exportWriter) value(value any) {
	encoded, err := json.Marshal(value)
	e.failed = cmp.Or(e.failed, err)
	e.page.Write(encoded)
}

func (e *exportWriter) member(name string, value any) {
	e.name(name)
	e.value(value)
}

// flush sends what was written. It fails if nobody takes it in time.
func (e *exportWriter) flush() error {
	if e.failed != nil {
		return e.failed
	}
	if e.controller != nil {
		// A writer without deadlines, as in tests, has none to set.
		_ = e.controller.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	if _, err := e.w.Write(e.page.Bytes()); err != nil {
		return err
	}
	e.page.Reset()
	if e.controller != nil {
		// One that cannot flush, as in tests, keeps nothing back.
		_ = e.controller.Flush()
	}
	return nil
}
