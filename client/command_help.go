package client

// helpTopics holds what --help says of the commands of account owners, by the
// words after "payword".
var helpTopics = map[string]string{
	"wallet status": `payword wallet status --wallet FILE [--json]

Asks the broker for the account: what is available, reserved and on its way out,
the limits, and whether certificates are about to expire. The wallet renews those
by itself when it pays next. What the wallet knows alone is in payword wallet show.

Example:
  payword wallet status --wallet wallet.json
`,
	"wallet device": `payword wallet device list   --wallet FILE [--json]
payword wallet device add    [ANSWER] --name NAME --wallet FILE [--yes] [--json]
payword wallet device rename DEVICE --name NAME --wallet FILE [--json]
payword wallet device remove DEVICE --wallet FILE [--lost] [--yes]

A device is a wallet on another machine that has the same account. It sees all of
the account and spends from the same balance, by a seed and keys of its own: what
one device has reserved at a site, another cannot spend, and it shows up as
reserved. Receipts and budgets stay on the machine that paid. Every device may do
everything, add and remove others too.

add prints an invitation, which is good for five minutes. Paste it on the other
machine, after payword wallet join; paste here what that prints; and compare the
code that both show. With --json it prints the invitation and ends; give it the
answer as an argument then.

remove ends at once and for ever that a device speaks for the account. What it had
reserved, its sites may still be paid. --lost also revokes all certificates of the
account, so that sites refuse what the lost machine signs; your other devices get
new ones by themselves. DEVICE is a name, or the beginning of an id.

Example:
  payword wallet device add --name laptop --wallet wallet.json
`,
	"wallet join": `payword wallet join [INVITATION] --wallet FILE [--encrypt | --passphrase-file FILE] [--json]

Answers an invitation that payword wallet device add, or subaccount open, printed on
another machine: prints the line to paste there. The wallet is made if there is
none, with a seed of its own. Once the other machine has the answer, the wallet has
the account. Without INVITATION it is asked for.

Example:
  payword wallet join payword-invitation-… --wallet wallet.json
`,
	"wallet subaccount": `payword wallet subaccount open     [ANSWER] --name NAME --wallet FILE [--amount 1.00]
                                   [--agent FILE] [limits] [--yes] [--json]
payword wallet subaccount list     --wallet FILE [--json]
payword wallet subaccount spending SUBACCOUNT --wallet FILE [--json]
payword wallet subaccount transfer SUBACCOUNT --amount 1.00 [--back] [--id ID] --wallet FILE [--json]
payword wallet subaccount limits   SUBACCOUNT --wallet FILE [limits] [--json]
payword wallet subaccount rename   SUBACCOUNT --name NAME --wallet FILE [--json]
payword wallet subaccount pause    SUBACCOUNT --wallet FILE [--json]
payword wallet subaccount resume   SUBACCOUNT --wallet FILE [--json]
payword wallet subaccount close    SUBACCOUNT --wallet FILE [--yes] [--json]

A sub-account is a budget for an agent: a wallet of its own that spends what it was
given and never more. open makes it: with --agent the agent's wallet too, in FILE on
this machine; without it, an agent on another machine joins as a device does (see
payword wallet device --help). --amount is what it gets to begin with.

transfer gives it more, or takes it --back. The id of a transfer is booked once, so
that one whose answer was lost can be asked for again. pause stops it until resume.
close ends it, and what is left comes back once its reservations have run out.
The limits are those of payword wallet limits, for this sub-account alone.
SUBACCOUNT is a name or an id.

Example:
  payword wallet subaccount open --name agent --agent agent.json --amount 1.00 --wallet wallet.json
`,
	"wallet limits": `payword wallet limits --wallet FILE [--vendor-day AMOUNT] [--day AMOUNT] [--reserved AMOUNT] [--json]

Shows the limits of the account, or sets those that are given; "none" takes one
away. They hold at the broker, for all devices and sub-accounts together. The broker
has a ceiling of its own; the lower of the two counts.
  --vendor-day  the most for one site in a day, UTC
  --day         the most for all sites in a day, UTC
  --reserved    the most that is reserved at once

Example:
  payword wallet limits --day 2.00 --wallet wallet.json
`,
	"wallet voucher": `payword wallet voucher --wallet FILE [--json]

Puts the worth of a voucher on the account. The code is typed when it is asked for,
or comes by standard input; it is worth money, so it is no argument, which other
users of the machine could see. Case, spaces and hyphens do not count.

Example:
  payword wallet voucher --wallet wallet.json < code.txt
`,
	"wallet payout": `payword wallet payout --wallet FILE [--json]
payword wallet payout --amount 5.00 (--iban IBAN | --reference TEXT) [--id ID]
                      --wallet FILE [--yes] [--json]

Lists the payouts of the account, or asks for one: to a bank account, or to
something else that the broker's operator understands. The money is set aside at
once, and paid out by the operator. The same id is paid out once.

Example:
  payword wallet payout --amount 5.00 --iban 'DE02 1203 0000 0000 2020 51' --wallet wallet.json
`,
	"wallet close": `payword wallet close --wallet FILE [--iban IBAN | --reference TEXT] [--yes] [--json]

Closes the account and its sub-accounts, for ever: nothing can be paid any more.
What is reserved runs out first; then what is left is paid out. --iban or
--reference say where to, and may be missing if nothing is left.

Example:
  payword wallet close --iban 'DE02 1203 0000 0000 2020 51' --wallet wallet.json
`,
	"wallet export": `payword wallet export --wallet FILE [-o FILE]

Writes everything that the broker keeps of the account, as JSON, to standard output
or to a file that only you can read.

Example:
  payword wallet export --wallet wallet.json -o account.json
`,
}
