package caddymodule

import (
	"crypto/ed25519"
	"encoding/json"
	"net/http"

	"github.com/paywordhq/payword"
)

// serveDiscovery tells wallets and brokers about the gate. It is free, and its
// key list is how a broker sees that claims are the origin's own.
func (h *Handler) serveDiscovery(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	if err := h.app.open(); err != nil {
		return h.unavailable(w, err)
	}
	body, err := json.Marshal(payword.Discovery{
		Vendor:  h.Vendor,
		Keys:    []payword.PublicKey{payword.NewPublicKey(h.app.gate.key.Public().(ed25519.PublicKey))},
		Brokers: h.app.issuers(), Currency: h.currency, MaxStep: h.app.MaxStep,
		Unreserved: h.givesCredit(), Version: payword.MethodVersion,
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
