package statement_test

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing/statement"
)

// The page runs the script that is in it and no other, and reaches nobody: the
// policy in it names the SHA-256 of script and style.
func TestPagePolicy(t *testing.T) {
	page := string(statement.Page)
	policy := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy" content="([^"]*)">`).FindStringSubmatch(page)
	if policy == nil {
		t.Fatal("the page has no policy")
	}
	want := "default-src 'none'"
	for _, part := range []string{"script", "style"} {
		found := regexp.MustCompile(`(?s)<`+part+`>(.*?)</`+part+`>`).FindAllStringSubmatch(page, -1)
		if len(found) != 1 {
			t.Fatalf("the page has %d parts <%s>, want one", len(found), part)
		}
		sum := sha256.Sum256([]byte(found[0][1]))
		want += "; " + part + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	want += "; base-uri 'none'; form-action 'none'"
	if policy[1] != want {
		t.Errorf("the policy is\n%s\nwant\n%s", policy[1], want)
	}
	for _, forbidden := range []string{"http://", "src=", "@import", " url(", "fetch(", "XMLHttpRequest", "innerHTML", "eval("} {
		if strings.Contains(page, forbidden) {
			t.Errorf("the page holds %q", forbidden)
		}
	}
}
