package clearing

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"strings"
)

// What package flag says of arguments that it does not take.
var (
	unknownFlag  = regexp.MustCompile(`^flag provided but not defined: -(.*)$`)
	flagAlone    = regexp.MustCompile(`^flag needs an argument: -(.*)$`)
	invalidValue = regexp.MustCompile(`(?s)^invalid (?:boolean )?value (".*") for (?:flag )?-([a-z-]+): (.*)$`)
)

// parseFlags parses the arguments of a command, of which everything is said with
// flags. Its errors say what would be right; flag.ErrHelp means that the help
// was asked for, which is for the caller to print.
func parseFlags(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return rightFlag(flags, err.Error())
	case flags.NArg() > 0:
		return fmt.Errorf("%.80q is not a flag: everything is said with flags; %s", flags.Arg(0), listFlags(flags))
	}
	return nil
}

func rightFlag(flags *flag.FlagSet, said string) error {
	if match := unknownFlag.FindStringSubmatch(said); match != nil {
		var names []string
		flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		return fmt.Errorf("there is no flag --%.80s%s; %s", match[1], meant("--", match[1], names), listFlags(flags))
	}
	if match := flagAlone.FindStringSubmatch(said); match != nil {
		return fmt.Errorf("--%s needs a value: %s", match[1], usageOf(flags, match[1]))
	}
	if match := invalidValue.FindStringSubmatch(said); match != nil {
		return fmt.Errorf("--%s %.80s: want %s", match[2], match[1], usageOf(flags, match[2]))
	}
	return errors.New(said)
}

// usageOf says what a flag takes.
func usageOf(flags *flag.FlagSet, name string) string {
	f := flags.Lookup(name)
	value, usage := flag.UnquoteUsage(f)
	switch {
	case isBoolean(f):
		return fmt.Sprintf("it alone, without a value: %s", usage)
	case value == "int" || value == "uint":
		return fmt.Sprintf("a whole number: %s", usage)
	case value == "duration":
		return fmt.Sprintf("a time such as 90s or 12h: %s", usage)
	}
	return usage
}

func isBoolean(f *flag.Flag) bool {
	boolean, is := f.Value.(interface{ IsBoolFlag() bool })
	return is && boolean.IsBoolFlag()
}

func listFlags(flags *flag.FlagSet) string {
	var names []string
	flags.VisitAll(func(f *flag.Flag) { names = append(names, "--"+f.Name) })
	return fmt.Sprintf("%q has %s", flags.Name(), strings.Join(names, ", "))
}

// meant guesses which of the names somebody meant who wrote another, in a
// bracket, or returns "".
func meant(dashes, written string, names []string) string {
	if len(written) > 40 {
		return "" // no name is so long
	}
	best, least := "", min(len(written), 3) // more than two letters are another word
	for _, name := range names {
		if d := distance(written, name); d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s%s?)", dashes, best)
}

// distance is how many letters must be put in, taken out or changed to make one
// word of the other (Levenshtein).
func distance(one, other string) int {
	row := make([]int, len(other)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(one) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(other) {
			changed := corner
			if one[i] != other[j] {
				changed++
			}
			corner = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(other)]
}

// explained is the sentence for an error. One who has broken a command off wants
// to know what became of it, and not what a context is.
func explained(ctx context.Context, err error) string {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return "it was broken off; what is recorded stays, and the same command goes on from there"
	}
	return err.Error()
}
