package client_test

import (
	"crypto/ed25519"
	"net/http"
	"strconv"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// ownerFake is what a fakeBroker keeps for the owner of its one account.
type ownerFake struct {
	devices   []payword.Device // the key that opened the account comes first
	subs      []*payword.SubAccount
	transfers map[string]payword.SubAccountTransfer
	limits    payword.AccountLimits
	vouchers  map[string]money.Amount
	payouts   []payword.Payout
	held      money.Amount // by payouts, in micros
	state     string
	noExport  bool
	cutExport bool // the export breaks off
	loseOwner bool // does the work of the next request that changes something and breaks off
}

func newOwnerFake() ownerFake {
	return ownerFake{transfers: make(map[string]payword.SubAccountTransfer), vouchers: make(map[string]money.Amount), state: "open"}
}

func (b *fakeBroker) open(key ed25519.PublicKey) {
	id := payword.Thumbprint(key)
	if b.accounts[id] == nil {
		b.accounts[id] = key
		b.owner.devices = append(b.owner.devices, payword.Device{Device: id, Created: b.now().Unix()})
	}
}

func (b *fakeBroker) account() payword.Account {
	reserved := money.Amount(0)
	for _, amount := range b.reservations {
		reserved += amount
	}
	return payword.Account{
		Account: "account-1", Currency: usd, Available: b.balance, Reserved: reserved, Payouts: b.owner.held, State: b.owner.state,
	}
}

func (b *fakeBroker) serveOwner(w http.ResponseWriter, r *http.Request, body []byte) {
	if b.owner.noExport && r.URL.Path == payword.PathExport {
		http.NotFound(w, r)
		return
	}
	if b.owner.cutExport && r.URL.Path == payword.PathExport {
		_, _ = w.Write([]byte(`{"broker":`))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	answer, refusal := b.ownerAnswer(r, body)
	switch {
	case refusal.Refused():
		b.refuse(w, refusal)
	case b.owner.loseOwner && r.Method != http.MethodGet:
		b.owner.loseOwner = false
		panic(http.ErrAbortHandler)
	case answer == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		b.answer(w, answer)
	}
}

func (b *fakeBroker) ownerAnswer(r *http.Request, body []byte) (any, payword.Refusal) {
	o := &b.owner
	path := r.URL.Path
	switch {
	case path == payword.PathDevices:
		return b.serveDevices(r, body)
	case strings.HasPrefix(path, payword.PathDevices+"/"):
		return b.serveDevice(r, strings.TrimPrefix(path, payword.PathDevices+"/"), body)
	case path == payword.PathSubAccounts && r.Method == http.MethodGet:
		return b.subAccountPage(r.URL.Query().Get("after")), payword.Refusal{}
	case path == payword.PathSubAccounts:
		return b.openSub(body)
	case strings.HasPrefix(path, payword.PathSubAccounts+"/"):
		return b.serveSub(strings.TrimPrefix(path, payword.PathSubAccounts+"/"), body)
	case path == payword.PathTransfers:
		return b.transfer(body)
	case path == payword.PathLimits:
		if r.Method == http.MethodPut {
			o.limits.Own = payword.Limits{}
			b.read(body, &o.limits.Own)
		}
		return o.limits, payword.Refusal{}
	case path == payword.PathVouchers:
		return b.redeem(body)
	case path == payword.PathPayouts && r.Method == http.MethodGet:
		return payword.PayoutList{Payouts: o.payouts}, payword.Refusal{}
	case path == payword.PathPayouts:
		return b.payOut(body)
	case path == payword.PathClose:
		var request payword.CloseAccount
		b.read(body, &request)
		if b.balance > 0 && request.Destination == nil {
			return nil, payword.Refusal{Reason: payword.NotPermitted, Detail: "say where it goes"}
		}
		o.held, b.balance, o.state = b.balance, 0, "closing"
		return b.account(), payword.Refusal{}
	case path == payword.PathExport:
		return map[string]string{"account": "account-1", "all": "of it"}, payword.Refusal{}
	}
	b.t.Errorf("nobody serves %s %s", r.Method, path)
	return nil, payword.Refusal{Reason: payword.NotPermitted}
}

// prove checks what a new key signed, and returns its id.
func (b *fakeBroker) prove(purpose string, member payword.PublicKey, challenge, proof string) (string, ed25519.PublicKey, payword.Refusal) {
	key, err := member.Key()
	if err != nil || challenge != "challenge" {
		b.t.Errorf("a new key: %v, challenge %q", err, challenge)
		return "", nil, payword.Refusal{Reason: payword.InvalidChallenge}
	}
	p := payword.Possession{Purpose: purpose, Broker: b.origin(), Account: "account-1", Challenge: challenge}
	return payword.Thumbprint(key), key, p.Verify(key, proof)
}

func (b *fakeBroker) serveDevices(r *http.Request, body []byte) (any, payword.Refusal) {
	signed, _ := payword.ParseSignatureInput(r.Header.Get(payword.HeaderSignatureInput))
	if r.Method == http.MethodGet {
		list := payword.DeviceList{}
		for _, device := range b.owner.devices {
			device.Current = device.Device == signed.KeyID
			list.Devices = append(list.Devices, device)
		}
		return list, payword.Refusal{}
	}
	var request payword.AddDevice
	b.read(body, &request)
	id, key, refusal := b.prove(payword.PossessionDevice, request.Key, request.Challenge, request.Proof)
	if refusal.Refused() {
		return nil, refusal
	}
	for _, known := range b.owner.devices {
		if known.Device == id {
			return known, payword.Refusal{}
		}
	}
	b.open(key)
	device := &b.owner.devices[len(b.owner.devices)-1]
	device.Name = request.Name
	return *device, payword.Refusal{}
}

func (b *fakeBroker) serveDevice(r *http.Request, id string, body []byte) (any, payword.Refusal) {
	for k := range b.owner.devices {
		device := &b.owner.devices[k]
		switch {
		case device.Device != id:
		case r.Method == http.MethodPut:
			b.read(body, device)
			return *device, payword.Refusal{}
		case r.Method == http.MethodDelete:
			b.owner.devices = append(b.owner.devices[:k], b.owner.devices[k+1:]...)
			delete(b.accounts, id)
			return nil, payword.Refusal{}
		}
	}
	return nil, payword.Refusal{Reason: payword.UnknownDevice}
}

// subAccountPage gives one sub-account a page, so that every list has several.
func (b *fakeBroker) subAccountPage(after string) payword.SubAccountList {
	list := payword.SubAccountList{SubAccounts: []payword.SubAccount{}}
	for k, sub := range b.owner.subs {
		if sub.Account > after {
			list.SubAccounts = append(list.SubAccounts, *sub)
			if k < len(b.owner.subs)-1 {
				list.Next = sub.Account
			}
			break
		}
	}
	return list
}

func (b *fakeBroker) openSub(body []byte) (any, payword.Refusal) {
	var request payword.OpenSubAccount
	b.read(body, &request)
	id, key, refusal := b.prove(payword.PossessionSubAccount, request.Key, request.Challenge, request.Proof)
	if refusal.Refused() {
		return nil, refusal
	}
	b.accounts[id] = key
	sub := &payword.SubAccount{Account: "sub-" + strconv.Itoa(len(b.owner.subs)+1), Name: request.Name, State: "open", Limits: request.Limits}
	b.owner.subs = append(b.owner.subs, sub)
	return sub, payword.Refusal{}
}

func (b *fakeBroker) findSub(id string) *payword.SubAccount {
	for _, sub := range b.owner.subs {
		if sub.Account == id {
			return sub
		}
	}
	return nil
}

func (b *fakeBroker) serveSub(path string, body []byte) (any, payword.Refusal) {
	id, verb, _ := strings.Cut(path, "/")
	sub := b.findSub(id)
	if sub == nil {
		return nil, payword.Refusal{Reason: payword.UnknownAccount}
	}
	switch verb {
	case "vendors":
		return payword.SpendingList{Vendors: []payword.VendorSpending{{Vendor: "https://news.example", Paid: 300, Reserved: 200}}}, payword.Refusal{}
	case "close":
		b.balance += sub.Available
		sub.Available, sub.State = 0, "closed"
		return sub, payword.Refusal{}
	}
	var change payword.ChangeSubAccount
	b.read(body, &change)
	if change.Name != nil {
		sub.Name = *change.Name
	}
	if change.Paused != nil {
		sub.Paused = *change.Paused
	}
	if change.Limits != nil {
		sub.Limits = *change.Limits
	}
	return sub, payword.Refusal{}
}

func (b *fakeBroker) transfer(body []byte) (any, payword.Refusal) {
	var t payword.SubAccountTransfer
	b.read(body, &t)
	sub := b.findSub(t.Account)
	known, isKnown := b.owner.transfers[t.ID]
	switch {
	case sub == nil:
		return nil, payword.Refusal{Reason: payword.UnknownAccount}
	case isKnown && known != t:
		return nil, payword.Refusal{Reason: payword.IdempotencyDiffers}
	case isKnown:
		return sub, payword.Refusal{}
	}
	amount := t.Amount
	if t.Back {
		amount = -amount
	}
	if amount > b.balance || sub.Available+amount < 0 {
		return nil, payword.Refusal{Reason: payword.InsufficientFunds, Detail: "the balance does not suffice"}
	}
	b.owner.transfers[t.ID] = t
	b.balance, sub.Available = b.balance-amount, sub.Available+amount
	return sub, payword.Refusal{}
}

func (b *fakeBroker) redeem(body []byte) (any, payword.Refusal) {
	var request payword.RedeemVoucher
	b.read(body, &request)
	worth, found := b.owner.vouchers[request.Code]
	if !found {
		return nil, payword.Refusal{Reason: payword.BadVoucher, Detail: "no such code"}
	}
	b.balance += worth
	return payword.RedeemedVoucher{Amount: worth, Account: b.account()}, payword.Refusal{}
}

func (b *fakeBroker) payOut(body []byte) (any, payword.Refusal) {
	var request payword.RequestPayout
	b.read(body, &request)
	for _, known := range b.owner.payouts {
		if known.ID == request.ID {
			return known, payword.Refusal{}
		}
	}
	if request.Amount > b.balance {
		return nil, payword.Refusal{Reason: payword.InsufficientFunds, Detail: "the balance does not suffice"}
	}
	b.balance -= request.Amount
	b.owner.held += request.Amount
	payout := payword.Payout{
		Account: "account-1", ID: request.ID, Amount: request.Amount, Currency: usd, Destination: request.Destination,
		State: "pending", Created: b.now().Unix(),
	}
	b.owner.payouts = append(b.owner.payouts, payout)
	return payout, payword.Refusal{}
}
