package broker_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/paywordhq/payword"
)

// Several devices speak for one account, are listed, renamed and removed.
func TestDevices(t *testing.T) {
	b := newBank(t)
	phone := b.newUser(100 * cent)
	laptop := phone.newDevice("laptop")
	laptop.wantBalance(100*cent, 0)
	want(t, phone.addDevice(laptop.key, "again"), http.StatusOK, payword.Accepted)

	names := func(u *user) (found []string) {
		var list payword.DeviceList
		u.call(u.key, "GET", payword.PathDevices, nil).into(t, http.StatusOK, &list)
		for _, device := range list.Devices {
			found = append(found, fmt.Sprintf("%s %t", device.Name, device.Current))
		}
		slices.Sort(found)
		return found
	}
	if got := names(phone); !slices.Equal(got, []string{"first true", "laptop false"}) {
		t.Errorf("got %q", got)
	}
	path := payword.PathDevices + "/" + payword.Thumbprint(publicKey(phone.key))
	want(t, laptop.call(laptop.key, "PUT", path, map[string]string{"name": "Phöne 2"}), http.StatusOK, payword.Accepted)
	want(t, laptop.call(laptop.key, "PUT", path, map[string]string{"name": "a\nb"}), 422, payword.Accepted)
	if got := names(laptop); !slices.Equal(got, []string{"Phöne 2 false", "laptop true"}) {
		t.Errorf("got %q", got)
	}
	// The same key opens no account of its own, and finds the one it speaks for.
	var found payword.Account
	laptop.openAccount().into(t, http.StatusOK, &found)
	if found.Account != phone.account {
		t.Errorf("got account %s, want %s", found.Account, phone.account)
	}

	want(t, laptop.removeDevice(phone.key), http.StatusOK, payword.Accepted)
	want(t, phone.call(phone.key, "GET", payword.PathAccount, nil), http.StatusNotFound, payword.UnknownAccount)
	want(t, phone.openAccount(), http.StatusForbidden, payword.NotPermitted)
	want(t, laptop.addDevice(phone.key, "back"), http.StatusForbidden, payword.NotPermitted)
	want(t, laptop.removeDevice(phone.key), http.StatusNotFound, payword.UnknownDevice)
	want(t, laptop.removeDevice(laptop.key), http.StatusForbidden, payword.NotPermitted)
	laptop.wantBalance(100*cent, 0)
	if got := names(laptop); !slices.Equal(got, []string{"laptop true"}) {
		t.Errorf("got %q", got)
	}
}

func TestDeviceRefusals(t *testing.T) {
	b := newBank(t)
	u, other := b.newUser(0), b.newUser(0)
	key, challenge := newKey(), b.challenge()
	whole := payword.AddDevice{Key: payword.NewPublicKey(publicKey(key)), Name: "new", Challenge: challenge}
	whole.Proof = b.proof(payword.PossessionDevice, u.account, challenge, key)
	with := func(change func(*payword.AddDevice)) payword.AddDevice {
		changed := whole
		change(&changed)
		return changed
	}
	cases := []struct {
		name   string
		body   payword.AddDevice
		status int
		reason payword.Reason
	}{
		{"no proof", with(func(r *payword.AddDevice) { r.Proof = "" }), http.StatusUnauthorized, payword.BadSignature},
		{"another purpose", with(func(r *payword.AddDevice) {
			r.Proof = b.proof(payword.PossessionSubAccount, u.account, challenge, key)
		}), http.StatusUnauthorized, payword.BadSignature},
		{"another account", with(func(r *payword.AddDevice) {
			r.Proof = b.proof(payword.PossessionDevice, other.account, challenge, key)
		}), http.StatusUnauthorized, payword.BadSignature},
		{"another challenge", with(func(r *payword.AddDevice) { r.Challenge = b.challenge() }), http.StatusUnauthorized, payword.BadSignature},
		{"another key's proof", with(func(r *payword.AddDevice) {
			r.Proof = b.proof(payword.PossessionDevice, u.account, challenge, newKey())
		}), http.StatusUnauthorized, payword.BadSignature},
		{"a made up challenge", with(func(r *payword.AddDevice) { r.Challenge = "AAAA" }), 422, payword.InvalidChallenge},
		{"no key", with(func(r *payword.AddDevice) { r.Key.X = "AAAA" }), http.StatusUnauthorized, payword.BadSignature},
		{"no name", with(func(r *payword.AddDevice) { r.Name = "" }), 422, payword.Accepted},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want(t, u.call(u.key, "POST", payword.PathDevices, c.body), c.status, c.reason)
		})
	}
	want(t, other.addDevice(u.key, "taken"), http.StatusForbidden, payword.NotPermitted)
	want(t, u.removeDevice(other.key), http.StatusNotFound, payword.UnknownDevice)
	b.clock.advance(300)
	want(t, u.call(u.key, "POST", payword.PathDevices, whole), 422, payword.ChallengeExpired)
	var list payword.DeviceList
	u.call(u.key, "GET", payword.PathDevices, nil).into(t, http.StatusOK, &list)
	if len(list.Devices) != 1 {
		t.Errorf("refused devices were added: %+v", list)
	}
}

// An account has sixteen devices at a time.
func TestTooManyDevices(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	for k := range 15 {
		u.newDevice(fmt.Sprint("device ", k))
	}
	want(t, u.addDevice(newKey(), "one more"), http.StatusTooManyRequests, payword.RateLimited)
}

// From its removal on nothing is done for a device, at no node of the broker,
// and not for a request either that was admitted before.
func TestRemovalIsAtOnce(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(1000*cent), b.newShop()
	lost := u.newDevice("lost")
	p := lost.commit(s.origin, 100*cent)
	first := b.url
	b.open() // a second node on the same database
	second := b.url
	want(t, u.removeDevice(lost.key), http.StatusOK, payword.Accepted)
	for _, node := range []string{first, second} {
		b.url = node
		want(t, p.reserve(10*cent), http.StatusNotFound, payword.UnknownAccount)
		want(t, lost.payout("out", cent), http.StatusNotFound, payword.UnknownAccount)
	}
	u.wantBalance(1000*cent, 0)
}

// heldBody is the body of a request that the broker has admitted and waits for:
// it is read only once the broker has asked for it.
type heldBody struct {
	content           io.Reader
	admitted, proceed chan struct{}
	once              sync.Once
}

func (h *heldBody) Read(target []byte) (int, error) {
	h.once.Do(func() { close(h.admitted) })
	<-h.proceed
	return h.content.Read(target)
}

// hold sends a request up to its body, and returns what sends the rest.
func (b *bank) hold(request *http.Request) (proceed func() answer) {
	b.t.Helper()
	held := &heldBody{content: request.Body, admitted: make(chan struct{}), proceed: make(chan struct{})}
	request.Body = io.NopCloser(held)
	request.Header.Set("Expect", "100-continue")
	answers := make(chan answer)
	go func() { answers <- b.do(request) }()
	select {
	case <-held.admitted:
	case early := <-answers:
		b.t.Fatalf("the broker did not wait for the body: %d %s", early.status, early.body)
	}
	return func() answer {
		close(held.proceed)
		return <-answers
	}
}

// A request that was admitted before its device was removed, and is still on its
// way, does nothing.
func TestRemovalWhileOnTheWay(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(1000*cent), b.newShop()
	lost := u.newDevice("lost")
	agent := u.newSub(10*cent, payword.Limits{})
	p := lost.commit(s.origin, 100*cent)
	challenge, key := b.challenge(), newKey()
	code := b.voucherCodes("one", 1, cent, 3600)[0]
	post := func(path string, body any) func() answer { return b.hold(b.signed(lost.key, "POST", path, body)) }
	onTheWay := map[string]func() answer{
		"reservation": post(payword.PathReservations, payword.ReservationRequest{Commitment: p.m.Token, Amount: cent}),
		"certificate": post(payword.PathCertificates, payword.CertificateRequest{Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(newKey()))}}),
		"transfer":    post(payword.PathTransfers, payword.SubAccountTransfer{ID: "t", Account: agent.account, Amount: cent}),
		"payout":      post(payword.PathPayouts, payword.RequestPayout{ID: "p", Amount: cent, Destination: payword.PayoutDestination{IBAN: ownIBAN}}),
		"closing":     post(payword.PathClose, payword.CloseAccount{Destination: &payword.PayoutDestination{IBAN: ownIBAN}}),
		"voucher":     post(payword.PathVouchers, payword.RedeemVoucher{Code: code}),
		"limits":      b.hold(b.signed(lost.key, "PUT", payword.PathLimits, payword.Limits{})),
		"device": post(payword.PathDevices, payword.AddDevice{
			Key: payword.NewPublicKey(publicKey(key)), Name: "back door", Challenge: challenge,
			Proof: b.proof(payword.PossessionDevice, u.account, challenge, key),
		}),
	}
	want(t, u.removeDevice(lost.key), http.StatusOK, payword.Accepted)
	for name, proceed := range onTheWay {
		if a := proceed(); a.status != http.StatusNotFound || a.reason() != "unknown-account" {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	u.wantBalance(990*cent, 0)
	u.wantState("open")
	b.wantSound()
}

// Two devices that remove each other at once leave one.
func TestDevicesRemoveEachOther(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	other := u.newDevice("other")
	statuses := make([]int, 2)
	together(2, func(k int) {
		if k == 0 {
			statuses[k] = u.removeDevice(other.key).status
		} else {
			statuses[k] = other.removeDevice(u.key).status
		}
	})
	slices.Sort(statuses)
	if statuses[0] != http.StatusOK || statuses[1] != http.StatusNotFound {
		t.Errorf("got statuses %v, want one removal", statuses)
	}
}
