package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The lines between which a document has what was measured.
const (
	begins = "<!-- bench: begin -->\n"
	ends   = "<!-- bench: end -->\n"
)

// Document writes the tables into a document, between its two marks, and the
// plots into a folder beside it that is named after it.
func (r Report) Document(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, hasBegin := strings.Cut(string(text), begins)
	_, after, hasEnd := strings.Cut(rest, ends)
	if !hasBegin || !hasEnd {
		return fmt.Errorf("%s: want the lines %q and %q, and the tables between them are replaced", path, strings.TrimSpace(begins), strings.TrimSpace(ends))
	}
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	plots := filepath.Join(filepath.Dir(path), name)
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	drawn, err := r.WritePlots(plots)
	if err != nil {
		return err
	}
	var tables strings.Builder
	tables.WriteString(r.Heading() + "\n" + r.BarTable())
	picture := func(title, slug string) {
		if drawn[slug] {
			fmt.Fprintf(&tables, "\n![%s](%s/%s.svg)\n", title, name, slug)
		}
	}
	for _, group := range r.Groups() {
		fmt.Fprintf(&tables, "\n### %s\n\n%s", group, r.Table(group))
		picture(group, r.slug(group))
	}
	if len(r.Servers) > 0 {
		fmt.Fprintf(&tables, "\n### The servers\n\n%s", r.ServerTable())
		picture("The servers", serversSlug)
	}
	return os.WriteFile(path, []byte(before+begins+"\n"+tables.String()+"\n"+ends+after), 0o644)
}

const serversSlug = "servers"

// slug names a group in file names: what the ids of its rows begin with.
func (r Report) slug(group string) string {
	for _, row := range r.Rows {
		if row.Group == group {
			slug, _, _ := strings.Cut(row.ID, "/")
			return slug
		}
	}
	return ""
}

// WritePlots draws all plots into a folder, and returns the names of those that
// were drawn, without ".svg".
func (r Report) WritePlots(folder string) (drawn map[string]bool, err error) {
	drawn = map[string]bool{}
	save := func(slug string, text []byte) error {
		drawn[slug] = true
		return os.WriteFile(filepath.Join(folder, slug+".svg"), text, 0o644)
	}
	for _, group := range r.Groups() {
		var text bytes.Buffer
		isDrawn, err := r.WritePlot(&text, group)
		if err != nil {
			return nil, fmt.Errorf("drawing %s: %w", group, err)
		}
		if isDrawn {
			if err := save(r.slug(group), text.Bytes()); err != nil {
				return nil, err
			}
		}
	}
	if len(r.Servers) > 0 {
		var text bytes.Buffer
		if err := r.WriteServerPlot(&text); err != nil {
			return nil, fmt.Errorf("drawing the servers: %w", err)
		}
		return drawn, save(serversSlug, text.Bytes())
	}
	return drawn, nil
}
