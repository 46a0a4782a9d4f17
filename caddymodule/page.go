package caddymodule

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"html/template"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// The values of Handler.Page that are no file.
const (
	pageBuiltin = "builtin"
	pageError   = "error"
)

// maxTemplateBytes bounds a publisher's template: more is a wrong file.
const maxTemplateBytes = 1 << 20

// maxDescriptionRunes bounds the description once its placeholders are filled
// in: it stands in a header, and a path may be long.
const maxDescriptionRunes = 200

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// pagePolicy lets the built-in page use its own styles and nothing else. The
// empty icon keeps browsers from asking for /favicon.ico. The page itself asks for
// nothing, but in Firefox it is this policy that lets an extension send a payment
// by HEAD from it (docs/protocol.md, section 7.6).
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Page is what a template of the page that asks for payment is given. The
// names stay as they are; more may come.
type Page struct {
	Language    string        // of the texts, such as "de"
	Direction   string        // of the texts: "ltr" or "rtl"
	Status      int           // of the answer, such as 402
	Site        string        // the vendor's host, such as "news.example"
	URL         string        // what was asked for, canonical
	Description string        // what is bought
	Price       PagePrice     // what it costs
	Reason      string        // the word of why a payment was refused; empty if none was sent
	Problem     string        // the same as a sentence
	Brokers     []string      // the origins of the brokers whose certificates are taken
	Reread      string        // how long the page may be read again free, in words; empty: not at all
	Command     string        // what pays from a terminal
	Challenge   template.HTML // for extensions, as JSON, in which the encoder has escaped < and >

	texts    *phrases
	currency money.Currency
}

// PagePrice is a price in the reader's words.
type PagePrice struct {
	Amount   string // as the language writes numbers: "0,001"
	Currency string // ISO 4217: "USD"
	Full     string // both, on one line
	InWords  string // "a tenth of a cent"; empty where the number says it as well
	Per      string // "per started kilobyte"; empty for a whole request
	AtMost   string // "at most 0.50 USD"; empty if the price is all it can cost
	Terms    string // what stands under the price: InWords, Per and AtMost in one line
	Micros   int64  // the amount in millionths of the currency
}

// Text returns a text of the built-in page in the reader's language, by its key
// in caddymodule/languages, with {site}, {price} and {duration} filled in. A
// key that there is not is an error.
func (p Page) Text(key string) (string, error) {
	if _, known := p.texts.texts[key]; !known {
		return "", fmt.Errorf("there is no text %q", key)
	}
	return p.texts.text(key, "site", p.Site, "price", p.Price.Full, "duration", p.Reread), nil
}

// FormatPrice writes an amount in millionths with the site's currency, as the
// reader's language does: "0,005 USD".
func (p Page) FormatPrice(micros int64) string {
	return p.texts.price(money.Amount(micros), p.currency)
}

// PriceInWords says an amount in millionths as people do: "half a cent". It is
// empty for what is a whole unit of the currency or more.
func (p Page) PriceInWords(micros int64) string {
	return p.texts.inWords(money.Amount(micros), p.currency)
}

// provisionPage reads what the options page and language name, so that a
// mistake in a template is found when the configuration is loaded.
func (h *Handler) provisionPage() (err error) {
	if h.Language != "" {
		if h.texts, err = findLanguage(h.Language); err != nil {
			return fmt.Errorf("payword: language: %w", err)
		}
	}
	h.Teaser.provision()
	if h.Page == "" || h.Page == pageBuiltin || h.Page == pageError {
		return nil
	}
	if h.pageTemplate, err = readTemplate(h.Page); err != nil {
		return fmt.Errorf("payword: page: %w", err)
	}
	return nil
}

// readTemplate reads a publisher's template, and tries it on a page of its own
// to find fields that do not exist.
func readTemplate(name string) (*template.Template, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("want builtin, error, or the file of a template: %w", err)
	}
	defer file.Close()
	source, err := io.ReadAll(io.LimitReader(file, maxTemplateBytes+1))
	if err != nil {
		return nil, err
	}
	if len(source) > maxTemplateBytes {
		return nil, fmt.Errorf("%s: a template has at most %d bytes", name, maxTemplateBytes)
	}
	parsed, err := template.New(name).Parse(string(source))
	if err != nil {
		return nil, err
	}
	currency, _ := money.CurrencyFromCode("USD")
	sample := Page{texts: languages[0], currency: currency, Status: http.StatusPaymentRequired}
	for _, sample.Reason = range []string{"", payword.InsufficientCredit.String()} {
		if err := parsed.Execute(io.Discard, sample); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}

// describe says what is bought, for people.
func (x *exchange) describe() string {
	text := x.Description
	if filler, found := x.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); found {
		text = filler.ReplaceKnown(text, "")
	}
	if text = printable(text); text != "" {
		return text
	}
	return languages[0].text("description", "site", x.realm)
}

// printable keeps of a text what can be seen: placeholders bring in what the
// client sent, such as control characters and marks that turn the direction of
// writing.
func printable(text string) string {
	var b strings.Builder
	count := 0
	for _, r := range strings.ToValidUTF8(text, "") {
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case !unicode.IsPrint(r):
			continue
		}
		if count++; count > maxDescriptionRunes {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// language returns the language that the page speaks to this reader.
func (x *exchange) language() *phrases {
	if x.texts != nil {
		return x.texts
	}
	return chooseLanguage(strings.Join(x.request.Header.Values("Accept-Language"), ","))
}

// page returns what the page shows.
func (x *exchange) page(status int, refusal payword.Refusal, challenge payword.Challenge) (Page, error) {
	encoded, err := json.Marshal(challenge)
	if err != nil {
		return Page{}, err
	}
	texts := x.language()
	content := Page{
		Language: texts.tag.String(), Direction: texts.direction(), Status: status,
		Site: x.realm, URL: x.url, Description: x.describe(), Price: x.pagePrice(texts),
		Brokers: x.app.issuers(), Challenge: template.HTML(encoded),
		Command: "payword pay " + shellQuote(x.url) + " --max " + x.quote.ceiling.Decimal(),
		texts:   texts, currency: x.currency,
	}
	if x.Description == "" {
		content.Description = texts.text("description", "site", x.realm)
	}
	if x.Reread.Times > 0 && x.Meter == nil { // metered answers are never re-read free
		content.Reread = texts.duration(time.Duration(x.Reread.Within))
	}
	if refusal.Reason != payword.PaymentRequired {
		content.Reason, content.Problem = refusal.Reason.String(), texts.problem(refusal.Reason)
	}
	return content, nil
}

// pagePrice writes what the request costs.
func (x *exchange) pagePrice(texts *phrases) PagePrice {
	price := PagePrice{
		Amount: texts.number(x.quote.amount, x.currency), Currency: x.currency.Code(),
		Full: texts.price(x.quote.amount, x.currency), InWords: texts.inWords(x.quote.amount, x.currency),
		Micros: int64(x.quote.amount),
	}
	if unit := x.quote.unit; unit != "" && unit != "request" {
		if price.Per = texts.text("unit." + unit); price.Per == "" {
			price.Per = texts.text("unit.other", "unit", unit)
		}
	}
	// What flows goes on for as long as it is paid for: there the ceiling is that
	// of the first slice.
	if x.quote.ceiling > x.quote.amount && x.Meter != nil && !x.Meter.isCounted() {
		price.AtMost = texts.text("at_most", "price", texts.price(x.quote.ceiling, x.currency))
	}
	price.Terms = strings.TrimSpace(price.InWords + " " + price.Per)
	if price.AtMost != "" {
		price.Terms = strings.TrimPrefix(price.Terms+", "+price.AtMost, ", ")
	}
	return price
}

// shellQuote makes one word of a text for a POSIX shell, whatever it holds: the
// reader copies a command that has a URL of somebody else's making in it.
func shellQuote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// writePage answers a person.
func (x *exchange) writePage(status int, refusal payword.Refusal, challenge payword.Challenge) error {
	content, err := x.page(status, refusal, challenge)
	if err != nil {
		return x.unavailable(x.writer, err)
	}
	if x.Teaser != nil && status == http.StatusPaymentRequired && isRead(x.request) {
		if written, err := x.writeTeaser(refusal, content); written || err != nil {
			return err
		}
	}
	var body bytes.Buffer
	policy := ""
	if x.pageTemplate == nil || !x.writeTemplate(&body, content) {
		policy = pagePolicy
		if err := pageTemplate.Execute(&body, content); err != nil {
			return x.unavailable(x.writer, err)
		}
	}
	header := x.writer.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Language", content.Language)
	x.varyByLanguage(header)
	if policy != "" { // a publisher's page has the publisher's
		header.Set("Content-Security-Policy", policy)
	}
	return x.writeBody(status, body.Bytes())
}

// isRead reports whether a request asks for a page to read, and so has a
// beginning to show.
func isRead(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// writeTemplate writes the publisher's page. If that fails the built-in one
// stands in: a reader who wants to pay should not be held up by a mistake in it.
func (x *exchange) writeTemplate(body *bytes.Buffer, content Page) bool {
	err := x.pageTemplate.Execute(body, content)
	if err != nil {
		x.logger.Error("the template of the page failed, so the built-in page was shown", zap.String("file", x.Page), zap.Error(err))
		body.Reset()
	}
	return err == nil
}

// varyByLanguage says that the answer depends on the reader's languages.
func (x *exchange) varyByLanguage(header http.Header) {
	if x.texts == nil {
		header.Add("Vary", "Accept-Language")
	}
}

// bracesEscaped keeps Caddy's directive templates from running what a client put
// into the URL, where a page that handle_errors makes is a template.
var bracesEscaped = strings.NewReplacer("{", "&#123;", "}", "&#125;")

// setPlaceholders leaves what a page shows to handle_errors. The values are
// escaped for HTML, since that is where they end up; the description may hold
// what the client sent.
func (x *exchange) setPlaceholders(status int, refusal payword.Refusal, challenge payword.Challenge) error {
	content, err := x.page(status, refusal, challenge)
	if err != nil {
		return err
	}
	filler, found := x.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !found {
		return errors.New("the request has no placeholders")
	}
	x.varyByLanguage(x.writer.Header())
	for name, value := range map[string]string{
		"language": content.Language, "site": content.Site, "url": content.URL, "description": content.Description,
		"price": content.Price.Full, "amount": content.Price.Amount, "currency": content.Price.Currency,
		"price_in_words": content.Price.InWords, "per": content.Price.Per, "at_most": content.Price.AtMost,
		"reason": refusal.Reason.String(), "problem": content.Problem, "brokers": strings.Join(content.Brokers, " "),
	} {
		filler.Set("payword."+name, bracesEscaped.Replace(html.EscapeString(value)))
	}
	// In JSON two braces that open stand in a text alone.
	filler.Set("payword.challenge", strings.ReplaceAll(string(content.Challenge), "{{", `{\u007b`))
	return nil
}

// problemTexts says which sentence tells a reader of a reason. Many reasons
// come down to the same thing to do.
var problemTexts = map[payword.Reason]string{
	payword.MalformedHeader:       "unreadable",
	payword.MalformedCredential:   "unreadable",
	payword.MalformedCommitment:   "unreadable",
	payword.MalformedCertificate:  "unreadable",
	payword.MalformedReservation:  "unreadable",
	payword.MethodUnsupported:     "unreadable",
	payword.SeveralPayments:       "unreadable",
	payword.InsecureTransport:     "insecure",
	payword.InvalidChallenge:      "offer",
	payword.ChallengeExpired:      "offer",
	payword.ChallengeUsed:         "offer",
	payword.WrongResource:         "offer",
	payword.UnknownBroker:         "broker",
	payword.BadCertificate:        "forged",
	payword.CertificateExpired:    "account_expired",
	payword.CertificateRevoked:    "account_revoked",
	payword.WrongAddress:          "address",
	payword.Blocked:               "blocked",
	payword.BadCommitment:         "forged",
	payword.CommitmentExpired:     "ended",
	payword.CommitmentNotYetValid: "clock",
	payword.OverCertificateLimit:  "limit",
	payword.WrongVendor:           "wrong_site",
	payword.WrongCurrency:         "currency",
	payword.BadReservation:        "forged",
	payword.ReservationMismatch:   "forged",
	payword.ReservationRequired:   "reserve",
	payword.CreditLimit:           "credit",
	payword.UnknownCommitment:     "unknown",
	payword.CommitmentClosed:      "ended",
	payword.UnknownChain:          "forged",
	payword.ChainExhausted:        "ended",
	payword.StalePayword:          "used",
	payword.StepTooFar:            "step",
	payword.ForgedPayword:         "forged",
	payword.StaleNumber:           "used",
	payword.AlreadyUsed:           "used",
	payword.AlreadyExecuted:       "done",
	payword.PriceOverMax:          "price",
	payword.InsufficientCredit:    "more",
	payword.RateLimited:           "wait",
}

// problem says a reason in words.
func (p *phrases) problem(reason payword.Reason) string {
	key, listed := problemTexts[reason]
	if !listed {
		key = "other"
	}
	return p.text("problem." + key)
}

// maxAcceptBytes bounds the Accept field that is looked at. Browsers send less
// than 200 bytes.
const maxAcceptBytes = 1024

// prefersHTML reports whether the answer is for a person to look at. Browsers
// say so themselves when they navigate; who does not say is asked by Accept,
// which programs send without text/html or with JSON first. What a page loads
// into itself, such as an image, is no page, whatever it accepts.
func prefersHTML(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Mode") == "navigate" {
		return true
	}
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "", "empty", "document", "iframe", "frame":
	default:
		return false
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if len(accept) > maxAcceptBytes {
		return false
	}
	page := max(quality(accept, "text/html"), quality(accept, "application/xhtml+xml"))
	return page > 0 && page >= quality(accept, "application/json") && page >= quality(accept, "application/problem+json")
}

// quality returns how much an Accept field wants a media type that it names, in
// thousandths, and 0 where it does not name it (RFC 9110, section 12.5.1).
func quality(accept, mediaType string) int {
	for _, entry := range strings.Split(accept, ",") {
		name, parameters, _ := strings.Cut(entry, ";")
		if !strings.EqualFold(strings.TrimSpace(name), mediaType) {
			continue
		}
		for _, parameter := range strings.Split(parameters, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
			if strings.EqualFold(key, "q") {
				weight, err := strconv.ParseFloat(value, 64)
				if err != nil || weight < 0 || weight > 1 {
					return 0
				}
				return int(weight * 1000)
			}
		}
		return 1000
	}
	return 0
}

// readPage reads the option page.
func readPage(h *Handler, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) != 1 {
		return d.Err("want page builtin, page error, or page <file>")
	}
	h.Page = arguments[0]
	return nil
}
