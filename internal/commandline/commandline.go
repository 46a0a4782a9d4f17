// Package commandline reads the flags of commands, and says what would be right
// where they are wrong.
package commandline

import (
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

// Parse parses the arguments of a command, of which everything is said with
// flags. Its errors say what would be right; flag.ErrHelp means that the help
// was asked for, which is for the caller to print. flags must print nothing and
// have the name of the command.
func Parse(flags *flag.FlagSet, args []string) error {
	err := parse(flags, args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("%.80q is not a flag: everything is said with flags; %s", flags.Arg(0), listFlags(flags))
	}
	return err
}

// ParseMixed is Parse for a command that takes words, too, before, between and
// after the flags: it returns them. After "--" there are words alone.
func ParseMixed(flags *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := parse(flags, args); err != nil {
			return nil, err
		}
		rest := flags.Args()
		if len(rest) == 0 {
			return words, nil
		}
		if at := len(args) - len(rest); at > 0 && args[at-1] == "--" {
			return append(words, rest...), nil
		}
		words, args = append(words, rest[0]), rest[1:]
	}
}

func parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		err = rightFlag(flags, err.Error())
	}
	return err
}

func rightFlag(flags *flag.FlagSet, said string) error {
	if match := unknownFlag.FindStringSubmatch(said); match != nil {
		var names []string
		flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		return fmt.Errorf("there is no flag --%.80s%s; %s", match[1], Meant("--", match[1], names), listFlags(flags))
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

// Meant guesses which of the names somebody meant who wrote another, in a
// bracket, or returns "". dashes is what stands before the name.
func Meant(dashes, written string, names []string) string {
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

// Plain is the usage of a flag without the marks around the name of its value.
func Plain(usage string) string { return strings.ReplaceAll(usage, "`", "") }
