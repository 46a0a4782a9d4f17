// Package webserver runs an HTTP server for as long as its program serves.
package webserver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Serve answers on the listener, which it closes, until ctx is done. Then
// requests in flight may take as long as patience to end; that one took longer is
// an error, and so is whatever ends the server before.
func Serve(ctx context.Context, server *http.Server, listener net.Listener, patience time.Duration) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return server.Shutdown(deadline)
	})
	return group.Wait()
}
