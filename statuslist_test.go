package payword_test

import (
	"bytes"
	"compress/zlib"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/paywordhq/payword"
)

const (
	listIssuer = "https://broker.example"
	listURI    = listIssuer + "/v1/status/1"
)

var listKey = ed25519.NewKeyFromSeed([]byte("the broker of the status lists.."))

func listBrokers() payword.Brokers {
	key := listKey.Public().(ed25519.PublicKey)
	return payword.Brokers{listIssuer: {payword.Thumbprint(key): key}}
}

// signList signs the claims of a list as they stand.
func signList(payload string) string {
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"statuslist+jwt"}`, payword.Thumbprint(listKey.Public().(ed25519.PublicKey)))
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(listKey, []byte(signed)))
}

func packStatuses(tb testing.TB, statuses []byte) string {
	tb.Helper()
	var packed bytes.Buffer
	writer := zlib.NewWriter(&packed)
	if _, err := writer.Write(statuses); err != nil {
		tb.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		tb.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(packed.Bytes())
}

func TestStatusListIsReadAsSigned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SampledFrom([]int{1, 2, 4, 8}).Draw(t, "bits")
		count := rapid.Uint32Range(1, 5000).Draw(t, "certificates")
		list, err := payword.NewStatusList(listURI, bits, count)
		if err != nil {
			t.Fatal(err)
		}
		list.IssuedAt, list.Expires, list.TTLSeconds = 1, 2, rapid.Int64Range(0, 9).Draw(t, "ttl")
		want := make(map[uint32]uint8)
		for range rapid.IntRange(0, 50).Draw(t, "changes") {
			index := rapid.Uint32Range(0, count-1).Draw(t, "index")
			want[index] = uint8(rapid.IntRange(0, 1<<bits-1).Draw(t, "status"))
			if err := list.Set(index, want[index]); err != nil {
				t.Fatal(err)
			}
		}
		token, err := payword.SignStatusList(list, listKey)
		if err != nil {
			t.Fatal(err)
		}
		read, err := payword.ParseStatusList(token, listIssuer, listURI, listBrokers())
		if err != nil {
			t.Fatal(err)
		}
		if read.URI != listURI || read.IssuedAt != 1 || read.Expires != 2 || read.TTLSeconds != list.TTLSeconds || read.Size() != list.Size() {
			t.Fatalf("got %+v", read)
		}
		for index := range count {
			if status, found := read.Status(index); !found || status != want[index] {
				t.Fatalf("index %d: got %d, %v; want %d", index, status, found, want[index])
			}
		}
		if status, found := read.Status(uint32(8 * list.Size() / bits)); found {
			t.Fatalf("past the end: got %d", status)
		}
	})
}

func TestStatusListThatIsNotMade(t *testing.T) {
	for _, each := range []struct {
		bits         int
		certificates uint32
	}{{0, 8}, {3, 8}, {16, 8}, {1, 0}, {1, 8*payword.MaxStatusListBytes + 1}, {8, payword.MaxStatusListBytes + 1}} {
		if _, err := payword.NewStatusList(listURI, each.bits, each.certificates); err == nil {
			t.Errorf("a list of %d certificates of %d bits was made", each.certificates, each.bits)
		}
	}
	list, err := payword.NewStatusList(listURI, 1, 9)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Set(16, 1); err == nil {
		t.Error("a place past the end was set")
	}
	if err := list.Set(0, 2); err == nil {
		t.Error("2 was set in one bit")
	}
	if _, err := payword.SignStatusList(list, listKey); err == nil {
		t.Error("a list was signed that never expires")
	}
}

// TestStatusListThatUnpacksToTooMuch gives the parser 256 MiB in 256 KiB.
func TestStatusListThatUnpacksToTooMuch(t *testing.T) {
	list := packStatuses(t, make([]byte, 256<<20))
	token := signList(fmt.Sprintf(`{"sub":%q,"iat":1,"exp":2,"status_list":{"bits":1,"lst":%q}}`, listURI, list))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := payword.ParseStatusList(token, listIssuer, listURI, listBrokers())
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "want 1 to 1048576 bytes") {
		t.Fatalf("got %v", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("reading it took %d bytes of memory", used)
	}
}

func TestStatusListTokenThatIsTooLong(t *testing.T) {
	token := signList(fmt.Sprintf(`{"sub":%q,"iat":1,"exp":2,"note":%q}`, listURI, strings.Repeat("x", payword.MaxStatusListTokenBytes)))
	_, err := payword.ParseStatusList(token, listIssuer, listURI, listBrokers())
	if err == nil || !strings.Contains(err.Error(), "at most 2097152") {
		t.Fatalf("got %v", err)
	}
}

// TestStatusListThatDoesNotShrink checks that the two limits fit each other.
func TestStatusListThatDoesNotShrink(t *testing.T) {
	const seed = 14
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	list, err := payword.NewStatusList(listURI, 8, payword.MaxStatusListBytes)
	if err != nil {
		t.Fatal(err)
	}
	list.IssuedAt, list.Expires = 1, 2
	for index := range uint32(payword.MaxStatusListBytes) {
		if err := list.Set(index, uint8(random.Intn(256))); err != nil {
			t.Fatal(err)
		}
	}
	token, err := payword.SignStatusList(list, listKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := payword.ParseStatusList(token, listIssuer, listURI, listBrokers()); err != nil {
		t.Fatalf("%d bytes: %v", len(token), err)
	}
}

// FuzzParseStatusList: whatever a broker signs, a list that is taken keeps to
// the limits and can be signed again with the same statuses.
func FuzzParseStatusList(f *testing.F) {
	for _, v := range readVectors(f) {
		if v.Area != "status-lists" {
			continue
		}
		var in struct{ Token string }
		if err := json.Unmarshal(v.Input, &in); err != nil {
			f.Fatal(err)
		}
		if parts := strings.Split(in.Token, "."); len(parts) == 3 {
			if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
				f.Add(string(payload), uint32(3))
			}
		}
	}
	f.Fuzz(func(t *testing.T, payload string, index uint32) {
		list, err := payword.ParseStatusList(signList(payload), listIssuer, listURI, listBrokers())
		if err != nil {
			return
		}
		if list.Size() < 1 || list.Size() > payword.MaxStatusListBytes || list.URI != listURI || list.Expires <= list.IssuedAt || list.TTLSeconds < 0 {
			t.Fatalf("took %q: %d bytes, %+v", payload, list.Size(), list.URI)
		}
		token, err := payword.SignStatusList(list, listKey)
		if err != nil {
			t.Fatalf("%q cannot be signed again: %v", payload, err)
		}
		again, err := payword.ParseStatusList(token, listIssuer, listURI, listBrokers())
		if err != nil {
			t.Fatalf("%q signed again: %v", payload, err)
		}
		got, gotFound := again.Status(index)
		want, wantFound := list.Status(index)
		if got != want || gotFound != wantFound || again.Size() != list.Size() {
			t.Fatalf("%q signed again: status %d is %d, %v; want %d, %v", payload, index, got, gotFound, want, wantFound)
		}
	})
}

func BenchmarkStatusListLookup(b *testing.B) {
	list, err := payword.NewStatusList(listURI, 1, 8*payword.MaxStatusListBytes)
	if err != nil {
		b.Fatal(err)
	}
	revoked := 0
	index := uint32(1)
	for b.Loop() {
		index = index*1664525 + 1013904223
		if status, found := list.Status(index >> 9); found && status != payword.StatusValid {
			revoked++
		}
	}
	b.ReportMetric(float64(list.Size()), "B/list")
	if revoked > 0 {
		b.Fatal("an empty list revokes")
	}
}

func BenchmarkStatusListParse(b *testing.B) {
	list, err := payword.NewStatusList(listURI, 1, 1_000_000)
	if err != nil {
		b.Fatal(err)
	}
	list.IssuedAt, list.Expires = 1, 2
	for index := uint32(0); index < 1_000_000; index += 997 {
		if err := list.Set(index, payword.StatusInvalid); err != nil {
			b.Fatal(err)
		}
	}
	token, err := payword.SignStatusList(list, listKey)
	if err != nil {
		b.Fatal(err)
	}
	brokers := listBrokers()
	b.ReportAllocs()
	b.ReportMetric(float64(len(token)), "B/token")
	for b.Loop() {
		if _, err := payword.ParseStatusList(token, listIssuer, listURI, brokers); err != nil {
			b.Fatal(err)
		}
	}
}
