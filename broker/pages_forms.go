package broker

import (
	"context"
	"errors"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
)

// consequence is one thing that an action will change.
type consequence struct{ What, Before, After string }

// action is something that operators do to a subject, with a form: see
// adminpage.Action.
type action struct {
	word   string // ends the path, such as fund
	title  string // of the page, such as "Fund the account"
	button string // what the last button says
	done   string // what the page of the subject says afterwards
	fields []field
	// read checks what was typed and returns what is wrong, by the name of the
	// field.
	read func(values map[string]string) map[string]string
	// foresee says what it will change. It refuses what cannot be done.
	foresee func(ctx context.Context, b *Broker, subject string, values map[string]string) ([]consequence, payword.Refusal, error)
	// perform does it. Called again with the same values it does nothing more.
	perform func(ctx context.Context, b *Broker, subject string, values map[string]string) (payword.Refusal, error)
}

// kinds are what the subjects of a section of the menu are called.
var kinds = map[string]string{"accounts": "Account", "vendors": "Vendor", "fundings": "Payment", "payouts": "Payout"}

func sectionOf(path string) string {
	switch {
	case strings.HasPrefix(path, pathAccountPages):
		return "accounts"
	case strings.HasPrefix(path, pathFundingPages):
		return "fundings"
	case strings.HasPrefix(path, pathPayoutPages):
		return "payouts"
	}
	return "vendors"
}

// act answers for the page of an action on a subject, in all its steps.
func (v *visit) act(a *action, subject, subjectPath string) {
	section := sectionOf(subjectPath)
	v.Act(a.with(v.pages.broker), adminpage.Subject{Kind: kinds[section], ID: subject, Path: subjectPath, Section: section})
}

// with returns the action on a broker.
func (a *action) with(b *Broker) *adminpage.Action {
	return &adminpage.Action{
		Word: a.word, Title: a.title, Button: a.button, Fields: a.fields, Read: a.read,
		Foresee: func(ctx context.Context, subject string, values map[string]string) (shown []adminpage.Consequence, err error) {
			isEmpty := values == nil
			if isEmpty {
				values = make(map[string]string)
				for _, f := range a.fields {
					values[f.Name] = "0"
				}
			}
			changes, refusal, err := a.foresee(ctx, b, subject, values)
			isUnknown := refusal.Reason == payword.UnknownAccount || refusal.Reason == payword.UnknownVendor
			if err == nil && isEmpty && isUnknown {
				return nil, errNotFound
			}
			for _, change := range changes {
				shown = append(shown, adminpage.Consequence(change))
			}
			return shown, errorOf(refusal, err)
		},
		Perform: func(ctx context.Context, subject string, values map[string]string) error {
			refusal, err := a.perform(ctx, b, subject, values)
			return errorOf(refusal, err)
		},
	}
}

// errorOf returns the outcome of an action as the pages take it.
func errorOf(refusal payword.Refusal, err error) error {
	told := (*problem)(nil)
	switch {
	case errors.As(err, &told):
		return &adminpage.Refused{Status: told.Status, Text: told.Detail}
	case err == nil && refusal.Refused():
		return &adminpage.Refused{Status: refusalProblem(refusal).Status, Text: sentence(refusal.Detail)}
	}
	return err
}

// sentence makes a sentence of a detail.
func sentence(detail string) string {
	if detail == "" {
		return ""
	}
	return strings.ToUpper(detail[:1]) + detail[1:] + "."
}
