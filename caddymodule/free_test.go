package caddymodule_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/paywordhq/payword/money"
)

func TestFreeList(t *testing.T) {
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		fmt.Fprint(w, r.URL.Path)
	})
	gate := startGate(t, site{upstream: upstream, payword: `
		free path /css/*
		free {
			header X-Staff yes
		}
		price 0.05 USD {
			header User-Agent *
		}
	`})
	for _, target := range []string{
		"/robots.txt", "/favicon.ico", "/feed.xml", "/sitemap.xml", "/ads.txt", "/.well-known/security.txt", "/css/a.css", "/robots.txt?x=1",
	} {
		for _, headers := range []map[string]string{nil, {"Sec-Purpose": "prefetch"}} {
			response, body := gate.do(t, http.MethodGet, target, headers)
			if response.StatusCode != http.StatusOK {
				t.Errorf("GET %s %v: %s, want 200: %s", target, headers, response.Status, body)
			}
			if got := response.Header.Get("Cache-Control"); got != "public, max-age=60" {
				t.Errorf("GET %s: Cache-Control %q, want the upstream's", target, got)
			}
		}
		if response, _ := gate.do(t, http.MethodHead, target, nil); response.StatusCode != http.StatusOK {
			t.Errorf("HEAD %s: %s, want 200", target, response.Status)
		}
	}
	response, _ := gate.do(t, http.MethodGet, "/a", map[string]string{"X-Staff": "yes"})
	if response.StatusCode != http.StatusOK || response.Header.Get("Cache-Control") != "private, max-age=60" {
		t.Errorf("who is let in by a header: %s, Cache-Control %q, want 200 and private", response.Status, response.Header.Get("Cache-Control"))
	}
	if response, _ := gate.do(t, http.MethodGet, "/a", map[string]string{"Sec-Purpose": "prefetch"}); response.StatusCode != http.StatusForbidden {
		t.Errorf("a prefetch of what is sold: %s, want 403", response.Status)
	}
}

// No spelling of a free path reaches what is sold.
func TestPathTricksAreNotFree(t *testing.T) {
	gate := startGate(t, site{payword: "free path /open/*\nprice free /given/*", upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "served ", r.URL.Path)
	})})
	for _, target := range []string{
		"/robots.txt/../article", "//robots.txt", "/article/../robots.txt", "/./robots.txt", "/robots%2Etxt", "/%72obots.txt",
		"/ROBOTS.TXT", "/robots.txt%00", "/robots.txt%00/article", "/robots.txt;/article", "/robots.txt/", "/robots.txt/article",
		"/robots.txt%2F..%2Farticle", `/robots.txt\..\article`, "/robots.txt%5C..%5Carticle", "/.well-known/../x", "/.well-known/%2e%2e/x",
		"/.well-known/..;/x", "/.well-known//../x", "/.Well-Known/x", "/.well-known%2Fx", "/.well-known", "/x/.well-known/y",
		"/open/../article", "/open/%2e%2e/article", "/open/..%2farticle", "/article/../open/x", "/open//x", "/article/../given/x", "/given//x", "/open/..;/article", "/open/%0aarticle",
	} {
		t.Run(target, func(t *testing.T) {
			status := rawGet(t, gate, target)
			if status == http.StatusOK {
				t.Errorf("GET %s was served free", target)
			}
		})
	}
	if got := gate.priceOf(t, http.MethodPost, "/robots.txt", nil); got != testPrice {
		t.Errorf("POST /robots.txt costs %d, want %d", got, testPrice)
	}
}

func TestFreeListOff(t *testing.T) {
	gate := startGate(t, site{payword: "free off\nfree path /robots.txt"})
	for target, want := range map[string]money.Amount{"/robots.txt": 0, "/feed.xml": testPrice, "/.well-known/x": testPrice} {
		if got := gate.priceOf(t, http.MethodGet, target, nil); got != want {
			t.Errorf("GET %s costs %d, want %d", target, got, want)
		}
	}
}
