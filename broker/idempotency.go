package broker

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

// answerSeconds is how long an answer is kept under its Idempotency-Key: longer
// than anybody's queue of retries.
const answerSeconds = 7 * 24 * 60 * 60

// once does work and keeps its answer under key, or finds the answer that was
// kept and does nothing. Both happen in the same transaction. An empty key
// keeps nothing. It refuses with IdempotencyDiffers.
func (s *store) once(ctx context.Context, tx *ledger.Tx, scope, key string, request, answer any, work func() error) error {
	if key == "" {
		return work()
	}
	encoded, err := json.Marshal(request)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(encoded)
	var kept string
	var keptDigest []byte
	err = tx.QueryRowContext(ctx, `SELECT request, answer FROM broker_answers WHERE scope = ? AND key = ?`, scope, key).
		Scan(&keptDigest, &kept)
	switch {
	case err == nil && string(keptDigest) != string(digest[:]):
		return refused(refuse(payword.IdempotencyDiffers, "that Idempotency-Key was used for another request"))
	case err == nil:
		return json.Unmarshal([]byte(kept), answer)
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	if err := work(); err != nil {
		return err
	}
	if encoded, err = json.Marshal(answer); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO broker_answers (scope, key, request, answer, expires) VALUES (?, ?, ?, ?, ?)`,
		scope, key, digest[:], string(encoded), tx.Now().Unix()+answerSeconds)
	return err
}
