//go:build unix

package broker_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/money"
)

// BenchmarkRedemption settles large batches in one stream each, on SQLite, from
// the bytes of the request to those of the answer. It reports the time beside
// that of the bare work on the same processors, measured before and after: the
// signatures that have to be checked and the hashes, and nothing else.
//
// Every commitment has a certificate of its own. In "unseen" the broker knows
// none of them: it checks the certificate, the commitment and the claim. In
// "reserved" it has checked the first two when it reserved.
//
// The bare work is done by crypto/ed25519 and crypto/sha256. The broker does all
// of the same checks by payword.Batch and payword.JudgeClaims.
//
// x-bare compares the time by the clock, which other programs on the machine
// disturb, and x-bare-cpu the time of the processors.
func BenchmarkRedemption(b *testing.B) {
	for _, size := range []struct{ commitments, paywords int }{{10_000, 100}, {1_000, 10_000}} {
		for _, isReserved := range []bool{false, true} {
			name := "unseen"
			if isReserved {
				name = "reserved"
			}
			b.Run(fmt.Sprintf("%dx%d/%s", size.commitments, size.paywords, name), func(b *testing.B) {
				market := newMarket(b, size.commitments, uint32(size.paywords), isReserved)
				bare, settled := took{}, took{}
				for range b.N {
					bare = bare.and(market.bareWork())
					settled = settled.and(market.settle())
					bare = bare.and(market.bareWork())
				}
				bare = took{bare.wall / 2, bare.processors / 2}
				b.ReportMetric(float64(settled.wall)/float64(bare.wall), "x-bare")
				b.ReportMetric(float64(settled.processors)/float64(bare.processors), "x-bare-cpu")
				b.ReportMetric(float64(settled.wall.Milliseconds())/float64(b.N), "settle-ms")
				b.ReportMetric(float64(bare.wall.Milliseconds())/float64(b.N), "bare-ms")
				b.ReportMetric(float64(size.commitments*b.N)/settled.wall.Seconds(), "claims/s")
				b.ReportMetric(0, "ns/op") // it would count the preparations
			})
		}
	}
}

// BenchmarkBarRedemptionStored is BenchmarkRedemption of 2,000 commitments with the
// shortest chains: the time of the processors with the database, as a multiple of
// that of crypto/ed25519 and crypto/sha256 for the same signatures and hashes alone.
func BenchmarkBarRedemptionStored(b *testing.B) {
	for _, name := range []string{"unseen", "reserved"} {
		b.Run(name, func(b *testing.B) {
			market := newMarket(b, 2000, 100, name == "reserved")
			var bare, settled time.Duration
			for range b.N {
				bare += market.bareWork().processors
				settled += 2 * market.settle().processors
				bare += market.bareWork().processors
			}
			b.ReportMetric(settled.Seconds()/bare.Seconds(), "x-unstored")
			b.ReportMetric(0, "ns/op") // it would count the preparations
		})
	}
}

// took is how long something took.
type took struct {
	wall       time.Duration
	processors time.Duration // of this process, all together
}

func (t took) and(other took) took { return took{t.wall + other.wall, t.processors + other.processors} }

// timed runs work.
func timed(work func()) took {
	runtime.GC()
	begin, used := time.Now(), processorTime()
	work()
	return took{time.Since(begin), processorTime() - used}
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// accountsOfMarket is how many users made the commitments: as many as the daily
// number of commitments of an account asks for, and ten times that.
const accountsOfMarket = 100

// market is a broker's database with users and a vendor, before a settlement.
type market struct {
	b        *testing.B
	config   broker.Config
	template string // the database
	vendor   string
	key      ed25519.PrivateKey // of the vendor
	body     []byte
	checks   []check
	due      money.Amount
}

// check is the bare work of one claim.
type check struct {
	signatures []signature
	tail       payword.Payword
	steps      uint32
	root       payword.Payword
}

// isChainRight hashes the chain with crypto/sha256.
func (c *check) isChainRight() bool {
	word := c.tail
	for range c.steps {
		word = sha256.Sum256(word[:])
	}
	return word == c.root
}

type signature struct {
	key       ed25519.PublicKey
	message   []byte
	signature []byte
}

// signatureOf takes a JWS apart.
func signatureOf(key ed25519.PublicKey, token string) signature {
	dot := strings.LastIndexByte(token, '.')
	raw, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		panic(err)
	}
	return signature{key, []byte(token[:dot]), raw}
}

func newMarket(b *testing.B, commitments int, paywords uint32, isReserved bool) *market {
	b.Helper()
	folder := b.TempDir()
	m := &market{b: b, template: filepath.Join(folder, "template.db"), key: newKey(), config: broker.Config{
		RequestsPerMinute: 1 << 30, // one address is all users here
		Issuer:            issuer, Currency: usd, Signer: newKey(), AllowLoopbackVendors: true, CertificateLimit: money.MaxAmount,
	}}
	m.config.Database = m.template
	opened, err := broker.New(b.Context(), m.config)
	if err != nil {
		b.Fatal(err)
	}
	opened.SetOpeningsPerMinute(accountsOfMarket)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(payword.Discovery{Vendor: m.vendor, Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(m.key))}, Brokers: []string{issuer}, Version: 1})
	}))
	defer site.Close()
	m.vendor = site.URL
	m.call(opened, m.key, payword.PathVendors, payword.VendorRequest{Vendor: m.vendor, Key: payword.NewPublicKey(publicKey(m.key))}, nil)
	for range accountsOfMarket {
		m.addUser(opened, commitments/accountsOfMarket, paywords, isReserved)
	}
	if err := opened.Close(); err != nil {
		b.Fatal(err)
	}
	return m
}

// request makes a signed request.
func (m *market) request(key ed25519.PrivateKey, path, media string, body []byte) *http.Request {
	nonce := make([]byte, payword.NonceBytes)
	_, _ = rand.Read(nonce)
	digest := payword.ContentDigest(body)
	input, signature, err := payword.SignedRequest{
		Method: "POST", TargetURI: issuer + path, Digest: digest, Created: time.Now().Unix(),
		KeyID: payword.Thumbprint(publicKey(key)), Nonce: encode(nonce),
	}.Sign(key)
	if err != nil {
		m.b.Fatal(err)
	}
	r := httptest.NewRequest("POST", path, bytes.NewReader(body))
	r.Header.Set("Content-Type", media)
	r.Header.Set(payword.HeaderSignatureInput, input)
	r.Header.Set(payword.HeaderSignature, signature)
	r.Header.Set(payword.HeaderContentDigest, digest)
	return r
}

// call sends a request that must succeed; answer may be nil.
func (m *market) call(on *broker.Broker, key ed25519.PrivateKey, path string, question, answer any) {
	m.b.Helper()
	body, err := json.Marshal(question)
	if err != nil {
		m.b.Fatal(err)
	}
	w := httptest.NewRecorder()
	on.Handler().ServeHTTP(w, m.request(key, path, "application/json", body))
	if w.Code/100 != 2 {
		m.b.Fatalf("%s: got %d %s", path, w.Code, w.Body)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(w.Body.Bytes(), answer); err != nil {
		m.b.Fatal(err)
	}
}

// addUser opens an account and makes claims on commitments of it.
func (m *market) addUser(on *broker.Broker, commitments int, paywords uint32, isReserved bool) {
	m.b.Helper()
	key := newKey()
	var challenge payword.AccountChallenge
	m.call(on, key, payword.PathChallenges, struct{}{}, &challenge)
	var account payword.Account
	m.call(on, key, payword.PathAccounts, payword.OpenAccount{Key: payword.NewPublicKey(publicKey(key)), Challenge: challenge.Challenge}, &account)
	amount := money.Amount(paywords) * 1000
	if _, refusal, err := on.Fund(m.b.Context(), "f-"+account.Account, account.Account, amount*money.Amount(commitments)); err != nil || refusal.Refused() {
		m.b.Fatal(refusal, err)
	}
	for commitments > 0 {
		keys := make([]ed25519.PrivateKey, min(commitments, payword.MaxCertificatesPerRequest))
		var request payword.CertificateRequest
		for k := range keys {
			keys[k] = newKey()
			request.Keys = append(request.Keys, payword.NewPublicKey(publicKey(keys[k])))
		}
		var issued payword.CertificateAnswer
		m.call(on, key, payword.PathCertificates, request, &issued)
		for k, token := range issued.Certificates {
			reservation := payword.ReservationAnswer{}
			commitment, tip := m.commitment(token, keys[k], paywords, amount)
			if isReserved {
				m.call(on, key, payword.PathReservations, payword.ReservationRequest{Commitment: commitment.Token, Amount: amount}, &reservation)
			}
			m.addClaim(&commitment, tip, reservation.Reservation)
		}
		commitments -= len(keys)
	}
}

func (m *market) commitment(certificate string, key ed25519.PrivateKey, paywords uint32, amount money.Amount) (payword.Commitment, payword.Payword) {
	parsed, err := payword.UnverifiedCertificate(certificate)
	if err != nil {
		m.b.Fatal(err)
	}
	var tip payword.Payword
	_, _ = rand.Read(tip[:])
	now := time.Now().Unix()
	c := payword.Commitment{
		Vendor: m.vendor, Certificate: parsed, IssuedAt: now, Expires: now + 86400, Currency: usd, Limit: amount,
		Chains: []payword.ChainTerms{{Root: tip.Walk(paywords), Unit: 1000, Length: paywords}},
	}
	_, _ = rand.Read(c.Nonce[:])
	if c, err = payword.SignCommitment(c, key); err != nil {
		m.b.Fatal(err)
	}
	return c, tip
}

// addClaim claims the whole commitment, and notes the bare work of it.
func (m *market) addClaim(c *payword.Commitment, tip payword.Payword, reservation string) {
	chain := c.Chains[0]
	claim, err := payword.SignClaim(payword.Claim{
		Vendor: m.vendor, Broker: issuer, Commitment: c.ID, Amount: c.Limit, IssuedAt: time.Now().Unix(),
		Tails: []payword.Tail{{Index: chain.Length, Payword: tip}},
	}, m.key)
	if err != nil {
		m.b.Fatal(err)
	}
	line, err := json.Marshal(payword.Redemption{Commitment: c.Token, Reservation: reservation, Claim: claim.Token})
	if err != nil {
		m.b.Fatal(err)
	}
	m.body = append(append(m.body, line...), '\n')
	m.due += c.Limit
	bare := check{tail: tip, steps: chain.Length, root: chain.Root, signatures: []signature{signatureOf(publicKey(m.key), claim.Token)}}
	if reservation == "" {
		bare.signatures = append(bare.signatures, signatureOf(c.Certificate.Key, c.Token),
			signatureOf(publicKey(m.config.Signer.(ed25519.PrivateKey)), c.Certificate.Token))
	}
	m.checks = append(m.checks, bare)
}

// bareWork checks all signatures and hashes all chains, on all processors, and
// returns how long it took.
func (m *market) bareWork() took {
	var next, failed atomic.Int64
	var workers sync.WaitGroup
	elapsed := timed(func() {
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				for k := next.Add(1) - 1; k < int64(len(m.checks)); k = next.Add(1) - 1 {
					one := &m.checks[k]
					for _, s := range one.signatures {
						if !ed25519.Verify(s.key, s.message, s.signature) {
							failed.Add(1)
						}
					}
					if !one.isChainRight() {
						failed.Add(1)
					}
				}
			})
		}
		workers.Wait()
	})
	if failed.Load() > 0 {
		m.b.Fatal("the bare work fails")
	}
	return elapsed
}

// settle sends the stream to a broker on a copy of the database and returns how
// long the answer took.
func (m *market) settle() took {
	m.b.Helper()
	content, err := os.ReadFile(m.template)
	if err != nil {
		m.b.Fatal(err)
	}
	config := m.config
	config.Database = filepath.Join(m.b.TempDir(), "broker.db")
	if err := os.WriteFile(config.Database, content, 0o600); err != nil {
		m.b.Fatal(err)
	}
	opened, err := broker.New(m.b.Context(), config)
	if err != nil {
		m.b.Fatal(err)
	}
	defer opened.Close()
	request := m.request(m.key, payword.PathRedemptions+"?vendor="+m.vendor, "application/x-ndjson", m.body)
	w := httptest.NewRecorder()
	elapsed := timed(func() { opened.Handler().ServeHTTP(w, request) })
	due := money.Amount(0)
	decoder := json.NewDecoder(w.Body)
	for range m.checks {
		var result payword.RedemptionResult
		if err := decoder.Decode(&result); err != nil || result.Reason != payword.Accepted {
			m.b.Fatalf("got %d %+v, %v", w.Code, result, err)
		}
		due += result.Due
	}
	if decoder.More() || due != m.due {
		m.b.Fatalf("%s are due, want %s and no more lines", due.Decimal(), m.due.Decimal())
	}
	return elapsed
}
