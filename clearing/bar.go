package clearing

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	// drawEvery is what an eye can follow; drawing more often costs more than a
	// line of a run.
	drawEvery = 100 * time.Millisecond
	// guessAfter is when an estimate of the time left is worth showing.
	guessAfter = time.Second
	// eraseLine goes to the beginning of the line and clears it (ECMA-48, EL).
	eraseLine = "\r\x1b[K"
	// barWidth is the width of the bar itself.
	barWidth = 24
)

// bar draws how far something is on one line of a terminal, over and over, and
// estimates the time left from what was done since it began to look: what a run
// that is gone on with had done before took no time now.
//
// It is our own because the kept libraries take what a resumed run has behind it
// for speed, and read the clock themselves.
type bar struct {
	out   io.Writer
	width int // of the terminal, in columns
	now   func() time.Time

	stage string
	from  int64 // done when the stage was first seen
	began time.Time
	drawn time.Time
}

// newBar returns a bar on a terminal, or nil where out is none: what goes to a
// file or to another program has no use for it.
func newBar(out io.Writer) *bar {
	file, isFile := out.(*os.File)
	if !isFile || !term.IsTerminal(int(file.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil || width <= 0 {
		width = 80 // the terminal does not say
	}
	return &bar{out: out, width: width, now: time.Now}
}

// phaseTexts say for people what a run is doing.
var phaseTexts = map[Phase]string{
	PhaseCheck: "checking the books", PhaseLines: "paying", PhaseClose: "checking the books again",
	PhasePublish: "making statements", PhaseFiles: "writing files", PhaseFinal: "done",
}

// report shows how far a run is. Where there is no bar it does nothing.
func (b *bar) report(p Progress) {
	switch {
	case b == nil:
	case p.Phase == PhaseLines:
		b.show(phaseTexts[p.Phase], p.Done, p.Lines)
	case p.Steps > 0:
		b.show(phaseTexts[p.Phase], p.Step, p.Steps)
	default:
		// Another name than where the phase is counted, which begins with its first
		// step and not before.
		b.stage = phaseTexts[p.Phase] + " ..."
		fmt.Fprint(b.out, eraseLine+b.fitting(b.stage))
	}
}

// show draws that done of total are done in a stage. What it writes may be lost:
// whether the work goes well does not depend on who looks on.
func (b *bar) show(stage string, done, total int64) {
	now := b.now()
	if stage != b.stage {
		b.stage, b.from, b.began, b.drawn = stage, done, now, time.Time{}
	}
	if now.Sub(b.drawn) < drawEvery && done < total {
		return
	}
	b.drawn = now
	fmt.Fprint(b.out, eraseLine+b.line(now, done, total))
}

// clear takes the line away, so that results and errors stand alone.
func (b *bar) clear() {
	if b != nil && b.stage != "" {
		fmt.Fprint(b.out, eraseLine)
		b.stage = ""
	}
}

// line is never as wide as the terminal: a line that wraps is not drawn over.
func (b *bar) line(now time.Time, done, total int64) string {
	filled, percent := int64(barWidth), int64(100)
	if total > 0 {
		filled, percent = min(done, total)*barWidth/total, min(done, total)*100/total
	}
	text := fmt.Sprintf("%-10s %3d%%  %d of %d", b.stage, percent, done, total)
	if left, isKnown := b.left(now, done, total); isKnown {
		text += ", " + spoken(left) + " left"
	}
	picture := "[" + strings.Repeat("#", int(filled)) + strings.Repeat("-", barWidth-int(filled)) + "] "
	if len(picture)+len(text) < b.width {
		return picture + text
	}
	return b.fitting(text)
}

// fitting cuts a text so that the terminal does not wrap it.
func (b *bar) fitting(text string) string { return text[:min(len(text), b.width-1)] }

// left estimates the time left from the pace since the stage was first seen.
func (b *bar) left(now time.Time, done, total int64) (left time.Duration, isKnown bool) {
	elapsed := now.Sub(b.began)
	if elapsed < guessAfter || done <= b.from || done >= total {
		return 0, false
	}
	// Milliseconds of a year times a hundred million steps fit in 64 bits.
	return time.Duration(elapsed.Milliseconds()*(total-done)/(done-b.from)) * time.Millisecond, true
}

// spoken writes a duration as people say it, with two units at most.
func spoken(d time.Duration) string {
	seconds := int64((d + time.Second - 1) / time.Second)
	switch {
	case seconds < 60:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
	default:
		return fmt.Sprintf("%d h %d min", seconds/3600, seconds%3600/60)
	}
}
