package broker_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/money"
)

// crashAt makes this binary the program that the tests kill: "payword broker"
// with its arguments, and this says where it kills itself, as in "2 before
// redeem" for the second time. "0" is nowhere, and every point that is reached for
// somebody who asked is printed.
const crashAt = "PAYWORD_BROKER_CRASH_AT"

// TestMain turns this binary into the broker that the tests of crashes kill.
func TestMain(m *testing.M) {
	if at, found := os.LookupEnv(crashAt); found {
		killer := &killer{seen: map[string]int{}}
		killer.arm(at)
		go func() {
			killer.listen(os.Stdin)
			os.Exit(1) // whoever started it is gone, such as a test that took too long
		}()
		broker.WhenNew(func(b *broker.Broker) {
			b.SetFaultOf(killer.reach)
			b.SetRedemptionsPerTransaction(crashBatch)
		})
		os.Exit(broker.Main(context.Background(), os.Args[1:], strings.NewReader(""), os.Stdout, os.Stderr))
	}
	broker.RunUpdatesTwice() // whatever may run again does
	os.Exit(dbtest.Main(m, broker.PrepareDatabase, onFilesAlone))
}

// killer kills its own process at a point, as kill -9 does.
type killer struct {
	mutex sync.Mutex
	at    string         // guarded by mutex, as is seen
	seen  map[string]int // since it was armed
}

func (k *killer) arm(at string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.at = at
	clear(k.seen)
	fmt.Println("armed", at)
}

// listen arms the killer anew for each line that it is sent.
func (k *killer) listen(orders io.Reader) {
	lines := bufio.NewScanner(orders)
	for lines.Scan() {
		k.arm(lines.Text())
	}
}

func (k *killer) reach(isByItself bool, point string) error {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.seen[point]++
	here := strconv.Itoa(k.seen[point]) + " " + point
	if k.at == "0" && !isByItself {
		fmt.Println("reached", here)
	}
	if k.at == here {
		fmt.Println("killed", here)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal may take a moment, and nothing must happen meanwhile
	}
	return nil
}

// victim is a broker in a process of its own, on the database of a bank.
type victim struct {
	*bank // whose requests go to the process
	child *exec.Cmd
	stdin io.WriteCloser

	armed  chan string // for each order that was taken
	ended  chan struct{}
	points []string // that it printed; read them after ended
	killed string   // where it killed itself, or ""
}

// crashFiles are what the command needs beside the database.
func crashFiles(b *bank) []string {
	b.t.Helper()
	directory := b.t.TempDir()
	key, token, secret := filepath.Join(directory, "broker.key"), filepath.Join(directory, "token"), filepath.Join(directory, "stripe")
	encoded, err := x509.MarshalPKCS8PrivateKey(b.config.Signer)
	if err != nil {
		b.t.Fatal(err)
	}
	word := strings.ReplaceAll(adminToken, " ", "-")
	err = errors.Join(
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600),
		os.WriteFile(secret, []byte(stripeSecret+"\n"), 0o600),
		os.WriteFile(token, []byte(word+"\n"), 0o600))
	if err != nil {
		b.t.Fatal(err)
	}
	return []string{
		"serve", "--db", b.config.Database, "--origin", issuer, "--key", key, "--admin-token", token,
		"--listen", "127.0.0.1:0", "--allow-loopback-vendors", "--stripe-secret", secret,
	}
}

// newCrashBank opens a bank on the clock of the wall, as processes have it.
func newCrashBank(t *testing.T) (b *bank, arguments []string) {
	b = newBank(t)
	b.clock.seconds.Store(time.Now().Unix())
	return b, crashFiles(b)
}

// newVictim starts a broker that kills itself at a point.
func (b *bank) newVictim(arguments []string, at string) *victim {
	b.t.Helper()
	program, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	own := *b
	v := &victim{bank: &own, armed: make(chan string, 1), ended: make(chan struct{})}
	v.child = exec.CommandContext(b.t.Context(), program, arguments...)
	v.child.Env = append(os.Environ(), crashAt+"="+at)
	v.child.Stderr = b.journal
	output, err := v.child.StdoutPipe()
	if err == nil {
		v.stdin, err = v.child.StdinPipe()
	}
	if err == nil {
		err = v.child.Start()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	listens := make(chan string, 1)
	go v.read(output, listens)
	v.url = <-listens // "" if it ended before
	<-v.armed
	return v
}

// read takes what the process prints until it ends.
func (v *victim) read(output io.Reader, listens chan<- string) {
	defer close(v.ended)
	defer close(v.armed)
	defer close(listens)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "armed":
			v.armed <- rest
		case "reached":
			v.points = append(v.points, rest)
		case "killed":
			v.killed = rest
		default:
			listens <- "http://" + lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:]
		}
	}
	_ = v.child.Wait() // killed, one way or another
}

// arm makes the process kill itself at a point, counted from now.
func (v *victim) arm(at string) {
	if _, err := io.WriteString(v.stdin, at+"\n"); err != nil {
		v.t.Fatal(err)
	}
	if got := <-v.armed; got != at {
		v.t.Fatalf("armed %q, want %q", got, at)
	}
}

// kill ends the process as kill -9 does and waits for its end.
func (v *victim) kill() {
	_ = v.child.Process.Kill() // it may have ended
	<-v.ended
}

// attempt sends a request to a broker that may die over it, or has died before
// it could be made, when it is nil.
func attempt(request *http.Request) (answer, error) {
	if request == nil {
		return answer{}, errors.New("no request could be made")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, content}, err
}

// step is one request of a story: how it is made, anew each time, and what its
// answer must be, the first time or when it is asked for again.
type step struct {
	send func(b *bank) *http.Request
	want func(a answer) error
}

// story is something that a broker is asked to do, with fresh names each time.
type story struct {
	name string
	// points are those where a crash could matter, all of them.
	points []string
	begin  func(b *bank) (steps []step, check func())
}

// TestKillAtEveryPoint kills the broker's process with SIGKILL at every point
// of everything that moves money. What was not answered is asked for again from
// the next process; it gets the right answer, and happened once.
func TestKillAtEveryPoint(t *testing.T) {
	t.Parallel()
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b, arguments := newCrashBank(t)
			reached := b.pointsOf(s, arguments)
			v := b.newVictim(arguments, "never")
			for _, at := range reached {
				steps, check := s.begin(b)
				v.arm(at)
				v = v.tell(steps, arguments, at)
				check()
				b.wantSound()
			}
			v.kill()
			t.Logf("killed at %d points: %s", len(reached), strings.Join(reached, ", "))
		})
	}
}

// TestKillAtFirstUse kills the broker where it does what it does only once on a
// database, or since it was started.
func TestKillAtFirstUse(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"challenge secret", "add list", "note signed"} {
		for _, at := range []string{"1 before " + point, "1 after " + point} {
			t.Run(at, func(t *testing.T) {
				t.Parallel()
				b, arguments := newCrashBank(t)
				u, open := opening(b)
				certify := certifying(u)
				b.newVictim(arguments, at).tell([]step{open, certify, certify}, arguments, at).kill()
				b.wantSound()
			})
		}
	}
}

// pointsOf tells the story once without a crash and returns the points that it
// came by: of the points within a transaction the first, the middle and the
// last, of the others all. They must be those that the story lists.
func (b *bank) pointsOf(s story, arguments []string) []string {
	b.t.Helper()
	v := b.newVictim(arguments, "never")
	for _, at := range []string{"never", "0"} { // what is done once only comes before
		steps, check := s.begin(b)
		v.arm(at)
		for _, step := range steps {
			a, err := attempt(step.send(v.bank))
			if err == nil {
				err = step.want(a)
			}
			if err != nil {
				b.t.Fatal(err)
			}
		}
		check()
	}
	v.kill()
	times := map[string]int{}
	for _, at := range v.points {
		_, point, _ := strings.Cut(at, " ")
		times[point]++
	}
	for _, point := range s.points {
		if times[point] == 0 {
			b.t.Errorf("the story never came by %q", point)
		}
	}
	var chosen []string
	for _, at := range v.points {
		number, point, _ := strings.Cut(at, " ")
		if !slices.Contains(s.points, point) {
			b.t.Errorf("the story came by %q, which is not in its list", point)
		}
		count, isWithin := times[point], strings.HasPrefix(point, "within ")
		if !isWithin || slices.Contains([]string{"1", strconv.Itoa(count/2 + 1), strconv.Itoa(count)}, number) {
			chosen = append(chosen, at)
		}
	}
	return chosen
}

// tell goes through the steps until the process dies at the point, goes on with
// a new one, and returns that. A step whose answer did not come is asked for
// again.
func (v *victim) tell(steps []step, arguments []string, at string) *victim {
	v.t.Helper()
	deaths := 0
	for _, step := range steps {
		a, err := attempt(step.send(v.bank))
		if err != nil {
			<-v.ended
			if v.killed != at {
				v.t.Fatalf("the broker ended at %q (%v), want %q", v.killed, err, at)
			}
			deaths++
			v = v.newVictim(arguments, "never")
			a, err = attempt(step.send(v.bank))
		}
		if err == nil {
			err = step.want(a)
		}
		if err != nil {
			v.t.Fatalf("killed %s: %v", at, err)
		}
	}
	if deaths != 1 {
		v.t.Fatalf("the broker died %d times, want once, at %s", deaths, at)
	}
	return v
}

// inJSON reads an answer of status 200 or 201.
func inJSON[T any](a answer) (got T, err error) {
	if a.status != http.StatusOK && a.status != http.StatusCreated {
		return got, fmt.Errorf("got status %d: %s", a.status, a.body)
	}
	return got, json.Unmarshal(a.body, &got)
}

// stories hold every point at which a broker is killed.
var stories = []story{
	{"opening", []string{"before nonce", "after nonce", "before open account", "after open account"}, openingStory},
	{"registration", []string{"before nonce", "after nonce", "before register vendor", "after register vendor"}, registrationStory},
	{"certificates", []string{"before nonce", "after nonce", "before certify", "after certify", "before keep answer", "after keep answer"}, certificateStory},
	{"funding", []string{"before fund", "after fund"}, fundingStory},
	{"payment", []string{"before receive payment", "after receive payment"}, paymentStory},
	{"reservation", []string{"before nonce", "after nonce", "signed reservation", "before reserve", "after reserve"}, reservationStory},
	{"redemption", []string{"before nonce", "after nonce", "judged redemption", "within redeem", "before redeem", "after redeem"}, redemptionStory},
	{"stream", []string{"before nonce", "after nonce", "judged redemption", "within redeem", "before redeem", "after redeem"}, streamStory},
}

func openingStory(b *bank) ([]step, func()) {
	u, open := opening(b)
	return []step{open, open}, func() { u.wantBalance(0, 0) }
}

// opening returns a user without an account and the step that opens one.
func opening(b *bank) (*user, step) {
	u := &user{bank: b, key: newKey()}
	send := func(b *bank) *http.Request {
		request, _ := b.request("POST", payword.PathChallenges, nil)
		a, err := attempt(request)
		if err != nil {
			return nil
		}
		var challenge payword.AccountChallenge
		a.into(b.t, http.StatusOK, &challenge)
		return b.signed(u.key, "POST", payword.PathAccounts,
			payword.OpenAccount{Key: payword.NewPublicKey(publicKey(u.key)), Challenge: challenge.Challenge})
	}
	open := func(a answer) error {
		got, err := inJSON[payword.Account](a)
		if err == nil && u.account != "" && got.Account != u.account {
			err = fmt.Errorf("got account %s, and %s before", got.Account, u.account)
		}
		u.account = got.Account
		return err
	}
	return u, step{send, open}
}

func registrationStory(b *bank) ([]step, func()) {
	s := b.newSite()
	return []step{{
		func(b *bank) *http.Request {
			return b.signed(s.key, "POST", payword.PathVendors,
				payword.VendorRequest{Vendor: s.origin, Key: payword.NewPublicKey(publicKey(s.key))})
		},
		func(a answer) error {
			got, err := inJSON[payword.Vendor](a)
			if err == nil && got.Vendor != s.origin {
				err = fmt.Errorf("got %+v", got)
			}
			return err
		},
	}}, func() { s.wantPayable(0) }
}

func certificateStory(b *bank) ([]step, func()) {
	certify := certifying(b.newUser(0))
	return []step{certify, certify}, func() {}
}

// certifying returns the step that gets a certificate, the same again under the
// same Idempotency-Key.
func certifying(u *user) step {
	key, first := newKey(), ""
	return step{
		func(b *bank) *http.Request {
			request := b.signed(u.key, "POST", payword.PathCertificates,
				payword.CertificateRequest{Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(key))}})
			request.Header.Set("Idempotency-Key", "the one")
			return request
		},
		func(a answer) error {
			got, err := inJSON[payword.CertificateAnswer](a)
			if err == nil && (len(got.Certificates) != 1 || first != "" && got.Certificates[0] != first) {
				err = fmt.Errorf("got %v, want one certificate, the same again", got.Certificates)
			}
			if err == nil {
				first = got.Certificates[0]
			}
			return err
		},
	}
}

// paymentStory is a payment by webhook, a dispute that takes it back, and a second
// payment.
func paymentStory(b *bank) ([]step, func()) {
	u, s := b.newUser(0), b.newShop()
	taken := func(a answer) error {
		_, err := inJSON[struct{}](a)
		return err
	}
	event := func(body string) step {
		return step{func(b *bank) *http.Request { return b.stripeSigned(stripeSecret, body) }, taken}
	}
	u.fund("own-"+u.account, 10*cent)
	u.commit(s.origin, 20*cent).mustReserve(10 * cent)
	steps := []step{
		event(paidSession("a"+u.account, u.account, 50, "usd")),
		event(disputed("funds_withdrawn", "a"+u.account, 50, "lost")),
		event(paidSession("b"+u.account, u.account, 30, "usd")),
	}
	return steps, func() { u.wantBalance(30*cent, 10*cent) }
}

func fundingStory(b *bank) ([]step, func()) {
	u := b.newUser(0)
	send := func(b *bank) *http.Request {
		request, _ := b.request("POST", "/v1/admin/fundings",
			map[string]string{"id": "f-" + u.account, "account": u.account, "amount": "70000", "currency": string(usd)})
		request.Header.Set("Authorization", "Bearer "+strings.ReplaceAll(adminToken, " ", "-"))
		return request
	}
	funded := func(a answer) error {
		got, err := inJSON[payword.Account](a)
		if err == nil && got.Available != 7*cent {
			err = fmt.Errorf("got %s available", got.Available.Decimal())
		}
		return err
	}
	return []step{{send, funded}, {send, funded}}, func() { u.wantBalance(7*cent, 0) }
}

// reservationStory reserves, raises, and asks again for what is reserved.
func reservationStory(b *bank) ([]step, func()) {
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 50*cent)
	reserve := func(amount, want money.Amount) step {
		return step{
			func(b *bank) *http.Request {
				return b.signed(u.key, "POST", payword.PathReservations, payword.ReservationRequest{Commitment: p.m.Token, Amount: amount})
			},
			func(a answer) error {
				got, err := inJSON[payword.ReservationAnswer](a)
				if err != nil {
					return err
				}
				r, refusal := payword.ParseReservation(got.Reservation, &p.m, b.keys())
				if refusal.Refused() || r.Amount != want {
					err = fmt.Errorf("got a reservation of %s (%v), want %s", r.Amount.Decimal(), refusal, want.Decimal())
				}
				return err
			},
		}
	}
	return []step{reserve(10*cent, 10*cent), reserve(30*cent, 30*cent), reserve(20*cent, 30*cent)},
		func() {
			u.wantBalance(70*cent, 30*cent)
			if r := p.mustReserve(cent); r.Sequence != 2 {
				b.t.Errorf("the reservation was raised %d times, want twice", r.Sequence)
			}
		}
}

func (b *bank) keys() payword.Brokers {
	signer := b.config.Signer.Public().(ed25519.PublicKey)
	return payword.Brokers{issuer: {payword.Thumbprint(signer): signer}}
}

const (
	crashBatch = 5                // claims in one transaction of a broker that is to be killed
	batchSize  = 2*crashBatch + 3 // in one request
)

// redemptionStory sends one batch with everything in it: reserved and not,
// partly claimed before, last claims, the same commitment twice.
func redemptionStory(b *bank) ([]step, func()) {
	return claimingStory(b, func(b *bank, s *shop, claims []payword.Redemption) *http.Request {
		return b.signed(s.key, "POST", payword.PathRedemptions, payword.RedemptionRequest{Vendor: s.origin, Redemptions: claims})
	}, func(a answer) ([]payword.RedemptionResult, error) {
		got, err := inJSON[payword.RedemptionAnswer](a)
		return got.Results, err
	})
}

// streamStory sends the same as a stream of lines.
func streamStory(b *bank) ([]step, func()) {
	return claimingStory(b, func(b *bank, s *shop, claims []payword.Redemption) *http.Request {
		var lines strings.Builder
		encoder := json.NewEncoder(&lines)
		for _, claim := range claims {
			_ = encoder.Encode(claim) // of strings
		}
		request := b.signed(s.key, "POST", payword.PathRedemptions+"?vendor="+s.origin, lines.String())
		request.Header.Set("Content-Type", "application/x-ndjson")
		return request
	}, func(a answer) (results []payword.RedemptionResult, err error) {
		if a.status != http.StatusOK {
			return nil, fmt.Errorf("got status %d: %s", a.status, a.body)
		}
		for line := range strings.Lines(string(a.body)) {
			var result payword.RedemptionResult
			if err := json.Unmarshal([]byte(line), &result); err != nil {
				return nil, err
			}
			results = append(results, result)
		}
		return results, nil
	})
}

func claimingStory(b *bank, ask func(*bank, *shop, []payword.Redemption) *http.Request, read func(answer) ([]payword.RedemptionResult, error)) ([]step, func()) {
	u, s := b.newUser(1000*cent), b.newShop()
	certificate, key := u.certificate()
	part, last, twice := u.commit(s.origin, 50*cent), u.commit(s.origin, 50*cent), u.commit(s.origin, 50*cent)
	for _, p := range []*purse{part, last, twice} {
		p.mustReserve(20 * cent)
	}
	s.wantResult(s.claim(part, 5, 5*cent), payword.Accepted, 5*cent, 5*cent)
	claims := []payword.Redemption{s.claim(part, 15, 15*cent), s.claim(last, 7, 7*cent, final), s.claim(twice, 3, 3*cent), s.claim(twice, 4, 4*cent)}
	wanted := []money.Amount{15 * cent, 7 * cent, 4 * cent, 4 * cent}
	for range batchSize - len(claims) {
		p := u.commitWith(certificate, key, s.origin, 50*cent)
		claims, wanted = append(claims, s.claim(p, 1, cent)), append(wanted, cent)
	}
	send := func(b *bank) *http.Request { return ask(b, s, claims) }
	var due money.Amount // in all answers
	paid := func(a answer) error {
		results, err := read(a)
		if err != nil || len(results) != len(claims) {
			return fmt.Errorf("got %d results (%w)", len(results), err)
		}
		for k, result := range results {
			isFirstOfTwo := k == 2 && result.Paid == 3*cent
			if result.Reason != payword.Accepted || result.Paid != wanted[k] && !isFirstOfTwo {
				return fmt.Errorf("claim %d: got %+v, want %s paid", k, result, wanted[k].Decimal())
			}
			due += result.Due
		}
		return nil
	}
	sum := (10+7+4)*cent + money.Amount(batchSize-4)*cent
	return []step{{send, paid}, {send, paid}}, func() {
		if due > sum {
			b.t.Errorf("%s were due in all answers, want at most %s", due.Decimal(), sum.Decimal())
		}
		s.wantPayable(sum + 5*cent)
		u.wantBalance(1000*cent-sum-5*cent-(5+16)*cent, (5+16)*cent)
	}
}
