package clearing

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// failure is what a command prints with --json where it has no result.
type failure struct {
	// Error is the sentence that stands on stderr as well.
	Error    string `json:"error"`
	ExitCode int    `json:"exitCode"`
}

// maxSentence is longer than what a command says when it fails.
const maxSentence = 8 << 10

// output looks on while a command writes, so that with --json there is exactly
// one document on stdout, however the command ends.
type output struct {
	stdout, stderr io.Writer
	hasResult      bool
	said           []byte // on stderr, its end
}

// result is the stdout of a command.
type result struct{ *output }

// Write implements io.Writer.
func (r result) Write(text []byte) (int, error) {
	r.hasResult = r.hasResult || len(text) > 0
	return r.stdout.Write(text)
}

// messages is the stderr of a command.
type messages struct{ *output }

// Write implements io.Writer.
func (m messages) Write(text []byte) (int, error) {
	m.said = append(m.said, text...)
	m.said = m.said[max(0, len(m.said)-maxSentence):]
	return m.stderr.Write(text)
}

// finish prints a failure where JSON was asked for and none was printed, and
// returns the exit code.
func (o *output) finish(args []string, code int) int {
	if code == exitOK || o.hasResult || !wantsJSON(args) {
		return code
	}
	encoded, err := FormatJSON(failure{Error: o.sentence(), ExitCode: code})
	if err == nil {
		_, err = o.stdout.Write(encoded)
	}
	if err != nil {
		fmt.Fprintf(o.stderr, "payword clearing: %v\n", err)
	}
	return code
}

// sentence is what was said last, without the name of the command before it.
func (o *output) sentence() string {
	const name = "payword clearing"
	text := strings.TrimSpace(string(o.said))
	if at := strings.LastIndex("\n"+text, "\n"+name); at >= 0 {
		text = text[at+len(name):]
		_, text, _ = strings.Cut(text, ": ")
	}
	return text
}

// wantsJSON says whether JSON was asked for, of arguments that may not even be
// understood.
func wantsJSON(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return slices.Contains([]string{"--json", "-json", "--json=true", "-json=true"}, arg)
	})
}
