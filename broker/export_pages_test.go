package broker

import "context"

// SumUp sums what the journal has got since, as Run does.
func (b *Broker) SumUp(ctx context.Context) error { return b.store.sumUp(ctx) }

// CheckBooks checks the books and keeps what it found, as Run does.
func (b *Broker) CheckBooks(ctx context.Context) error { return b.checkBooks(ctx) }
