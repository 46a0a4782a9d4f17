package commandline_test

import (
	"flag"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/commandline"
)

func TestParseMixed(t *testing.T) {
	cases := []struct {
		arguments string
		words     []string
		unit      string
		fails     string
	}{
		{arguments: ""},
		{arguments: "5.00", words: []string{"5.00"}},
		{arguments: "--unit usd 5.00", words: []string{"5.00"}, unit: "usd"},
		{arguments: "5.00 --unit usd", words: []string{"5.00"}, unit: "usd"},
		{arguments: "account --unit usd 5.00", words: []string{"account", "5.00"}, unit: "usd"},
		{arguments: "--unit usd -- -5.00 --unit", words: []string{"-5.00", "--unit"}, unit: "usd"},
		{arguments: "5.00 --nuit usd", fails: "did you mean --unit?"},
		{arguments: "5.00 --unit", fails: "--unit needs a value"},
		{arguments: "5.00 -h", fails: flag.ErrHelp.Error()},
	}
	for _, c := range cases {
		t.Run(c.arguments, func(t *testing.T) {
			flags := flag.NewFlagSet("test", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			unit := flags.String("unit", "", "what is counted")
			words, err := commandline.ParseMixed(flags, strings.Fields(c.arguments))
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("got %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil || !slices.Equal(words, c.words) || *unit != c.unit {
				t.Errorf("got words %q and unit %q (%v), want %q and %q", words, *unit, err, c.words, c.unit)
			}
		})
	}
}
