package caddymodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
)

// documentedRights returns the rights of the user that docs/operations.md tells
// to make, as ACL SETUSER takes them.
func documentedRights(tb testing.TB) []any {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		tb.Fatal(err)
	}
	found := regexp.MustCompile("for keys `(payword:\\*)`, with `([^`]+)`").FindSubmatch(text)
	if found == nil {
		tb.Fatal("docs/operations.md does not say what rights the user has")
	}
	rights := []any{"~" + string(found[1])}
	for _, right := range strings.Fields(string(found[2])) {
		rights = append(rights, right)
	}
	return rights
}

// useRights runs what every store has to do as a user with the documented rights
// alone, and wants Redis to have refused nothing.
func useRights(t *testing.T, config Redis, servers []*redisServer) {
	t.Helper()
	for _, server := range servers {
		server.do(t, append([]any{"ACL", "SETUSER", "gate", "reset", "on", ">very secret"}, documentedRights(t)...)...)
	}
	config.Username, config.Password = "gate", "very secret"
	keys, err := loadSecrets(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	open := func(directory string) *redisStore {
		client, err := config.resolved().client()
		if err != nil {
			t.Fatal(err)
		}
		options := testRedisOptions(defaultRedisPrefix + freshPrefix())
		options.secrets = secretsCheck{directory: directory, vendor: keys.vendor}
		return closeNode(t, openRedisStore(client, options))
	}
	testStore(t, 20, func(t *testing.T) store { return open(t.TempDir()) })
	node := open(t.TempDir())
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 400, 1)}
	c.open(1000, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	listed := 0
	if err := node.accounts(t.Context(), func(account) bool { listed++; return true }); err != nil || listed != 1 {
		t.Errorf("listed %d, %v; want one commitment", listed, err)
	}
	for _, server := range servers {
		if refused := server.do(t, "ACL", "LOG"); len(refused.([]any)) > 0 {
			t.Errorf("Redis refused %v", refused)
		}
	}
}

// TestRedisRights is a gate at a Redis that speaks TLS alone to it, asks for its
// certificate, and lets it do what docs/operations.md says.
func TestRedisRights(t *testing.T) {
	config, arguments := redisTLS(t)
	port := freePort(t)
	server := startRedis(t, append(arguments, "--tls-port", fmt.Sprint(port))...)
	config.Addresses = []string{fmt.Sprintf("127.0.0.1:%d", port)}
	useRights(t, config, []*redisServer{server})
	for name, spoil := range map[string]func(*RedisTLS){
		"no certificate of its own": func(c *RedisTLS) { c.Certificate, c.Key = "", "" },
		"a CA that did not sign":    func(c *RedisTLS) { c.CA = "" },
		"another name":              func(c *RedisTLS) { c.ServerName = "redis.example" },
	} {
		wrong := *config.TLS
		spoil(&wrong)
		client, err := (&Redis{Addresses: config.Addresses, TLS: &wrong}).resolved().client()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Ping(t.Context()).Err(); err == nil {
			t.Errorf("%s: Redis was used", name)
		}
		client.Close()
	}
}

func TestRedisRightsOnCluster(t *testing.T) {
	servers := startCluster(t)
	useRights(t, Redis{Addresses: []string{servers[0].address, servers[1].address}, Cluster: true}, servers)
}

// redisTLS makes certificates, and returns how a gate uses them and the arguments
// of a server that does.
func redisTLS(tb testing.TB) (config Redis, arguments []string) {
	tb.Helper()
	directory := tb.TempDir()
	path := func(name string) string { return filepath.Join(directory, name) }
	authorityKey, authority := signCertificate(tb, &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil, path("ca.pem"), path("ca.key"))
	for _, name := range []string{"server", "gate"} {
		signCertificate(tb, &x509.Certificate{
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, authority, authorityKey, path(name+".pem"), path(name+".key"))
	}
	config = Redis{TLS: &RedisTLS{CA: path("ca.pem"), Certificate: path("gate.pem"), Key: path("gate.key")}}
	return config, []string{
		"--tls-cert-file", path("server.pem"), "--tls-key-file", path("server.key"),
		"--tls-ca-cert-file", path("ca.pem"), "--tls-auth-clients", "yes",
	}
}

// signCertificate makes a certificate with its key, and writes both. Without a
// parent it signs itself.
func signCertificate(tb testing.TB, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, certificateFile, keyFile string) (*ecdsa.PrivateKey, *x509.Certificate) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: filepath.Base(certificateFile)}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent, parentKey = template, key
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		tb.Fatal(err)
	}
	encodedKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certificateFile: {Type: "CERTIFICATE", Bytes: signed}, keyFile: {Type: "PRIVATE KEY", Bytes: encodedKey},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(signed)
	if err != nil {
		tb.Fatal(err)
	}
	return key, certificate
}
