package broker_test

import (
	"bytes"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// description is the OpenAPI document of a broker, read by somebody else's
// implementation of JSON Schema.
type description struct {
	document   map[string]any
	mutex      sync.Mutex
	compiler   *jsonschema.Compiler          // guarded by mutex
	compiled   map[string]*jsonschema.Schema // by pointer; guarded by mutex
	operations map[string]map[string]any     // by method and path
	patterns   map[string]*regexp.Regexp     // of those that have parameters
}

const documentURL = "mem:///openapi.json"

// described is the document of the first broker that was asked for it: they
// differ in names alone.
var described struct {
	mutex sync.Mutex
	found *description // guarded by mutex
}

// description returns the OpenAPI document.
func (b *bank) description() (*description, error) {
	described.mutex.Lock()
	defer described.mutex.Unlock()
	if described.found != nil {
		return described.found, nil
	}
	response, err := http.Get(b.url + "/openapi.json")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	parsed, err := jsonschema.UnmarshalJSON(response.Body)
	document, isObject := parsed.(map[string]any)
	if err != nil || !isObject {
		return nil, fmt.Errorf("status %d, no JSON object: %w", response.StatusCode, err)
	}
	d := &description{
		document: document, compiler: jsonschema.NewCompiler(),
		compiled: make(map[string]*jsonschema.Schema), operations: make(map[string]map[string]any), patterns: make(map[string]*regexp.Regexp),
	}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	if err := d.compiler.AddResource(documentURL, document); err != nil {
		return nil, err
	}
	for path, methods := range object(document, "paths") {
		for method, operation := range methods.(map[string]any) {
			route := strings.ToUpper(method) + " " + path
			d.operations[route] = operation.(map[string]any)
			if pattern := pathParameter.ReplaceAllString(regexp.QuoteMeta(route), `[^/]+`); pattern != regexp.QuoteMeta(route) {
				d.patterns[route] = regexp.MustCompile("^" + pattern + "$")
			}
		}
	}
	described.found = d
	return d, nil
}

// object returns a member that is an object, or an empty one.
func object(in map[string]any, names ...string) map[string]any {
	for _, name := range names {
		in, _ = in[name].(map[string]any)
	}
	return in
}

// schema compiles the schema at a JSON pointer.
func (d *description) schema(pointer ...string) (*jsonschema.Schema, error) {
	for k, part := range pointer {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~", "~0"), "/", "~1")
		pointer[k] = strings.NewReplacer("{", "%7B", "}", "%7D").Replace(part)
	}
	location := documentURL + "#/" + strings.Join(pointer, "/")
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if known := d.compiled[location]; known != nil {
		return known, nil
	}
	schema, err := d.compiler.Compile(location)
	d.compiled[location] = schema
	return schema, err
}

var pathParameter = regexp.MustCompile(`\\\{[a-z]+\\\}`)

// operationOf returns the route of a request, or "".
func (d *description) operationOf(request *http.Request) string {
	asked := request.Method + " " + request.URL.Path
	if d.operations[asked] != nil {
		return asked
	}
	for route, pattern := range d.patterns {
		if pattern.MatchString(asked) {
			return route
		}
	}
	return ""
}

// conform reports what an answer has that the document does not describe.
func (b *bank) conform(request *http.Request, a answer) error {
	if strings.HasPrefix(request.URL.Path, "/admin") {
		return nil // pages for people
	}
	d, err := b.description()
	if err != nil {
		return fmt.Errorf("reading the OpenAPI document: %w", err)
	}
	route := d.operationOf(request)
	if a.status == http.StatusNotModified && object(d.operations[route], "responses", "304") != nil {
		return nil
	}
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if route == "" {
		if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed {
			return fmt.Errorf("status %d of a route that is not described", a.status)
		}
		return d.validate(a.body, "components", "schemas", "Problem")
	}
	method, path, _ := strings.Cut(route, " ")
	responses := object(d.operations[route], "responses")
	status := fmt.Sprint(a.status)
	if responses[status] == nil {
		return fmt.Errorf("status %s is not described, but %q", status, slices.Sorted(maps.Keys(responses)))
	}
	if object(responses, status, "content", media) == nil {
		return fmt.Errorf("%s for status %s is not described, but %v", media, status, object(responses, status, "content"))
	}
	if media != "application/json" && !strings.HasSuffix(media, "+json") {
		return nil
	}
	return d.validate(a.body, "paths", path, strings.ToLower(method), "responses", status, "content", media, "schema")
}

func (d *description) validate(body []byte, pointer ...string) error {
	schema, err := d.schema(pointer...)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// The document is what OpenAPI 3.1 asks for: everything that it refers to is
// there, and every schema is one.
func TestOpenAPIIsSound(t *testing.T) {
	d, err := newBank(t).description()
	if err != nil {
		t.Fatal(err)
	}
	for name := range object(d.document, "components", "schemas") {
		if _, err := d.schema("components", "schemas", name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
	ids := make(map[string]string)
	for route, operation := range d.operations {
		id, _ := operation["operationId"].(string)
		if id == "" || ids[id] != "" {
			t.Errorf("%s: operation id %q, which %s has, too", route, id, ids[id])
		}
		ids[id] = route
		for _, fault := range d.faults(route, operation) {
			t.Errorf("%s: %s", route, fault)
		}
	}
}

// Whatever changes something for somebody takes an Idempotency-Key, but for
// redemptions, which are paid once for ever.
func TestEveryChangeTakesAKey(t *testing.T) {
	d, err := newBank(t).description()
	if err != nil {
		t.Fatal(err)
	}
	for route, operation := range d.operations {
		parameters, _ := operation["parameters"].([]any)
		hasKey := slices.ContainsFunc(parameters, func(parameter any) bool {
			return parameter.(map[string]any)["name"] == "Idempotency-Key"
		})
		want := !strings.HasPrefix(route, "GET ") && operation["security"] != nil && route != "POST /v1/redemptions"
		if hasKey != want {
			t.Errorf("%s takes a key: %t, want %t", route, hasKey, want)
		}
	}
}

// faults returns what is wrong with the description of a route.
func (d *description) faults(route string, operation map[string]any) (found []string) {
	method, path, _ := strings.Cut(route, " ")
	say := func(format string, arguments ...any) { found = append(found, fmt.Sprintf(format, arguments...)) }
	if operation["summary"] == nil {
		say("no summary")
	}
	declared := make(map[string]bool)
	parameters, _ := operation["parameters"].([]any)
	for k, parameter := range parameters {
		p := parameter.(map[string]any)
		key := fmt.Sprint(p["in"], " ", p["name"])
		if declared[key] {
			say("%s is declared twice", key)
		}
		declared[key] = true
		if p["in"] == "path" && p["required"] != true {
			say("path parameter %s is not required", p["name"])
		}
		if _, err := d.schema("paths", path, strings.ToLower(method), "parameters", fmt.Sprint(k), "schema"); err != nil {
			say("parameter %s: %v", key, err)
		}
	}
	for _, match := range regexp.MustCompile(`\{([a-z]+)\}`).FindAllStringSubmatch(path, -1) {
		if !declared["path "+match[1]] {
			say("path parameter %s is not declared", match[1])
		}
	}
	security, _ := operation["security"].([]any)
	for _, way := range security {
		for name := range way.(map[string]any) {
			if object(d.document, "components", "securitySchemes", name) == nil {
				say("security scheme %s is not defined", name)
			}
		}
	}
	for media := range object(operation, "requestBody", "content") {
		if _, err := d.schema("paths", path, strings.ToLower(method), "requestBody", "content", media, "schema"); err != nil {
			say("request: %v", err)
		}
	}
	for status, response := range object(operation, "responses") {
		if response.(map[string]any)["description"] == nil {
			say("status %s has no description", status)
		}
		for media := range object(operation, "responses", status, "content") {
			if _, err := d.schema("paths", path, strings.ToLower(method), "responses", status, "content", media, "schema"); err != nil {
				say("status %s: %v", status, err)
			}
		}
	}
	return found
}

// What is not described is found.
func TestConformFindsWhatIsNotDescribed(t *testing.T) {
	b := newBank(t)
	request := func(method, path string) *http.Request {
		made, err := http.NewRequest(method, b.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	made := func(status int, media, body string) answer {
		return answer{status, http.Header{"Content-Type": {media}}, []byte(body)}
	}
	u := b.newUser(0)
	whole := strings.TrimSpace(string(u.call(u.key, "GET", "/v1/account", nil).body))
	account := strings.TrimSuffix(whole, "}")
	cases := []struct {
		name    string
		request *http.Request
		answer  answer
	}{
		{"another status", request("GET", "/healthz"), made(http.StatusTeapot, "application/problem+json", `{}`)},
		{"another media type", request("GET", "/healthz"), made(200, "text/plain", "ok")},
		{"another value", request("GET", "/healthz"), made(200, "application/json", `{"status":"fine"}`)},
		{"a member too many", request("GET", "/v1/account"), made(200, "application/json", account+`,"secret":"1"}`)},
		{"a number for an amount", request("GET", "/v1/account"), made(200, "application/json", strings.Replace(whole, `"available":"0"`, `"available":0`, 1))},
		{"a problem without a status", request("GET", "/v1/account"), made(401, "application/problem+json", `{"type":"about:blank"}`)},
		{"a route that is not described", request("GET", "/v1/secrets"), made(200, "application/json", `{}`)},
	}
	for _, c := range cases {
		if b.conform(c.request, c.answer) == nil {
			t.Errorf("%s conforms", c.name)
		}
	}
	if err := b.conform(request("GET", "/v1/account"), made(200, "application/json", whole)); err != nil {
		t.Errorf("a good answer does not conform: %v", err)
	}
}
