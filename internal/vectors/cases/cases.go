// Package cases makes the test vectors. It imports nothing of the packages that
// the vectors test: what it expects is computed here in the plainest way, or
// written down by hand, so that a vector is a second opinion. Everything comes
// from fixed seeds, and no clock is read.
package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Case is one test vector. In JSON, binary is base64url without padding and
// amounts are strings of micros.
type Case struct {
	Name    string `json:"name"`
	Area    string `json:"area"`
	Comment string `json:"comment"`
	// Expect is "accepted", the word of the reason that refuses the input, or
	// "error" where the function returns an error and no reason.
	Expect string         `json:"expect"`
	Input  map[string]any `json:"input"`
	// Output is what comes out besides; absent if nothing does.
	Output map[string]any `json:"output,omitempty"`
}

// The outcomes that are no reason for a refusal.
const (
	accepted = "accepted"
	failed   = "error"
)

// object is a JSON object.
type object = map[string]any

// area is a folder of vectors.
type area struct {
	name string
	make func() []Case
}

// areas lists what there are vectors of, in the order of the protocol.
var areas = []area{
	{"amounts", amounts}, {"origins", origins}, {"chains", chains}, {"keys", keys},
	{"certificates", certificates}, {"commitments", commitments}, {"reservations", reservations},
	{"status-lists", statusLists}, {"headers", headers}, {"challenges", challenges}, {"preferences", preferences},
	{"credentials", credentials}, {"receipts", receipts}, {"problems", problems},
	{"signatures", signatures}, {"claims", claims}, {"redemptions", redemptions},
	{"judge", judge}, {"state", states},
}

// purseAreas lists those that internal/purse tests.
var purseAreas = []area{{"cards", cards}}

// Areas returns the names of the areas that the root package tests.
func Areas() []string { return names(areas) }

// PurseAreas returns the names of the areas that internal/purse tests.
func PurseAreas() []string { return names(purseAreas) }

func names(areas []area) []string {
	names := make([]string, 0, len(areas))
	for _, area := range areas {
		names = append(names, area.name)
	}
	return names
}

// All returns every case. The error says which two share a name, if any do.
func All() ([]Case, error) {
	var all []Case
	for _, area := range slices.Concat(areas, purseAreas) {
		var seen []string
		for _, c := range area.make() {
			if slices.Contains(seen, c.Name) {
				return nil, fmt.Errorf("two cases are called %s/%s", area.name, c.Name)
			}
			seen = append(seen, c.Name)
			c.Area = area.name
			all = append(all, c)
		}
	}
	return all, nil
}

// Files returns the content of every vector by its path below the directory of
// the vectors, with slashes.
func Files() (map[string][]byte, error) {
	all, err := All()
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(all))
	for _, c := range all {
		var content bytes.Buffer
		encoder := json.NewEncoder(&content)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(c); err != nil {
			return nil, fmt.Errorf("writing %s/%s: %w", c.Area, c.Name, err)
		}
		files[c.Area+"/"+c.Name+".json"] = content.Bytes()
	}
	return files, nil
}
