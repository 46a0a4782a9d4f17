package broker

import (
	"net/http"
	"strings"

	"github.com/paywordhq/payword/internal/adminpage"
)

// Operator is somebody who may use the administration pages and routes under a
// name of their own, which the audit log tells. The name is "" for the one
// operator whose token is Config.AdminToken.
type Operator = adminpage.Operator

// actorOfOperator returns who the audit log names for what the operator does.
func actorOfOperator(o Operator) string {
	if o.Name == "" {
		return "admin"
	}
	return "admin:" + o.Name
}

// bearerOf returns the operator whose token a request carries.
func (b *Broker) bearerOf(r *http.Request) (Operator, bool) {
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return Operator{}, false
	}
	return b.operators.Of(token)
}
