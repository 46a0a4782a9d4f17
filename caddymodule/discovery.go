package caddymodule

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/paywordhq/payword"
)

// serveDiscovery tells wallets and brokers about the gate. It is free, and its
// key list is how a broker sees that claims are the origin's own.
func (h *Handler) serveDiscovery(w http.ResponseWriter, r *http.Request) error {
	h = h.app.vendors.of(r.Host, h)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	if err := h.app.open(); err != nil {
		return h.unavailable(w, err)
	}
	body, err := json.Marshal(payword.Discovery{
		Vendor: h.Vendor, Origins: h.Origins,
		Keys:    []payword.PublicKey{payword.NewPublicKey(h.app.gate.key.Public().(ed25519.PublicKey))},
		Brokers: h.app.issuers(), Currency: h.currency, MaxStep: h.app.MaxStep,
		Unreserved: h.givesCredit(), Claims: h.app.Pull, Version: payword.MethodVersion,
	})
	if err != nil {
		return h.unavailable(w, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	_, err = w.Write(append(body, '\n'))
	return err
}

// maxOrigins bounds the origins of a vendor, and so the discovery document.
const maxOrigins = 16

func (h *Handler) validateOrigins() error {
	if len(h.Origins) > maxOrigins {
		return fmt.Errorf("payword: %d origins: at most %d", len(h.Origins), maxOrigins)
	}
	for _, origin := range h.Origins {
		if err := payword.CheckOrigin(origin); err != nil {
			return fmt.Errorf("payword: origins: %w", err)
		}
		if origin == h.Vendor {
			return errors.New("payword: origins: name others than the vendor")
		}
	}
	return nil
}

// readOrigins reads the option origins.
func readOrigins(h *Handler, d *caddyfile.Dispenser) error {
	origins := d.RemainingArgs()
	if len(origins) == 0 {
		return d.Err("want origins <origin>..., such as: origins https://www.news.example")
	}
	h.Origins = append(h.Origins, origins...)
	return nil
}

// vendors are the vendors of one configuration, by the host of their origin. Its
// zero value is empty.
type vendors struct {
	mutex sync.Mutex
	hosts map[string]*Handler
}

// add notes the vendor of a directive. Of several for one vendor the first that
// lists origins counts, or else the first.
func (v *vendors) add(h *Handler) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if v.hosts == nil {
		v.hosts = make(map[string]*Handler)
	}
	if known := v.hosts[h.realm]; known == nil || len(known.Origins) == 0 && len(h.Origins) > 0 {
		v.hosts[h.realm] = h
	}
}

// of returns the directive whose vendor has its origin at a host, or otherwise if
// there is none.
func (v *vendors) of(host string, otherwise *Handler) *Handler {
	host = strings.ToLower(host)
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if h := v.hosts[host]; h != nil {
		return h
	}
	return otherwise
}
