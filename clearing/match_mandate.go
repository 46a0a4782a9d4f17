package clearing

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/paywordhq/payword/internal/bankaccount"
	"github.com/paywordhq/payword/internal/ledger"
)

// Mandate is a debtor's word that direct debits may be collected from an account
// at a bank.
type Mandate struct {
	// ID is the mandate's reference, which the debtor was told: 1 to 35 letters,
	// digits and + ? / : ( ) . , ' -, without a slash at either end and without two
	// together.
	ID string `json:"id"`
	// Account is the broker's account that owes.
	Account string `json:"account"`
	// Name is the debtor's, 1 to 70 characters, as its bank knows it.
	Name string `json:"name"`
	IBAN string `json:"iban"` // in capitals, without spaces
	BIC  string `json:"bic,omitempty"`
	// Signed is the day on which the debtor signed, as 2026-11-22.
	Signed string `json:"signed"`
	// Scheme is core, or b2b between businesses, which knows no refunds.
	Scheme string `json:"scheme"`
	// State is active or withdrawn; AddMandate sets it.
	State string `json:"state"`
	// Used is how many collections were sent with it.
	Used    int64     `json:"used"`
	Created time.Time `json:"created"`
}

var (
	// ErrMandateDiffers means that the id is that of another mandate.
	ErrMandateDiffers = errors.New("a mandate of that id exists and differs")
	// ErrMandateActive means that the account has an active mandate already.
	ErrMandateActive = errors.New("the account has an active mandate: withdraw that one first")
	// ErrNoMandate means that there is no mandate of that id.
	ErrNoMandate = errors.New("there is no mandate of that id")
	// ErrNoAccount means that the broker has no account of that id that can owe.
	ErrNoAccount = errors.New("there is no such account, or it belongs to another one")
)

var mandateID = regexp.MustCompile(`^[A-Za-z0-9+?/:().,'-]{1,35}$`)

// maxMandateName is how many characters of a debtor's name banks take.
const maxMandateName = 70

func (m Mandate) check() error {
	day, err := time.Parse(time.DateOnly, m.Signed)
	switch {
	case !mandateID.MatchString(m.ID) || strings.HasPrefix(m.ID, "/") || strings.HasSuffix(m.ID, "/") || strings.Contains(m.ID, "//"):
		return fmt.Errorf("mandate id %.40q: want 1 to 35 letters, digits and + ? / : ( ) . , ' -, without // and without / at an end", m.ID)
	case m.Name == "" || utf8.RuneCountInString(m.Name) > maxMandateName || !utf8.ValidString(m.Name) ||
		strings.ContainsFunc(m.Name, func(c rune) bool { return !unicode.IsPrint(c) }):
		return fmt.Errorf("name: want the debtor's, one line of 1 to %d characters", maxMandateName)
	case err != nil || day.Year() < 1970:
		return fmt.Errorf("signed %.40q: want the day of the signature, such as 2026-11-22", m.Signed)
	case m.Scheme != "core" && m.Scheme != "b2b":
		return fmt.Errorf("scheme %.20q: want core, or b2b between businesses", m.Scheme)
	}
	if err := bankaccount.CheckIBAN(m.IBAN); err != nil {
		return err
	}
	if !bankaccount.InSEPA(m.IBAN) {
		return fmt.Errorf("IBAN: direct debits of SEPA do not reach %.2s", m.IBAN)
	}
	if m.BIC == "" {
		return nil
	}
	return bankaccount.CheckBIC(m.BIC)
}

// AddMandate keeps a mandate, active from now on. The same again changes nothing.
// ErrMandateDiffers, ErrMandateActive and ErrNoAccount mean that it was not kept.
func AddMandate(ctx context.Context, db *ledger.DB, m Mandate) error {
	if err := m.check(); err != nil {
		return err
	}
	if err := migrate(ctx, db); err != nil {
		return err
	}
	return db.Update(ctx, func(tx *ledger.Tx) error {
		known, err := selectMandates(ctx, tx, `WHERE id = ?`, m.ID)
		if err != nil {
			return err
		}
		if len(known) > 0 {
			same := known[0]
			same.State, same.Used, same.Created = m.State, m.Used, m.Created
			if same != m || known[0].State != "active" {
				return ErrMandateDiffers
			}
			return nil
		}
		accounts, err := countOf(ctx, tx, `SELECT COUNT(*) FROM broker_accounts WHERE id = ? AND parent = ''`, m.Account)
		if err == nil && accounts == 0 {
			err = fmt.Errorf("%w: %.40q", ErrNoAccount, m.Account)
		}
		if err != nil {
			return err
		}
		active, err := countOf(ctx, tx, `SELECT COUNT(*) FROM clearing_mandates WHERE account = ? AND state = 'active'`, m.Account)
		if err == nil && active > 0 {
			err = ErrMandateActive
		}
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO clearing_mandates (id, account, name, iban, bic, signed, scheme, state, created)
			VALUES (?, ?, ?, ?, ?, ?, ?, 'active', ?)`, m.ID, m.Account, m.Name, m.IBAN, m.BIC, m.Signed, m.Scheme, tx.Now().UnixMicro())
		if err != nil {
			return err
		}
		// Whose the account at the bank is stays out of the log, which is kept for
		// ever.
		return audit(ctx, tx, "add-mandate", "mandate:"+m.ID, fmt.Sprintf("%s, signed %s, for account %s", m.Scheme, m.Signed, m.Account))
	})
}

// WithdrawMandate ends a mandate: nothing more is collected with it, and what was
// sent goes on. The same again changes nothing. ErrNoMandate means that there is
// none.
func WithdrawMandate(ctx context.Context, db *ledger.DB, id string) error {
	if err := migrate(ctx, db); err != nil {
		return err
	}
	return db.Update(ctx, func(tx *ledger.Tx) error {
		known, err := selectMandates(ctx, tx, `WHERE id = ?`, id)
		if err == nil && len(known) == 0 {
			err = fmt.Errorf("%w: %.40q", ErrNoMandate, id)
		}
		if err != nil {
			return err
		}
		swapped, err := tx.ExecOne(ctx, `UPDATE clearing_mandates SET state = 'withdrawn' WHERE id = ? AND state = 'active'`, id)
		if err != nil || !swapped {
			return err
		}
		return audit(ctx, tx, "withdraw-mandate", "mandate:"+id, "for account "+known[0].Account)
	})
}

// endingCodes are the reasons for which a mandate must not be used again (EPC173-14,
// guidance on reason codes): what the next run would collect with it would come
// back again, and cost each time. Too little on the account (AM04), and what may
// be that (MS03), are not among them.
var endingCodes = map[string]string{
	"AC01": "there is no such account", "AC04": "the account is closed", "AC06": "the account is blocked",
	"AC13": "the account is a consumer's", "AG01": "the account takes no direct debits",
	"MD01": "the debtor says that there was no mandate", "MD06": "the debtor wanted it back", "MD07": "the debtor is dead",
	"MS02": "the debtor has refused it", "SL01": "the debtor's bank lets nobody collect, or not us",
}

// endMandate withdraws the mandate of a direct debit that the bank rejected or
// returned for good.
func endMandate(ctx context.Context, tx *ledger.Tx, i Instruction, code string) error {
	why, ends := endingCodes[code]
	if !ends {
		return nil
	}
	id := strings.TrimPrefix(i.Destination, destinationMandate)
	swapped, err := tx.ExecOne(ctx, `UPDATE clearing_mandates SET state = 'withdrawn' WHERE id = ? AND state = 'active'`, id)
	if err != nil || !swapped {
		return err
	}
	return audit(ctx, tx, "withdraw-mandate", "mandate:"+id, fmt.Sprintf("for account %s: %s, %s", i.Party, code, why))
}

// Mandates returns the mandates with ids after the one given, sorted by id, at
// most limit of them (1 to 1000).
func Mandates(ctx context.Context, db *ledger.DB, after string, limit int) (page []Mandate, err error) {
	if err := migrate(ctx, db); err != nil {
		return nil, err
	}
	err = db.View(ctx, func(tx *ledger.Tx) (err error) {
		page, err = selectMandates(ctx, tx, `WHERE id > ? ORDER BY id LIMIT ?`, after, max(1, min(limit, ledger.MaxPage)))
		return err
	})
	return page, err
}

func selectMandates(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (all []Mandate, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, account, name, iban, bic, signed, scheme, state, used, created FROM clearing_mandates `+where, arguments...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m Mandate
		var created int64
		err := rows.Scan(&m.ID, &m.Account, &m.Name, &m.IBAN, &m.BIC, &m.Signed, &m.Scheme, &m.State, &m.Used, &created)
		if err != nil {
			return nil, err
		}
		m.Created = timeAt(created)
		all = append(all, m)
	}
	return all, rows.Err()
}
