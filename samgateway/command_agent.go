package samgateway

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/paywordhq/payword/internal/filelock"
	"github.com/paywordhq/payword/samgateway/agent"
)

// defaultAgentPort is where sites look for an agent.
const defaultAgentPort = 8417

// agentStarted is what the command agent prints with --json when it listens.
type agentStarted struct {
	// Sites is where sites find the agent.
	Sites string `json:"sites"`
	// Page is the holder's. Whoever has its address can say yes.
	Page string `json:"page"`
}

// defineAgent is the command agent, which lets sites ask the card in this
// machine's reader, if its holder says yes.
func defineAgent(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, cardSettings)
	var port int
	var state string
	flags.IntVar(&port, "port", defaultAgentPort, "`PORT` of 127.0.0.1 to listen at, where sites look for it; 0 takes any")
	flags.StringVar(&state, "state", "", "`FILE` of the sites that are paired and of what is not decided yet (default: agent.json in payword's folder of your settings)")
	return func(ctx context.Context) error {
		if err := s.complete(); err != nil {
			return err
		}
		if port < 0 || port > 65535 {
			return usage("--port %d: want 1 to 65535, or 0 for any", port)
		}
		if state == "" {
			folder, err := os.UserConfigDir()
			if err != nil {
				return usage("--state is missing, and it is not known where your settings are: %v", err)
			}
			state = filepath.Join(folder, "payword", "agent.json")
		}
		return c.runAgent(ctx, s, port, state)
	}
}

func (c *command) runAgent(ctx context.Context, s *settings, port int, state string) (err error) {
	reader, err := c.reader(ctx, "card", s.cardReader, s.cardFile)
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Config{
		Reader: reader, State: state,
		Notify: func(sentence string) { c.tell("%s", sentence) },
		Log:    slog.New(slog.NewTextHandler(c.stderr, nil)),
	})
	if errors.Is(err, filelock.ErrLocked) {
		return fmt.Errorf("an agent with the state %s runs already: its page is at the address that it printed", state)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	listener, err := a.Listen(port)
	if err != nil {
		return fmt.Errorf("listening at port %d: %w; say another with --port", port, err)
	}
	started := agentStarted{Sites: "http://" + listener.Addr().String(), Page: a.Address(listener)}
	if err := c.say(started, "The agent listens for sites on %s, with the reader %s.\nYour page, for your eyes only: %s", started.Sites, reader.Name(), started.Page); err != nil {
		return errors.Join(err, listener.Close())
	}
	return a.Run(ctx, listener)
}
