package caddymodule

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/paywordhq/payword"
)

// TestRedisSecretsRotate rotates the challenge secret of two gates, one after
// the other, and starts them anew: they still agree. A third one does not.
func TestRedisSecretsRotate(t *testing.T) {
	server := startRedis(t)
	client := redis.UniversalClient(server.client)
	first, second, third := t.TempDir(), t.TempDir(), t.TempDir()
	keys, err := loadSecrets(first)
	if err != nil {
		t.Fatal(err)
	}
	copyFile := func(name, to string) {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(first, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	copyFile(vendorKeyName, second)
	copyFile(challengeSecretName, second)
	compare := func(what string, check *secretsCheck, want error) {
		t.Helper()
		if err := check.compare(t.Context(), client, "rotating:"); !errors.Is(err, want) {
			t.Errorf("%s: got %v; want %v", what, err, want)
		}
	}
	start := func(directory string) *secretsCheck { return &secretsCheck{directory: directory, vendor: keys.vendor} }
	runs := start(second)
	compare("the first gate", start(first), nil)
	compare("the second", runs, nil)
	if _, err := loadSecrets(third); err != nil {
		t.Fatal(err)
	}
	compare("one with secrets of its own", start(third), errOtherSecrets)
	next := make([]byte, 32)
	next[0] = 1
	for _, directory := range []string{first, second} {
		if err := os.WriteFile(filepath.Join(directory, nextSecretName), next, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rotate := func(directory string, drop bool) {
		t.Helper()
		challenges, err := openChallengeSecrets(directory)
		if err == nil {
			err = challenges.rotate(storeStart, drop)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rotate(first, false)
	compare("the first, rotated and started again", start(first), nil)
	compare("the second, not yet rotated", start(second), nil)
	rotate(second, true)
	compare("the second, which forgot the secret before, still running", runs, nil)
	compare("the second, started again", start(second), nil)
	compare("the first, at last", start(first), nil)
	compare("the third", start(third), errOtherSecrets)
}

// TestRedisClaimsOnce lets one node claim at a time, and the next one when it is
// done.
func TestRedisClaimsOnce(t *testing.T) {
	server := startRedis(t)
	options := testRedisOptions(freshPrefix())
	node, other := openNode(t, options, server.address), openNode(t, options, server.address)
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(10, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	calls := 0
	err := node.claimables(t.Context(), storeStart, 0, func(claimable) bool {
		calls++
		c.store = other
		c.wantNoClaim(storeStart, 0)
		return true
	})
	if err != nil || calls != 1 {
		t.Fatalf("got %d claimables, error %v; want 1", calls, err)
	}
	c.wantClaim(storeStart, 0, storeUnit, false)
	life := time.Duration(server.do(t, "PTTL", node.keyOf(c.m.ID)).(int64)) * time.Millisecond
	if most := time.Duration(storeRedeemBy+payword.SkewSeconds-storeStart) * time.Second; life <= most-time.Minute || life > most {
		t.Errorf("the commitment lives for %v; want %v", life, most)
	}
}
