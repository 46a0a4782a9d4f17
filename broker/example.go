package broker

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/paywordhq/payword"
)

// examples.json has a request and an answer of each operation, by its id, as
// TestExamplesAreOfAStory had them from a broker.
//
//go:embed examples.json
var exampleFile []byte

// operationExample is what was sent and answered. What is no JSON is a string.
type operationExample struct {
	Request json.RawMessage `json:"request,omitempty"`
	Answer  json.RawMessage `json:"answer,omitempty"`
}

func readExamples() (map[string]operationExample, error) {
	var examples map[string]operationExample
	if err := json.Unmarshal(exampleFile, &examples); err != nil {
		return nil, fmt.Errorf("examples.json: %w", err)
	}
	return examples, nil
}

// exemplify adds to the description of an operation what it takes and answers.
func (r route) exemplify(operation *huma.Operation, e operationExample) error {
	if operation.RequestBody != nil {
		addExample(operation.RequestBody.Content, e.Request)
	}
	for status, response := range operation.Responses {
		if len(status) == 3 && status[0] == '2' {
			addExample(response.Content, e.Answer)
		}
	}
	if !r.hasLines || len(e.Request) == 0 {
		return nil
	}
	var request struct{ Redemptions []json.RawMessage }
	var answer struct{ Results []json.RawMessage }
	if err := json.Unmarshal(e.Request, &request); err != nil || len(request.Redemptions) == 0 {
		return fmt.Errorf("example of %s: no redemption to show on a line: %w", r.id, err)
	}
	if err := json.Unmarshal(e.Answer, &answer); err != nil || len(answer.Results) == 0 {
		return fmt.Errorf("example of %s: no result to show on a line: %w", r.id, err)
	}
	operation.RequestBody.Content[mediaTypeLines].Example = asLine(request.Redemptions[0])
	operation.Responses["200"].Content[mediaTypeLines].Example = asLine(answer.Results[0])
	return nil
}

func asLine(object json.RawMessage) string {
	var line bytes.Buffer
	_ = json.Compact(&line, object) // it was parsed before
	return line.String() + "\n"
}

func addExample(content map[string]*huma.MediaType, example json.RawMessage) {
	for _, media := range content {
		if len(example) > 0 {
			media.Example = example
		}
	}
}

// problemExamples holds a problem for each status with which routes refuse.
var problemExamples = map[int]*problem{
	http.StatusBadRequest: newProblem(http.StatusBadRequest, "The body broke off."),
	http.StatusUnauthorized: refusalProblem(refuse(payword.BadSignature,
		"the signature is not that of the key over this request")),
	http.StatusForbidden: refusalProblem(refuse(payword.NotPermitted,
		"a sub-account has no payout: ask with the account that it belongs to")),
	http.StatusNotFound: refusalProblem(unknownAccount()),
	http.StatusConflict: refusalProblem(refuse(payword.InsufficientFunds,
		"reserving this takes 5.00 USD more, and 1.20 are available: fund the account first")),
	http.StatusRequestEntityTooLarge: newProblem(http.StatusRequestEntityTooLarge,
		"The body is too large: at most 4 KiB here."),
	http.StatusUnsupportedMediaType: newProblem(http.StatusUnsupportedMediaType, "unknown content type: text/plain"),
	http.StatusUnprocessableEntity: {
		Type: "about:blank", Title: http.StatusText(http.StatusUnprocessableEntity), Status: http.StatusUnprocessableEntity,
		Detail: "validation failed", Errors: []fault{{Message: "expected number <= 100", Location: "query.limit"}},
	},
	http.StatusTooManyRequests: refusalProblem(refuse(payword.RateLimited,
		"more than 6000 requests of this key in a minute: wait for the next")),
	http.StatusServiceUnavailable: unavailableProblem(),
}
