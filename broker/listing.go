package broker

import (
	"net/http"
	"strconv"
)

// maxListed is the most that one page lists, and how much it does unless a
// limit is asked for: a hundred commitments with their reservations take about
// 400 KB.
const maxListed = 100

// Listing is the part of a list that a request asks for. It is embedded in the
// inputs of all routes that list something, and exported because huma reads
// embedded fields that are.
type Listing struct {
	After string `query:"after" maxLength:"270" doc:"what next of the page before says; without it the list begins at its beginning"`
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"100" doc:"how many, at most"`
}

// listInput is the input of a route that lists something and takes nothing else.
type listInput struct{ Listing }

// firstListed asks for the first page.
var firstListed = Listing{Limit: maxListed}

// errAfter is the answer to an after that no page has as its next.
var errAfter = newProblem(http.StatusUnprocessableEntity, "after: want what next of the page before says.")

// number reads after where next is a number. Without it it is 0.
func (l Listing) number() (int64, error) {
	if l.After == "" {
		return 0, nil
	}
	number, err := strconv.ParseUint(l.After, 10, 63)
	if err != nil {
		return 0, errAfter
	}
	return int64(number), nil
}

// cut returns the page of what was read of a list, which is one more than the
// limit if there is more, and what next says: the name of the page's last.
func cut[T any](read []T, l Listing, name func(T) string) (page []T, next string) {
	page = append([]T{}, read[:min(len(read), l.Limit)]...)
	if len(read) > l.Limit {
		next = name(page[l.Limit-1])
	}
	return page, next
}

// itself names what is listed by its id alone.
func itself(id string) string { return id }

// pageOf returns the page of a list that is read as a whole because it is short,
// and what next says.
func pageOf[T any](all []T, l Listing, name func(T) string) (page []T, next string) {
	first := 0
	for k, one := range all {
		if name(one) == l.After {
			first = k + 1
		}
	}
	return cut(all[first:], l, name)
}
