package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets this program be the child, too, which a test starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "listen" {
		if _, err := net.Listen("tcp", os.Args[2]); err != nil {
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

func TestBusyCountsWork(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       time.Duration
		isError    bool
	}{
		{"all but idle and waiting", "cpu  1 2 3 1000 1000 4 5 9000 0 0\ncpu0 7 7 7 7 7 7 7\n", 150 * time.Millisecond, false},
		{"another line", "intr 1 2 3 4 5 6 7 8\n", 0, true},
		{"too short", "cpu 1 2 3\n", 0, true},
		{"no numbers", "cpu 1 2 3 4 5 6 x\n", 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := busy(test.text)
			if got != test.want || (err != nil) != test.isError {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
	if before, err := Busy(); err != nil || before <= 0 {
		t.Errorf("this machine: %v, %v", before, err)
	}
}

func TestProcessorsAreDividedUp(t *testing.T) {
	for _, test := range []struct {
		text              string
		server, generator int
		isWarned          bool
	}{{"0,1", 0, 1, false}, {"4,6,7", 4, 6, false}, {"3", 3, 3, true}} {
		p, err := assign(test.text)
		if err != nil || p.Server != test.server || p.Generator != test.generator || (p.Warning != "") != test.isWarned {
			t.Errorf("%s: %+v, %v", test.text, p, err)
		}
	}
	if _, err := assign("0,one"); err == nil {
		t.Error("0,one was taken")
	}
}

func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestChild(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	child, err := Start(t.Context(), "child", nil, nil, self, "listen", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Listens(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	used, err := child.Processor()
	if err != nil || used <= 0 || used > time.Minute {
		t.Errorf("it used %v, %v", used, err)
	}
	child.Stop()
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("it listens after it was stopped")
	}
	if _, err := child.Processor(); err == nil {
		t.Error("the processor time of a child that has ended was read")
	}
}

func TestChildrenEndWithTheirContext(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	child, err := Start(ctx, "child", nil, nil, self, "listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-child.done
}

func TestChildThatEndsSaysWhy(t *testing.T) {
	child, err := Start(t.Context(), "shell", nil, []string{"WORD=broken"}, "sh", "-c", "echo it is $WORD; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	defer child.Stop()
	err = child.Listens(t.Context(), freeAddress(t))
	if err == nil || !strings.Contains(err.Error(), "shell ended") || !strings.Contains(err.Error(), "it is broken") {
		t.Errorf("%v, want an error with what it wrote", err)
	}
	if _, err := Start(t.Context(), "nothing", nil, nil, "there-is-no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("%v, want %v", err, exec.ErrNotFound)
	}
}

func TestChildrenRunWhereTheyArePut(t *testing.T) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	first := members(&set)[0]
	command := exec.Command("sh", "-c", "grep Cpus_allowed_list /proc/self/status")
	var output tail
	command.Stdout = &output
	if err := RunOn([]int{first}, command); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(output.String()); !slices.Equal(got, []string{"Cpus_allowed_list:", fmt.Sprint(first)}) {
		t.Errorf("it ran on %q", got)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var end tail
	for range 3 {
		end.Write([]byte(strings.Repeat("x", maxTail/2) + "."))
	}
	if text := end.String(); len(text) != maxTail || !strings.HasSuffix(text, "x.") {
		t.Errorf("%d bytes that end in %q", len(text), text[len(text)-2:])
	}
}

func TestDescribe(t *testing.T) {
	m := Describe(2)
	if m.Count != 2 || m.Processor == "" || !strings.HasPrefix(m.Kernel, "Linux ") || !strings.HasSuffix(m.Memory, " GiB") || !strings.HasPrefix(m.Go, "go") {
		t.Errorf("%+v", m)
	}
}
