package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

// Block names whom the publisher does not serve, whatever they pay. What is
// free stays free for them.
type Block struct {
	// Addresses or prefixes, such as "203.0.113.0/24". Default: none.
	Addresses []string `json:"addresses,omitempty"`

	// Users, as a broker's certificates name them. Default: none.
	Users []BlockedUser `json:"users,omitempty"`

	// Certificates, by their jti: 22 characters of base64url. Default: none.
	Certificates []string `json:"certificates,omitempty"`

	// Commitments, by their id: 22 characters of base64url. Default: none.
	Commitments []string `json:"commitments,omitempty"`

	// A file with more, one a line: "address <prefix>", "user <issuer>
	// <subject>", "certificate <id>" or "commitment <id>"; what follows a # is a
	// comment. It is read again when it changes. At most 8 MiB. Default:
	// none.
	File string `json:"file,omitempty"`

	inConfig blockSet                 // without the file
	current  atomic.Pointer[blockSet] // with it
	stamp    fileStamp                // of the file, when it was read
}

// BlockedUser is a user of one broker.
type BlockedUser struct {
	// The broker's origin. Required.
	Issuer string `json:"issuer,omitempty"`

	// The subject of the user's certificates. Required.
	Subject string `json:"subject,omitempty"`
}

const (
	// maxBlockFileBytes bounds a block file, at two hundred thousand lines.
	maxBlockFileBytes = 8 << 20

	// maxBlocked bounds the entries, and so the memory.
	maxBlocked = 200_000
)

// blockSet is what is blocked. It is never changed.
type blockSet struct {
	prefixes     map[netip.Prefix]bool
	lengths      []int // of the prefixes of IPv4, then 1000 more for those of IPv6
	users        map[BlockedUser]bool
	certificates map[payword.Nonce]bool
	commitments  map[payword.CommitmentID]bool
}

func newBlockSet() blockSet {
	return blockSet{
		prefixes: make(map[netip.Prefix]bool), users: make(map[BlockedUser]bool),
		certificates: make(map[payword.Nonce]bool), commitments: make(map[payword.CommitmentID]bool),
	}
}

// v6Length is added to the length of an IPv6 prefix, to tell it from one of
// IPv4.
const v6Length = 1000

// add reads one entry, in the words of a line of a block file.
func (s *blockSet) add(words []string) error {
	kind, arguments := words[0], words[1:]
	switch {
	case kind == "user" && len(arguments) == 2:
		if err := payword.CheckOrigin(arguments[0]); err != nil {
			return fmt.Errorf("user: %w", err)
		}
		s.users[BlockedUser{arguments[0], arguments[1]}] = true
	case kind == "address" && len(arguments) == 1:
		return s.addAddress(arguments[0])
	case kind == "certificate" && len(arguments) == 1:
		var id payword.CommitmentID // of the same form
		if err := id.UnmarshalText([]byte(arguments[0])); err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		s.certificates[payword.Nonce(id)] = true
	case kind == "commitment" && len(arguments) == 1:
		var id payword.CommitmentID
		if err := id.UnmarshalText([]byte(arguments[0])); err != nil {
			return fmt.Errorf("commitment: %w", err)
		}
		s.commitments[id] = true
	default:
		return errors.New("want address <prefix>, user <issuer> <subject>, certificate <id> or commitment <id>")
	}
	return nil
}

func (s *blockSet) addAddress(text string) error {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		address, addressError := netip.ParseAddr(text)
		if addressError != nil || address.Zone() != "" {
			return fmt.Errorf("address %q: want an address or a prefix, such as 203.0.113.0/24", text)
		}
		prefix = netip.PrefixFrom(address, address.BitLen())
	}
	if prefix.Addr().Is4In6() {
		return fmt.Errorf("address %q: write an IPv4 address as such", text)
	}
	s.prefixes[prefix.Masked()] = true
	length := prefix.Bits()
	if prefix.Addr().Is6() {
		length += v6Length
	}
	if !slices.Contains(s.lengths, length) {
		s.lengths = append(s.lengths, length)
	}
	return nil
}

func (s *blockSet) size() int {
	return len(s.prefixes) + len(s.users) + len(s.certificates) + len(s.commitments)
}

// hasAddress reports whether an address is blocked.
func (s *blockSet) hasAddress(address netip.Addr) bool {
	for _, length := range s.lengths {
		if (length >= v6Length) != address.Is6() {
			continue
		}
		if prefix, err := address.WithZone("").Prefix(length % v6Length); err == nil && s.prefixes[prefix] {
			return true
		}
	}
	return false
}

// provision reads what the configuration and the file name.
func (b *Block) provision() error {
	if b == nil {
		return nil
	}
	b.inConfig = newBlockSet()
	entries := [][]string{}
	for _, address := range b.Addresses {
		entries = append(entries, []string{"address", address})
	}
	for _, user := range b.Users {
		entries = append(entries, []string{"user", user.Issuer, user.Subject})
	}
	for _, id := range b.Certificates {
		entries = append(entries, []string{"certificate", id})
	}
	for _, id := range b.Commitments {
		entries = append(entries, []string{"commitment", id})
	}
	for _, entry := range entries {
		if err := b.inConfig.add(entry); err != nil {
			return err
		}
	}
	b.current.Store(&b.inConfig)
	if b.File == "" {
		return nil
	}
	return b.read()
}

// read reads the file. If anything in it is wrong, what was read before stays.
func (b *Block) read() error {
	b.stamp = stampOf(b.File)
	content, err := readBounded(b.File, maxBlockFileBytes)
	if err != nil {
		return err
	}
	next := newBlockSet()
	// Both are sets, so the configuration's entries are added in any order.
	next.join(&b.inConfig)
	number := 0
	for line := range bytes.Lines(content) {
		number++
		text, _, _ := strings.Cut(string(line), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if err := next.add(words); err != nil {
			return fmt.Errorf("%s, line %d: %w", b.File, number, err)
		}
		if next.size() > maxBlocked {
			return fmt.Errorf("%s, line %d: more than %d entries", b.File, number, maxBlocked)
		}
	}
	b.current.Store(&next)
	return nil
}

// join adds the entries of another set.
func (s *blockSet) join(other *blockSet) {
	for prefix := range other.prefixes {
		s.prefixes[prefix] = true
	}
	s.lengths = append(s.lengths, other.lengths...)
	for user := range other.users {
		s.users[user] = true
	}
	for id := range other.certificates {
		s.certificates[id] = true
	}
	for id := range other.commitments {
		s.commitments[id] = true
	}
}

// watchFiles reads files that an operator changes while the gate runs, until ctx
// ends.
func (a *App) watchFiles(ctx context.Context) {
	ticker := time.NewTicker(fileCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			a.checkFiles()
			a.checkSecrets()
		}
	}
}

// checkFiles reads the files that were changed.
func (a *App) checkFiles() {
	if a.Block == nil || a.Block.File == "" || stampOf(a.Block.File) == a.Block.stamp {
		return
	}
	if err := a.Block.read(); err != nil {
		a.logger.Error("reading the block list; the one before stays in use", zap.Error(err))
		return
	}
	a.logger.Info("read the block list", zap.String("file", a.Block.File), zap.Int("entries", a.Block.current.Load().size()))
}

// blockedRefusal is the refusal of who is blocked. It does not say by which
// entry.
var blockedRefusal = payword.Refusal{Reason: payword.Blocked, Detail: "this site does not serve you: ask its owner why"}

// checkAddress refuses addresses that are blocked.
func (x *exchange) checkAddress() payword.Refusal {
	if x.app.Block != nil && x.app.Block.current.Load().hasAddress(clientAddress(x.request)) {
		return blockedRefusal
	}
	return payword.Refusal{}
}

// checkBlocked refuses users, certificates and commitments that are blocked.
func (x *exchange) checkBlocked() payword.Refusal {
	if x.app.Block.has(x.view.commitment) {
		return blockedRefusal
	}
	return payword.Refusal{}
}

// has reports whether a commitment, its certificate or its user is blocked.
// Without a block list nobody is.
func (b *Block) has(m *payword.Commitment) bool {
	if b == nil {
		return false
	}
	set := b.current.Load()
	user := BlockedUser{Issuer: m.Certificate.Issuer, Subject: m.Certificate.Subject}
	return set.users[user] || set.certificates[m.Certificate.ID] || set.commitments[m.ID]
}

// blockListOptions are the options of the option block.
var blockListOptions = map[string]option[*Block]{
	"address":     words(func(b *Block) *[]string { return &b.Addresses }),
	"certificate": words(func(b *Block) *[]string { return &b.Certificates }),
	"commitment":  words(func(b *Block) *[]string { return &b.Commitments }),
	"file":        word("<path>", func(b *Block) *string { return &b.File }),
	"user": func(b *Block, d *caddyfile.Dispenser) error {
		arguments := d.RemainingArgs()
		if len(arguments) != 2 {
			return d.Err("want user <issuer> <subject>")
		}
		b.Users = append(b.Users, BlockedUser{Issuer: arguments[0], Subject: arguments[1]})
		return nil
	},
}

// words is an option with at least one argument, which may be repeated.
func words[T any](field func(target T) *[]string) option[T] {
	return func(target T, d *caddyfile.Dispenser) error {
		name := d.Val()
		arguments := d.RemainingArgs()
		if len(arguments) == 0 {
			return d.Errf("want at least one %s behind %s", name, name)
		}
		*field(target) = append(*field(target), arguments...)
		return nil
	}
}

func readBlockList(a *App, d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("block takes no %q: want whom to block in a block, such as: address 203.0.113.0/24", d.Val())
	}
	if a.Block == nil {
		a.Block = new(Block)
	}
	return readBlock(d, a.Block, blockListOptions)
}
