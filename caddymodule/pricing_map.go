package caddymodule

import "net/http"

func (h *Handler) mapped(*http.Request) (priced, bool) { return priced{}, false }
