package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/paywordhq/payword/bench/process"
	"github.com/paywordhq/payword/bench/stats"
)

var shouldWrite = flag.Bool("write", false, "write the files in testdata again")

func ratio(low, median, high float64) stats.Summary {
	return stats.Summary{Count: 20, Low: low, Median: median, High: high, Least: low, Most: high}
}

// example has a row of every kind.
func example() Report {
	skipped := AtLeast(5)
	skipped.Skipped = "this processor has no avx512f"
	return Report{
		Began: "2026-11-26T12:00:00Z", Mode: "quick", Ceiling: 100_000,
		Machine:  process.Machine{Processor: "A processor", Count: 2, Flags: []string{"sha_ni"}, Memory: "4 GiB", Kernel: "Linux 6", Go: "go1.26"},
		Versions: []Version{{"Caddy", "2.11.9"}},
		Warnings: []string{"there is one processor only"},
		Rows: []Row{
			{ID: "http/a", Group: "Requests", What: "gate / bare <Caddy>", Ratio: ratio(0.98, 0.991, 1.02), Unit: "×", Bar: AtLeast(0.97)},
			{ID: "http/b", Group: "Requests", What: "the same, CPU", Ratio: ratio(0.98, 1, 1.02), Unit: "×"},
			{ID: "http/c", Group: "Requests", What: "requests a second", Ratio: ratio(20_000, 22_500.4, 24_000), Unit: "requests/s", Bar: AtLeast(25_000)},
			{ID: "http/d", Group: "Requests", What: "just missed", Ratio: ratio(0.9, 1.04, 1.1), Unit: "×", Bar: AtLeast(1.05)},
			{ID: "store/a", Group: "Stores", What: "memory", Ratio: stats.Of([]float64{812}), Unit: "B", Bar: AtMost(1024)},
			{ID: "store/b", Group: "Stores", What: "allocations", Ratio: stats.Of([]float64{0}), Bar: AtMost(0)},
			{ID: "store/c", Group: "Stores", What: "start", Unit: "s", Bar: AtMost(10), Missing: "BenchmarkBarStart does not exist"},
			{ID: "store/d", Group: "Stores", What: "hashes", Ratio: ratio(3, 4, 5), Unit: "×", Bar: skipped},
			{ID: "other/a", Group: "Without bars", What: "a figure", Ratio: ratio(10, 20, 120), Unit: "ms"},
		},
		Servers: []Server{
			{Name: "bare", Rate: ratio(30_000, 31_000, 32_000), Micros: ratio(29, 30, 31), Answers: 1000},
			{Name: "gate", Rate: ratio(29_000, 30_000, 32_500), Micros: ratio(30, 31, 33), Redis: ratio(4, 5, 6), Answers: 12_345, IsPaid: true, Refused: 2},
		},
	}
}

func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		name string
		row  Row
		want string
	}{
		{"above", Row{Ratio: ratio(1, 1.1, 1.2), Bar: AtLeast(1.05)}, "met"},
		{"exactly", Row{Ratio: ratio(1, 1.05, 1.2), Bar: AtLeast(1.05)}, "met"},
		{"below, but a quartile", Row{Ratio: ratio(0.9, 1, 1.2), Bar: AtLeast(1.05)}, "within the spread"},
		{"below", Row{Ratio: ratio(0.9, 1, 1.04), Bar: AtLeast(1.05)}, "missed"},
		{"small enough", Row{Ratio: ratio(0.9, 1, 1.04), Bar: AtMost(1)}, "met"},
		{"too large, but a quartile", Row{Ratio: ratio(0.9, 1.01, 1.04), Bar: AtMost(1)}, "within the spread"},
		{"too large", Row{Ratio: ratio(1.01, 1.02, 1.04), Bar: AtMost(1)}, "missed"},
		{"one refused", Row{Ratio: stats.Of([]float64{1}), Bar: AtMost(0)}, "missed"},
		{"no bar", Row{Ratio: ratio(1, 2, 3)}, ""},
		{"no figure", Row{Bar: AtLeast(1), Missing: "why"}, "not measured"},
		{"not for this processor", Row{Ratio: ratio(2, 2, 2), Bar: &Bar{Value: 3, Skipped: "why"}}, "skipped"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.row.Verdict(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestReportIsAsBefore(t *testing.T) {
	r := example()
	written := map[string]*bytes.Buffer{"report.md": {}, "report.json": {}, "http.svg": {}, "servers.svg": {}}
	_, err := r.WritePlot(written["http.svg"], "Requests")
	for _, err := range []error{
		err, r.WriteMarkdown(written["report.md"]), r.WriteJSON(written["report.json"]), r.WriteServerPlot(written["servers.svg"]),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, got := range written {
		path := filepath.Join("testdata", name)
		if *shouldWrite {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s is another; look at it, and run: go test ./report -write\n%s", name, got)
		}
	}
	if again, err := ReadJSON(written["report.json"]); err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("read again: %v, %+v", err, again)
	}
}

func TestPlotsAreDrawable(t *testing.T) {
	folder := t.TempDir()
	drawn, err := example().WritePlots(folder)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]bool{"http": true, "store": true, "servers": true}; !reflect.DeepEqual(drawn, want) {
		t.Errorf("drawn: %v, want %v", drawn, want)
	}
	for name := range drawn {
		text, err := os.ReadFile(filepath.Join(folder, name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		for decoder := xml.NewDecoder(bytes.NewReader(text)); ; {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			element, isElement := token.(xml.StartElement)
			if !isElement {
				continue
			}
			for _, attribute := range element.Attr {
				if strings.Contains(attribute.Value, "NaN") || strings.Contains(attribute.Value, "Inf") || strings.HasPrefix(attribute.Value, "-") {
					t.Errorf("%s: %s %s=%q", name, element.Name.Local, attribute.Name.Local, attribute.Value)
				}
			}
		}
	}
}

func TestDocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# Before\n\n" + begins + "old\n" + ends + "\nafter\n")
	for range 2 { // the second time changes nothing
		if err := example().Document(path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"# Before\n\n" + begins, ends + "\nafter\n", "### Stores", "![Stores](performance/store.svg)", "| gate / bare <Caddy> | ≥", "| gate / bare <Caddy> | 0.991 × | ≥ 0.97 × | met |", "### Without bars"} {
			if strings.Count(string(text), want) != 1 {
				t.Errorf("the document does not have %q once:\n%s", want, text)
			}
		}
		if strings.Contains(string(text), "old") || strings.Contains(string(text), "other.svg") {
			t.Errorf("the document has what it should not:\n%s", text)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "performance", "servers.svg")); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"no marks\n", begins, ends + begins} {
		write(text)
		if err := example().Document(path); err == nil || !strings.Contains(err.Error(), "bench: begin") {
			t.Errorf("a document with %q: %v, want an error that names the marks", text, err)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != text {
			t.Errorf("a document without its marks was changed: %q, %v", left, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 0.25: "0.250", 0.97049: "0.970", 2: "2", 9.9996: "10.000", 12.34: "12.3", 123.4: "123", 1234.5: "1,235", 216_000_000: "216,000,000",
	} {
		if got := number(value); got != want {
			t.Errorf("%v is written %q, want %q", value, got, want)
		}
	}
}
