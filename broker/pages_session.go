package broker

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/paywordhq/payword/internal/ledger"
)

const (
	pathSignIn = "/admin/sign-in"

	// sessionSeconds is how long a session lasts: a working day.
	sessionSeconds = 12 * 60 * 60
	// idleSeconds is how long a session lasts that nobody uses: a break, not a
	// night.
	idleSeconds = 60 * 60
	// seenSeconds is how exactly the last use is kept, so that not every page
	// writes to the database.
	seenSeconds = 60

	// The cookie of a session. Browsers take the first one over TLS only, and
	// never from another host.
	cookieSecure   = "__Host-payword-admin"
	cookieLoopback = "payword-admin"
)

// session is who uses the pages.
type session struct {
	secret   string // what the cookie holds
	id       string // its hash; "" without a session
	operator operator
}

// mac returns a MAC over a word with the secret of the session.
func (s session) mac(word string) string { return macOf(s.secret, word) }

func macOf(key, word string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(word))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// formToken is what the forms of the session carry: a foreign site cannot know
// it.
func (s session) formToken() string { return s.mac("form") }

func (s session) isFormToken(token string) bool {
	return hmac.Equal([]byte(token), []byte(s.formToken()))
}

func sessionID(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// isLoopback reports whether a host, with or without a port, is this machine.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && address.IsLoopback()
}

// resume finds the session that the request's cookie names.
func (v *visit) resume() (bool, error) {
	names := []string{cookieSecure}
	if isLoopback(v.r.Host) {
		names = append(names, cookieLoopback)
	}
	for _, name := range names {
		cookie, err := v.r.Cookie(name)
		if err != nil || cookie.Value == "" {
			continue
		}
		found, err := v.pages.broker.loadSession(v.r.Context(), cookie.Value)
		if err != nil {
			return false, err
		}
		if found.id != "" {
			v.session = found
			return true, nil
		}
	}
	return false, nil
}

// loadSession returns the session of a secret, or one without an id.
func (b *Broker) loadSession(ctx context.Context, secret string) (session, error) {
	var name, token string
	var created, seen int64
	id, now := sessionID(secret), b.now()
	err := b.store.db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT operator, token, created, seen FROM broker_sessions WHERE id = ?`, id).
			Scan(&name, &token, &created, &seen)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return session{}, nil
	}
	if err != nil {
		return session{}, err
	}
	if now >= created+sessionSeconds || now >= seen+idleSeconds {
		return session{}, nil
	}
	for _, o := range b.operators {
		if o.Name != name || !hmac.Equal([]byte(token), []byte(macOf(o.Token, "session"))) {
			continue
		}
		if now >= seen+seenSeconds {
			err = b.store.touchSession(ctx, id, now)
		}
		return session{secret: secret, id: id, operator: o}, err
	}
	return session{}, nil // the operator is gone, or has another token
}

func (s *store) touchSession(ctx context.Context, id string, now int64) error {
	_, err := s.update(ctx, "use session", func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE broker_sessions SET seen = ? WHERE id = ?`, now, id)
		return err
	})
	return err
}

// forgetSessions deletes sessions whose time is over.
func (s *store) forgetSessions(ctx context.Context, now int64) error {
	_, err := s.update(ctx, "forget sessions", func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM broker_sessions WHERE created <= ? OR seen <= ?`, now-sessionSeconds, now-idleSeconds)
		return err
	})
	return err
}

// openSession signs an operator in and returns the secret for the cookie.
func (b *Broker) openSession(ctx context.Context, o operator) (string, error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	secret := base64.RawURLEncoding.EncodeToString(raw)
	_, err := b.store.update(ctx, "sign in", func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_sessions (id, operator, token, created, seen) VALUES (?, ?, ?, ?, ?)`,
			sessionID(secret), o.Name, macOf(o.Token, "session"), b.now(), b.now())
		if err != nil {
			return err
		}
		return audit(ctx, tx, auditEntry{"sign-in", "operator:" + o.title(), ""})
	})
	return secret, err
}

// signInForm is what the page for signing in shows.
type signInForm struct{ Next string }

// nextPage returns where to go after signing in: a page of these, whatever was
// asked for.
func nextPage(next string) string {
	parsed, err := url.Parse(next)
	if err != nil || parsed.Scheme != "" || parsed.Host != "" || !strings.HasPrefix(parsed.Path, pathPages) ||
		strings.Contains(next, "\\") || strings.HasPrefix(parsed.Path, pathSignIn) || len(next) > 1000 {
		return pathPages
	}
	return next
}

func (v *visit) askToSignIn() {
	target := pathSignIn
	if v.r.Method == http.MethodGet && v.r.URL.Path != pathPages {
		target += "?next=" + url.QueryEscape(v.r.URL.RequestURI())
	}
	v.redirect(target)
}

func (p *pages) showSignIn(w http.ResponseWriter, r *http.Request) {
	v := &visit{pages: p, w: w, r: r}
	v.show(http.StatusOK, "signin", view{Title: "Sign in", Data: signInForm{nextPage(r.URL.Query().Get("next"))}})
}

func (p *pages) signIn(w http.ResponseWriter, r *http.Request) {
	v := &visit{pages: p, w: w, r: r}
	next := nextPage(r.PostForm.Get("next"))
	again := func(status int, problem string) {
		v.show(status, "signin", view{Title: "Sign in", Problem: problem, Data: signInForm{next}})
	}
	if !isOwnOrigin(r) {
		again(http.StatusForbidden, "This form did not come from this page over https. Nothing was done; send it from here.")
		return
	}
	client := p.broker.clientOf(r) // "" is not counted, as in the API: nobody shall keep everybody else out
	if client != "" && !p.broker.failures.take(client) {
		w.Header().Set("Retry-After", "60")
		again(http.StatusTooManyRequests, "Too many wrong tokens were tried. Wait a minute.")
		return
	}
	o, found := p.broker.operatorOf(strings.TrimSpace(r.PostForm.Get("secret")))
	if !found {
		p.broker.log.WarnContext(r.Context(), "sign-in refused")
		again(http.StatusUnprocessableEntity, "That is no administration token. It stands in the file that --admin-token names.")
		return
	}
	p.broker.failures.forgive(client)
	secret, err := p.broker.openSession(withActor(r.Context(), o.actor()), o)
	if err != nil {
		v.unavailable(err)
		return
	}
	http.SetCookie(w, sessionCookie(r, secret, sessionSeconds))
	v.redirect(next)
}

// sessionCookie makes the cookie of a session; a negative age takes it away.
func sessionCookie(r *http.Request, secret string, ageSeconds int) *http.Cookie {
	isSecure := strings.HasPrefix(r.Header.Get("Origin"), "https://")
	name := cookieLoopback
	if isSecure {
		name = cookieSecure
	}
	return &http.Cookie{
		Name: name, Value: secret, Path: "/", MaxAge: ageSeconds, Secure: isSecure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

func (v *visit) signOut() {
	b := v.pages.broker
	_, err := b.store.update(v.r.Context(), "sign out", func(tx *ledger.Tx) error {
		if _, err := tx.ExecContext(v.r.Context(), `DELETE FROM broker_sessions WHERE id = ?`, v.session.id); err != nil {
			return err
		}
		return audit(v.r.Context(), tx, auditEntry{"sign-out", "operator:" + v.session.operator.title(), ""})
	})
	if err != nil {
		v.unavailable(err)
		return
	}
	http.SetCookie(v.w, sessionCookie(v.r, "", -1))
	v.redirect(pathSignIn)
}
