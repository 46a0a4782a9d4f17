package caddymodule

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/paywordhq/payword"
)

// The exit statuses of the commands.
const (
	exitDone    = 0
	exitProblem = 1 // the answer is not good: a verification found something, a claim was refused
	exitUsage   = 2 // the command line is wrong
	exitNoGate  = 3 // no gate could be asked, or its store not be read
)

const commandHelp = `It asks a running gate by Caddy's admin endpoint, which has to be on. --address or
--config say where it is, as for Caddy's own commands.

Exit status: 0 done; 1 something is wrong with what was found; 2 the command line is
wrong; 3 the gate could not be asked.`

// registerCommands adds the commands to Caddy's: caddy payword tails and so on.
func registerCommands() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name: "payword", Usage: "tails|redeem|export|verify", Short: "Looks after a payword gate",
		Long: "Looks after a payword gate: what was paid, what is owed, and whether it is proved.\n" + commandHelp,
		CobraFunc: func(parent *cobra.Command) {
			// The program payword has them without the first word.
			parent.Hidden = caddy.CustomBinaryName == "payword"
			for _, c := range gateCommands {
				status := exitDone
				command := c.cobra(&status)
				run := command.RunE
				command.RunE = func(cmd *cobra.Command, arguments []string) error {
					if err := run(cmd, arguments); err != nil {
						return err
					}
					if status != exitDone {
						os.Exit(status)
					}
					return nil
				}
				parent.AddCommand(command)
			}
		},
	})
}

// gateCommand is a command that looks after a gate.
type gateCommand struct {
	name, short, long string
	flags             func(*cobra.Command)
	run               func(*commandRun) int
}

// commandRun is one run of a command.
type commandRun struct {
	ctx            context.Context
	flags          *cobra.Command
	stdout, stderr io.Writer
}

// gateCommands are the commands, in the order of the help.
var gateCommands = []gateCommand{
	{
		name: "tails", short: "Lists the commitments, and how far each was paid",
		long: "Lists the commitments of a gate and how far each was paid. A commitment is named by a\npseudonym, the same as in the access log, and a tail by its hash: nothing that is shown\ncan be spent.",
		flags: func(c *cobra.Command) {
			c.Flags().String("vendor", "", "only those of this vendor")
			c.Flags().String("commitment", "", "only the one with this pseudonym")
			c.Flags().String("after", "", "go on after this pseudonym")
			c.Flags().Int("limit", defaultPage, "how many to list, at most 1000")
		},
		run: (*commandRun).tails,
	},
	{
		name: "redeem", short: "Claims from the brokers now",
		long: "Claims from the brokers what was spent and can no longer be given back, without waiting\nfor the schedule.",
		run:  (*commandRun).redeem,
	},
	{
		name: "export", short: "Writes what was earned, as CSV or JSON lines",
		long: "Writes what was earned: a row for each commitment, or sums by day or by vendor. A day\nis the one that commitments were made on, in UTC. Amounts are in millionths of the\ncurrency.",
		flags: func(c *cobra.Command) {
			c.Flags().String("by", exportByCommitment, "commitment, day or vendor")
		},
		run: (*commandRun).export,
	},
	{
		name: "verify", short: "Checks a gate's store against the evidence in it",
		long: "Checks everything that a gate remembers against the evidence that it holds: the\nsignatures of commitments, certificates and reservations, every tail by hashing down to\nits root, sums and caps. With --store it reads the directory of a gate that is stopped,\nand changes nothing there.",
		flags: func(c *cobra.Command) {
			c.Flags().String("store", "", "the directory of a stopped gate's store")
			c.Flags().StringArray("keys", nil, "with --store: <issuer>=<file>, the keys of a broker that the store has not kept")
		},
		run: (*commandRun).verify,
	},
}

// cobra makes the command as Caddy takes it. Its exit status is stored in status.
func (c gateCommand) cobra(status *int) *cobra.Command {
	command := &cobra.Command{
		Use: c.name, Short: c.short, Long: c.long + "\n\n" + commandHelp, Args: cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true,
	}
	command.Flags().String("address", "", "the admin endpoint, such as localhost:2019")
	command.Flags().String("config", "", "a configuration that names the admin endpoint")
	command.Flags().String("adapter", "", "the adapter of that configuration, such as caddyfile")
	command.Flags().Bool("json", false, "write what programs read")
	if c.flags != nil {
		c.flags(command)
	}
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		*status = c.run(&commandRun{ctx: cmd.Context(), flags: cmd, stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr()})
		return nil
	}
	return command
}

// Main runs one of the commands that look after a gate, whose name is the first
// argument: tails, redeem, export or verify. It returns the exit status.
func Main(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	status := exitDone
	root := &cobra.Command{Use: "payword", SilenceUsage: true, SilenceErrors: true}
	root.CompletionOptions.DisableDefaultCmd = true
	for _, c := range gateCommands {
		root.AddCommand(c.cobra(&status))
	}
	root.SetArgs(arguments)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, "payword:", err)
		return exitUsage
	}
	return status
}

func (r *commandRun) text(flag string) string {
	value, _ := r.flags.Flags().GetString(flag)
	return value
}

func (r *commandRun) isJSON() bool {
	value, _ := r.flags.Flags().GetBool("json")
	return value
}

// fail says why a gate could not be asked.
func (r *commandRun) fail(err error) int {
	fmt.Fprintln(r.stderr, "payword:", err)
	return exitNoGate
}

// ask asks the admin endpoint. The caller closes the answer.
func (r *commandRun) ask(method, route string, query url.Values) (*http.Response, error) {
	address, err := r.adminAddress()
	if err != nil {
		return nil, err
	}
	uri := "/payword/" + route
	if len(query) > 0 {
		uri += "?" + query.Encode()
	}
	response, err := caddycmd.AdminAPIRequest(address, method, uri, nil, nil)
	switch {
	case err == nil:
		return response, nil
	case strings.Contains(err.Error(), "HTTP 404"):
		return nil, fmt.Errorf("the Caddy at %s has no payword gate: %w", address, err)
	case strings.Contains(err.Error(), "performing request"):
		return nil, fmt.Errorf("nothing answers at %s: is Caddy running, with its admin endpoint on (not 'admin off'), and there? --address says where: %w", address, err)
	}
	return nil, err
}

// adminAddress returns where the admin endpoint is.
func (r *commandRun) adminAddress() (string, error) {
	address, file, adapter := r.text("address"), r.text("config"), r.text("adapter")
	if address != "" || file == "" {
		return caddycmd.DetermineAdminAPIAddress(address, nil, "", "")
	}
	document, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return "", err
	}
	var config struct {
		Admin struct {
			Disabled bool `json:"disabled"`
		} `json:"admin"`
	}
	if err := json.Unmarshal(document, &config); err != nil {
		return "", err
	}
	if config.Admin.Disabled {
		return "", errors.New("the configuration turns the admin endpoint off: without it only 'verify --store' works, on a stopped gate")
	}
	return caddycmd.DetermineAdminAPIAddress("", document, file, adapter)
}

// askJSON asks the admin endpoint and reads the answer. With --json it writes
// the answer as it came and reports true.
func (r *commandRun) askJSON(method, route string, query url.Values, answer any) error {
	response, err := r.ask(method, route, query)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	document, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if r.isJSON() {
		if _, err := r.stdout.Write(document); err != nil {
			return err
		}
	}
	return json.Unmarshal(document, answer)
}

func (r *commandRun) tails() int {
	query := url.Values{}
	for _, name := range []string{"vendor", "commitment", "after"} {
		if value := r.text(name); value != "" {
			query.Set(name, value)
		}
	}
	limit, _ := r.flags.Flags().GetInt("limit")
	query.Set("limit", strconv.Itoa(limit))
	var answer struct {
		Commitments []listedCommitment
		Next        string
	}
	if err := r.askJSON(http.MethodGet, "commitments", query, &answer); err != nil {
		return r.fail(err)
	}
	if r.isJSON() {
		return exitDone
	}
	table := tabwriter.NewWriter(r.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "COMMITMENT\tVENDOR\tACCEPTED\tSPENT\tREDEEMED\tREDEEM BY\tTAILS")
	for _, c := range answer.Commitments {
		tails := make([]string, len(c.Tails))
		for k, tail := range c.Tails {
			tails[k] = fmt.Sprintf("%d/%d %.8s", tail.Index, tail.Length, tail.TailHash)
		}
		fmt.Fprintf(table, "%s\t%s\t%s %s\t%s\t%s\t%s\t%s\n", c.Pseudonym, c.Vendor, c.Accepted.Decimal(), c.Currency,
			c.Spent.Decimal(), c.Redeemed.Decimal(), c.RedeemBy, strings.Join(tails, ", "))
	}
	if answer.Next != "" {
		fmt.Fprintf(table, "There are more: --after %s\n", answer.Next)
	}
	table.Flush()
	return exitDone
}

func (r *commandRun) redeem() int {
	var done Redemption
	if err := r.askJSON(http.MethodPost, "redeem", nil, &done); err != nil {
		return r.fail(err)
	}
	if !r.isJSON() {
		fmt.Fprintf(r.stdout, "claims sent  %d\npaid         %d\nrefused      %d\nnewly due    %s\n",
			done.Claims, done.Paid, done.Refused, done.Due.Decimal())
	}
	if done.Refused > 0 {
		return exitProblem
	}
	return exitDone
}

func (r *commandRun) export() int {
	query := url.Values{"by": {r.text("by")}, "format": {"csv"}}
	if r.isJSON() {
		query.Set("format", "jsonl")
	}
	response, err := r.ask(http.MethodGet, "export", query)
	if err != nil {
		return r.fail(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(r.stdout, response.Body); err != nil {
		return r.fail(fmt.Errorf("the export is not whole: %w", err))
	}
	return exitDone
}

func (r *commandRun) verify() int {
	done, err := r.verification()
	if err != nil {
		return r.fail(err)
	}
	if !r.isJSON() {
		r.writeVerification(&done)
	}
	if done.Wrong > 0 {
		return exitProblem
	}
	return exitDone
}

func (r *commandRun) writeVerification(done *Verification) {
	fmt.Fprintf(r.stdout, "commitments  %d\nsignatures   %d good\ntails        %d lead to their roots, by %d hashes\n",
		done.Commitments, done.Signatures, done.Tails, done.Hashes)
	for _, sum := range done.Sums {
		fmt.Fprintf(r.stdout, "%s          accepted %s, spent %s, redeemed %s\n",
			sum.Currency, sum.Accepted.Decimal(), sum.Spent.Decimal(), sum.Redeemed.Decimal())
	}
	fmt.Fprintf(r.stdout, "wrong        %d\n", done.Wrong)
	for _, wrong := range done.Problems {
		fmt.Fprintf(r.stdout, "%s of %s: %s\n", wrong.Pseudonym, wrong.Vendor, strings.Join(wrong.Problems, "; "))
	}
	if left := done.Wrong - len(done.Problems); left > 0 {
		fmt.Fprintf(r.stdout, "and %d more\n", left)
	}
}

// verification asks a gate, or reads a store.
func (r *commandRun) verification() (Verification, error) {
	var done Verification
	directory := r.text("store")
	if directory == "" {
		return done, r.askJSON(http.MethodPost, "verify", nil, &done)
	}
	given, _ := r.flags.Flags().GetStringArray("keys")
	done, err := verifyDirectory(r.ctx, directory, given)
	if err == nil && r.isJSON() {
		err = json.NewEncoder(r.stdout).Encode(done)
	}
	return done, err
}

// verifyDirectory checks the store in a directory. given names files with keys
// of brokers, as <issuer>=<file>; of others those count that the store has kept.
func verifyDirectory(ctx context.Context, directory string, given []string) (Verification, error) {
	files := make(map[string]string)
	for _, pair := range given {
		issuer, file, found := strings.Cut(pair, "=")
		if !found {
			return Verification{}, fmt.Errorf("--keys %s: want <issuer>=<file>", pair)
		}
		files[issuer] = file
	}
	stored, err := readStore(directory)
	if err != nil {
		return Verification{}, err
	}
	seed, err := loadIfThere(filepath.Join(directory, vendorKeyName))
	if err != nil {
		return Verification{}, err
	}
	if seed == nil {
		return Verification{}, fmt.Errorf("there is no %s in %s", vendorKeyName, directory)
	}
	known := newBrokerKeys(directory, stored.logger)
	keys := func(issuer string) (payword.Brokers, bool) {
		if known.of(issuer) == nil {
			known.load([]Broker{{Issuer: issuer, Keys: files[issuer]}})
		}
		return payword.Brokers{issuer: known.of(issuer)}, known.of(issuer) != nil
	}
	reader := &gate{key: ed25519.NewKeyFromSeed(seed)}
	return verifyAccounts(ctx, stored, keys, reader.pseudonym)
}
