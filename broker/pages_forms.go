package broker

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/paywordhq/payword"
)

// field is one field of a form, as it is shown.
type field struct {
	Name, Label, Hint string
	Value             string // as it was typed
	Problem           string // what is wrong with it
	Mode              string // of the keyboard on a phone, such as decimal
	IsLong            bool   // it takes a sentence
	IsOptional        bool
}

// consequence is one thing that an action will change.
type consequence struct{ What, Before, After string }

// action is something that operators do to a subject, with a form: first what
// is typed is checked, then what will happen is shown, then it is done.
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

// formValue is a value that a form carries along unseen.
type formValue struct{ Name, Value string }

// formView is a form, or what is shown before it is done.
type formView struct {
	Kind         string // of the subject, such as Vendor
	Subject      string
	SubjectPath  string
	Path         string
	Button       string
	Fields       []field
	Hidden       []formValue
	Consequences []consequence
	Faults       []field // the fields that have a problem
}

// valuesOf returns what was typed into the fields, and the id of the form.
func (a *action) valuesOf(r *http.Request) map[string]string {
	values := map[string]string{"form": r.PostForm.Get("form")}
	if len(values["form"]) != len(randomID()) || !isRandomID(values["form"]) {
		values["form"] = randomID()
	}
	for _, f := range a.fields {
		value := strings.TrimSpace(r.PostForm.Get(f.Name))
		values[f.Name] = strings.ToValidUTF8(value[:min(len(value), 1000)], "")
	}
	return values
}

// form shows the form of an action, with what was typed and what is wrong.
func (v *visit) form(status int, a *action, subject, subjectPath string, values, problems map[string]string, problem string) {
	data := formView{Kind: kinds[sectionOf(subjectPath)], Subject: subject, SubjectPath: subjectPath, Path: v.r.URL.RequestURI(), Button: "Continue"}
	for _, f := range a.fields {
		f.Value, f.Problem = values[f.Name], problems[f.Name]
		if f.Problem != "" {
			data.Faults = append(data.Faults, f)
		}
		data.Fields = append(data.Fields, f)
	}
	data.Hidden = []formValue{{"form", values["form"]}}
	if len(data.Faults) > 0 {
		problem = "Nothing was done."
	}
	v.show(status, "form", view{Title: a.title, Section: sectionOf(subjectPath), Problem: problem, Data: data})
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

// confirm shows what an action will change, and the button that does it.
func (v *visit) confirm(a *action, subject, subjectPath string, values map[string]string, changes []consequence) {
	data := formView{
		Kind: kinds[sectionOf(subjectPath)], Subject: subject, SubjectPath: subjectPath, Path: v.r.URL.RequestURI(), Button: a.button, Consequences: changes,
		Hidden: []formValue{{"form", values["form"]}, {"step", "done"}},
	}
	for _, f := range a.fields {
		data.Hidden = append(data.Hidden, formValue{f.Name, values[f.Name]})
	}
	v.show(http.StatusOK, "confirm", view{Title: a.title + ": is this right?", Section: sectionOf(subjectPath), Data: data})
}

// act answers for the page of an action on a subject, in all its steps.
func (v *visit) act(a *action, subject, subjectPath string) {
	values := a.valuesOf(v.r)
	if v.r.Method == http.MethodGet {
		if _, refusal, err := a.foreseeEmpty(v, subject); err != nil || refusal.Refused() {
			v.refusedOrFailed(refusal, err)
			return
		}
		v.form(http.StatusOK, a, subject, subjectPath, values, nil, "")
		return
	}
	if problems := a.problems(values); len(problems) > 0 {
		v.form(http.StatusUnprocessableEntity, a, subject, subjectPath, values, problems, "")
		return
	}
	b, ctx := v.pages.broker, v.r.Context()
	if v.r.PostForm.Get("back") != "" {
		v.form(http.StatusOK, a, subject, subjectPath, values, nil, "")
		return
	}
	if v.r.PostForm.Get("step") != "done" {
		changes, refusal, err := a.foresee(ctx, b, subject, values)
		switch p := (*problem)(nil); {
		case errors.As(err, &p):
			v.form(p.Status, a, subject, subjectPath, values, nil, p.Detail)
		case err != nil:
			v.failed(err)
		case refusal.Refused():
			v.form(refusalProblem(refusal).Status, a, subject, subjectPath, values, nil, sentence(refusal.Detail))
		default:
			v.confirm(a, subject, subjectPath, values, changes)
		}
		return
	}
	refusal, err := a.perform(ctx, b, subject, values)
	switch p := (*problem)(nil); {
	case errors.As(err, &p):
		v.form(p.Status, a, subject, subjectPath, values, nil, p.Detail)
	case err != nil:
		b.log.ErrorContext(ctx, "action failed", "action", a.word, "error", err)
		v.form(http.StatusServiceUnavailable, a, subject, subjectPath, values, nil,
			"The broker cannot tell whether this was done. Send it again; it is done once.")
	case refusal.Refused():
		v.form(refusalProblem(refusal).Status, a, subject, subjectPath, values, nil, sentence(refusal.Detail))
	default:
		v.redirect(withQuery(subjectPath, "done", a.word))
	}
}

// foreseeEmpty tells whether there is a subject at all.
func (a *action) foreseeEmpty(v *visit, subject string) ([]consequence, payword.Refusal, error) {
	values := map[string]string{}
	for _, f := range a.fields {
		values[f.Name] = "0"
	}
	return a.foresee(v.r.Context(), v.pages.broker, subject, values)
}

func (v *visit) refusedOrFailed(refusal payword.Refusal, err error) {
	switch {
	case err != nil:
		v.failed(err)
	case refusal.Reason == payword.UnknownAccount || refusal.Reason == payword.UnknownVendor:
		v.notFound()
	default:
		v.refused(refusal)
	}
}

// problems returns what is wrong with the values, by the name of the field.
func (a *action) problems(values map[string]string) map[string]string {
	problems := make(map[string]string)
	for _, f := range a.fields {
		if values[f.Name] == "" && !f.IsOptional {
			problems[f.Name] = "Fill this in."
		}
	}
	if a.read == nil {
		return problems
	}
	for name, problem := range a.read(values) {
		if problems[name] == "" {
			problems[name] = problem
		}
	}
	return problems
}

// withQuery adds a parameter to a path that may have some.
func withQuery(path, name, value string) string {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	return path + separator + name + "=" + value
}
