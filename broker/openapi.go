package broker

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// problemStatuses returns the status codes with which a route may refuse.
func (r route) problemStatuses() []int {
	// A query or body that cannot be read, a body that is too large or not of
	// the form, too many requests, and what cannot be told at the moment.
	statuses := []int{
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity,
		http.StatusTooManyRequests, http.StatusServiceUnavailable,
	}
	if r.maxBody > 0 {
		statuses = append(statuses, http.StatusUnsupportedMediaType)
	}
	if r.access == public && !r.hasRawBody {
		if r.method == http.MethodGet {
			statuses = append(statuses, http.StatusNotFound)
		}
		return statuses
	}
	// Who is not who they say, what they may not do, what there is not, and what
	// is in the way.
	return append(statuses, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict)
}

// describe completes what huma writes of the routes: the problems of each by
// their status, the media types of answers that are no plain JSON, and the
// Idempotency-Key that the guard reads.
func describe(document *huma.OpenAPI, routes map[string]route) error {
	examples, err := readExamples()
	if err != nil {
		return err
	}
	for _, r := range routes {
		operation := operationAt(document, r)
		for media, other := range operation.Responses["default"].Content {
			other.Example = problemExamples[http.StatusServiceUnavailable]
			for _, status := range r.problemStatuses() {
				operation.Responses[strconv.Itoa(status)] = &huma.Response{
					Description: http.StatusText(status),
					Content:     map[string]*huma.MediaType{media: {Schema: other.Schema, Example: problemExamples[status]}},
				}
			}
		}
		if r.hasRawBody { // which huma takes for text
			operation.RequestBody.Content["application/json"].Schema = &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
		}
		r.describeSuccess(operation)
		hasKey := slices.ContainsFunc(operation.Parameters, func(p *huma.Param) bool { return p.Name == headerIdempotencyKey })
		if r.keepsAnswers() && !hasKey {
			shortest, longest := 1, maxIdempotencyKeyBytes
			operation.Parameters = append(operation.Parameters, &huma.Param{
				Name: headerIdempotencyKey, In: "header",
				Description: "the same request under the same key gets the same answer for a week and changes nothing again",
				Schema:      &huma.Schema{Type: huma.TypeString, MinLength: &shortest, MaxLength: &longest},
				Example:     "7d0f3c1e-5a0b-4a3e-9a57-2f8f2a2f9b11",
			})
		}
		if err := r.exemplify(operation, examples[r.id]); err != nil {
			return err
		}
	}
	return nil
}

// describeSuccess completes what is said of answers that are no refusal.
func (r route) describeSuccess(operation *huma.Operation) {
	usual := strconv.Itoa(max(r.status, http.StatusOK))
	if r.media != "" {
		operation.Responses[usual].Content = map[string]*huma.MediaType{r.media: {Schema: &huma.Schema{}}}
	}
	if r.hasLines {
		schema := &huma.Schema{Type: huma.TypeString, Description: "a JSON object on each line"}
		operation.Responses[usual].Content[mediaTypeLines] = &huma.MediaType{Schema: schema}
		operation.RequestBody.Content[mediaTypeLines] = &huma.MediaType{Schema: schema}
	}
	switch r.also {
	case 0:
	case http.StatusNotModified:
		operation.Responses["304"] = &huma.Response{Description: "not changed since"}
	default:
		operation.Responses[strconv.Itoa(r.also)] = &huma.Response{
			Description: http.StatusText(r.also), Content: operation.Responses[usual].Content}
	}
}

func operationAt(document *huma.OpenAPI, r route) *huma.Operation {
	path := document.Paths[r.path]
	switch r.method {
	case http.MethodGet:
		return path.Get
	case http.MethodPut:
		return path.Put
	case http.MethodDelete:
		return path.Delete
	}
	return path.Post
}
