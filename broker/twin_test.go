package broker_test

import (
	"net/http/httptest"

	"github.com/paywordhq/payword/broker"
)

// twin opens a second broker on the same database, as on another machine behind
// the same name.
func (b *bank) twin() *bank {
	b.t.Helper()
	other := *b
	opened, err := broker.New(b.t.Context(), b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	server := httptest.NewServer(opened.Handler())
	other.Broker, other.url = opened, server.URL
	b.t.Cleanup(func() {
		server.Close()
		if err := opened.Close(); err != nil {
			b.t.Error(err)
		}
	})
	return &other
}

// at returns the user as one who talks to another broker.
func (u *user) at(b *bank) *user {
	there := *u
	there.bank = b
	return &there
}

func (p *purse) at(b *bank) *purse {
	there := *p
	there.user = p.user.at(b)
	return &there
}

func (s *shop) at(b *bank) *shop {
	there := *s
	there.bank = b
	return &there
}
