package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// process is one of the demo's servers: this program again, under another
// command, as a process of its own, so that it can be killed.
type process struct {
	name      string
	arguments []string
	logPath   string
	readyURL  string
	command   *exec.Cmd
	exited    chan struct{}
}

// startTimeout bounds how long a server may take to answer. The first start of
// a freshly built binary on a slow disk takes seconds.
const startTimeout = 30 * time.Second

// start runs the process and waits until it answers.
func (p *process) start(ctx context.Context) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.command = exec.Command(executable, p.arguments...)
	p.command.Stdout, p.command.Stderr = log, log
	// What Caddy keeps for itself stays in the demo's directory too.
	home := filepath.Dir(p.logPath)
	p.command.Env = append(os.Environ(), "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	if err := p.command.Start(); err != nil {
		return fmt.Errorf("starting the %s: %w", p.name, err)
	}
	p.exited = make(chan struct{})
	go func(command *exec.Cmd, exited chan struct{}) {
		command.Wait()
		close(exited)
	}(p.command, p.exited)
	return p.awaitReady(ctx)
}

func (p *process) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.readyURL, nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode < 500 {
				return nil
			}
		}
		select {
		case <-p.exited:
			return fmt.Errorf("the %s ended before it answered; its log ends:\n%s", p.name, p.logEnd())
		case <-ctx.Done():
			p.kill()
			return fmt.Errorf("the %s did not answer at %s within %s; its log ends:\n%s", p.name, p.readyURL, startTimeout, p.logEnd())
		case <-ticker.C:
		}
	}
}

// kill ends the process at once (SIGKILL), as a power cut would.
func (p *process) kill() {
	if p.command == nil {
		return
	}
	p.command.Process.Kill()
	<-p.exited
	p.command = nil
}

// stop asks the process to end, and kills it if it has not after a while.
func (p *process) stop() {
	if p.command == nil {
		return
	}
	p.command.Process.Signal(os.Interrupt)
	select {
	case <-p.exited:
		p.command = nil
	case <-time.After(10 * time.Second):
		p.kill()
	}
}

// logEnd returns the last lines of the process's log.
func (p *process) logEnd() string {
	log, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// freePort returns a port of the loopback interface that nobody listens on.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, errors.Join(listener.Close())
}
