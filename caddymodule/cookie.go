package caddymodule

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/paywordhq/payword"
)

// A browser extension that cannot set the headers of a navigation brings its
// payment by a HEAD with headerCookie and gets a cookie that holds it for the GET
// of the same URL (docs/protocol.md, section 7.6, and decision 55).
const (
	// headerCookie asks for the cookie in a HEAD, and says in the answer that it
	// was set.
	headerCookie = "Payword-Cookie"

	// cookieName is bound to the host, and to what came over TLS, by its prefix.
	cookieName = "__Host-payword"

	// cookieSeconds is how long a cookie holds: longer than a browser takes from
	// the HEAD to the reload, and too short to be of use to anybody else.
	cookieSeconds = 15

	// maxCookieBytes bounds what is deciphered: a payment has at most 256 bytes.
	maxCookieBytes = 512
)

// cookieKey returns the key that cookies are sealed with, of a challenge secret.
func cookieKey(secret []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "payword-cookie-1", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealCookie returns the value of a cookie that holds a payment for a URL. Nobody
// but a gate with the secret can read it or make another. now is in seconds since
// 1970.
func sealCookie(secret []byte, url string, payment payword.Payment, now int64) (string, error) {
	key, err := cookieKey(secret)
	if err != nil {
		return "", err
	}
	content := binary.BigEndian.AppendUint64(nil, uint64(now+cookieSeconds))
	content = append(content, payword.FormatPayment(payment)...)
	return base64.RawURLEncoding.EncodeToString(key.Seal(nil, nil, content, []byte(url))), nil
}

// openCookie returns the payment that a cookie holds for a URL, or false if it
// holds none, or none any more.
func openCookie(secrets [][]byte, value, url string, now int64) (payword.Payment, bool) {
	if len(value) > maxCookieBytes {
		return payword.Payment{}, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		return payword.Payment{}, false
	}
	for _, secret := range secrets {
		key, err := cookieKey(secret)
		if err != nil || len(sealed) < key.Overhead() {
			return payword.Payment{}, false
		}
		content, err := key.Open(nil, nil, sealed, []byte(url))
		if err != nil || len(content) < 8 {
			continue
		}
		ends := int64(binary.BigEndian.Uint64(content))
		payment, refusal := payword.ParsePayment(string(content[8:]))
		return payment, !refusal.Refused() && now < ends && now >= ends-cookieSeconds
	}
	return payword.Payment{}, false
}

// takeCookies removes our cookie from a request and returns its values. Other
// cookies stay as they are.
func takeCookies(header http.Header) (values []string) {
	lines := header["Cookie"]
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, cookieName) }) {
		return nil
	}
	header.Del("Cookie")
	for _, line := range lines {
		var others []string
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if strings.TrimSpace(name) == cookieName {
				values = append(values, value)
			} else {
				others = append(others, pair)
			}
		}
		if rest := strings.TrimSpace(strings.Join(others, ";")); rest != "" {
			header["Cookie"] = append(header["Cookie"], rest)
		}
	}
	return values
}

// useCookie pays with the cookie of a request that brought no payment of its own,
// and reports whether it holds one for it: one that a reader asked for as a page
// of its own. Whatever else it is, the request is one without a payment.
func (x *exchange) useCookie() bool {
	r := x.request
	if len(x.sent.cookies) != 1 || r.Method != http.MethodGet ||
		r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document" {
		return false
	}
	payment, found := openCookie(x.gate.challenges.recognised(x.now), x.sent.cookies[0], x.url, x.now)
	if found {
		x.sent.form, x.sent.action, x.sent.payment = formCompact, payword.ActionPay, payment
	}
	return found
}

// wantsCookie reports whether the request brings a payment to have it back in a
// cookie.
func (x *exchange) wantsCookie() bool {
	return x.sent.wantsCookie && x.request.Method == http.MethodHead && x.sent.form == formCompact && x.sent.stream == ""
}

// proveForCookie verifies the payword and keeps it. The number is left for the
// GET.
func (x *exchange) proveForCookie(ctx context.Context) (payword.Refusal, error) {
	tail, refusal, err := x.prove(ctx)
	if err != nil || refusal.Refused() {
		return refusal, err
	}
	if x.view.closed {
		return x.explain(payword.CommitmentClosed), nil
	}
	payment := &x.sent.payment
	if err := x.collectDebt(ctx, tail); err != nil {
		return payword.Refusal{}, err
	}
	seen, err := x.gate.store.advance(ctx, payment.Commitment, payment.Chain, tail)
	if err != nil {
		return payword.Refusal{}, err
	}
	x.saw(&seen)
	x.gate.streams.credited(payment.Commitment)
	return payword.Refusal{}, nil
}

// giveCookie answers a HEAD whose payword was proved. It never reaches the
// upstream.
func (x *exchange) giveCookie() error {
	sealed, err := sealCookie(x.gate.challenges.making(), x.url, x.sent.payment, x.now)
	if err != nil {
		return x.unavailable(x.writer, err)
	}
	x.tell(payword.Refusal{})
	header := x.writer.Header()
	x.writeStatusHeader(header, payword.Accepted)
	header.Set(headerCookie, "?1")
	header.Add("Set-Cookie", fmt.Sprintf("%s=%s; Path=/; Max-Age=%d; HttpOnly; Secure; SameSite=Strict", cookieName, sealed, cookieSeconds))
	x.writeNoContent()
	return nil
}
