package adminpage

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
	// sessionSeconds is how long a session lasts: a working day.
	sessionSeconds = 12 * 60 * 60
	// idleSeconds is how long a session lasts that nobody uses: a break, not a
	// night.
	idleSeconds = 60 * 60
	// seenSeconds is how exactly the last use is kept, so that not every page
	// writes to the database.
	seenSeconds = 60
)

// Sessions keeps who is signed in, in a table of the service's database with the
// columns id, operator, token, created and seen.
type Sessions struct {
	// Table is its name, such as "broker_sessions".
	Table string
	// View and Update run a transaction. The name says what for, such as
	// "sign in".
	View   func(ctx context.Context, look func(tx *ledger.Tx) error) error
	Update func(ctx context.Context, name string, change func(tx *ledger.Tx) error) error
	// Audit writes "sign-in" or "sign-out" to the audit log.
	Audit func(ctx context.Context, tx *ledger.Tx, action string, who Operator) error
}

// session is who uses the pages.
type session struct {
	secret   string // what the cookie holds
	id       string // its hash; "" without a session
	operator Operator
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

// cookieSecure is the name of the cookie that browsers take over TLS only, and
// never from another host.
func (s *Site) cookieSecure() string { return "__Host-" + s.Cookie }

// resume finds the session that the request's cookie names.
func (v *Visit) resume() (bool, error) {
	names := []string{v.site.cookieSecure()}
	if isLoopback(v.R.Host) {
		names = append(names, v.site.Cookie)
	}
	for _, name := range names {
		cookie, err := v.R.Cookie(name)
		if err != nil || cookie.Value == "" {
			continue
		}
		found, err := v.site.loadSession(v.R.Context(), cookie.Value)
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
func (s *Site) loadSession(ctx context.Context, secret string) (session, error) {
	var name, token string
	var created, seen int64
	id, now := sessionID(secret), s.Now().Unix()
	err := s.Sessions.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT operator, token, created, seen FROM `+s.Sessions.Table+` WHERE id = ?`, id).
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
	o, found := s.Operators.named(name)
	if !found || !hmac.Equal([]byte(token), []byte(macOf(o.Token, "session"))) {
		return session{}, nil // the operator is gone, or has another token
	}
	if now >= seen+seenSeconds {
		err = s.Sessions.touch(ctx, id, now)
	}
	return session{secret: secret, id: id, operator: o}, err
}

func (s Sessions) touch(ctx context.Context, id string, now int64) error {
	return s.Update(ctx, "use session", func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE `+s.Table+` SET seen = ? WHERE id = ?`, now, id)
		return err
	})
}

// Forget deletes sessions whose time is over at now, in seconds since 1970.
func (s Sessions) Forget(ctx context.Context, now int64) error {
	return s.Update(ctx, "forget sessions", func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM `+s.Table+` WHERE created <= ? OR seen <= ?`, now-sessionSeconds, now-idleSeconds)
		return err
	})
}

// open signs an operator in at now and returns the secret for the cookie.
func (s Sessions) open(ctx context.Context, o Operator, now int64) (string, error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	secret := base64.RawURLEncoding.EncodeToString(raw)
	err := s.Update(ctx, "sign in", func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO `+s.Table+` (id, operator, token, created, seen) VALUES (?, ?, ?, ?, ?)`,
			sessionID(secret), o.Name, macOf(o.Token, "session"), now, now)
		if err != nil {
			return err
		}
		return s.Audit(ctx, tx, "sign-in", o)
	})
	return secret, err
}

// end signs a session out.
func (s Sessions) end(ctx context.Context, one session) error {
	return s.Update(ctx, "sign out", func(tx *ledger.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+s.Table+` WHERE id = ?`, one.id); err != nil {
			return err
		}
		return s.Audit(ctx, tx, "sign-out", one.operator)
	})
}

// signInForm is what the page for signing in shows.
type signInForm struct{ Next string }

// nextPage returns where to go after signing in: a page of these, whatever was
// asked for.
func (s *Site) nextPage(next string) string {
	parsed, err := url.Parse(next)
	if err != nil || parsed.Scheme != "" || parsed.Host != "" || !strings.HasPrefix(parsed.Path, s.Path) ||
		strings.Contains(next, "\\") || strings.HasPrefix(parsed.Path, s.signInPath()) || len(next) > 1000 {
		return s.Path
	}
	return next
}

func (v *Visit) askToSignIn() {
	target := v.site.signInPath()
	if v.R.Method == http.MethodGet && v.R.URL.Path != v.site.Path {
		target += "?next=" + url.QueryEscape(v.R.URL.RequestURI())
	}
	v.Redirect(target)
}

func (s *Site) showSignIn(w http.ResponseWriter, r *http.Request) {
	v := &Visit{site: s, W: w, R: r}
	v.Show(http.StatusOK, "signin", View{Title: "Sign in", Data: signInForm{s.nextPage(r.URL.Query().Get("next"))}})
}

func (s *Site) signIn(w http.ResponseWriter, r *http.Request) {
	v := &Visit{site: s, W: w, R: r}
	next := s.nextPage(r.PostForm.Get("next"))
	again := func(status int, problem string) {
		v.Show(status, "signin", View{Title: "Sign in", Problem: problem, Data: signInForm{next}})
	}
	if !isOwnOrigin(r) {
		again(http.StatusForbidden, "This form did not come from this page over https. Nothing was done; send it from here.")
		return
	}
	forgive := func() {}
	if s.Admit != nil {
		var isAdmitted bool
		if isAdmitted, forgive = s.Admit(r); !isAdmitted {
			w.Header().Set("Retry-After", "60")
			again(http.StatusTooManyRequests, "Too many wrong tokens were tried. Wait a minute.")
			return
		}
	}
	o, found := s.Operators.Of(strings.TrimSpace(r.PostForm.Get("secret")))
	if !found {
		s.Log.WarnContext(r.Context(), "sign-in refused")
		again(http.StatusUnprocessableEntity, "That is no administration token. It stands in the file that "+s.TokenFlag+" names.")
		return
	}
	forgive()
	secret, err := s.Sessions.open(s.Act(r.Context(), o), o, s.Now().Unix())
	if err != nil {
		v.Unavailable(err)
		return
	}
	http.SetCookie(w, s.sessionCookie(r, secret, sessionSeconds))
	v.Redirect(next)
}

// sessionCookie makes the cookie of a session; a negative age takes it away.
func (s *Site) sessionCookie(r *http.Request, secret string, ageSeconds int) *http.Cookie {
	isSecure := strings.HasPrefix(r.Header.Get("Origin"), "https://")
	name := s.Cookie
	if isSecure {
		name = s.cookieSecure()
	}
	return &http.Cookie{
		Name: name, Value: secret, Path: "/", MaxAge: ageSeconds, Secure: isSecure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

func (v *Visit) signOut() {
	if err := v.site.Sessions.end(v.R.Context(), v.session); err != nil {
		v.Unavailable(err)
		return
	}
	http.SetCookie(v.W, v.site.sessionCookie(v.R, "", -1))
	v.Redirect(v.site.signInPath())
}
