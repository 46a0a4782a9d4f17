package client

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Two wallets on two machines meet by one line of text each way. The owner's
// wallet invites: its line names the account and a fresh challenge of the broker.
// The new wallet answers with its key and its proof that it means this account.
// The owner's wallet gives both to the broker. No line is secret, but who swaps
// the answer for his own on its way gets onto the account, so people compare a
// short code of it.

const (
	invitationPrefix = "payword-invitation-"
	answerPrefix     = "payword-answer-"

	// lineSumBytes of a SHA-256 tell a line that was cut off or changed by
	// mistake.
	lineSumBytes = 4
	// maxLineBytes bounds a line that somebody pasted; what is in it has 270
	// bytes at most for the origin and 64 for the challenge.
	maxLineBytes = 1024
	// codeBytes of a SHA-256 are what people compare: nobody finds another key
	// with the same code within the minutes of a challenge.
	codeBytes = 10
)

// encodeLine returns parts as one line that can be selected by a double click.
func encodeLine(prefix string, content []byte) string {
	sum := sha256.Sum256(append([]byte(prefix), content...))
	return prefix + base64url.EncodeToString(append(sum[:lineSumBytes:lineSumBytes], content...))
}

// decodeLine reads what encodeLine wrote, with any white space between, as a
// terminal's line breaks.
func decodeLine(prefix, line string) ([]byte, error) {
	line = strings.Join(strings.Fields(line), "")
	if len(line) > maxLineBytes || !strings.HasPrefix(line, prefix) {
		return nil, fmt.Errorf("want the line that begins with %s", prefix)
	}
	raw, err := base64url.DecodeString(line[len(prefix):])
	if err != nil || len(raw) < lineSumBytes {
		return nil, errors.New("the line is not whole: copy all of it")
	}
	content := raw[lineSumBytes:]
	if sum := sha256.Sum256(append([]byte(prefix), content...)); string(sum[:lineSumBytes]) != string(raw[:lineSumBytes]) {
		return nil, errors.New("the line is not whole: copy all of it")
	}
	return content, nil
}

// invitation is what an owner's wallet tells a new one.
type invitation struct {
	possession payword.Possession
	currency   money.Currency
	expires    int64 // seconds since 1970
}

func (i invitation) String() string {
	p := i.possession
	return encodeLine(invitationPrefix, []byte(strings.Join([]string{
		p.Purpose, p.Broker, p.Account, p.Challenge, string(i.currency), strconv.FormatInt(i.expires, 10),
	}, "\n")))
}

func parseInvitation(line string) (invitation, error) {
	content, err := decodeLine(invitationPrefix, line)
	if err != nil {
		return invitation{}, fmt.Errorf("reading the invitation: %w", err)
	}
	parts := strings.Split(string(content), "\n")
	wrong := errors.New("reading the invitation: it is of another version of payword: use the same on both machines")
	if len(parts) != 6 {
		return invitation{}, wrong
	}
	i := invitation{possession: payword.Possession{Purpose: parts[0], Broker: parts[1], Account: parts[2], Challenge: parts[3]}}
	// It is shown beside the code that people compare.
	if i.possession.Account != foreignText(i.possession.Account) {
		return invitation{}, wrong
	}
	isKnown := i.possession.Purpose == payword.PossessionDevice || i.possession.Purpose == payword.PossessionSubAccount
	if i.expires, err = strconv.ParseInt(parts[5], 10, 64); err != nil || !isKnown {
		return invitation{}, wrong
	}
	if i.currency, err = money.ParseCurrency(parts[4]); err != nil {
		return invitation{}, fmt.Errorf("reading the invitation: %w", err)
	}
	if err := payword.CheckOrigin(i.possession.Broker); err != nil {
		return invitation{}, fmt.Errorf("reading the invitation: %w", err)
	}
	return i, nil
}

// joinAnswer is what a new wallet tells the owner's.
type joinAnswer struct {
	key       ed25519.PublicKey
	proof     string
	challenge string
}

func (a joinAnswer) line() (string, error) {
	signature, err := base64url.DecodeString(a.proof)
	if err != nil {
		return "", err
	}
	content := append(append([]byte{}, a.key...), signature...)
	return encodeLine(answerPrefix, append(content, a.challenge...)), nil
}

func parseAnswer(line string) (joinAnswer, error) {
	content, err := decodeLine(answerPrefix, line)
	const fixed = ed25519.PublicKeySize + ed25519.SignatureSize
	if err == nil && len(content) <= fixed {
		err = errors.New("the line is not whole: copy all of it")
	}
	if err != nil {
		return joinAnswer{}, fmt.Errorf("reading the answer: %w", err)
	}
	return joinAnswer{
		key: content[:ed25519.PublicKeySize], proof: base64url.EncodeToString(content[ed25519.PublicKeySize:fixed]),
		challenge: string(content[fixed:]),
	}, nil
}

// JoinCode returns the code of an answer of Join, such as ABCD-EFGH-IJKL-MNOP. If
// the machine that made the answer and the one that is about to use it show the
// same, nobody has changed it on its way.
func JoinCode(answer string) (string, error) {
	a, err := parseAnswer(answer)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte("payword-join-code\n" + payword.Thumbprint(a.key) + "\n" + a.challenge))
	letters := base32.StdEncoding.EncodeToString(sum[:codeBytes])
	return letters[:4] + "-" + letters[4:8] + "-" + letters[8:12] + "-" + letters[12:], nil
}

// Invite returns a line of text with which another wallet can ask to belong to
// this wallet's account, for the purpose payword.PossessionDevice, as a further
// device of it, or payword.PossessionSubAccount, as a sub-account with a budget of
// its own. It is good for some minutes, and no secret: nothing happens until the
// line that the other wallet's Join answers is given to AddDevice or
// OpenSubAccount. Among the errors are ErrNoAccount and *BrokerError.
func (w *Wallet) Invite(ctx context.Context, purpose string) (string, error) {
	if purpose != payword.PossessionDevice && purpose != payword.PossessionSubAccount {
		return "", fmt.Errorf("inviting: %.40q is no purpose: want %s or %s", purpose, payword.PossessionDevice, payword.PossessionSubAccount)
	}
	account, err := w.Balance(ctx) // so that a wallet that was removed is told first
	if err != nil {
		return "", err
	}
	if account.SubAccount {
		return "", errors.New("inviting: this wallet has a sub-account, which has no devices or sub-accounts of its own: invite from the account that it belongs to")
	}
	broker, _ := w.account()
	challenge, err := w.challenge(ctx, broker)
	if err != nil {
		return "", err
	}
	return invitation{
		possession: payword.Possession{Purpose: purpose, Broker: broker, Account: account.Account, Challenge: challenge.Challenge},
		currency:   account.Currency, expires: challenge.Expires,
	}.String(), nil
}

func (w *Wallet) challenge(ctx context.Context, broker string) (challenge payword.AccountChallenge, err error) {
	ask := question{action: "asking for a challenge", method: http.MethodPost, path: payword.PathChallenges}
	return challenge, w.ask(ctx, broker, ask, &challenge)
}

// Join answers an invitation of another wallet: this one will belong to the
// account that it names as soon as the owner's wallet has taken the answer. Until
// then the broker knows nothing of it. A wallet has one account; one whose answer
// was never taken may join another. A *BrokerError is among the errors.
func (w *Wallet) Join(ctx context.Context, line string) (answer string, err error) {
	i, err := parseInvitation(line)
	if err != nil {
		return "", err
	}
	if w.now().Unix() >= i.expires {
		return "", errors.New("joining an account: the invitation has expired: make another one, they are good for five minutes")
	}
	if err := w.checkFree(ctx); err != nil {
		return "", err
	}
	key, err := w.accountKey()
	if err != nil {
		return "", err
	}
	proof, err := i.possession.Sign(key)
	if err != nil {
		return "", err
	}
	answer, err = joinAnswer{key: publicOf(key), proof: proof, challenge: i.possession.Challenge}.line()
	if err != nil {
		return "", err
	}
	w.mu.Lock()
	w.doc.Broker, w.doc.Account, w.doc.Currency = i.possession.Broker, i.possession.Account, i.currency
	if i.possession.Purpose == payword.PossessionSubAccount {
		w.doc.Account = "" // the broker says it, once there is one
	}
	w.unsaved = true
	w.mu.Unlock()
	return answer, w.save()
}

// checkFree makes sure that the wallet has no account.
func (w *Wallet) checkFree(ctx context.Context) error {
	w.mu.Lock()
	broker, account, isUsed := w.doc.Broker, w.doc.Account, w.doc.NextKey > 0
	w.mu.Unlock()
	if broker == "" {
		return nil
	}
	var refusal *BrokerError
	if _, err := w.Balance(ctx); err != nil {
		if !errors.As(err, &refusal) || refusal.Reason != payword.UnknownAccount {
			return err
		}
		if !isUsed {
			return nil // it joined before, and nobody let it in
		}
	}
	return fmt.Errorf("joining an account: the wallet has, or had, account %s at %s: make another wallet for this one", account, broker)
}

// AddDevice lets the wallet whose Join gave the answer speak for this wallet's
// account: it sees all of it and may spend all of it, out of the same balance, by
// keys and chains of its own. name, 1 to 50 characters, is for the owner. The same
// answer again adds nothing. Among the errors are ErrNoAccount and *BrokerError.
func (w *Wallet) AddDevice(ctx context.Context, name, answer string) (device payword.Device, err error) {
	a, err := w.checkAnswer(payword.PossessionDevice, answer)
	if err != nil {
		return device, err
	}
	err = w.askTwice(ctx, question{
		action: "adding a device", method: http.MethodPost, path: payword.PathDevices,
		body: payword.AddDevice{Key: payword.NewPublicKey(a.key), Name: name, Challenge: a.challenge, Proof: a.proof},
	}, &device)
	return device, err
}

// OpenSubAccount opens a sub-account of this wallet's account for the wallet whose
// Join gave the answer. It has no money yet, and never more than it is given (see
// Ask and payword.SubAccountTransfer); limits hold beside that. name, 1 to 50
// characters, is for the owner. The same answer again finds the same sub-account.
// Among the errors are ErrNoAccount and *BrokerError.
func (w *Wallet) OpenSubAccount(ctx context.Context, name, answer string, limits payword.Limits) (sub payword.SubAccount, err error) {
	a, err := w.checkAnswer(payword.PossessionSubAccount, answer)
	if err != nil {
		return sub, err
	}
	err = w.askTwice(ctx, question{
		action: "opening a sub-account", method: http.MethodPost, path: payword.PathSubAccounts,
		body: payword.OpenSubAccount{Key: payword.NewPublicKey(a.key), Name: name, Challenge: a.challenge, Proof: a.proof, Limits: limits},
	}, &sub)
	return sub, err
}

// checkAnswer reads an answer and checks that it is one to an invitation of this
// account, which says it better than the broker can.
func (w *Wallet) checkAnswer(purpose, line string) (joinAnswer, error) {
	a, err := parseAnswer(line)
	if err != nil {
		return a, err
	}
	w.mu.Lock()
	p := payword.Possession{Purpose: purpose, Broker: w.doc.Broker, Account: w.doc.Account, Challenge: a.challenge}
	w.mu.Unlock()
	if p.Broker == "" {
		return a, ErrNoAccount
	}
	if p.Verify(a.key, a.proof).Refused() {
		return a, fmt.Errorf("the answer is to an invitation of another account, or not to one as a %s: make one for this account and have it answered", purpose)
	}
	return a, nil
}
