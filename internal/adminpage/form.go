package adminpage

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"net/http"
	"strings"
)

// Field is one field of a form, as it is shown.
type Field struct {
	Name, Label, Hint string
	Value             string // as it was typed
	Problem           string // what is wrong with it
	Mode              string // of the keyboard on a phone, such as decimal
	IsLong            bool   // it takes a sentence
	IsOptional        bool
}

// Consequence is one thing that an action will change.
type Consequence struct{ What, Before, After string }

// Subject is what an action is done to.
type Subject struct {
	Kind    string // such as Vendor
	ID      string
	Path    string // of its page, which says what was done
	Section string // of the menu
}

// Action is something that operators do to a subject, with a form: first what
// is typed is checked, then what will happen is shown, then it is done.
type Action struct {
	Word   string // ends the path, such as fund
	Title  string // of the page, such as "Fund the account"
	Button string // what the last button says
	Done   string // what the page of the subject says afterwards
	Fields []Field
	// Read checks what was typed and returns what is wrong, by the name of the
	// field. The value "form" is an id that stays the same however often the
	// form is sent. nil: nothing is wrong.
	Read func(values map[string]string) map[string]string
	// Foresee says what it will change. A *Refused says why it cannot be done,
	// ErrNotFound that there is no such subject. When the form is still empty,
	// values is nil: what is returned is not shown then.
	Foresee func(ctx context.Context, subject string, values map[string]string) ([]Consequence, error)
	// Perform does it. Called again with the same values it does nothing more.
	// After a *Refused nothing was done; after another error it may have been.
	Perform func(ctx context.Context, subject string, values map[string]string) error
}

// Refused means that something cannot be done, and that nothing was.
type Refused struct {
	// Status is the code of the answer, such as 409.
	Status int
	// Text is one or more sentences for people.
	Text string
}

// Error returns the text.
func (r *Refused) Error() string { return r.Text }

// formValue is a value that a form carries along unseen.
type formValue struct{ Name, Value string }

// formView is a form, or what is shown before it is done.
type formView struct {
	Subject      Subject
	Path         string
	Button       string
	Fields       []Field
	Hidden       []formValue
	Consequences []Consequence
	Faults       []Field // the fields that have a problem
}

// formIDBytes is the length of the random part of a form's id.
const formIDBytes = 10

func newFormID() string {
	raw := make([]byte, formIDBytes)
	_, _ = rand.Read(raw) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw))
}

func isFormID(text string) bool {
	raw, err := base32.StdEncoding.DecodeString(strings.ToUpper(text))
	return err == nil && len(raw) == formIDBytes && text == strings.ToLower(text)
}

// valuesOf returns what was typed into the fields, and the id of the form.
func (a *Action) valuesOf(r *http.Request) map[string]string {
	values := map[string]string{"form": r.PostForm.Get("form")}
	if !isFormID(values["form"]) {
		values["form"] = newFormID()
	}
	for _, f := range a.Fields {
		value := strings.TrimSpace(r.PostForm.Get(f.Name))
		values[f.Name] = strings.ToValidUTF8(value[:min(len(value), 1000)], "")
	}
	return values
}

// form shows the form of an action, with what was typed and what is wrong.
func (v *Visit) form(status int, a *Action, subject Subject, values, problems map[string]string, problem string) {
	data := formView{Subject: subject, Path: v.R.URL.RequestURI(), Button: "Continue"}
	for _, f := range a.Fields {
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
	v.Show(status, "form", View{Title: a.Title, Section: subject.Section, Problem: problem, Data: data})
}

// confirm shows what an action will change, and the button that does it.
func (v *Visit) confirm(a *Action, subject Subject, values map[string]string, changes []Consequence) {
	data := formView{
		Subject: subject, Path: v.R.URL.RequestURI(), Button: a.Button, Consequences: changes,
		Hidden: []formValue{{"form", values["form"]}, {"step", "done"}},
	}
	for _, f := range a.Fields {
		data.Hidden = append(data.Hidden, formValue{f.Name, values[f.Name]})
	}
	v.Show(http.StatusOK, "confirm", View{Title: a.Title + ": is this right?", Section: subject.Section, Data: data})
}

// Act answers for the page of an action on a subject, in all its steps.
func (v *Visit) Act(a *Action, subject Subject) {
	values, ctx := a.valuesOf(v.R), v.R.Context()
	if v.R.Method == http.MethodGet {
		if _, err := a.Foresee(ctx, subject.ID, nil); err != nil {
			v.refusedOrFailed(err)
			return
		}
		v.form(http.StatusOK, a, subject, values, nil, "")
		return
	}
	if problems := a.problems(values); len(problems) > 0 {
		v.form(http.StatusUnprocessableEntity, a, subject, values, problems, "")
		return
	}
	if v.R.PostForm.Get("back") != "" {
		v.form(http.StatusOK, a, subject, values, nil, "")
		return
	}
	refused := (*Refused)(nil)
	if v.R.PostForm.Get("step") != "done" {
		changes, err := a.Foresee(ctx, subject.ID, values)
		switch {
		case errors.As(err, &refused):
			v.form(refused.Status, a, subject, values, nil, refused.Text)
		case err != nil:
			v.Failed(err)
		default:
			v.confirm(a, subject, values, changes)
		}
		return
	}
	err := a.Perform(ctx, subject.ID, values)
	switch {
	case errors.As(err, &refused):
		v.form(refused.Status, a, subject, values, nil, refused.Text)
	case errors.Is(err, ErrNotFound):
		v.NotFound()
	case err != nil:
		v.site.Log.ErrorContext(ctx, "action failed", "action", a.Word, "error", err)
		v.form(http.StatusServiceUnavailable, a, subject, values, nil,
			v.site.Self+" cannot tell whether this was done. Send it again; it is done once.")
	default:
		v.Redirect(WithQuery(subject.Path, "done", a.Word))
	}
}

// refusedOrFailed shows a refusal that no form is there for.
func (v *Visit) refusedOrFailed(err error) {
	if refused := (*Refused)(nil); errors.As(err, &refused) {
		v.Message(refused.Status, "This was refused", refused.Text)
		return
	}
	v.Failed(err)
}

// problems returns what is wrong with the values, by the name of the field.
func (a *Action) problems(values map[string]string) map[string]string {
	problems := make(map[string]string)
	for _, f := range a.Fields {
		if values[f.Name] == "" && !f.IsOptional {
			problems[f.Name] = "Fill this in."
		}
	}
	if a.Read == nil {
		return problems
	}
	for name, problem := range a.Read(values) {
		if problems[name] == "" {
			problems[name] = problem
		}
	}
	return problems
}

// DoneNotice returns what a page says of the action that a request says was just
// done; "": none of these was.
func DoneNotice(r *http.Request, actions ...*Action) string {
	for _, a := range actions {
		if a.Word == r.URL.Query().Get("done") {
			return a.Done
		}
	}
	return ""
}
