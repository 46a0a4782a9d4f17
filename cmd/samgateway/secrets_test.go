package main

import (
	"bytes"
	"crypto/aes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/pcsc"
)

// secrets are what must stand nowhere but where it belongs, in every form in
// which it could be written.
type secrets map[string][][]byte

// add names a secret: its bytes, and what they look like in hexadecimal digits,
// as bytes of Go and in base64.
func (s secrets) add(name string, secret []byte) {
	text := hex.EncodeToString(secret)
	decimal := strings.Trim(fmt.Sprint(secret), "[]")
	source := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}")
	s[name] = append(s[name], bytes.Clone(secret), []byte(text), []byte(strings.ToUpper(text)), []byte(source),
		[]byte(decimal), []byte(strings.ReplaceAll(decimal, " ", ", ")), []byte(strings.ReplaceAll(decimal, " ", ",")))
	// In base64 what is said before a secret moves its letters; the first and the
	// last of them belong to its neighbours.
	for shift := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), secret...))
		inner := encoded[(shift*8+5)/6 : len(encoded)-1]
		s[name] = append(s[name], []byte(inner), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(inner)))
	}
}

// found returns the names of the secrets that stand in a text.
func (s secrets) found(text []byte) (names []string) {
	for name, forms := range s {
		for _, form := range forms {
			if bytes.Contains(text, form) {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// foundIn returns what stands in the files of a folder, but in those that keep
// secrets by their nature.
func (s secrets) foundIn(t *testing.T, folder string, keepers map[string]bool) (findings []string, looked int) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || keepers[entry.Name()] {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		looked++
		for _, name := range s.found(text) {
			findings = append(findings, fmt.Sprintf("%s stands in %s", name, entry.Name()))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return findings, looked
}

// derive makes a key of a master as docs/purse.md says (SP 800-108r1 in counter
// mode with CMAC), with code of its own: label and id are such that it is one
// block of AES, mixed with the first subkey of CMAC.
func derive(t *testing.T, master []byte, label string, version byte, id []byte) (key []byte) {
	t.Helper()
	message := append(append([]byte{1}, label...), 0, version)
	message = append(append(message, id...), 0, 128)
	block, err := aes.NewCipher(master)
	if err != nil || len(message) != aes.BlockSize {
		t.Fatalf("%d bytes to derive a key from: %v", len(message), err)
	}
	subkey := make([]byte, aes.BlockSize)
	block.Encrypt(subkey, subkey)
	carried := subkey[0] >> 7
	for k := range subkey {
		subkey[k] <<= 1
		if k+1 < len(subkey) {
			subkey[k] |= subkey[k+1] >> 7
		}
	}
	subkey[len(subkey)-1] ^= carried * 0x87
	subtle.XORBytes(message, message, subkey)
	block.Encrypt(message, message)
	return message
}

// What looks for secrets finds them, in every form, and derives the keys that
// cards have.
func TestSecretsAreFound(t *testing.T) {
	master := bytes.Repeat([]byte{0x11}, 32)
	card := []byte{0xC1, 7: 1}
	key := derive(t, master, "SKC", 1, card)
	if got := hex.EncodeToString(key); got != "11a46ce2751df41c7ad4c9863bfca33a" {
		t.Fatalf("the derived key is %s, which is not what docs/purse.md has", got)
	}
	s := secrets{}
	s.add("the key", key)
	for _, text := range []string{
		string(key), hex.EncodeToString(key), fmt.Sprintf("%X", key), fmt.Sprint(key), fmt.Sprintf("%#v", key),
		base64.StdEncoding.EncodeToString(key), base64.URLEncoding.EncodeToString(append([]byte{1}, key...)), base64.StdEncoding.EncodeToString(append([]byte{1, 2}, key...)),
	} {
		if names := s.found([]byte("said: " + text + ".")); len(names) != 1 {
			t.Errorf("it is not found in %q", text)
		}
	}
	if names := s.found([]byte("11a46ce2751df41c7ad4c9863bfca33b")); len(names) != 0 {
		t.Error("another key is taken for it")
	}
}

var (
	helpCommand = regexp.MustCompile(`(?m)^  samgateway ([a-z]+(?: [a-z]+)?)`)
	helpFlag    = regexp.MustCompile(`(?m)^  -([a-z-]+)(?: ([A-Za-z]+))?$`)
	secretFlag  = regexp.MustCompile(`pin|key|pass|secret|token|master`)
)

// A PIN or a key that stood in an argument would be there for everybody on the
// machine to read: such flags take the names of files.
func TestNoFlagTakesASecret(t *testing.T) {
	say := func(arguments ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := samgateway.Main(t.Context(), pcsc.Readers{}, arguments, strings.NewReader(""), &stdout, &stderr); code != 0 {
			t.Fatalf("samgateway %q: exit code %d, %s", arguments, code, stderr.String())
		}
		return stdout.String()
	}
	seen := 0
	for _, command := range helpCommand.FindAllStringSubmatch(say("help"), -1) {
		for _, flag := range helpFlag.FindAllStringSubmatch(say(append(strings.Fields(command[1]), "-h")...), -1) {
			if !secretFlag.MatchString(flag[1]) {
				continue
			}
			seen++
			if !slices.Contains([]string{"FILE", "VERSION", "int", ""}, flag[2]) {
				t.Errorf("samgateway %s --%s takes %s: secrets come from files", command[1], flag[1], flag[2])
			}
		}
	}
	if seen < 5 {
		t.Errorf("found %d flags about secrets", seen)
	}
}
