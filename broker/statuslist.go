package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

// pathStatusList is where a hot list is published, by its number.
const pathStatusList = "/v1/status-lists/{list}"

func statusListPath(number int64) string { return "/v1/status-lists/" + strconv.FormatInt(number, 10) }

const (
	// statusBits is what a status takes: one bit could not say suspended.
	statusBits = 2

	// The first list has room for 2^17 certificates, 32 KiB unpacked; each
	// further one for eight times as many, up to 2^22, the 1 MiB that a gate
	// takes. A gate holds 16 lists of a broker.
	firstPlaces = 1 << 17
	maxPlaces   = 1 << 22

	// drawAttempts is how often a place is drawn that is taken before the list
	// counts as full. So it is filled to about a half, and which half nobody can
	// tell.
	drawAttempts = 16

	// statusTTLSeconds is after how long a gate looks for a newer list, the
	// least that it takes; with what follows, that is how long a stolen
	// certificate pays on.
	statusTTLSeconds = 60

	// statusMaxAge is the Cache-Control of lists, in seconds.
	statusMaxAge = 30

	// statusSignSeconds is the least between two signatures of one list: a flood
	// of revocations costs the broker no more than this.
	statusSignSeconds = 5

	// statusReadSeconds is how long a list is served without a look at the
	// database.
	statusReadSeconds = 2

	// statusRenewSeconds is how old a list gets to which nothing happens.
	statusRenewSeconds = 3600

	// statusLifeSeconds is how long a list says something. It is twice what a
	// gate waits for its broker by default, so that the gate's own rule decides.
	statusLifeSeconds = 2 * secondsPerDay

	// statusKeepSeconds is how long the place of a certificate that has expired
	// is kept free: longer than gates remember a list that they cannot renew, by
	// default.
	statusKeepSeconds = 3 * secondsPerDay
)

// errPlaceTaken means that somebody else was given the same place meanwhile.
var errPlaceTaken = errors.New("a place in the hot list was taken meanwhile")

// place is where a hot list tells of a certificate.
type place struct {
	list  int64
	index uint32
}

// drawPlaces draws places that are free, in the newest list or, if that is full,
// in a new one. Nothing is stored but the new list.
func (s *store) drawPlaces(ctx context.Context, count int) (places []place, err error) {
	for range maxRounds {
		var list, room int64
		err := s.db.View(ctx, func(tx *ledger.Tx) error {
			var err error
			if list, room, err = newestList(ctx, tx); err == nil && list > 0 {
				places, err = drawFrom(ctx, tx, list, room, count)
			}
			return err
		})
		if err != nil || len(places) == count {
			return places, err
		}
		if err := s.addList(ctx, list+1, nextPlaces(room)); err != nil {
			return nil, err
		}
	}
	return nil, errContended
}

// newestList returns the number of the newest hot list and for how many
// certificates it has room; 0 if there is none.
func newestList(ctx context.Context, tx *ledger.Tx) (number, room int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT number, places FROM broker_status_lists ORDER BY number DESC LIMIT 1`).Scan(&number, &room)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, nil
	}
	return number, room, err
}

// drawFrom draws places in one list; fewer than count if it is full.
func drawFrom(ctx context.Context, tx *ledger.Tx, list, room int64, count int) (places []place, err error) {
	drawn := make(map[uint32]bool)
	for misses := 0; len(places) < count && misses < drawAttempts; {
		index := randomIndex(room)
		var taken int
		err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_statuses WHERE list = ? AND place = ?`, list, index).Scan(&taken)
		if err != nil {
			return nil, err
		}
		if taken > 0 || drawn[index] {
			misses++
			continue
		}
		misses = 0
		drawn[index] = true
		places = append(places, place{list, index})
	}
	return places, nil
}

// randomIndex returns a random number below room, which is a power of two.
func randomIndex(room int64) uint32 {
	var raw [4]byte
	_, _ = rand.Read(raw[:]) // never fails
	return binary.BigEndian.Uint32(raw[:]) & uint32(room-1)
}

func nextPlaces(room int64) int64 {
	if room == 0 {
		return firstPlaces
	}
	return min(room*8, maxPlaces)
}

// addList makes a hot list, unless somebody else has made it.
func (s *store) addList(ctx context.Context, number, room int64) error {
	_, err := s.update(ctx, "add list", func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_status_lists (number, places) VALUES (?, ?) ON CONFLICT DO NOTHING`, number, room)
		return err
	})
	return err
}

// listRow is a hot list as it is stored.
type listRow struct {
	number, places        int64
	changes, tokenChanges int64
	token, tokenKey       string
	issued                int64 // seconds since 1970
	version               int64
}

// isCurrent reports whether the list as it was signed last says what there is to
// say. set is the keys that are published.
func (l listRow) isCurrent(set *keySet, issuer string, now int64) bool {
	age := now - l.issued
	switch {
	case l.token == "" || set.trusted.Key(issuer, l.tokenKey) == nil || age >= statusRenewSeconds:
		return false
	case l.changes != l.tokenChanges:
		return age < statusSignSeconds
	}
	return true
}

func loadList(ctx context.Context, tx *ledger.Tx, number int64) (list listRow, found bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT number, places, changes, token, token_changes, token_key, token_issued, version
		FROM broker_status_lists WHERE number = ?`, number).
		Scan(&list.number, &list.places, &list.changes, &list.token, &list.tokenChanges, &list.tokenKey, &list.issued, &list.version)
	if errors.Is(err, sql.ErrNoRows) {
		return list, false, nil
	}
	return list, err == nil, err
}

// loadStatuses returns what is not valid in a list.
func loadStatuses(ctx context.Context, tx *ledger.Tx, number, now int64) (statuses map[uint32]uint8, err error) {
	statuses = make(map[uint32]uint8)
	rows, err := tx.QueryContext(ctx, `SELECT place, status FROM broker_statuses WHERE list = ? AND status <> 0 AND expires > ?`, number, now)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var index uint32
		var status uint8
		if err := rows.Scan(&index, &status); err != nil {
			return nil, err
		}
		statuses[index] = status
	}
	return statuses, rows.Err()
}

// signList signs a list as it is now.
func (b *Broker) signList(ctx context.Context, list listRow, statuses map[uint32]uint8, now int64) (listRow, error) {
	signed, err := payword.NewStatusList(b.config.Issuer+statusListPath(list.number), statusBits, uint32(list.places))
	if err != nil {
		return list, err
	}
	// A clock that was set back makes no list that gates take for an old one.
	signed.IssuedAt = max(now, list.issued)
	signed.Expires, signed.TTLSeconds = signed.IssuedAt+statusLifeSeconds, statusTTLSeconds
	for index, status := range statuses {
		if err := signed.Set(index, status); err != nil {
			return list, err
		}
	}
	signer, err := b.signer(ctx, signed.Expires)
	if err != nil {
		return list, err
	}
	list.tokenKey = signer.key.id
	list.token, err = payword.SignStatusList(signed, signer)
	list.issued, list.tokenChanges = signed.IssuedAt, list.changes
	return list, err
}

// storeList stores a list that was signed, unless another broker was faster.
func (s *store) storeList(ctx context.Context, list listRow) (isStored bool, err error) {
	_, err = s.update(ctx, "sign list", func(tx *ledger.Tx) error {
		isStored, err = tx.ExecOne(ctx, `UPDATE broker_status_lists
			SET token = ?, token_changes = ?, token_key = ?, token_issued = ?, version = version + 1
			WHERE number = ? AND version = ?`,
			list.token, list.tokenChanges, list.tokenKey, list.issued, list.number, list.version)
		return err
	})
	return isStored, err
}

// listCache holds the hot lists as they were served last, so that gates cost the
// database little. Only lists that exist are in it.
type listCache struct {
	mu       sync.Mutex
	byNumber map[int64]*servedList // guarded by mu
}

// servedList is one list as it is served.
type servedList struct {
	mu    sync.Mutex // one reads and signs at a time; guards what follows
	token string
	etag  string
	read  int64 // seconds since 1970
}

// statusList returns a hot list and its entity tag. All brokers on a database
// serve the same: whoever finds that one is to be signed anew stores it for all.
// If that cannot be done, the last one is served as long as it counts.
func (b *Broker) statusList(ctx context.Context, number int64) (token, etag string, found bool, err error) {
	b.lists.mu.Lock()
	served := b.lists.byNumber[number]
	b.lists.mu.Unlock()
	if served == nil {
		served = &servedList{}
	}
	served.mu.Lock()
	defer served.mu.Unlock()
	now := b.now()
	if served.token != "" && now >= served.read && now < served.read+statusReadSeconds {
		return served.token, served.etag, true, nil
	}
	list, found, err := b.currentList(ctx, number, now)
	if err != nil || !found {
		b.forgetList(number, err == nil)
		return "", "", found, err
	}
	if served.token != list.token {
		sum := sha256.Sum256([]byte(list.token))
		served.token, served.etag = list.token, `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`
	}
	served.read = now
	b.lists.mu.Lock()
	b.lists.byNumber[number] = served
	b.lists.mu.Unlock()
	return served.token, served.etag, true, nil
}

func (b *Broker) forgetList(number int64, isGone bool) {
	if !isGone {
		return
	}
	b.lists.mu.Lock()
	defer b.lists.mu.Unlock()
	delete(b.lists.byNumber, number)
}

// currentList returns a list that says what there is to say, signed.
func (b *Broker) currentList(ctx context.Context, number, now int64) (list listRow, found bool, err error) {
	for range maxRounds {
		set := b.keys(ctx)
		var statuses map[uint32]uint8
		err = b.store.db.View(ctx, func(tx *ledger.Tx) error {
			if list, found, err = loadList(ctx, tx, number); err == nil && found && !list.isCurrent(set, b.config.Issuer, now) {
				statuses, err = loadStatuses(ctx, tx, number, now)
			}
			return err
		})
		if err != nil || !found || list.isCurrent(set, b.config.Issuer, now) {
			return list, found, err
		}
		signed, err := b.signList(ctx, list, statuses, now)
		isLastGood := list.token != "" && set.trusted.Key(b.config.Issuer, list.tokenKey) != nil && now < list.issued+statusLifeSeconds
		if err != nil && isLastGood {
			b.log.ErrorContext(ctx, "signing a hot list failed; the last one is served", "list", number, "error", err)
			return list, true, nil
		}
		if err != nil {
			return list, true, err
		}
		isStored, err := b.store.storeList(ctx, signed)
		if err != nil || isStored {
			return signed, true, err
		}
	}
	return list, true, errContended
}

// forgetStatuses frees the places of certificates that have expired, at most
// perRound of them, and gives up the lists that are empty by then.
func forgetStatuses(ctx context.Context, tx *ledger.Tx, now int64) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM broker_statuses WHERE certificate IN
		(SELECT certificate FROM broker_statuses WHERE expires < ? ORDER BY expires LIMIT ?)`, now-statusKeepSeconds, perRound)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM broker_status_lists
		WHERE number < (SELECT MAX(number) FROM broker_status_lists)
		AND NOT EXISTS (SELECT 1 FROM broker_statuses WHERE list = number)`)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM broker_challenge_keys WHERE day < ?`, now/secondsPerDay-1)
	return err
}

type statusListInput struct {
	List        int64  `path:"list" minimum:"1"`
	IfNoneMatch string `header:"If-None-Match" maxLength:"1024"`
}

type statusListAnswer struct {
	Status       int
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	ETag         string `header:"ETag"`
	Body         []byte `contentType:"application/statuslist+jwt"`
}

// noStatusList answers that there is no such list.
func noStatusList() (*statusListAnswer, payword.Refusal, error) {
	p := newProblem(http.StatusNotFound, "There is no such hot list, or not any more.")
	body, err := json.Marshal(p)
	return &statusListAnswer{Status: p.Status, ContentType: p.ContentType(""), CacheControl: "no-store", Body: body}, payword.Refusal{}, err
}

func registerStatusLists(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: pathStatusList, id: "getStatusList", media: "application/statuslist+jwt", also: http.StatusNotModified,
		summary:     "A hot list: which certificates were revoked or are suspended",
		description: "A Status List Token (draft-ietf-oauth-status-list) that certificates name."},
		func(ctx context.Context, input *statusListInput) (*statusListAnswer, payword.Refusal, error) {
			token, etag, found, err := b.statusList(ctx, input.List)
			if err == nil && !found {
				return noStatusList()
			}
			answer := &statusListAnswer{Status: http.StatusOK, ContentType: "application/statuslist+jwt", ETag: etag,
				CacheControl: fmt.Sprintf("public, max-age=%d", statusMaxAge)}
			if input.IfNoneMatch == etag && etag != "" {
				answer.Status = http.StatusNotModified
				return answer, payword.Refusal{}, err
			}
			answer.Body = []byte(token)
			return answer, payword.Refusal{}, err
		})
}
