package main

import (
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

const siteAtHome = "https://shop.example"

// home is an agent with the shop's card in its reader, and a site that asks it.
type home struct {
	t            *testing.T
	origin, page string // of the agent; of its holder
	token        string // of the site
}

var (
	pageAddress = regexp.MustCompile(`"page": "([^"]+)"`)
	pageCode    = regexp.MustCompile(`class="code">([0-9 ]+)<`)
	pageShown   = regexp.MustCompile(`name="shown" value="([^"]+)"`)
)

// atHome starts an agent and pairs a site with it.
func (s *secretShop) atHome() *home {
	s.t.Helper()
	address := s.address()
	h := &home{t: s.t, origin: "http://" + address}
	_, port, _ := strings.Cut(address, ":")
	s.serve(h.origin+"/", "samgateway", "agent", "--json", "--port", port, "--state", s.path("agent.json"), "--card-file", s.path("card"))
	found := pageAddress.FindStringSubmatch(s.text())
	if found == nil {
		s.t.Fatalf("the agent does not say where its page is: %s", s.text())
	}
	h.page = found[1]
	h.press("pair", nil)
	code := pageCode.FindStringSubmatch(h.look())
	if code == nil {
		s.t.Fatal("the page shows no code")
	}
	var paired struct{ Token string }
	h.asSite(http.MethodPost, "/v1/pairings", map[string]string{"code": strings.ReplaceAll(code[1], " ", "")}, &paired)
	h.token = paired.Token
	return h
}

// send sends a request and returns the body of the answer.
func (h *home) send(method, address, body string, headers map[string]string) []byte {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= http.StatusBadRequest {
		h.t.Fatalf("%s %s: %s %s (%v)", method, address, answer.Status, text, err)
	}
	return text
}

func (h *home) look() string {
	h.t.Helper()
	return html.UnescapeString(string(h.send(http.MethodGet, h.page, "", nil)))
}

// press sends a form of the holder's page.
func (h *home) press(action string, form url.Values) {
	h.t.Helper()
	h.send(http.MethodPost, h.page+action, form.Encode(), map[string]string{
		"Origin": h.origin, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"})
}

func (h *home) asSite(method, path string, question, answer any) {
	h.t.Helper()
	body, err := json.Marshal(question)
	if err != nil {
		h.t.Fatal(err)
	}
	headers := map[string]string{"Origin": siteAtHome, "Content-Type": "application/json"}
	if h.token != "" {
		headers["Authorization"] = "Bearer " + h.token
	}
	if err := json.Unmarshal(h.send(method, h.origin+path, string(body), headers), answer); err != nil {
		h.t.Fatal(err)
	}
}

// load has the site ask for a load of 2.00, the holder agree with one PIN after
// the other, and returns what became of it.
func (h *home) load(relay string, pins ...string) (phase, sentence string) {
	h.t.Helper()
	var got struct{ Request, Phase, Sentence string }
	h.asSite(http.MethodPost, "/v1/requests", map[string]string{"intent": "load", "gateway": "ws://" + relay + "/relay", "merchant": tillName,
		"payee": "Till", "amount": "2000000", "currency": "usd-micro", "reference": "a load"}, &got)
	for _, pin := range pins {
		shown := pageShown.FindStringSubmatch(h.look())
		if shown == nil {
			h.t.Fatalf("there is nothing to say yes to:\n%s", h.look())
		}
		h.press("yes", url.Values{"shown": {shown[1]}, "agreed": {"yes"}, "pin": {pin}})
		for deadline := time.Now().Add(20 * time.Second); ; {
			h.asSite(http.MethodGet, "/v1/requests/"+got.Request, nil, &got)
			if got.Phase != "working" || time.Now().After(deadline) {
				break
			}
		}
	}
	return got.Phase, got.Sentence
}
