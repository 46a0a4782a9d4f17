package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"net/http"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

const (
	headerIdempotencyKey = "Idempotency-Key"
	// headerReplayed says that an answer is one that was given before.
	headerReplayed = "Idempotency-Replayed"

	// maxIdempotencyKeyBytes is what two UUIDs take, and more than anybody needs.
	maxIdempotencyKeyBytes = 128

	// maxKeptBytes is the largest answer that is kept: 16 certificates take half
	// of it.
	maxKeptBytes = 64 << 10
)

// keepsAnswers reports whether the answers of a route are kept under their
// Idempotency-Key: of those that change something and are for somebody. Claims
// are left out, because each is paid once for ever, whatever its key.
func (r route) keepsAnswers() bool {
	return r.method != http.MethodGet && r.access != public && r.maxBody <= largeBody
}

// serveKept answers a request from what was kept under its Idempotency-Key, or
// serves it and keeps the answer if it succeeded: what was refused changed
// nothing and is judged anew. Of several at the same time one does the work.
//
// The work and the keeping are two transactions. What must not be done twice is
// safe all the same: it has a name of its own, or keeps its answer by once.
func (g *guard) serveKept(w http.ResponseWriter, r *http.Request, entry route, body []byte) {
	ctx, b := r.Context(), g.broker
	key := r.Header.Get(headerIdempotencyKey)
	if len(r.Header.Values(headerIdempotencyKey)) > 1 || !isPrintable(key, maxIdempotencyKeyBytes) {
		writeProblem(w, newProblem(http.StatusBadRequest, "Idempotency-Key: want one field of 1 to 128 ASCII characters."))
		return
	}
	scope := "request " + actorOf(ctx) + " " + entry.pattern()
	digest := sha256.Sum256(append([]byte(r.RequestURI+"\n"), body...))
	leave, refusal := b.enterKey(ctx, scope+" "+key)
	if p := b.problemOf(ctx, entry.pattern(), refusal, nil); p != nil {
		writeProblem(w, p)
		return
	}
	defer leave()
	kept, refusal, err := b.store.keptAnswer(ctx, scope, key, digest[:])
	if p := b.problemOf(ctx, entry.pattern(), refusal, err); p != nil {
		writeProblem(w, p)
		return
	}
	if kept.status == 0 {
		recorder := &recorder{header: w.Header(), status: http.StatusOK}
		g.mux.ServeHTTP(recorder, r)
		kept = keptAnswer{status: recorder.status, body: recorder.body.Bytes()}
		if kept.status < 300 && len(kept.body) <= maxKeptBytes {
			kept, refusal, err = b.store.keepAnswer(ctx, scope, key, digest[:], kept)
			if p := b.problemOf(ctx, entry.pattern(), refusal, err); p != nil {
				writeProblem(w, p)
				return
			}
		}
	} else {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(headerReplayed, "true")
	}
	w.WriteHeader(kept.status)
	_, _ = w.Write(kept.body) // a client that has gone away asks again
}

// isPrintable reports whether text is 1 to limit characters from ' ' to '~'.
func isPrintable(text string, limit int) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return text != "" && len(text) <= limit
}

// recorder takes an answer in the place of the client. The header is the
// client's.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header returns the client's header.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader keeps the status.
func (r *recorder) WriteHeader(status int) { r.status = status }

// Write keeps a part of the body.
func (r *recorder) Write(part []byte) (int, error) { return r.body.Write(part) }

// keptAnswer is an answer as it was given. Status 0: there is none.
type keptAnswer struct {
	status int
	body   []byte
}

// keptAnswer finds an answer. It refuses with IdempotencyDiffers.
func (s *store) keptAnswer(ctx context.Context, scope, key string, digest []byte) (kept keptAnswer, refusal payword.Refusal, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		kept, err = answerIn(ctx, tx, scope, key, digest)
		return err
	})
	if differs := (refused{}); errors.As(err, &differs) {
		return keptAnswer{}, payword.Refusal(differs), nil
	}
	return kept, payword.Refusal{}, err
}

func answerIn(ctx context.Context, tx *ledger.Tx, scope, key string, digest []byte) (kept keptAnswer, err error) {
	var keptDigest []byte
	err = tx.QueryRowContext(ctx, `SELECT request, answer, status FROM broker_answers WHERE scope = ? AND key = ?`, scope, key).
		Scan(&keptDigest, &kept.body, &kept.status)
	if errors.Is(err, sql.ErrNoRows) {
		return keptAnswer{}, nil
	}
	if err == nil && !bytes.Equal(keptDigest, digest) {
		err = refused(refuse(payword.IdempotencyDiffers, "that Idempotency-Key was used for another request"))
	}
	return kept, err
}

// keepAnswer keeps an answer and returns it, or the one that another broker on
// the same database has kept meanwhile. It refuses with IdempotencyDiffers.
func (s *store) keepAnswer(ctx context.Context, scope, key string, digest []byte, given keptAnswer) (kept keptAnswer, refusal payword.Refusal, err error) {
	refusal, err = s.update(ctx, "keep answer", func(tx *ledger.Tx) error {
		kept, err = answerIn(ctx, tx, scope, key, digest)
		if err != nil || kept.status != 0 {
			return err
		}
		kept = given
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_answers (scope, key, request, answer, status, expires) VALUES (?, ?, ?, ?, ?, ?)`,
			scope, key, digest, string(given.body), given.status, tx.Now().Unix()+answerSeconds)
		return err
	})
	return kept, refusal, err
}

// enterKey waits until no other request with the same Idempotency-Key is worked
// on. It refuses with RateLimited.
func (b *Broker) enterKey(ctx context.Context, name string) (leave func(), refusal payword.Refusal) {
	ctx, cancel := context.WithTimeout(ctx, b.turnTimeout)
	defer cancel()
	leave, err := b.byIdempotencyKey.take(ctx, name)
	if err != nil {
		return nil, refuse(payword.RateLimited, "another request with this Idempotency-Key is worked on: wait for its answer")
	}
	return leave, payword.Refusal{}
}
