package clearing_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/statement"
)

// What is for everybody is there without signing in, and says what was signed.
func TestPublished(t *testing.T) {
	d, key := newDay(t), newKey()
	d.trade()
	settle(t, d.db, clearing.Config{RunID: "november", Signer: key})
	settle(t, d.db, clearing.Config{RunID: "december", Signer: key})
	server, err := clearing.NewServer(t.Context(), clearing.ServerConfig{
		DB: d.db, Config: clearing.Config{Directory: t.TempDir(), Signer: key}, Operators: []clearing.Operator{{Name: "anna", Token: annasToken}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	web := httptest.NewServer(server.Handler())
	defer web.Close()
	get := func(path string, status int, contentType string) string {
		t.Helper()
		response, err := http.Get(web.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != status || !strings.HasPrefix(response.Header.Get("Content-Type"), contentType) {
			t.Errorf("%s: status %d, %s, %v", path, response.StatusCode, response.Header.Get("Content-Type"), err)
		}
		return string(body)
	}
	if page := get("/verify", 200, "text/html"); page != string(statement.Page) {
		t.Error("/verify is not the page")
	}
	keys, err := payword.ParseJWKS([]byte(get("/day-keys", 200, "application/jwk-set+json")))
	if err != nil {
		t.Fatal(err)
	}
	tokens := strings.Fields(get("/days", 200, "text/plain"))
	days, err := statement.CheckDays(tokens, keys)
	if err != nil || len(days) != 2 || days[1].Run != "december" {
		t.Errorf("got days %+v (%v)", days, err)
	}
	if rest := strings.Fields(get("/days?after=1", 200, "text/plain")); len(rest) != 1 || rest[0] != tokens[1] {
		t.Errorf("after the first day: got %q", rest)
	}
	get("/days?after=x", 400, "text/plain")
}
