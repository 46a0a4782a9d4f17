package caddymodule

import (
	"crypto/ed25519"
	"encoding/binary"
	"net/netip"
	"unique"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// appendTerms writes what a commitment says, all but its token. Reading a token
// takes decoding base64 and JSON twice and checking a key; a start with a million
// of them would do little else.
func appendTerms(buffer []byte, m *payword.Commitment) []byte {
	buffer = append(buffer, m.ID[:]...)
	buffer = appendString(appendString(buffer, m.Vendor), string(m.Currency))
	buffer = appendUint64(appendUint64(buffer, uint64(m.IssuedAt)), uint64(m.Expires))
	buffer = append(buffer, m.Nonce[:]...)
	buffer = appendUint64(buffer, uint64(m.Limit))
	buffer = append(buffer, uint8(len(m.Chains)))
	for k := range m.Chains {
		chain := &m.Chains[k]
		buffer = append(buffer, chain.Root[:]...)
		buffer = appendUint64(buffer, uint64(chain.Unit))
		buffer = binary.BigEndian.AppendUint32(buffer, chain.Length)
	}
	return appendCertificate(buffer, &m.Certificate)
}

// appendCertificate writes what a certificate says, all but its token and its
// currency, which is the commitment's.
func appendCertificate(buffer []byte, c *payword.Certificate) []byte {
	buffer = appendString(appendString(buffer, c.Issuer), c.Subject)
	buffer = append(buffer, c.Key...)
	buffer = appendUint64(appendUint64(buffer, uint64(c.IssuedAt)), uint64(c.Expires))
	buffer = append(buffer, c.ID[:]...)
	buffer = appendUint64(buffer, uint64(c.Limit))
	buffer = append(buffer, uint8(c.Age), uint8(len(c.Prefixes)))
	for _, prefix := range c.Prefixes {
		buffer = appendString(buffer, prefix.String())
	}
	buffer = appendBool(buffer, c.Status != nil)
	if c.Status != nil {
		buffer = binary.BigEndian.AppendUint32(buffer, c.Status.Index)
		buffer = appendString(buffer, c.Status.URI)
	}
	return buffer
}

// terms reads what appendTerms wrote. The commitment has no token.
func (p *parser) terms() *payword.Commitment {
	m := &payword.Commitment{}
	p.copy(m.ID[:])
	m.Vendor, m.Currency = p.sharedText(), money.Currency(p.sharedText())
	m.IssuedAt, m.Expires = int64(p.uint64()), int64(p.uint64())
	p.copy(m.Nonce[:])
	m.Limit = p.amount()
	count := int(p.uint8())
	if count < 1 || count > payword.MaxChains {
		p.failed = true
		return m
	}
	m.Chains = make([]payword.ChainTerms, count)
	for k := range m.Chains {
		chain := &m.Chains[k]
		p.copy(chain.Root[:])
		chain.Unit, chain.Length = p.amount(), p.uint32()
	}
	p.certificate(&m.Certificate)
	m.Certificate.Currency = m.Currency
	return m
}

func (p *parser) certificate(c *payword.Certificate) {
	c.Issuer, c.Subject = p.sharedText(), p.text()
	c.Key = make(ed25519.PublicKey, ed25519.PublicKeySize)
	p.copy(c.Key)
	c.IssuedAt, c.Expires = int64(p.uint64()), int64(p.uint64())
	p.copy(c.ID[:])
	c.Limit, c.Age = p.amount(), int(p.uint8())
	for range p.uint8() {
		prefix, err := netip.ParsePrefix(p.text())
		p.failed = p.failed || err != nil
		c.Prefixes = append(c.Prefixes, prefix)
	}
	if isListed := p.bool(); isListed {
		c.Status = &payword.StatusEntry{Index: p.uint32(), URI: p.sharedText()}
	}
}

// sharedText reads a text that many commitments have, which all share one copy.
func (p *parser) sharedText() string { return unique.Make(p.text()).Value() }
