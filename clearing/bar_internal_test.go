package clearing

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBar(t *testing.T) {
	var out bytes.Buffer
	clock := time.Unix(1_700_000_000, 0)
	b := &bar{out: &out, width: 80, now: func() time.Time { return clock }}
	shown := func(stage string, done, total int64) string {
		t.Helper()
		out.Reset()
		b.show(stage, done, total)
		text, found := strings.CutPrefix(out.String(), "\r\x1b[K")
		if out.Len() > 0 && !found {
			t.Errorf("%q does not begin by clearing the line", out.String())
		}
		return text
	}
	steps := []struct {
		name        string
		pass        time.Duration
		stage       string
		done, total int64
		want        string
	}{
		{"a run that is gone on with", 0, "paying", 600, 1000, "[##############----------] paying      60%  600 of 1000"},
		{"too soon to draw again", 99 * time.Millisecond, "paying", 601, 1000, ""},
		{"too soon to guess", 801 * time.Millisecond, "paying", 610, 1000, "[##############----------] paying      61%  610 of 1000"},
		{"a pace of 10 a second", 1100 * time.Millisecond, "paying", 620, 1000, "[##############----------] paying      62%  620 of 1000, 38 s left"},
		{"slower", 18 * time.Second, "paying", 640, 1000, "[###############---------] paying      64%  640 of 1000, 3 min 0 s left"},
		{"nothing moves", time.Hour, "paying", 640, 1000, "[###############---------] paying      64%  640 of 1000, 9 h 3 min left"},
		{"the end is always drawn", 0, "paying", 1000, 1000, "[########################] paying     100%  1000 of 1000"},
		{"another stage", 0, "files", 0, 4, "[------------------------] files        0%  0 of 4"},
		{"nothing to do", 0, "checking", 0, 0, "[########################] checking   100%  0 of 0"},
	}
	for _, s := range steps {
		clock = clock.Add(s.pass)
		if got := shown(s.stage, s.done, s.total); got != s.want {
			t.Errorf("%s: got\n%q\nwant\n%q", s.name, got, s.want)
		}
	}
	out.Reset()
	b.clear()
	b.clear()
	if out.String() != "\r\x1b[K" {
		t.Errorf("cleared twice: got %q, want the line cleared once", out.String())
	}
	for _, width := range []int{60, 30, 5, 1} {
		b.width = width
		if got := shown("paying", 1, 1000); len(got) >= width {
			t.Errorf("on %d columns: got %q, which has %d", width, got, len(got))
		}
	}
}

// A phase that is counted from its second report on is timed from there.
func TestBarTimesWhatIsCounted(t *testing.T) {
	var out bytes.Buffer
	clock := time.Unix(1_700_000_000, 0)
	b := &bar{out: &out, width: 100, now: func() time.Time { return clock }}
	b.report(Progress{Phase: PhasePublish})
	clock = clock.Add(time.Hour)
	for _, step := range []int64{100, 200} {
		out.Reset()
		b.report(Progress{Phase: PhasePublish, Step: step, Steps: 1000})
		clock = clock.Add(10 * time.Second)
	}
	if got := out.String(); !strings.HasSuffix(got, "200 of 1000, 1 min 20 s left") {
		t.Errorf("100 in ten seconds, and 800 to go: got %q", got)
	}
}

// Whatever is no terminal gets no bar.
func TestBarIsForTerminals(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if newBar(file) != nil || newBar(new(bytes.Buffer)) != nil {
		t.Error("a file, or no file at all, got a bar")
	}
	var none *bar
	none.clear() // does nothing
}
