package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/paywordhq/payword/bench/load"
	"github.com/paywordhq/payword/bench/process"
)

// trivialCommand, as this program's first argument, makes it the trivial server,
// which listens at the second.
const trivialCommand = "trivial-server"

func serveTrivial(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return load.ServeTrivial(listener, []byte(answer))
}

// ceiling returns how many paid requests a second the generator sends to a
// server that does nothing, on the processor of the servers.
func (a *arena) ceiling(ctx context.Context, length time.Duration) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	address, err := freeAddress()
	if err != nil {
		return 0, err
	}
	child, err := process.Start(ctx, "the trivial server", []int{a.processors.Server}, oneProcessor, self, trivialCommand, address)
	if err != nil {
		return 0, err
	}
	defer child.Stop()
	if err := child.Listens(ctx, address); err != nil {
		return 0, err
	}
	target := load.Target{Address: address}
	for k := range a.chains {
		payer, err := load.NewPayer("http://"+address, a.chains, k, time.Now())
		if err != nil {
			return 0, err
		}
		target.Payers = append(target.Payers, payer)
	}
	client, err := load.Dial(target)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	if _, err := client.Closed(ctx, length/4); err != nil {
		return 0, err
	}
	result, err := client.Closed(ctx, length)
	return float64(result.Answers) / result.Elapsed.Seconds(), err
}
