package kiosk_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/paywordhq/payword/samgateway/kiosk"
)

// TestWhoMayAsk sends requests that are not the page's.
func TestWhoMayAsk(t *testing.T) {
	const own = "http://127.0.0.1:8437"
	cases := []struct {
		name, method, url string
		header            map[string]string
		want              int
	}{
		{"the page", "GET", own + "/", nil, 200},
		{"at ::1", "GET", "http://[::1]:8437/", nil, 200},
		{"at localhost", "GET", "http://localhost:8437/", nil, 200},
		{"at a foreign name", "GET", "http://kiosk.example:8437/", nil, 421},
		{"at an address of the network", "GET", "http://192.0.2.1:8437/", nil, 421},
		{"at a name that only begins so", "GET", "http://127.0.0.1.example/", nil, 421},
		{"inside a page of another site", "GET", own + "/", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"the events for another site", "GET", own + "/events", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		{"something else", "GET", own + "/languages/en.json", nil, 404},
		{"an action by GET", "GET", own + "/sessions/x/touch", nil, 405},
		{"a post without an origin", "POST", own + "/sessions/x/touch", nil, 403},
		{"a post of another site", "POST", own + "/sessions/x/touch", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a post of another port", "POST", own + "/sessions/x/touch", map[string]string{"Origin": "http://127.0.0.1:8438"}, 403},
		{"a post of nobody", "POST", own + "/sessions/x/touch", map[string]string{"Origin": "null"}, 403},
		{"a post that the browser says is foreign", "POST", own + "/sessions/x/touch", map[string]string{"Origin": own, "Sec-Fetch-Site": "same-site"}, 403},
		{"a post of the page, of a session that is over", "POST", own + "/sessions/x/touch", map[string]string{"Origin": own, "Sec-Fetch-Site": "same-origin"}, 409},
		{"a screen that is no number", "POST", own + "/sessions/x/screens/-1/go", map[string]string{"Origin": own}, 400},
	}
	synctest.Test(t, func(t *testing.T) {
		b := openBooth(t)
		for _, c := range cases {
			request := httptest.NewRequest(c.method, c.url, nil)
			for name, value := range c.header {
				request.Header.Set(name, value)
			}
			recorder := httptest.NewRecorder()
			b.kiosk.ServeHTTP(recorder, request)
			if recorder.Code != c.want {
				t.Errorf("%s: got %d, want %d", c.name, recorder.Code, c.want)
			}
			header := recorder.Header()
			if header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(header.Get("Content-Security-Policy"), "default-src 'none'; ") ||
				strings.Contains(header.Get("Content-Security-Policy"), "unsafe") {
				t.Errorf("%s: got %v", c.name, header)
			}
		}
		b.lookAt()
		if code := b.post("/sessions/"+b.last.Session+"/touch", ""); code != http.StatusNoContent {
			t.Errorf("a touch of the page: got %d", code)
		}
		if code := b.post("/sessions/"+b.last.Session+"/language", strings.Repeat("d", 65)); code != http.StatusRequestEntityTooLarge {
			t.Errorf("a long body: got %d", code)
		}
	})
}

// TestThePageSaysNothingOfACard looks at the page while a card is in.
func TestThePageSaysNothingOfACard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBooth(t)
		b.cards["A"] = newCard()
		b.step("insert A")
		b.step("= menu")
		recorder := httptest.NewRecorder()
		b.kiosk.ServeHTTP(recorder, httptest.NewRequest("GET", "http://127.0.0.1:8437/", nil))
		page := recorder.Body.String()
		for _, secret := range []string{"12.34", b.last.Session, "C1000000", "http://", "https://", "style=", "onclick"} {
			if strings.Contains(page, secret) {
				t.Errorf("the page says %q: %s", secret, page)
			}
		}
		if !strings.Contains(page, `<main id="screen">`) {
			t.Errorf("got %s", page)
		}
	})
}

// TestPagesAreCounted opens more pages than a kiosk has.
func TestPagesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBooth(t)
		codes := make(chan int, 9)
		for range 9 {
			go func() {
				recorder := httptest.NewRecorder()
				b.kiosk.ServeHTTP(recorder, httptest.NewRequest("GET", "http://127.0.0.1:8437/events", nil).WithContext(t.Context()))
				codes <- recorder.Code
			}()
		}
		synctest.Wait()
		if len(codes) != 5 {
			t.Errorf("%d pages were turned away, want 5", len(codes))
		}
		for range len(codes) {
			if code := <-codes; code != http.StatusServiceUnavailable {
				t.Errorf("got %d", code)
			}
		}
	})
}

// TestListen refuses what others could reach.
func TestListen(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		listener, err := kiosk.Listen(t.Context(), address)
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, address := range []string{"0.0.0.0:8437", ":8437", "192.0.2.1:8437", "kiosk.example:8437", "8437", "[::]:8437"} {
		if _, err := kiosk.Listen(t.Context(), address); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: got %v", address, err)
		}
	}
}

// TestNew refuses what makes no kiosk.
func TestNew(t *testing.T) {
	b := newSlot()
	for name, config := range map[string]kiosk.Config{
		"no reader":           {Desk: newDesk()},
		"no desk":             {Find: b.find},
		"an unknown language": {Find: b.find, Desk: newDesk(), Language: "nl"},
	} {
		if _, err := kiosk.New(config); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
