/** What `payword --help` says. */
export const helpText = `payword open BROKER    makes the wallet, if there is none, and opens an account
payword balance        asks the broker what is there
payword voucher        puts the worth of a voucher on the account
payword pay URL        fetches a page, pays for it inside a budget, and writes it
payword history        lists what was paid
payword statement      checks by hashing what the broker says was paid
payword backup         writes the wallet to a file
payword restore        makes the wallet anew from a backup, or from its seed
payword --version      says which version this is

Each says more with --help, such as payword pay --help.

The wallet is one file, which payword wallet of the Go program reads too. It is
--wallet FILE, or else what PAYWORD_WALLET names, or else .payword/wallet.json in
your home folder. If its seed is encrypted, the passphrase is asked for, or is the
first line of the file that PAYWORD_PASSPHRASE_FILE names. It is never an argument,
which others on this machine could see.

Amounts are in whole units of the account's currency, such as 0.01.
Exit status: 0 done, 1 failed, 2 wrong usage.
`

/** What `--help` says of one command. */
export const helpTopics: Readonly<Record<string, string>> = {
  open: `payword open BROKER [--wallet FILE] [--encrypt] [--json]

Opens an account at a broker, or finds the one that the wallet has there. BROKER is
its origin, such as https://broker.example. If there is no wallet yet, it is made:
with --encrypt, or if PAYWORD_PASSPHRASE_FILE is set, its seed is encrypted.
Without, it is in clear, in a file that only you can read.

The account has to be funded before anything is paid, such as with a voucher.

Example:
  payword open https://broker.example --encrypt
`,
  balance: `payword balance [--wallet FILE] [--json]

Asks the broker for the account: what is available, and what is reserved for sites.

Example:
  payword balance
`,
  voucher: `payword voucher [--wallet FILE] [--json]

Puts the worth of a voucher on the account. The code is typed when it is asked for,
or comes by standard input; it is worth money, so it is no argument.

Example:
  payword voucher < code.txt
`,
  pay: `payword pay URL [--max 0.01] [--budget 1.00] [--per-site AMOUNT] [--per-day AMOUNT]
                [--deposit 0.50] [-o FILE] [--wallet FILE] [--json]

Fetches a page, pays for it inside the budget, writes the page to standard output
(or to -o FILE) and what was paid to standard error. "none" means no limit.
  --max       the most for this request (default 0.01)
  --budget    the most in all, over the life of the wallet (default 1.00)
  --per-site  the most to one site, over the life of the wallet (default none)
  --per-day   the most on one day, UTC (default none)
  --deposit   how much is reserved at the broker for a site at a time

Example:
  payword pay https://news.example/articles/1 --max 0.002 -o article.html
`,
  history: `payword history [--count 10] [--wallet FILE] [--json]

Lists what was paid, the newest last. The wallet keeps the last 1000 receipts. With
--json it prints all of them.

Example:
  payword history --count 50
`,
  statement: `payword statement [--wallet FILE] [--json]
payword statement FILE --keys JWKS [--issuer ORIGIN] [--day-keys JWKS]
                  [--vendor-keys JWKS] [--json]

Without FILE: asks the broker for all that it keeps of the account, and checks it:
every payment has to be signed by this wallet, every payword has to lead by hashing
to what was signed, and the sums have to add up.

With FILE: checks a statement that a broker gave out, and asks nobody. --keys are
the broker's; they must not come with the statement. docs/statements.md says more.

Exit status: 0 all of it agrees, 1 something does not, 2 it could not be told.

Example:
  payword statement
`,
  backup: `payword backup [-o FILE] [--wallet FILE]

Writes the wallet, as it is now, to standard output, or to a file that only you can
read. If the seed is encrypted, it stays so. Else keep the file like money.

Example:
  payword backup -o wallet-backup.json
`,
  restore: `payword restore FILE [--wallet FILE]
payword restore --seed --broker ORIGIN [--encrypt] [--wallet FILE]

Makes the wallet anew: from a backup of payword, of the extension or of payword
wallet, or with --seed from the 14 groups of letters that a seed is written down
as, which are asked for. A wallet that is there is never replaced.

Example:
  payword restore wallet-backup.json
`,
}
